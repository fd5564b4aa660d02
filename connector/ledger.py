"""Which offset may be committed when records finish out of order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeAlias

from connector.errors import InvariantError
from connector.model import Partition


class OffsetTracker:
    """One assignment of one partition: what was polled from it and is not settled yet.

    A partition that is revoked and comes back gets a new tracker. The old one is closed: settling on it
    changes nothing.
    """

    __slots__ = (
        "abandoned",
        "before",
        "committed",
        "is_open",
        "next_offset",
        "partition",
        "read_again_from",
        "read_ms",
        "sent_offset",
        "unsettled",
    )

    def __init__(self, partition: Partition, before: OffsetTracker | None = None) -> None:
        self.partition = partition
        self.before = before
        """What was polled before the client went back, in the same assignment, and is not settled."""
        self.is_open = True
        self.unsettled: dict[int, tuple[int, float]] = {}
        """offset → (size in bytes, when it was polled)"""
        self.next_offset: int | None = None
        """One past the offset polled last; None before the first record."""
        self.read_again_from: int | None = None
        """The lowest offset that the client went back to since: a later tracker has what lies at or above it,
        so no commit waits for this one there."""
        self.read_ms: int | None = None
        """The timestamp of the record polled last, in Unix milliseconds."""
        self.sent_offset = -1
        """The highest offset of this tracker that was ever part of a request."""
        self.abandoned: set[int] = set()
        """Offsets left to the next reader of the partition, at a stop or rebalance."""
        self.committed: int | None = None
        """The offset that this tracker committed last."""

    def readings(self) -> Iterator[OffsetTracker]:
        """This tracker and those before it that the commit may still have to wait for, last first."""
        tracker: OffsetTracker | None = self
        while tracker is not None:
            yield tracker
            tracker = tracker.before

    @property
    def committable(self) -> int | None:
        """The lowest unsettled offset, or the next one to be polled; None while nothing was polled.

        Only polled offsets count. Compaction and transaction markers leave holes, and a
        hole is nothing to wait for.
        """
        return min(
            (lowest for tracker in self.readings() if (lowest := tracker.lowest) is not None),
            default=self.next_offset,
        )

    @property
    def lowest(self) -> int | None:
        """The lowest offset of this tracker alone that holds the commit back."""
        lowest = min(self.unsettled, default=None)
        return None if lowest is None or self.is_read_again(lowest) else lowest

    def is_read_again(self, offset: int) -> bool:
        """Whether the client went back to this offset, or to one before it, since it was polled."""
        return self.read_again_from is not None and offset >= self.read_again_from

    @property
    def blocks_commit(self) -> bool:
        """Whether an unsettled record below the highest sent offset, not abandoned, holds the commit back."""
        lowest = min((offset for offset in self.unsettled if offset not in self.abandoned), default=None)
        return lowest is not None and lowest <= self.sent_offset and not self.is_read_again(lowest)

    @property
    def finish_to(self) -> int:
        """The highest offset worth sending before this tracker ends.

        Past it nothing was sent, or the commit stays below anyway, or the client reads it again.
        """
        ends = [self.sent_offset, *self.abandoned]
        if self.read_again_from is not None:
            ends.append(self.read_again_from - 1)
        return min(ends)

    @property
    def oldest_polled_s(self) -> float | None:
        """When the record that holds the commit back was polled; None when everything is settled."""
        holding = [
            (low, tracker.unsettled[low][1])
            for tracker in self.readings()
            if (low := tracker.lowest) is not None
        ]
        return min(holding)[1] if holding else None


Ack: TypeAlias = "tuple[OffsetTracker, int]"
"""The tracker and offset to settle once a dead letter is acknowledged."""


class Ledger:
    """Tracks every record from the moment it is polled until it is settled.

    A record is *settled* once it is in EventBridge, acknowledged in the dead-letter topic, or
    dropped by a rule the user wrote, and not before. What may be committed for a partition is the
    lowest offset not yet settled, so a crash at any instant re-reads records and skips none.

    Forgetting to settle stalls the commit, which shows in `oldest_unsettled_seconds`. The opposite
    mistake would be silent loss, so `settle` refuses a position it does not know.
    """

    def __init__(self) -> None:
        self.trackers: dict[Partition, OffsetTracker] = {}
        self.pending_records = 0
        self.pending_bytes = 0
        self.settled_records = 0
        """Since the start."""

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Start a new tracker for each partition, closing an older one."""
        for partition in partitions:
            self.drop([partition])
            self.trackers[partition] = OffsetTracker(partition)

    def begin(
        self, partition: Partition, offset: int, *, size_bytes: int, now_s: float
    ) -> OffsetTracker | None:
        """Begin a polled record; returns None when its partition was taken away since it was fetched.

        Where the client went back, the topic was made anew or truncated: a record may have the offset of
        another one that is still being worked on. Both are, each on a tracker of its own. What lies below the
        offset that it went back to is not read again, so the commit waits for it as before; where the topic
        was made anew nothing does, since reading begins at its start.
        """
        tracker = self.trackers.get(partition)
        if tracker is None:
            return None
        if tracker.next_offset is not None and offset < tracker.next_offset:
            for earlier in tracker.readings():
                if earlier.read_again_from is None or offset < earlier.read_again_from:
                    earlier.read_again_from = offset
            before = tracker if tracker.unsettled else tracker.before
            tracker = self.trackers[partition] = OffsetTracker(partition, before)
        tracker.next_offset = offset + 1
        tracker.unsettled[offset] = (size_bytes, now_s)
        self.pending_records += 1
        self.pending_bytes += size_bytes
        return tracker

    def grow(self, tracker: OffsetTracker, offset: int, size_bytes: int) -> None:
        """Count so many bytes more for a pending record: those of the event made of it."""
        begun_bytes, polled_s = tracker.unsettled[offset]
        tracker.unsettled[offset] = (begun_bytes + size_bytes, polled_s)
        self.pending_bytes += size_bytes

    def settle(self, tracker: OffsetTracker, offset: int) -> None:
        """Mark a record as settled.

        Nothing happens on a closed tracker: its partition belongs to another consumer now.

        Raises:
            InvariantError: the offset was not begun, or was settled before.
        """
        if not tracker.is_open:
            return
        begun = tracker.unsettled.pop(offset, None)
        if begun is None:
            raise InvariantError(f"{tracker.partition}@{offset} was settled without being pending")
        self.settled_records += 1
        self.pending_records -= 1
        self.pending_bytes -= begun[0]

    def readings(self, partitions: Collection[Partition] | None = None) -> set[OffsetTracker]:
        """Every tracker of some partitions, or of all, that has something unsettled or may get it."""
        chosen = self.trackers.values() if partitions is None else self._trackers_of(partitions)
        return {reading for tracker in chosen for reading in tracker.readings()}

    def committable(self, partitions: Collection[Partition] | None = None) -> dict[Partition, int]:
        """The offsets to commit now, for those partitions where that is news."""
        chosen = self.trackers.values() if partitions is None else self._trackers_of(partitions)
        return {
            tracker.partition: offset
            for tracker in chosen
            if (offset := tracker.committable) is not None and offset != tracker.committed
        }

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """Remember that the broker has these offsets."""
        for partition, offset in offsets.items():
            if tracker := self.trackers.get(partition):
                tracker.committed = offset

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions: close their trackers, whatever is unsettled."""
        for current in self._trackers_of(partitions):
            del self.trackers[current.partition]
            for tracker in current.readings():
                tracker.is_open = False
                self.pending_records -= len(tracker.unsettled)
                self.pending_bytes -= sum(size for size, _ in tracker.unsettled.values())

    def _trackers_of(self, partitions: Iterable[Partition]) -> list[OffsetTracker]:
        return [self.trackers[p] for p in partitions if p in self.trackers]
