"""A real schema registry: Apicurio, which speaks the Confluent API.

An address from the environment, a container, or the release itself from Maven Central.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import urllib3

from tests.services import containers, maven
from tests.services.child import Child, free_ports, wait_until

VERSION = "3.0.9"
IMAGE = f"apicurio/apicurio-registry:{VERSION}"
LOCK = Path(__file__).with_name("apicurio.lock")
ARTIFACTS = (f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all",)
CONFLUENT_API = "/apis/ccompat/v7"
START_TIMEOUT_S = 120.0


class Registry:
    """A Confluent-compatible registry at `url`."""

    def __init__(self, url: str, *, description: str) -> None:
        self.url = url
        self.description = description
        self._http = urllib3.PoolManager(timeout=10, retries=False)

    def register(
        self, subject: str, schema: object, *, references: Sequence[Mapping[str, object]] = ()
    ) -> int:
        """Registers an Avro schema (as parsed JSON) and answers its id."""
        body = {"schema": json.dumps(schema), "schemaType": "AVRO", "references": list(references)}
        answer = self._http.request("POST", f"{self.url}/subjects/{subject}/versions", json=body)
        assert answer.status == 200, answer.data.decode()
        return int(answer.json()["id"])

    def answers(self) -> bool:
        try:
            return self._http.request("GET", f"{self.url}/subjects", timeout=2).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def close(self) -> None:
        pass


class Apicurio(Registry):
    """Apicurio on a free port of 127.0.0.1; its content outlives a stop, and ends with `close`."""

    def __init__(self) -> None:
        (port,) = free_ports(1)
        in_container = containers.has_image(IMAGE)
        how = f"container {IMAGE}" if in_container else f"Java {maven.JAVA_VERSION}, from the cache"
        super().__init__(f"http://127.0.0.1:{port}{CONFLUENT_API}", description=f"Apicurio {VERSION} ({how})")
        self._folder = Path(tempfile.mkdtemp(prefix="apicurio-for-tests-"))
        environ = {
            "QUARKUS_HTTP_PORT": str(port),
            "QUARKUS_HTTP_HOST": "0.0.0.0" if in_container else "127.0.0.1",
            # In a file, not in memory: so a stop and a start are an outage, not the loss of every schema.
            "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{'/tmp' if in_container else self._folder}/registry",
        }
        self._node: Child | containers.Container
        if in_container:
            self._node = containers.Container(IMAGE, [], ports=[port], environ=environ)
        else:
            home = maven.folder(LOCK, then=unpack)
            self._node = Child(
                [
                    maven.JAVA,
                    "-Xmx384m",
                    "-XX:+UseSerialGC",
                    "-XX:TieredStopAtLevel=1",
                    "-cp",
                    "*:lib/*",
                    main_class(home),
                ],
                log=self._folder / "apicurio.log",
                environ=environ,
                folder=home,
            )

    def start(self) -> Apicurio:
        self._node.start()
        try:
            wait_until(
                lambda: self.answers() or not self._node.running,
                what="the registry answers",
                timeout_s=START_TIMEOUT_S,
                every_s=0.2,
            )
            assert self._node.running, "it ended while it started"
        except AssertionError as error:
            raise AssertionError(f"Apicurio did not start: {error}\n{self._node.tail()}") from None
        return self

    def stop(self) -> None:
        self._node.stop()

    def hang(self) -> None:
        """Makes it accept connections and answer nothing, until `resume`."""
        self._node.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._node.signal(signal.SIGCONT)

    def close(self) -> None:
        self._node.remove()
        shutil.rmtree(self._folder, ignore_errors=True)


def unpack(folder: Path) -> None:
    """Replaces the one archive in a folder by what it holds."""
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        # Debian 12's Python, 3.11.2, has no filters yet. The archive is the one that the lock names.
        safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        packed.extractall(folder, **safely)
    archive.unlink()


def main_class(home: Path) -> str:
    """The Main-Class of the one runner jar in `home`."""
    (runner,) = home.glob("*-runner.jar")
    with zipfile.ZipFile(runner) as jar:
        manifest = jar.read("META-INF/MANIFEST.MF").decode()
    return manifest.partition("Main-Class: ")[2].split()[0]


def shared() -> Registry:
    """Answers the registry that all tests of a run share; raises MissingServiceError where there is none."""
    url = os.environ.get("SCHEMA_REGISTRY_URL")
    return (
        Registry(url, description=f"the registry at SCHEMA_REGISTRY_URL={url}") if url else Apicurio().start()
    )
