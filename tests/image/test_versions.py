"""The version stands in one place, `connector/__init__.py`; what must repeat it says the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from connector import __version__

ROOT = Path(__file__).parents[2]


def test_every_file_that_repeats_the_version_says_the_same() -> None:
    """The package takes it from there; Chart.yaml and the label of the image cannot."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())
    chart = yaml.safe_load((ROOT / "helm" / "Chart.yaml").read_text())
    labels = re.findall(r"^ARG VERSION=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert ["version"] == package["project"]["dynamic"]
    assert "connector/__init__.py" == package["tool"]["hatch"]["version"]["path"]
    assert __version__ == str(chart["appVersion"])
    assert [__version__] == labels


def test_the_base_is_pinned_by_digest_and_its_tag_is_said_beside_it() -> None:
    """A tag moves; a digest alone tells a reader nothing."""
    text = (ROOT / "Dockerfile").read_text()

    assert re.search(
        r"^# python:3\.\d+\.\d+-\S+\nARG BASE_IMAGE=\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE
    )
