"""The version stands in one place, `connector/__init__.py`; what must repeat it says the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import yaml

from connector import __version__

ROOT = Path(__file__).parents[2]


def test_every_file_that_repeats_the_version_says_the_same() -> None:
    """The package takes it from there; Chart.yaml and the label of the image cannot."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())
    chart = yaml.safe_load((ROOT / "helm" / "Chart.yaml").read_text())
    bridges = yaml.safe_load((ROOT / "helm" / "recipes" / "several-bridges" / "Chart.yaml").read_text())
    labels = re.findall(r"^ARG VERSION=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert ["version"] == package["project"]["dynamic"]
    assert "connector/__init__.py" == package["tool"]["hatch"]["version"]["path"]
    assert __version__ == str(chart["appVersion"]) == str(chart["version"])
    assert [__version__] == labels
    assert {__version__} == {each["version"] for each in bridges["dependencies"]}


def test_a_published_chart_names_the_image_and_the_repository_that_publish_it(tmp_path: Path) -> None:
    """The step of the workflow is run as it stands: a `sed` that finds nothing says nothing."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    (step,) = (
        each
        for each in workflow["jobs"]["release"]["steps"]
        if each.get("name", "").startswith("The chart names")
    )
    (tmp_path / "helm").mkdir()
    for name in ("values.yaml", "Chart.yaml"):
        shutil.copy(ROOT / "helm" / name, tmp_path / "helm")
    source = "https://git.example.com/acme/bridge"
    names = {"REGISTRY": "ghcr.io", "OWNER": "ghcr.io/acme", "SOURCE": source}
    subprocess.run(["bash", "-ec", step["run"]], cwd=tmp_path, env={**os.environ, **names}, check=True)
    values = yaml.safe_load((tmp_path / "helm" / "values.yaml").read_text())
    chart = yaml.safe_load((tmp_path / "helm" / "Chart.yaml").read_text())

    assert {"registry": "ghcr.io", "repository": "acme/partner-bridge"} == {
        key: values["image"][key] for key in ("registry", "repository")
    }
    assert (source, [f"{source}.git"]) == (chart["home"], chart["sources"])
    assert "example.com/kafka-partner-bridge" not in (tmp_path / "helm" / "Chart.yaml").read_text()


def test_the_base_is_pinned_by_digest_and_its_tag_is_said_beside_it() -> None:
    """A tag moves; a digest alone tells a reader nothing."""
    text = (ROOT / "Dockerfile").read_text()

    assert re.search(
        r"^# python:3\.\d+\.\d+-\S+\nARG BASE_IMAGE=\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE
    )
