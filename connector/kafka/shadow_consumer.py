"""Reads on from where the bridge's group is, beside it: joins no group and commits nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import cast

from confluent_kafka import KafkaError, Message, TopicPartition

from connector import config
from connector.errors import ConfigError, HaltError, Problem, UnavailableError
from connector.kafka.client import (
    BRIDGE_ONLY,
    CONSUMER_DEFAULTS,
    cluster_metadata,
    consumer,
    polled,
    record_of,
)
from connector.kafka.consumer import ALL_BROKERS_DOWN, NO_OFFSET
from connector.kafka.reader import END_OF_PARTITION, RETRY_S, Reader
from connector.model import Partition, Record

OWNED = {
    # Tells the end of a partition whose last offsets hold no record, as after a transaction.
    "enable.partition.eof": "true",
}
STATE_TIMEOUT_S = 0.5
"""How long the brokers may take to show that they are back."""


class ShadowConsumer:
    """A consumer that is assigned every partition it reads; all methods are for one thread.

    librdkafka wants a group id. This one has a group id of its own, `<group.id>.dry-run`, which the brokers
    never see a member of.
    """

    def __init__(self, settings: config.Settings) -> None:
        self._reset = str((CONSUMER_DEFAULTS | settings.kafka.options)["auto.offset.reset"])
        self._reader = Reader(settings)
        self.metadata = self._reader.metadata
        group = f"{settings.kafka.options['group.id']}.dry-run"
        owned = OWNED | {"group.id": group, "error_cb": self._on_error}
        self._consumer = consumer(settings, owned, without=BRIDGE_ONLY)
        self._next: dict[Partition, int] = {}
        """Where the reading of each partition goes on."""
        self._ends: dict[Partition, int] = {}
        self._retry_s = float("inf")
        self._down: str | None = None
        self._topic_problems: dict[str, str] = {}

    def begin(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Begin to read where the bridge would; gives the first offset of each partition.

        That is what its group has committed, and else what `auto.offset.reset` says.

        Raises:
            ConfigError: `auto.offset.reset` is `error`, so the bridge would halt.
            UnavailableError: the brokers do not say what was committed, or what there is.
        """
        committed = self._reader.committed(partitions)
        for partition, (low, high) in self._ranges(partitions).items():
            offset = committed.get(partition)
            if offset is None or not low <= offset <= high:
                offset = self._reset_offset(partition, offset, low, high)
            self._next[partition] = offset
            self._ends[partition] = high
        first = dict(self._next)
        self._assign()
        return first

    def poll(self, limit: int, timeout_s: float) -> Sequence[Record]:
        """Up to `limit` records; waits for the first one at most `timeout_s`.

        Raises:
            HaltError: an offset is gone, and `auto.offset.reset` is `error`.
        """
        if time.monotonic() > self._retry_s:
            # After some errors librdkafka does not go on by itself.
            self._retry_s = float("inf")
            self._assign()
        records: list[Record] = []
        for message in polled(self._consumer, limit, timeout_s):
            error = message.error()
            if error is None:
                record = record_of(message)
                self._next[record.partition] = record.offset + 1
                records.append(record)
                self._topic_problems.pop(record.partition.topic, None)
            elif error.code() == END_OF_PARTITION:
                partition, offset = _position(message)
                self._next[partition] = self._ends[partition] = offset
                self._topic_problems.pop(partition.topic, None)
            else:
                self._on_message_error(message, error)
        return records

    def pause(self, partition: Partition) -> None:
        """Fetch no more of it; what was fetched comes again after `resume`."""
        self._consumer.pause([TopicPartition(*partition)])

    def resume(self, partition: Partition) -> None:
        self._consumer.resume([TopicPartition(*partition)])

    def left(self, *, anew: bool = False) -> dict[Partition, int]:
        """How many offsets of each partition were not polled, as far as is known; `anew` asks the brokers."""
        for partition in self._next:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
            self._ends[partition] = max(self._ends[partition], high)
        if anew and self.problem is None:
            try:
                self._ends |= {partition: high for partition, (_, high) in self._ranges(self._next).items()}
            except UnavailableError as error:
                self._down = str(error)
        return {partition: max(0, self._ends[partition] - offset) for partition, offset in self._next.items()}

    @property
    def problem(self) -> str | None:
        """Why nothing may be arriving, in a sentence; None when all is well. Asks where it was not."""
        if self._down is not None:
            try:
                cluster_metadata(self._consumer, STATE_TIMEOUT_S)
            except UnavailableError:
                return f"no Kafka broker can be reached: {self._down}"
            self._down = None
        return next(iter(self._topic_problems.values()), None)

    def close(self) -> None:
        self._consumer.close()
        self._reader.close()

    def _ranges(self, partitions: Collection[Partition]) -> Mapping[Partition, tuple[int, int]]:
        """The first offset of each partition, and one past the last."""
        return {each: self._reader.ends(each.topic, [each.number])[each.number] for each in partitions}

    def _reset_offset(self, partition: Partition, committed: int | None, low: int, high: int) -> int:
        if self._reset == "earliest":
            return low
        if self._reset == "latest":
            return high
        found = "has no committed offset" if committed is None else f"has no offset {committed} any more"
        raise ConfigError(
            [
                Problem(
                    "kafka.auto.offset.reset",
                    f"{partition} {found}, and with `{self._reset}` the bridge would halt there. Move the "
                    "group's offset, or write earliest or latest",
                )
            ]
        )

    def _assign(self) -> None:
        self._consumer.assign(
            [TopicPartition(*partition, offset) for partition, offset in self._next.items()]
        )

    def _on_message_error(self, message: Message, error: KafkaError) -> None:
        topic = message.topic()
        if topic is None:
            return  # of the group, which is only a name here
        if error.code() == NO_OFFSET:
            partition, _ = _position(message)
            raise HaltError(
                f"{partition}: {error.str()}. The bridge would halt there; see auto.offset.reset under "
                "`kafka`."
            )
        self._topic_problems[topic] = f"{topic} cannot be read: {error.str()}"
        self._retry_s = min(self._retry_s, time.monotonic() + RETRY_S)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == ALL_BROKERS_DOWN:
            self._down = error.str()


def _position(message: Message) -> tuple[Partition, int]:
    """Of a message that is an error, of some partition; the stubs allow for None, which others have."""
    number, offset = cast("int", message.partition()), cast("int", message.offset())
    return Partition(cast("str", message.topic()), number), offset
