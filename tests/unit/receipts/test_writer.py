"""A producer that takes nothing more; the broker of tests/contract/test_receipts.py does the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from connector import config
from connector.delivery.pending import PendingEntry
from connector.ledger import OffsetTracker
from connector.model import Answer, Delivered, Entry, Record
from connector.receipts import writer
from connector.receipts.writer import CLOSE_S, FLUSH_S, IMPATIENT_S, SHOWN_S, KafkaReceipts
from connector.telemetry.metrics import Telemetry
from tests.fakes import FakeClock
from tests.rig import P0

FATAL = KafkaException(KafkaError(KafkaError._FATAL, "out of order", fatal=True))
ANSWER = Answer([Delivered("aws/1")], None, "request-1", 0.02)
DELIVERED = [
    PendingEntry(Record(P0, 1, 1, None, b"", ()), OffsetTracker(P0), Entry("s", "d", b"", 1), 0.0, "id/1")
]


class StuckProducer:
    """A producer whose broker acknowledges nothing."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.waited_s: list[float] = []
        self.polls = 0
        self.queued = 0

    def produce(self, *_: object, timestamp: int) -> None:
        if self.error is not None:
            raise self.error
        self.queued += 1

    def poll(self, _: float) -> int:
        self.polls += 1
        return self.queued

    def flush(self, timeout_s: float) -> int:
        self.waited_s.append(timeout_s)
        return self.queued

    def __len__(self) -> int:
        return self.queued


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr("connector.receipts.writer.time.monotonic", clock)
    return clock


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> StuckProducer:
    stuck = StuckProducer()
    made: Callable[..., Any] = lambda *_, **__: stuck  # noqa: E731
    monkeypatch.setattr(writer, "producer", made)
    return stuck


@pytest.fixture
def receipts(settings: config.Settings, stuck: StuckProducer, clock: FakeClock) -> KafkaReceipts:
    return KafkaReceipts(settings, "receipts", telemetry=Telemetry())


@pytest.mark.parametrize("error", [BufferError(), FATAL], ids=["its queue is full", "a fatal error"])
def test_what_the_producer_does_not_take_is_lost_and_said_for_a_minute(
    receipts: KafkaReceipts, stuck: StuckProducer, clock: FakeClock, error: Exception
) -> None:
    """And the caller, who settles, notices nothing."""
    stuck.error = error
    receipts.write("default", ANSWER, DELIVERED)
    problem = receipts.problem
    clock.now_s += SHOWN_S + 1

    assert 1 == receipts.lost
    assert problem is not None
    assert problem.startswith("receipts are lost, and events go on: receipts ")
    assert receipts.problem is None


def test_a_broker_that_acknowledges_nothing_is_waited_for_once_in_a_while(
    receipts: KafkaReceipts, stuck: StuckProducer, clock: FakeClock
) -> None:
    """Offsets are committed every second in an outage of the receipts, and each time waits not."""
    receipts.write("default", ANSWER, DELIVERED)
    for _ in range(9):
        receipts.flush()
        clock.now_s += 1.0
    waited_at_first = [*stuck.waited_s]
    clock.now_s += IMPATIENT_S
    receipts.flush()

    assert [FLUSH_S] == waited_at_first
    assert [FLUSH_S] * 2 == stuck.waited_s


def test_what_is_not_acknowledged_at_the_end_is_lost(receipts: KafkaReceipts, stuck: StuckProducer) -> None:
    """The last thing that the log says of them."""
    for _ in range(3):
        receipts.write("default", ANSWER, DELIVERED)
    receipts.close()

    assert 3 == receipts.lost
    assert [CLOSE_S] == stuck.waited_s
