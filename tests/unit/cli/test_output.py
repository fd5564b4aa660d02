"""What commands print looks the same everywhere, and lines stay lines where there is no terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import typer
import yaml

from connector.cli import output
from tests.terminal import screen

IDS = [f"orders-bridge-production.dlt/{number}/104{number}" for number in range(12)]
LETTERS = [
    (letter, "open", "detail_type_too_long", f"orders.created.v1[{number}]@1729", "2026-11-29 02:15:24")
    for number, letter in enumerate(IDS)
]
HEADER = ("id", "state", "code", "origin", "written")


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


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the total is not known."""
    monkeypatch.setattr(output, "BAR_INTERVAL_S", 0.0)
    monkeypatch.setattr(output, "BAR_DELAY_S", 0.0)
    for total in (4000, None):
        with (
            screen(monkeypatch) as shown,
            output.progress("[letters] read", total) as progress,
        ):
            progress.beside = lambda: "7 [failing]"
            progress.advance(1)

        assert "[letters] read" in shown.raw
        assert "7 [failing]" in shown.raw


def test_a_quick_command_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would flicker, and importing it would take longer than the command."""
    with screen(monkeypatch) as shown, output.progress("reading", 2) as progress:
        progress.advance(2)

    assert "" == shown.raw


def test_a_bar_takes_nothing_away_from_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is printed meanwhile goes to stdout, byte for byte, while the bar is on the terminal."""
    monkeypatch.setattr(output, "BAR_INTERVAL_S", 0.0)
    monkeypatch.setattr(output, "BAR_DELAY_S", 0.0)
    with screen(monkeypatch, stdout=False) as shown, output.progress("reading", 2) as progress:
        progress.advance(1)
        print("x" * 200)
        progress.advance(1)

    assert f"{'x' * 200}\n" == capsys.readouterr().out
    assert "reading" in shown.raw
    assert "xxx" not in shown.raw


def test_no_bar_beside_what_is_printed_on_the_same_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "BAR_DELAY_S", 0.0)
    with screen(monkeypatch) as shown, output.progress("reading", 2, beside_output=True) as progress:
        progress.advance(1)
        typer.echo("id: a/0/1")

    assert ["id: a/0/1"] == shown.lines


# On a terminal


@pytest.mark.parametrize("columns", [80, 60, 40])
def test_no_id_or_code_of_a_table_is_ever_broken(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Cells that do not fit go on in a further line of the row, each whole."""
    with screen(monkeypatch, columns) as shown:
        output.print_table(HEADER, LETTERS)

    assert [] == [line for line in shown.lines if len(line) > columns]
    assert IDS == [line.split()[0] for line in shown.lines if not line.startswith(" ")][1:]
    for cell in {cell for row in LETTERS for cell in row}:
        assert any(cell in line for line in shown.lines)


def test_a_table_that_fits_is_one_line_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    with screen(monkeypatch, 120) as shown:
        output.print_table(HEADER, LETTERS)

    assert 1 + len(LETTERS) == len(shown.lines)


@pytest.mark.parametrize("columns", [80, 60])
def test_long_values_go_on_inside_their_column(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """A label stands alone on the left, and a template stays whole."""
    value = "the record's source, aws.partner/example.com/${value.tenant_id}, and many a word besides of it"
    with screen(monkeypatch, columns) as shown:
        output.print_values({"source": value, "if it is not ACTIVE": "held"}, indent="  ", wraps=True)

    assert [] == shown.too_long
    assert [["source", "if"], 2] == [
        [line.split()[0] for line in shown.lines if line[2] != " "],
        min(len(line) - len(line.lstrip()) for line in shown.lines),
    ]
    assert any("aws.partner/example.com/${value.tenant_id}," in line for line in shown.lines)


@pytest.mark.parametrize(
    "command",
    [
        "kafka-topics.sh --alter --topic orders-bridge.dlt.resolutions --partitions 12 --and-so-on",
        "partner-bridge sandbox topic orders-bridge.dlt.resolutions --partitions 12 --and-so-on",
    ],
)
def test_a_command_to_copy_stays_in_one_piece(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    with screen(monkeypatch, 60) as shown:
        output.note(f"the topic has 2 partitions; set dead_letter.create: true, or: {command}")

    assert f"  {command}" == shown.lines[-1]


def test_a_line_stays_a_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """For grep and awk."""
    output.print_text("word " * 60)
    output.print_values({"a": "word " * 60}, wraps=True)

    assert 2 == len(capsys.readouterr().out.splitlines())


def test_colours_are_for_terminals_that_want_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """https://no-color.org: never in a file or pipe, whatever a CI sets."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    output.print_text("title", bold=True)
    with screen(monkeypatch) as shown:
        output.print_text("title", bold=True)

    assert "title\n" == capsys.readouterr().out
    assert "\x1b[1mtitle" in shown.raw


def test_what_show_prints_stays_yaml_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be copied into a ticket, ids and codes in one piece."""
    letter = {
        "id": IDS[0],
        "message": "topics.orders.v1.event.source: ${value.tenant_id} is null: 'give' a default with `||`.",
        "headers": {"partner-bridge.event-id": f"lkc-1234567/orders.created.v1/3/348/{1_795_918_512_561}"},
        "lines": [{"text": "many a word, and so many that they do not fit into a line of sixty"}],
    }
    whole = yaml.safe_dump(letter, sort_keys=False, width=10**9)
    with screen(monkeypatch, 60) as shown:
        typer.echo(output.wrap_lines(whole), nl=False)

    assert [] == shown.too_long
    assert letter == yaml.safe_load("\n".join(shown.lines))


# The program's name


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
