"""The sandbox's broker is Kafka enough for a consumer group."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from connector.sandbox.broker import Broker

PARTITIONS = 6


def consumer(broker: Broker, **more: str | int) -> Consumer:
    """A member of group `g` that commits by hand."""
    settings: dict[str, str | int | float | bool] = {
        "bootstrap.servers": broker.bootstrap,
        "group.id": "g",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 6000,
        **more,
    }
    return Consumer(settings)


def fill(broker: Broker, count: int) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "acks": "all"})
    for number in range(count):
        producer.produce("orders", b"value", f"key {number}".encode(), headers=[("h", b"1")])
    assert producer.flush(10) == 0


def until(condition: Callable[[], bool], timeout_s: float = 15) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "the condition did not come true in time"


def test_a_group_shares_the_partitions_and_its_commits_stay() -> None:
    """Two members split the topic, every record comes once, and a later member goes on where they were."""
    with Broker(topics={"orders": PARTITIONS}, group_delay_ms=500) as broker:
        fill(broker, 300)
        members = [
            consumer(broker, **{"partition.assignment.strategy": "cooperative-sticky"}) for _ in range(2)
        ]
        seen: list[tuple[int | None, int | None]] = []
        for member in members:
            member.subscribe(["orders"])

        def read() -> bool:
            for member in members:
                seen.extend((each.partition(), each.offset()) for each in member.consume(100, 0.02))
            return len(seen) >= 300 and all(member.assignment() for member in members)

        until(read)
        shares = [len(member.assignment()) for member in members]
        for member in members:
            member.commit(offsets=member.position(member.assignment()), asynchronous=False)
        for member in members:
            member.close()
        later = consumer(broker)
        committed = later.committed([TopicPartition("orders", n) for n in range(PARTITIONS)], timeout=5)
        later.close()

        assert [3, 3] == shares
        assert 300 == len(set(seen)) == len(seen)
        assert 300 == sum(each.offset for each in committed)


def test_an_outage_keeps_the_records() -> None:
    """What was produced before it is there after it, and what was produced during it arrives."""
    with Broker(topics={"orders": 1}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        producer.produce("orders", b"before")
        assert producer.flush(5) == 0
        broker.set_down()
        producer.produce("orders", b"during")
        left = producer.flush(0.5)
        broker.set_up()

        assert 1 == left
        assert 0 == producer.flush(10)


def test_a_request_can_be_told_to_fail() -> None:
    """The next produce request gets the error, once."""
    with Broker(topics={"orders": 1}) as broker:
        results: list[KafkaError | None] = []
        producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
        broker.fail(0, KafkaError.MSG_SIZE_TOO_LARGE)
        for _ in range(2):
            producer.produce("orders", b"value", on_delivery=lambda error, _: results.append(error))
            producer.flush(5)

        assert [KafkaError.MSG_SIZE_TOO_LARGE, None] == [each and each.code() for each in results]


def test_a_topic_is_created_once() -> None:
    """A second time says so."""
    with Broker(topics={"orders": 1}) as broker, pytest.raises(ValueError, match="orders"):
        broker.create_topic("orders", 2)
