"""The queue of one target: order, packing, retries, turns of sources. Pure."""

from __future__ import annotations

import heapq
import itertools
import sys
from collections import deque
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from connector import config
from connector.delivery.pending import Gate, Lane, PendingEntry, SourceQueue
from connector.ledger import OffsetTracker
from connector.model import InactivePolicy, Partition

MAX_SOURCES = 10_000
"""Sources remembered; those with nothing waiting make room."""

MAX_READ_AHEAD = 5_000
"""Stop polling once this many lanes are ready, over all sources."""

ROOM_SHARE = 0.5
"""Resume at this fraction of the limit: every pause discards the prefetched records."""


def room_beside(held: float, limit: float) -> float:
    """How much that is not held may be where `limit` is the most for both.

    Never less than a quarter of the limit, as long as no more than the limit is held, and never nothing:
    held records must not keep the others out, and what they take in all must not grow without end.
    """
    return limit - held if held <= limit / 2 else limit * limit / (4 * held)


@dataclass(frozen=True, slots=True)
class Backpressure:
    """Why an entry has to wait outside: so much of its target, or of its source, waits already."""

    reason: Literal["target", "source", "pauses"]
    """`pauses`: its source is paused, or the target."""
    has_room: Callable[[], bool]
    """Whether it may come now."""


@dataclass(frozen=True, slots=True)
class TargetLimits:
    """What one target may hold, waiting or in flight."""

    records: int = sys.maxsize
    record_bytes: int = sys.maxsize
    held_records: int = sys.maxsize
    """Of all sources together that take nothing now, and the next."""
    held_bytes: int = sys.maxsize
    """As EventBridge counts the size of events."""

    @classmethod
    def share(cls, delivery: config.Delivery, *, targets: int) -> TargetLimits:
        """An equal part for each target, so that one that is down leaves the others theirs."""
        records, size_bytes = delivery.max_pending_records // targets, delivery.max_pending_bytes // targets
        is_alone = targets == 1
        return cls(
            records=sys.maxsize if is_alone else max(1, records),  # alone, the ledger's limits are enough
            record_bytes=sys.maxsize if is_alone else size_bytes,
            held_records=max(1, records // 2),
            held_bytes=size_bytes // 2,
        )


class EntryQueue:
    """Holds the entries of one target until they leave, and decides which leave together.

    Entries of one source and lane leave in the order they were added. Several may share a request, in
    order; a later request of that lane waits for the answer to the earlier one. Between lanes there is
    no order. A lane is a key, a partition, or a single record, by the topic's `ordering`.

    Sources take turns, so that none waits for another's backlog: in each turn a source gives as much as
    its equal share of a request, at least one entry. An entry at the head of its source leaves after at
    most one turn of each other source, whatever they have waiting.

    Each lane is in one place at a time: ready, waiting out a delay, or busy. Lanes that come back go to
    the front of their source, since what they hold is older than the rest.
    """

    def __init__(
        self,
        *,
        max_count: int,
        max_bytes: int,
        max_records: int = sys.maxsize,
        max_record_bytes: int = sys.maxsize,
        max_held: int = sys.maxsize,
        max_held_bytes: int = sys.maxsize,
        max_held_in_all: int = sys.maxsize,
        max_held_bytes_in_all: int = sys.maxsize,
        has_many_sources: bool = False,
        on_new_source: Callable[[SourceQueue], None] = lambda _: None,
        on_source_forgotten: Callable[[SourceQueue], None] = lambda _: None,
    ) -> None:
        """`max_records` limits what is here or in flight, `max_held` what one source that is not ACTIVE may
        hold, and `max_held_in_all` what all sources that are closed may hold together.
        """
        self.max_count = max_count
        self.max_bytes = max_bytes
        self.unsent = 0
        """Entries here: ready, delayed, held, or waiting behind a request of their lane."""
        self._inside = 0
        """Entries here or in flight."""
        self._inside_bytes = 0
        """Size of their records and of what was made of these; counted only where it is limited."""
        self.ready_lanes = 0
        """How many lanes could give an entry to the next request."""
        self._max_records = max_records
        self._max_record_bytes = max_record_bytes
        self._counts_bytes = max_record_bytes < sys.maxsize
        self._is_limited = self._counts_bytes or max_records < sys.maxsize
        self._max_held = max_held
        self._max_held_bytes = max_held_bytes
        self._has_many_sources = has_many_sources
        self._max_held_in_all = max_held_in_all
        self._max_held_bytes_in_all = max_held_bytes_in_all
        self._on_new_source = on_new_source
        self._on_source_forgotten = on_source_forgotten
        self._queues: dict[InactivePolicy, dict[str, SourceQueue]] = {
            "hold": {},
            "dead_letter": {},
            "send": {},
        }
        self._ring: deque[SourceQueue] = deque()
        """Sources with something ready, in the order of their turns."""
        self._delayed: list[tuple[float, int, Lane]] = []
        self._resting: list[tuple[float, int, SourceQueue]] = []
        self._held: dict[SourceQueue, tuple[int, int]] = {}
        """Of sources that are closed: entries, and their bytes."""
        self.held_in_all = 0
        self.held_bytes_in_all = 0
        self._sequence = itertools.count()

    def add(
        self, pending: PendingEntry, lane_key: Hashable | None, policy: InactivePolicy = "send"
    ) -> SourceQueue | EntryQueue | None:
        """Append an entry to its lane; a None key makes a lane of its own.

        Returns None when it was taken in, else what is in its way: its source, or all that waits here.
        """
        if self._is_limited and self._fullness >= 1:
            return self
        entry = pending.entry
        queue = self._queues[policy].get(entry.source) or self.meet(entry.source, policy)
        if queue.is_shut:
            if not self._has_room_for(queue):
                return queue
            self._hold(queue, 1, pending.size_bytes)
        lane = queue.lanes.get(lane_key) if lane_key is not None else None
        if lane is None:
            lane = Lane(lane_key, queue)
            if lane_key is not None:
                queue.lanes[lane_key] = lane
            queue.ready.append(lane)
            if queue.is_listed:
                self.ready_lanes += 1
            else:
                self._list(queue)
        lane.waiting.append(pending)
        pending.lane = lane
        self.unsent += 1
        self._inside += 1
        queue.inside += 1
        if self._counts_bytes:
            self._inside_bytes += pending.size_bytes
        return None

    def next_batch(self) -> list[PendingEntry]:
        """Take the entries of the next request: source by source, oldest first, within count and bytes.

        Empty when nothing may leave now. The lanes taken from are busy until `release`.
        """
        batch: list[PendingEntry] = []
        ring = self._ring
        if not ring:
            return batch
        size_bytes = 0
        limit = self.max_count
        turn = -(-limit // len(ring))
        fits = True
        while ring and fits and len(batch) < limit:
            queue = ring[0]
            ready = queue.ready
            before = len(batch)
            quota = min(limit, before + turn)
            while ready and fits and len(batch) < quota:
                lane = ready[0]
                waiting = lane.waiting
                taken = 0
                while taken < len(waiting) and len(batch) < quota:
                    pending = waiting[taken]
                    if batch and (
                        size_bytes + pending.entry.size_bytes > self.max_bytes
                        or pending.batch_limit != batch[0].batch_limit
                    ):
                        fits = False
                        break
                    if pending.batch_limit is not None:
                        limit = min(limit, pending.batch_limit)
                        quota = min(quota, limit)
                    batch.append(pending)
                    size_bytes += pending.entry.size_bytes
                    taken += 1
                if taken:
                    del waiting[:taken]
                    lane.is_busy = True
                    del ready[0]
                    self.ready_lanes -= 1
            if not ready:
                ring.popleft()
                queue.is_listed = False
            elif len(batch) > before:
                ring.rotate(-1)
        self.unsent -= len(batch)
        return batch

    def has_full_batch(self) -> bool:
        """Whether so much is ready that waiting would not make the next request fuller."""
        return self.ready_lanes >= self.max_count or (
            bool(self._ring) and len(self._ring[0].ready[0].waiting) >= self.max_count
        )

    @property
    def ready_since_s(self) -> float | None:
        """When the entry that leaves next was added; None when nothing may leave now."""
        return self._ring[0].ready[0].waiting[0].added_s if self._ring else None

    def release(
        self,
        batch: Sequence[PendingEntry],
        *,
        again: Sequence[PendingEntry],
        not_before_s: float | None = None,
    ) -> None:
        """Free the lanes of an answered request, putting back the entries to send `again`, in order.

        With `not_before_s` the lanes that got an entry back wait until `wake` is called at or
        after that time, and everything behind it in the same lane waits too.
        """
        delayed: set[Lane] = set()
        self._enter(batch, -1)
        for pending in reversed(again):
            # A partition may have been taken away meanwhile: its entries are no longer ours to send.
            if pending.tracker.is_open:
                lane = pending.lane
                lane.waiting.insert(0, pending)
                self.unsent += 1
                self._enter([pending], 1)
                if lane.queue in self._held:
                    self._hold(lane.queue, 1, pending.size_bytes)
                delayed.add(lane)
        for lane in reversed(dict.fromkeys(pending.lane for pending in batch)):
            lane.is_busy = False
            if not lane.waiting:
                self._forget(lane)
            elif not_before_s is not None and lane in delayed:
                heapq.heappush(self._delayed, (not_before_s, next(self._sequence), lane))
            else:
                self._put_first(lane)

    def wake(self, now_s: float) -> None:
        """Make ready what has waited out its delay."""
        while self._delayed and self._delayed[0][0] <= now_s:
            self._put_first(heapq.heappop(self._delayed)[2])
        while self._resting and self._resting[0][0] <= now_s:
            until_s, _, queue = heapq.heappop(self._resting)
            if queue.rest_until_s == until_s:
                queue.rest_until_s = None
                self._close_or_open(queue)

    @property
    def next_wake_s(self) -> float | None:
        """When the earliest delay ends; None when nothing is delayed."""
        ends_s = [line[0][0] for line in (self._delayed, self._resting) if line]
        return min(ends_s, default=None)

    def discard(self, is_unwanted: Callable[[PendingEntry], bool]) -> list[PendingEntry]:
        """Forget unsent entries, and return them: of partitions that were taken away, or that a shutdown
        will not send.

        Within a lane the unwanted ones are always the last, since these rules go by offset.
        """
        return self._drop(self._lanes(self._all_queues()), is_unwanted) if self.unsent else []

    def discard_waiting(self, trackers: Container[OffsetTracker]) -> list[PendingEntry]:
        """The same for what some partitions have waiting for their next attempt, or for their source."""
        waiting = self._lanes(self._held) | {lane for _, _, lane in self._delayed}
        return self._drop(waiting, lambda pending: pending.tracker in trackers)

    def entries(self) -> Iterator[PendingEntry]:
        """Every unsent entry."""
        return (pending for lane in self._lanes(self._all_queues()) for pending in lane.waiting)

    def heads(self) -> Iterator[PendingEntry]:
        """The oldest unsent entry of each lane."""
        lanes = [lane for _, _, lane in self._delayed if lane.key is None]
        for queue in self._all_queues():
            if queue.inside:
                lanes += queue.lanes.values()
                lanes += [lane for lane in queue.ready if lane.key is None]
        return (lane.waiting[0] for lane in lanes if lane.waiting)

    # Sources

    def waiting(self, queue: SourceQueue) -> Iterator[PendingEntry]:
        """Every unsent entry of one source."""
        return (pending for lane in self._lanes([queue]) for pending in lane.waiting)

    def waits_from(self, queues: Iterable[SourceQueue]) -> dict[Partition, int]:
        """The lowest offset of each partition that these sources have waiting."""
        lowest: dict[Partition, int] = {}
        for lane in self._lanes(queues):
            record = lane.waiting[0].record
            lowest[record.partition] = min(lowest.get(record.partition, record.offset), record.offset)
        return lowest

    def meet(self, source: str, policy: InactivePolicy) -> SourceQueue:
        """The queue of a source, made where there is none yet."""
        queues = self._queues[policy]
        queue = queues.get(source)
        if queue is None:
            if len(queues) >= MAX_SOURCES:
                self._make_room(queues)
            queue = queues[source] = SourceQueue(source, policy)
            self._on_new_source(queue)
        return queue

    def queues_of(self, source: str) -> list[SourceQueue]:
        """The queues of one source: one for each policy that has met it."""
        return [queues[source] for queues in self._queues.values() if source in queues]

    def set_gate(self, queue: SourceQueue, gate: Gate) -> list[PendingEntry]:
        """Say whether what waits for a source may leave; returns what was waiting when it is REFUSED.

        What a request carries at this moment is not touched.
        """
        queue.gate = gate
        self._close_or_open(queue)
        if gate is not Gate.REFUSED or not self.held(queue):
            return []
        return sorted(self._drop(self._lanes([queue]), lambda _: True), key=lambda p: p.record.offset)

    def take_out(self, queue: SourceQueue, is_unwanted: Callable[[PendingEntry], bool]) -> list[PendingEntry]:
        """Forget unsent entries of one source, wherever they are in their lanes, and return them."""
        lanes = self._lanes([queue])
        for lane in lanes:
            lane.waiting.sort(key=is_unwanted)  # stable, so that the others keep their order
        return self._drop(lanes, is_unwanted)

    def rest(self, queue: SourceQueue, until_s: float) -> None:
        """Let one source sit out its turns, since it fails; the others go on."""
        queue.rests += 1
        queue.rest_until_s = until_s
        heapq.heappush(self._resting, (until_s, next(self._sequence), queue))
        self._close_or_open(queue)

    def end_rest(self, queue: SourceQueue) -> None:
        """Give a source its turns again, as if it had never rested."""
        queue.rests = 0
        queue.rest_until_s = None
        self._close_or_open(queue)

    def has_much(self, batches: int) -> bool:
        """Whether so many full requests are ready that reading on would not make sending any faster.

        Where there are several sources, those that have much must not keep the others from being read:
        then that is only once there is as much as is read ahead at most.
        """
        return self.ready_lanes >= batches * self.max_count and (
            self.ready_lanes >= MAX_READ_AHEAD or not self._has_many_sources
        )

    @property
    def is_behind_gates(self) -> bool:
        """Whether everything unsent is of sources whose gates are closed."""
        return self.held_in_all == self.unsent and not any(
            held and not queue.gate for queue, (held, _) in self._held.items()
        )

    @property
    def has_closed_gates(self) -> bool:
        """Whether something is held behind the gate of its source, rather than resting."""
        return any(held and queue.gate for queue, (held, _) in self._held.items())

    @property
    def inside(self) -> tuple[int, int]:
        """Entries here or in flight, and their bytes where these are limited."""
        return self._inside, self._inside_bytes

    def held(self, queue: SourceQueue) -> int:
        """How many entries of a source are held."""
        return self._held.get(queue, (0, 0))[0]

    @property
    def has_room(self) -> bool:
        """Whether partitions that paused for lack of room may resume."""
        return self._fullness <= ROOM_SHARE

    @property
    def _fullness(self) -> float:
        """Which share is taken of what may be here or in flight besides what is held."""
        held, held_bytes = self.held_in_all, self.held_bytes_in_all
        fullness = (self._inside - held) / room_beside(held, self._max_records)
        if not self._counts_bytes:
            return fullness
        return max(
            fullness, (self._inside_bytes - held_bytes) / room_beside(held_bytes, self._max_record_bytes)
        )

    def may_come(self, queue: SourceQueue) -> bool:
        """The same for one source; also for what will be refused at once."""
        known = self._queues[queue.policy].get(queue.source)
        return (
            known is None  # it was forgotten meanwhile, and is met anew
            or not known.is_shut
            or known.gate is Gate.REFUSED
            or self._has_room_for(known, share=ROOM_SHARE)
        )

    def _has_room_for(self, queue: SourceQueue, *, share: float = 1.0) -> bool:
        """Whether one more entry of a closed source may wait here."""
        if queue.gate is Gate.REFUSED:
            return False
        held, held_bytes = self._held[queue]
        has_room_of_its_own = (
            queue.gate is Gate.OPEN  # it rests: for that none of its records is ever dead-lettered
            or (held < self._max_held * share and held_bytes < self._max_held_bytes * share)
        )
        return (
            has_room_of_its_own
            and self.held_in_all < self._max_held_in_all * share
            and self.held_bytes_in_all < self._max_held_bytes_in_all * share
        )

    def _hold(self, queue: SourceQueue, count: int, size_bytes: int) -> None:
        held, held_bytes = self._held.get(queue, (0, 0))
        self._held[queue] = (held + count, held_bytes + size_bytes)
        self.held_in_all += count
        self.held_bytes_in_all += size_bytes

    def _close_or_open(self, queue: SourceQueue) -> None:
        """Bring turns and counts in line with the gate, and with whether it rests."""
        was_shut, queue.is_shut = queue.is_shut, bool(queue.gate) or queue.rest_until_s is not None
        if queue.is_shut and not was_shut:
            self._unlist(queue)
            waiting = [pending for lane in self._lanes([queue]) for pending in lane.waiting]
            self._hold(queue, len(waiting), sum(pending.size_bytes for pending in waiting))
        elif was_shut and not queue.is_shut:
            self._hold_nothing(queue)
            self._list(queue)

    def _hold_nothing(self, queue: SourceQueue) -> None:
        self._hold(queue, *(-part for part in self._held.get(queue, (0, 0))))
        del self._held[queue]

    def _make_room(self, queues: dict[str, SourceQueue]) -> None:
        """Forget the half of the sources with nothing here that were met first."""
        idle = [queue for queue in queues.values() if not queue.inside and not queue.rests]
        for queue in idle[: len(idle) // 2 + 1]:
            del queues[queue.source]
            if queue.is_shut:
                self._hold_nothing(queue)
            self._on_source_forgotten(queue)

    def _all_queues(self) -> Iterator[SourceQueue]:
        return itertools.chain.from_iterable(queues.values() for queues in self._queues.values())

    # Turns

    def _list(self, queue: SourceQueue) -> None:
        if queue.ready and not (queue.is_listed or queue.is_shut):
            queue.is_listed = True
            self._ring.append(queue)
            self.ready_lanes += len(queue.ready)

    def _unlist(self, queue: SourceQueue) -> None:
        if queue.is_listed:
            queue.is_listed = False
            self._ring.remove(queue)
            self.ready_lanes -= len(queue.ready)

    def _put_first(self, lane: Lane) -> None:
        queue = lane.queue
        queue.ready.insert(0, lane)
        if queue.is_listed:
            self.ready_lanes += 1
        else:
            self._list(queue)

    def _lanes(self, queues: Iterable[SourceQueue]) -> set[Lane]:
        """All lanes of these sources that have something waiting."""
        chosen = set(queues)
        lanes = {lane for queue in chosen for lane in (*queue.lanes.values(), *queue.ready) if lane.waiting}
        lanes.update(lane for _, _, lane in self._delayed if lane.queue in chosen)
        return lanes

    def _drop(self, lanes: Iterable[Lane], is_unwanted: Callable[[PendingEntry], bool]) -> list[PendingEntry]:
        dropped: list[PendingEntry] = []
        touched: set[SourceQueue] = set()
        for lane in lanes:
            while lane.waiting and is_unwanted(lane.waiting[-1]):
                dropped.append(lane.waiting.pop())
                size_bytes = dropped[-1].size_bytes
                self.unsent -= 1
                self._enter(dropped[-1:], -1)
                if lane.queue in self._held:
                    self._hold(lane.queue, -1, -size_bytes)
            if not lane.waiting and not lane.is_busy:
                lane.is_dropped = True
                touched.add(lane.queue)
                self._forget(lane)
        for queue in touched:
            self._unlist(queue)
            queue.ready = [lane for lane in queue.ready if not lane.is_dropped]
            self._list(queue)
        self._delayed = [delay for delay in self._delayed if not delay[2].is_dropped]
        heapq.heapify(self._delayed)
        return dropped

    def _enter(self, entries: Sequence[PendingEntry], sign: int) -> None:
        self._inside += sign * len(entries)
        for pending in entries:
            pending.lane.queue.inside += sign
        if self._counts_bytes:
            self._inside_bytes += sign * sum(pending.size_bytes for pending in entries)

    def _forget(self, lane: Lane) -> None:
        if lane.key is not None:
            del lane.queue.lanes[lane.key]
