"""The pages cannot lie: tables are generated; links, paths, commands, settings, metrics and targets exist."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from cogapp import Cog

from connector.cli import app
from connector.config.settings import Settings
from connector.sandbox import control, faults
from tests.docs.generated import chart_values, metrics
from tests.docs.settings import settings_table

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")), "helm/README.md"]
TEXT = {page: (ROOT / page).read_text() for page in PAGES}
OF_DOCS = [page for page in PAGES if page.startswith("docs/")]
PACKAGES = sorted(path.parent.name for path in (ROOT / "connector").glob("*/__init__.py"))
TOP_LEVEL = sorted(path.name for path in (ROOT / "connector").glob("[a-z]*.py"))
FILES = sorted(path for path in (ROOT / "connector").rglob("[a-z]*.py"))

MAX_README_LINES = 300
SETTINGS = [row.split("`")[1] for row in settings_table().splitlines()[2:]]
GROUPS = set(Settings.model_fields) - {"name", "kafka", "topics", "targets"}
OF_OTHERS = {"--name", "--values", "--namespace"}
"""Options of other tools that stand on a line with `partner-bridge`."""

FIXTURE = "partner_bridge_sandbox"
"""Of pytest, and no metric."""


@pytest.mark.parametrize("page", [page for page in PAGES if "[[[cog" in TEXT[page]])
def test_the_tables_are_current(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make docs` was run after the last change of what the tables show."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [*sys.path])  # cog adds the folder of each page
    code = Cog().main(["cog", "--check", "--diff", page])

    assert 0 == code, f"run `make docs`: {''.join(capsys.readouterr())}"


def test_make_docs_writes_every_page() -> None:
    """A page with a generated table that `make docs` forgets would be stale for ever."""
    (names,) = re.findall(r"cogapp -r (.*)", (ROOT / "Makefile").read_text())
    written = {str(path.relative_to(ROOT)) for name in names.split() for path in ROOT.glob(name)}

    assert set(PAGES) == written


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    """A moved file or a renamed heading must not leave a dead link behind."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(TEXT[page])):
        if ":" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            dead.append(target)

    assert [] == dead


def test_every_page_can_be_reached_from_readme() -> None:
    """README lists every page."""
    assert [] == [page for page in OF_DOCS if f"]({page})" not in TEXT["README.md"]]


@pytest.mark.parametrize("page", PAGES)
def test_paths_that_a_page_names_exist(page: str) -> None:
    """Also those that are not links, as in tables of files."""
    named = re.findall(r"`((?:connector|docs|examples|helm|schemas|tests)/[\w./*-]*)`", TEXT[page])

    assert [] == [name for name in named if not list(ROOT.glob(name.rstrip("/")))]


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_names_exist(page: str) -> None:
    """With their options."""
    known = dict(commands(typer.main.get_command(app.app), ""))
    wrong = []
    for line in re.findall(r"partner-bridge ([a-z][^`\n|<]*)", TEXT[page]):
        words = line.split()
        command = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in known), None)
        if command is None:
            wrong.append(line)
            continue
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", line.partition("#")[0]))
        wrong += [f"{command} {option}" for option in options - known[command] - OF_OTHERS]

    assert [] == wrong


@pytest.mark.parametrize("page", PAGES)
def test_settings_that_a_page_names_exist(page: str) -> None:
    """Such as `sources.refresh_interval`; short names, as `refresh_interval`, are not checked."""
    named = set(re.findall(rf"`((?:{'|'.join(sorted(GROUPS))})\.(?!py`)[a-z_.]+)`", TEXT[page]))
    known = [*SETTINGS, *re.findall(r"`([a-zA-Z.]+)` \|", chart_values())]
    unknown = {name for name in named if not any(f"{each}.".startswith(f"{name}.") for each in known)}

    assert set() == unknown


@pytest.mark.parametrize("page", PAGES)
def test_metrics_that_a_page_names_exist(page: str) -> None:
    """With or without their prefix."""
    known = {*re.findall(r"`(partner_bridge_\w+)", metrics()), FIXTURE}
    named = re.findall(r"`(partner_bridge_\w+|[a-z_]+_total)[`{]", TEXT[page])

    assert set() == {f"partner_bridge_{name.removeprefix('partner_bridge_')}" for name in named} - known


@pytest.mark.parametrize("page", PAGES)
def test_targets_of_make_that_a_page_names_exist(page: str) -> None:
    """`make docs`, `make chaos SEED=1`."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:`|\$ )make ([a-z]+)", TEXT[page])

    assert set() == set(named) - targets


def test_the_page_of_the_sandbox_names_every_fault_and_every_call() -> None:
    """Nothing that it can do has to be found in the code."""
    page = TEXT["docs/sandbox.md"]
    kinds = {kind for group in get_args(faults.Kind) for kind in get_args(group) or (group,)}
    calls = re.findall(r"^    ([A-Z]+) +(/_sandbox[a-z/]*)", control.__doc__ or "", re.MULTILINE)

    assert set() == {kind for kind in kinds if f"`{kind}`" not in page}
    assert [] == [" ".join(call) for call in calls if f"| `{' '.join(call)}` |" not in page]
    assert calls


def test_readme_is_short() -> None:
    """It sells and starts; everything else has a page."""
    assert len(TEXT["README.md"].splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("page", OF_DOCS)
def test_a_page_opens_with_its_reader(page: str) -> None:
    """It says whom it is for, and what the reader can do after reading."""
    opening = TEXT[page].split("\n\n")[1]

    assert opening.startswith("For ")
    assert "After reading" in opening


def dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return sorted(re.split(r"[^a-z0-9-]", text)[0] for text in project["dependencies"])


@pytest.mark.parametrize("package", dependencies())
def test_every_dependency_has_its_reason(package: str) -> None:
    """Each dependency of the running bridge is justified in a line."""
    assert f"| {package} |" in TEXT["docs/contributing.md"]


@pytest.mark.parametrize("place", [*TOP_LEVEL, *(f"{package}/" for package in PACKAGES)])
def test_the_layout_in_readme_names_every_package_and_top_level_file(place: str) -> None:
    """A newcomer sees every room from the door."""
    assert f"| `connector/{place}` |" in TEXT["README.md"]


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_map_names_every_file_in_one_line(file: Path) -> None:
    """Under the heading of its package."""
    package = file.parent.relative_to(ROOT)
    section = TEXT["docs/architecture.md"].partition(f"### {package}/\n")[2].partition("\n### ")[0]

    assert re.search(rf"^\| `{file.name}` \| \S.* \|$", section, re.MULTILINE)


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(command: Any, name: str) -> Iterator[tuple[str, set[str]]]:
    """Every command and group by its name, with its options."""
    yield name, {"--help", "--version"}.union(*(parameter.opts for parameter in command.params))
    if isinstance(command, typer.core.TyperGroup):
        for each in command.list_commands(typer.Context(command)):
            yield from commands(command.commands[each], f"{name} {each}".strip())
