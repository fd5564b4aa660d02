"""Keeps events away from sources that would drop or refuse them.

Runs on the bridge thread and waits for nothing: lookups are made beside it, and their results come in.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Protocol

from connector.delivery.pending import Gate, PendingEntry, SourceQueue
from connector.delivery.queue import EntryQueue
from connector.delivery.rate import full_jitter
from connector.errors import RefusedError
from connector.model import InactivePolicy, LastError, Partition, Pause, SourceReport, SourceStatus, now_ms
from connector.telemetry.metrics import Telemetry

REOPEN_INITIAL_S = 0.5
REOPEN_MAX_S = 60.0
"""Pauses between two tries of a source that EventBridge refuses, where a lookup shows no reason for it."""
URGE_INTERVAL_S = 0.5
"""How often sources are checked whose events wait because their last lookup is too old."""
MAX_FORGOTTEN = 10_000
NOT_SEEN = "it cannot be looked up"
UNANSWERED = "EventBridge has not answered yet"
"""Why nothing came of a request or a lookup that is in flight."""

LOOKING_UP = SourceStatus("LOOKING")


class StateFeed(Protocol):
    """Looks up sources, beside everything else."""

    def follow(self, name: str, *, anew: bool = False) -> None:
        """Look up this source soon, and again and again; never blocks.

        A lookup that is in flight will do; not `anew`: then only one that begins after this counts.
        """

    def forget(self, name: str) -> None:
        """Look up this source no more."""

    def step(self, now_s: float) -> list[tuple[str, SourceStatus, float]]:
        """Start the lookups that are due; returns what was seen since the last call. Never blocks.

        With each comes when its lookup began.
        UNKNOWN says that a source could not be looked up, and nothing else about it.
        """

    def postpone(self, now_s: float) -> None:
        """The target is down: lookups get more time."""

    def next_s(self, now_s: float) -> float | None:
        """When there will be a lookup to start; None for never."""

    @property
    def is_looking_up(self) -> bool:
        """Whether a lookup is in flight."""

    @property
    def max_age_s(self) -> float:
        """How old the last lookup of a source may be while all goes well."""

    @property
    def trouble(self) -> tuple[float, str] | None:
        """Since when lookups come to no answer (of the bridge's clock), and why; None while they do.

        Those in flight came to none yet: that is UNANSWERED.
        """


class _Known:
    """What is known of one source."""

    __slots__ = (
        "before",
        "dead_lettered",
        "delivered_when_seen",
        "is_aged",
        "last_error",
        "looked_up_ms",
        "looked_up_s",
        "pause",
        "refusals",
        "reopen_s",
        "seen",
        "since_ms",
    )

    def __init__(self, since_ms: int, before: SourceStatus | None) -> None:
        self.seen = LOOKING_UP
        self.before = before
        """What was known of it when it was forgotten, where that was not ACTIVE."""
        self.since_ms = since_ms
        self.looked_up_s = float("-inf")
        """When the last lookup began that said what state it is in."""
        self.looked_up_ms: int | None = None
        """When that lookup was answered."""
        self.is_aged = False
        """The target is or was down, and that lookup is too old: another comes first."""
        self.delivered_when_seen = 0
        """Events delivered up to the last lookup that found it ACTIVE, or not ACTIVE."""
        self.refusals = 0
        """How often EventBridge refused it since it last took an event."""
        self.reopen_s: float | None = None
        """EventBridge refused it: when to try again; infinity until the next lookup."""
        self.dead_lettered = 0
        self.last_error: LastError | None = None
        self.pause: Pause | None = None


class SourceGate:
    """Opens and closes the gates of one target's sources by their states.

    A source met for the first time is held until it was looked up. One that is not ACTIVE is held or
    refused, as the policy of its topic says; `send` leaves the gate open.

    No failure, refusal or age of a lookup opens a gate that was closed: only a lookup that says ACTIVE does.
    A source of which nothing was ever known, and that cannot be looked up, is open: the bridge must not stop
    for want of a permission. Without `sends_unseen` that is so only where the permission is missing.

    While a source is paused its gate is PAUSED, whatever its state and policy; states are followed
    meanwhile, and what they say counts once the pause ends.
    """

    def __init__(
        self,
        target: str,
        *,
        state_feed: StateFeed,
        telemetry: Telemetry,
        sends_unseen: bool = True,
        max_refusals: int | None = None,
    ) -> None:
        """After `max_refusals` in a row what waits for a source is not sent; None for no such limit."""
        self._target = target
        self._state_feed = state_feed
        self._telemetry = telemetry
        self._sends_unseen = sends_unseen
        self._max_refusals = max_refusals
        self._known: dict[str, _Known] = {}
        self._refused: set[str] = set()
        self._fresh: dict[str, None] = {}
        """Sources by their last lookup, the oldest first; those that are aged are not among them."""
        self._looking_up: set[str] = set()
        """Sources that wait for their first lookup."""
        self._aged: set[str] = set()
        self._unsure: set[str] = set()
        """Open, though a lookup that was waited for came to no answer."""
        self._forgotten: dict[str, SourceStatus] = {}
        """Sources that were forgotten while they were not ACTIVE."""
        self._urge_s = float("-inf")
        self._changed = True
        self._pause_of: Callable[[str], Pause | None] = lambda _: None
        self._are_pauses_new = False

    def attach(self, entry_queue: EntryQueue) -> None:
        """Control the gates of this queue; to be called once, before anything is added."""
        self._entry_queue = entry_queue

    def pause(self, pause_of: Callable[[str], Pause | None]) -> None:
        """Pause these sources from the next `step` on, and no others."""
        self._pause_of = pause_of
        self._are_pauses_new = True

    def meet(self, queue: SourceQueue) -> None:
        """Follow a source that the queue meets for the first time."""
        known = self._known.get(queue.source)
        if known is None:
            known = self._known[queue.source] = _Known(now_ms(), self._forgotten.pop(queue.source, None))
            known.pause = self._pause_of(queue.source)
            self._looking_up.add(queue.source)
            self._state_feed.follow(queue.source)
            self._changed = True
        self._entry_queue.set_gate(queue, self._gate(queue.policy, known))

    def forgotten(self, queue: SourceQueue) -> None:
        """Follow a source no more that the queue forgot, to make room."""
        if queue.source in self._known and not self._entry_queue.queues_of(queue.source):
            known = self._known.pop(queue.source)
            # One that was forgotten before may not have been looked up since.
            seen = known.before if known.seen is LOOKING_UP else known.seen
            if seen is not None and seen.is_inactive:
                self._forgotten[queue.source] = seen
                if len(self._forgotten) > MAX_FORGOTTEN:
                    del self._forgotten[next(iter(self._forgotten))]
            for names in (self._refused, self._looking_up, self._aged, self._unsure):
                names.discard(queue.source)
            self._fresh.pop(queue.source, None)
            self._state_feed.forget(queue.source)
            self._changed = True

    def refused(self, queue: SourceQueue) -> None:
        """Hold a source that EventBridge refused as unknown, and have it looked up."""
        known = self._known.get(queue.source)
        if known is None or known.reopen_s is not None:
            return
        known.refusals += 1
        known.reopen_s = float("inf")
        self._refused.add(queue.source)
        self._state_feed.follow(queue.source, anew=True)
        self._set_gates(queue.source, known)

    def taken(self, queue: SourceQueue) -> None:
        """Forget the refusals of a source: EventBridge took an event of it again."""
        if known := self._known.get(queue.source):
            known.refusals = 0

    def failed(self, source: str, error: LastError) -> None:
        """Remember what went wrong last with an event of a source."""
        known = self._known.get(source)
        if known is not None and (known.last_error is None or error.at_ms >= known.last_error.at_ms):
            # Thousands of sources fail for the same reason, and share its text.
            known.last_error = error._replace(text=sys.intern(error.short().text))

    def dead_lettered(self, source: str, error: LastError) -> None:
        """Count an event of a source that is in the dead-letter topic now."""
        if known := self._known.get(source):
            known.dead_lettered += 1
            self.failed(source, error)

    def step(self, now_s: float, *, is_down: bool = False) -> list[tuple[PendingEntry, RefusedError]]:
        """Open and close gates by new states; returns the entries that are not to be sent, and why.

        While the target `is_down` what is known of its sources grows old.
        """
        failed = self._follow_pauses() if self._are_pauses_new else []
        for source, seen, began_s in self._state_feed.step(now_s):
            if known := self._known.get(source):
                if seen.state == "UNKNOWN":
                    self._not_seen(source, known, seen, now_s)
                else:
                    self._saw(source, known, seen, began_s, now_s)
                failed += self._apply(source, known)
        for source in [s for s in self._refused if (self._known[s].reopen_s or 0.0) <= now_s]:
            self._refused.discard(source)
            self._known[source].reopen_s = None
            failed += self._apply(source, self._known[source])
        if is_down:
            self._state_feed.postpone(now_s)
            self._grow_old(now_s)
        if self._aged and now_s >= self._urge_s:
            self._urge_s = now_s + URGE_INTERVAL_S
            for source in self._aged:
                if any(queue.inside for queue in self._entry_queue.queues_of(source)):
                    self._state_feed.follow(source)
        return failed

    def next_s(self, now_s: float) -> float | None:
        """When there will be something to do here; None for never."""
        due_s = [self._known[source].reopen_s or 0.0 for source in self._refused]
        if (next_s := self._state_feed.next_s(now_s)) is not None:
            due_s.append(next_s)
        return min(due_s, default=None)

    @property
    def is_looking_up(self) -> bool:
        """Whether a lookup is in flight."""
        return self._state_feed.is_looking_up

    def seen(self, source: str) -> SourceStatus:
        """The last known status of a source."""
        known = self._known.get(source)
        return known.seen if known else LOOKING_UP

    def paused_from(self) -> dict[Partition, int]:
        """The lowest offset of each partition that waits for the end of a pause."""
        paused = (source for source, known in self._known.items() if known.pause is not None)
        return self._entry_queue.waits_from(
            queue for source in paused for queue in self._entry_queue.queues_of(source)
        )

    def refusal(self, queue: SourceQueue) -> RefusedError:
        """Why an entry of this source is not taken in."""
        seen = self.seen(queue.source)
        what = f"its source is {seen}"
        if queue.gate is Gate.HELD:
            what = f"as much of its source is held as may be, and it is {seen}"
        missing = seen.state in {"MISSING", "DELETED"}
        return RefusedError(
            "source_unknown" if missing else "source_inactive",
            f"It was not sent, since {what}. Replay it once the source is ACTIVE.",
        )

    @property
    def trouble(self) -> tuple[float, str] | None:
        """Since when lookups of sources come to no answer, and why; None while they do."""
        return self._state_feed.trouble

    @property
    def is_awaited(self) -> bool:
        """Whether the events of some source wait for a lookup."""
        return bool(self._looking_up or self._aged or self._refused)

    @property
    def first_lookups(self) -> int:
        """How many sources wait for their first lookup, and their events with them."""
        return len(self._looking_up)

    @property
    def is_only_refused(self) -> bool:
        """Whether no lookup is waited for: EventBridge refuses sources that are tried again later."""
        return not (self._looking_up or self._aged) and all(
            self._known[source].reopen_s != float("inf") for source in self._refused
        )

    def is_inactive(self, queue: SourceQueue) -> bool:
        """Whether a lookup has shown that events of this source would be dropped or refused."""
        known = self._known.get(queue.source)
        return known is not None and known.seen.is_inactive

    def changed(self) -> bool:
        """Whether any state is another than at the last call."""
        changed, self._changed = self._changed, False
        return changed

    def standings(
        self, oldest_ms: Mapping[SourceQueue, int] = MappingProxyType({})
    ) -> Iterator[SourceReport]:
        """Every source as it stands; `oldest_ms` says since when something waits, where something does."""
        for source, known in self._known.items():
            queues = self._entry_queue.queues_of(source)
            delivered = more_chunks = delivered_bytes = held = 0
            last, waiting_ms = None, None
            for queue in queues:
                delivered += queue.delivered
                more_chunks += queue.more_chunks
                delivered_bytes += queue.delivered_bytes
                held += self._entry_queue.held(queue)
                if queue.last_delivery is not None and (last is None or queue.last_delivery > last):
                    last = queue.last_delivery
                since_ms = oldest_ms.get(queue)
                if since_ms is not None and (waiting_ms is None or since_ms < waiting_ms):
                    waiting_ms = since_ms
            yield SourceReport(
                source,
                known.seen.state,
                known.since_ms,
                known.seen.account,
                known.seen.expires_ms,
                known.seen.reason,
                held=held,
                delivered=delivered,
                billed_chunks=delivered + more_chunks,
                delivered_bytes=delivered_bytes,
                dead_lettered=known.dead_lettered,
                looked_up_ms=known.looked_up_ms,
                oldest_waiting_ms=waiting_ms,
                last_delivery=last,
                last_error=known.last_error,
                pause=known.pause,
            )

    def _follow_pauses(self) -> list[tuple[PendingEntry, RefusedError]]:
        """Close and open the gates of sources that are paused or resumed."""
        self._are_pauses_new = False
        failed: list[tuple[PendingEntry, RefusedError]] = []
        for source, known in self._known.items():
            was, known.pause = known.pause, self._pause_of(source)
            if known.pause == was:
                continue
            self._changed = True
            if known.pause is None:
                for queue in self._entry_queue.queues_of(source):
                    for pending in self._entry_queue.waiting(queue):
                        pending.failing_from_s = None  # it did not fail while it could not be sent
            failed += self._apply(source, known)
        return failed

    def _saw(self, source: str, known: _Known, seen: SourceStatus, began_s: float, now_s: float) -> None:
        """A lookup said what state a source is in."""
        was = known.seen
        self._note(source, known, seen)
        self._unsure.discard(source)
        self._is_fresh(source, known, began_s)
        if known.reopen_s == float("inf"):
            if seen.is_inactive:
                known.reopen_s = None
                self._refused.discard(source)
            else:
                # The lookup shows nothing wrong: what EventBridge says is tried again.
                self._reopen_later(known, now_s)
        if was.expires_ms != seen.expires_ms:
            self._changed = True

    def _not_seen(self, source: str, known: _Known, seen: SourceStatus, now_s: float) -> None:
        """A source could not be looked up, or not in time. What is known of it stays."""
        match known.seen.state:
            case "LOOKING" | "UNKNOWN":
                if known.before is not None:
                    self._note(source, known, known.before)
                elif known.reopen_s is not None and not self._sends_unseen:
                    self._note_refused(source, known, seen)
                elif known.seen.state == "LOOKING" or not known.seen.is_denied:
                    self._note(source, known, seen)
                if known.reopen_s == float("inf"):
                    self._reopen_later(known, now_s)
            case "ACTIVE" if seen.is_denied:
                return  # a lookup may still be allowed in time
            case "ACTIVE" if known.reopen_s is not None:
                self._note_refused(source, known, seen)
            case "ACTIVE" if not self._sends_unseen:
                self._note(source, known, seen)
        if known.seen.state in {"ACTIVE", "UNKNOWN"} and not known.seen.is_denied:
            self._unsure.add(source)
        known.is_aged = False
        self._aged.discard(source)

    def _note_refused(self, source: str, known: _Known, seen: SourceStatus) -> None:
        """EventBridge refused a source, and it cannot be looked up: nothing more can be known of it."""
        known.reopen_s = None
        self._refused.discard(source)
        reason = f"EventBridge refuses its events as those of no source, and {seen.reason or NOT_SEEN}"
        missing = known.seen._replace(state="MISSING", reason=reason, is_denied=False)
        self._note(source, known, missing)

    def _note(self, source: str, known: _Known, seen: SourceStatus) -> None:
        was, known.seen = known.seen, seen
        self._looking_up.discard(source)
        delivered = sum(queue.delivered for queue in self._entry_queue.queues_of(source))
        if was.state != seen.state:
            known.since_ms = now_ms()
            self._changed = True
            # Between the last lookup and this one EventBridge may have dropped them, and said success.
            is_unsure = seen.is_inactive and was.state in {"ACTIVE", "UNKNOWN"}
            unsure = delivered - known.delivered_when_seen if is_unsure else 0
            self._telemetry.source_changed(self._target, source, was=was.state, now=seen, unsure=unsure)
        if seen.state == "ACTIVE" or seen.is_inactive:
            known.delivered_when_seen = delivered

    def _is_fresh(self, source: str, known: _Known, began_s: float) -> None:
        known.looked_up_s = began_s
        known.looked_up_ms = now_ms()
        known.is_aged = False
        self._aged.discard(source)
        self._fresh.pop(source, None)
        self._fresh[source] = None

    def _grow_old(self, now_s: float) -> None:
        """Close the gates of sources whose last lookup is older than it would be without the outage.

        Their customers may have left meanwhile, and all that waits for them would be sent at once.
        """
        limit_s = now_s - self._state_feed.max_age_s
        old = [
            *self._unsure,
            *itertools.takewhile(lambda each: self._known[each].looked_up_s < limit_s, self._fresh),
        ]
        for source in old:
            self._fresh.pop(source, None)
            self._aged.add(source)
            self._known[source].is_aged = True
            self._set_gates(source, self._known[source])
        self._unsure.clear()
        if old:
            self._urge_s = now_s

    def _reopen_later(self, known: _Known, now_s: float) -> None:
        known.reopen_s = now_s + full_jitter(known.refusals, initial_s=REOPEN_INITIAL_S, max_s=REOPEN_MAX_S)

    def _set_gates(self, source: str, known: _Known) -> list[tuple[SourceQueue, list[PendingEntry]]]:
        return [
            (queue, self._entry_queue.set_gate(queue, self._gate(queue.policy, known)))
            for queue in self._entry_queue.queues_of(source)
        ]

    def _apply(self, source: str, known: _Known) -> list[tuple[PendingEntry, RefusedError]]:
        failed: list[tuple[PendingEntry, RefusedError]] = []
        for queue, refused in self._set_gates(source, known):
            failed += [(pending, self.refusal(queue)) for pending in refused]
            if known.seen.is_denied and queue.policy != "send":
                taken = self._entry_queue.take_out(queue, attrgetter("only_if_active"))
                failed += [(pending, self.refusal(queue)) for pending in taken]
            if self._max_refusals is not None and known.refusals >= self._max_refusals:
                taken = self._entry_queue.take_out(queue, lambda _: True)
                failed += [(pending, self.refusal(queue)) for pending in taken]
        return failed

    def _gate(self, policy: InactivePolicy, known: _Known) -> Gate:
        if known.pause is not None:
            return Gate.PAUSED
        if policy == "send":
            return Gate.OPEN
        state = known.seen.state
        if known.seen.is_inactive:
            return Gate.HELD if policy == "hold" else Gate.REFUSED
        if state == "LOOKING" or known.is_aged or known.reopen_s is not None:
            return Gate.HELD
        if state == "UNKNOWN" and not (known.seen.is_denied or self._sends_unseen):
            return Gate.HELD if policy == "hold" else Gate.REFUSED
        return Gate.OPEN
