"""The dead-letter tools on the sandbox's broker, which can do less than Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Producer

from connector import config
from connector.dead_letters import Selection, scan
from connector.kafka_letters import LetterTopic, ResolutionTopic
from connector.model import Partition, Position
from connector.resolutions import Resolution, Resolved, State
from connector.sandbox import orders
from connector.sandbox.broker import Broker

LETTERS = orders.DEAD_LETTER_TOPIC


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[config.Settings]:
    with Broker(topics={LETTERS: 1, f"{LETTERS}.resolutions": 1}) as broker:
        text = orders.CONFIG.format(
            bootstrap=broker.bootstrap, registry="http://x", eventbridge="http://127.0.0.1:1",
            region=orders.REGION, http_port=0,
        )  # fmt: skip
        assert yaml.safe_load(text)["dead_letter"]["topic"] == LETTERS
        file = tmp_path / "bridge.yaml"
        file.write_text(text)
        yield config.load(file, {})


def test_letters_are_found_by_time_and_resolved(settings: config.Settings) -> None:
    """Although this broker cannot search by time, and cannot be asked whether a topic is compacted."""
    now_ms = int(time.time() * 1000)
    producer = Producer({"bootstrap.servers": settings.kafka.options["bootstrap.servers"]})
    for number in range(10):
        producer.produce(LETTERS, b"x", timestamp=now_ms - 1000 * number, partition=0)
    producer.flush()

    with closing(LetterTopic(settings)) as letters, closing(ResolutionTopic(settings)) as resolutions:
        ranges = letters.snapshot()
        resolutions.ensure(len(ranges))
        first = Position(Partition(LETTERS, 0), 0)
        resolutions.write(first, Resolution(state=State.DISCARDED, at_ms=now_ms, written_ms=now_ms))
        resolutions.flush(10)
        resolved = Resolved(LETTERS, ranges)
        resolutions.read_into(resolved)
        since = Selection(since_ms=now_ms - 4500)
        found = [each for batch in scan(letters, resolved, since, ranges, max_replays=3) for each in batch]

    assert [1, 2, 3, 4] == [each.id.offset for each in found]
