"""Sends entries to one target: queueing, requests in flight, retries, and a result for each record."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Hashable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from connector import config
from connector.delivery.failures import COUNTED, OF_SOURCE, Failures, backoff_s, fails_alone
from connector.delivery.pending import Gate, PendingEntry, SourceQueue
from connector.delivery.queue import Backpressure, EntryQueue, TargetLimits
from connector.delivery.rate import BreakerState, RateControl
from connector.delivery.source_gate import UNANSWERED, SourceGate, StateFeed
from connector.errors import (
    CLAIM_CHECK,
    HaltError,
    InvariantError,
    NotAuthorizedError,
    OversizeError,
    RecordError,
    RefusedError,
    ThrottledError,
    TransientError,
    UnavailableError,
)
from connector.ledger import OffsetTracker
from connector.model import (
    Answer,
    Delivered,
    Entry,
    Forbidden,
    InactivePolicy,
    Outcome,
    Refused,
    Retriable,
    SourceReport,
    now_ms,
)
from connector.telemetry.metrics import TargetCondition, Telemetry
from connector.telemetry.page import TargetReport

SLOW_S = 2.0
"""After so long without a usable answer there is a problem, also where no request has failed yet."""
LOW_RATE_S = 0.1
"""Where the rate lets the next request leave only after so long, a rebalance leaves it to the next owner."""


class Sink(Protocol):
    """EventBridge: one call for each batch, answers in any order."""

    def send(self, target: str, batch_id: int, entries: Sequence[Entry]) -> None:
        """Start one call to a target; never blocks."""

    def answers(self, timeout_s: float) -> Sequence[tuple[str, int, Answer]]:
        """The answers that came in, with target and batch; waits for the first one at most `timeout_s`."""

    def waits_for(self, target: str) -> str | None:
        """Whom calls to a target wait for before their requests can leave; None where that is EventBridge."""


@dataclass(slots=True)
class BatchResult:
    """What an answered request means for its records. Those in neither list are sent again."""

    delivered: list[PendingEntry] = field(default_factory=list)
    failed: list[tuple[PendingEntry, RecordError]] = field(default_factory=list)
    """To be dead-lettered."""
    halt: HaltError | None = None
    trace_id: str | None = None
    """Of the request, where its span is sampled."""


class TargetSender:
    """Sends to one target, and decides what is sent again, when, and in which company.

    Every failure has one of five verdicts: the record is at fault (dead letter), the entry is sent
    again, its source is refused or fails alone (it waits, the others go on), the target is down (no record's
    fault: pause), or the bridge must halt.
    """

    def __init__(
        self,
        name: str,
        target: config.Target,
        *,
        sink: Sink,
        telemetry: Telemetry,
        state_feed: StateFeed,
        sources: config.Sources | None = None,
        limits: TargetLimits | None = None,
        has_many_sources: bool = False,
        sends_unseen: bool = True,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without `sends_unseen` nothing is sent to a source whose lookups come to no answer."""
        self.name = name
        self._region = target.region
        self._clock_s = clock_s
        self._sink = sink
        self._telemetry = telemetry
        self._retry = target.retry
        self._max_in_flight = target.max_in_flight
        self._period_s = target.batch.period
        self._bucket = target.claim_check and target.claim_check.bucket
        self._has_many_sources = has_many_sources
        sources, limits = sources or config.Sources(), limits or TargetLimits()
        self._dead_letters_what_is_too_much = sources.when_held_is_full == "dead_letter"
        self.source_gate = SourceGate(
            name,
            state_feed=state_feed,
            telemetry=telemetry,
            sends_unseen=sends_unseen,
            max_refusals=None if sends_unseen else target.retry.max_attempts,
        )
        self._entry_queue = EntryQueue(
            max_count=target.batch.count,
            max_bytes=target.batch.byte_size,
            max_records=limits.records,
            max_record_bytes=limits.record_bytes,
            max_held=sources.max_held_records,
            max_held_bytes=sources.max_held_bytes,
            max_held_in_all=limits.held_records,
            max_held_bytes_in_all=limits.held_bytes,
            has_many_sources=has_many_sources,
            on_new_source=self.source_gate.meet,
            on_source_forgotten=self._forgotten,
        )
        self.source_gate.attach(self._entry_queue)
        self._failures = Failures(
            target.retry,
            entry_queue=self._entry_queue,
            source_gate=self.source_gate,
            has_many_sources=has_many_sources,
            clock_s=clock_s,
        )
        self.refuses_us = False
        """EventBridge refused who we are, and took nothing since."""
        self.settled = 0
        """Entries delivered or given up, in all."""
        self._rate_control = RateControl(
            max_per_second=target.max_requests_per_second,
            initial_interval_s=target.retry.initial_interval,
            max_interval_s=target.retry.max_interval,
        )
        self._in_flight: dict[int, tuple[list[PendingEntry], float, int]] = {}
        """batch id → (its entries, when it was sent, how many `Failures.acceptances` there were then)"""
        self._batch_ids = itertools.count(1)
        self._in_vain_since_s: float | None = None
        """When the first of the requests was sent that have had no usable answer, nor any since."""
        self._accepted_s = float("-inf")
        """When an entry was accepted last."""
        self._why = UNANSWERED
        self._is_answering = True
        """The last request was answered entry by entry, and not just throttled."""
        self._condition: TargetCondition = "up"
        telemetry.target_state(name, BreakerState.OK, "up", reason="starting")
        self.discard = self._entry_queue.discard
        self.discard_waiting = self._entry_queue.discard_waiting
        self.failing = self._failures.sources

    @property
    def is_busy(self) -> bool:
        """Whether an answer is waited for: to a request, or to a lookup that events wait for."""
        return bool(self._in_flight) or (self.source_gate.is_looking_up and self._entry_queue.unsent > 0)

    @property
    def has_enough(self) -> bool:
        """Whether no request may leave now, and as many full ones as may be in flight are ready."""
        if self.is_down:
            return self._entry_queue.ready_lanes >= self._max_in_flight * self._entry_queue.max_count
        return len(self._in_flight) >= self._max_in_flight and self._entry_queue.has_much(self._max_in_flight)

    @property
    def is_down(self) -> bool:
        """Whether the target is taken to be down."""
        return self._rate_control.state is not BreakerState.OK

    def is_held_up(self, now_s: float) -> bool:
        """Whether something outside explains that what is here waits."""
        if self.is_backing_off or self._failures.are_blocking or self.problem(now_s) is not None:
            return True
        if self.source_gate.is_awaited and self.lookup_problem(now_s) is not None:
            return True
        return self._entry_queue.ready_since_s is not None and self._rate_control.next_s(now_s) > now_s

    @property
    def is_holding(self) -> bool:
        """Whether sources that are closed or fail explain what is held."""
        return self._entry_queue.has_closed_gates or bool(self.failing())

    @property
    def is_backing_off(self) -> bool:
        """Whether nothing may leave now, since the target is down, was throttled, or has a low rate."""
        now_s = self._clock_s()
        return (
            self._rate_control.is_backing_off(now_s) or self._rate_control.next_s(now_s) - now_s > LOW_RATE_S
        )

    def add(
        self, pending: PendingEntry, lane_key: Hashable | None, policy: InactivePolicy = "send"
    ) -> RefusedError | Backpressure | None:
        """Take an entry in and return None; or say why it is not to be sent, or has to wait outside."""
        obstacle = self._entry_queue.add(pending, lane_key, policy)
        if obstacle is None:
            return None
        entry_queue = self._entry_queue
        if isinstance(obstacle, EntryQueue):
            return Backpressure("target", lambda: entry_queue.has_room)
        queue = obstacle
        if self._is_refused(queue):
            return self.source_gate.refusal(queue)
        return Backpressure(
            "pauses" if queue.gate is Gate.PAUSED else "source",
            lambda: self._is_refused(queue) or entry_queue.may_come(queue),
        )

    def _is_refused(self, queue: SourceQueue) -> bool:
        """Whether what is too much for a source is dead-lettered: only where a lookup found it not ACTIVE."""
        return queue.gate is Gate.REFUSED or (
            self._dead_letters_what_is_too_much
            and queue.gate is Gate.HELD
            and self.source_gate.is_inactive(queue)
        )

    def expect(self, source: str, policy: InactivePolicy) -> None:
        """Have a source looked up before its first record comes."""
        self._entry_queue.meet(source, policy)

    def step(self, now_s: float) -> list[tuple[PendingEntry, RefusedError]]:
        """Apply new states of sources; returns the entries not to be sent after all, and why."""
        return self.source_gate.step(now_s, is_down=self.is_down)

    @property
    def held(self) -> int:
        """How many entries wait because their source is not ACTIVE, or fails alone."""
        return self._entry_queue.held_in_all

    @property
    def held_bytes(self) -> int:
        """Bytes of their records, and of the events made of them."""
        return self._entry_queue.held_bytes_in_all

    @property
    def inside(self) -> tuple[int, int]:
        """How many entries are waiting or in flight, and their bytes where these are limited."""
        return self._entry_queue.inside

    def age_without_others(self, now_s: float, *, is_blocked: bool) -> None:
        """Let the age count of what fails alone, where for want of room nothing comes in to be accepted."""
        self._failures.are_blocking = False
        if is_blocked and self._is_answering and not self.is_down:
            self._failures.age_without_others(self._entries(), now_s)

    def report(self, now_s: float) -> TargetReport:
        """The target as it stands."""
        rates = self._rate_control
        return TargetReport(
            self.name,
            "refuses us" if self.refuses_us else self._condition,
            self.problem(now_s),
            requests_in_flight=len(self._in_flight),
            waiting=self._entry_queue.inside[0],
            held=self.held,
            answered=rates.entries,
            throttled=rates.throttled_entries,
        )

    def sources(self) -> list[SourceReport]:
        """Every source as it stands."""
        now_s = self._clock_s()
        oldest_s: dict[SourceQueue, float] = {}
        for pending in itertools.chain(self._entries_in_flight(), self._entry_queue.heads()):
            queue = pending.lane.queue
            if pending.added_s < oldest_s.get(queue, now_s):
                oldest_s[queue] = pending.added_s
        at_ms = now_ms()
        oldest_ms = {queue: at_ms - int((now_s - added_s) * 1000) for queue, added_s in oldest_s.items()}
        return list(self.source_gate.standings(oldest_ms))

    def _entries(self) -> Iterator[PendingEntry]:
        """All that is waiting or in flight."""
        return itertools.chain(self._entries_in_flight(), self._entry_queue.entries())

    def _entries_in_flight(self) -> Iterator[PendingEntry]:
        return (pending for batch, _, _ in self._in_flight.values() for pending in batch)

    def problem(self, now_s: float) -> str | None:
        """Why nothing arrives there, in a sentence; None when all is well."""
        if not self._in_flight and (not self._entry_queue.unsent or self._waits_for_customers):
            self._begin(None)  # what failed was taken away, or is not to be sent
        since_s = self._in_vain_since_s
        if since_s is None or (age_s := now_s - since_s) <= SLOW_S:
            return self._why_held(now_s)
        if self._why is UNANSWERED:
            return f"{self._unanswered} for {age_s:.0f} s"
        pause_s = self._rate_control.next_s(now_s) - now_s
        then = f"; next try in {pause_s:.0f} s" if pause_s >= 1 and not self._in_flight else ""
        return f"nothing was accepted in {self._region} for {age_s:.0f} s: {self._why}{then}"

    def _why_held(self, now_s: float) -> str | None:
        """Why nothing is sent, where lookups fail: as the events would, and before them."""
        trouble = self.source_gate.trouble
        if trouble is None or trouble[0] < self._accepted_s:
            return None  # where others are accepted it is no trouble of the target as a whole
        has_failed = self._in_vain_since_s is not None and self._why is not UNANSWERED
        if not has_failed and not (self.held and self.source_gate.is_awaited):
            return None
        problem = self.lookup_problem(now_s)
        return f"events wait, since {problem}" if problem else None

    def lookup_problem(self, now_s: float) -> str | None:
        """Why sources cannot be looked up, in a sentence; None while lookups succeed."""
        trouble = self.source_gate.trouble
        if trouble is None or now_s - trouble[0] <= SLOW_S:
            return None
        why = trouble[1]
        if why is UNANSWERED and (whom := self._sink.waits_for(self.name)):
            why = f"{whom} has not answered yet"
        age_s = now_s - trouble[0]
        return f"no lookup of a source in {self._region} has succeeded for {age_s:.0f} s: {why}"

    @property
    def _unanswered(self) -> str:
        """What requests wait for that have no answer, as the beginning of a sentence."""
        if whom := self._sink.waits_for(self.name):
            return f"{whom} has not answered"
        if any(pending.entry.is_unstored for pending in self._entries_in_flight()):
            return f"uploads to the bucket {self._bucket} of the claim check have not ended"
        return f"EventBridge in {self._region} has not answered"

    @property
    def _waits_for_customers(self) -> bool:
        """Whether all that waits is of sources that are not ACTIVE, and EventBridge is not the reason."""
        return not (self.is_down or self.source_gate.is_awaited) and self._entry_queue.is_behind_gates

    def carries(self, trackers: Set[OffsetTracker]) -> bool:
        """Whether records of these trackers are in flight."""
        return any(pending.tracker in trackers for pending in self._entries_in_flight())

    def next_s(self, now_s: float) -> float | None:
        """When there will be something to do without an answer or a new record; None for never."""
        due_s = [] if self._entry_queue.next_wake_s is None else [self._entry_queue.next_wake_s]
        if self._entry_queue.ready_since_s is not None:
            due_s.append(self._rate_control.next_s(now_s))
        if (next_s := self.source_gate.next_s(now_s)) is not None:
            due_s.append(next_s)
        return min(due_s, default=None)

    def send(self, now_s: float) -> None:
        """Start requests while there is something to send and the target may get it.

        A request leaves at once while the target is idle, which is while less than an eighth of the
        requests that may be in flight are. While it is busy the next one fills up, for `batch.period`
        at most.
        """
        entry_queue = self._entry_queue
        idle_below = max(1, self._max_in_flight // 8)
        entry_queue.wake(now_s)
        if self.is_down and self._may_only_probe(now_s):
            self._send([], now_s)
        while (
            (since_s := entry_queue.ready_since_s) is not None
            and len(self._in_flight) < self._max_in_flight
            and (
                len(self._in_flight) < idle_below
                or entry_queue.has_full_batch()
                or now_s - since_s >= self._period_s
            )
            and self._rate_control.may_send(now_s, len(self._in_flight))
        ):
            batch = entry_queue.next_batch()
            for pending in batch:
                pending.tracker.sent_offset = max(pending.tracker.sent_offset, pending.record.offset)
            self._send(batch, now_s)

    def _may_only_probe(self, now_s: float) -> bool:
        """Whether all that waits for a target that is down is of sources whose gates are closed.

        Then a request without entries, which reaches no customer, shows whether it is up. Without it the
        target would stay down for as long as nothing can be looked up, or none of its customers comes back.
        """
        return (
            self._entry_queue.unsent > 0
            and self._entry_queue.ready_since_s is None
            and self._rate_control.may_send(now_s, len(self._in_flight))
            and (self.source_gate.is_awaited or self._entry_queue.is_behind_gates)
        )

    def _send(self, batch: list[PendingEntry], now_s: float) -> None:
        if self._in_vain_since_s is None and not _all_alone(batch):
            self._begin(now_s)
        batch_id = next(self._batch_ids)
        self._in_flight[batch_id] = (batch, now_s, self._failures.acceptances)
        self._rate_control.sent(now_s)
        self._sink.send(self.name, batch_id, [pending.entry for pending in batch])

    def handle_answer(self, batch_id: int, answer: Answer) -> BatchResult:
        """Decide for each entry of an answered request: delivered, failed, or sent again."""
        batch, sent_s, sent_at = self._in_flight.pop(batch_id)
        records = (pending.record for pending in batch)
        with self._telemetry.handling(self.name, answer, records, entries=len(batch)) as trace_id:
            result = self._handle_answer(batch, sent_s, sent_at, answer)
        result.trace_id = trace_id
        return result

    def _handle_answer(
        self, batch: list[PendingEntry], sent_s: float, sent_at: int, answer: Answer
    ) -> BatchResult:
        now_s = self._clock_s()
        result = BatchResult()
        again: Sequence[PendingEntry] = batch
        not_before_s: float | None = None
        match answer.error:
            case None:
                again = self._handle_results(batch, answer, sent_at, result)
                not_before_s = now_s + self._backoff_s(again)
            case ThrottledError() as error:
                self._rate_control.throttled(now_s, entries=len(batch), retry_after_s=answer.retry_after_s)
                self._telemetry.entries_retried(self.name, error.code, len(batch))
            case UnavailableError() as error:
                again = self._handle_no_answer(batch, error, sent_at, result)
                self._telemetry.entries_retried(self.name, error.code, len(again))
                not_before_s = now_s + self._backoff_s(again)
            case OversizeError() | RefusedError() as error:
                self._rate_control.answered(now_s, entries=len(batch), accepted=0, throttled=0)
                if len(batch) == 1:
                    again = ()
                    result.failed.append((batch[0], error))
                else:
                    _split(batch)
                    self._telemetry.entries_retried(self.name, error.code, len(batch))
            case HaltError() as error:
                result.halt = error
                # Where other targets go on, this one is down until it is put right.
                self._rate_control.failed(now_s)
                not_before_s = now_s + self._backoff_s(again)
            case error:
                raise InvariantError(f"an answer carried {type(error).__name__}, which has no verdict")
        if again:
            again = self._sent_again(again, result)
        self.refuses_us = result.halt is not None or (self.refuses_us and not result.delivered)
        self.settled += len(result.delivered) + len(result.failed)
        if result.delivered:
            self._accepted_s = now_s
        self._is_answering = answer.error is None and (not _all_throttled(answer) or _all_alone(batch))
        self._follow(batch, answer, sent_s, is_in_vain=len(again) == len(batch))
        self._entry_queue.release(batch, again=again, not_before_s=not_before_s)
        self._report(batch, answer, result)
        return result

    def _follow(
        self, batch: Sequence[PendingEntry], answer: Answer, sent_s: float, *, is_in_vain: bool
    ) -> None:
        """Remember since when nothing is accepted, and why.

        Sources that fail alone are shown as that: they are no trouble of the target, also where no other
        has anything to send.
        """
        if is_in_vain and not self.is_down and _all_alone(batch):
            if self._in_vain_since_s is not None and all(map(fails_alone, self._entries())):
                self._begin(None)
        elif isinstance(answer.error, TransientError | HaltError):
            self._why = str(answer.error)
            if self._in_vain_since_s is None:
                self._in_vain_since_s = sent_s
        elif is_in_vain and isinstance(first := next(iter(answer.outcomes), None), Retriable):
            self._why = f"EventBridge takes no entry ({first.code}: {first.message})"
        else:
            is_waited_for = any(not _all_alone(others) for others, _, _ in self._in_flight.values())
            self._begin(self._clock_s() if is_waited_for else None)

    def _begin(self, now_s: float | None) -> None:
        """Wait for the first usable answer since then; None where no request waits for one."""
        self._in_vain_since_s, self._why = now_s, UNANSWERED

    def _report(self, batch: Sequence[PendingEntry], answer: Answer, result: BatchResult) -> None:
        error = answer.error
        self._telemetry.request_finished(
            self.name,
            outcome=(error and error.verdict) or ("ok" if len(result.delivered) == len(batch) else "partial"),
            seconds=answer.seconds,
            entries=len(batch),
            size_bytes=sum(pending.entry.size_bytes for pending in batch),
        )
        if result.delivered:
            self._condition = "up"
        elif self.is_down:
            self._condition = "down"
        elif isinstance(error, ThrottledError) or _all_throttled(answer):
            self._condition = "throttled"
        now_s = self._clock_s()
        self._telemetry.target_state(
            self.name,
            self._rate_control.state,
            self._condition,
            reason=str(error or self._why),
            next_try_s=max(0.0, self._rate_control.next_s(now_s) - now_s),
        )

    def _handle_results(
        self, batch: Sequence[PendingEntry], answer: Answer, sent_at: int, result: BatchResult
    ) -> list[PendingEntry]:
        """Sort the entries of an answer that speaks of each; returns those to send again."""
        delivered = [outcome for outcome in answer.outcomes if isinstance(outcome, Delivered)]
        accepted = len(delivered)
        now_s = self._clock_s()
        if accepted == len(batch):
            self._rate_control.answered(now_s, entries=accepted, accepted=accepted, throttled=0)
            if batch:  # nothing is what a probe without entries has accepted
                self._failures.accepted(batch, delivered, now_s)
            result.delivered.extend(batch)
            return []
        outcomes = self._of_sources(answer.outcomes)
        result.delivered.extend(
            p for p, each in zip(batch, outcomes, strict=True) if isinstance(each, Delivered)
        )
        if accepted:
            self._failures.accepted(result.delivered, delivered, now_s)
        throttled = sum(isinstance(each, Retriable) and each.throttled for each in outcomes)
        alone = self._failures.rest(batch, outcomes, sent_at, accepted=accepted)
        self._rate_control.answered(
            now_s, entries=len(batch) - alone, accepted=accepted, throttled=throttled - alone
        )
        again: list[PendingEntry] = []
        retried: dict[str, int] = {}
        for pending, outcome in zip(batch, outcomes, strict=True):
            match outcome:
                case Delivered():
                    pass
                case Retriable():
                    if (given_up := self._failures.attempt(pending, outcome, sent_at)) is not None:
                        result.failed.append((pending, given_up))
                    else:
                        retried[outcome.code] = retried.get(outcome.code, 0) + 1
                        again.append(pending)
                case Refused(code, message):
                    reason = f"EventBridge refused the entry: {code}: {message}"
                    result.failed.append((pending, RefusedError("entry_refused", reason)))
                case Forbidden(code, message):
                    again.append(pending)
                    result.halt = NotAuthorizedError(
                        f"EventBridge refuses entries with {code}: {message}. Nothing was lost; correct the "
                        "account, role or registration and start again."
                    )
                case _:
                    assert_never(outcome)
        for code, count in retried.items():
            self._telemetry.entries_retried(self.name, code, count)
        return again

    def _of_sources(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """Take what is said of us for a verdict about single sources, unless nothing speaks for them.

        It is about us where there is but one source, nothing was ever accepted, and every entry of the answer
        is refused so. Of many sources the first few may be those of customers who are not authorised.
        """
        if (
            all(isinstance(each, Forbidden) for each in outcomes)
            and not self._failures.acceptances
            and not self._has_many_sources
        ):
            return outcomes
        return [
            Retriable("source_not_authorized", f"{each.code}: {each.message}")
            if isinstance(each, Forbidden)
            else each
            for each in outcomes
        ]

    def _handle_no_answer(
        self, batch: Sequence[PendingEntry], error: UnavailableError, sent_at: int, result: BatchResult
    ) -> list[PendingEntry]:
        """Decide about a request without a usable answer; returns the entries to send again.

        One that was refused for a source, or with an unknown code, is answered: alone an entry or source is
        the culprit, among others it is searched for.
        """
        now_s = self._clock_s()
        if error.code == CLAIM_CHECK:  # nobody was asked, so it says nothing of entry or source
            self._rate_control.failed(now_s)
            for pending in batch:
                pending.tries += 1
            return [*batch]
        sources = {pending.entry.source for pending in batch}
        if error.code in OF_SOURCE:
            self._rate_control.answered(now_s, entries=len(batch), accepted=0, throttled=0)
            is_split = len(sources) > 1
            is_found = not is_split
        else:
            self._rate_control.failed(now_s)
            # Where other requests succeed the fault may lie in one of these entries.
            is_split = any(self._failures.are_others_accepted(pending, sent_at) for pending in batch)
            is_found = len(batch) == 1
        failed = Retriable(error.code if is_found or error.code not in COUNTED else "unavailable", str(error))
        if len(sources) == 1:
            self._failures.rest(batch, [failed] * len(batch), sent_at, accepted=None)
        again: list[PendingEntry] = []
        for pending in batch:
            if (given_up := self._failures.attempt(pending, failed, sent_at)) is not None:
                result.failed.append((pending, given_up))
            else:
                again.append(pending)
        if is_split:
            _split(again)
        return again

    def _sent_again(self, again: Sequence[PendingEntry], result: BatchResult) -> Sequence[PendingEntry]:
        """Those that may be sent again; of a source that is refused meanwhile none may."""
        kept = []
        for pending in again:
            queue = pending.lane.queue
            if queue.gate is Gate.REFUSED:
                result.failed.append((pending, self.source_gate.refusal(queue)))
            else:
                kept.append(pending)
        return kept

    def _forgotten(self, queue: SourceQueue) -> None:
        self._failures.forget(queue)
        self.source_gate.forgotten(queue)

    def _backoff_s(self, again: Sequence[PendingEntry]) -> float:
        return backoff_s(self._retry, max((pending.tries for pending in again), default=1))


def _all_alone(batch: Sequence[PendingEntry]) -> bool:
    """Whether a request holds nothing but entries that fail while others are accepted."""
    return bool(batch) and all(map(fails_alone, batch))


def _all_throttled(answer: Answer) -> bool:
    outcomes = answer.outcomes
    return bool(outcomes) and all(isinstance(each, Retriable) and each.throttled for each in outcomes)


def _split(batch: Sequence[PendingEntry]) -> None:
    """Let the next request of these entries hold half as many, until the culprit is alone."""
    for pending in batch:
        pending.batch_limit = max(1, len(batch) // 2)
