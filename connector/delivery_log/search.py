"""What `events find` searches for, and what the current configuration makes of a record."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from connector.dead_letters.format import parse_id
from connector.errors import DecodeError, RecordError
from connector.formats.schema_cache import with_schema
from connector.model import Entry, Position, Record
from connector.pipeline import TOMBSTONE, Dropped, Pipeline

_EVENT_ID = re.compile(r"([^/]+)/([^/]+/[^/]+/[^/]+?)(?:/([0-9]{1,15}))?")

EARLIER_MS = 3_600_000
"""Nothing is delivered or dead-lettered before its record, but clocks differ by up to this much."""


class Shown(Protocol):
    """The progress of reading a topic."""

    def advance(self, count: int) -> None: ...


Show: TypeAlias = "Callable[[str, int | None], AbstractContextManager[Shown]]"
"""Takes a title, and how many records there are to read."""


class OwnEventId(NamedTuple):
    """An id that a bridge made, taken apart. `Pipeline.event_id` makes them."""

    cluster_id: str
    position: Position
    timestamp_ms: int | None


@dataclass(frozen=True, slots=True)
class Search:
    """Which records to look for: those that one of the first four names, in a range of time."""

    position: Position | None = None
    event_id: str | None = None
    """One that EventBridge gave."""
    key: str | None = None
    """With `topic`: the key as text, or the JSON that it decodes to."""
    source: str | None = None
    topic: str | None = None
    timestamp_ms: int | None = None
    """With `position`: the record's own, where another one may have its place."""
    since_ms: int | None = None
    """The record's timestamp is this one or later; Unix time in milliseconds."""
    until_ms: int | None = None
    """It is before this one."""
    limit: int = 100
    """Records that are kept, the newest ones."""

    def holds(self, timestamp_ms: int | None) -> bool:
        """Whether a record of that time lies in the range; where there is none, it may."""
        return timestamp_ms is None or (
            (self.since_ms is None or self.since_ms <= timestamp_ms)
            and (self.until_ms is None or timestamp_ms < self.until_ms)
        )


def parse_event_id(text: str) -> OwnEventId | None:
    """Take one of our event ids apart; None where the text is none."""
    found = _EVENT_ID.fullmatch(text)
    position = None if found is None else parse_id(found[2])
    if found is None or position is None:
        return None
    return OwnEventId(found[1], position, None if found[3] is None else int(found[3]))


class Mapped(NamedTuple):
    """What the current configuration makes of a record."""

    source: str | None
    """None where that cannot be told."""
    detail_type: str | None
    target: str
    rule: str | None = None
    """The rule that drops it, where one does."""
    error: str | None = None
    """The code of the dead letter that it would become."""


class FoundRecord(NamedTuple):
    """A record that matches. Its key and value are not kept."""

    position: Position
    event_id: str | None
    """None where the record is gone and was named by its position."""
    timestamp_ms: int | None
    mapped: Mapped | None
    """None where the record is gone."""
    missing: str | None = None
    """Why it is gone, in a sentence."""


def mapped(pipeline: Pipeline, record: Record) -> Mapped:
    """Run the pipeline on a record, and say of one that makes no event whose it would be.

    Raises:
        UnavailableError: its schema cannot be had.
    """
    route = pipeline.route(record.partition.topic)
    rule = error = None
    try:
        result = with_schema(lambda: pipeline(record))
    except RecordError as found:
        error = found.code
    else:
        match result:
            case Entry():
                return Mapped(result.source, result.detail_type, result.target)
            case Dropped():
                kept = route.mapping.templates.filter
                rule = f"{route.path}.filter: {kept.shown if kept else ''}"
                if result == TOMBSTONE:
                    rule = f"{route.path}.tombstones: skip"
    source = detail_type = None
    with suppress(DecodeError):
        source, detail_type = with_schema(lambda: route.names(record))
    return Mapped(source, detail_type, route.target, rule, error)


class Latest:
    """The newest of the records that are added, at most `limit`; the others are counted.

    One that is added again is counted again where it is not kept.
    """

    def __init__(self, limit: int) -> None:
        self.count = 0
        self._limit = limit
        self._heap: list[tuple[int, Position, FoundRecord]] = []
        self._kept: set[Position] = set()

    def add(self, found: FoundRecord) -> None:
        """Keep it where it is one of the newest."""
        if found.position in self._kept:
            return
        self.count += 1
        self._kept.add(found.position)
        heapq.heappush(self._heap, (found.timestamp_ms or 0, found.position, found))
        if len(self._heap) > self._limit:
            _, position, _ = heapq.heappop(self._heap)
            self._kept.remove(position)

    def records(self) -> list[FoundRecord]:
        """The kept ones, the newest first."""
        return [found for *_, found in sorted(self._heap, key=lambda item: item[:2], reverse=True)]


def known_since(found: Collection[FoundRecord]) -> int | None:
    """From when on there may be receipts and letters of these; None where that is not known."""
    times = [each.timestamp_ms for each in found]
    known = [each for each in times if each is not None]
    return min(known) - EARLIER_MS if known and len(known) == len(times) else None
