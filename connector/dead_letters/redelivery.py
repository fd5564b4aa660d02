"""Records sent again: the engine that replays of dead letters and resends of records share.

What is sent again is taken from a topic, partition by partition, as a consumer group permits; one outcome is
recorded for each; and what was taken and not recorded is bounded, since a kill makes that go twice. What the
two do differently is in the methods of `Redelivery` without a body.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, cast

from connector import config
from connector.dead_letters.dry_run import (
    Item,
    PassedOver,
    Prepared,
    PreparedBatch,
    RedeliveryCounts,
    Report,
    Result,
    why_left_open,
)
from connector.dead_letters.format import Failure
from connector.dead_letters.settlement import BUSY_WAIT_S, DeadLetters, Flood, Receipts, Settlement
from connector.delivery.pending import Gate, PendingEntry
from connector.delivery.rate import RateControl
from connector.delivery.sender import Sink, TargetSender
from connector.delivery.source_gate import StateFeed
from connector.errors import HaltError, RecordError, UnavailableError
from connector.ledger import Ledger, OffsetTracker
from connector.model import Answer, Delivered, Entry, Partition, Ranges, Record
from connector.pipeline import Dropped, Pipeline
from connector.telemetry.metrics import Telemetry

MAX_UNRECORDED = 1_000
MAX_UNRECORDED_BYTES = 64 * 1024**2
"""Taken and not yet recorded, at most. This bounds the memory, and what a kill makes go twice."""

TAKE = 100
"""Taken in one go; a few ms, the longest that an answer waits."""

STALL_WAIT_S = 0.05
REPORT_INTERVAL_S = 0.25

WAITING = (
    "waiting for its turn: brokers wait some seconds for others (group.initial.rebalance.delay.ms), longer "
    "while another {name} is at work or was killed a moment ago"
)


class Membership(Protocol):
    """Membership in the group that says whose each partition is.

    It calls `on_assigned`, `on_revoked` and `on_lost` of the redelivery inside `poll`.
    """

    def poll(self, timeout_s: float) -> None:
        """Take part in the group; waits at most so long."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is sent, and how fast."""

    rate: float | None = None
    """Letters or events a second, at most; None for as fast as EventBridge takes them."""
    most: int | None = None
    """Letters tried, or events taken, at most."""


@dataclass(frozen=True, slots=True)
class SendingParts:
    """What a redelivery sends with, and writes to."""

    sink: Sink
    state_feeds: Mapping[str, StateFeed]
    """They look up the sources of each target, by its name."""
    dead_letters: DeadLetters
    receipts: Receipts | None
    telemetry: Telemetry


class RedeliveredEntry(PendingEntry, Generic[Item]):
    """The event of a letter or record on its way."""

    __slots__ = ("item",)

    def __init__(self, item: Item, tracker: OffsetTracker, entry: Entry, now_s: float, event_id: str) -> None:
        super().__init__(item.record, tracker, entry, now_s, event_id)
        self.item = item

    @property
    def only_if_active(self) -> bool:  # type: ignore[override]
        return self.item.only_if_active


class Redelivery(ABC, Generic[Item]):
    """Sends what is selected of the partitions it is given, and records what becomes of each.

    What has one key goes in the order it has in the topic. A target or registry that is down is waited
    for. Call `run` once; `stop` may be called from a signal handler.
    """

    name: ClassVar[str]
    """As "replay"."""
    things: ClassVar[str]
    """What it sends, as "letters"."""
    flood: ClassVar[Flood]

    def __init__(
        self,
        settings: config.Settings,
        parts: SendingParts,
        *,
        topic: str,
        ranges: Ranges,
        prepared_batches: Callable[[Ranges], Iterator[PreparedBatch[Item]]],
        pipeline: Pipeline,
        limits: Limits,
        report: Report,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ranges` are those of `topic` to take from; `prepared_batches` reads what is recorded of some of
        them, and brings the rest, each with its dry run.
        """
        self.counts = RedeliveryCounts()
        self._receipts = parts.receipts
        self._topic = topic
        self._drain_timeout_s = settings.delivery.shutdown_timeout
        self._ranges = ranges
        self._starts = {number: low for number, (low, _) in ranges.items()}
        """Where the reading of each partition goes on."""
        self._prepared_batches = prepared_batches
        self._pipeline = pipeline
        self._limits = limits
        self._sink = parts.sink
        self._dead_letters = parts.dead_letters
        self._report = report
        self._clock_s = clock_s
        self._senders = {
            name: TargetSender(
                name,
                target,
                sink=parts.sink,
                telemetry=parts.telemetry,
                state_feed=parts.state_feeds[name],
                # What waits for a lookup is within the limits of all that is taken.
                sources=settings.sources.model_copy(
                    update={"max_held_records": sys.maxsize, "max_held_bytes": sys.maxsize}
                ),
                sends_unseen=False,
                clock_s=clock_s,
            )
            for name, target in settings.all_targets.items()
        }
        self._ledger = Ledger()
        """Taken and not recorded, by place in the topic."""
        self._rate_control = RateControl(max_per_second=limits.rate)
        self._batches: Iterator[PreparedBatch[Item]] | None = None
        self._read_ahead: deque[tuple[Prepared[Item], OffsetTracker]] = deque()
        """Tried and not taken yet."""
        self._settlement: Settlement[tuple[Item, str]] = Settlement(
            self._senders.values(),
            dead_letters=parts.dead_letters,
            settings=settings,
            flood=self.flood,
            clock_s=clock_s,
        )
        self._problem: str | None = WAITING.format(name=self.name)
        self._stalled: str | None = None
        """Why what comes next cannot be read, or tried, at this moment."""
        self._stalled_until_s = float("-inf")
        self._report_due_s = float("-inf")
        self._is_read = False
        self._stopping = False

    # What replay and resend do differently

    @abstractmethod
    def _kind(self, item: Item, result: Result) -> str | None:
        """What it is counted under as tried; None: it is not tried, and no limit concerns it."""

    @property
    @abstractmethod
    def _unrecorded(self) -> int:
        """How many are settled, and would be sent again after a kill."""

    @abstractmethod
    def _delivered(self, pending: RedeliveredEntry[Item], event_id: str) -> None:
        """Record that EventBridge has its event; also where its partition was lost meanwhile."""

    @abstractmethod
    def _dropped(self, item: Item, reason: str) -> None:
        """Record that a rule of the configuration drops it."""

    @abstractmethod
    def _dead_lettered(self, item: Item, code: str) -> None:
        """Record that the broker has the dead letter of it."""

    @abstractmethod
    def _dead_letter(
        self,
        item: Item,
        error: RecordError,
        *,
        pending: RedeliveredEntry[Item] | None,
        request_id: str | None,
    ) -> tuple[Record, Failure]:
        """The dead letter of one that failed."""

    @abstractmethod
    def _flush(self, timeout_s: float) -> None:
        """Return once all that is settled is recorded.

        Raises:
            HaltError: it cannot be recorded, or not in time.
        """

    # The loop

    def stop(self) -> None:
        """Ask `run` to bring what is in flight to an end, record it, and return."""
        self._stopping = True

    def run(self, group: Membership) -> RedeliveryCounts:
        """Send until all is done or `stop` is called.

        Raises:
            HaltError: going on would only fail. What was sent is recorded by then.
        """
        try:
            while not (self._stopping or self._settlement.halt or self._is_done):
                group.poll(0.0)
                self._pump(0.0 if self._take(self._clock_s()) else BUSY_WAIT_S)
        except HaltError as error:
            self._settlement.halted(error)
        self.counts.is_stopped = self._stopping and not self._is_done
        if self._is_read:
            elsewhere = self._ranges.keys() - {partition.number for partition in self._ledger.trackers}
            self.counts.elsewhere = sorted(n for n in elsewhere if self._starts[n] < self._ranges[n][1])
        try:
            self._drain(set(self._ledger.trackers.values()))
        except HaltError as error:
            first = self._settlement.halt
            if first is not None and str(first) != str(error):
                error = HaltError(f"{first} Besides: {error}")
            self._settlement.halt = error
        self._report(self.counts, None)
        if self._settlement.halt is not None:
            raise self._settlement.halt
        return self.counts

    @property
    def _is_enough(self) -> bool:
        return self._limits.most is not None and self.counts.tried_in_all == self._limits.most

    @property
    def _is_done(self) -> bool:
        """Whether all of the partitions given is taken and recorded."""
        is_over = self._is_enough or (self._is_read and not self._read_ahead)
        return is_over and not self._ledger.pending_records

    def _pump(self, timeout_s: float, *, send: bool = True) -> None:
        for target, batch_id, answer in self._sink.answers(timeout_s):
            self._handle_answer(self._senders[target], batch_id, answer)
        for (tracker, offset), (item, code) in self._settlement.acknowledged():
            self._dead_lettered(item, code)
            self._ledger.settle(tracker, offset)
        now_s = self._clock_s()
        for sender in self._senders.values():
            for pending, _ in sender.step(now_s):
                self._leave(sender, cast("RedeliveredEntry[Item]", pending))
        if send and self._may_send:
            for sender in self._senders.values():
                sender.send(now_s)
        if now_s >= self._report_due_s:
            self._report_due_s = now_s + REPORT_INTERVAL_S
            problem = self._stalled or self._problem or self._dead_letters.problem or self._waits
            self._report(self.counts, problem)

    @property
    def _may_send(self) -> bool:
        """Whether requests may begin now."""
        return not self._settlement.halt

    @property
    def _waits(self) -> str | None:
        """What waits before it is sent, and for what, in words."""
        for sender in self._senders.values():
            if sender.held and sender.source_gate.is_awaited:
                waiting = f"{sender.held:,} {self.things} wait"
                if sender.source_gate.is_only_refused:
                    return f"{waiting}, since EventBridge refuses the events of their sources"
                problem = sender.lookup_problem(self._clock_s())
                return f"{waiting} for lookups of their sources" + (f"; {problem}" if problem else "")
        return None

    # In

    def _take(self, now_s: float) -> bool:
        """Take what comes next while there is room; False when there was nothing to do."""
        if now_s < self._stalled_until_s or not self._ledger.trackers:
            return False
        room = MAX_UNRECORDED - self._ledger.pending_records - self._unrecorded
        for count in range(min(TAKE, room)):
            if self._settlement.halt or self._is_enough or self._ledger.pending_bytes >= MAX_UNRECORDED_BYTES:
                return count > 0
            if not (self._read_ahead or self._read()):
                return count > 0
            prepared, tracker = self._read_ahead[0]
            kind = self._kind(*prepared)
            if kind is not None:
                if not self._rate_control.may_send(now_s):
                    return count > 0
                self._rate_control.sent(now_s)
                self.counts.count(self.counts.tried, kind)
            self._read_ahead.popleft()
            self._handle(prepared, tracker, now_s)
        return room > 0

    def _read(self) -> bool:
        """Bring more; False when there is nothing at this moment."""
        try:
            if self._batches is None:
                self._batches = self._prepared_batches(dict(map(self._range, self._ledger.trackers.values())))
            batch = next(self._batches, None)
        except UnavailableError as error:
            self._batches = None
            self._stall(str(error))
            return False
        self._stalled = None
        if batch is None:
            self._is_read = True
            for tracker in self._ledger.trackers.values():
                # What lies behind the last record is read, too: it may be a hole.
                tracker.next_offset = self._ranges[tracker.partition.number][1]
            return False
        self.counts.leave(batch)
        if batch.problem is not None:
            self._stall(batch.problem)
        for prepared in batch.prepared:
            self._read_ahead.append((prepared, self._ledger.trackers[prepared.item.id.partition]))
        return bool(self._read_ahead)

    def _range(self, tracker: OffsetTracker) -> tuple[int, tuple[int, int]]:
        number = tracker.partition.number
        return number, (tracker.next_offset or self._starts[number], self._ranges[number][1])

    def _stall(self, problem: str) -> None:
        """Wait a moment before the next try: what is missing may come."""
        self._stalled = problem
        self._stalled_until_s = self._clock_s() + STALL_WAIT_S

    def _handle(self, prepared: Prepared[Item], tracker: OffsetTracker, now_s: float) -> None:
        item, result = prepared
        offset = item.id.offset
        if isinstance(result, PassedOver):
            self.counts.count(self.counts.left, str(result))
            tracker.next_offset = offset + 1
            return
        self._ledger.begin(tracker.partition, offset, size_bytes=item.record.size_bytes, now_s=now_s)
        match result:
            case Entry():
                self._ledger.grow(tracker, offset, result.memory_bytes)
                # Of one lane is only what one partition holds, so that it can be given away whole.
                order = self._pipeline.ordering(item.record)
                lane = None if order is None else (tracker, order)
                event_id = item.event_id or self._pipeline.event_id(item.record)
                pending = RedeliveredEntry(item, tracker, result, now_s, event_id)
                sender = self._senders[result.target]
                route = self._pipeline.route(item.record.partition.topic)
                is_sent = route.policies[result.target] == "send"
                if (
                    not is_sent
                    and pending.only_if_active
                    and sender.source_gate.seen(result.source).is_denied
                ) or sender.add(pending, lane, "send" if is_sent else "dead_letter"):
                    self._leave(sender, pending)
            case Dropped():
                self.counts.count(self.counts.dropped, result.reason)
                self._dropped(item, result.reason)
                self._ledger.settle(tracker, offset)
            case RecordError():
                self._fail(item, tracker, result)

    # Answers back

    def _handle_answer(self, sender: TargetSender, batch_id: int, answer: Answer) -> None:
        result = sender.handle_answer(batch_id, answer)
        self._problem = None if answer.error is None else str(answer.error)
        event_ids = (outcome.event_id for outcome in answer.outcomes if isinstance(outcome, Delivered))
        for each, event_id in zip(result.delivered, event_ids, strict=True):
            pending = cast("RedeliveredEntry[Item]", each)
            self.counts.deliver(pending.entry)
            self._settlement.delivered()
            seen = sender.source_gate.seen(pending.entry.source)
            if seen.is_denied and pending.lane.queue.policy != "send":
                self.counts.count(self.counts.unseen, str(seen.reason))
            self._delivered(pending, event_id)
            self._ledger.settle(pending.tracker, pending.item.id.offset)
        if self._receipts is not None and result.delivered:
            self._receipts.write(sender.name, answer, result.delivered)
        for each, error in result.failed:
            pending = cast("RedeliveredEntry[Item]", each)
            if pending.lane.queue.gate is Gate.REFUSED:
                self._leave(sender, pending)
                continue
            self._fail(pending.item, pending.tracker, error, pending=pending, request_id=answer.request_id)
        if result.halt is not None:
            self._settlement.halted(result.halt)

    def _leave(self, sender: TargetSender, pending: RedeliveredEntry[Item]) -> None:
        """Leave out one whose source is not seen to be ACTIVE: it was not sent, and did not fail."""
        if not pending.tracker.is_open:
            return
        item, seen = pending.item, sender.source_gate.seen(pending.entry.source)
        reason = why_left_open(seen, only_if_active=item.only_if_active) or (
            "EventBridge refuses the events of its source, which a lookup shows to be ACTIVE"
            if seen.state == "ACTIVE"
            else f"its source is {seen}"
        )
        self.counts.leave_after_all(self._kind(item, pending.entry), reason)
        self._ledger.settle(pending.tracker, item.id.offset)

    def _fail(
        self,
        item: Item,
        tracker: OffsetTracker,
        error: RecordError,
        *,
        pending: RedeliveredEntry[Item] | None = None,
        request_id: str | None = None,
    ) -> None:
        """Write the dead letter of one that failed. Its outcome is recorded once the broker has it."""
        if not tracker.is_open:
            return
        self.counts.count(self.counts.failed, error.code)
        self.counts.messages.setdefault(error.code, str(error))
        record, failure = self._dead_letter(item, error, pending=pending, request_id=request_id)
        # Where it cannot be written the old letter stays open, and the record is not passed.
        self._settlement.dead_letter(record, failure, (tracker, item.id.offset), (item, error.code))

    # Assignment: called by the group inside `poll`

    def on_assigned(self, partitions: Collection[int]) -> None:
        """Begin with these partitions, as soon as what is recorded of them was read."""
        self._problem = None
        self._ledger.assign(Partition(self._topic, number) for number in partitions if number in self._ranges)
        self._read_anew()

    def on_revoked(self, partitions: Collection[int]) -> None:
        """Send nothing new of these, bring what is in flight to an end, and record it."""
        if trackers := self._trackers(partitions):  # after the end of `run` nothing is in flight
            self._drain(trackers)

    def on_lost(self, partitions: Collection[int]) -> None:
        """Forget these at once: another member has them already."""
        self._forget(self._trackers(partitions))

    def _trackers(self, partitions: Collection[int]) -> set[OffsetTracker]:
        return {
            tracker for partition, tracker in self._ledger.trackers.items() if partition.number in partitions
        }

    def _drain(self, trackers: set[OffsetTracker]) -> None:
        """Bring what is in flight to an end within one deadline. What no request carries stays open."""
        until_s = self._clock_s() + self._drain_timeout_s
        deadline_s = self._settlement.drain(
            trackers,
            deadline_s=lambda: until_s,
            sends=False,
            pump=lambda timeout_s, send: self._pump(timeout_s, send=send),
        )
        try:
            self._flush_receipts()
            self._flush(max(1.0, deadline_s - self._clock_s()))
        finally:
            self._forget(trackers)

    def _flush_receipts(self) -> None:
        """Have the broker take the receipts of what is recorded next: none is written later."""
        if self._receipts is not None:
            self._receipts.flush()

    def _forget(self, trackers: Collection[OffsetTracker]) -> None:
        for tracker in trackers:
            self._starts[tracker.partition.number] = (
                tracker.committable or self._starts[tracker.partition.number]
            )
        self._ledger.drop([tracker.partition for tracker in trackers])
        self._settlement.forget_closed()
        self._read_anew()

    def _read_anew(self) -> None:
        """What is recorded must be read after every change of the assignment, so everything is."""
        self._batches = None
        self._read_ahead.clear()
        self._is_read = False
