"""One member of a group, without a bridge around it: what moves, and what librdkafka gives up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import KafkaError, Message

from connector import config
from connector.errors import HaltError
from connector.kafka.consumer import UNREAD_S, KafkaConsumer
from connector.model import Partition, Position
from connector.telemetry.metrics import Telemetry
from tests.services.child import wait_until
from tests.topics import Sent
from tests.world import NOTES, World, note

RECORDS = 20


class GivenUp:
    """What librdkafka 2.16 hands out when it gives up: https://github.com/confluentinc/librdkafka/issues/5541"""

    def error(self) -> KafkaError:
        text = "Fatal error: Broker: Invalid request: ConsumerGroupHeartbeat fatal error"
        return KafkaError(KafkaError._FATAL, text)

    def topic(self) -> None: ...
    def partition(self) -> int:
        return 0


class Reading:
    """A listener that reads and remembers."""

    def __init__(self, source: KafkaConsumer) -> None:
        self.source = source
        self.assigned: list[Partition] = []
        self.revoked: list[Partition] = []
        self.lost: list[Partition] = []
        self.read: list[Position] = []
        source.subscribe(self)

    def on_assigned(self, partitions: Sequence[Partition]) -> None:
        self.assigned.extend(partitions)

    def on_revoked(self, partitions: Sequence[Partition]) -> None:
        self.revoked.extend(partitions)

    def on_lost(self, partitions: Sequence[Partition]) -> None:
        self.lost.extend(partitions)

    def on_committed(self, offsets: Mapping[Partition, int], error: str | None) -> None: ...

    def lag(self, partition: Partition) -> int | None:
        """Records from the first offset to the end."""
        return self.source.lag(partition, 0, is_all_settled=False)

    def has_read(self, count: int) -> bool:
        self.read += [record.position for record in self.source.poll(100, 0.1)]
        return len(self.read) >= count


@contextmanager
def reading(world: World, topic: str, folder: Path, group: Mapping[str, str]) -> Iterator[Reading]:
    """Somebody reads the topic."""
    bridge = world.bridge(world.settings({topic: NOTES}, kafka={**group}))
    source = KafkaConsumer(config.load(bridge.file, {}))
    source.report_to(Telemetry())
    try:
        yield Reading(source)
    finally:
        source.close()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_member_that_is_given_up_joins_anew(world: World, tmp_path: Path, protocol: str) -> None:
    """What it had is lost to it, and read again from what is committed; a second time at once is the end."""
    partitions = world.topic("notes", partitions=2)
    topic = partitions[0].topic
    world.produce([Sent(topic, note(n), b"%d" % n) for n in range(RECORDS)])
    given_up = cast("Message", GivenUp())
    with reading(world, topic, tmp_path, {"group.protocol": protocol}) as member:
        wait_until(lambda: member.has_read(RECORDS), what="everything is read")
        member.source._on_message_error(given_up)

        assert set(partitions) == set(member.lost)
        wait_until(lambda: member.has_read(2 * RECORDS), what="everything is read again")
        with pytest.raises(HaltError, match="nothing was lost"):
            member.source._on_message_error(given_up)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_member_that_does_not_read_what_it_has_joins_anew(
    world: World, tmp_path: Path, protocol: str
) -> None:
    """The old consumer leaves the group, is not listened to any more, and a new one gets everything."""
    partitions = world.topic("notes", partitions=2)
    topic = partitions[0].topic
    world.produce([Sent(topic, note(n), b"%d" % n) for n in range(RECORDS)])
    with reading(world, topic, tmp_path, {"group.protocol": protocol}) as member:
        wait_until(lambda: member.has_read(RECORDS), what="everything is read")
        member.source._unread = {partitions[0]: time.monotonic() - UNREAD_S - 1}
        assert "nothing is read from" in (member.source.problem or "")
        member.has_read(0)

        assert set(partitions) == set(member.lost)
        assert member.source.problem is None
        wait_until(lambda: member.has_read(2 * RECORDS), what="everything is read again")
        assert [] == member.revoked, "what the old consumer tells is not listened to"


def test_a_partition_that_moved_has_no_lag_here(world: World, tmp_path: Path) -> None:
    """Its end is forgotten, although librdkafka still tells of it: whoever has it now knows better."""
    partitions = world.topic("notes", partitions=2)
    topic = partitions[0].topic
    world.produce([Sent(topic, note(n), partition=n % 2) for n in range(RECORDS)])
    end = RECORDS // 2
    with reading(world, topic, tmp_path, {}) as first:
        wait_until(
            lambda: first.has_read(RECORDS) and {end} == {first.lag(each) for each in partitions},
            what="the ends are known",
        )
        with reading(world, topic, tmp_path, {}) as second:
            wait_until(
                lambda: not second.has_read(RECORDS) and first.has_read(0) and bool(first.revoked),
                what="one moved",
            )
            (moved,) = first.revoked
            (kept,) = {*partitions} - {moved}
            world.produce([Sent(topic, note(0), partition=number) for number in range(2)])
            wait_until(
                lambda: first.has_read(0) and first.lag(kept) == end + 1,
                what="the end is known anew",
            )

            assert first.lag(moved) is None
