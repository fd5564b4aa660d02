"""The build: from where packages come, from which bases, and that it yields the same image twice."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.image.conftest import ROOT, Bases, Image, arguments, secrets
from tests.image.engine import Engine

pytestmark = pytest.mark.timeout(1200)


@dataclass(frozen=True, slots=True)
class Mirror:
    """A package index of a company's own: HTTPS by its own authority, and no package in it."""

    url: str
    ca: Path
    asked: list[str]


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    asked: list[str] = []

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    key, certificate = tmp_path / "key.pem", tmp_path / "ca.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=mirror",
            ),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Mirror(f"https://127.0.0.1:{server.server_port}/simple", certificate, asked)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("way", ["argument", "pip.conf"])
def test_packages_come_from_the_mirror_that_is_named_and_from_nowhere_else(
    engine: Engine, bases: Bases, mirror: Mirror, tmp_path: Path, way: str
) -> None:
    """By a build argument, or by a secret file with what no history may show; with a private authority."""
    given, files = dict(arguments(bases)), {"ca.pem": mirror.ca}
    if way == "argument":
        given["PIP_INDEX_URL"] = mirror.url
    else:
        given.pop("PIP_INDEX_URL", None)
        files["pip.conf"] = tmp_path / "pip.conf"
        files["pip.conf"].write_text(f"[global]\nindex-url = {mirror.url}\n")

    with pytest.raises(AssertionError, match=r"No matching distribution found for aiofastnet"):
        engine.build(
            ROOT,
            "localhost/partner-bridge:mirrored",
            given,
            secrets=files,
            options=["--no-cache", "--network=host"],
        )

    assert ["/simple/aiofastnet/"] == mirror.asked


def test_two_builds_of_one_revision_are_one_image(image: Image, bases: Bases) -> None:
    """Layer by layer: no time of the build, no random order, no name of a folder."""
    if image.engine.name != "Podman":
        pytest.skip("Docker rewrites times only where it pushes; the release does that")
    again = "localhost/partner-bridge:again"
    image.engine.build(ROOT, again, arguments(bases), secrets=secrets(), options=["--no-cache"])

    first, second = (image.engine.inspect(tag) for tag in (image.tag, again))
    assert first["RootFS"]["Layers"] == second["RootFS"]["Layers"]
    assert first["Created"] == second["Created"]


def test_a_label_of_another_version_than_the_programs_fails_the_build(image: Image, bases: Bases) -> None:
    """So that a scanner and `--version` never contradict each other."""
    wrong = {**arguments(bases), "VERSION": "9.9.9"}
    with pytest.raises(AssertionError, match=r"The label would say 9\.9\.9\. Build with VERSION="):
        image.engine.build(ROOT, "localhost/partner-bridge:wrong", wrong, secrets=secrets())
