"""What tests do with topics: create, alter, fill, read back, and look at what a group has committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from connector.model import Headers, Partition, Position, Record
from tests import accounting
from tests.services.child import wait_until

TIMEOUT_S = 30
NOT_YET = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}


class Sent(NamedTuple):
    """A record to produce."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    partition: int = -1
    timestamp_ms: int = 0
    """0 for now."""


class Topics:
    """The topics of one Kafka cluster, through librdkafka options that connect to it."""

    def __init__(self, client: Mapping[str, str]) -> None:
        self.client = dict(client)
        self._client: dict[str, str | int | float | bool] = {**client, "log_level": 0}

    @property
    def _admin(self) -> AdminClient:
        # A new one each time: one that lives across a broker outage logs and reconnects in the background.
        return AdminClient(self._client)

    def create(
        self,
        name: str,
        *,
        partitions: int = 1,
        broker: int | None = None,
        copies: int = 1,
        config: Mapping[str, str] | None = None,
    ) -> list[Partition]:
        """Creates a topic, waits until the brokers show it, and answers its partitions.

        All of it lies on `broker` where one is named.
        """
        if broker is None:
            new = NewTopic(name, partitions, copies, config=dict(config or {}))
        else:
            new = NewTopic(
                name, partitions, replica_assignment=[[broker]] * partitions, config=dict(config or {})
            )
        admin = self._admin
        admin.create_topics([new])[name].result(TIMEOUT_S)
        deadline = time.monotonic() + TIMEOUT_S
        while len(admin.list_topics(name, timeout=TIMEOUT_S).topics[name].partitions) != partitions:
            assert time.monotonic() < deadline, f"the brokers do not show {name}"
        return [Partition(name, number) for number in range(partitions)]

    def alter(self, name: str, **config: str | None) -> None:
        """Sets configuration of a topic (`min_insync_replicas="2"`); None puts back the default."""
        entries = [
            ConfigEntry(
                key.replace("_", "."),
                value or "",
                incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
            )
            for key, value in config.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
        admin = self._admin  # kept: one that is collected takes its futures with it
        admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)

    def delete(self, name: str) -> None:
        admin = self._admin
        admin.delete_topics([name])[name].result(TIMEOUT_S)

    def truncate(self, partition: Partition, *, before: int) -> None:
        """Deletes the records before this offset."""
        wanted = TopicPartition(*partition, before)
        admin = self._admin
        for result in admin.delete_records([wanted]).values():
            result.result(TIMEOUT_S)

    def partitions(self, name: str) -> list[Partition]:
        """The partitions of an existing topic."""
        numbers = self._admin.list_topics(name, timeout=TIMEOUT_S).topics[name].partitions
        return [Partition(name, number) for number in sorted(numbers)]

    def produce(
        self, records: Iterable[Sent], options: Mapping[str, str | int] | None = None
    ) -> list[Position]:
        """Writes the records and answers their positions, in the same order; `options` are librdkafka's."""
        producer = Producer(
            {**self._client, "linger.ms": "5", "enable.idempotence": "true", **(options or {})}
        )
        positions: dict[int, Position] = {}
        failures: list[KafkaError] = []

        def report(number: int) -> Callable[[KafkaError | None, Message], None]:
            def acknowledged(error: KafkaError | None, message: Message) -> None:
                if error is not None:
                    failures.append(error)
                else:
                    positions[number] = position(message)

            return acknowledged

        for number, sent in enumerate(records):
            while True:
                try:
                    producer.produce(
                        sent.topic,
                        value=sent.value,
                        key=sent.key,
                        headers=list(sent.headers),
                        partition=sent.partition,
                        timestamp=sent.timestamp_ms,
                        on_delivery=report(number),
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
        left = producer.flush(TIMEOUT_S)
        assert not failures, f"producing failed: {failures[:3]}"
        assert not left, f"{left} records were not acknowledged in {TIMEOUT_S} s"
        return [positions[number] for number in sorted(positions)]

    def read(self, topic: str) -> list[Record]:
        """Reads a topic from its beginning to its end as of now."""
        consumer = Consumer(
            {
                **self._client,
                "group.id": "reader",
                "enable.auto.commit": "false",
                "enable.partition.eof": "true",
            }
        )
        try:
            numbers = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])
            records: list[Record] = []
            unread = set(numbers)
            deadline = time.monotonic() + TIMEOUT_S
            while unread:
                assert time.monotonic() < deadline, f"{topic} was not read to its end in {TIMEOUT_S} s"
                for message in consumer.consume(1000, timeout=0.2):
                    error = message.error()
                    if error is None:
                        records.append(record(message))
                    elif error.code() == KafkaError._PARTITION_EOF:
                        unread.discard(message.partition() or 0)
                    else:
                        raise KafkaException(error)
            return records
        finally:
            consumer.close()

    def committed(self, group: str, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """What a group has committed; partitions without a commit are left out."""
        consumer = Consumer({**self._client, "group.id": group})
        deadline = time.monotonic() + TIMEOUT_S
        try:
            while True:
                try:
                    return accounting.committed(consumer, partitions, timeout_s=TIMEOUT_S)
                except KafkaException as error:
                    # Brokers that were never asked for a group make the topic of offsets first.
                    if error.args[0].code() not in NOT_YET or time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
        finally:
            consumer.close()

    def ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The offset the next record of each partition will get."""
        consumer = Consumer({**self._client, "group.id": "reader"})
        found: dict[Partition, int] = {}
        problems = [""]

        def has_all() -> bool:
            for each in partitions:
                try:
                    found[each] = consumer.get_watermark_offsets(TopicPartition(*each), timeout=5)[1]
                except KafkaException as error:
                    # A broker that was away for a while does not know a new partition or its leader at once.
                    problems.append(f"{each}: {error}")
                    return False
            return True

        try:
            wait_until(
                has_all, what=lambda: f"the brokers show each partition: {problems[-1]}", timeout_s=TIMEOUT_S
            )
            return found
        finally:
            consumer.close()


def position(message: Message) -> Position:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return Position(Partition(message.topic() or "", partition), offset)


def record(message: Message) -> Record:
    place = position(message)
    headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    key, value = message.key(), message.value()
    assert not isinstance(key, str)
    assert not isinstance(value, str)
    return Record(place.partition, place.offset, message.timestamp()[1], key, value, tuple(headers))
