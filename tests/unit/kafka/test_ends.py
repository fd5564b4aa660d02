"""Asking a broker for the ends of partitions; it is librdkafka's own mock."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, Producer

from connector import config
from connector.kafka import ends
from connector.kafka.ends import EndsOfPartitions
from connector.model import Partition
from connector.sandbox.broker import Broker
from tests.services.child import wait_until

P0, P1 = Partition("orders", 0), Partition("orders", 1)
LIST_OFFSETS = 2


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """One with two records in each of two partitions, which the bridge asks all the time."""
    monkeypatch.setattr(ends, "INTERVAL_S", 0.02)
    monkeypatch.setattr(ends, "ANSWER_S", 0.5)
    with Broker(topics={"orders": 2}) as broker:
        produce(broker, P0, P0, P1, P1)
        yield broker


@pytest.fixture
def asking(broker: Broker, settings: config.Settings) -> Iterator[EndsOfPartitions]:
    options = {**settings.kafka.options, "bootstrap.servers": broker.bootstrap}
    kafka = settings.kafka.model_copy(update={"options": options})
    asking = EndsOfPartitions(settings.model_copy(update={"kafka": kafka}))
    yield asking
    asking.stop()
    wait_until(lambda: not is_asking(), what="the thread ended")


def produce(broker: Broker, *partitions: Partition) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for topic, number in partitions:
        producer.produce(topic, b"{}", partition=number)
    assert 0 == producer.flush(10)


def wait_found(asking: EndsOfPartitions, wanted: dict[Partition, int]) -> None:
    """Ask about these partitions until the broker's answers are these."""
    found: dict[Partition, int] = {}

    def is_found() -> bool:
        found.update(asking.ask(frozenset(wanted)))
        return wanted.items() <= found.items()

    wait_until(is_found, what=lambda: f"{wanted}, not {found}", timeout_s=20)


def is_asking() -> bool:
    return any(thread.name == "ends" for thread in threading.enumerate())


def test_ends_are_followed_while_they_are_wanted(broker: Broker, asking: EndsOfPartitions) -> None:
    """There is no thread before, and none after."""
    assert {} == asking.ask(frozenset())
    assert not is_asking()
    wait_found(asking, {P0: 2, P1: 2})
    produce(broker, P1)
    wait_found(asking, {P0: 2, P1: 3})
    asking.ask(frozenset())
    wait_until(lambda: not is_asking(), what="nothing is asked any more")
    wait_found(asking, {P0: 2})


def test_an_outage_is_waited_for(
    broker: Broker, asking: EndsOfPartitions, capfd: pytest.CaptureFixture[str]
) -> None:
    """In silence, as the consumer says what there is to say; and so is a broker that refuses to answer."""
    broker.fail(LIST_OFFSETS, KafkaError.FENCED_LEADER_EPOCH, times=2)
    wait_found(asking, {P0: 2, P1: 2})
    broker.set_down()
    for _ in range(2):
        asking.ask(frozenset({P0, P1}))
        wait_until(lambda: not is_asking(), what="an answer is missing")
    broker.set_up()
    produce(broker, P1)
    wait_found(asking, {P0: 2, P1: 3})

    assert ("", "") == capfd.readouterr()


def test_stopping_waits_for_nothing(broker: Broker, asking: EndsOfPartitions) -> None:
    """Also while a broker is slow; the thread ends by itself."""
    broker.set_latency(300)
    asking.ask(frozenset({P0}))
    asking.stop()
    assert is_asking()
    wait_until(lambda: not is_asking(), what="the thread ended")
    assert {} == asking.ask(frozenset({P0}))
    assert not is_asking()
