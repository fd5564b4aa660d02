"""Commands run inside the process of the test, the example they read, and one file full of mistakes."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from connector.cli import app

EXAMPLE = str(Path(__file__).parents[1] / "examples" / "bridge.yaml")

FIVE_MISTAKES = """
kafka:
  bootstrap.servers: localhost:9092
  group.id: orders
  enable.auto.commit: true
schema_registry: {url: http://localhost:8081}
eventbridge:
  region: eu-central-1
  timeouts: {read: 15}
dead_letter: {topic: orders.dlt}
topics:
  orders.v1:
    tombstone: skip
    filter: "value.status !="
    event:
      source: aws.partner/example.com/a
      detail_type: "Order ${value.status"
"""


class Ran(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """What a command wrote to a real terminal; whole once its context has ended."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.raw = ""

    @property
    def lines(self) -> list[str]:
        """The lines, without colours."""
        return STYLES.sub("", self.raw).splitlines()

    @property
    def too_long(self) -> list[str]:
        """Lines that the terminal breaks, though they have a place to be broken at."""
        return [line for line in self.lines if len(line) > self.columns and " " in line.strip()]


@contextmanager
def screen(monkeypatch: pytest.MonkeyPatch, columns: int = 80, *, stdout: bool = True) -> Iterator[Screen]:
    """Make stdout and stderr a terminal of so many columns; without `stdout` only stderr."""
    shown = Screen(columns)
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    chunks: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(ours, 65536):
                chunks.append(chunk)
        except OSError:  # its other end was closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with monkeypatch.context() as patched, os.fdopen(theirs, "w", encoding="utf-8") as stream:
            patched.setenv("COLUMNS", str(columns))
            patched.setenv("TERM", "xterm-256color")
            patched.delenv("NO_COLOR", raising=False)
            patched.setattr(sys, "stderr", stream)
            if stdout:
                patched.setattr(sys, "stdout", stream)
            yield shown
    finally:
        reader.join()
        os.close(ours)
        shown.raw = b"".join(chunks).decode().replace("\r\n", "\n")


class Terminal:
    """Runs commands as a shell would, inside this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: str) -> Ran:
        with pytest.raises(SystemExit) as caught:
            app.main(list(arguments))
        written = self._capsys.readouterr()
        code = caught.value.code
        return Ran(code if isinstance(code, int) else 0, written.out, written.err)
