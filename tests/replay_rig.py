"""A replay with scripted neighbours: letters and resolutions in memory, a clock, and what was sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from connector import config
from connector.dead_letters.dry_run import DryRun, RedeliveryCounts, prepared_batches
from connector.dead_letters.format import letter
from connector.dead_letters.redelivery import Limits, SendingParts
from connector.dead_letters.replay import Replay
from connector.dead_letters.resolutions import DeadLetterState, Resolution, ResolutionTable
from connector.dead_letters.selection import ReplayBatch, Selection, replay_batch, scan
from connector.delivery.pauses import PauseFile
from connector.errors import Code, DeadLetterError
from connector.model import Entry, Partition, Position, Ranges, Record, Retriable, SourceStatus
from connector.pipeline import Pipeline
from connector.telemetry.metrics import Telemetry
from tests.failures import failed
from tests.fakes import FakeClock, FakeDeadLetters, FakeReceipts, FakeSink, FakeStateFeed

LETTERS = "orders.dlt"
SETTINGS = """
name: test
kafka: {bootstrap.servers: localhost:1, group.id: test}
eventbridge:
  region: eu-central-1
  max_in_flight: 4
  retry: {initial_interval: 1ms, max_interval: 4ms, max_attempts: 3}
dead_letter: {topic: orders.dlt, max_consecutive: 10}
delivery: {shutdown_timeout: 2s}
topics:
  orders:
    value: {format: json}
    key: {format: string}
    filter: "!(value.draft)"
    event:
      source: "aws.partner/example.com/${value.tenant || 'orders'}"
      detail_type: "Order ${value.type}"
"""


def record(
    offset: int,
    *,
    partition: int = 0,
    key: bytes | None = None,
    code: Code = "template_null",
    **value: object,
) -> Record:
    """A record of the dead-letter topic: the letter of the order that has this offset as its number."""
    body = json.dumps({"n": offset, "type": "Made"} | value).encode()
    origin = Record(Partition("orders", partition), offset, 1_700_000_000_000, key, body, ())
    failure = failed(at_ms=1, event_id=f"first/{offset}", code=code, message="it found nothing")
    written = letter(origin, failure, bridge_name="test", version="0")
    place = Partition(LETTERS, partition)
    return Record(place, offset, 1_700_000_001_000, written.key, written.value, written.headers)


class FakeLetters:
    """A dead-letter topic in memory, read in batches of 10."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def read(
        self, ranges: Ranges, *, since_ms: int | None, limit: int, timeout_s: float
    ) -> Iterator[Sequence[Record]]:
        replay_batch = (r for r in self.records if r.offset in range(*ranges.get(r.partition.number, (0, 0))))
        while batch := list(islice(replay_batch, 10)):
            yield batch


class FakeResolutions:
    """A resolutions topic that acknowledges at once."""

    def __init__(self) -> None:
        self.written: dict[int, Resolution] = {}
        self.flushed: set[int] = set()
        self.unwritten = 0
        self.is_broken = False
        self.breaks_at: int | None = None
        """The letter whose resolution is refused; from then on everybody hears of it."""

    def write(self, letter: Position, resolution: Resolution) -> None:
        self.is_broken |= letter.offset == self.breaks_at
        if self.is_broken:
            if self.breaks_at not in {None, letter.offset}:
                self.written[letter.offset] = resolution
            raise DeadLetterError("the resolutions topic cannot be written")
        self.written[letter.offset] = resolution

    def flush(self, timeout_s: float) -> None:
        self.flushed = {*self.written}
        if self.is_broken:
            raise DeadLetterError("the resolutions topic cannot be written")

    @property
    def states(self) -> dict[int, DeadLetterState]:
        return {offset: resolution.state for offset, resolution in self.written.items()}


class Rig:
    """A replay with its scripted neighbours; it is given all partitions at its first poll."""

    def __init__(
        self,
        records: Sequence[Record],
        *,
        settings: config.Settings,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        max_replays: int = 3,
    ) -> None:
        self.clock = FakeClock()
        self.sink = FakeSink(self.clock)
        self.dead_letters = FakeDeadLetters()
        self.receipts = FakeReceipts()
        self.resolutions = FakeResolutions()
        self.polls = 0
        self.on_poll: Callable[[int], None] = self.assign_at_first
        self.letters = FakeLetters(records)
        self.ranges = dict.fromkeys({r.partition.number for r in records}, (0, 1000000))
        self.max_replays = max_replays
        self.state_feeds = {name: FakeStateFeed() for name in settings.all_targets}
        self.state_feed = self.state_feeds["default"]
        pauses = PauseFile(settings, telemetry=Telemetry())
        self.dry_run = DryRun(Pipeline(settings, None), lambda _: None, pauses)
        self.problems: list[str] = []
        """What the progress said."""
        self.replay = Replay(
            settings,
            SendingParts(self.sink, self.state_feeds, self.dead_letters, self.receipts, Telemetry()),
            ranges=self.ranges,
            prepared_batches=lambda ranges: prepared_batches(self.scan(ranges), self.dry_run),
            dry_run=self.dry_run,
            limits=limits,
            resolutions=self.resolutions,
            report=self.report,
            clock_s=self.clock,
        )

    def report(self, _tally: RedeliveryCounts, problem: str | None) -> None:
        if problem is not None and problem not in self.problems:
            self.problems.append(problem)

    def scan(self, ranges: Ranges) -> Iterator[ReplayBatch]:
        resolved = ResolutionTable(LETTERS, dict.fromkeys(self.ranges, (0, 1000)))
        for offset, resolution in self.resolutions.written.items():
            for number in self.ranges:
                resolved.note(Position(Partition(LETTERS, number), offset), resolution)
        return map(
            replay_batch, scan(self.letters, resolved, Selection(), ranges, max_replays=self.max_replays)
        )

    def at(self, **steps: Callable[[], None]) -> None:
        """Does something at a poll, as `at(poll_50=…)`."""
        by_poll = {int(name.removeprefix("poll_")): step for name, step in steps.items()}

        def on_poll(polls: int) -> None:
            self.assign_at_first(polls)
            by_poll.get(polls, lambda: None)()

        self.on_poll = on_poll

    def assign_at_first(self, polls: int) -> None:
        if polls == 1:
            self.replay.on_assigned(list(self.ranges))

    def poll(self, timeout_s: float) -> None:
        self.polls += 1
        assert self.polls < 20_000, "it does not come to an end"
        self.on_poll(self.polls)

    def run(self) -> RedeliveryCounts:
        return self.replay.run(self)

    @property
    def sent(self) -> list[int]:
        return [number_of(entry) for entries in self.sink.requests for entry in entries]


def detail(entry: Entry) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(json.loads(entry.json)["Detail"])
    return parsed


def number_of(entry: Entry) -> int:
    number = detail(entry)["n"]
    assert isinstance(number, int)
    return number


ORDERS, BLUE = "aws.partner/example.com/orders", "aws.partner/example.com/blue"
DENIED = SourceStatus("UNKNOWN", reason="AccessDeniedException", is_denied=True)
REFUSED_SOURCE = Retriable("source_unknown", "Event Bus Not Found.")
NO_ANSWER = SourceStatus("UNKNOWN", reason="no lookup of it was answered in time")
