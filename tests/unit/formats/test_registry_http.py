"""The registry's HTTP, against a real server on this machine: deadlines, TLS, and errors in words."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connector.errors import ConfigError
from connector.formats import registry_http
from tests.scripted_registry import DEADLINE_S, Respond, ScriptedRegistry, failure, fetched, registry_at, says


def test_a_url_may_have_a_path_and_credentials_go_along(server: ScriptedRegistry) -> None:
    """A base path, basic authentication, and a bearer token."""
    server.answers["/apis/ccompat/v7/schemas/ids/1"] = says(200, {"schema": '"string"'})
    credentials = {"username": "user", "password": "pass word"}
    with registry_at(f"{server.url}/apis/ccompat/v7/", basic_auth=credentials) as registry:
        fetched(registry, 1)
        assert f"Basic {base64.b64encode(b'user:pass word').decode()}" == server.authorization
    with registry_at(f"{server.url}/apis/ccompat/v7", bearer_token="t0k3n") as registry:
        fetched(registry, 1)
        assert "Bearer t0k3n" == server.authorization


@pytest.mark.parametrize(
    ("respond", "reason"),
    [
        (says(401, {}), "answers 401: check basic_auth"),
        (says(403, {}), "answers 403: check basic_auth"),
        (says(500, {}), "answers 500"),
        (says(429, {}), "answers 429"),
        (says(301, {}, Location="http://127.0.0.1:1/"), "a redirect, which is not followed"),
        (says(404, b"<html>"), "is the path of its url right?"),
        (says(404, {"error_code": 404, "message": "HTTP 404 Not Found"}), "is the path of its url right?"),
        (says(200, b"<html>please log in</html>"), "it is not JSON"),
        (says(200, {"id": 1}), "it holds no schema"),
        (says(200, {"schema": '"int"', "references": [{"subject": "s"}]}), "has no name, subject or version"),
        (says(200, b"{" * (registry_http.MAX_ANSWER_BYTES + 1)), "over 1,048,576 bytes"),
        (says(500, b"{" * (registry_http.MAX_ANSWER_BYTES + 1)), "over 1,048,576 bytes"),
        (lambda request: request.connection.close(), "the schema registry at http://127.0.0.1"),
        (lambda request: request.wfile.write(b"nonsense\r\n\r\n"), "breaks off its answer (BadStatusLine)"),
    ],
)  # fmt: skip
def test_a_registry_in_trouble_is_nobodys_fault(
    server: ScriptedRegistry, respond: Respond, reason: str
) -> None:
    """Nothing is refused for it: the reason says what the registry did, and heals by itself."""
    server.answers["/schemas/ids/1"] = respond
    with registry_at(server.url, bearer_token="t0k3n") as registry:
        shown = failure(registry)
        server.schema(1, "int")

        assert shown.startswith("the schema registry at http://127.0.0.1:")
        assert reason in shown
        assert "t0k3n" not in shown
        assert ["int"] == fetched(registry, 1)
        assert registry.problem() is None


def test_a_registry_that_is_not_there_is_said_so() -> None:
    """Nobody listens: the reason is the operating system's."""
    with registry_at("http://127.0.0.1:1") as registry:
        assert "cannot be reached (Connection refused)" in failure(registry)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b""])
def test_an_answer_that_drips_in_is_cut_at_the_deadline(server: ScriptedRegistry, start: bytes) -> None:
    """The timeout is for the whole answer, headers and body: a byte now and then does not prolong it."""
    stopped = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(start)
        try:
            while not stopped.wait(0.02):
                request.wfile.write(b"x")
        except OSError:
            stopped.set()  # the other side hung up

    server.answers["/schemas/ids/1"] = drip
    with registry_at(server.url, timeout=0.2) as registry:
        started_s = time.monotonic()

        assert "gives no whole answer within 0.2 s" in failure(registry)
        assert time.monotonic() - started_s < 2.0
        assert stopped.wait(DEADLINE_S)


def test_silence_is_a_timeout(server: ScriptedRegistry) -> None:
    """A registry that accepts and says nothing costs one timeout, not for ever."""
    release = threading.Event()
    server.answers["/schemas/ids/1"] = lambda _: (release.wait(DEADLINE_S), None)[1]
    with registry_at(server.url, timeout=0.1) as registry:
        shown = failure(registry)
        release.set()

        assert "within 0.1 s; see schema_registry.timeout" in shown


def certificate(
    folder: Path, name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> Any:
    """Writes `name.pem` and `name.key`; signed by the issuer, or by itself, as a CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return signed, key


def test_tls_with_an_own_ca_and_a_client_certificate(tmp_path: Path) -> None:
    """The registry is verified against `ca`, and our certificate is shown; without them nothing is sent."""
    ca = certificate(tmp_path, "ca", None)
    certificate(tmp_path, "server", ca)
    certificate(tmp_path, "client", ca)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    server = ScriptedRegistry(context)
    server.schema(1, "int")
    own = {"certificate": tmp_path / "client.pem", "private_key": tmp_path / "client.key"}
    try:
        with registry_at(server.url, ca=tmp_path / "ca.pem", **own) as registry:
            assert ["int"] == fetched(registry, 1)
        with registry_at(server.url, ca=tmp_path / "ca.pem") as registry:
            assert "the schema registry at https://127.0.0.1" in failure(registry)
        with registry_at(server.url, **own) as registry:
            assert "set schema_registry.ca to its CA" in failure(registry)
    finally:
        server.close()

    assert ["/schemas/ids/1"] == server.requests


def test_files_for_tls_that_are_none_are_problems_of_the_configuration(tmp_path: Path) -> None:
    """A CA or certificate that cannot be used is found at the start."""
    certificate(tmp_path, "ca", None)
    (tmp_path / "empty").touch()
    for keys, path in (
        ({"ca": tmp_path / "empty"}, "schema_registry.ca"),
        (
            {"certificate": tmp_path / "ca.pem", "private_key": tmp_path / "empty"},
            "schema_registry.certificate",
        ),
        ({"bearer_token": "a\nb"}, "schema_registry.bearer_token"),
    ):
        with pytest.raises(ConfigError) as caught, registry_at("https://127.0.0.1:1", **keys):
            pass

        assert [path] == [problem.path for problem in caught.value.problems]
        assert "a\nb" not in str(caught.value)
