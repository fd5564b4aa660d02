"""Commands run inside the process of the test, the example they read, and one file full of mistakes."""

from __future__ import annotations

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
