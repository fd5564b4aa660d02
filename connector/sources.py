"""Partner event sources as EventBridge shows them to their partner: states, and when to look at which. Pure.

A source begins PENDING. It is ACTIVE while its customer has it associated with an event bus, and goes
back to PENDING when the customer deletes that bus or deactivates the source. EventBridge answers
success for events of a PENDING source, and drops them; it refuses those of a DELETED or missing one.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Literal, NamedTuple, TypeAlias, get_args

SourceState: TypeAlias = Literal["ACTIVE", "PENDING", "DELETED", "MISSING", "UNKNOWN", "LOOKING"]
"""ACTIVE, PENDING and DELETED are EventBridge's own. MISSING: there is no such source, because it was
never made, was deleted, or expired. UNKNOWN: it cannot be looked up. LOOKING: it was not looked up yet."""

STATES: tuple[SourceState, ...] = get_args(SourceState)

InactivePolicy: TypeAlias = Literal["hold", "dead_letter", "send"]
"""What becomes of the records of a source that is not ACTIVE."""

INACTIVE: frozenset[SourceState] = frozenset({"PENDING", "DELETED", "MISSING"})
"""States in which an event would be dropped or refused."""

MEANINGS: dict[SourceState, str] = {
    "ACTIVE": "its customer receives what is sent",
    "PENDING": "its customer has not associated it with an event bus, or took that back; EventBridge would "
    "answer success and drop the event",
    "DELETED": "it was deleted while its customer had an event bus for it; EventBridge refuses events",
    "MISSING": "there is no such source: never created, deleted, or expired; EventBridge refuses events",
    "UNKNOWN": "it cannot be looked up",
    "LOOKING": "it was not looked up yet",
}


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
    """Why the state is UNKNOWN."""

    @property
    def is_inactive(self) -> bool:
        return self.state in INACTIVE


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


class Schedule:
    """Says which source to look at next: one that was never looked at first, then by age of the last look.

    Every source is looked at again after `refresh_s`; where there are more than the allowed rate can
    cover in that time, each has its turn, later.
    """

    def __init__(self, *, refresh_s: float, patience_s: float) -> None:
        self._refresh_s = refresh_s
        self._patience_s = patience_s
        self._line: list[tuple[float, int, str]] = []
        """(due, order of asking, source); what is out of date in it is skipped."""
        self._due_s: dict[str, float] = {}
        self._unseen: dict[str, float] = {}
        """Sources no look has answered for, and when that was asked for."""
        self._answered_s = float("-inf")
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._due_s)

    def follow(self, name: str, now_s: float) -> None:
        """Look at this source soon, and again and again; at one that is followed already, look soon."""
        if name not in self._due_s:
            self._unseen[name] = now_s
            self._put(name, float("-inf"))
        elif self._due_s[name] > now_s:
            self._put(name, now_s)

    def forget(self, name: str) -> None:
        """Look at this source no more."""
        self._due_s.pop(name, None)
        self._unseen.pop(name, None)

    def next(self, now_s: float) -> str | None:
        """The source to look at now; None when none is due."""
        self._drop_stale()
        return self._line[0][2] if self._line and self._line[0][0] <= now_s else None

    @property
    def next_s(self) -> float | None:
        """When the next look is due; None when nothing is followed."""
        self._drop_stale()
        return self._line[0][0] if self._line else None

    def answered(self, name: str, now_s: float) -> None:
        """A look at this source came to an answer."""
        self._answered_s = now_s
        self._unseen.pop(name, None)
        if name in self._due_s:
            self._put(name, now_s + self._refresh_s)

    def failed(self, name: str, now_s: float) -> None:
        """A look came to no answer: the others have their turn first."""
        if name in self._due_s:
            self._put(name, now_s)

    def overdue(self, now_s: float) -> list[str]:
        """Sources that waited too long for their first look, told once each.

        Waiting in line is not too long while looks are answered: only when none was, for `patience_s`.
        """
        limit_s = now_s - self._patience_s
        if self._answered_s > limit_s:
            return []
        names = [name for name, asked_s in self._unseen.items() if asked_s <= limit_s]
        for name in names:
            del self._unseen[name]
        return names

    @property
    def overdue_s(self) -> float | None:
        """When `overdue` may next have something to tell; None for not at all."""
        if not self._unseen:
            return None
        return max(min(self._unseen.values()), self._answered_s) + self._patience_s

    def _put(self, name: str, due_s: float) -> None:
        self._due_s[name] = due_s
        heapq.heappush(self._line, (due_s, next(self._order), name))

    def _drop_stale(self) -> None:
        line = self._line
        while line and self._due_s.get(line[0][2]) != line[0][0]:
            heapq.heappop(line)
