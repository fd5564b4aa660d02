"""Partner event sources as EventBridge shows them to their partner: states, and when to look up which. Pure.

A source begins PENDING. It is ACTIVE while its customer has it associated with an event bus, and goes
back to PENDING when the customer deletes that bus or deactivates the source. EventBridge answers
success for events of a PENDING source, and drops them; it refuses those of a DELETED or missing one.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Literal, NamedTuple, TypeAlias, get_args

SourceState: TypeAlias = Literal["ACTIVE", "PENDING", "DELETED", "MISSING", "OTHER", "UNKNOWN", "LOOKING"]
"""ACTIVE, PENDING and DELETED are EventBridge's own. MISSING: there is no such source, because it was
never made, was deleted, or expired. OTHER: a state that AWS added later. UNKNOWN: it cannot be looked up, and
never was. LOOKING: it was not looked up yet."""

STATES: tuple[SourceState, ...] = get_args(SourceState)

InactivePolicy: TypeAlias = Literal["hold", "dead_letter", "send"]
"""What becomes of the records of a source that is not ACTIVE."""

INACTIVE: frozenset[SourceState] = frozenset({"PENDING", "DELETED", "MISSING", "OTHER"})
"""States in which an event would be dropped or refused, as far as anybody knows."""

MEANINGS: dict[SourceState, str] = {
    "ACTIVE": "its customer receives what is sent",
    "PENDING": "its customer has not associated it with an event bus, or took that back; EventBridge would "
    "answer success and drop the event",
    "DELETED": "it was deleted while its customer had an event bus for it; EventBridge refuses events",
    "MISSING": "there is no such source: never created, deleted, or expired; EventBridge refuses events",
    "OTHER": "it is in a state that this version of the bridge does not know",
    "UNKNOWN": "it cannot be looked up, and never was",
    "LOOKING": "it was not looked up yet",
}


RETRY_INITIAL_S = 0.2
RETRY_MAX_S = 5.0
"""Pauses between two lookups of one source that fail, doubled each time."""


class Sighting(NamedTuple):
    """What one look at a source found."""

    state: SourceState
    account: str | None = None
    """The customer's AWS account."""
    created_ms: int | None = None
    """Unix time in milliseconds, as the next."""
    expires_ms: int | None = None
    """When a PENDING source is deleted by EventBridge."""
    reason: str | None = None
    """Why the state is UNKNOWN; of one that we do not know, what EventBridge calls it."""
    is_denied: bool = False
    """UNKNOWN, since we may not look: the next lookup would fare no better."""

    @property
    def is_inactive(self) -> bool:
        return self.state in INACTIVE

    def __str__(self) -> str:
        return f"{self.state}: {self.reason or MEANINGS[self.state]}"


class Standing(NamedTuple):
    """A source as it stands, for people."""

    source: str
    state: SourceState
    since_ms: int
    """When the bridge first saw it in this state; Unix time in milliseconds."""
    account: str | None
    expires_ms: int | None
    reason: str | None
    held: int
    delivered: int

    @property
    def is_inactive(self) -> bool:
        return self.state in INACTIVE


class Failing(NamedTuple):
    """A source that takes nothing while others do, for people."""

    source: str
    since_ms: int
    """Unix time in milliseconds."""
    reason: str
    waiting: int
    """Events of it that wait, or are on their way."""


class Schedule:
    """Says which source to look up next: one whose events wait for it first, then by age of the last lookup.

    Every source is looked up again after `refresh_s`; where there are more than the allowed rate can
    cover in that time, each has its turn, later.
    """

    def __init__(self, *, refresh_s: float, patience_s: float) -> None:
        self._refresh_s = refresh_s
        self._patience_s = patience_s
        self._urgent: list[tuple[float, int, str]] = []
        """(due, order of asking, source); what is out of date in it is skipped. So in the next."""
        self._usual: list[tuple[float, int, str]] = []
        self._due: dict[str, tuple[float, int]] = {}
        """What stands in one of the lines for each source, and is not out of date."""
        self._asked_s: dict[str, float] = {}
        """Sources whose lookup is waited for, and since when; oldest first."""
        self._failing: dict[str, tuple[float, int]] = {}
        """Of these: since when their own lookups fail, and how often they did; oldest first."""
        self._in_flight: set[str] = set()
        """Sources with a lookup on its way: there is never a second one beside it."""
        self._outdated: set[str] = set()
        """Of these: what the lookup finds does not count, since something happened after it began."""
        self._never_answered: set[str] = set()
        self._answered_s = float("-inf")
        self._down_s = float("-inf")
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._due)

    def follow(self, name: str, now_s: float, *, anew: bool = False) -> None:
        """Look up this source before those that nobody waits for, and then again and again.

        A lookup of it that is in flight will do; not `anew`: then another one follows it at once.
        """
        if anew and name in self._in_flight:
            self._outdated.add(name)
        if name in self._asked_s:
            return
        if name not in self._due:
            self._never_answered.add(name)
        self._asked_s[name] = now_s
        if name in self._in_flight:
            self.started(name)
        else:
            self._put(self._urgent, name, now_s)

    def forget(self, name: str) -> None:
        """Look up this source no more."""
        if name in self._in_flight:
            self._outdated.add(name)
        self._due.pop(name, None)
        self._never_answered.discard(name)
        self._asked_s.pop(name, None)
        self._failing.pop(name, None)

    def next(self, now_s: float) -> str | None:
        """The source to look up now; None when none is due."""
        for line in (self._urgent, self._usual):
            self._drop_stale(line)
            if line and line[0][0] <= now_s:
                return line[0][2]
        return None

    @property
    def next_s(self) -> float | None:
        """When the next lookup is due; None when nothing is followed."""
        for line in (self._urgent, self._usual):
            self._drop_stale(line)
        return min((line[0][0] for line in (self._urgent, self._usual) if line), default=None)

    def started(self, name: str) -> None:
        """A lookup of this source began; the next one is due once it has ended."""
        self._in_flight.add(name)
        self._due[name] = (float("inf"), next(self._order))

    def answered(self, name: str, now_s: float) -> bool:
        """A lookup of this source came to an answer; returns whether that counts."""
        self._answered_s = now_s
        if self._was_outdated(name, now_s):
            return False
        self._never_answered.discard(name)
        self._asked_s.pop(name, None)
        self._failing.pop(name, None)
        if name in self._due:
            self._put(self._usual, name, now_s + self._refresh_s)
        return True

    def denied(self, name: str, now_s: float) -> bool:
        """We may not look up this source. That settles a first lookup; what was seen before is worth more.

        Returns whether that counts.
        """
        self._answered_s = now_s
        if self._was_outdated(name, now_s):
            return False
        if name in self._never_answered or name not in self._asked_s:
            self.answered(name, now_s)
        else:
            self.failed(name, now_s)
        return True

    def failed(self, name: str, now_s: float, *, is_its_own: bool = True) -> None:
        """A lookup came to no answer: the others have their turn first.

        It is not its own where all would fail as well.
        """
        if self._was_outdated(name, now_s) or name not in self._due:
            return
        if name not in self._asked_s:
            self._put(self._usual, name, now_s + (min(RETRY_MAX_S, self._refresh_s) if is_its_own else 0.0))
        elif not is_its_own:
            self._put(self._urgent, name, now_s)
        else:
            since_s, times = self._failing.get(name, (now_s, 0))
            self._failing[name] = (since_s, times + 1)
            self._put(self._urgent, name, now_s + min(RETRY_INITIAL_S * 2.0 ** min(times, 10), RETRY_MAX_S))

    def ended(self, name: str) -> None:
        """The lookup of this source is not in flight any more, whatever it came to."""
        self._in_flight.discard(name)
        self._outdated.discard(name)

    def postpone(self, now_s: float) -> None:
        """Nobody waits for lookups at this moment, since nothing could be sent anyway."""
        self._down_s = now_s

    def overdue(self, now_s: float) -> list[str]:
        """Sources that waited too long for a lookup, told once each.

        Waiting in line is not too long while lookups are answered: only when none was, for `patience_s`, or
        when those of this source failed for so long.
        """
        limit_s = now_s - self._patience_s
        if self._down_s > limit_s:
            return []
        failing, asked_s = self._failing, self._asked_s
        names = list(itertools.takewhile(lambda name: failing[name][0] <= limit_s, failing))
        if self._answered_s <= limit_s:
            names += itertools.takewhile(lambda name: asked_s[name] <= limit_s, asked_s)
        for name in names:
            self._asked_s.pop(name, None)
            self._failing.pop(name, None)
        return list(dict.fromkeys(names))

    def _was_outdated(self, name: str, now_s: float) -> bool:
        """End the lookup of this source; whether another one has to follow it, or none."""
        is_outdated = name in self._outdated
        self.ended(name)
        if is_outdated and name in self._due:
            self._put(self._urgent if name in self._asked_s else self._usual, name, now_s)
        return is_outdated

    def _put(self, line: list[tuple[float, int, str]], name: str, due_s: float) -> None:
        self._due[name] = place = (due_s, next(self._order))
        heapq.heappush(line, (*place, name))

    def _drop_stale(self, line: list[tuple[float, int, str]]) -> None:
        while line and self._due.get(line[0][2]) != line[0][:2]:
            heapq.heappop(line)
