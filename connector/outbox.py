"""Which entries may leave next, and together: order, packing, retries. Pure."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Hashable, Sequence

from connector.ledger import Track
from connector.model import Entry, Record


class Pending:
    """A record on its way to EventBridge, with what must be remembered about it until it is settled."""

    __slots__ = (
        "added_s",
        "attempts",
        "batch_limit",
        "entry",
        "failed_s",
        "first_failure_ms",
        "lane",
        "record",
        "track",
        "tries",
    )

    lane: Lane

    def __init__(self, record: Record, track: Track, entry: Entry, now_s: float) -> None:
        self.record = record
        self.track = track
        self.entry = entry
        self.added_s = now_s
        self.attempts = 0
        """Failed attempts that count against this record: the target was otherwise healthy."""
        self.tries = 0
        """All failed attempts, counted or not; spaces out the next one."""
        self.batch_limit: int | None = None
        """How many entries may share a request with this one; None for as many as allowed. Falls
        by half with every refused request it was part of, until the culprit is alone."""
        self.first_failure_ms: int | None = None
        self.failed_s: float | None = None
        """When the last attempt failed, on the monotonic clock."""


class Lane:
    """Records that must arrive one after the other; at most one request carries them at a time."""

    __slots__ = ("is_busy", "is_dropped", "key", "waiting")

    def __init__(self, key: Hashable | None) -> None:
        self.key = key
        self.waiting: list[Pending] = []
        """Not sent, in offset order. A list, since most lanes hold one entry: a deque takes 760 bytes."""
        self.is_busy = False
        """A request with records of this lane is in flight."""
        self.is_dropped = False
        """`discard` emptied it; it is on its way out of the queues."""


class Outbox:
    """Holds the entries of one target until they leave, and decides which leave together.

    Entries of one lane leave in the order they were added. Several may share a request, in order;
    a later request of that lane waits for the answer to the earlier one. Between lanes there is no
    order. A lane is a key, a partition, or a single record, by the topic's `ordering`.

    Each lane is in one place at a time: in `_ready`, waiting out a delay, or busy. Lanes that come
    back go to the front, since what they hold is older than the rest.
    """

    def __init__(self, *, max_count: int, max_bytes: int) -> None:
        self.max_count = max_count
        self.max_bytes = max_bytes
        self.unsent = 0
        """Entries held here: ready, delayed, or waiting behind a request of their lane."""
        self._lanes: dict[Hashable, Lane] = {}
        self._ready: deque[Lane] = deque()
        self._delayed: list[tuple[float, int, Lane]] = []
        self._sequence = itertools.count()

    def add(self, pending: Pending, lane_key: Hashable | None) -> None:
        """Append an entry to its lane; a None key makes a lane of its own."""
        lane = self._lanes.get(lane_key) if lane_key is not None else None
        if lane is None:
            lane = Lane(lane_key)
            if lane_key is not None:
                self._lanes[lane_key] = lane
            self._ready.append(lane)
        lane.waiting.append(pending)
        pending.lane = lane
        self.unsent += 1

    def next_batch(self) -> list[Pending]:
        """Take the entries of the next request: oldest first, within count and bytes.

        Empty when nothing may leave now. The lanes taken from are busy until `release`.
        """
        batch: list[Pending] = []
        size_bytes = 0
        limit = self.max_count
        while self._ready and len(batch) < limit:
            lane = self._ready[0]
            taken = 0
            while taken < len(lane.waiting) and len(batch) < limit:
                pending = lane.waiting[taken]
                if batch and (
                    size_bytes + pending.entry.size_bytes > self.max_bytes
                    or pending.batch_limit != batch[0].batch_limit
                ):
                    break
                if pending.batch_limit is not None:
                    limit = min(limit, pending.batch_limit)
                batch.append(pending)
                size_bytes += pending.entry.size_bytes
                taken += 1
            if taken == 0:
                break
            del lane.waiting[:taken]
            lane.is_busy = True
            self._ready.popleft()
            if lane.waiting and len(batch) < limit:
                break
        self.unsent -= len(batch)
        return batch

    def has_full_batch(self) -> bool:
        """Whether so much is ready that waiting would not make the next request fuller."""
        ready = self._ready
        return len(ready) >= self.max_count or (bool(ready) and len(ready[0].waiting) >= self.max_count)

    @property
    def ready_lanes(self) -> int:
        """How many lanes could give an entry to the next request."""
        return len(self._ready)

    @property
    def ready_since_s(self) -> float | None:
        """When the entry that leaves next was added; None when nothing may leave now."""
        return self._ready[0].waiting[0].added_s if self._ready else None

    def release(
        self, batch: Sequence[Pending], *, again: Sequence[Pending], not_before_s: float | None = None
    ) -> None:
        """Free the lanes of an answered request, putting back the entries to send `again`, in order.

        With `not_before_s` the lanes that got an entry back wait until `wake` is called at or
        after that time, and everything behind it in the same lane waits too.
        """
        delayed: set[Lane] = set()
        for pending in reversed(again):
            # A partition may have been taken away meanwhile: its entries are no longer ours to send.
            if pending.track.is_open:
                pending.lane.waiting.insert(0, pending)
                self.unsent += 1
                delayed.add(pending.lane)
        for lane in reversed(dict.fromkeys(pending.lane for pending in batch)):
            lane.is_busy = False
            if not lane.waiting:
                self._forget(lane)
            elif not_before_s is not None and lane in delayed:
                heapq.heappush(self._delayed, (not_before_s, next(self._sequence), lane))
            else:
                self._ready.appendleft(lane)

    def wake(self, now_s: float) -> None:
        """Make ready what has waited out its delay."""
        while self._delayed and self._delayed[0][0] <= now_s:
            self._ready.appendleft(heapq.heappop(self._delayed)[2])

    @property
    def next_wake_s(self) -> float | None:
        """When the earliest delay ends; None when nothing is delayed."""
        return self._delayed[0][0] if self._delayed else None

    def discard(self, is_unwanted: Callable[[Pending], bool]) -> None:
        """Forget unsent entries: of partitions that were taken away, or that a shutdown will not send.

        Within a lane the unwanted ones are always the last, since both rules go by offset.
        """
        unsent = {lane for lane in self._lanes.values() if lane.waiting}
        unsent.update(self._ready, (lane for _, _, lane in self._delayed))
        for lane in unsent:
            while lane.waiting and is_unwanted(lane.waiting[-1]):
                lane.waiting.pop()
                self.unsent -= 1
            if not lane.waiting and not lane.is_busy:
                lane.is_dropped = True
                self._forget(lane)
        self._ready = deque(lane for lane in self._ready if not lane.is_dropped)
        self._delayed = [delay for delay in self._delayed if not delay[2].is_dropped]
        heapq.heapify(self._delayed)

    def _forget(self, lane: Lane) -> None:
        if lane.key is not None:
            del self._lanes[lane.key]
