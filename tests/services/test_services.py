"""How the parts for tests are fetched, with any Python that README promises."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.services import cache, registry


@pytest.fixture(params=["filters", "no filters"])
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one as old as 3.11.2, of which `extractall` knows no filters."""
    if request.param == "no filters":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
        extract = tarfile.TarFile.extractall

        def extract_all(packed: tarfile.TarFile, path: Path) -> None:
            extract(packed, path)

        monkeypatch.setattr(tarfile.TarFile, "extractall", extract_all)


@pytest.mark.usefixtures("python")
def test_a_release_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are there, and the archive is not."""

    def fetch(*_: str, into: Path) -> None:
        with tarfile.open(into / "release.tar.gz", "w:gz") as packed:
            member = tarfile.TarInfo("lib/a.jar")
            member.size = 3
            packed.addfile(member, io.BytesIO(b"jar"))

    monkeypatch.setattr(cache, "maven", fetch)
    registry._unpack(tmp_path)

    assert b"jar" == (tmp_path / "lib" / "a.jar").read_bytes()
    assert [] == list(tmp_path.glob("*.tar.gz"))
