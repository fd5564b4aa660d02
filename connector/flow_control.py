"""Flow control: which partitions are paused, why, and which stay paused although nothing explains it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from connector import config
from connector.delivery.queue import room_beside
from connector.delivery.sender import TargetSender
from connector.ledger import Ledger, OffsetTracker
from connector.model import Partition, Pause, Record
from connector.telemetry.metrics import PauseReason

STUCK_S = 30.0
"""A partition that is paused for so long, without progress and without a reason outside, is stuck."""

RESUME_SHARE = 0.5
"""Partitions that were paused because too much was pending go on once what is left for one target fell to
this share. Resuming at once would pause again after one poll, and each pause throws away what was
prefetched."""

SHORT_STALL_S = 1.0
"""A partition that has been stalled for longer may wait for the next idle pass of the loop. Asking every few
ms whether it can go on would cost a tenth of a core for the whole outage."""


WHY_FULL: Mapping[PauseReason, str] = {
    "pending": "as much is read and not settled as may be; it goes on when half of that is settled",
    "target": "a target is down, and as much is read and not settled as may be",
    "dead_letter": "the dead-letter topic takes nothing, and as much is read and not settled as may be",
}
"""What a partition waits for that is paused with all others."""


@dataclass(slots=True)
class PausedPartition:
    """Why a partition cannot go on, and what was polled from it and not worked on, in order."""

    reason: PauseReason
    may_go_on: Callable[[], bool]
    text: str
    """The reason in a sentence, with what it waits for."""
    since_s: float
    sender: TargetSender | None = None
    """Where there is no room, if that is what it waits for."""
    records: deque[tuple[Record, OffsetTracker]] = field(default_factory=deque)

    @property
    def is_of_topic(self) -> bool:
        """Whether its topic is paused, so that perhaps nothing of it was polled."""
        return self.reason == "pauses" and self.sender is None


class FlowControl:
    """Pauses partitions whose next record cannot go on, and all of them while too much is pending."""

    def __init__(
        self,
        delivery: config.Delivery,
        *,
        ledger: Ledger,
        senders: Collection[TargetSender],
        registry_problem: Callable[[], str | None],
        dead_letter_problem: Callable[[], str | None],
    ) -> None:
        """The problems say in a sentence why schemas, or acknowledgements of dead letters, do not come."""
        self._ledger = ledger
        self._senders = senders
        self._registry_problem = registry_problem
        self._dead_letter_problem = dead_letter_problem
        self._records_each = delivery.max_pending_records / len(senders)
        self._bytes_each = delivery.max_pending_bytes / len(senders)
        self.stalled: dict[Partition, PausedPartition] = {}
        """Partitions whose next record cannot be worked on now: its schema cannot be had, or there is no
        room for more of its target or source."""
        self.excluded: set[Partition] = set()
        """Assigned, but not to be read."""
        self.is_full = False
        """Too much is pending to read on."""
        self._pauses = Pauses()
        self._pause_of: Callable[[str], Pause | None] = lambda _: None
        self._paused_topics: set[str] = set()
        """Those of the topics that are or were assigned since the pauses last changed."""
        self._fresh: set[Partition] = set()
        """Assigned since the last `change`. librdkafka keeps a partition paused from one assignment to the
        next, so one that was revoked while paused comes back so, and would be stuck."""

    def assigned(self, partition: Partition, now_s: float) -> None:
        """Resume this partition with the next `change`, in case an earlier assignment left it paused.

        Not so where its topic is paused: what the poll brings that assigned it waits.
        """
        self._fresh.add(partition)
        self._stall_if_paused(partition, now_s)

    def pause_topics(self, pause_of: Callable[[str], Pause | None], now_s: float) -> None:
        """Pause the partitions of these topics, and of no others.

        What was handed to a sender goes on. What was read and not worked on waits, with the rest behind it.
        """
        self._pause_of = pause_of
        self._paused_topics.clear()
        for partition in self._ledger.trackers:
            self._stall_if_paused(partition, now_s)

    def _stall_if_paused(self, partition: Partition, now_s: float) -> None:
        if (pause := self._pause_of(topic := partition.topic)) is None:
            return
        self._paused_topics.add(topic)
        text = f"the topic {topic} is {pause}"
        stalled = self.stalled.get(partition)
        if stalled is not None and stalled.is_of_topic:
            stalled.text = text
            return
        self.stalled[partition] = PausedPartition(
            "pauses",
            lambda: topic not in self._paused_topics,
            text,
            now_s,
            records=deque() if stalled is None else stalled.records,
        )

    def forget(self, partitions: Collection[Partition]) -> None:
        """Drop all state of partitions that were taken away."""
        for partition in partitions:
            self.stalled.pop(partition, None)
            self._pauses.forget(partition)
            self._fresh.discard(partition)
            self.excluded.discard(partition)

    # Stalls

    def stall(self, record: Record, tracker: OffsetTracker, paused: PausedPartition) -> None:
        """Stop a partition at this record; what comes after it waits behind it."""
        paused.records.append((record, tracker))
        self.stalled[record.partition] = paused

    def retry(self, convert: Callable[[Record, OffsetTracker], None]) -> None:
        """Convert the records of partitions that may go on, until one of them stalls its partition again."""
        for partition, paused in list(self.stalled.items()):
            if not paused.may_go_on():
                continue
            del self.stalled[partition]
            first = paused.records[0] if paused.records else None
            while paused.records and partition not in self.stalled:
                convert(*paused.records.popleft())
            if (again := self.stalled.get(partition)) is not None:
                if first is not None and again.records[0][0] is first[0]:  # it got no further
                    again.since_s = paused.since_s
                again.records.extend(paused.records)

    def has_short_stall(self, now_s: float) -> bool:
        """Whether a partition stalled a moment ago, and may go on at any moment."""
        return any(now_s - paused.since_s < SHORT_STALL_S for paused in self.stalled.values())

    def stalls(self, now_s: float) -> dict[Partition, tuple[float, str]]:
        """For how many seconds each stalled partition waits, and for what."""
        return {
            partition: (now_s - paused.since_s, paused.text) for partition, paused in self.stalled.items()
        }

    def held_by_pauses(self) -> set[Partition]:
        """Partitions that do not get on for a pause: nothing is read, or the commit waits for a record of
        a paused source.
        """
        paused = {partition for partition, stalled in self.stalled.items() if stalled.reason == "pauses"}
        for sender in self._senders:
            for partition, offset in sender.source_gate.paused_from().items():
                tracker = self._ledger.trackers.get(partition)
                if tracker is not None and tracker.committable == offset:
                    paused.add(partition)
        return paused

    def waits_for(self, sender: TargetSender) -> bool:
        """Whether a partition is paused for want of room in a target."""
        return self.is_full or any(paused.sender is sender for paused in self.stalled.values())

    # Pausing

    def change(self) -> tuple[Collection[Partition], Collection[Partition]]:
        """Which partitions are to be paused now, and which to be resumed."""
        was_full = self.is_full
        self.is_full = self._fullness() >= (RESUME_SHARE if was_full else 1.0)
        if (
            self.is_full == was_full
            and not self.stalled
            and not self._fresh
            and self._pauses.reasons.keys() == self.excluded
        ):
            return (), ()
        wanted: dict[Partition, PauseReason] = dict.fromkeys(self.excluded, "excluded")
        if self.is_full:
            wanted.update(dict.fromkeys(self._ledger.trackers, self._why_full()))
        wanted.update((partition, paused.reason) for partition, paused in self.stalled.items())
        changes = self._pauses.change(wanted, self._fresh)
        self._fresh.clear()
        return changes

    def _fullness(self) -> float:
        """Which share is taken of what may be pending, of the target that has most room left."""
        # What waits outside for room must not fill what the others need. It is no more than one poll brought
        # of each partition. Nor must what is held, for which `TargetLimits` leave room.
        stalled = [record.size_bytes for paused in self.stalled.values() for record, _ in paused.records]
        # Each target counts by itself: one that has its share full is no reason to stop those that have
        # room. What is in none of them, as dead letters in flight, counts for each.
        inside = [sender.inside for sender in self._senders]
        others = self._ledger.pending_records - len(stalled) - sum(records for records, _ in inside)
        others_bytes = self._ledger.pending_bytes - sum(stalled) - sum(size_bytes for _, size_bytes in inside)
        return min(
            max(
                (others + records - sender.held) / room_beside(sender.held, self._records_each),
                (others_bytes + size_bytes - sender.held_bytes)
                / room_beside(sender.held_bytes, self._bytes_each),
            )
            for sender, (records, size_bytes) in zip(self._senders, inside, strict=True)
        )

    def _why_full(self) -> PauseReason:
        if any(sender.is_down for sender in self._senders):
            return "target"
        return "dead_letter" if self._dead_letter_problem() else "pending"

    # For an operator

    def paused(self) -> Mapping[PauseReason, int]:
        """How many partitions are paused for each reason."""
        return self._pauses.counts()

    def why_paused(self, partition: Partition) -> tuple[PauseReason, str] | None:
        """Why nothing is read from a partition: a word, and a sentence; None where it is read."""
        reason = self._pauses.reasons.get(partition)
        if reason is None:
            return None
        stalled = self.stalled.get(partition)
        return reason, stalled.text if stalled is not None else WHY_FULL.get(reason, reason)

    def problem(self, now_s: float) -> str | None:
        """Which partitions are stuck, in a sentence; None when none is. To be asked every second or so."""
        held_up = {sender for sender in self._senders if sender.is_held_up(now_s)}

        def progress(partition: Partition, reason: PauseReason) -> int | None:
            paused = self.stalled.get(partition)
            sender = paused.sender if paused else None
            is_explained = (
                reason == "excluded"
                or (reason == "pauses" and sender is None)
                or (reason in {"source", "pauses"} and sender is not None and sender.is_holding)
                or (reason == "schema_registry" and self._registry_problem() is not None)
                or self._dead_letter_problem() is not None
                or (sender in held_up if sender else bool(held_up))
            )
            if is_explained:
                return None
            return sender.settled if sender else self._ledger.settled_records

        return self._pauses.problem(now_s, progress)


class Pauses:
    """The partitions that are paused at this moment."""

    def __init__(self) -> None:
        self.reasons: dict[Partition, PauseReason] = {}
        self._unmoved: dict[Partition, tuple[float, int]] = {}
        """Paused without a reason outside: since when what each waits for does not move, and where it is."""

    def change(
        self, wanted: Mapping[Partition, PauseReason], fresh: Collection[Partition]
    ) -> tuple[set[Partition], set[Partition]]:
        """Pause these from now on, and no others; returns which are to be paused, and which to be resumed.

        Of `fresh` ones it is not known whether they are paused.
        """
        pause = wanted.keys() - self.reasons.keys()
        resume = (self.reasons.keys() | set(fresh)) - wanted.keys()
        self.reasons = dict(wanted)
        return pause, resume

    def forget(self, partition: Partition) -> None:
        """Drop a partition that was taken away."""
        self.reasons.pop(partition, None)
        self._unmoved.pop(partition, None)

    def counts(self) -> Mapping[PauseReason, int]:
        """How many are paused for each reason."""
        return Counter(self.reasons.values())

    def problem(self, now_s: float, progress: Callable[[Partition, PauseReason], int | None]) -> str | None:
        """Say which partitions are stuck, in a sentence; None when none is. To be asked every second or so.

        `progress` counts what a partition waits for, and is None where something outside explains its pause.
        """
        unmoved: dict[Partition, tuple[float, int]] = {}
        for partition, reason in self.reasons.items():
            if (count := progress(partition, reason)) is not None:
                since_s, before = self._unmoved.get(partition, (now_s, count))
                unmoved[partition] = (since_s if count == before else now_s, count)
        self._unmoved = unmoved
        stuck = {p: since_s for p, (since_s, _) in unmoved.items() if now_s - since_s > STUCK_S}
        if not stuck:
            return None
        first = min(stuck, key=lambda partition: (stuck[partition], partition))
        more = f", and {len(stuck) - 1} more" if len(stuck) > 1 else ""
        return (
            f"{first} has been paused for {now_s - stuck[first]:.0f} s ({self.reasons[first]}){more}: "
            "nothing outside explains it, and what it waits for does not move. That is a bug of the bridge: "
            "restart it, which loses nothing, and report it"
        )
