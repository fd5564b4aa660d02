"""The dead-letter tools on the sandbox's broker, which can do less than Kafka."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pytest
import yaml
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

import connector
from connector import config
from connector.dead_letters.format import label, letter
from connector.dead_letters.resolutions import DeadLetterState, Resolution, ResolutionTable
from connector.dead_letters.selection import Selection, scan
from connector.dead_letters.topics import DeadLetterTopic, ResolutionTopic
from connector.dead_letters.writer import KafkaDeadLetters
from connector.errors import DeadLetterError, UnavailableError
from connector.kafka import client, reader
from connector.kafka.client import record_of
from connector.ledger import Ack, OffsetTracker
from connector.model import Partition, Position, Record
from connector.sandbox import orders
from connector.sandbox.broker import Broker
from connector.telemetry.metrics import Telemetry
from tests.bridge_process import AWS_ENVIRON
from tests.failures import failed
from tests.services.child import wait_until
from tests.world import NOTES

BUG = """
import importlib, os
module, kind, method = os.environ["BREAKS"].split()
kind = getattr(importlib.import_module(module), kind)

def breaks(*given):
    raise RuntimeError(f"cannot take {given!r}")

setattr(kind, method, breaks)
"""
"""A method whose exception shows what it was given, as bugs do; loaded by Python before the tool is."""
TOTALS = "connector.dead_letters.totals Totals add"
MAPPING = "connector.pipeline TopicRoute __call__"
CANARY = "canary-card"

LETTERS = orders.DEAD_LETTER_TOPIC
FAILURE = failed(at_ms=0, event_id="id", message="found nothing")


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

    with closing(DeadLetterTopic(settings)) as letters, closing(ResolutionTopic(settings)) as resolutions:
        ranges = letters.snapshot()
        resolutions.ensure(len(ranges))
        first = Position(Partition(LETTERS, 0), 0)
        resolutions.write(first, Resolution(state=DeadLetterState.DISCARDED, at_ms=now_ms, written_ms=now_ms))
        resolutions.flush(10)
        resolved = ResolutionTable(LETTERS, ranges)
        resolutions.read_into(resolved)
        since = Selection(since_ms=now_ms - 4500)
        found = [each for batch in scan(letters, resolved, since, ranges, max_replays=3) for each in batch]

    assert [1, 2, 3, 4] == [each.id.offset for each in found]


def test_letters_of_a_record_without_a_key_come_to_one_partition(settings: config.Settings) -> None:
    """However often they are written, and by whom. Where it was made anew with fewer, they come to some."""
    with Broker(topics={LETTERS: 4}) as broker:
        settings.kafka.options["bootstrap.servers"] = broker.bootstrap
        options = {"bootstrap.servers": broker.bootstrap, "group.id": "x", "auto.offset.reset": "earliest"}

        def write(records: Sequence[Record], partitions: int) -> None:
            writer = KafkaDeadLetters(settings, telemetry=Telemetry())
            writer.partitions = partitions
            tracker = OffsetTracker(Partition("notes", 0))
            for record in records:
                writer.write(record, FAILURE, (tracker, record.offset))
            done: list[Ack] = []

            def is_written() -> bool:
                done.extend(writer.acknowledged())
                return len(done) == len(records)

            wait_until(is_written, what="every letter is acknowledged")

        notes = [Record(Partition("notes", 0), n, 0, None, b"{", ()) for n in range(20)]
        for _ in range(3):
            write(notes, 4)
        write([notes[0]._replace(offset=1_000 + n) for n in range(20)], 9)

        places: dict[int, set[int]] = {}
        consumer = Consumer(options)
        consumer.assign([TopicPartition(LETTERS, number, 0) for number in range(4)])
        for message in consumer.consume(80, 20):
            places.setdefault(label(record_of(message)).offset, set()).add(message.partition() or 0)
        consumer.close()

    assert 40 == len(places)
    assert {1} == {len(places[n]) for n in range(20)}
    assert {0, 1, 2, 3} == set.union(*places.values())


def test_dead_letter_topics_are_created_where_there_is_no_controller(settings: config.Settings) -> None:
    """Both have the four partitions that this broker gives; a fifth it cannot, and says what can."""
    letters = settings.dead_letter.model_copy(update={"topic": "new.dlt", "create": True})
    settings = settings.model_copy(update={"dead_letter": letters})
    admin = client.admin(settings)
    cluster_id = client.cluster_metadata(admin, 20).cluster_id

    assert 4 == client.create_topic(settings, "new.dlt", 1, cluster_id=cluster_id)
    with closing(ResolutionTopic(settings)) as resolutions:
        resolutions.ensure(4)
        with pytest.raises(DeadLetterError, match=r"sandbox topic new.dlt.resolutions --partitions 5"):
            resolutions.ensure(5)
    topics = client.cluster_metadata(admin, 20).topics
    assert [4, 4] == [len(topics[name].partitions) for name in ("new.dlt", "new.dlt.resolutions")]


class Stumbling(Consumer):
    """A client whose broker does not know the partitions now and then, as one that is starting."""

    errors = 0
    """Answers to come that are an error."""

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        if self.errors:
            self.errors -= 1
            unknown = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
            return [Mock(spec=Message, error=lambda: unknown, partition=lambda: 0, offset=lambda: -1001)]
        return super().consume(num_messages, timeout)


def stumble(monkeypatch: pytest.MonkeyPatch, errors: int) -> None:
    monkeypatch.setattr(Stumbling, "errors", errors)
    monkeypatch.setattr(client, "Consumer", Stumbling)


def discarded(settings: config.Settings, count: int) -> None:
    with closing(ResolutionTopic(settings)) as resolutions:
        for offset in range(count):
            position = Position(Partition(LETTERS, 0), offset)
            resolutions.write(position, Resolution(state=DeadLetterState.DISCARDED, at_ms=0, written_ms=0))
        resolutions.flush(10)


def test_a_broker_that_does_not_know_a_partition_now_is_asked_again(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is not the end of the partition: what was resolved would look open, and be sent again."""
    discarded(settings, 300)
    stumble(monkeypatch, errors=3)
    resolved = ResolutionTable(LETTERS, {0: (0, 300)})

    with closing(ResolutionTopic(settings)) as resolutions:
        assert 0 == resolutions.read_into(resolved)

    states = {resolved.state(Position(Partition(LETTERS, 0), offset), 0) for offset in range(300)}
    assert {DeadLetterState.DISCARDED} == states


def test_a_partition_that_nobody_knows_in_the_end_was_not_read(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of resolutions nor of letters; however often the error comes."""
    discarded(settings, 3)
    producer = Producer({"bootstrap.servers": settings.kafka.options["bootstrap.servers"]})
    producer.produce(LETTERS, b"x", partition=0)
    producer.flush()
    stumble(monkeypatch, errors=1_000_000)
    monkeypatch.setattr(reader, "STALLED_READ_S", 0.5)

    with closing(ResolutionTopic(settings)) as resolutions, closing(DeadLetterTopic(settings)) as letters:
        with pytest.raises(UnavailableError, match=r"resolutions: nothing arrived for .* Unknown topic"):
            resolutions.read_into(ResolutionTable(LETTERS, {0: (0, 3)}))
        with pytest.raises(UnavailableError, match=r"nothing arrived for .* Unknown topic"):
            list(letters.read(letters.snapshot()))


def test_a_topic_that_does_not_exist_has_no_resolutions(settings: config.Settings) -> None:
    """Nobody resolved anything yet."""
    other = settings.dead_letter.model_copy(update={"resolutions_topic": "nowhere"})
    resolved = ResolutionTable(LETTERS, {0: (0, 3)})

    with closing(ResolutionTopic(settings.model_copy(update={"dead_letter": other}))) as resolutions:
        assert 0 == resolutions.read_into(resolved)


@pytest.mark.parametrize(
    ("command", "breaks", "code"),
    [
        ("list", TOTALS, 1),
        ("discard", TOTALS, 1),
        (f"show {LETTERS}/0/0", MAPPING, 1),
        ("replay", MAPPING, 1),
        ("replay --execute", MAPPING, 1),
        ("replay --execute --rate 0", MAPPING, 3),
    ],
)
def test_a_bug_in_a_tool_shows_no_payload(tmp_path: Path, command: str, breaks: str, code: int) -> None:
    """Wherever it is: in the tool, or in the other process of a replay, whose end halts the replay."""
    key, value = b"canary-key", json.dumps({"tenant": "acme", "card": CANARY}).encode()
    record = Record(Partition("notes", 0), 0, 0, key, value, (("trace", b"canary-header"),))
    written = letter(record, FAILURE, bridge_name="tools", version="0")
    with Broker(topics={"notes": 1, LETTERS: 1, f"{LETTERS}.resolutions": 1}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        producer.produce(LETTERS, written.value, written.key, 0, headers=list(written.headers))
        producer.flush()
        file = tmp_path / "bridge.yaml"
        settings = {
            "name": "tools",
            "kafka": {"bootstrap.servers": broker.bootstrap, "group.id": "tools"},
            "eventbridge": {"region": orders.REGION, "endpoint_url": "http://127.0.0.1:1"},
            "dead_letter": {"topic": LETTERS},
            "topics": {"notes": NOTES},
        }
        file.write_text(json.dumps(settings))
        (tmp_path / "sitecustomize.py").write_text(BUG)
        root = Path(connector.__file__).parents[1]
        environ = {**os.environ, **AWS_ENVIRON, "PYTHONPATH": f"{tmp_path}:{root}", "BREAKS": breaks}
        ended = subprocess.run(
            [sys.executable, "-m", "connector", "dead-letters", *command.split(), "--config", str(file)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environ,
        )

    assert code == ended.returncode, ended.stderr
    assert "RuntimeError\nThis is a bug in partner-bridge." in ended.stderr
    assert "canary" not in ended.stdout + ended.stderr
