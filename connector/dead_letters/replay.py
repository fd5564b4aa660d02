"""Dead letters sent again: what would become of them with the current configuration, and sending them.

The order of things is what makes a replay safe to kill and to repeat. A letter is resolved only after
EventBridge gave its event an EventId, or after the broker has the new letter of one that failed again.
And a replay sends letters only of partitions that its consumer group gave it, after it read what is
resolved there.

What remains possible: an event is sent twice where a replay is killed between the EventId and the
acknowledged resolution, or where it was cut off for longer than the group's session with a request
under way, and another replay took over. Both times it has the same event id.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from connector import config
from connector.dead_letters.dry_run import (
    DryRun,
    NotReplayable,
    Prepared,
    PreparedBatch,
    ReplayCounts,
    Report,
    why_left_open,
)
from connector.dead_letters.format import REPLAY_COUNT, DeadLetter, Failure
from connector.dead_letters.resolutions import DeadLetterState, Resolution
from connector.dead_letters.settlement import BUSY_WAIT_S, DeadLetters, Flood, Settlement
from connector.delivery.pending import Gate, PendingEntry
from connector.delivery.rate import RateControl
from connector.delivery.sender import Sink, TargetSender
from connector.delivery.source_gate import StateFeed
from connector.errors import OF_SOURCES, DeadLetterError, HaltError, RecordError, UnavailableError
from connector.ledger import Ledger, OffsetTracker
from connector.model import Answer, Delivered, Entry, Partition, Position, Ranges, now_ms
from connector.pipeline import Dropped
from connector.telemetry.metrics import Telemetry

MAX_PENDING_LETTERS = 1_000
MAX_PENDING_BYTES = 64 * 1024**2
"""Letters tried and not yet recorded, at most. This bounds the memory."""

MAX_UNRECORDED = 500
"""Resolutions on their way to the broker with which more is sent. Together with the requests in flight
they are what a kill makes go twice."""

TAKE = 100
"""Letters taken in one go; a few ms, the longest that an answer waits."""

STALL_WAIT_S = 0.05
REPORT_INTERVAL_S = 0.25

FLOOD = Flood(
    "letters in a row failed again",
    "That is not corrected yet: correct it, and read the plan before;",
)

WAITING = (
    "waiting for its turn: brokers wait some seconds for others (group.initial.rebalance.delay.ms), longer "
    "while another replay is at work or was killed a moment ago"
)


class ReplayMembership(Protocol):
    """Membership in the group that says who may replay which partition of the dead-letter topic.

    It calls `on_assigned`, `on_revoked` and `on_lost` of the replay inside `poll`.
    """

    def poll(self, timeout_s: float) -> None:
        """Take part in the group; waits at most so long."""


class Resolutions(Protocol):
    """The resolutions topic, for writing."""

    @property
    def unwritten(self) -> int:
        """Resolutions that the broker has not acknowledged up to now."""

    def write(self, letter: Position, resolution: Resolution) -> None:
        """Record the resolution of a dead letter; waits only while there is no room for it.

        Raises:
            DeadLetterError: an earlier one could not be written.
        """

    def flush(self, timeout_s: float) -> None:
        """Return once the broker has all of them.

        Raises:
            DeadLetterError: some could not be written, or not in time.
        """


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is replayed, and how fast."""

    rate: float | None = None
    """Letters a second, at most; None for as fast as EventBridge takes them."""
    max_letters: int | None = None
    """Letters tried, at most."""


class ReplayedEntry(PendingEntry):
    """The event of a letter on its way."""

    __slots__ = ("letter",)

    def __init__(self, letter: DeadLetter, tracker: OffsetTracker, entry: Entry, now_s: float) -> None:
        super().__init__(letter.record, tracker, entry, now_s)
        self.letter = letter

    @property
    def only_if_active(self) -> bool:  # type: ignore[override]
        return self.letter.label.code in OF_SOURCES


class Replay:
    """Sends the selected letters of the partitions it is given, and records what becomes of each.

    Letters of one key go in the order they have in the dead-letter topic. A target or registry that is
    down is waited for. Call `run` once; `stop` may be called from a signal handler.
    """

    def __init__(
        self,
        settings: config.Settings,
        *,
        ranges: Ranges,
        prepared_batches: Callable[[Ranges], Iterator[PreparedBatch]],
        dry_run: DryRun,
        limits: Limits,
        resolutions: Resolutions,
        sink: Sink,
        state_feeds: Mapping[str, StateFeed],
        dead_letters: DeadLetters,
        telemetry: Telemetry,
        report: Report,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`prepared_batches` reads the resolutions of these ranges, and brings their selected dead letters,
        each with its dry run. `state_feeds` look up the sources of each target, by its name.
        """
        self.counts = ReplayCounts()
        self._topic = settings.dead_letter.topic
        self._drain_timeout_s = settings.delivery.shutdown_timeout
        self._ranges = ranges
        self._starts = {number: low for number, (low, _) in ranges.items()}
        """Where the reading of each partition goes on."""
        self._prepared_batches = prepared_batches
        self._dry_run = dry_run
        self._limits = limits
        self._resolutions = resolutions
        self._sink = sink
        self._dead_letters = dead_letters
        self._report = report
        self._clock_s = clock_s
        self._senders = {
            name: TargetSender(
                name,
                target,
                sink=sink,
                telemetry=telemetry,
                state_feed=state_feeds[name],
                # What waits for a lookup is within the limits of this replay as a whole.
                sources=settings.sources.model_copy(
                    update={"max_held_records": sys.maxsize, "max_held_bytes": sys.maxsize}
                ),
                sends_unseen=False,
                clock_s=clock_s,
            )
            for name, target in settings.all_targets.items()
        }
        self._ledger = Ledger()
        """Letters tried and not recorded, by their place in the dead-letter topic."""
        self._rate_control = RateControl(max_per_second=limits.rate)
        self._batches: Iterator[PreparedBatch] | None = None
        self._tried: deque[tuple[Prepared, OffsetTracker]] = deque()
        """Tried and not taken yet."""
        self._settlement: Settlement[tuple[DeadLetter, str]] = Settlement(
            self._senders.values(), dead_letters=dead_letters, settings=settings, flood=FLOOD, clock_s=clock_s
        )
        self._problem: str | None = WAITING
        self._stalled_until_s = float("-inf")
        self._report_due_s = float("-inf")
        self._is_read = False
        self._stopping = False

    def stop(self) -> None:
        """Ask `run` to bring what is in flight to an end, record it, and return."""
        self._stopping = True

    def run(self, group: ReplayMembership) -> ReplayCounts:
        """Replay until all is done or `stop` is called.

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
        limit = self._limits.max_letters
        return limit is not None and self.counts.tried_in_all == limit

    @property
    def _is_done(self) -> bool:
        """Whether all letters of the partitions given were tried and recorded."""
        is_over = self._is_enough or (self._is_read and not self._tried)
        return is_over and not self._ledger.pending_records

    # One pass of the loop

    def _pump(self, timeout_s: float, *, send: bool = True) -> None:
        for target, batch_id, answer in self._sink.answers(timeout_s):
            self._handle_answer(self._senders[target], batch_id, answer)
        for (tracker, _), (letter, code) in self._settlement.acknowledged():
            self._record(letter, tracker, DeadLetterState.DEAD_LETTERED_AGAIN, reason=code)
        now_s = self._clock_s()
        for sender in self._senders.values():
            for pending, _ in sender.step(now_s):
                self._leave(sender, cast("ReplayedEntry", pending))
        if send and not self._settlement.halt and self._resolutions.unwritten < MAX_UNRECORDED:
            for sender in self._senders.values():
                sender.send(now_s)
        if now_s >= self._report_due_s:
            self._report_due_s = now_s + REPORT_INTERVAL_S
            self._report(self.counts, self._problem or self._dead_letters.problem or self._waits)

    @property
    def _waits(self) -> str | None:
        """What letters wait for before they are sent, in words."""
        for sender in self._senders.values():
            if sender.held and sender.source_gate.is_awaited:
                if sender.source_gate.is_only_refused:
                    return (
                        f"{sender.held:,} letters wait, since EventBridge refuses the events of their sources"
                    )
                why = f": {sender.source_gate.trouble[1]}" if sender.source_gate.trouble else ""
                return f"{sender.held:,} letters wait for lookups of their sources{why}"
        return None

    # Letters in

    def _take(self, now_s: float) -> bool:
        """Take the next letters while there is room; False when there was nothing to do."""
        if now_s < self._stalled_until_s or not self._ledger.trackers:
            return False
        room = MAX_PENDING_LETTERS - self._ledger.pending_records - self._resolutions.unwritten
        for count in range(min(TAKE, room)):
            if self._settlement.halt or self._is_enough or self._ledger.pending_bytes >= MAX_PENDING_BYTES:
                return count > 0
            if not (self._tried or self._read()) or not self._rate_control.may_send(now_s):
                return count > 0
            self._rate_control.sent(now_s)
            tried, tracker = self._tried.popleft()
            self._handle(tried, tracker, now_s)
        return room > 0

    def _read(self) -> bool:
        """Bring more letters; False when there are none at this moment."""
        try:
            if self._batches is None:
                self._batches = self._prepared_batches(dict(map(self._range, self._ledger.trackers.values())))
            batch = next(self._batches, None)
        except UnavailableError as error:
            self._batches = None
            self._stall(str(error))
            return False
        if batch is None:
            self._is_read = True
            return False
        self.counts.leave(batch)
        if batch.problem is not None:
            self._stall(batch.problem)
        for tried in batch.tried:
            self._tried.append((tried, self._ledger.trackers[tried.letter.id.partition]))
        return bool(self._tried)

    def _range(self, tracker: OffsetTracker) -> tuple[int, tuple[int, int]]:
        number = tracker.partition.number
        return number, (tracker.next_offset or self._starts[number], self._ranges[number][1])

    def _stall(self, problem: str) -> None:
        """Wait a moment before the next try: what is missing may come."""
        self._problem = problem
        self._stalled_until_s = self._clock_s() + STALL_WAIT_S

    def _handle(self, tried: Prepared, tracker: OffsetTracker, now_s: float) -> None:
        letter, result = tried
        offset = letter.id.offset
        if isinstance(result, NotReplayable):
            self.counts.count(self.counts.left, str(result))
            tracker.next_offset = offset + 1
            return
        self.counts.count(self.counts.tried, letter.label.code)
        self._ledger.begin(tracker.partition, offset, size_bytes=letter.record.size_bytes, now_s=now_s)
        if isinstance(result, Entry):
            self._ledger.grow(tracker, offset, len(result.json))
        match result:
            case Entry():
                # Of one lane are only letters of one partition, so that it can be given away whole.
                order = self._dry_run.ordering(letter.record)
                lane = None if order is None else (tracker, order)
                replayed, sender = ReplayedEntry(letter, tracker, result, now_s), self._senders[result.target]
                is_sent = self._dry_run.policy(letter, result) == "send"
                if (
                    not is_sent
                    and replayed.only_if_active
                    and sender.source_gate.seen(result.source).is_denied
                ) or sender.add(replayed, lane, "send" if is_sent else "dead_letter"):
                    self._leave(sender, replayed)
            case Dropped():
                self.counts.count(self.counts.dropped, result.reason)
                reason = f"{result.reason} of the configuration at replay"
                self._record(letter, tracker, DeadLetterState.DISCARDED, reason=reason)
            case RecordError():
                self._fail(letter, tracker, result)

    # Answers back

    def _handle_answer(self, sender: TargetSender, batch_id: int, answer: Answer) -> None:
        result = sender.handle_answer(batch_id, answer)
        self._problem = None if answer.error is None else str(answer.error)
        event_ids = (outcome.event_id for outcome in answer.outcomes if isinstance(outcome, Delivered))
        for pending, event_id in zip(result.delivered, event_ids, strict=True):
            replayed = cast("ReplayedEntry", pending)
            self.counts.delivered += 1
            self._settlement.delivered()
            seen = sender.source_gate.seen(replayed.entry.source)
            if seen.is_denied and replayed.lane.queue.policy != "send":
                self.counts.count(self.counts.unseen, str(seen.reason))
            # Also when the partition was lost meanwhile: it is true, and the next reader will not send it.
            self._record(replayed.letter, replayed.tracker, DeadLetterState.DELIVERED, event_id=event_id)
        for pending, error in result.failed:
            replayed = cast("ReplayedEntry", pending)
            if replayed.lane.queue.gate is Gate.REFUSED:
                self._leave(sender, replayed)
                continue
            self._fail(
                replayed.letter, replayed.tracker, error, pending=replayed, request_id=answer.request_id
            )
        if result.halt is not None:
            self._settlement.halted(result.halt)

    def _leave(self, sender: TargetSender, replayed: ReplayedEntry) -> None:
        """Leave a letter open whose source is not seen to be ACTIVE: it was not sent, and did not fail."""
        if not replayed.tracker.is_open:
            return
        code, seen = replayed.letter.label.code, sender.source_gate.seen(replayed.entry.source)
        reason = why_left_open(seen, code) or (
            "EventBridge refuses the events of its source, which a lookup shows to be ACTIVE"
            if seen.state == "ACTIVE"
            else f"its source is {seen}"
        )
        self.counts.leave_after_all(code, reason)
        self._ledger.settle(replayed.tracker, replayed.letter.id.offset)

    def _fail(
        self,
        letter: DeadLetter,
        tracker: OffsetTracker,
        error: RecordError,
        *,
        pending: ReplayedEntry | None = None,
        request_id: str | None = None,
    ) -> None:
        """Write the new letter of one that failed again; the old one is resolved once the broker has it."""
        if not tracker.is_open:
            return
        failure = Failure.of(
            error,
            event_id=self._dry_run.event_id(letter),
            pending=pending,
            request_id=request_id,
            earlier_attempts=letter.label.attempts,
            first_failure_ms=letter.first_failure_ms,
        )
        self.counts.count(self.counts.failed, error.code)
        self.counts.messages.setdefault(error.code, str(error))
        replays = (REPLAY_COUNT, b"%d" % (letter.label.replay_count + 1))
        record = letter.record._replace(headers=(*letter.record.headers, replays))
        # Where it cannot be written the old letter stays open.
        self._settlement.dead_letter(record, failure, (tracker, letter.id.offset), (letter, error.code))

    def _record(
        self,
        letter: DeadLetter,
        tracker: OffsetTracker,
        state: DeadLetterState,
        *,
        event_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        at_ms = now_ms()
        resolution = Resolution(state, at_ms, letter.written_ms, event_id=event_id, reason=reason)
        try:
            self._resolutions.write(letter.id, resolution)
        except DeadLetterError as error:
            self._settlement.halted(error)  # the others can perhaps be recorded
        self._ledger.settle(tracker, letter.id.offset)

    # Assignment: called by the group inside `poll`

    def on_assigned(self, partitions: Collection[int]) -> None:
        """Begin with the letters of these partitions, as soon as what is resolved there was read."""
        self._problem = None
        self._ledger.assign(Partition(self._topic, number) for number in partitions if number in self._ranges)
        self._read_anew()

    def on_revoked(self, partitions: Collection[int]) -> None:
        """Send nothing new of these, bring what is in flight to an end, and record it."""
        if trackers := self._trackers(partitions):  # after the end of `run` nothing is in flight
            self._drain(trackers)

    def on_lost(self, partitions: Collection[int]) -> None:
        """Forget these at once: another replay has them already."""
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
        self._forget(trackers)
        self._resolutions.flush(max(1.0, deadline_s - self._clock_s()))

    def _forget(self, trackers: set[OffsetTracker]) -> None:
        for tracker in trackers:
            self._starts[tracker.partition.number] = (
                tracker.committable or self._starts[tracker.partition.number]
            )
        self._ledger.drop([tracker.partition for tracker in trackers])
        self._settlement.forget_closed()
        self._read_anew()

    def _read_anew(self) -> None:
        """What is resolved must be read after every change of the assignment, so everything is."""
        self._batches = None
        self._tried.clear()
        self._is_read = False
