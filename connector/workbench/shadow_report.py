"""What would have happened to the records of a shadow run, counted in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from connector.errors import RecordError
from connector.model import DropReason, Entry, Json, Partition, Position, billed_chunks

MAX_NAMES = 2_000
"""Sources and detail types that are counted by name, those that came first; the others count together."""

STEPS = 64
"""A size is counted as the end of its step, and a step is no wider than this part of it."""


class NameCounts:
    """How often each name came."""

    def __init__(self) -> None:
        self.by_name: dict[str, int] = {}
        """In the order in which they came first."""
        self.others = 0
        """How often any other came, once there were `MAX_NAMES`."""

    def add(self, name: str) -> None:
        if name in self.by_name or len(self.by_name) < MAX_NAMES:
            self.by_name[name] = self.by_name.get(name, 0) + 1
        else:
            self.others += 1

    def first(self, limit: int) -> tuple[dict[str, int], int]:
        """The counts of the first names, and of all others together."""
        counts = self.by_name.copy()
        first = dict(list(counts.items())[:limit])
        return first, self.others + sum(counts.values()) - sum(first.values())


class Sizes:
    """Sizes of events, in bytes as EventBridge counts them; a thousand numbers, however many there are."""

    def __init__(self) -> None:
        self.max_bytes = 0
        self.sum_bytes = 0
        self._counts: dict[int, int] = {}
        """End of each step, which is part of it → how many. No step lies across a power of two."""

    def add(self, size_bytes: int) -> None:
        self.max_bytes = max(self.max_bytes, size_bytes)
        self.sum_bytes += size_bytes
        shift = max(0, (size_bytes - 1).bit_length() - STEPS.bit_length())
        end = (((size_bytes - 1) >> shift) + 1) << shift
        self._counts[end] = self._counts.get(end, 0) + 1

    def merge(self, other: Sizes) -> None:
        """Count all of `other`, too."""
        self.max_bytes = max(self.max_bytes, other.max_bytes)
        self.sum_bytes += other.sum_bytes
        for end, count in other._counts.items():
            self._counts[end] = self._counts.get(end, 0) + count

    def quantile(self, share: float) -> int:
        """The size that this share of them does not exceed; up to 1/64 too large, and 0 for none."""
        rank = math.ceil(share * sum(self._counts.values()))
        for end, count in sorted(self._counts.items()):
            rank -= count
            if rank <= 0:
                return min(end, self.max_bytes)
        return 0

    def up_to(self, bound: int) -> int:
        """How many do not exceed a power of two."""
        return sum(count for end, count in self._counts.copy().items() if end <= bound)

    def as_json(self) -> dict[str, Json]:
        return {"p50": self.quantile(0.5), "p99": self.quantile(0.99), "max": self.max_bytes}


class Example(NamedTuple):
    """The first record of a code."""

    position: Position
    message: str


@dataclass(slots=True)
class TopicCounts:
    """What would have happened to the records of one topic."""

    events: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    """By the rule that drops them."""
    dead_letters: Counter[str] = field(default_factory=Counter)
    """By code."""
    sizes: Sizes = field(default_factory=Sizes)
    billed_chunks: int = 0

    @property
    def records(self) -> int:
        """All that were read."""
        return self.events + self.filtered.total() + self.dead_letters.total()

    def as_json(self) -> dict[str, Json]:
        return {
            "records": self.records,
            "events": self.events,
            "filtered": {**self.filtered},
            "dead_letters": {**self.dead_letters},
            "size_bytes": self.sizes.as_json(),
            "billed_chunks": self.billed_chunks,
        }


class PartitionReading(NamedTuple):
    """How far a partition was read."""

    from_offset: int
    left: int
    """Records that were not mapped; at most, since not every offset has a record."""
    waits: str | None = None
    """Why the next record cannot be mapped yet."""


class ShadowReport:
    """What would have happened: the run writes it, and `/metrics` reads it on another thread."""

    def __init__(self, *, max_consecutive: int) -> None:
        """`max_consecutive` dead letters in a row are as many as the bridge writes before it halts."""
        self.topics: dict[str, TopicCounts] = {}
        self.sources = NameCounts()
        self.detail_types = NameCounts()
        self.examples: dict[str, Example] = {}
        self.partitions: dict[Partition, PartitionReading] = {}
        self.seconds = 0.0
        """How long it has been reading."""
        self.halts_at: Position | None = None
        """Where the bridge would first have halted, since so many dead letters came in a row."""
        self._max_consecutive = max_consecutive
        self._consecutive = 0

    def event(self, topic: str, entry: Entry) -> None:
        """A record makes an event."""
        self._consecutive = 0
        counts = self._of(topic)
        counts.events += 1
        counts.sizes.add(entry.size_bytes)
        counts.billed_chunks += billed_chunks(entry.size_bytes)
        self.sources.add(entry.source)
        self.detail_types.add(entry.detail_type)

    def filtered(self, topic: str, reason: DropReason) -> None:
        """A rule drops a record."""
        self._of(topic).filtered[reason] += 1

    def dead_letter(self, position: Position, error: RecordError) -> None:
        """A record can never become an event."""
        self._of(position.partition.topic).dead_letters[error.code] += 1
        if error.code not in self.examples:
            self.examples[error.code] = Example(position, str(error))
        self._consecutive += 1
        if self._consecutive > self._max_consecutive and self.halts_at is None:
            self.halts_at = position

    def _of(self, topic: str) -> TopicCounts:
        counts = self.topics.get(topic)
        if counts is None:
            counts = self.topics[topic] = TopicCounts()
        return counts

    @property
    def total(self) -> TopicCounts:
        """The counts of all topics together."""
        total = TopicCounts()
        for counts in self.topics.values():
            total.events += counts.events
            total.filtered += counts.filtered
            total.dead_letters += counts.dead_letters
            total.sizes.merge(counts.sizes)
            total.billed_chunks += counts.billed_chunks
        return total

    @property
    def records(self) -> int:
        """All that were mapped."""
        return sum(counts.records for counts in self.topics.values())

    @property
    def dead_letters(self) -> Counter[str]:
        """Dead letters by code."""
        return sum((counts.dead_letters for counts in self.topics.values()), Counter[str]())

    @property
    def left(self) -> int:
        """Records that were not mapped by now; at most."""
        return sum(reading.left for reading in self.partitions.values())

    @property
    def waiting(self) -> Mapping[Partition, str]:
        """Partitions of which the next record cannot be mapped, and why."""
        return {at: reading.waits for at, reading in self.partitions.items() if reading.waits is not None}

    @property
    def is_clean(self) -> bool:
        """Whether no record would be dead-lettered, and none waits to be mapped."""
        return not self.examples and not self.waiting

    @property
    def records_per_second(self) -> float:
        return self.records / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, Json]:
        """As `--json` shows it."""
        total = self.total
        letters: dict[str, Json] = {}
        for code, count in total.dead_letters.items():
            position, message = self.examples[code]
            letters[code] = {"records": count, "position": str(position), "message": message}
        return {
            **total.as_json(),
            "dead_letters": letters,
            "halts_at": str(self.halts_at) if self.halts_at else None,
            "topics": {topic: counts.as_json() for topic, counts in self.topics.items()},
            "sources": {**self.sources.by_name},
            "events_of_other_sources": self.sources.others,
            "detail_types": {**self.detail_types.by_name},
            "events_of_other_detail_types": self.detail_types.others,
            "seconds": round(self.seconds, 3),
            "records_per_second": round(self.records_per_second, 1),
            "left": self.left,
            "partitions": [
                {"topic": topic, "partition": number, **reading._asdict()}
                for (topic, number), reading in sorted(self.partitions.items())
            ],
        }
