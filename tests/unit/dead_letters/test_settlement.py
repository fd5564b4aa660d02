"""What ends a run of the loop, and what a drain waits for: the rules that bridge and replay share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from connector import config
from connector.dead_letters.format import Failure
from connector.dead_letters.settlement import Flood, Settlement
from connector.delivery.pending import PendingEntry
from connector.delivery.targets import senders
from connector.errors import Code, DeadLetterError, HaltError, MappingError, RefusedError, UnavailableError
from connector.ledger import Ack, Ledger, OffsetTracker
from connector.model import Answer, Entry, Partition, Record
from connector.telemetry.metrics import Telemetry
from tests.fakes import FakeClock, FakeDeadLetters, FakeSink, FakeStateFeed
from tests.rig import SETTINGS

P0 = Partition("orders", 0)
FLOOD = Flood("records in a row failed", "Correct the mapping,")
SOURCE = "aws.partner/example.com/orders"
DOWN = Answer((), UnavailableError("no answer"), None, 0.01)


class Rig:
    """A settlement over one sender, with a ledger of one partition."""

    def __init__(self, folder: Path) -> None:
        file = folder / "bridge.yaml"
        file.write_text(SETTINGS)
        settings = config.load(file, {})
        timeouts = settings.eventbridge.timeouts
        self.request_s = timeouts.connect + timeouts.read
        self.clock = FakeClock()
        self.sink = FakeSink(self.clock)
        self.dead_letters = FakeDeadLetters()
        made = senders(
            settings,
            sink=self.sink,
            telemetry=Telemetry(),
            state_feeds={"default": FakeStateFeed()},
            clock_s=self.clock,
        )
        self.sender = made["default"]
        self.settlement: Settlement[str] = Settlement(
            made.values(), dead_letters=self.dead_letters, settings=settings, flood=FLOOD, clock_s=self.clock
        )
        self.ledger = Ledger()
        self.ledger.assign([P0])
        self.passes: list[bool] = []
        """For each pass of a drain, whether it might send."""

    @property
    def tracker(self) -> OffsetTracker:
        return self.ledger.trackers[P0]

    def begin(self, offset: int) -> PendingEntry:
        record = Record(P0, offset, None, None, b"{}", ())
        tracker = self.ledger.begin(P0, offset, size_bytes=1, now_s=self.clock())
        assert tracker is not None
        return PendingEntry(record, tracker, Entry(SOURCE, "d", b"{}", 1), self.clock())

    def send(self, *offsets: int) -> None:
        for offset in offsets:
            self.sender.add(self.begin(offset), None)
        self.sender.step(self.clock())
        self.sender.send(self.clock())

    def fail(self, offset: int, code: Code = "template_null") -> Ack:
        pending = self.begin(offset)
        error = RefusedError(code, "no") if code == "retries_exhausted" else MappingError(code, "no")
        ack = (pending.tracker, offset)
        self.settlement.dead_letter(
            pending.record, Failure.of(error, event_id=None), ack, kept=f"letter {offset}"
        )
        return ack

    def drain(
        self, *, sends: bool = True, for_s: float = 60.0, act: Callable[[], None] = lambda: None
    ) -> float:
        """Drains for at most so many seconds of the scripted clock; returns how many it took."""
        began_s = self.clock()

        def pump(timeout_s: float, send: bool) -> None:
            self.passes.append(send)
            act()
            for _, batch_id, answer in self.sink.answers(timeout_s):
                for pending in self.sender.handle_answer(batch_id, answer).delivered:
                    self.ledger.settle(pending.tracker, pending.record.offset)
            self.settlement.acknowledged()
            if send:
                self.sender.send(self.clock())

        self.settlement.drain({self.tracker}, deadline_s=lambda: began_s + for_s, sends=sends, pump=pump)
        return self.clock() - began_s


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_the_first_reason_to_halt_is_kept(rig: Rig) -> None:
    """What comes after it is mostly its consequence."""
    rig.settlement.halted(HaltError("first"))
    rig.settlement.halted(HaltError("second"))

    assert "first" == str(rig.settlement.halt)


def test_an_acknowledged_letter_comes_back_once_with_what_was_kept(rig: Rig) -> None:
    """Settling twice would be a bug, and settling before would be loss."""
    rig.dead_letters.is_down = True
    ack = rig.fail(0)
    assert [] == rig.settlement.acknowledged()
    rig.dead_letters.is_down = False

    assert [(ack, "letter 0")] == rig.settlement.acknowledged()
    assert [] == rig.settlement.acknowledged()
    assert not rig.settlement.is_writing


def test_letters_of_partitions_that_were_taken_away_are_forgotten(rig: Rig) -> None:
    """Their acknowledgement comes, and settles nothing of the next owner's."""
    rig.fail(0)
    rig.ledger.drop([P0])
    rig.settlement.forget_closed()

    assert [] == rig.settlement.acknowledged()


def test_a_flood_halts_and_a_delivery_ends_it(rig: Rig) -> None:
    """`max_consecutive` is 10: the eleventh in a row is one too many."""
    for offset in range(10):
        rig.fail(offset)
    rig.settlement.delivered()
    for offset in range(10, 20):
        rig.fail(offset)
    assert rig.settlement.halt is None
    rig.fail(20)

    assert isinstance(rig.settlement.halt, DeadLetterError)
    assert "11 records in a row failed and none was delivered between them" in str(rig.settlement.halt)
    assert "Correct the mapping, or raise dead_letter.max_consecutive." in str(rig.settlement.halt)


@pytest.mark.parametrize("code", ["source_inactive", "source_unknown", "retries_exhausted"])
def test_closed_sources_are_no_flood(rig: Rig, code: Code) -> None:
    """They say nothing against mapping or topic, and must not halt the other customers."""
    for offset in range(30):
        rig.fail(offset, code)

    assert rig.settlement.halt is None


def test_a_topic_that_takes_no_letters_halts_and_settles_nothing(rig: Rig) -> None:
    """Letters in flight never come back then, so their records hold back the commit."""
    rig.fail(0)
    rig.dead_letters.refuses = True

    assert [] == rig.settlement.acknowledged()
    assert isinstance(rig.settlement.halt, DeadLetterError)
    rig.dead_letters.refuses = False
    assert [] == rig.settlement.acknowledged()
    assert {P0: 0} == rig.ledger.committable()


def test_a_drain_waits_for_answers_no_longer_than_a_request_may_take(rig: Rig) -> None:
    """The time to connect and that to read, whatever the deadline is."""
    rig.sink.silent.add("default")
    rig.send(0)

    assert rig.request_s == pytest.approx(rig.drain(for_s=60), abs=0.1)


def test_a_drain_waits_for_a_letter_until_the_deadline(rig: Rig) -> None:
    """Whoever reads the record again would write it again."""
    rig.dead_letters.is_down = True
    rig.fail(0)

    assert 19.9 < rig.drain(for_s=20) < 20.1


def test_a_drain_ends_with_the_last_answer(rig: Rig) -> None:
    """Nothing in flight, nothing to wait for."""
    rig.send(0, 1)

    assert rig.drain(for_s=60) < 0.1
    assert {P0: 2} == rig.ledger.committable()


def test_what_waits_for_its_next_attempt_is_left_to_the_next_reader(rig: Rig) -> None:
    """A rebalance must not wait for one event that is being retried."""
    rig.sink.judge = lambda _: DOWN
    rig.send(0)

    assert rig.drain(for_s=60) < 0.1
    assert {0} == rig.tracker.abandoned
    assert {P0: 0} == rig.ledger.committable() or not rig.ledger.committable()


def test_nothing_is_sent_after_a_halt(rig: Rig) -> None:
    """The next request would fare no better."""
    rig.sink.is_holding = True
    rig.send(*range(4))
    rig.sender.add(rig.begin(4), None)
    rig.settlement.halted(HaltError("no"))

    rig.drain(act=rig.sink.answer_held)

    assert {False} == set(rig.passes)
    assert 4 in rig.tracker.abandoned
