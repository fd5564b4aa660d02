"""The loop: poll → begin → decode → map → check → pack → publish → settle | retry | dead-letter → commit.

One thread, the bridge thread, runs everything here and owns everything that changes. It never
blocks for long: full or failing means pausing partitions, and polling goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from connector import config, process
from connector.dead_letters.format import Failure
from connector.dead_letters.settlement import BUSY_WAIT_S, DeadLetters, Flood, Receipts, Settlement
from connector.delivery.pending import PendingEntry
from connector.delivery.sender import Sink, TargetSender
from connector.delivery.source_gate import StateFeed
from connector.delivery.targets import senders
from connector.errors import HaltError, InvariantError, RecordError, UnavailableError
from connector.flow_control import FlowControl, PausedPartition
from connector.ledger import Ledger, OffsetTracker
from connector.model import BILLED_BYTES, Answer, LastError, Partition, Position, Record, billed_chunks
from connector.pipeline import Dropped, Pipeline, TopicRoute
from connector.telemetry.health import Health
from connector.telemetry.metrics import Telemetry
from connector.telemetry.page import Board, PartitionReport

if TYPE_CHECKING:
    from connector.delivery.pauses import PauseFile

POLL_RECORDS = 100
"""Records taken in one go. Decoding and mapping them takes a few ms, the longest that an answer waits."""

CONVERT_S = 1.0
"""Decoding and mapping may hold up the loop for so long, and for one record more. Large records and costly
expressions come to it; the rest of what was polled waits its turn, stalled."""

POLL_INTERVAL_S = 0.25
"""While the target has enough to do nothing more is read ahead: decoding would only keep answers waiting.
Polling goes on at this interval, since rebalances are handled inside it."""

IDLE_WAIT_S = 0.1
"""With nothing in flight it waits for records, which end the wait at once; signals wait this long."""

LAST_COMMIT_S = 1.0
"""A commit that ends a drain has so long at least, however late it is."""

LETTERS_COMMIT_S = 0.2
"""Offsets are committed this soon after a dead letter was acknowledged: a reader that starts before the
commit writes it again."""

REPORT_INTERVAL_S = 1.0
"""How often the gauges are brought up to date."""

SOURCES_INTERVAL_S = 5.0
"""How often what is shown of each source is brought up to date, where no state changed."""

SLOW = f"decoding and mapping its records took over {CONVERT_S:g} s; the others wait their turn"

FLOOD = Flood(
    "records in a row were dead-lettered",
    "That is a broken mapping or topic, not a run of bad records. Correct it and start again,",
)


class Consumer(Protocol):
    """The consumer group. It calls the `on_…` methods of the bridge inside `poll`."""

    def poll(self, limit: int, timeout_s: float) -> Sequence[Record]:
        """Up to `limit` records; waits for the first one at most `timeout_s`."""

    def pause(self, partitions: Collection[Partition]) -> None: ...
    def resume(self, partitions: Collection[Partition]) -> None: ...
    def commit(self, offsets: Mapping[Partition, int], *, wait_s: float) -> None:
        """Commit; the result comes to `Bridge.on_committed`, before returning when `wait_s` is not 0.

        No answer within that time is a commit that failed.
        """

    def lag(self, partition: Partition, committable: int | None, *, is_all_settled: bool) -> int | None:
        """Records from the offset that may be committed to the end, seconds old; None while it is not known.

        Where all that was polled is settled, or nothing was polled, holes after that offset do not count.
        """

    @property
    def problem(self) -> str | None:
        """Why nothing may be arriving, in a sentence; None when all is well."""


class Bridge:
    """Moves records from the consumer to the sink until `stop` is called.

    Call `run` from the thread that owns the consumer; `stop` may be called from a signal handler.
    """

    def __init__(
        self,
        settings: config.Settings,
        *,
        pipeline: Pipeline,
        sink: Sink,
        state_feeds: Mapping[str, StateFeed],
        dead_letters: DeadLetters,
        receipts: Receipts | None = None,
        pauses: PauseFile | None = None,
        telemetry: Telemetry,
        health: Health,
        board: Board | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`state_feeds` look up the sources of each target, by its name."""
        self._clock_s = clock_s
        self._pipeline = pipeline
        self._sink = sink
        self._dead_letters = dead_letters
        self._receipts = receipts
        self._pauses = pauses
        self._telemetry = telemetry
        self._health = health
        self._board = board or Board()
        self._delivery = settings.delivery
        self._senders = senders(
            settings, sink=sink, telemetry=telemetry, state_feeds=state_feeds, clock_s=clock_s
        )
        self._all_senders = tuple(self._senders.values())
        self._ledger = Ledger()
        self._settlement: Settlement[tuple[Failure, str | None]] = Settlement(
            self._all_senders, dead_letters=dead_letters, settings=settings, flood=FLOOD, clock_s=clock_s
        )
        self._flow = FlowControl(
            settings.delivery,
            ledger=self._ledger,
            senders=self._all_senders,
            registry_problem=lambda: pipeline.problem,
            dead_letter_problem=lambda: dead_letters.problem,
        )
        self._stopping = False
        self._is_over = False
        """`run` has returned: nothing may be sent, waited for or committed any more."""
        self._end_by_s = float("inf")
        """When stopping must be over, once it began."""
        self._poll_due_s = 0.0
        self._commit_due_s = 0.0
        self._report_due_s = 0.0
        self._sources_due_s = 0.0
        self._sweep_due_s = 0.0
        if pauses is not None:
            self._follow_pauses(pauses, clock_s())

    def stop(self) -> None:
        """Ask `run` to drain and return."""
        self._stopping = True
        self._begin_to_end()
        self._health.stopping()

    def run(self, consumer: Consumer) -> None:
        """Bridge until `stop` is called; then drain, commit and return.

        Raises:
            HaltError: going on would lose or flood. What was settled is committed by then.
        """
        self._consumer = consumer
        try:
            try:
                while not self._stopping and self._settlement.halt is None:
                    self._step()
            except InvariantError:
                raise
            except HaltError as error:
                self._settlement.halted(error)
            self._begin_to_end()
            self._drain()
            self._commit(wait_s=self._left_s(self._end_by_s))
        finally:
            # After a bug nothing that our own bookkeeping says is committed, either.
            self._is_over = True
        if self._settlement.halt is not None:
            raise self._settlement.halt

    def _begin_to_end(self) -> None:
        """Start the clock of `shutdown_timeout`, also for a drain that is under way."""
        self._end_by_s = min(self._end_by_s, self._clock_s() + self._delivery.shutdown_timeout)

    def _left_s(self, deadline_s: float) -> float:
        """Seconds for a last commit: those that are left, and at least `LAST_COMMIT_S`."""
        return max(LAST_COMMIT_S, deadline_s - self._clock_s())

    # One pass of the loop

    def _step(self) -> None:
        now_s = self._clock_s()
        is_busy = any(sender.is_busy for sender in self._all_senders)
        records: Sequence[Record] = ()
        may_wait = True
        if now_s >= self._poll_due_s or not all(sender.has_enough for sender in self._all_senders):
            self._poll_due_s = now_s + POLL_INTERVAL_S
            records = self._consumer.poll(POLL_RECORDS, 0.0 if is_busy else self._idle_wait_s(now_s))
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
        send = send and self._settlement.halt is None  # the next request would be refused, too
        self._settle_dead_letters()
        now_s = self._clock_s()
        for sender in self._all_senders:
            for pending, error in sender.step(now_s):
                self._dead_letter(pending.record, pending.tracker, error, pending)
        if self._flow.stalled:
            ends_s = now_s + CONVERT_S
            self._flow.retry(lambda record, tracker: self._convert(record, tracker, now_s, ends_s=ends_s))
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
        is_writing = self._settlement.is_writing and self._dead_letters.problem is None
        if is_writing or self._flow.has_short_stall(now_s):
            return BUSY_WAIT_S
        due_s = [each for sender in self._all_senders if (each := sender.next_s(now_s)) is not None]
        return max(0.0, min(IDLE_WAIT_S, min(due_s, default=float("inf")) - now_s))

    # Records in

    def _take(self, records: Sequence[Record], now_s: float) -> None:
        counts: dict[str, int] = {}
        ends_s = now_s + CONVERT_S
        for record in records:
            partition = record.partition
            if partition in self._flow.excluded:
                continue
            tracker = self._ledger.begin(partition, record.offset, size_bytes=record.size_bytes, now_s=now_s)
            if tracker is None:
                continue
            tracker.read_ms = record.timestamp_ms
            counts[partition.topic] = counts.get(partition.topic, 0) + 1
            stalled = self._flow.stalled.get(partition)
            if stalled is None:
                self._convert(record, tracker, now_s, ends_s=ends_s)
            else:
                stalled.records.append((record, tracker))
        for topic, count in counts.items():
            self._telemetry.records_consumed(topic, count)

    def _convert(self, record: Record, tracker: OffsetTracker, now_s: float, *, ends_s: float) -> None:
        """Convert a record if there is time left; otherwise its partition waits for the next round."""
        if self._clock_s() >= ends_s:
            self._flow.stall(record, tracker, PausedPartition("slow", lambda: True, SLOW, now_s))
            return
        route = self._pipeline.route(record.partition.topic)
        try:
            event_id = self._pipeline.event_id(record)
            result = route(record, event_id)
        except RecordError as error:
            self._dead_letter(record, tracker, error)
        except UnavailableError as error:
            # Its schema may be there at any moment, on another thread.
            paused = PausedPartition("schema_registry", lambda: True, str(error), now_s)
            self._flow.stall(record, tracker, paused)
        else:
            if isinstance(result, Dropped):
                self._telemetry.record_filtered(record.partition.topic, result.reason)
                self._ledger.settle(tracker, record.offset)
            else:
                self._add(PendingEntry(record, tracker, result, now_s, event_id), route, now_s)

    def _add(self, pending: PendingEntry, route: TopicRoute, now_s: float) -> None:
        record, tracker, entry = pending.record, pending.tracker, pending.entry
        sender = self._senders[entry.target]
        obstacle = sender.add(pending, route.lane(record), route.policies[entry.target])
        if obstacle is None:
            # A record of some bytes may make an event of many, as by an enum with long symbols.
            self._ledger.grow(tracker, record.offset, entry.memory_bytes)
        elif isinstance(obstacle, RecordError):
            self._dead_letter(record, tracker, obstacle, pending)
        else:
            where = "paused source" if obstacle.reason == "pauses" else obstacle.reason
            text = f"as many events of its {where} wait as may; it goes on when there is room"
            paused = PausedPartition(obstacle.reason, obstacle.has_room, text, now_s, sender)
            self._flow.stall(record, tracker, paused)

    # Answers back

    def _handle_answer(self, sender: TargetSender, batch_id: int, answer: Answer) -> None:
        result = sender.handle_answer(batch_id, answer)
        if result.delivered:
            self._settlement.delivered()
            clock_ms = time.time() * 1000
            waits: dict[str, list[float]] = {}
            more_chunks: dict[str, int] = {}
            for pending in result.delivered:
                record = pending.record
                self._ledger.settle(pending.tracker, record.offset)
                waits.setdefault(record.partition.topic, []).append(
                    (clock_ms - (record.timestamp_ms or clock_ms)) / 1000
                )
                if pending.entry.size_bytes > BILLED_BYTES:
                    more = billed_chunks(pending.entry.size_bytes) - 1
                    more_chunks[record.partition.topic] = more_chunks.get(record.partition.topic, 0) + more
            for topic, seconds in waits.items():
                chunks = len(seconds) + more_chunks.get(topic, 0)
                self._telemetry.events_delivered(topic, sender.name, seconds, billed_chunks=chunks)
            if self._receipts is not None:
                self._receipts.write(sender.name, answer, result.delivered)
        for pending, error in result.failed:
            self._dead_letter(
                pending.record, pending.tracker, error, pending, answer, trace_id=result.trace_id
            )
        # One target of several that refuses us is down for its own records; going on helps the others.
        if result.halt and all(sender.refuses_us for sender in self._all_senders):
            self._settlement.halted(result.halt)

    # Dead letters

    def _dead_letter(
        self,
        record: Record,
        tracker: OffsetTracker,
        error: RecordError,
        pending: PendingEntry | None = None,
        answer: Answer | None = None,
        *,
        trace_id: str | None = None,
    ) -> None:
        """Hand a record to the dead-letter topic; it is settled once the broker has it."""
        if not tracker.is_open:
            return
        failure = Failure.of(
            error,
            event_id=self._pipeline.event_id(record),
            pending=pending,
            request_id=answer.request_id if answer else None,
        )
        self._health.failed(record.partition.topic, f"{error.code}: {error}")
        self._settlement.dead_letter(record, failure, (tracker, record.offset), (failure, trace_id))

    def _settle_dead_letters(self) -> None:
        acknowledged = self._settlement.acknowledged()
        for (tracker, offset), (failure, trace_id) in acknowledged:
            self._ledger.settle(tracker, offset)
            self._telemetry.record_dead_lettered(
                Position(tracker.partition, offset),
                code=failure.code,
                message=failure.message,
                target=failure.target,
                trace_id=trace_id,
            )
            self._board.dead_lettered(
                Position(tracker.partition, offset),
                code=failure.code,
                source=failure.source,
                message=failure.message,
            )
            if failure.target is not None and failure.source is not None:
                error = LastError(failure.last_failure_ms, failure.code, failure.message)
                self._senders[failure.target].source_gate.dead_lettered(failure.source, error)
        if acknowledged:
            self._commit_due_s = min(self._commit_due_s, self._clock_s() + LETTERS_COMMIT_S)

    # Flow control, commit, drain

    def _control_flow(self) -> None:
        pause, resume = self._flow.change()
        if pause:
            self._consumer.pause(pause)
        if resume:
            self._consumer.resume(resume)

    def _commit(self, *, wait_s: float, partitions: Collection[Partition] | None = None) -> None:
        if offsets := self._ledger.committable(partitions):
            if self._receipts is not None:
                # What is committed is not sent again, so a kill must not find its receipts still here.
                self._receipts.flush()
            self._consumer.commit(offsets, wait_s=wait_s)

    def _drain(self, partitions: Collection[Partition] | None = None) -> float:
        """Bring what is in flight to an end, of all partitions or some; returns by when that had to be."""
        trackers = self._ledger.readings(partitions)
        for tracker in trackers:
            self._flow.stalled.pop(tracker.partition, None)
        until_s = self._clock_s() + self._delivery.shutdown_timeout
        return self._settlement.drain(
            trackers,
            # Leaving the group revokes what is still assigned, and a stop may come while a rebalance drains:
            # neither gets a budget of its own.
            deadline_s=lambda: min(self._end_by_s, until_s),
            sends=True,
            pump=lambda timeout_s, send: self._pump(timeout_s, send=send),
        )

    # Assignment: called by the consumer inside `poll`

    def on_assigned(self, partitions: Sequence[Partition]) -> None:
        """Start from a clean slate on these partitions."""
        self._telemetry.rebalanced("assigned", partitions)
        for partition in partitions:
            if reason := self._pipeline.refusal(partition.topic):
                self._flow.excluded.add(partition)
                self._telemetry.partition_excluded(partition, reason)
            else:
                self._ledger.assign([partition])
                self._flow.assigned(partition, self._clock_s())
        self._assignment_changed()

    def on_revoked(self, partitions: Sequence[Partition]) -> None:
        """Send nothing new of these, bring what is in flight to an end, commit, forget.

        Leaving the group brings this, too, after `run` and on a thread of its own, on which no connection may
        be used. What there was to wait for was waited for by then, and committed.
        """
        self._telemetry.rebalanced("revoked", partitions)
        if not self._is_over:
            deadline_s = self._drain(partitions)
            self._commit(wait_s=self._left_s(deadline_s), partitions=partitions)
        self._forget(partitions)

    def on_lost(self, partitions: Sequence[Partition]) -> None:
        """Forget these at once: another consumer reads them already, so a commit would be wrong."""
        self._telemetry.rebalanced("lost", partitions)
        self._forget(partitions)

    def on_committed(self, offsets: Mapping[Partition, int], error: str | None) -> None:
        """Remember what was committed; a commit that failed is repeated with the next."""
        self._telemetry.committed("ok" if error is None else "failed", len(offsets), reason=error)
        if error is None:
            self._ledger.committed(offsets)

    def _forget(self, partitions: Sequence[Partition]) -> None:
        self._ledger.drop(partitions)
        self._settlement.forget_closed()
        self._flow.forget(partitions)
        self._telemetry.forget(partitions)
        self._board.forget(partitions)
        self._assignment_changed()

    def _assignment_changed(self) -> None:
        self._telemetry.assignment(self._ledger.trackers.keys())
        self._health.assigned(len(self._ledger.trackers))

    # Pauses

    def _follow_pauses(self, pauses: PauseFile, now_s: float) -> None:
        """Pause and resume as the file says by now."""
        if pauses.follow():
            for sender in self._all_senders:
                sender.source_gate.pause(partial(pauses.of_source, target=sender.name))
            self._flow.pause_topics(pauses.of_topic, now_s)
        self._health.pauses(pauses.in_force, pauses.problem)
        self._telemetry.held_by_pauses(self._flow.held_by_pauses() if pauses.in_force else ())

    # What an operator sees

    def _report(self, now_s: float) -> None:
        telemetry, ledger = self._telemetry, self._ledger
        if self._pauses is not None:
            self._follow_pauses(self._pauses, now_s)
        telemetry.pending(ledger.pending_records, ledger.pending_bytes)
        telemetry.paused(self._flow.paused())
        telemetry.partitions_stalled(self._flow.stalls(now_s))
        partitions = [
            PartitionReport(
                each, None, 0.0, None, 0.0, ("excluded", self._pipeline.refusal(each.topic) or "")
            )
            for each in self._flow.excluded
        ]
        for partition, tracker in ledger.trackers.items():
            oldest_s = tracker.oldest_polled_s
            waits_s = 0.0 if oldest_s is None else now_s - oldest_s
            telemetry.oldest_unsettled(partition, waits_s)
            lag = self._consumer.lag(partition, tracker.committable, is_all_settled=oldest_s is None)
            if lag is not None:
                telemetry.lag(partition, lag)
            behind_s, since_ms = self._board.behind(partition, lag, read_ms=tracker.read_ms, waits_s=waits_s)
            paused = self._flow.why_paused(partition)
            partitions.append(PartitionReport(partition, lag, behind_s, since_ms, waits_s, paused))
        is_due = now_s >= self._sources_due_s
        for sender in self._all_senders:
            telemetry.held(sender.name, sender.held)
            sender.age_without_others(now_s, is_blocked=self._flow.waits_for(sender))
            failing = sender.failing()
            telemetry.sources_failing(sender.name, failing)
            telemetry.first_lookups(sender.name, sender.source_gate.first_lookups)
            self._health.sources_failing(sender.name, failing)
            self._health.first_lookups(sender.name, sender.source_gate.first_lookups)
            self._health.lookups(sender.name, sender.lookup_problem(now_s))
            if is_due or sender.source_gate.changed():
                standings = sender.sources()
                telemetry.sources(sender.name, standings)
                self._health.sources(sender.name, standings)
        if is_due:
            self._sources_due_s = now_s + SOURCES_INTERVAL_S
        self._health.report("dead_letter", self._dead_letters.problem)
        if self._receipts is not None:
            self._health.receipts(self._receipts.problem)
        self._health.report("kafka", kafka := self._consumer.problem)
        telemetry.kafka_state(kafka)
        targets = [sender.report(now_s) for sender in self._all_senders]
        self._board.report(now_s, partitions=partitions, targets=targets)
        self._health.sent_again(self._board.sent_again)
        down = {target.name: target.problem for target in targets if target.problem is not None}
        # A Region that is down is no reason to take the others' events away from this process.
        is_all = len(down) == len(self._all_senders)
        self._health.report("eventbridge", _joined(down) if is_all else None)
        self._health.targets_down(down)
        waits = any(paused.reason == "schema_registry" for paused in self._flow.stalled.values())
        self._health.report("schema_registry", self._pipeline.problem if waits else None)
        self._health.report("paused", self._flow.problem(now_s))


def _joined(problems: Mapping[str, str]) -> str:
    """The problems of all targets, in a sentence; of several each has its name."""
    if len(problems) == 1:
        return next(iter(problems.values()))
    return "; ".join(f"target {name}: {problem}" for name, problem in problems.items())
