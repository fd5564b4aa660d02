"""Keeps events away from sources that would drop or refuse them: what is known of each, and what follows.

Runs on the bridge thread and waits for nothing: the looks are made elsewhere, and come as news.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from connector.errors import RefusedError
from connector.outbox import Door, Outbox, Pending, SourceQueue
from connector.pace import full_jitter
from connector.sources import MEANINGS, InactivePolicy, Sighting, Standing
from connector.telemetry import Telemetry

REOPEN_INITIAL_S = 0.5
REOPEN_MAX_S = 60.0
"""Pauses between two tries of a source that EventBridge refuses, where a look shows no reason for it."""

LOOKING = Sighting("LOOKING")


class Watch(Protocol):
    """Looks at sources, in the background."""

    def follow(self, name: str) -> None:
        """Look at this source soon, and again and again; never blocks."""

    def forget(self, name: str) -> None:
        """Look at this source no more."""

    def news(self) -> list[tuple[str, Sighting]]:
        """What was seen since the last call, in order; never blocks."""

    @property
    def trouble(self) -> tuple[float, str] | None:
        """Since when looks come to no answer (of the bridge's clock), and why; None while they do."""


class Unwatched:
    """Looks at nothing: only for entries with the policy `send`, whose doors stay open."""

    def follow(self, name: str) -> None:
        pass

    def forget(self, name: str) -> None:
        pass

    def news(self) -> list[tuple[str, Sighting]]:
        return []

    @property
    def trouble(self) -> None:
        return None


class _Known:
    """What is known of one source."""

    __slots__ = ("delivered_when_active", "refusals", "reopen_s", "seen", "since_ms")

    def __init__(self, since_ms: int) -> None:
        self.seen = LOOKING
        self.since_ms = since_ms
        self.delivered_when_active = 0
        """Events delivered up to the last look that found it ACTIVE."""
        self.refusals = 0
        """How often EventBridge refused it since it last took an event."""
        self.reopen_s: float | None = None
        """EventBridge refused it: when to try again; infinity until the next look."""


class SourceGuard:
    """Opens and shuts the doors of one target's sources by what is known of them.

    A source met for the first time is held until it was looked at. One that is not ACTIVE is held or
    refused, as the policy of its topic says; `send` leaves the door open. One that cannot be looked at is
    open: the bridge must not stop for want of a permission.
    """

    def __init__(
        self,
        target: str,
        *,
        watch: Watch,
        telemetry: Telemetry,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self._watch = watch
        self._telemetry = telemetry
        self._clock_s = clock_s
        self._known: dict[str, _Known] = {}
        self._refused: set[str] = set()
        self._changed = True

    def guard(self, outbox: Outbox) -> None:
        """Say whose doors these are; once, before anything is added."""
        self._outbox = outbox

    def meet(self, queue: SourceQueue) -> None:
        """Take note of a source that the outbox meets for the first time."""
        known = self._known.get(queue.source)
        if known is None:
            known = self._known[queue.source] = _Known(_now_ms())
            self._watch.follow(queue.source)
            self._changed = True
        self._outbox.set_door(queue, _door(queue.policy, known))

    def forgotten(self, queue: SourceQueue) -> None:
        """Take note that the outbox made room by forgetting a source."""
        if queue.source in self._known and not self._outbox.queues_of(queue.source):
            del self._known[queue.source]
            self._refused.discard(queue.source)
            self._watch.forget(queue.source)
            self._changed = True

    def refused(self, queue: SourceQueue) -> None:
        """Take note that EventBridge says that there is no such source: hold it, and look."""
        known = self._known.get(queue.source)
        if known is None or known.reopen_s is not None:
            return
        known.refusals += 1
        known.reopen_s = float("inf")
        self._refused.add(queue.source)
        self._watch.follow(queue.source)
        for each in self._outbox.queues_of(queue.source):
            self._outbox.set_door(each, _door(each.policy, known))

    def taken(self, queue: SourceQueue) -> None:
        """Take note that EventBridge took an event again of a source that it refused before."""
        if known := self._known.get(queue.source):
            known.refusals = 0

    def step(self, now_s: float) -> list[tuple[Pending, RefusedError]]:
        """Open and shut doors by what is news; returns the entries that are not to be sent, and why."""
        failed: list[tuple[Pending, RefusedError]] = []
        for source, seen in self._watch.news():
            if known := self._known.get(source):
                self._saw(source, known, seen, now_s)
                failed += self._apply(source, known)
        for source in [s for s in self._refused if (self._known[s].reopen_s or 0.0) <= now_s]:
            self._refused.discard(source)
            self._known[source].reopen_s = None
            failed += self._apply(source, self._known[source])
        return failed

    @property
    def next_s(self) -> float | None:
        """When a refused source is to be tried again; None for not at all."""
        return min((self._known[source].reopen_s or 0.0 for source in self._refused), default=None)

    def refusal(self, queue: SourceQueue) -> RefusedError:
        """Why an entry of this source is not taken in."""
        known = self._known.get(queue.source)
        state = known.seen.state if known else "UNKNOWN"
        if queue.door is Door.HELD:
            what = f"as much of its source is held as may be, and it is {state}: {MEANINGS[state]}"
        else:
            what = f"its source is {state}: {MEANINGS[state]}"
        missing = state in {"MISSING", "DELETED"}
        return RefusedError(
            "source_unknown" if missing else "source_inactive",
            f"It was not sent, since {what}. Replay it once the source is ACTIVE.",
        )

    @property
    def trouble(self) -> tuple[float, str] | None:
        """Since when looks at sources come to no answer, and why; None while they do."""
        return self._watch.trouble

    @property
    def is_awaited(self) -> bool:
        """Whether the events of some source wait for its first look."""
        return any(known.seen.state == "LOOKING" for known in self._known.values())

    def is_inactive(self, queue: SourceQueue) -> bool:
        """Whether a look has shown that events of this source would be dropped or refused."""
        known = self._known.get(queue.source)
        return known is not None and known.seen.is_inactive

    def changed(self) -> bool:
        """Whether any state is another than at the last call."""
        changed, self._changed = self._changed, False
        return changed

    def standings(self) -> Iterator[Standing]:
        """Every source as it stands."""
        for source, known in self._known.items():
            queues = self._outbox.queues_of(source)
            yield Standing(
                source,
                known.seen.state,
                known.since_ms,
                known.seen.account,
                known.seen.expires_ms,
                known.seen.reason,
                held=sum(self._outbox.held(queue) for queue in queues),
                delivered=sum(queue.delivered for queue in queues),
            )

    def _saw(self, source: str, known: _Known, seen: Sighting, now_s: float) -> None:
        was, known.seen = known.seen, seen
        delivered = sum(queue.delivered for queue in self._outbox.queues_of(source))
        if was.state != seen.state:
            known.since_ms = _now_ms()
            self._changed = True
            self._telemetry.source_changed(
                self._target,
                source,
                was=was.state,
                now=seen,
                # Between the last look and this one EventBridge may have dropped them, and said success.
                unsure=delivered - known.delivered_when_active if was.state == "ACTIVE" else 0,
            )
        elif was.expires_ms != seen.expires_ms:
            self._changed = True
        if seen.state == "ACTIVE":
            known.delivered_when_active = delivered
        if known.reopen_s == float("inf"):
            if seen.is_inactive:
                known.reopen_s = None
                self._refused.discard(source)
            else:
                # The look shows nothing wrong, or cannot be had: what EventBridge says is tried again.
                known.reopen_s = now_s + full_jitter(
                    known.refusals, initial_s=REOPEN_INITIAL_S, max_s=REOPEN_MAX_S
                )

    def _apply(self, source: str, known: _Known) -> list[tuple[Pending, RefusedError]]:
        return [
            (pending, self.refusal(queue))
            for queue in self._outbox.queues_of(source)
            for pending in self._outbox.set_door(queue, _door(queue.policy, known))
        ]


def _door(policy: InactivePolicy, known: _Known) -> Door:
    if policy == "send":
        return Door.OPEN
    if known.seen.is_inactive:
        return Door.HELD if policy == "hold" else Door.REFUSED
    if known.seen.state == "LOOKING" or known.reopen_s is not None:
        return Door.HELD
    return Door.OPEN


def _now_ms() -> int:
    return int(time.time() * 1000)
