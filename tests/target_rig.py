"""The gate and queue of one target without its sender: the test brings the news, and moves the clock."""

from __future__ import annotations

from typing import NamedTuple

from connector.delivery.pending import Gate, PendingEntry, SourceQueue
from connector.delivery.queue import EntryQueue
from connector.delivery.source_gate import SourceGate
from connector.errors import RefusedError
from connector.ledger import OffsetTracker
from connector.model import Entry, InactivePolicy, Partition, Record, SourceReport, SourceState, SourceStatus
from connector.telemetry.metrics import Telemetry

P0 = Partition("orders", 0)
START_S = 1_000.0
ACTIVE, PENDING = SourceStatus("ACTIVE"), SourceStatus("PENDING")
DENIED = SourceStatus("UNKNOWN", reason="AccessDeniedException", is_denied=True)
NO_ANSWER = SourceStatus("UNKNOWN", reason="no lookup of it was answered in time")


class ScriptedFeed:
    """Brings the news that it was given, and remembers what it was asked."""

    def __init__(self) -> None:
        self.news: list[tuple[str, SourceStatus, float]] = []
        self.followed: list[tuple[str, bool]] = []
        """Each source that was asked for, and whether only a later lookup counts."""
        self.forgotten: list[str] = []
        self.stepped_s: list[float] = []
        self.postponed_s: list[float] = []
        self.next_lookup_s: dict[float, float] = {}
        """At which moment it says when the next lookup starts."""
        self.is_looking_up = False
        self.max_age_s = float("inf")
        self.trouble: tuple[float, str] | None = None

    def follow(self, name: str, *, anew: bool = False) -> None:
        self.followed.append((name, anew))

    def forget(self, name: str) -> None:
        self.forgotten.append(name)

    def step(self, now_s: float) -> list[tuple[str, SourceStatus, float]]:
        self.stepped_s.append(now_s)
        news, self.news = self.news, []
        return news

    def postpone(self, now_s: float) -> None:
        self.postponed_s.append(now_s)

    def next_s(self, now_s: float) -> float | None:
        return self.next_lookup_s.get(now_s)


class Change(NamedTuple):
    """A call of `source_changed`."""

    target: str
    source: str
    was: SourceState
    now: SourceStatus
    unsure: int


class Changes(Telemetry):
    """Records the changes of sources."""

    def __init__(self) -> None:
        self.all: list[Change] = []

    def source_changed(
        self, target: str, source: str, *, was: SourceState, now: SourceStatus, unsure: int
    ) -> None:
        self.all.append(Change(target, source, was, now, unsure))


class OnlyIfActive(PendingEntry):
    """An entry that was dropped once already: a guess is not enough for it."""

    only_if_active = True


class TargetRig:
    """The gate of a target named `far`, with its queue, and the entries that were turned away."""

    def __init__(self, *, sends_unseen: bool = True, max_refusals: int | None = None) -> None:
        self.state_feed = ScriptedFeed()
        self.changes = Changes()
        self.gate = SourceGate(
            "far",
            state_feed=self.state_feed,
            telemetry=self.changes,
            sends_unseen=sends_unseen,
            max_refusals=max_refusals,
        )
        self.queue = EntryQueue(
            max_count=20,
            max_bytes=10_000,
            on_new_source=self.gate.meet,
            on_source_forgotten=self.gate.forgotten,
        )
        self.gate.attach(self.queue)
        self.now_s = START_S

    def meet(self, source: str = "blue", policy: InactivePolicy = "hold") -> SourceQueue:
        return self.queue.meet(source, policy)

    def met(self, seen: SourceStatus, source: str = "blue", policy: InactivePolicy = "hold") -> SourceQueue:
        """A source that was met, and looked up."""
        queue = self.meet(source, policy)
        self.hear(seen, source=source)
        return queue

    def hear(
        self, *news: SourceStatus, source: str = "blue", began_s: float | None = None
    ) -> list[tuple[PendingEntry, RefusedError]]:
        """The next step brings this news; returns the entries that are turned away."""
        began_s = self.now_s if began_s is None else began_s
        self.state_feed.news += [(source, seen, began_s) for seen in news]
        return self.gate.step(self.now_s)

    def wait(self, seconds: float, *, is_down: bool = False) -> list[tuple[PendingEntry, RefusedError]]:
        self.now_s += seconds
        return self.gate.step(self.now_s, is_down=is_down)

    def put(
        self, *offsets: int, to: SourceQueue, kind: type[PendingEntry] = PendingEntry
    ) -> list[PendingEntry]:
        """Entries that wait for a source."""
        entries = []
        for offset in offsets:
            record = Record(P0, offset, None, None, None, ())
            entries.append(kind(record, OffsetTracker(P0), Entry(to.source, "d", b"{}", 1), self.now_s))
            assert self.queue.add(entries[-1], None, to.policy) is None
        return entries

    def report(self, source: str = "blue") -> SourceReport:
        return {each.source: each for each in self.gate.standings()}[source]


def gate_of(queue: SourceQueue) -> Gate:
    """Its gate at this moment."""
    return queue.gate
