"""A consumer without a group: reads given partitions up to the end they had, and commits nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from typing import cast

from confluent_kafka import (
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import ClusterMetadata

from connector import config
from connector.errors import UnavailableError
from connector.kafka.client import ANSWER_TIMEOUT_S, BRIDGE_ONLY, NO_TOPIC, cluster_metadata, consumer
from connector.model import Partition, Position, Ranges

STALLED_READ_S = 30.0
"""Reading is given up after so long without a record."""

BATCH = 100
"""Records taken in one go. More would keep more small objects alive, which costs Python twice the time."""

READER = {
    "enable.partition.eof": "true",
    # Where retention ate the letters since the snapshot, reading goes on with those that are left.
    "auto.offset.reset": "earliest",
    # What is read is there already, so only a fetch behind the end waits; and the next read waits for it.
    "fetch.wait.max.ms": "10",
    # Per partition. What a broker returns at once comes on top of it whatever that limit is, and unpacked
    # it is up to ten times as much.
    "queued.max.messages.kbytes": "512",
    "fetch.message.max.bytes": "131072",
    "fetch.max.bytes": "1048576",
}

END_OF_PARTITION = KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's name for it

NOT_YET = NO_TOPIC | {
    *(KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE),
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - as above
}
"""Errors that a broker gives also for a partition that exists, while it starts or has not heard of it. The
reader asks again, and reports in the end that it could not read."""

NO_COORDINATOR = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
"""Errors of brokers that are about to have a coordinator for the group."""

RETRY_S = 0.2


class Reader:
    """A consumer that is assigned what it reads: no group, no commits."""

    def __init__(self, settings: config.Settings) -> None:
        self._last_error: str | None = None
        self._there: set[str] = set()
        """Topics that are known to exist."""
        self._paused: list[TopicPartition] = []
        """Partitions that were read to their ends, by this read or an earlier one."""
        owned = READER | {"error_cb": self._on_error}
        self._consumer = consumer(settings, owned, without=BRIDGE_ONLY)
        self.close = self._consumer.close

    def metadata(self) -> ClusterMetadata:
        return cluster_metadata(self._consumer, ANSWER_TIMEOUT_S)

    def partitions(self, topic: str) -> list[int] | None:
        """The partitions of a topic; None where there is no such topic.

        Raises:
            UnavailableError: no broker answered in time that knows them, or they refuse us.
        """
        deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
        while True:
            try:
                found = self._consumer.list_topics(topic, timeout=ANSWER_TIMEOUT_S).topics[topic]
            except KafkaException as error:
                raise unreadable(topic, error) from error
            if found.error is None and found.partitions:
                return sorted(found.partitions)
            if found.error is not None:
                if found.error.code() in NO_TOPIC:
                    return None
                self._note(topic, found.error)
            # It exists, and its leaders are not chosen yet.
            if time.monotonic() > deadline_s:
                why = self._last_error or "it has no partitions"
                raise UnavailableError(f"Kafka does not answer about {topic}: {why}", code="kafka")
            self._consumer.poll(RETRY_S)

    def ends(self, topic: str, numbers: Collection[int]) -> dict[int, tuple[int, int]]:
        """The first offset of each partition, and one past the last.

        Raises:
            UnavailableError: no broker answered in time, or they refuse us.
        """
        return {number: self._range(TopicPartition(topic, number)) for number in numbers}

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """What the bridge's group has committed; partitions without a commit are left out.

        Asked by a consumer that never joins: an AdminClient that asks can kill the process.

        Raises:
            UnavailableError: no broker answered in time, or they refuse us.
        """
        wanted = [TopicPartition(*partition) for partition in partitions]
        deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
        while True:
            failed: KafkaError | None
            try:
                found = self._consumer.committed(wanted, timeout=ANSWER_TIMEOUT_S)
                failed = next((each.error for each in found if each.error is not None), None)
            except KafkaException as error:
                failed = error.args[0]
            if failed is None:
                return {
                    Partition(each.topic, each.partition): each.offset for each in found if each.offset >= 0
                }
            if failed.code() not in NO_COORDINATOR or time.monotonic() > deadline_s:
                text = f"Kafka does not say what the group has committed: {failed.str()}"
                raise UnavailableError(text, code="kafka")
            self._consumer.poll(RETRY_S)

    def not_before(self, topic: str, ranges: Ranges, since_ms: int) -> dict[int, tuple[int, int]]:
        """The ranges, beginning at the first record that is not older than `since_ms`."""
        found = self._offsets_at(topic, ranges, since_ms)
        if any(offset < 0 for offset in found.values()):
            # Negative is "all are older", and also the answer of a broker that cannot search.
            found |= dict.fromkeys(self._unsearchable(topic, ranges), 0)
        return {
            number: (high if found[number] < 0 else min(max(low, found[number]), high), high)
            for number, (low, high) in ranges.items()
        }

    def between(self, topic: str, ranges: Ranges, since_ms: int, until_ms: int) -> dict[int, tuple[int, int]]:
        """The ranges from the first record not older than `since_ms` to the first not older than `until_ms`.

        Whole where a broker cannot search. Records lie in the order of their times only nearly.
        """
        begins = self.not_before(topic, ranges, since_ms)
        ends = self.not_before(topic, ranges, until_ms)
        unsearchable = self._unsearchable(topic, ranges)
        return {
            number: (begins[number][0], high if number in unsearchable else ends[number][0])
            for number, (_, high) in ranges.items()
        }

    def read(
        self, topic: str, ranges: Ranges, *, limit: int = BATCH, timeout_s: float = 0.1
    ) -> Iterator[list[Message]]:
        """The messages in these ranges, in batches that may be empty.

        Raises:
            UnavailableError: nothing arrived for too long, or the brokers refuse us.
        """
        unread = {number: low for number, (low, high) in ranges.items() if low < high}
        """Partition → where its reading goes on."""
        if not unread:
            return
        ends = {number: ranges[number][1] for number in unread}
        self._assign(topic, unread)
        heard_s = time.monotonic()
        retry_s = float("inf")
        while unread:
            messages = self._consumer.consume(1, timeout_s)
            if messages:  # more of them at once would be waited for
                messages += self._consumer.consume(limit - 1, 0.0)
            batch = []
            now_s = time.monotonic()
            for message in messages:
                # The stubs allow for None, which only messages of no partition have.
                number, offset = cast("int", message.partition()), cast("int", message.offset())
                if (error := message.error()) is not None:
                    if error.code() != END_OF_PARTITION:
                        self._note(topic, error)
                        retry_s = min(retry_s, now_s + RETRY_S)
                        continue
                    offset -= 1  # that of the last record, whatever compaction left of it
                if number not in unread or (error is None and offset < unread[number]):
                    continue  # what lies before is of a topic that was made anew meanwhile
                heard_s = now_s
                if offset + 1 >= ends[number]:
                    unread.pop(number)
                    if unread:
                        self._paused.append(TopicPartition(topic, number))
                        self._consumer.pause(self._paused[-1:])
                elif error is None:
                    unread[number] = offset + 1
                else:
                    self._last_error = (
                        f"partition {number} ends at {offset + 1}, before {ends[number]}, as if made anew"
                    )
                if error is None and offset < ends[number]:
                    batch.append(message)
            if now_s - heard_s > STALLED_READ_S and unread:
                why = self._last_error or "the brokers do not say why"
                raise UnavailableError(
                    f"{topic}: nothing arrived for {STALLED_READ_S:.0f} s: {why}", code="kafka"
                )
            if now_s > retry_s and unread:
                # After some errors librdkafka does not go on by itself.
                retry_s = float("inf")
                self._assign(topic, unread)
            yield batch
            if batch:
                heard_s = time.monotonic()  # the caller took its time
        self._consumer.unassign()

    def at(self, position: Position) -> Message | None:
        """The message at one position; None where there is none."""
        (topic, number), offset = position
        if topic not in self._there:
            if number not in (self.partitions(topic) or ()):
                return None
            self._there.add(topic)
        try:
            low, high = self._range(TopicPartition(topic, number))
            if not low <= offset < high:
                return None
            for batch in self.read(topic, {number: (offset, offset + 1)}, limit=1):
                for message in batch:
                    if message.offset() == offset:
                        return message
        except UnavailableError:
            self._there.discard(topic)
            raise
        return None

    def _range(self, partition: TopicPartition) -> tuple[int, int]:
        deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
        while True:
            try:
                return self._consumer.get_watermark_offsets(partition, timeout=ANSWER_TIMEOUT_S, cached=False)
            except KafkaException as error:
                # A topic that was just made may wait for its leaders a moment, and a broker may be starting.
                if error.args[0].code() not in NOT_YET or time.monotonic() > deadline_s:
                    raise unreadable(partition.topic, error) from error
                self._consumer.poll(0.1)

    def _unsearchable(self, topic: str, ranges: Ranges) -> set[int]:
        """Partitions whose brokers cannot search by time, as that of the sandbox, and empty ones."""
        return {number for number, first in self._offsets_at(topic, ranges, 0).items() if first < 0}

    def _offsets_at(self, topic: str, ranges: Ranges, time_ms: int) -> dict[int, int]:
        wanted = [TopicPartition(topic, number, time_ms) for number in ranges]
        try:
            found = self._consumer.offsets_for_times(wanted, timeout=ANSWER_TIMEOUT_S)
        except KafkaException as error:
            raise unreadable(topic, error) from error
        return {p.partition: p.offset for p in found}

    def _assign(self, topic: str, unread: Mapping[int, int]) -> None:
        if self._paused:
            # librdkafka remembers them, whatever is assigned. Not after `assign`: a partition that is resumed
            # while its first fetch is being decided is not fetched for a second.
            self._consumer.resume(self._paused)
            self._paused.clear()
        self._consumer.assign([TopicPartition(topic, number, offset) for number, offset in unread.items()])

    def _note(self, topic: str, error: KafkaError) -> None:
        """Remember why nothing arrives.

        Raises:
            UnavailableError: the topic may not be read.
        """
        self._last_error = error.str()
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise UnavailableError(f"{topic} may not be read: {error.str()}", code="kafka")

    def _on_error(self, error: KafkaError) -> None:
        self._last_error = error.str()


def unreadable(topic: str, error: KafkaException) -> UnavailableError:
    return UnavailableError(f"Kafka does not answer about {topic}: {error.args[0].str()}", code="kafka")
