"""`partner-bridge explain` on real Kafka: what retention, transactions and several partitions leave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from connector.model import Partition, now_ms
from tests.terminal import Ran, Terminal
from tests.topics import Sent
from tests.world import NOTES, World, note


class Explain:
    """The command about one topic."""

    def __init__(self, world: World, topic: str, folder: Path, terminal: Terminal) -> None:
        self._topic = topic
        self._file = folder / "explained.yaml"
        self._file.write_text(yaml.safe_dump(world.settings({topic: NOTES})))
        self._terminal = terminal

    def __call__(self, *arguments: str) -> Ran:
        return self._terminal.run("explain", "-c", str(self._file), "--topic", self._topic, *arguments)

    def numbers(self, last: int) -> list[int]:
        """What the last records hold, in the order of their output."""
        out = self("--last", str(last), "--json").out
        return [json.loads(line)["decoded"]["value"]["number"] for line in out.splitlines()]


@pytest.fixture
def partitions(world: World) -> list[Partition]:
    return world.topic("notes", partitions=2)


@pytest.fixture
def explain(
    world: World, partitions: list[Partition], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Explain:
    return Explain(world, partitions[0].topic, tmp_path, Terminal(capsys))


def test_the_last_records_of_all_partitions(
    world: World, partitions: list[Partition], explain: Explain
) -> None:
    """By their time; the group of the bridge is not joined, and has committed nothing."""
    begin_ms = now_ms() - 1000
    for number in range(5):
        topic, partition = partitions[number % 2]
        world.produce([Sent(topic, note(number), partition=partition, timestamp_ms=begin_ms + number)])

    assert [2, 3, 4] == explain.numbers(3)
    assert [0, 1, 2, 3, 4] == explain.numbers(100)
    assert {} == world.topics.committed(world.name, partitions)


def test_a_record_that_retention_took(world: World, partitions: list[Partition], explain: Explain) -> None:
    """The range that is retained is named, and the exit code is 2."""
    first, _ = partitions
    world.produce([Sent(first.topic, note(number), partition=first.number) for number in range(5)])
    admin = AdminClient({"bootstrap.servers": world.client["bootstrap.servers"]})
    admin.delete_records([TopicPartition(first.topic, first.number, 3)])[
        TopicPartition(first.topic, first.number)
    ].result(30)
    ran = explain("--partition", "0", "--offset", "1")

    assert (2, "") == (ran.code, ran.out)
    assert f"{first}@1 is gone: the partition has offsets 3 to 4 now\n" == ran.err
    assert [3, 4] == explain.numbers(100)


def test_what_transactions_leave(world: World, partitions: list[Partition], explain: Explain) -> None:
    """Their markers take offsets and are no records: the last ones are found all the same."""
    first, _ = partitions
    producer = Producer({**world.client, "transactional.id": world.name})
    producer.init_transactions(30)
    for number in range(6):
        producer.begin_transaction()
        producer.produce(first.topic, note(number), partition=first.number)
        producer.commit_transaction(30)
    marker = explain("--partition", "0", "--offset", "1")

    assert [2, 3, 4, 5] == explain.numbers(4)
    assert 2 == marker.code
    assert f"{first}@1 is no record, but a place that compaction or a transaction left" in marker.err
