"""Scripted stand-ins for the three things the bridge talks to, as careful as the real ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence

from connector.bridge import Bridge
from connector.dead_letters.format import Failure
from connector.delivery.pending import PendingEntry
from connector.errors import DeadLetterError
from connector.ledger import Ack
from connector.model import Answer, Delivered, Entry, Outcome, Partition, Record, SourceState, SourceStatus

POLL_S = 0.005
"""What one empty-handed look costs, on the scripted clock."""


class FakeClock:
    """A monotonic clock that stands still until somebody waits."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class FakeStateFeed:
    """Sees every source in the state it was told, ACTIVE otherwise, with the next step."""

    is_looking_up = False

    def __init__(self) -> None:
        self.states: dict[str, SourceState] = {}
        self.followed: set[str] = set()
        self.is_blind = False
        """While set, no lookup is answered."""
        self.max_age_s = float("inf")
        self.postponed = 0
        """How often nobody's patience was to end."""
        self.trouble: tuple[float, str] | None = None
        self.asked: list[str] = []
        """Every source that a lookup was asked for, again for each time."""
        self.asked_anew: list[str] = []
        """Those of them for which no lookup counts that was in flight already."""
        self.began_s: float | None = None
        """When the lookups began that the next steps bring; None for those steps."""
        self._asked: list[str] = []
        self._said: list[tuple[str, SourceStatus]] = []

    def follow(self, name: str, *, anew: bool = False) -> None:
        self.followed.add(name)
        self.asked.append(name)
        if anew:
            self.asked_anew.append(name)
        if name not in self._asked:
            self._asked.append(name)

    def forget(self, name: str) -> None:
        self.followed.discard(name)

    def change(self, name: str, state: SourceState) -> None:
        """The next lookup finds this source in another state."""
        self.states[name] = state
        if name in self.followed:
            self._asked.append(name)

    def say(self, name: str, seen: SourceStatus) -> None:
        """The next step brings this news."""
        self._said.append((name, seen))

    def step(self, now_s: float) -> list[tuple[str, SourceStatus, float]]:
        began_s = now_s if self.began_s is None else self.began_s
        said, self._said = [(name, seen, began_s) for name, seen in self._said], []
        if self.is_blind:
            return said
        asked, self._asked = self._asked, []
        seen = [
            (name, SourceStatus(self.states.get(name, "ACTIVE")), began_s)
            for name in asked
            if name in self.followed
        ]
        return said + seen

    def postpone(self, now_s: float) -> None:
        self.postponed += 1

    def next_s(self, now_s: float) -> float | None:
        return None


Judge = Callable[[Sequence[Entry]], Answer]
"""Decides the answer to one request."""


def accept(entries: Sequence[Entry]) -> Answer:
    """EventBridge on a good day."""
    return outcomes([Delivered(f"id-{i}") for i in range(len(entries))])


def outcomes(results: Sequence[Outcome]) -> Answer:
    return Answer(results, error=None, request_id="request-1", seconds=0.01)


class FakeConsumer:
    """A topic in memory that is read by one member; honours pause, and keeps what was committed."""

    def __init__(self, bridge: Bridge, clock: FakeClock) -> None:
        self.bridge = bridge
        self._clock = clock
        self.records: dict[Partition, deque[Record]] = {}
        self.paused: set[Partition] = set()
        self.committed: dict[Partition, int] = {}
        self.commit_error: str | None = None
        self.problem: str | None = None
        self.polls = 0
        self.on_poll: Callable[[int], None] = lambda _: None
        """Called with the number of each poll, on the bridge thread, as callbacks are."""

    def put(self, *records: Record) -> None:
        for record in records:
            self.records.setdefault(record.partition, deque()).append(record)

    def poll(self, limit: int, timeout_s: float) -> Sequence[Record]:
        self.polls += 1
        self._clock.now_s += max(timeout_s, POLL_S)
        self.on_poll(self.polls)
        taken: list[Record] = []
        for partition, waiting in self.records.items():
            while waiting and len(taken) < limit and partition not in self.paused:
                taken.append(waiting.popleft())
        return taken

    def pause(self, partitions: Collection[Partition]) -> None:
        self.paused.update(partitions)

    def resume(self, partitions: Collection[Partition]) -> None:
        self.paused.difference_update(partitions)

    def commit(self, offsets: Mapping[Partition, int], *, wait_s: float) -> None:
        if self.commit_error is None:
            self.committed.update(offsets)
        self.bridge.on_committed(offsets, self.commit_error)

    def lag(self, partition: Partition, committable: int | None, *, is_all_settled: bool) -> int | None:
        return len(self.records.get(partition, ()))


class FakeSink:
    """EventBridge that answers by a function, at once or when told to."""

    def __init__(self, clock: FakeClock, judge: Judge = accept) -> None:
        self.judge = judge
        self._clock = clock
        self.requests: list[list[Entry]] = []
        self.silent: set[str] = set()
        """Targets that never answer."""
        self.held: deque[tuple[str, int, Sequence[Entry]]] = deque()
        self.is_holding = False
        """While set, answers wait for `answer_held`."""
        self._ready: deque[tuple[str, int, Answer]] = deque()

    def send(self, target: str, batch_id: int, entries: Sequence[Entry]) -> None:
        self.requests.append(list(entries))
        if target in self.silent:
            return
        if self.is_holding:
            self.held.append((target, batch_id, entries))
        else:
            self._ready.append((target, batch_id, self.judge(entries)))

    def answer_held(self) -> None:
        while self.held:
            target, batch_id, entries = self.held.popleft()
            self._ready.append((target, batch_id, self.judge(entries)))

    def answers(self, timeout_s: float) -> Sequence[tuple[str, int, Answer]]:
        self._clock.now_s += 0.0 if self._ready else timeout_s
        answers = list(self._ready)
        self._ready.clear()
        return answers

    def waits_for(self, target: str) -> str | None:
        return None


class FakeDeadLetters:
    """A dead-letter topic that acknowledges at once, unless it is down or not ours to write."""

    def __init__(self) -> None:
        self.letters: list[tuple[Record, Failure]] = []
        self.is_down = False
        self.refuses = False
        self._waiting: list[Ack] = []

    def write(self, record: Record, failure: Failure, ack: Ack) -> None:
        self.letters.append((record, failure))
        self._waiting.append(ack)

    def acknowledged(self) -> Sequence[Ack]:
        if self.refuses:
            raise DeadLetterError("this user may not write letters")
        if self.is_down:
            return ()
        done, self._waiting = self._waiting, []
        return done

    @property
    def problem(self) -> str | None:
        return "the dead-letter topic is down" if self.is_down and self._waiting else None

    @property
    def codes(self) -> list[str]:
        return [failure.code for _, failure in self.letters]


class FakeReceipts:
    """A receipts topic that has each receipt once it is flushed."""

    def __init__(self) -> None:
        self.written: list[tuple[str, list[PendingEntry]]] = []
        """(target, what its request delivered)"""
        self.flushed = 0
        """How many of them are safe."""
        self.problem: str | None = None

    def write(self, target: str, answer: Answer, delivered: Sequence[PendingEntry]) -> None:
        self.written.append((target, list(delivered)))

    def flush(self) -> None:
        self.flushed = len(self.written)
