"""The sandbox's broker is Kafka enough for a consumer group."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from connector.sandbox.broker import Broker
from connector.sandbox.server import Host, free_port

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


@pytest.mark.parametrize("host", [Host("127.0.0.2", "127.0.0.2"), Host("127.0.0.1", "localhost")])
def test_elsewhere_a_group_finds_it_by_the_advertised_address_alone(host: Host) -> None:
    """Bootstrap, metadata, coordinator, fetch and commit: no answer names 127.0.0.1."""
    with Broker(topics={"orders": PARTITIONS}, host=host, port=free_port()) as broker:
        fill(broker, 100)
        member = consumer(broker)
        member.subscribe(["orders"])
        seen: list[int | None] = []

        def read() -> bool:
            seen.extend(each.partition() for each in member.consume(100, 0.02))
            return len(seen) >= 100

        until(read)
        member.commit(asynchronous=False)
        brokers = {f"{each.host}:{each.port}" for each in member.list_topics(timeout=5).brokers.values()}
        committed = member.committed([TopicPartition("orders", n) for n in range(PARTITIONS)], timeout=5)
        member.close()

    assert {broker.bootstrap} == brokers
    assert 100 == sum(max(0, each.offset) for each in committed)


def test_elsewhere_it_can_be_down_and_up_again() -> None:
    """The relay before it holds no connection that the broker dropped."""
    with Broker(topics={"orders": 1}, host=Host("127.0.0.2", "127.0.0.2")) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "reconnect.backoff.max.ms": 100})
        told: list[KafkaError | None] = []
        broker.set_down()
        producer.produce("orders", b"value", on_delivery=lambda error, _: told.append(error))
        while_down = producer.flush(1)
        broker.set_up()
        left = producer.flush(10)

    assert (1, 0) == (while_down, left)
    assert [None] == told


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_running() -> None:
    with Broker(host=Host("127.0.0.2", "127.0.0.2")) as broker:
        port = int(broker.bootstrap.rpartition(":")[2])
        with pytest.raises(OSError, match=str(port)):
            Broker(host=Host("127.0.0.2", "127.0.0.2"), port=port).start()
