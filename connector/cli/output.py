"""Printing for every command: tables, labelled values, progress, counts and JSON.

Results go to stdout, talk to stderr. A function imports rich when it needs it: `--help` does not.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

BAR_INTERVAL_S = 0.1
LINE_INTERVAL_S = 5.0
"""Progress is shown this often: as a bar on a terminal, else as a line."""

SPEED_WINDOW_S = 15.0
"""Speeds, and the time that is left, are those of the last seconds."""


def print_json(result: object) -> None:
    """Write a result for machines to stdout."""
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False))


def print_values(
    values: Mapping[str, str | None], *, indent: str = "", mark: str = "", err: bool = False
) -> None:
    """Print a line for each value: its label with `mark` behind it, and the value in a column.

    A value of None has no line, and its label counts for the width of the column all the same.
    """
    width = max(map(len, values), default=0) + 2
    for label, value in values.items():
        if value is not None:
            typer.echo(f"{indent}{label + mark:<{width}}{value}", err=err)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> None:
    """Print a table; `right` names the columns of numbers.

    On a terminal long cells are folded. Elsewhere each row is one line, for `grep` and `awk`.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    cleaned = [[printable(cell) for cell in row] for row in rows]
    if console.is_terminal:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in header:
            table.add_column(title, justify="right" if title in right else "left", overflow="fold")
        for row in cleaned:
            table.add_row(*map(Text, row))
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(header, *cleaned, strict=True)]
    for row in ([*header], *cleaned):
        cells = [
            f"{cell:>{width}}" if title in right else f"{cell:<{width}}"
            for title, cell, width in zip(header, row, widths, strict=True)
        ]
        typer.echo("  ".join(cells).rstrip())


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
    typer.echo(f"note: {printable(text)}", err=True)


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

    def __init__(self, title: str, total: int | None, *, bar: Bar | None, lines: bool) -> None:
        self.beside: Callable[[], str] = lambda: ""
        """Called when the progress is shown, for a text beside the number."""
        self._title = title
        self._total = total
        self._done = 0
        self._speed = Speed()
        self._bar = bar
        self._task = bar.add_task(title, total=total, beside="") if bar else None
        self._interval_s = BAR_INTERVAL_S if bar else LINE_INTERVAL_S
        self._due_s = time.monotonic() + self._interval_s if bar or lines else float("inf")

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
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, beside=beside)
            return
        number = f"{done:,}" if self._total is None else f"{done:,} of {self._total:,}"
        typer.echo("; ".join(filter(None, [f"{self._title}: {number}", beside])), err=True)

    def _left(self) -> str:
        speed = self._speed(self._done)
        left = 0 if self._total is None else self._total - self._done
        return f"{duration(left / speed)} left" if speed and left > 0 else ""


@contextmanager
def progress(title: str, total: int | None = None, *, lines: bool = False) -> Iterator[Progress]:
    """Show progress on stderr: a bar on a terminal, and elsewhere a line now and then if `lines` is set."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Progress(title, total, bar=None, lines=lines)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[beside]}", markup=False),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        yield Progress(title, total, bar=bar, lines=False)
