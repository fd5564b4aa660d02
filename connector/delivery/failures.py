"""Decides what a failed attempt counts against: the record, its source, or the target. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from connector import config
from connector.delivery.pending import PendingEntry, SourceQueue
from connector.delivery.queue import EntryQueue
from connector.delivery.rate import full_jitter
from connector.delivery.source_gate import SourceGate
from connector.errors import Code, RefusedError
from connector.model import (
    BILLED_BYTES,
    Delivered,
    FailingSource,
    LastDelivery,
    LastError,
    Outcome,
    Retriable,
    billed_chunks,
    new_tuple,
    now_ms,
)

OF_SOURCE: Mapping[str, Code] = {
    "source_unknown": "source_unknown",
    "source_not_authorized": "source_not_authorized",
}
"""Verdicts about an entry's source, and the code of the letter that one makes."""
LETTERS: Mapping[str, Code] = {**OF_SOURCE, "detail_type_not_authorized": "source_not_authorized"}
COUNTED = frozenset({*LETTERS, "unknown"})
"""What says something against an entry each time. Anything else is trouble of EventBridge's own, however few
entries it hits."""


class Failures:
    """Decides when an entry is given up, and lets a source rest that fails while others are accepted.

    Trouble of EventBridge's own (a throttle, no answer, an internal failure) is never the record's fault by
    itself. Such an entry is tried again until it failed for `max_age`. Only time in which others are accepted
    counts, so that an outage costs no good record.
    """

    def __init__(
        self,
        retry: config.Retry,
        *,
        entry_queue: EntryQueue,
        source_gate: SourceGate,
        has_many_sources: bool,
        clock_s: Callable[[], float],
    ) -> None:
        self._has_many_sources = has_many_sources
        self._retry = retry
        self._entry_queue = entry_queue
        self._source_gate = source_gate
        self._clock_s = clock_s
        self._unwell: dict[SourceQueue, tuple[int, str]] = {}
        """Sources that fail alone, or that EventBridge refused, and that did not take an event since: since
        when, in Unix milliseconds, and why."""
        self._failing: dict[SourceQueue, tuple[int, str]] = {}
        """Sources that fail although nothing else was accepted: perhaps only they are to blame."""
        self.are_blocking = False
        """What fails alone leaves no room for anything that could be accepted."""
        self.acceptances = 0
        """Answers that accepted something, in all; two readings show whether others were accepted."""
        self._accepting_s = 0.0
        """For how long events were accepted, in all: the clock by which entries age."""
        self._counted_s: float | None = None
        """Up to when that was counted."""

    def are_others_accepted(self, pending: PendingEntry, sent_at: int) -> bool:
        """Whether the target accepted anything since an entry last failed, or was first sent."""
        return self.acceptances > _since(pending, sent_at)

    def accepted(self, accepted: Sequence[PendingEntry], outcomes: Sequence[Delivered], now_s: float) -> None:
        """Count entries that EventBridge accepted, with their outcomes, and end the rest of their sources."""
        self.acceptances += 1
        self._count(now_s)
        while self._failing:
            self._entry_queue.end_rest(self._failing.popitem()[0])
        at_ms = now_ms()
        for pending, outcome in zip(reversed(accepted), reversed(outcomes), strict=True):
            queue = pending.lane.queue
            if queue.taken_at != self.acceptances:  # it is the last of its source here
                queue.taken_at = self.acceptances
                queue.last_delivery = new_tuple(LastDelivery, (at_ms, pending.event_id, outcome.event_id))
            size_bytes = pending.entry.size_bytes
            queue.delivered += 1
            queue.delivered_bytes += size_bytes
            if size_bytes > BILLED_BYTES:
                queue.more_chunks += billed_chunks(size_bytes) - 1
            if self._unwell and queue in self._unwell:
                del self._unwell[queue]
                self._entry_queue.end_rest(queue)
                queue.fails_alone = False
                self._source_gate.taken(queue)

    def attempt(self, pending: PendingEntry, outcome: Retriable, sent_at: int) -> RefusedError | None:
        """Count a failed attempt; returns the reason where the entry is given up.

        `sent_at` is how many `acceptances` there were when it was sent.

        A refusal, or an unknown code, counts as an attempt if others were accepted since the entry
        was sent, or since it last failed; otherwise the target is at fault. A source that is refused is held
        until a lookup says what is true of it, and under `hold` for ever; where it took others meanwhile the
        entry is at fault.
        """
        queue = pending.lane.queue
        are_others_accepted = self.are_others_accepted(pending, sent_at)
        has_taken = queue.taken_at > _since(pending, sent_at)
        pending.failed_at = self.acceptances
        pending.tries += 1
        at_ms = now_ms()
        if pending.first_failure_ms is None:
            pending.first_failure_ms = at_ms
        self._source_gate.failed(queue.source, LastError(at_ms, outcome.code, outcome.message))
        if are_others_accepted and pending.failing_from_s is None:
            pending.failing_from_s = self._accepting_s
        if outcome.code in OF_SOURCE and not has_taken:
            self._note_unwell(queue, outcome)
            self._source_gate.refused(queue)
            if queue.policy == "hold":
                return None
        if outcome.code in COUNTED:
            pending.attempts += are_others_accepted
            is_over = pending.attempts >= self._retry.max_attempts
        else:
            from_s = pending.failing_from_s
            is_over = from_s is not None and self._accepting_s - from_s >= self._retry.max_age
        if not is_over:
            return None
        return RefusedError(
            LETTERS.get(outcome.code, "retries_exhausted"),
            f"{pending.tries} attempts failed, and other events were accepted meanwhile; "
            f"the last: {outcome.code}: {outcome.message}",
        )

    def rest(
        self,
        batch: Sequence[PendingEntry],
        outcomes: Sequence[Outcome],
        sent_at: int,
        *,
        accepted: int | None,
    ) -> int:
        """Let sources rest that fail alone; returns how many throttles that explains.

        `accepted` is how many entries the answer accepts, None where there was none.

        A source fails alone when it took nothing since it was tried last, and others did; or when it did
        before, and took nothing since. Throttles are the target's but where the same answer accepts others.

        A source that fails together with all others rests as well, until one of them is accepted. Its entries
        count as held then, so that one customer's backlog leaves room for entries that could be accepted.
        """
        failing: dict[SourceQueue, list[tuple[PendingEntry, Retriable]]] = {}
        for pending, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Retriable) and outcome.code not in OF_SOURCE:
                failing.setdefault(pending.lane.queue, []).append((pending, outcome))
        explained = 0
        for queue, retries in failing.items():
            since = _since(retries[0][0], sent_at)
            throttles = sum(retry.throttled for _, retry in retries)
            has_taken = queue.taken_at > since
            if queue.fails_alone or (
                not has_taken and self.acceptances > since and (accepted or not throttles)
            ):
                queue.fails_alone = True
                explained += throttles
                self._note_unwell(queue, retries[0][1])
            elif has_taken or throttles or accepted is None:
                continue
            else:
                self._failing.setdefault(queue, _said(retries[0][1]))
                if not self._has_many_sources:
                    continue
            if queue.rest_until_s is None:
                self._entry_queue.rest(queue, self._clock_s() + backoff_s(self._retry, queue.rests + 1))
        return explained

    def age_without_others(self, entries: Iterable[PendingEntry], now_s: float) -> None:
        """Let entries age although nothing is accepted, where they leave no room for anything that could be.

        Otherwise what fails alone would block its partitions for ever. It must be most of what may leave:
        where the rest outweighs it this cannot be told from an outage.
        """
        alone = [fails_alone(pending) for pending in entries if not pending.lane.queue.gate]
        self.are_blocking = 0 < len(alone) <= 2 * sum(alone)
        if self.are_blocking:
            self._count(now_s)

    def sources(self) -> list[FailingSource]:
        """The sources that take nothing while others do, and have something waiting."""
        failing = {**self._failing, **self._unwell} if self.are_blocking else self._unwell
        return [
            FailingSource(queue.source, since_ms, why, queue.inside)
            for queue, (since_ms, why) in failing.items()
            if queue.inside
        ]

    def forget(self, queue: SourceQueue) -> None:
        """Forget a source that the queue forgot, to make room."""
        self._unwell.pop(queue, None)
        self._failing.pop(queue, None)

    def _note_unwell(self, queue: SourceQueue, said: Retriable) -> None:
        self._unwell.setdefault(queue, _said(said))

    def _count(self, now_s: float) -> None:
        """Count the time since it was counted last; of an outage no more than a tenth of `max_age`."""
        if self._counted_s is not None:
            self._accepting_s += min(now_s - self._counted_s, self._retry.max_age / 10)
        self._counted_s = now_s


def backoff_s(retry: config.Retry, tries: int) -> float:
    """A random pause before the next try of an entry or a source, in seconds."""
    return full_jitter(tries, initial_s=retry.initial_interval, max_s=retry.max_interval)


def fails_alone(pending: PendingEntry) -> bool:
    """Whether an entry, or its source, failed while others were accepted."""
    return pending.failing_from_s is not None or pending.lane.queue.fails_alone


def _since(pending: PendingEntry, sent_at: int) -> int:
    """How many acceptances there were when an entry last failed, or was first sent."""
    return sent_at if pending.failed_at is None else pending.failed_at


def _said(retry: Retriable) -> tuple[int, str]:
    return now_ms(), f"{retry.code}: {retry.message}"
