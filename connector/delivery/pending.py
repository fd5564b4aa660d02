"""An entry that waits, the lane that keeps it in order, and the queue of its source. Pure values."""

from __future__ import annotations

from collections.abc import Hashable
from enum import IntEnum

from connector.ledger import OffsetTracker
from connector.model import Entry, InactivePolicy, LastDelivery, Record


class PendingEntry:
    """A record on its way to EventBridge, with what must be remembered about it until it is settled."""

    __slots__ = (
        "added_s",
        "attempts",
        "batch_limit",
        "entry",
        "event_id",
        "failed_at",
        "failing_from_s",
        "first_failure_ms",
        "lane",
        "record",
        "tracker",
        "tries",
    )

    lane: Lane
    only_if_active = False
    """Not to be sent to a source of which nothing is known."""

    def __init__(
        self, record: Record, tracker: OffsetTracker, entry: Entry, now_s: float, event_id: str = ""
    ) -> None:
        self.record = record
        self.tracker = tracker
        self.entry = entry
        self.added_s = now_s
        self.event_id = event_id
        """Ours, the same at every delivery of the record."""
        self.attempts = 0
        """Failed attempts that say something against this record."""
        self.tries = 0
        """All failed attempts, counted or not; spaces out the next one."""
        self.failing_from_s: float | None = None
        """When it first failed while others were accepted, on the clock of `Failures`."""
        self.batch_limit: int | None = None
        """How many entries may share a request with this one; None for as many as allowed. Falls
        by half with every refused request it was part of, until the culprit is alone."""
        self.first_failure_ms: int | None = None
        self.failed_at: int | None = None
        """How many `Failures.acceptances` there were when it last failed."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the record, and of the event made of it."""
        return self.record.size_bytes + self.entry.memory_bytes


class Gate(IntEnum):
    """Whether the entries of a source may leave."""

    OPEN = 0
    HELD = 1
    """They wait, in order, up to a limit."""
    REFUSED = 2
    """They are not taken in."""
    PAUSED = 3
    """They are held because you paused their source, or its target: none is dead-lettered for that."""


class SourceQueue:
    """The unsent entries of one source, and whether they may leave.

    Topics that treat an inactive source differently have a queue each for it, one a policy.
    """

    __slots__ = (
        "delivered",
        "delivered_bytes",
        "fails_alone",
        "gate",
        "inside",
        "is_listed",
        "is_shut",
        "lanes",
        "last_delivery",
        "more_chunks",
        "policy",
        "ready",
        "rest_until_s",
        "rests",
        "source",
        "taken_at",
    )  # fmt: skip

    def __init__(self, source: str, policy: InactivePolicy) -> None:
        self.source = source
        self.policy = policy
        self.gate = Gate.OPEN
        self.inside = 0
        """Entries here or in flight."""
        self.lanes: dict[Hashable, Lane] = {}
        self.ready: list[Lane] = []
        """Lanes that could give an entry to a request. A list, since most sources have few: an empty deque
        takes 760 bytes, and there may be thousands of sources."""
        self.is_listed = False
        """It has its turns."""
        self.is_shut = False
        """Nothing of it leaves: its gate is closed, or it rests."""
        self.rest_until_s: float | None = None
        """It sits out its turns, because this source fails."""
        self.rests = 0
        """Rests in a row."""
        self.fails_alone = False
        """It took nothing since it failed while others were accepted."""
        self.delivered = 0
        self.delivered_bytes = 0
        """Size of these events, as EventBridge counts it."""
        self.last_delivery: LastDelivery | None = None
        self.more_chunks = 0
        """Chunks that AWS bills of what was delivered, beyond one for each event."""
        self.taken_at = 0
        """Which of `Failures.acceptances` last took an event of it."""


class Lane:
    """Records that must arrive one after the other; at most one request carries them at a time."""

    __slots__ = ("is_busy", "is_dropped", "key", "queue", "waiting")

    def __init__(self, key: Hashable | None, queue: SourceQueue) -> None:
        self.key = key
        self.queue = queue
        self.waiting: list[PendingEntry] = []
        """Not sent, in offset order. A list, as `SourceQueue.ready`."""
        self.is_busy = False
        """A request with records of this lane is in flight."""
        self.is_dropped = False
        """`discard` emptied it; it is on its way out of the queues."""
