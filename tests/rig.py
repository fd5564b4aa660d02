"""A bridge with scripted neighbours, the records that it reads, and the judges of what it sends."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

from connector import config
from connector.bridge import Bridge
from connector.delivery.pauses import PauseFile
from connector.model import (
    Answer,
    Delivered,
    Entry,
    Forbidden,
    Outcome,
    Partition,
    Record,
    Refused,
    Retriable,
)
from connector.pipeline import Pipeline
from connector.telemetry.health import Health
from connector.telemetry.metrics import Telemetry
from connector.telemetry.page import Board
from connector.telemetry.page.contents import Contents
from connector.telemetry.page.render import html
from tests.fakes import (
    FakeClock,
    FakeConsumer,
    FakeDeadLetters,
    FakeReceipts,
    FakeSink,
    FakeStateFeed,
    Judge,
    accept,
    outcomes,
)
from tests.pages import first_sentence

P0 = Partition("orders", 0)
P1 = Partition("orders", 1)

SETTINGS = """
name: test
kafka: {bootstrap.servers: localhost:1, group.id: test}
eventbridge:
  region: eu-central-1
  max_in_flight: 4
  retry: {initial_interval: 1ms, max_interval: 4ms, max_attempts: 3}
dead_letter: {topic: orders.dlt, max_consecutive: 10}
delivery: {max_pending_records: 50, commit_interval: 100ms, shutdown_timeout: 2s}
topics:
  ^orders:
    value: {format: json}
    filter: "!(value.draft)"
    event:
      source: aws.partner/example.com/orders
      detail_type: "Order ${value.type}"
      metadata: null
"""


class Rig:
    """A bridge with its scripted neighbours."""

    def __init__(self, settings: config.Settings, judge: Judge = accept) -> None:
        self.clock = FakeClock()
        self.sink = FakeSink(self.clock, judge)
        self.state_feeds = {name: FakeStateFeed() for name in settings.all_targets}
        self.state_feed = self.state_feeds["default"]
        self.dead_letters = FakeDeadLetters()
        self.receipts = FakeReceipts()
        self.telemetry = Telemetry()
        self.health = Health(clock_s=self.clock)
        self.board = Board(self.telemetry.tally)
        self.bridge = Bridge(
            settings,
            pipeline=Pipeline(settings, None),
            sink=self.sink,
            state_feeds=self.state_feeds,
            dead_letters=self.dead_letters,
            receipts=self.receipts,
            pauses=PauseFile(
                settings, telemetry=self.telemetry, clock_ms=lambda: int(self.clock.now_s * 1000)
            ),
            telemetry=self.telemetry,
            health=self.health,
            board=self.board,
            clock_s=self.clock,
        )
        self.consumer = FakeConsumer(self.bridge, self.clock)
        self.bridge.on_assigned([P0, P1])

    def run(self, until: Callable[[], bool], *, max_polls: int = 5_000) -> None:
        """Run until the condition holds, then stop; fails when it never does."""

        def on_poll(polls: int) -> None:
            if until():
                self.bridge.stop()
            assert polls < max_polls, "the condition never came true"

        self.consumer.on_poll = on_poll
        self.bridge.run(self.consumer)

    def run_to_the_end(self) -> None:
        """Run until every record is settled and committed."""
        records = [record for waiting in self.consumer.records.values() for record in waiting]
        ends = {record.partition: record.offset + 1 for record in records}
        self.run(lambda: ends.items() <= self.consumer.committed.items())

    def run_held(self, look_up: Callable[[], None]) -> None:
        """Run to the end, with EventBridge not answering until somebody took a look at the 50th poll."""
        ends = {partition: waiting[-1].offset + 1 for partition, waiting in self.consumer.records.items()}
        self.sink.is_holding = True

        def until() -> bool:
            if self.consumer.polls == 50:
                look_up()
                self.sink.is_holding = False
            if self.consumer.polls >= 50:
                self.sink.answer_held()
            return ends.items() <= self.consumer.committed.items()

        self.run(until)

    @property
    def first_sentence(self) -> str:
        """What the page says at the top."""
        contents = Contents(name="test", board=self.board, health=self.health, versions={})
        return first_sentence(html(contents, "").decode())

    @property
    def delivered_ids(self) -> list[int]:
        return [number_of(entry) for entries in self.sink.requests for entry in entries]


def record(offset: int, *, partition: Partition = P0, key: str | None = None, **value: object) -> Record:
    """A record whose event carries its offset, to be found again in what was sent."""
    body = json.dumps({"n": offset, "type": "Made"} | value).encode()
    return Record(partition, offset, 1_700_000_000_000, key.encode() if key else None, body, ())


def number_of(entry: Entry) -> int:
    return int(json.loads(json.loads(entry.json)["Detail"])["n"])


def failing(number: int, result: Retriable | Refused | Forbidden) -> Judge:
    """Accepts everything but one entry."""
    return each(lambda n: result if n == number else Delivered("id"))


def each(judge: Callable[[int], Outcome]) -> Judge:
    """Judges every entry by its number alone."""
    return lambda entries: outcomes([judge(number_of(entry)) for entry in entries])


def error(reason: Exception) -> Answer:
    return Answer((), error=reason, request_id=None, seconds=0.01)  # type: ignore[arg-type]


def with_room(settings: config.Settings) -> config.Settings:
    """The same, for more records at once."""
    delivery = settings.delivery.model_copy(update={"max_pending_records": 5_000})
    return settings.model_copy(update={"delivery": delivery})


def with_retry(settings: config.Settings, **retry: object) -> config.Settings:
    """The same, with other limits of retries."""
    target = settings.eventbridge
    target = target.model_copy(update={"retry": target.retry.model_copy(update=retry)})
    return settings.model_copy(update={"eventbridge": target})


def others(rig: Rig, *, until: Callable[[], bool], first: int = 10_000) -> Callable[[], bool]:
    """Good records that come on another partition all the time, ten a second."""
    numbers = itertools.count(first)

    def condition() -> bool:
        rig.clock.now_s += 0.1
        if not rig.consumer.records.get(P1):
            rig.consumer.put(record(next(numbers), partition=P1))
        return until()

    return condition
