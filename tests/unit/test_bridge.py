"""The loop, with scripted neighbours: what it settles, commits, retries, pauses, and when it gives up."""

from __future__ import annotations

import gc
import itertools
import json
import os
import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from connector import config
from connector.bridge import Bridge
from connector.delivery import queue
from connector.errors import (
    DeadLetterError,
    HaltError,
    InvariantError,
    NotAuthorizedError,
    OversizeError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
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
from tests.fakes import FakeClock, FakeDeadLetters, FakeSink, FakeSource, FakeWatch, Judge, accept, outcomes

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
        self.state_feeds = {name: FakeWatch() for name in settings.all_targets}
        self.state_feed = self.state_feeds["default"]
        self.dead_letters = FakeDeadLetters()
        self.telemetry = Telemetry()
        self.health = Health(clock_s=self.clock)
        self.bridge = Bridge(
            settings,
            pipeline=Pipeline(settings, None),
            sink=self.sink,
            state_feeds=self.state_feeds,
            dead_letters=self.dead_letters,
            telemetry=self.telemetry,
            health=self.health,
            clock_s=self.clock,
        )
        self.source = FakeSource(self.bridge, self.clock)
        self.bridge.on_assigned([P0, P1])

    def run(self, until: Callable[[], bool], *, max_polls: int = 5_000) -> None:
        """Run until the condition holds, then stop; fails when it never does."""

        def on_poll(polls: int) -> None:
            if until():
                self.bridge.stop()
            assert polls < max_polls, "the condition never came true"

        self.source.on_poll = on_poll
        self.bridge.run(self.source)

    def run_to_the_end(self) -> None:
        """Run until every record is settled and committed."""
        records = [record for waiting in self.source.records.values() for record in waiting]
        ends = {record.partition: record.offset + 1 for record in records}
        self.run(lambda: ends.items() <= self.source.committed.items())

    def run_held(self, look_up: Callable[[], None]) -> None:
        """Run to the end, with EventBridge not answering until somebody took a look at the 50th poll."""
        ends = {partition: waiting[-1].offset + 1 for partition, waiting in self.source.records.items()}
        self.sink.is_holding = True

        def until() -> bool:
            if self.source.polls == 50:
                look_up()
                self.sink.is_holding = False
            if self.source.polls >= 50:
                self.sink.answer_held()
            return ends.items() <= self.source.committed.items()

        self.run(until)

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


@pytest.fixture
def settings(tmp_path: Path) -> config.Settings:
    file = tmp_path / "bridge.yaml"
    file.write_text(SETTINGS)
    return config.load(file, {})


def test_what_is_accepted_is_committed(settings: config.Settings) -> None:
    """The good day: every record delivered once, the commit at the end."""
    rig = Rig(settings)
    rig.source.put(*(record(n) for n in range(100)))
    rig.run_to_the_end()

    assert list(range(100)) == sorted(rig.delivered_ids)
    assert {P0: 100} == rig.source.committed


class Cycle:
    """What only the garbage collector frees, as a closed connection."""

    def __init__(self) -> None:
        self.itself = self


def test_cycles_of_objects_are_freed_within_a_minute(settings: config.Settings) -> None:
    """Memory stays flat although Python's own collector hardly ever runs."""
    rig = Rig(settings)
    closed: list[weakref.ref[Cycle]] = []

    def is_over() -> bool:
        if rig.clock.now_s > 1_010 and not closed:
            closed.append(weakref.ref(Cycle()))
        return rig.clock.now_s > 1_060

    gc.disable()
    try:
        rig.run(is_over)
    finally:
        gc.enable()

    assert [None] == [cycle() for cycle in closed]


def test_a_record_that_cannot_be_decoded_is_a_dead_letter_and_its_neighbours_are_delivered(
    settings: config.Settings,
) -> None:
    """Poison costs nobody else anything."""
    rig = Rig(settings)
    poison = Record(P0, 1, None, None, b"{not json", ())
    rig.source.put(record(0), poison, record(2))
    rig.run_to_the_end()

    assert [0, 2] == rig.delivered_ids
    assert ["json_invalid"] == rig.dead_letters.codes
    assert poison is rig.dead_letters.letters[0][0]


def test_a_filtered_record_is_settled_without_being_sent(settings: config.Settings) -> None:
    """A rule the user wrote settles a record."""
    rig = Rig(settings)
    rig.source.put(record(0, draft=True), record(1))
    rig.run_to_the_end()

    assert [1] == rig.delivered_ids
    assert {P0: 2} == rig.source.committed


def test_only_the_failed_entries_of_an_answer_are_sent_again(settings: config.Settings) -> None:
    """A partial failure re-sends what failed and nothing else."""
    failures: Iterator[Outcome] = iter([Retriable("InternalFailure", "once"), Delivered("id")])
    rig = Rig(settings, each(lambda n: next(failures) if n == 3 else Delivered("id")))
    rig.source.put(*(record(n) for n in range(5)))
    rig.run_to_the_end()

    assert [0, 1, 2, 3, 3, 4] == sorted(rig.delivered_ids)
    assert [] == rig.dead_letters.codes


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
        if not rig.source.records.get(P1):
            rig.source.put(record(next(numbers), partition=P1))
        return until()

    return condition


def test_a_record_refused_with_an_unknown_code_while_others_succeed_is_dead_lettered(
    settings: config.Settings,
) -> None:
    """Its attempts count because the target is healthy."""
    rig = Rig(settings, failing(3, Retriable("unknown", "TeapotException: always")))
    rig.source.put(*(record(n) for n in range(400)))
    rig.run_to_the_end()

    assert ["retries_exhausted"] == rig.dead_letters.codes
    assert 3 == rig.dead_letters.letters[0][1].attempts


@pytest.mark.parametrize("code", ["InternalFailure", "ServiceUnavailable", "answer_invalid", "throttled"])
def test_trouble_of_eventbridge_is_never_the_fault_of_the_few_records_that_suffer_it(
    settings: config.Settings, code: str
) -> None:
    """However often they fail while others are accepted: for `max_age` they are tried again."""
    rig = Rig(settings, failing(3, Retriable(code, "", throttled=code == "throttled")))
    rig.source.put(*(record(n) for n in range(40)))

    def recovers() -> bool:
        if rig.clock.now_s > 1_100:
            rig.sink.judge = accept
        return {P0: 40}.items() <= rig.source.committed.items()

    rig.run(others(rig, until=recovers))

    assert [] == rig.dead_letters.codes
    assert 20 < rig.delivered_ids.count(3)


def test_what_fails_for_max_age_while_others_are_accepted_is_a_dead_letter(
    settings: config.Settings,
) -> None:
    """Not before, and soon after."""
    rig = Rig(with_retry(settings, max_age=60.0), failing(3, Retriable("InternalFailure", "always")))
    rig.source.put(*(record(n) for n in range(10)))
    rig.run(others(rig, until=lambda: rig.source.committed.get(P0) == 10))

    assert ["retries_exhausted"] == rig.dead_letters.codes
    assert 1_060 < rig.clock.now_s < 1_080


def test_an_outage_does_not_age_what_failed_before_it(settings: config.Settings) -> None:
    """An hour in which nothing is accepted says nothing about the record that failed last before it."""
    rig = Rig(with_retry(settings, max_age=60.0), failing(3, Retriable("InternalFailure", "bad luck")))
    rig.source.put(*(record(n) for n in range(10)))

    def until() -> bool:
        if 1_010 < rig.clock.now_s < 1_020:
            rig.sink.judge = lambda _: error(UnavailableError("connection refused"))
            rig.clock.now_s = 4_600
        elif 4_610 < rig.clock.now_s < 4_620:
            rig.sink.judge = failing(3, Retriable("InternalFailure", "bad luck"))
        elif rig.clock.now_s > 4_630:
            rig.sink.judge = accept
        return rig.source.committed.get(P0) == 10

    rig.run(others(rig, until=until))

    assert [] == rig.dead_letters.codes


def test_records_that_fail_alone_do_not_block_for_ever_when_nothing_else_fits(
    settings: config.Settings,
) -> None:
    """They fill all that may be pending, so nothing new can be accepted by which their age would count."""
    rig = Rig(
        with_retry(settings, max_age=30.0),
        each(lambda n: Delivered("id") if n % 10 == 0 else Retriable("InternalFailure", "always")),
    )
    rig.source.put(*(record(n) for n in range(1_000)))

    def until() -> bool:
        rig.clock.now_s += 0.1
        return rig.source.committed.get(P0) == 1_000

    rig.run(until, max_polls=20_000)

    assert {"retries_exhausted"} == set(rig.dead_letters.codes)
    assert 900 == len(rig.dead_letters.codes)


def test_a_request_that_is_never_answered_is_searched_for_its_culprit_and_costs_no_record(
    settings: config.Settings,
) -> None:
    """Halved while others succeed, until it is alone; its neighbours are delivered."""

    def judge(entries: Sequence[Entry]) -> Answer:
        if any(number_of(entry) == 7 for entry in entries):
            return error(UnavailableError("EventBridge took too long"))
        return accept(entries)

    rig = Rig(with_retry(settings, max_age=60.0), judge)
    rig.source.put(*(record(n) for n in range(20)))
    rig.run(others(rig, until=lambda: rig.source.committed.get(P0) == 20))

    assert [7] == [letter.offset for letter, _ in rig.dead_letters.letters]
    assert 1_060 < rig.clock.now_s
    assert set(range(20)) <= set(rig.delivered_ids)


def test_a_request_refused_with_an_unknown_code_costs_only_its_culprit(settings: config.Settings) -> None:
    """Attempts count once it is alone, not while its neighbours are refused with it."""

    def judge(entries: Sequence[Entry]) -> Answer:
        if any(number_of(entry) == 7 for entry in entries):
            return error(UnavailableError("TeapotException", code="unknown"))
        return accept(entries)

    rig = Rig(with_retry(settings, max_attempts=1), judge)
    rig.source.put(*(record(n) for n in range(20)))
    rig.run(others(rig, until=lambda: rig.source.committed.get(P0) == 20))

    assert [7] == [letter.offset for letter, _ in rig.dead_letters.letters]
    assert ["retries_exhausted"] == rig.dead_letters.codes


def test_a_throttled_entry_is_never_dead_lettered(settings: config.Settings) -> None:
    """However often: throttling says nothing about the record."""
    tries = iter(range(30))

    def judge(number: int) -> Outcome:
        if number == 3 and next(tries, 99) < 20:
            return Retriable("ThrottlingException", "slow down", throttled=True)
        return Delivered("id")

    rig = Rig(settings, each(judge))
    rig.source.put(*(record(n) for n in range(200)))
    rig.run_to_the_end()

    assert [] == rig.dead_letters.codes


@pytest.mark.parametrize(
    "reason", [UnavailableError("connection refused"), ThrottledError("slow down")], ids=["down", "throttled"]
)
def test_an_outage_dead_letters_nothing(settings: config.Settings, reason: Exception) -> None:
    """A target that answers nothing is nobody's fault; when it is back all is delivered."""
    calls = iter(range(1000))
    rig = Rig(settings, lambda entries: error(reason) if next(calls) < 30 else accept(entries))
    rig.source.put(*(record(n) for n in range(40)))
    rig.run_to_the_end()

    assert [] == rig.dead_letters.codes
    assert set(range(40)) == set(rig.delivered_ids)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (RefusedError("request_refused", "ValidationException"), "request_refused"),
        (OversizeError("request_too_large", "413"), "request_too_large"),
    ],
)
def test_a_refused_request_is_bisected_to_the_culprit(
    settings: config.Settings, reason: Exception, code: str
) -> None:
    """One bad entry never costs its neighbours, though EventBridge refuses the request as a whole."""

    def judge(entries: Sequence[Entry]) -> Answer:
        return error(reason) if any(number_of(entry) == 7 for entry in entries) else accept(entries)

    rig = Rig(settings, judge)
    rig.source.put(*(record(n) for n in range(20)))
    rig.run_to_the_end()

    assert [code] == rig.dead_letters.codes
    assert 7 == rig.dead_letters.letters[0][0].offset
    assert set(range(20)) == set(rig.delivered_ids)


def test_an_entry_refused_for_good_is_dead_lettered_at_once(settings: config.Settings) -> None:
    """What can never succeed is not tried again."""
    rig = Rig(settings, failing(3, Refused("MalformedDetail", "Detail is malformed.")))
    rig.source.put(*(record(n) for n in range(5)))
    rig.run_to_the_end()

    assert ["entry_refused"] == rig.dead_letters.codes
    assert list(range(5)) == sorted(rig.delivered_ids)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: error(NotAuthorizedError("AccessDeniedException: not allowed")),
        each(lambda _: Forbidden("AccessDeniedException", "Not authorized.")),
    ],
    ids=["request", "every-entry"],
)
def test_being_refused_for_who_we_are_halts_and_loses_nothing(
    settings: config.Settings, answer: Judge
) -> None:
    """The next record would fare no better, so nothing is dead-lettered and nothing unsettled committed."""
    rig = Rig(settings, answer)
    rig.source.put(*(record(n) for n in range(20)))

    with pytest.raises(NotAuthorizedError):
        rig.run(lambda: False)

    assert [] == rig.dead_letters.codes
    assert 0 == rig.source.committed.get(P0, 0)


def test_a_flood_of_dead_letters_halts(settings: config.Settings) -> None:
    """More than `max_consecutive` in a row is a broken mapping rather than a run of bad records."""
    rig = Rig(settings)
    rig.source.put(*(record(n, type=None) for n in range(30)))

    with pytest.raises(DeadLetterError, match="template_null"):
        rig.run(lambda: False)


def test_deliveries_between_dead_letters_are_no_flood(settings: config.Settings) -> None:
    """A tenth of bad records, for ever, is a day like any other."""
    rig = Rig(settings)
    rig.source.put(*(record(n, type=None if n % 10 == 0 else "Made") for n in range(300)))
    rig.run_to_the_end()

    assert 30 == len(rig.dead_letters.codes)


def test_nothing_is_committed_past_a_letter_that_is_not_acknowledged(settings: config.Settings) -> None:
    """While the dead-letter topic is down the bridge is unready, and goes on when it is back."""
    rig = Rig(settings)
    rig.dead_letters.is_down = True
    rig.source.put(record(0), record(1, type=None), record(2))

    def until() -> bool:
        if rig.source.polls == 300:
            assert {P0: 1} == rig.source.committed
            assert not rig.health.ready()[0]
            rig.dead_letters.is_down = False
        return {P0: 3} == rig.source.committed

    rig.run(until)

    assert [0, 2] == rig.delivered_ids


def test_too_much_pending_pauses_and_goes_on_later(settings: config.Settings) -> None:
    """Memory is bounded: while EventBridge does not answer, reading stops and polling goes on."""
    rig = Rig(settings)
    rig.source.put(*(record(n) for n in range(500)))

    def look_up() -> None:
        assert {P0, P1} == rig.source.paused

    rig.run_held(look_up)

    assert set() == rig.source.paused


@pytest.mark.parametrize("what", ["headers", "event"])
def test_headers_and_events_count_as_pending(settings: config.Settings, what: str) -> None:
    """Memory is bounded also where keys and values are the least of it."""
    delivery = settings.delivery.model_copy(update={"max_pending_bytes": 1024**2})
    rig = Rig(settings.model_copy(update={"delivery": delivery}))
    with_headers = (record(n)._replace(headers=(("h", bytes(100_000)),)) for n in range(20))
    # A backslash is two characters in the record's JSON, and four in the event's.
    with_escapes = (record(n, escaped="\\" * 25_000) for n in range(20))
    rig.source.put(*(with_headers if what == "headers" else with_escapes))

    def look_up() -> None:
        assert {P0, P1} == rig.source.paused

    rig.run_held(look_up)

    assert list(range(20)) == rig.delivered_ids


def test_slow_records_do_not_hold_up_the_loop(settings: config.Settings) -> None:
    """Whatever a record's decoding and mapping takes, others of the same poll wait for the next rounds."""
    rig = Rig(settings)
    pipeline = rig.bridge._pipeline
    beats = [rig.clock.now_s]

    class Slow:
        def __call__(self, record: Record) -> object:
            rig.clock.now_s += 0.4
            return pipeline(record)

        def __getattr__(self, name: str) -> object:
            return getattr(pipeline, name)

    rig.bridge._pipeline = Slow()  # type: ignore[assignment]
    rig.health.beat = lambda now_s: beats.append(rig.clock.now_s)  # type: ignore[method-assign, misc, assignment]
    rig.source.put(*(record(n, key="a") for n in range(30)), *(record(n, partition=P1) for n in range(30)))
    rig.run_to_the_end()

    assert 3 > max(later - earlier for earlier, later in pairwise(beats))
    assert {P0: 30, P1: 30} == rig.source.committed
    assert 60 == len(rig.delivered_ids)


def test_an_outage_with_much_waiting_does_not_keep_the_loop_spinning(settings: config.Settings) -> None:
    """While the target is down there is nothing to do between two looks, however much is ready."""
    rig = Rig(with_room(settings), lambda _: error(UnavailableError("EventBridge is down")))
    looks = 0
    answers = rig.sink.answers

    def counted(timeout_s: float) -> Sequence[tuple[str, int, Answer]]:
        nonlocal looks
        looks += 1
        assert looks < 50_000, f"the clock stands at {rig.clock.now_s:.3f}"
        return answers(timeout_s)

    rig.sink.answers = counted  # type: ignore[method-assign]
    rig.source.put(*(record(n) for n in range(500)))
    rig.run(lambda: rig.clock.now_s > 1_020)

    assert looks < 20 * 1_000, "a look every 5 ms, and one for each probe"


BROWN_OUTS = 1
"""With how many seeds; `BROWN_OUTS=500 pytest -k brown_out` tries as many."""


@pytest.mark.parametrize("what", ["requests", "entries"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(int(os.environ.get("BROWN_OUTS", str(BROWN_OUTS)))))
def test_a_brown_out_costs_no_good_record(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch, what: str, share: float, seed: int
) -> None:
    """Where many attempts fail by chance, a record that failed often is none that cannot succeed."""
    target = settings.eventbridge.model_copy(update={"max_in_flight": 16})
    chance = random.Random(f"{what} {share} {seed}")  # the same at every run with this seed
    print(f"{what=} {share=} {seed=}")
    monkeypatch.setattr(random, "random", chance.random)
    monkeypatch.setattr("connector.delivery.rate.full_jitter.__kwdefaults__", {"draw": chance.random})

    def judge(entries: Sequence[Entry]) -> Answer:
        rig.clock.now_s += 0.001
        if what == "requests" and chance.random() < share:
            return error(UnavailableError("HTTP 503"))
        down = share if what == "entries" else 0.0
        return outcomes(
            [Retriable("InternalFailure", "") if chance.random() < down else Delivered("id") for _ in entries]
        )

    rig = Rig(with_room(settings).model_copy(update={"eventbridge": target}), judge)
    rig.source.put(*(record(n) for n in range(500)))
    rig.run(lambda: {P0: 500} == rig.source.committed, max_polls=50_000)

    assert [] == rig.dead_letters.codes


def test_records_that_never_succeed_are_dead_letters_also_where_they_are_many(
    settings: config.Settings,
) -> None:
    """A third of a topic that EventBridge never takes is no brown-out for ever, and no broken mapping."""
    rig = Rig(
        with_retry(with_room(settings), max_age=20.0),
        each(lambda n: Delivered("id") if n % 3 else Retriable("InternalFailure", "")),
    )
    rig.source.put(*(record(n) for n in range(600)))
    rig.run(others(rig, first=1_000_001, until=lambda: len(rig.dead_letters.codes) >= 200), max_polls=50_000)

    dead = [letter.offset for letter, _ in rig.dead_letters.letters if letter.partition == P0]
    assert list(range(0, 600, 3)) == sorted(dead)
    assert {"retries_exhausted"} == set(rig.dead_letters.codes)


def test_what_one_source_holds_leaves_room_for_the_others(settings: config.Settings) -> None:
    """Held records count by what they take in memory, not by the little that is sent of them."""
    sources = settings.sources.model_copy(update={"max_held_bytes": 100_000})
    delivery = settings.delivery.model_copy(
        update={"max_pending_records": 1_000, "max_pending_bytes": 500_000}
    )
    rig = Rig(settings.model_copy(update={"sources": sources, "delivery": delivery}))
    rig.state_feed.states["aws.partner/example.com/orders"] = "PENDING"
    rig.source.put(*(record(n, large="x" * 5_000) for n in range(100)))
    rig.run(lambda: rig.source.polls == 200)

    assert set() == rig.source.paused
    assert {"source_inactive"} == set(rig.dead_letters.codes)
    assert 20 > 100 - len(rig.dead_letters.codes) > 5


def test_nothing_is_sent_after_the_verdict_to_halt(settings: config.Settings) -> None:
    """EventBridge refuses who we are, so the next request would be refused as well."""
    one_at_a_time = settings.eventbridge.model_copy(update={"max_in_flight": 1})
    rig = Rig(
        settings.model_copy(update={"eventbridge": one_at_a_time}),
        lambda _: error(NotAuthorizedError("access denied")),
    )
    rig.source.put(*(record(n) for n in range(50)))

    with pytest.raises(NotAuthorizedError):
        rig.run(lambda: False)

    assert 1 == len(rig.sink.requests)


def test_a_halt_while_polling_commits_what_is_settled(settings: config.Settings) -> None:
    """As when another member uses our instance id: what was delivered is not delivered again after it."""
    rig = Rig(settings)
    rig.source.put(*(record(n) for n in range(40)))

    def on_poll(polls: int) -> None:
        if 40 == len(rig.delivered_ids):
            raise HaltError("fenced")

    rig.source.on_poll = on_poll
    with pytest.raises(HaltError, match="fenced"):
        rig.bridge.run(rig.source)

    assert {P0: 40} == rig.source.committed


def test_a_stop_while_a_rebalance_drains_has_no_second_deadline(settings: config.Settings) -> None:
    """Both together take `shutdown_timeout`, so that the pod is gone before it is killed."""
    rig = Rig(settings)
    rig.sink.silent = {"default"}
    rig.source.put(*(record(n) for n in range(5)), *(record(n, partition=P1) for n in range(5)))
    answers = rig.sink.answers
    began_s = 0.0

    def stopped_meanwhile(timeout_s: float) -> Sequence[tuple[str, int, Answer]]:
        if began_s and rig.clock.now_s > began_s + 1.5:
            rig.bridge.stop()
        return answers(timeout_s)

    def on_poll(polls: int) -> None:
        nonlocal began_s
        if polls == 20:
            began_s = rig.clock.now_s
            rig.bridge.on_revoked([P0])

    rig.sink.answers = stopped_meanwhile  # type: ignore[method-assign]
    rig.source.on_poll = on_poll
    rig.bridge.run(rig.source)

    assert rig.clock.now_s - began_s < 1.5 + 2.1, "shutdown_timeout is 2 s, and began with the stop"


def test_more_sources_than_are_remembered_lose_nothing(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that others made room for is met anew; one that has something waiting or in flight stays."""
    monkeypatch.setattr(queue, "MAX_SOURCES", 3)
    source = settings.topics["^orders"].event.model_copy(
        update={"source": "aws.partner/example.com/${value.tenant}"}
    )
    topic = settings.topics["^orders"].model_copy(update={"event": source})
    refused: set[str] = set()

    def judge(entries: Sequence[Entry]) -> Answer:
        results: list[Outcome] = []
        for entry in entries:
            is_first = entry.source not in refused
            refused.add(entry.source)
            results.append(Retriable("source_unknown", "no such source") if is_first else Delivered("id"))
        return outcomes(results)

    rig = Rig(with_room(settings).model_copy(update={"topics": {"^orders": topic}}), judge)
    rig.source.put(*(record(n, tenant=f"t{n % 40}") for n in range(200)))
    rig.run(lambda: {P0: 200} == rig.source.committed)

    assert set(range(200)) == set(rig.delivered_ids)


def test_records_of_one_key_are_never_in_two_requests_at_once(settings: config.Settings) -> None:
    """The default `ordering: key`: a later request of a key waits for the earlier one."""
    rig = Rig(settings)
    rig.source.put(*(record(n, key="a") for n in range(45)))

    def look_up() -> None:
        assert 1 == len(rig.sink.requests)

    rig.run_held(look_up)

    assert list(range(45)) == rig.delivered_ids


def test_a_revoked_partition_is_drained_and_committed(settings: config.Settings) -> None:
    """What is in flight is brought to an end; what was not sent is left to the next owner."""
    rig = Rig(settings)
    rig.sink.is_holding = True
    rig.source.put(*(record(n) for n in range(45)))

    def until() -> bool:
        if rig.source.polls == 10:
            rig.sink.is_holding = False
            rig.sink.answer_held()
            sent = max(rig.delivered_ids)
            rig.bridge.on_revoked([P0])
            assert {P0: sent + 1} == rig.source.committed
        return rig.source.polls == 20

    rig.run(until)

    assert len(set(rig.delivered_ids)) == len(rig.delivered_ids)


def test_a_partition_that_was_revoked_while_paused_is_read_when_it_comes_back(
    settings: config.Settings,
) -> None:
    """The client keeps it paused from one assignment to the next; unread it would be stuck for ever."""
    rig = Rig(settings)
    rig.sink.is_holding = True
    rig.source.put(*(record(n) for n in range(200)))

    def until() -> bool:
        if rig.source.polls == 50:
            assert P0 in rig.source.paused
            rig.sink.is_holding = False
            rig.sink.answer_held()
            rig.bridge.on_revoked([P0])
            rig.bridge.on_assigned([P0])
        return {P0: 200} == rig.source.committed

    rig.run(until)

    assert P0 not in rig.source.paused


def test_a_lost_partition_is_forgotten_without_a_commit(settings: config.Settings) -> None:
    """Somebody else reads it already: a commit now would move their position."""
    rig = Rig(settings)
    rig.sink.is_holding = True
    rig.source.put(*(record(n) for n in range(20)))

    def until() -> bool:
        if rig.source.polls == 10:
            rig.bridge.on_lost([P0])
            rig.sink.is_holding = False
            rig.sink.answer_held()
        return rig.source.polls == 20

    rig.run(until)

    assert {P0: 0} == rig.source.committed


def test_stopping_sends_what_holds_back_the_commit_and_no_more(settings: config.Settings) -> None:
    """A stop under load is quick and makes no duplicates: untouched records are left to the next reader."""
    rig = Rig(settings)
    rig.source.put(*(record(n) for n in range(500)))
    rig.run(lambda: len(rig.sink.requests) >= 3)

    sent = rig.delivered_ids
    assert len(sent) < 500
    assert {P0: max(sent) + 1} == rig.source.committed
    assert sorted(sent) == list(range(max(sent) + 1))


def test_stopping_during_an_outage_does_not_wait_for_its_end(settings: config.Settings) -> None:
    """A target that is down is not worth the grace period."""
    rig = Rig(settings, lambda _: error(UnavailableError("connection refused")))
    rig.source.put(*(record(n) for n in range(20)))
    rig.run(lambda: len(rig.sink.requests) > 10)

    assert {P0: 0} == rig.source.committed


def test_a_failed_commit_is_repeated(settings: config.Settings) -> None:
    """A commit that the broker refused is tried again with the next one."""
    rig = Rig(settings)
    rig.source.commit_error = "coordinator is loading"
    rig.source.put(record(0))

    def until() -> bool:
        if rig.source.polls == 20:
            rig.source.commit_error = None
        return {P0: 1} == rig.source.committed

    rig.run(until)

    assert [0] == rig.delivered_ids


def test_the_dead_letter_topic_is_never_read(settings: config.Settings) -> None:
    """Whatever a pattern says: reading our own letters would go round for ever."""
    rig = Rig(settings)
    letters = Partition("orders.dlt", 0)
    rig.bridge.on_assigned([letters])
    rig.source.put(record(0, partition=letters), record(1))

    rig.run(lambda: P0 in rig.source.committed and letters in rig.source.paused)

    assert [1] == rig.delivered_ids
    assert letters not in rig.source.committed


def test_a_dead_letter_topic_that_may_not_be_written_halts(settings: config.Settings) -> None:
    """No pause mends a permission: stop at once, with all committed that lies before the letter."""
    rig = Rig(settings)
    rig.dead_letters.refuses = True
    broken = Record(P0, 5, 1_700_000_000_000, None, b"{", ())
    rig.source.put(*(record(n) for n in range(5)), broken, record(6))
    began_s = rig.clock.now_s

    with pytest.raises(DeadLetterError, match="may not write"):
        rig.run(lambda: False)

    assert {P0: 5} == rig.source.committed
    assert rig.clock.now_s - began_s < 1


def test_after_a_mistake_of_its_own_the_bridge_commits_nothing_more(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when it leaves the group, which revokes what it has: its bookkeeping cannot be trusted."""
    rig = Rig(settings)
    rig.source.put(*(record(n) for n in range(5)))

    def settled_twice(*_: object) -> None:
        raise InvariantError("orders[0]@3 was settled without being pending")

    def until() -> bool:
        monkeypatch.setattr("connector.ledger.Ledger.settle", settled_twice)
        return False

    with pytest.raises(InvariantError):
        rig.run(until)
    rig.source.committed.clear()
    rig.bridge.on_revoked([P0, P1])

    assert {} == rig.source.committed


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (UnavailableError("connection refused"), "connection refused"),
        (ThrottledError("EventBridge asks for a lower rate"), "lower rate"),
        (None, "not answered"),
        (Retriable("InternalFailure", "no luck"), "InternalFailure: no luck"),
    ],
    ids=["down", "throttled", "silent", "entries"],
)
def test_an_outage_shows_within_5_s_and_says_why(
    settings: config.Settings, answer: Exception | Retriable | None, why: str
) -> None:
    """Readiness tells while nothing is accepted, and again when it is over."""

    def judge(entries: Sequence[Entry]) -> Answer:
        if answer is None or not is_out:
            return accept(entries)
        return outcomes([answer]) if isinstance(answer, Retriable) else error(answer)

    rig = Rig(settings, judge)
    is_out, began_s = True, rig.clock.now_s
    rig.sink.is_holding = answer is None
    rig.source.put(record(0))

    def until() -> bool:
        nonlocal is_out
        is_ready, said = rig.health.ready()
        if is_out and not is_ready:
            assert why in str(said["reasons"])
            assert rig.clock.now_s - began_s < 5
            is_out = rig.sink.is_holding = False
            rig.sink.answer_held()
        return not is_out and is_ready

    rig.run(until)

    assert {P0: 1} == rig.source.committed


def revoked(rig: Rig, at: Callable[[], bool], partition: Partition = P0) -> list[float]:
    """Has a partition taken away once something is so; returns how long that took, and stops after it."""
    took_s: list[float] = []

    def until() -> bool:
        if not took_s and at():
            began_s = rig.clock.now_s
            rig.bridge.on_revoked([partition])
            took_s.append(rig.clock.now_s - began_s)
        return bool(took_s)

    rig.run(until)
    return took_s


def test_a_rebalance_does_not_wait_for_what_waits_for_its_next_attempt(settings: config.Settings) -> None:
    """It is left to the next owner at once; what is above it and was not sent is not begun any more."""
    rig = Rig(
        with_retry(settings, initial_interval=30.0, max_interval=30.0),
        failing(3, Retriable("InternalFailure", "")),
    )
    rig.source.put(*(record(n, key="k" if n >= 3 else None) for n in range(50)))

    (took_s,) = revoked(rig, lambda: 3 in rig.delivered_ids and not rig.bridge._senders["default"].is_busy)

    assert took_s < 0.1
    assert {P0: 3} == rig.source.committed
    sent = len(rig.delivered_ids)
    assert rig.delivered_ids.count(3) == 1
    assert sent < 50


def test_a_stop_does_not_wait_for_what_waits_for_its_next_attempt(settings: config.Settings) -> None:
    """Nor for what fails again while it stops."""
    rig = Rig(
        with_retry(settings, initial_interval=30.0, max_interval=30.0),
        each(lambda n: Retriable("InternalFailure", "") if n % 2 else Delivered("id")),
    )
    rig.source.put(*(record(n) for n in range(40)))
    rig.run(lambda: 1 in rig.delivered_ids)

    assert rig.clock.now_s < 1_001
    assert {P0: 1} == rig.source.committed


@pytest.mark.parametrize("what", ["rebalance", "stop"])
def test_what_is_in_flight_is_waited_for_as_long_as_a_request_may_take(
    settings: config.Settings, what: str
) -> None:
    """`timeouts` are that, and they are less than `shutdown_timeout` here."""
    timeouts = settings.eventbridge.timeouts.model_copy(update={"connect": 0.3, "read": 0.5})
    delivery = settings.delivery.model_copy(update={"shutdown_timeout": 10.0})
    rig = Rig(
        settings.model_copy(
            update={
                "eventbridge": settings.eventbridge.model_copy(update={"timeouts": timeouts}),
                "delivery": delivery,
            }
        )
    )
    rig.sink.silent = {"default"}
    rig.source.put(*(record(n) for n in range(5)))
    if what == "rebalance":
        (took_s,) = revoked(rig, lambda: bool(rig.sink.requests))
    else:
        rig.run(lambda: bool(rig.sink.requests))
        took_s = rig.clock.now_s - 1_000

    assert 0.8 <= took_s < 1.0


def test_a_letter_is_waited_for_longer_than_a_request(settings: config.Settings) -> None:
    """As long as a stop may take: an acknowledged letter that is not committed would be written again."""
    timeouts = settings.eventbridge.timeouts.model_copy(update={"connect": 0.1, "read": 0.1})
    rig = Rig(
        settings.model_copy(
            update={"eventbridge": settings.eventbridge.model_copy(update={"timeouts": timeouts})}
        )
    )
    rig.dead_letters.is_down = True
    rig.source.put(record(0, type=None))
    acknowledged = rig.dead_letters.acknowledged

    def later() -> Sequence[object]:
        if began_s and rig.clock.now_s > began_s + 1.0:
            rig.dead_letters.is_down = False
        return acknowledged()

    began_s = 0.0
    rig.dead_letters.acknowledged = later  # type: ignore[method-assign, assignment]

    def until() -> bool:
        nonlocal began_s
        began_s = rig.clock.now_s if rig.dead_letters.letters else 0.0
        return bool(began_s)

    rig.run(until)

    assert {P0: 1} == rig.source.committed
    assert 1.0 < rig.clock.now_s - began_s < 1.5


def test_a_stop_after_an_acknowledged_letter_waits_for_nothing(settings: config.Settings) -> None:
    """It is not under way any more."""
    rig = Rig(settings)
    rig.source.put(record(0, type=None))
    rig.run(lambda: rig.source.committed.get(P0) == 1)

    assert rig.clock.now_s < 1_001


def test_what_is_ready_up_to_the_highest_offset_that_was_sent_still_goes(settings: config.Settings) -> None:
    """Left to the next owner, it would hold back the commit and have all above it delivered twice."""
    refusals = iter([error(RefusedError("request_refused", "ValidationException"))])
    rig = Rig(settings, lambda entries: next(refusals, None) or accept(entries))
    rig.source.put(*(record(n) for n in range(20)))
    revoked(rig, lambda: bool(rig.sink.requests))

    assert {P0: 20} == rig.source.committed
    assert set(range(20)) == set(rig.delivered_ids)


def test_a_stop_does_not_wait_for_what_was_given_up(settings: config.Settings) -> None:
    """A record below what was sent and settled is left, and owed no more."""
    rig = Rig(settings, failing(0, Retriable("InternalFailure", "")))
    rig.source.put(*(record(n, key="k") for n in range(5)), *(record(n) for n in range(5, 30)))
    rig.run(lambda: 29 in rig.delivered_ids)

    assert rig.clock.now_s < 1_000.5
    assert {P0: 0} == rig.source.committed


def test_letters_of_a_partition_that_was_lost_are_looked_after(settings: config.Settings) -> None:
    """The dead-letter producer is asked for news also when no letter of ours is under way."""
    rig = Rig(settings)
    rig.source.put(record(0, type=None))
    polled: list[float] = []
    acknowledged = rig.dead_letters.acknowledged

    def asked() -> Sequence[object]:
        polled.append(rig.clock.now_s)
        return acknowledged()

    rig.dead_letters.acknowledged = asked  # type: ignore[method-assign, assignment]

    def until() -> bool:
        if rig.dead_letters.letters and rig.source.polls == 50:
            rig.bridge.on_lost([P0])
            polled.clear()
        return rig.source.polls == 100

    rig.dead_letters.is_down = True
    rig.run(until)

    assert 20 < len(polled)


def test_offsets_are_committed_soon_after_letters(settings: config.Settings) -> None:
    """A crash would have them written again; and no more than a few commits a second for it."""
    delivery = settings.delivery.model_copy(update={"commit_interval": 300.0})
    rig = Rig(settings.model_copy(update={"delivery": delivery}))
    rig.source.put(*(record(n, type=None if n % 50 == 0 else "Made") for n in range(1_000)))
    commits: list[float] = []
    commit = rig.source.commit

    def counted(offsets: dict[Partition, int], *, wait_s: float) -> None:
        commits.append(rig.clock.now_s)
        commit(offsets, wait_s=wait_s)

    rig.source.commit = counted  # type: ignore[method-assign, assignment]
    rig.run(lambda: rig.source.committed.get(P0) == 1_000)

    assert rig.clock.now_s < 1_010
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(commits[1:-1]))
