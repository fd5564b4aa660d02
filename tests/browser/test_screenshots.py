"""The pictures of the docs: they are taken as they are called, and shown."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Serve
from tests.browser.screenshots import FOLDER, PICTURES, take
from tests.pages import contents, source

ROOT = Path(__file__).parents[2]


def size(picture: Path) -> tuple[int, int]:
    """In pixels, as the file says."""
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    return width, height


@pytest.mark.long
def test_each_picture_has_the_size_of_its_window(chromium: Browser, serve: Serve, tmp_path: Path) -> None:
    """Of the page as it is now."""
    take(chromium, serve(contents([source("acme/a")])), tmp_path)

    assert {each.name: (each.width, each.height) for each in PICTURES} == {
        path.name: size(path) for path in tmp_path.iterdir()
    }


def test_each_picture_is_shown() -> None:
    """And no other one is kept."""
    pages = "".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

    assert {each.name for each in PICTURES} == {path.name for path in FOLDER.iterdir()}
    assert [] == [each.name for each in PICTURES if f"images/{each.name}" not in pages]
