"""Receipts on a broker: written by the bridge's writer, found by who looks for an event."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer

from connector import config
from connector.delivery.pending import PendingEntry
from connector.errors import ConfigError
from connector.ledger import OffsetTracker
from connector.model import Answer, Delivered, Entry, Partition, Record
from connector.receipts.format import Receipt, Wanted
from connector.receipts.topic import ReceiptTopic
from connector.receipts.writer import KafkaReceipts
from connector.sandbox.broker import Broker
from connector.telemetry.metrics import Telemetry
from tests.rig import SETTINGS
from tests.services.child import wait_until

RECEIPTS = config.ReceiptSettings(topic="receipts")
PARTITIONS = 3


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(topics={RECEIPTS.topic: PARTITIONS}) as broker:
        yield broker


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> config.Settings:
    file = tmp_path / "bridge.yaml"
    file.write_text(SETTINGS.replace("localhost:1", broker.bootstrap))
    return config.load(file, {})


def deliver(receipts: KafkaReceipts, offsets: Sequence[int]) -> None:
    """One request that delivered the records of these offsets."""
    place = Partition("orders", 0)
    batch = [
        PendingEntry(
            Record(place, offset, 1, None, b"", ()), OffsetTracker(place), ENTRY, 0.0, f"c/orders/0/{offset}"
        )
        for offset in offsets
    ]
    answer = Answer([Delivered(f"aws-{offset}") for offset in offsets], None, f"request-{offsets[0]}", 0.02)
    receipts.write("default", answer, batch)


ENTRY = Entry("aws.partner/example.com/acme", "Order", b"{}", 1)


def read(settings: config.Settings, wanted: Wanted | None = None) -> tuple[list[Receipt], int, int]:
    """The receipts found, how many records were read, and how many of them are none."""
    counts: list[int] = []
    with closing(ReceiptTopic(settings, RECEIPTS)) as topic:
        batches = topic.read(topic.ranges(), wanted=wanted, on_read=counts.append)
        found = [receipt for batch in batches for receipt in batch]
        return found, sum(counts), topic.unreadable


def test_what_is_written_is_found(settings: config.Settings) -> None:
    """Each event once, over all partitions; a search brings what it names, and its request."""
    with closing(KafkaReceipts(settings, RECEIPTS.topic, telemetry=Telemetry())) as receipts:
        for first in range(0, 2_000, 20):
            deliver(receipts, range(first, first + 20))
    found, looked_at, _ = read(settings)
    (one,), _, _ = read(settings, Wanted(positions=frozenset({("orders", 0, 1042)})))
    (same,), _, _ = read(settings, Wanted(ids=frozenset({"aws-1042"})))

    assert 100 == looked_at
    assert list(range(2_000)) == sorted(event.offset for receipt in found for event in receipt.events)
    assert ["request-1040"] == [one.request_id]
    assert ["aws-1042"] == [event.eventbridge_id for event in one.events]
    assert one == same


def test_what_others_wrote_there_is_counted_and_skipped(settings: config.Settings) -> None:
    """A search goes on behind them."""
    foreign = Producer({"bootstrap.servers": settings.kafka.options["bootstrap.servers"]})
    for value in (b"no JSON", None, b'{"version": 2, "events": []}'):
        foreign.produce(RECEIPTS.topic, value, partition=0)
    foreign.flush()
    with closing(KafkaReceipts(settings, RECEIPTS.topic, telemetry=Telemetry())) as receipts:
        deliver(receipts, [7])
    found, looked_at, unreadable = read(settings)

    assert [7] == [event.offset for receipt in found for event in receipt.events]
    assert (4, 3) == (looked_at, unreadable)


def test_a_topic_that_is_missing_is_said_to_be(settings: config.Settings) -> None:
    """In one sentence, before anything is searched."""
    missing = RECEIPTS.model_copy(update={"topic": "^no-topic"})  # one that no broker makes when asked
    with (
        closing(ReceiptTopic(settings, missing)) as topic,
        pytest.raises(ConfigError, match="not exist"),
    ):
        topic.ranges()


def test_an_outage_holds_up_nothing_and_loses_nothing_that_it_does_not_outlast(
    broker: Broker, settings: config.Settings
) -> None:
    """While no broker answers, a commit waits half a second for it once; then what was written goes out."""
    telemetry = Telemetry()
    receipts = KafkaReceipts(settings, RECEIPTS.topic, telemetry=telemetry)
    deliver(receipts, [1])
    receipts.flush()
    broker.set_down()
    began_s = time.monotonic()
    for offset in range(2, 502):
        deliver(receipts, [offset])
        receipts.flush()
    took_s = time.monotonic() - began_s
    broker.set_up()
    wait_until(lambda: receipts.problem is None and len(read(settings)[0]) == 501, what="all are there")
    receipts.close()

    assert took_s < 5
    assert 0 == receipts.lost
