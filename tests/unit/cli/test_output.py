"""What commands print looks the same everywhere, and lines stay lines where there is no terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from connector.cli import output


def test_values_stand_in_one_column(capsys: pytest.CaptureFixture[str]) -> None:
    """A value that is None has no line, and moves nothing."""
    output.print_values({"state": "ACTIVE", "events sent": None}, mark=":")
    output.print_values({"a": "1", "bc": "2"}, indent="  ")

    assert "state:       ACTIVE\n  a   1\n  bc  2\n" == capsys.readouterr().out


def test_a_table_is_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers stand on the right, and nothing in a cell can command the terminal."""
    output.print_table(("code", "letters"), [("tombstone", "5"), ("\x1b[2J", "12,345")], right={"letters"})

    assert ["code       letters", "tombstone        5", "\\x1b[2J     12,345"] == (
        capsys.readouterr().out.splitlines()
    )


def test_a_table_without_rows_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("id", "state"), [])

    assert "id  state\n" == capsys.readouterr().out


@pytest.mark.parametrize(("count", "text"), [(0, "0 letters"), (1, "1 letter"), (2500, "2,500 letters")])
def test_a_count_and_its_noun(count: int, text: str) -> None:
    assert text == output.plural(count, "letter")


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")])
def test_a_duration_is_as_exact_as_it_is_known(seconds: float, text: str) -> None:
    assert text == output.duration(seconds)


@pytest.mark.parametrize("lines", [False, True])
def test_progress_without_a_terminal_is_a_line_now_and_then_or_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lines: bool
) -> None:
    """The text beside the number is the one of this moment."""
    monkeypatch.setattr(output, "LINE_INTERVAL_S", 0.0)
    with output.progress("letters read", 4000, lines=lines) as shown:
        shown.beside = lambda: "7 failing"
        shown.advance(4000)

    assert ("letters read: 4,000 of 4,000; 7 failing\n" if lines else "") == capsys.readouterr().err


def test_progress_on_a_terminal_is_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the total is not known."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(output, "BAR_INTERVAL_S", 0.0)
    for total in (4000, None):
        with output.progress("[letters] read", total) as shown:
            shown.beside = lambda: "7 [failing]"
            shown.advance(1)
        written = capsys.readouterr()

        assert "" == written.out
        assert "[letters] read" in written.err
        assert "7 [failing]" in written.err


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program in the .venv of the current directory, which is not on the path."""
    own = tmp_path / ".venv" / "bin" / "partner-bridge"
    own.parent.mkdir(parents=True)
    own.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(own.with_name("python")))
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir(tmp_path)
    return own


def test_the_program_is_named_by_its_file_from_here(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ".venv/bin/partner-bridge" == output.program()
    monkeypatch.chdir("/")
    assert str(own).removeprefix("/") == output.program()
    monkeypatch.chdir(own.parent)
    assert str(own) == output.program()


def test_the_program_is_named_by_its_name_where_the_path_leads_to_it(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a link too, as pipx makes it; but not where another of that name comes first."""
    other, linked = tmp_path / "other", tmp_path / "linked"
    other.mkdir()
    (other / own.name).touch(mode=0o755)
    linked.mkdir()
    (linked / own.name).symlink_to(own)

    monkeypatch.setenv("PATH", os.pathsep.join([str(linked), str(other)]))
    assert "partner-bridge" == output.program()
    monkeypatch.setenv("PATH", os.pathsep.join([str(other), str(linked)]))
    assert ".venv/bin/partner-bridge" == output.program()


def test_a_program_without_a_file_is_a_module(own: Path) -> None:
    own.unlink()

    assert f"{own.with_name('python')} -m connector" == output.program()
