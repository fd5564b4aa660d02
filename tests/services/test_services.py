"""How the parts for tests are fetched, with any Python that README promises and without Maven."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.services import MissingServiceError, locks, maven, registry

JAR = "org.example:part:1.0"
ARCHIVE = "org.example:part:1.0:tar.gz:all"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(params=["filters", "no filters"])
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one as old as 3.11.2, of which `extractall` knows no filters."""
    if request.param == "no filters":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
        extract = tarfile.TarFile.extractall

        def extract_all(packed: tarfile.TarFile, path: Path) -> None:
            extract(packed, path)

        monkeypatch.setattr(tarfile.TarFile, "extractall", extract_all)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "fetched"
    folder.mkdir()
    return folder


@pytest.fixture
def central(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A jar and an archive in a repository, the mirror of Maven Central in the machine's Maven settings."""
    folder = tmp_path / "repository" / "org" / "example" / "part" / "1.0"
    folder.mkdir(parents=True)
    (folder / "part-1.0.jar").write_bytes(b"jar")
    (folder / "part-1.0-all.tar.gz").write_bytes(b"archive")
    served = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "repository"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), served)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = tmp_path / ".m2" / "settings.xml"
    settings.parent.mkdir()
    settings.write_text(
        '<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0"><mirrors>'
        "<mirror><mirrorOf>snapshots</mirrorOf><url>http://127.0.0.1:9/</url></mirror>"
        "<mirror><mirrorOf>*,!central</mirrorOf><url>http://127.0.0.1:9/</url></mirror>"
        f"<mirror><mirrorOf>other, central</mirrorOf><url>http://127.0.0.1:{server.server_port}/</url></mirror>"
        "</mirrors></settings>"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    yield folder
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("central")
def test_artifacts_come_from_the_mirror_of_the_machine(into: Path) -> None:
    """A jar, and what is none, with the checksums of the lock."""
    maven.fetch({JAR: sha256(b"jar"), ARCHIVE: sha256(b"archive")}, into)

    assert {"part-1.0.jar": b"jar", "part-1.0-all.tar.gz": b"archive"} == {
        file.name: file.read_bytes() for file in into.iterdir()
    }


@pytest.mark.usefixtures("central")
def test_another_artifact_than_the_lock_s_is_not_kept(into: Path) -> None:
    with pytest.raises(MissingServiceError, match=rf"{JAR}.* the lock says {sha256(b'other')}"):
        maven.fetch({JAR: sha256(b"other")}, into)

    assert [] == list(into.iterdir())


def test_an_artifact_that_is_not_there_is_named(central: Path, into: Path) -> None:
    (central / "part-1.0.jar").unlink()

    with pytest.raises(MissingServiceError, match=f"{JAR}.* cannot be fetched"):
        maven.fetch({JAR: sha256(b"jar")}, into)


def test_locks_are_current() -> None:
    """`make lock` was run after the last change of a version."""
    assert [] == [lock.name for lock, roots in locks.LOCKS.items() if not locks.current(lock, roots)]


@pytest.mark.usefixtures("central")
def test_a_lock_has_the_checksum_of_each_artifact() -> None:
    *_, line = locks.locked((ARCHIVE,)).splitlines()

    assert f"{ARCHIVE} {sha256(b'archive')}" == line


@pytest.mark.usefixtures("python")
def test_a_release_is_unpacked(tmp_path: Path) -> None:
    """Its files are there, and the archive is not."""
    with tarfile.open(tmp_path / "release.tar.gz", "w:gz") as packed:
        member = tarfile.TarInfo("lib/a.jar")
        member.size = 3
        packed.addfile(member, io.BytesIO(b"jar"))

    registry.unpack(tmp_path)

    assert b"jar" == (tmp_path / "lib" / "a.jar").read_bytes()
    assert [] == list(tmp_path.glob("*.tar.gz"))
