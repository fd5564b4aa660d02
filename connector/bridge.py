"""The loop: poll → begin → decode → map → check → pack → publish → settle | retry | dead-letter → commit.

One thread, the bridge thread, runs everything here and owns everything that changes. It never
blocks for long: full or failing means pausing partitions, and polling goes on.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from connector import config, process
from connector.dead_letters.format import DeadLetters, Failure
from connector.delivery.pending import PendingEntry
from connector.delivery.queue import room_beside
from connector.delivery.sender import Sink, TargetLimits, TargetSender
from connector.delivery.source_gate import StateFeed
from connector.errors import (
    OF_SOURCES,
    DeadLetterError,
    HaltError,
    InvariantError,
    RecordError,
    UnavailableError,
)
from connector.ledger import Ack, Ledger, OffsetTracker
from connector.model import Answer, Partition, Position, Record
from connector.pauses import Pauses
from connector.pipeline import Dropped, Pipeline
from connector.telemetry.health import Health
from connector.telemetry.metrics import PauseReason, Telemetry

POLL_RECORDS = 100
"""Records taken in one go. Decoding and mapping them takes a few ms, the longest that an answer waits."""

CONVERT_S = 1.0
"""Decoding and mapping may hold up the loop for so long, and for one record more. Large records and costly
expressions come to it; the rest of what was polled waits its turn, stalled."""

POLL_INTERVAL_S = 0.25
"""While the target has enough to do nothing more is read ahead: decoding would only keep answers waiting.
Polling goes on at this interval, since rebalances are handled inside it."""

BUSY_WAIT_S = 0.005
"""With requests in flight the loop waits for answers, and looks this often for new records."""

IDLE_WAIT_S = 0.1
"""With nothing in flight it waits for records, which end the wait at once; signals wait this long."""

SHORT_STALL_S = 1.0
"""A partition that has been stalled for longer may wait `IDLE_WAIT_S` more. Asking every few ms whether it
can go on would cost a tenth of a core for the whole outage."""

LAST_COMMIT_S = 1.0
"""A commit that ends a drain has so long at least, however late it is."""

LETTERS_COMMIT_S = 0.2
"""Offsets are committed so soon after a letter was acknowledged: whoever reads its record again would write
it again."""

REPORT_INTERVAL_S = 1.0
"""How often the gauges are brought up to date."""

SOURCES_INTERVAL_S = 5.0
"""How often what is shown of each source is brought up to date, where no state changed."""

SLOW = f"decoding and mapping its records took over {CONVERT_S:g} s; the others wait their turn"

NOT_OF_MAPPING = OF_SOURCES | {"retries_exhausted"}
"""Codes of letters that say nothing about mapping or topic, however many there are."""

RESUME_SHARE = 0.5
"""Partitions that were paused because too much was pending go on once what is left for one target fell to
this share. Resuming at once would pause again after one poll, and each pause throws away what was
prefetched."""


class Consumer(Protocol):
    """The consumer group. It tells the bridge of its assignment through the `on_…` methods, inside `poll`."""

    def poll(self, limit: int, timeout_s: float) -> Sequence[Record]:
        """Up to `limit` records; waits for the first one at most `timeout_s`."""

    def pause(self, partitions: Collection[Partition]) -> None: ...
    def resume(self, partitions: Collection[Partition]) -> None: ...
    def commit(self, offsets: Mapping[Partition, int], *, wait_s: float) -> None:
        """Commit; the result comes to `Bridge.on_committed`, before returning when `wait_s` is not 0.

        No answer within that time is a commit that failed.
        """

    def lag(self, partition: Partition, committed: int) -> int | None:
        """Records behind `committed` offset on the broker, as far as known without asking it."""

    @property
    def problem(self) -> str | None:
        """Why nothing may be arriving, in a sentence; None when all is well."""


@dataclass(slots=True)
class PausedPartition:
    """Why a partition cannot go on, and what was polled from it and not worked on, in order."""

    reason: PauseReason
    may_go_on: Callable[[], bool]
    text: str
    """The reason in a sentence, with what it waits for."""
    since_s: float
    sender: TargetSender | None = None
    """Where there is no room, if that is what it waits for."""
    records: deque[tuple[Record, OffsetTracker]] = field(default_factory=deque)


class Bridge:
    """Moves records from the source to the sink until told to stop.

    Call `run` from the thread that owns the source; `stop` may be called from a signal handler.
    """

    def __init__(
        self,
        settings: config.Settings,
        *,
        pipeline: Pipeline,
        sink: Sink,
        state_feeds: Mapping[str, StateFeed],
        dead_letters: DeadLetters,
        telemetry: Telemetry,
        health: Health,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`state_feeds` look up the sources of each target, by its name."""
        self._clock_s = clock_s
        self._pipeline = pipeline
        self._sink = sink
        self._dead_letters = dead_letters
        self._telemetry = telemetry
        self._health = health
        self._delivery = settings.delivery
        self._request_s = max(
            target.timeouts.connect + target.timeouts.read for target in settings.all_targets.values()
        )
        """As long as one request may take."""
        self._max_consecutive_letters = settings.dead_letter.max_consecutive

        sources = {topic.event.source for topic in settings.topics.values()}
        has_many_sources = len(sources) > 1 or any("${" in source for source in sources)
        share = _share(settings.delivery, targets=len(settings.all_targets))
        self._senders = {
            name: TargetSender(
                name,
                target,
                sink=sink,
                telemetry=telemetry,
                sources=settings.sources,
                state_feed=state_feeds[name],
                share=share,
                has_many_sources=has_many_sources,
                clock_s=clock_s,
            )
            for name, target in settings.all_targets.items()
        }
        self._all_senders = tuple(self._senders.values())
        for topic in settings.topics.values():
            # What will be needed for certain is looked at before the first record asks for it.
            if "${" not in topic.event.source and "${" not in topic.target:
                policy = topic.inactive_policy(settings.all_targets[topic.target])
                self._senders[topic.target].expect(topic.event.source, policy)
        self._ledger = Ledger()
        self._letters: dict[Ack, Failure] = {}
        """Written to the dead-letter topic and not acknowledged yet."""
        self._stalled: dict[Partition, PausedPartition] = {}
        """Partitions whose next record cannot be worked on now: its schema cannot be had, or there is no
        room for more of its target or source."""
        self._excluded: set[Partition] = set()
        """Assigned, but not to be read."""
        self._pauses = Pauses()
        self._fresh: set[Partition] = set()
        """Assigned since the last look. librdkafka keeps a partition paused from one assignment to the
        next, so one that was revoked while paused comes back so, and would be stuck."""
        self._is_full = False
        self._consecutive_letters = 0
        self._stopping = False
        self._halt: HaltError | None = None
        """Why the loop must end. Kept rather than raised, so that the other answers of the same
        moment are not lost with it."""
        self._end_by_s = float("inf")
        """When stopping must be over, once it began."""
        self._poll_due_s = 0.0
        self._commit_due_s = 0.0
        self._report_due_s = 0.0
        self._sources_due_s = 0.0
        self._sweep_due_s = 0.0

    def stop(self) -> None:
        """Ask `run` to drain and return."""
        self._stopping = True
        self._begin_to_end()
        self._health.stopping()

    def run(self, source: Consumer) -> None:
        """Bridge until `stop` is called; then drain, commit and return.

        Raises:
            HaltError: going on would lose or flood. What was settled is committed by then.
        """
        self._source = source
        try:
            try:
                while not self._stopping and self._halt is None:
                    self._step()
            except InvariantError:
                raise
            except HaltError as error:
                self._halt = error
            self._begin_to_end()
            self._drain()
            self._commit(wait_s=self._left_s(self._end_by_s))
        except Exception:
            # A bug: our own bookkeeping may be wrong, so nothing it says is committed any more. Not here,
            # and not in `on_revoked`, which leaving the group brings.
            self._forget(list(self._ledger.trackers))
            raise
        if self._halt is not None:
            raise self._halt

    def _begin_to_end(self) -> None:
        """From now on the time counts that stopping may take, also for what is draining already."""
        self._end_by_s = min(self._end_by_s, self._clock_s() + self._delivery.shutdown_timeout)

    def _left_s(self, deadline_s: float) -> float:
        """For a last commit: what is left of the time, but never nothing."""
        return max(LAST_COMMIT_S, deadline_s - self._clock_s())

    # One pass of the loop

    def _step(self) -> None:
        now_s = self._clock_s()
        is_busy = any(sender.is_busy for sender in self._all_senders)
        records: Sequence[Record] = ()
        may_wait = True
        if now_s >= self._poll_due_s or not all(sender.has_enough for sender in self._all_senders):
            self._poll_due_s = now_s + POLL_INTERVAL_S
            records = self._source.poll(POLL_RECORDS, 0.0 if is_busy else self._idle_wait_s(now_s))
            may_wait = is_busy and not records
        if records:
            self._take(records, self._clock_s())
        self._pump(BUSY_WAIT_S if may_wait else 0.0)
        self._control_flow()
        if now_s >= self._commit_due_s:
            self._commit_due_s = now_s + self._delivery.commit_interval
            self._commit(wait_s=0.0)

    def _pump(self, timeout_s: float, *, send: bool = True) -> None:
        """Everything but polling: answers, acknowledgements, retries, sending."""
        for target, batch_id, answer in self._sink.answers(timeout_s):
            self._handle_answer(self._senders[target], batch_id, answer)
        send = send and self._halt is None  # whoever refuses us would refuse the next one, too
        # Also without letters of ours: one of a partition that was lost may be under way.
        self._take_acknowledged()
        now_s = self._clock_s()
        for sender in self._all_senders:
            for pending, error in sender.step(now_s):
                self._dead_letter(pending.record, pending.tracker, error, pending)
        if self._stalled:
            self._retry_stalled(now_s)
        if send:
            for sender in self._all_senders:
                sender.send(now_s)
        self._health.beat(now_s)
        if now_s >= self._report_due_s:
            self._report_due_s = now_s + REPORT_INTERVAL_S
            self._report(now_s)
            if now_s >= self._sweep_due_s:
                self._sweep_due_s = now_s + process.COLLECT_INTERVAL_S
                process.collect_garbage()

    def _idle_wait_s(self, now_s: float) -> float:
        """How long nothing but a new record can need the loop."""
        if self._letters and self._dead_letters.problem is None:
            return BUSY_WAIT_S
        if any(now_s - stall.since_s < SHORT_STALL_S for stall in self._stalled.values()):
            return BUSY_WAIT_S
        due_s = [each for sender in self._all_senders if (each := sender.next_s(now_s)) is not None]
        return max(0.0, min(IDLE_WAIT_S, min(due_s, default=float("inf")) - now_s))

    # Records in

    def _take(self, records: Sequence[Record], now_s: float) -> None:
        counts: dict[str, int] = {}
        ends_s = now_s + CONVERT_S
        for record in records:
            partition = record.partition
            if partition in self._excluded:
                continue
            tracker = self._ledger.begin(partition, record.offset, size_bytes=record.size_bytes, now_s=now_s)
            if tracker is None:
                continue
            counts[partition.topic] = counts.get(partition.topic, 0) + 1
            stalled = self._stalled.get(partition)
            if stalled is None:
                self._convert_by(ends_s, record, tracker, now_s)
            else:
                stalled.records.append((record, tracker))
        for topic, count in counts.items():
            self._telemetry.records_consumed(topic, count)

    def _convert_by(self, ends_s: float, record: Record, tracker: OffsetTracker, now_s: float) -> None:
        """Convert a record if there is time left; otherwise its partition waits for the next round."""
        if self._clock_s() < ends_s:
            self._convert(record, tracker, now_s)
        else:
            self._stall(record, tracker, PausedPartition("slow", lambda: True, SLOW, now_s))

    def _convert(self, record: Record, tracker: OffsetTracker, now_s: float) -> None:
        try:
            result = self._pipeline(record)
        except RecordError as error:
            self._dead_letter(record, tracker, error)
        except UnavailableError as error:
            # Its schema may be there at any moment, on another thread.
            self._stall(record, tracker, PausedPartition("schema_registry", lambda: True, str(error), now_s))
        else:
            if isinstance(result, Dropped):
                self._telemetry.record_filtered(record.partition.topic, result.reason)
                self._ledger.settle(tracker, record.offset)
            else:
                pending = PendingEntry(record, tracker, result, now_s)
                route = self._pipeline.route(record.partition.topic)
                obstacle = self._senders[result.target].add(
                    pending, route.lane(record), route.policies[result.target]
                )
                if obstacle is None:
                    # A record of some bytes may make an event of many, as by an enum with long symbols.
                    self._ledger.grow(tracker, record.offset, len(result.json))
                    return
                if isinstance(obstacle, RecordError):
                    self._dead_letter(record, tracker, obstacle, pending)
                else:
                    text = (
                        f"as many events of its {obstacle.reason} wait as may; it goes on when there is room"
                    )
                    sender = self._senders[result.target]
                    stall = PausedPartition(obstacle.reason, obstacle.has_room, text, now_s, sender)
                    self._stall(record, tracker, stall)

    def _stall(self, record: Record, tracker: OffsetTracker, stall: PausedPartition) -> None:
        """Stop a partition at this record; what comes after it waits behind it."""
        stall.records.append((record, tracker))
        self._stalled[record.partition] = stall

    def _retry_stalled(self, now_s: float) -> None:
        ends_s = now_s + CONVERT_S
        for partition, stall in list(self._stalled.items()):
            if not stall.may_go_on():
                continue
            del self._stalled[partition]
            first = stall.records[0]
            while stall.records and partition not in self._stalled:
                record, tracker = stall.records.popleft()
                self._convert_by(ends_s, record, tracker, now_s)
            if (again := self._stalled.get(partition)) is not None:
                if again.records[0][0] is first[0]:  # it got no further
                    again.since_s = stall.since_s
                again.records.extend(stall.records)

    # Answers back

    def _handle_answer(self, sender: TargetSender, batch_id: int, answer: Answer) -> None:
        result = sender.handle_answer(batch_id, answer)
        if result.delivered:
            self._consecutive_letters = 0
            clock_ms = time.time() * 1000
            waits: dict[str, list[float]] = {}
            for pending in result.delivered:
                record = pending.record
                self._ledger.settle(pending.tracker, record.offset)
                waits.setdefault(record.partition.topic, []).append(
                    (clock_ms - (record.timestamp_ms or clock_ms)) / 1000
                )
            for topic, seconds in waits.items():
                self._telemetry.events_delivered(topic, sender.name, seconds)
        for pending, error in result.failed:
            self._dead_letter(pending.record, pending.tracker, error, pending, answer)
        # One target of several that refuses us is down for its own records; going on helps the others.
        if result.halt and all(sender.refuses_us for sender in self._all_senders):
            self._halt = result.halt

    # Dead letters

    def _dead_letter(
        self,
        record: Record,
        tracker: OffsetTracker,
        error: RecordError,
        pending: PendingEntry | None = None,
        answer: Answer | None = None,
    ) -> None:
        """Hand a record to the dead-letter topic; it is settled once the broker has it.

        Too many in a row halt the bridge: that is a broken mapping, not a run of bad records.
        """
        if not tracker.is_open:
            return
        now_ms = int(time.time() * 1000)
        failure = Failure(
            code=error.code,
            stage=error.stage,
            message=str(error),
            exception_class=type(error).__name__,
            attempts=pending.tries if pending else 0,
            first_failure_ms=(pending and pending.first_failure_ms) or now_ms,
            last_failure_ms=now_ms,
            request_id=answer.request_id if answer else None,
            target=pending.entry.target if pending else None,
            source=pending.entry.source if pending else None,
            detail_type=pending.entry.detail_type if pending else None,
            event_id=self._pipeline.event_id(record),
        )
        self._health.failed(record.partition.topic, f"{error.code}: {error}")
        ack = (tracker, record.offset)
        try:
            self._dead_letters.write(record, failure, ack)
        except DeadLetterError as halt:
            self._halt = halt  # not settled, it holds back the commit
            return
        self._letters[ack] = failure
        # That customers did not accept their sources is no broken mapping, and must not halt the others.
        self._consecutive_letters += error.code not in NOT_OF_MAPPING
        if self._consecutive_letters > self._max_consecutive_letters:
            self._halt = DeadLetterError(
                f"{self._consecutive_letters} records in a row were dead-lettered and none was delivered "
                f"between them, the last with {error.code}: {error}. That is a broken mapping or topic, "
                "not a run of bad records. Correct it and start again, or raise dead_letter.max_consecutive."
            )

    def _take_acknowledged(self) -> None:
        try:
            acknowledged = self._dead_letters.acknowledged()
        except DeadLetterError as error:
            self._halt = error
            self._letters.clear()  # none comes any more; not settled, they hold back the commit
            return
        for ack in acknowledged:
            self._letter_acknowledged(ack)
        if acknowledged:
            self._commit_due_s = min(self._commit_due_s, self._clock_s() + LETTERS_COMMIT_S)

    def _letter_acknowledged(self, ack: Ack) -> None:
        failure = self._letters.pop(ack, None)
        if failure is None:
            return
        tracker, offset = ack
        self._ledger.settle(tracker, offset)
        self._telemetry.record_dead_lettered(
            Position(tracker.partition, offset),
            code=failure.code,
            message=failure.message,
            target=failure.target,
        )

    # Flow control

    def _control_flow(self) -> None:
        """Bring the paused partitions in line with what can be taken in now."""
        was_full = self._is_full
        self._is_full = self._fullness() >= (RESUME_SHARE if was_full else 1.0)
        if (
            self._is_full == was_full
            and not self._stalled
            and not self._fresh
            and self._pauses.reasons.keys() == self._excluded
        ):
            return
        wanted: dict[Partition, PauseReason] = dict.fromkeys(self._excluded, "excluded")
        if self._is_full:
            wanted.update(dict.fromkeys(self._ledger.trackers, self._why_full()))
        wanted.update((partition, stall.reason) for partition, stall in self._stalled.items())
        pause, resume = self._pauses.change(wanted, self._fresh)
        if pause:
            self._source.pause(pause)
        if resume:
            self._source.resume(resume)
        self._fresh.clear()

    def _fullness(self) -> float:
        """Which share is taken of what may be pending, of the target that has most room left."""
        # What waits outside for room must not fill what the others need. It is no more than one poll brought
        # of each partition. Nor must what is held, for which `_share` leaves room.
        stalled = [record.size_bytes for stall in self._stalled.values() for record, _ in stall.records]
        # Each target is looked at by itself: one that has its share full is no reason to stop those that have
        # room. What is in none of them, as letters under way, counts for each.
        ledger, delivery, senders = self._ledger, self._delivery, self._all_senders
        inside = [sender.inside for sender in senders]
        others = ledger.pending_records - len(stalled) - sum(records for records, _ in inside)
        others_bytes = ledger.pending_bytes - sum(stalled) - sum(size_bytes for _, size_bytes in inside)
        records_each = delivery.max_pending_records / len(senders)
        bytes_each = delivery.max_pending_bytes / len(senders)
        return min(
            max(
                (others + records - sender.held) / room_beside(sender.held, records_each),
                (others_bytes + size_bytes - sender.held_bytes) / room_beside(sender.held_bytes, bytes_each),
            )
            for sender, (records, size_bytes) in zip(senders, inside, strict=True)
        )

    def _why_full(self) -> PauseReason:
        if any(sender.is_down for sender in self._all_senders):
            return "target"
        return "dead_letter" if self._dead_letters.problem else "pending"

    # Commit, drain

    def _commit(self, *, wait_s: float, partitions: Collection[Partition] | None = None) -> None:
        if offsets := self._ledger.committable(partitions):
            self._source.commit(offsets, wait_s=wait_s)

    def _drain(self, partitions: Collection[Partition] | None = None) -> float:
        """Bring what is in flight to an end, for all partitions or for some; returns by when that had to be.

        A request is waited for as long as one may take, a letter until the end. What waits for its next
        attempt, for its source, or for a target that is down or throttled is left to whoever reads it next,
        and so is what lies above it, or was never sent: it would be delivered twice. What is ready below an
        offset that was sent still goes meanwhile, since everything above it would be delivered twice. After a
        halt nothing is sent.
        """
        trackers = self._ledger.readings(partitions)
        for tracker in trackers:
            self._stalled.pop(tracker.partition, None)
        until_s = self._clock_s() + self._delivery.shutdown_timeout
        answered_by_s = self._clock_s() + self._request_s
        while True:
            now_s = self._clock_s()
            # Leaving the group revokes what is still assigned, and a stop may come while a rebalance drains:
            # neither gets a budget of its own.
            deadline_s = min(self._end_by_s, until_s)
            send = self._halt is None and now_s < answered_by_s
            for sender in self._all_senders:
                self._leave(sender, trackers, send=send)
            is_answering = now_s < answered_by_s and any(o.carries(trackers) for o in self._all_senders)
            is_sending = send and any(tracker.blocks_commit for tracker in trackers)
            is_writing = any(tracker in trackers for tracker, _ in self._letters)
            if now_s >= deadline_s or not (is_answering or is_sending or is_writing):
                return deadline_s
            self._pump(min(BUSY_WAIT_S, deadline_s - now_s), send=send)

    def _leave(self, sender: TargetSender, trackers: Set[OffsetTracker], *, send: bool) -> None:
        """Leave to the next reader what need not, or cannot, leave now."""
        left = sender.discard_waiting(trackers)
        if not send or sender.is_backing_off:
            left += sender.discard(lambda pending: pending.tracker in trackers)
        for pending in left:
            pending.tracker.left.add(pending.record.offset)
        ends = {tracker: tracker.finish_to for tracker in trackers}
        for pending in sender.discard(lambda p: p.tracker in trackers and p.record.offset > ends[p.tracker]):
            pending.tracker.left.add(pending.record.offset)

    # Assignment: called by the source inside `poll`

    def on_assigned(self, partitions: Sequence[Partition]) -> None:
        """Start from a clean slate on these partitions."""
        self._telemetry.rebalanced("assigned", partitions)
        for partition in partitions:
            if reason := self._pipeline.refusal(partition.topic):
                self._excluded.add(partition)
                self._telemetry.partition_excluded(partition, reason)
            else:
                self._ledger.assign([partition])
                self._fresh.add(partition)
        self._assignment_changed()

    def on_revoked(self, partitions: Sequence[Partition]) -> None:
        """Send nothing new of these, bring what is in flight to an end, commit, forget."""
        self._telemetry.rebalanced("revoked", partitions)
        deadline_s = self._drain(partitions)
        self._commit(wait_s=self._left_s(deadline_s), partitions=partitions)
        self._forget(partitions)

    def on_lost(self, partitions: Sequence[Partition]) -> None:
        """Forget these at once: somebody else reads them already, so a commit would be wrong."""
        self._telemetry.rebalanced("lost", partitions)
        self._forget(partitions)

    def on_committed(self, offsets: Mapping[Partition, int], error: str | None) -> None:
        """Take note of a commit's result; a failed one is repeated with the next."""
        self._telemetry.committed("ok" if error is None else "failed", len(offsets), reason=error)
        if error is None:
            self._ledger.committed(offsets)

    def _forget(self, partitions: Sequence[Partition]) -> None:
        self._ledger.drop(partitions)
        for sender in self._all_senders:
            sender.discard(lambda p: not p.tracker.is_open)
        self._letters = {ack: failure for ack, failure in self._letters.items() if ack[0].is_open}
        for partition in partitions:
            self._stalled.pop(partition, None)
            self._pauses.forget(partition)
            self._fresh.discard(partition)
            self._excluded.discard(partition)
        self._telemetry.forget(partitions)
        self._assignment_changed()

    def _assignment_changed(self) -> None:
        self._telemetry.assignment(self._ledger.trackers.keys())
        self._health.assigned(len(self._ledger.trackers))

    # What an operator sees

    def _report(self, now_s: float) -> None:
        telemetry, ledger = self._telemetry, self._ledger
        telemetry.pending(ledger.pending_records, ledger.pending_bytes)
        telemetry.paused(self._pauses.counts())
        telemetry.partitions_stalled(
            {partition: (now_s - stall.since_s, stall.text) for partition, stall in self._stalled.items()}
        )
        for partition, tracker in ledger.trackers.items():
            oldest_s = tracker.oldest_polled_s
            telemetry.oldest_unsettled(partition, 0.0 if oldest_s is None else now_s - oldest_s)
            if (offset := tracker.committable) is not None and (
                lag := self._source.lag(partition, offset)
            ) is not None:
                telemetry.lag(partition, lag)
        is_due = now_s >= self._sources_due_s
        for sender in self._all_senders:
            telemetry.held(sender.name, sender.held)
            is_blocked = self._is_full or any(stall.sender is sender for stall in self._stalled.values())
            sender.age_without_others(now_s, is_blocked=is_blocked)
            failing = sender.failing()
            telemetry.sources_failing(sender.name, failing)
            self._health.sources_failing(sender.name, failing)
            if is_due or sender.source_gate.changed():
                standings = list(sender.source_gate.standings())
                telemetry.sources(sender.name, standings)
                self._health.sources(sender.name, standings)
        if is_due:
            self._sources_due_s = now_s + SOURCES_INTERVAL_S
        self._health.report("dead_letter", self._dead_letters.problem)
        self._health.report("kafka", kafka := self._source.problem)
        telemetry.kafka_state(kafka)
        down = {
            sender.name: problem
            for sender in self._all_senders
            if (problem := sender.problem(now_s)) is not None
        }
        # A Region that is down is no reason to take the others' events away from this process.
        is_all = len(down) == len(self._all_senders)
        self._health.report("eventbridge", "; ".join(down.values()) if is_all else None)
        self._health.targets_down(down)
        waits = any(stall.reason == "schema_registry" for stall in self._stalled.values())
        self._health.report("schema_registry", self._pipeline.problem if waits else None)
        held_up = {sender for sender in self._all_senders if sender.is_held_up(now_s)}
        self._health.report("paused", self._pauses.problem(now_s, partial(self._progress, held_up)))

    def _progress(self, held_up: set[TargetSender], partition: Partition, reason: PauseReason) -> int | None:
        """Count what a paused partition waits for; None where something outside explains its pause."""
        stall = self._stalled.get(partition)
        sender = stall.sender if stall else None
        is_explained = (
            reason == "excluded"
            or (reason == "source" and sender is not None and sender.is_holding)
            or (reason == "schema_registry" and self._pipeline.problem is not None)
            or self._dead_letters.problem is not None
            or (sender in held_up if sender else bool(held_up))
        )
        if is_explained:
            return None
        return sender.settled if sender else self._ledger.settled_records


def _share(delivery: config.Delivery, *, targets: int) -> TargetLimits:
    """What may wait for one target: an equal part, so that one that is down leaves the others theirs."""
    records, size_bytes = delivery.max_pending_records // targets, delivery.max_pending_bytes // targets
    is_alone = targets == 1
    return TargetLimits(
        records=sys.maxsize if is_alone else max(1, records),  # alone, the ledger's limits are enough
        record_bytes=sys.maxsize if is_alone else size_bytes,
        held_records=max(1, records // 2),
        held_bytes=size_bytes // 2,
    )
