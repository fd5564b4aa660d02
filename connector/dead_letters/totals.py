"""Counts of dead letters by code, source and time, in bounded memory; and those of each source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias, cast, get_args

from connector.dead_letters.format import UnreadableLetter, label, read
from connector.dead_letters.resolutions import DeadLetterState
from connector.dead_letters.selection import CODE_UNREADABLE, StoredDeadLetter
from connector.model import LastError, Record, iso

OTHER = "other"

MAX_GROUPS = 1_000
"""Values of one dimension that are counted apart; more are counted as `other`."""

HOUR_MS = 3_600_000


class TotalsRow:
    """A count of letters that have something in common, and when the first and the last was written."""

    __slots__ = ("count", "newest_ms", "oldest_ms")

    def __init__(self, written_ms: int) -> None:
        self.count = 0
        self.oldest_ms = self.newest_ms = written_ms

    def add(self, written_ms: int) -> None:
        """Count one."""
        self.count += 1
        if written_ms > self.newest_ms:
            self.newest_ms = written_ms
        elif written_ms < self.oldest_ms:
            self.oldest_ms = written_ms

    def merge(self, other: TotalsRow) -> None:
        """Count those of another group too."""
        self.count += other.count
        self.newest_ms = max(self.newest_ms, other.newest_ms)
        self.oldest_ms = min(self.oldest_ms, other.oldest_ms)


Dimension: TypeAlias = Literal[
    "all", "state", "hour", "problem", "code", "topic", "source", "detail_type", "bridge"
]
"""In the order in which `Totals` keeps them."""


class Totals:
    """Counts letters by code, origin topic and so on, in bounded memory.

    Past a thousand values of one dimension, more are counted as `other`.
    """

    def __init__(self) -> None:
        self._by: dict[Dimension, dict[str, TotalsRow]] = {dimension: {} for dimension in get_args(Dimension)}
        self._alike: dict[tuple[object, ...], TotalsRow] = {}
        """Letters that are the same in every dimension: counting each at once is a fourth of the work."""

    @property
    def count(self) -> int:
        return sum(group.count for group in self.by("all").values())

    def by(self, dimension: Dimension) -> dict[str, TotalsRow]:
        """The groups of one dimension, by value.

        `hour` is the one they were written in, as `2026-11-22T10:00Z`; `problem` is why some cannot be
        read. `all` has one group, or none.
        """
        self._sort()
        return self._by[dimension]

    def add(self, found: StoredDeadLetter) -> None:
        """Count one."""
        written_ms, label = found.record.timestamp_ms or 0, found.label
        if label is None:
            said: tuple[str | None, ...] = (CODE_UNREADABLE, None, None, None, None)
        else:
            code, topic, _, _, source, detail_type, _, _, bridge = label
            said = (code, topic, source, detail_type, bridge)
        values = (found.state, written_ms // HOUR_MS, found.problem, *said)
        group = self._alike.get(values)
        if group is None:
            if len(self._alike) >= MAX_GROUPS:
                self._sort()
            group = self._alike[values] = TotalsRow(written_ms)
        group.add(written_ms)

    def _sort(self) -> None:
        """Bring what was counted since the last time into the dimensions."""
        for (state, hour, *texts), group in self._alike.items():
            shown = ("", cast("DeadLetterState", state).label, _hour(cast("int", hour)), *texts)
            for groups, value in zip(self._by.values(), shown, strict=True):
                if isinstance(value, str):
                    _merge(groups, value, group)
        self._alike.clear()


class DeadLetteredTotal(NamedTuple):
    """Dead letters of one source; an event that was dead-lettered again counts again."""

    events: int
    last: LastError


def dead_lettered_totals(
    batches: Iterable[Sequence[Record]], *, bridge: str, since_ms: int, source: str | None = None
) -> dict[tuple[str, str], DeadLetteredTotal]:
    """By target and source what all replicas of a bridge dead-lettered since then, whatever came of it later.

    The letters may come in any order. Those whose record failed before its source was known are of none.
    With `source` only its own count.
    """
    totals: dict[tuple[str, str], DeadLetteredTotal] = {}
    for records in batches:
        for record in records:
            try:
                said = label(record)
            except UnreadableLetter:
                continue
            if said.bridge != bridge or said.source is None or source not in {None, said.source}:
                continue
            letter = read(record, said)
            at_ms, target = letter.last_failure_ms, letter.target
            if target is None or at_ms < since_ms:
                continue
            events, last = totals.get((target, said.source), (0, None))
            if last is None or at_ms >= last.at_ms:
                last = LastError(at_ms, said.code, letter.message)
            totals[target, said.source] = DeadLetteredTotal(events + 1, last)
    return totals


def _merge(groups: dict[str, TotalsRow], value: str, group: TotalsRow) -> None:
    if value not in groups and len(groups) >= MAX_GROUPS:
        value = OTHER
    if value not in groups:
        groups[value] = TotalsRow(group.oldest_ms)
    groups[value].merge(group)


def _hour(number: int) -> str:
    return iso(number * HOUR_MS)[:14] + "00Z"
