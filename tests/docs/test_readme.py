"""README cannot lie: its tables are generated, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("file", ["README.md", "helm/README.md"])
def test_the_tables_are_current(file: str) -> None:
    """`make docs` was run after the last change of a command, setting, metric, code or value of the chart."""
    checked = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == checked.returncode, f"run `make docs`: {checked.stdout}{checked.stderr}"


def test_links_into_the_repository_lead_to_files() -> None:
    """A moved file must not leave a dead link behind."""
    targets = {target.split("#")[0] for target in re.findall(r"\]\(([^)#:]+)\)", README)}

    assert [] == sorted(target for target in targets if not (ROOT / target).exists())


def test_headings_that_the_contents_name_exist() -> None:
    """The list at the top leads to chapters."""
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    }

    assert set() == set(re.findall(r"\]\(#([^)]+)\)", README)) - anchors


def dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return sorted(re.split(r"[^a-z0-9-]", text)[0] for text in project["dependencies"])


@pytest.mark.parametrize("package", dependencies())
def test_every_dependency_has_its_reason(package: str) -> None:
    """Each dependency of the running bridge is justified in a line of README."""
    assert f"| {package} |" in README


@pytest.mark.parametrize("module", sorted(path.stem for path in (ROOT / "connector").glob("[a-z]*.py")))
def test_the_file_map_names_every_module(module: str) -> None:
    """A newcomer finds each room on the map."""
    assert f"| `{module}` |" in README
