"""Printing for every command: paragraphs, tables, labelled values, progress, counts and JSON.

Results go to stdout, talk to stderr. On a terminal, what is longer than a line goes on in the next one,
indented, and no id or code is ever broken, so that it can be copied. Elsewhere lines stay lines, for `grep`
and `awk`. A function imports rich when it needs it: `--help` does not.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from connector.errors import Problem

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

BAR_DELAY_S = 0.5
"""A bar appears after so long. Most commands are done by then, and never import rich."""

BAR_INTERVAL_S = 0.1
LINE_INTERVAL_S = 5.0
"""Progress is shown this often: as a bar on a terminal, else as a line."""

SPEED_WINDOW_S = 15.0
"""Speeds, and the time that is left, are those of the last seconds."""

GAP = 2
"""Spaces between two columns, and before what goes on from the line above."""

MIN_COLUMNS = 20
"""Columns for text, however far it is indented."""

_STYLES = re.compile(r"\x1b\[[0-9;]*m")

_COMMAND = re.compile(r"(?:\S+\.sh|(?<=: )partner-bridge) .*")
"""A command to copy, Kafka's or ours, at the end of a sentence: it stays in one piece."""


def wants_colour() -> bool:
    """Whether a terminal may be sent colours and bold text, see https://no-color.org."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_json(result: object) -> None:
    """Write a result for machines to stdout."""
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False))


def print_text(
    text: str, *, indent: str = "", hanging: str | None = None, bold: bool = False, err: bool = False
) -> None:
    """Print a paragraph. Its first line begins with `indent`, the next ones with `hanging`."""
    hanging = indent + " " * GAP if hanging is None else hanging
    _echo("\n".join(_wrapped(text, indent, hanging, err=err)), bold=bold, err=err)


def print_problems(title: str, problems: Sequence[Problem]) -> None:
    """List problems on stderr, numbered."""
    typer.echo(f"{title}:", err=True)
    for number, problem in enumerate(problems, start=1):
        begin = f"  {number}. "
        print_text(str(problem), indent=begin, hanging=" " * len(begin), err=True)


def print_values(
    values: Mapping[str, str | None],
    *,
    indent: str = "",
    mark: str = "",
    wraps: bool = False,
    err: bool = False,
) -> None:
    """Print a line for each value: its label with `mark` behind it, and the value in a column.

    A value of None has no line, and its label counts for the width of the column all the same. With `wraps`
    long values are wrapped on a terminal, inside their column; commands to copy must not be.
    """
    width = max(map(len, values), default=0) + GAP
    hanging = indent + " " * width
    for label, value in values.items():
        if value is None:
            continue
        begin = f"{indent}{label + mark:<{width}}"
        room = (_columns(err=err) or sys.maxsize) - len(begin)
        if not wraps:
            typer.echo(begin + value, err=err)
        elif max(map(len, value.split()), default=0) <= room:
            print_text(value, indent=begin, hanging=hanging, err=err)
        else:  # a word of it needs more room than the column has
            typer.echo(begin.rstrip(), err=err)
            print_text(value, indent=indent + " " * 2 * GAP, hanging=indent + " " * 2 * GAP, err=err)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> None:
    """Print a table; `right` names the columns of numbers.

    On a terminal the columns that do not fit go on in a further line, indented, of every row.
    """
    cleaned = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cleaned, strict=True)]
    groups = _lines_of_columns(widths)
    for row in (header, *cleaned):
        cells = [
            f"{cell:>{width}}" if title in right else f"{cell:<{width}}"
            for title, cell, width in zip(header, row, widths, strict=True)
        ]
        for number, group in enumerate(groups):
            line = " " * GAP * bool(number) + (" " * GAP).join(cells[group])
            _echo(line.rstrip(), bold=row is header)


def wrap_lines(text: str) -> str:
    """The same for a terminal: what is longer than a line goes on in the next one, indented further."""
    lines: list[str] = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        lines += _wrapped(line.lstrip(), indent, indent + " " * 2 * GAP, err=False)
    return "".join(f"{line}\n" for line in lines)


def program() -> str:
    """Name this program as a reader can type it: by its name where the path leads to it, else by its file.

    The file is relative to the current directory where it lies below that.
    """
    own = Path(sys.executable).with_name("partner-bridge")
    if not own.exists():
        return f"{shlex.quote(sys.executable)} -m connector"
    found = shutil.which(own.name)
    if found and own.samefile(found):
        return own.name
    folder = Path.cwd()
    return shlex.quote(str(own.relative_to(folder) if folder in own.parent.parents else own))


def note(text: str) -> None:
    """Write something to stderr that is unusual and stops nothing."""
    print_text(f"note: {printable(text)}", err=True)


def _echo(text: str, *, bold: bool, err: bool = False) -> None:
    typer.echo(typer.style(text, bold=True) if bold else text, err=err)


def _columns(*, err: bool) -> int | None:
    """The columns of the terminal that stdout (`err`: stderr) is; None where it is none."""
    is_terminal = (sys.stderr if err else sys.stdout).isatty()
    return shutil.get_terminal_size().columns if is_terminal else None


def _wrapped(text: str, begin: str, hanging: str, *, err: bool) -> list[str]:
    """Lines of a text, the first behind `begin`, the others behind `hanging`. Only spaces are broken at."""
    columns = _columns(err=err)
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        first = hanging if lines else begin
        if columns is None:
            lines.append(first + paragraph)
            continue
        command = _COMMAND.search(paragraph)
        prose = paragraph[: command.start()] if command else paragraph
        begin_columns = len(_STYLES.sub("", first))
        folded = textwrap.wrap(
            prose,
            max(columns, len(hanging) + MIN_COLUMNS),
            initial_indent=" " * begin_columns,
            subsequent_indent=hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += [first + line[begin_columns:] for line in folded[:1]] + folded[1:]
        if command:
            lines.append((hanging if folded else first) + command[0])
        elif not folded:
            lines.append(first)
    return lines


def _lines_of_columns(widths: Sequence[int]) -> list[slice]:
    """Which columns of a table stand in one line: all, or as many as the terminal has room for."""
    room = _columns(err=False)
    begins, used = [0], 0
    for number, width in enumerate(widths):
        if room is not None and number > begins[-1] and used + width > room:
            begins.append(number)
            used = GAP
        used += width + GAP
    return [slice(begin, end) for begin, end in zip(begins, [*begins[1:], len(widths)], strict=True)]


def plural(count: int, noun: str) -> str:
    """`1 letter`, `2,500 letters`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """`40 s`, `12 min` or `2.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def printable(text: str) -> str:
    """Escape the characters of foreign text that a terminal would take for commands."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


class Speed:
    """Measures how many units a second were done lately."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def __call__(self, done: int) -> float:
        """Units a second, now that so many are done in all."""
        now_s = time.monotonic()
        self._marks.append((now_s, done))
        while now_s - self._marks[0][0] > SPEED_WINDOW_S:
            self._marks.popleft()
        since_s, done_then = self._marks[0]
        return (done - done_then) / max(now_s - since_s, 1.0)


class Progress:
    """Shows how far a command is; `progress` makes one."""

    def __init__(
        self, title: str, total: int | None, *, open_bar: Callable[[], Bar] | None, lines: bool
    ) -> None:
        self.beside: Callable[[], str] = lambda: ""
        """Called when the progress is shown, for a text beside the number."""
        self._title = title
        self._total = total
        self._done = 0
        self._speed = Speed()
        self._open_bar = open_bar
        self._bar: Bar | None = None
        self._interval_s = BAR_INTERVAL_S if open_bar else LINE_INTERVAL_S
        delay_s = BAR_DELAY_S if open_bar else LINE_INTERVAL_S if lines else float("inf")
        self._due_s = time.monotonic() + delay_s

    def advance(self, count: int) -> None:
        self._done += count
        self.refresh()

    def refresh(self) -> None:
        """Show the progress, unless it was shown a moment ago."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = now_s + self._interval_s
        beside = ", ".join(filter(None, [self.beside(), self._left()]))
        done = self._done if self._total is None else min(self._done, self._total)
        if self._open_bar is not None:
            if self._bar is None:
                self._bar = self._open_bar()
                self._bar.add_task(self._title, total=self._total, beside="")
            self._bar.update(self._bar.task_ids[0], completed=done, beside=beside)
            return
        number = f"{done:,}" if self._total is None else f"{done:,} of {self._total:,}"
        typer.echo("; ".join(filter(None, [f"{self._title}: {number}", beside])), err=True)

    def _left(self) -> str:
        speed = self._speed(self._done)
        left = 0 if self._total is None else self._total - self._done
        return f"{duration(left / speed)} left" if speed and left > 0 else ""


@contextmanager
def progress(
    title: str, total: int | None = None, *, lines: bool = False, beside_output: bool = False
) -> Iterator[Progress]:
    """Show progress on stderr: a bar on a terminal, and elsewhere a line now and then if `lines` is set.

    No bar `beside_output` on the same terminal: that is what shows the progress then.
    """
    is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if not is_terminal or (beside_output and sys.stdout.isatty()):
        yield Progress(title, total, open_bar=None, lines=lines and not is_terminal)
        return
    with ExitStack() as opened:
        yield Progress(title, total, open_bar=lambda: opened.enter_context(_bar()), lines=False)


def _bar() -> Bar:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[beside]}", markup=False),
        console=Console(stderr=True, highlight=False),
        transient=True,
        redirect_stdout=False,  # else what goes into a file would go to the terminal instead
    )
