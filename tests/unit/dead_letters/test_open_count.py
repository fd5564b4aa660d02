"""The thread that counts open letters: whatever happens in it, it goes on counting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from connector import config
from connector.dead_letters import open_count
from connector.dead_letters.open_count import OpenCounter
from connector.model import Ranges, Record
from connector.telemetry.metrics import Telemetry
from tests.services.child import wait_until

SETTINGS = """
kafka: {bootstrap.servers: localhost:1, group.id: test}
eventbridge: {region: eu-central-1}
dead_letter: {topic: orders.dlt}
topics:
  orders:
    value: {format: json}
    event: {source: aws.partner/example.com/orders, detail_type: Order}
"""


class Letters:
    """An empty dead-letter topic, whose first reading ends in an error that nobody foresaw."""

    reads = 0

    def __init__(self, _: config.Settings) -> None: ...

    def snapshot(self) -> Ranges:
        return {}

    def read(self, _: Ranges) -> Iterator[Sequence[Record]]:
        Letters.reads += 1
        if Letters.reads == 1:
            raise ValueError("a bug")
        return iter(())

    def follow(self, *, read_up_to: dict[int, int]) -> Iterator[object]:
        return iter(())

    def close(self) -> None: ...


def test_a_bug_in_counting_is_said_and_counting_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dead thread would show its last number for the life of the process."""
    monkeypatch.setattr(open_count, "DeadLetterTopic", Letters)
    monkeypatch.setattr(open_count, "ResolutionTopic", Letters)
    file = tmp_path / "bridge.yaml"
    file.write_text(SETTINGS)
    telemetry = Telemetry()
    counting = OpenCounter(config.load(file, {}), every_s=0.01, telemetry=telemetry)
    counting.start()
    try:
        wait_until(lambda: Letters.reads > 2, what="it counts again")
    finally:
        counting.stop()

    assert b'partner_bridge_dead_letters_open{code="template_null"} 0.0' in telemetry.render()[0]
    assert "ValueError" in capsys.readouterr().err
