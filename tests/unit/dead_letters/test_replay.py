"""Replaying, with scripted neighbours: what is sent, what is recorded when, and what is left to others."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest

from connector import config
from connector.dead_letters.dry_run import DryRun, ReplayCounts, plan, tries
from connector.dead_letters.format import letter
from connector.dead_letters.replay import MAX_PENDING_LETTERS, Limits, Replay
from connector.dead_letters.replay_worker import slim
from connector.dead_letters.resolutions import DeadLetterState, Resolution, ResolutionTable
from connector.dead_letters.selection import ReplayBatch, Selection, chosen, scan
from connector.dead_letters.settlement import Failure
from connector.errors import (
    Code,
    DeadLetterError,
    HaltError,
    NotAuthorizedError,
    RecordError,
    UnavailableError,
)
from connector.ledger import Ack
from connector.model import (
    Answer,
    Delivered,
    Entry,
    Forbidden,
    Partition,
    Position,
    Ranges,
    Record,
    Refused,
    Retriable,
    SourceState,
    SourceStatus,
)
from connector.pipeline import Pipeline
from connector.telemetry.metrics import Telemetry
from tests.fakes import FakeClock, FakeDeadLetters, FakeSink, FakeWatch, accept, outcomes

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
    failure = Failure(
        code=code,
        stage="TRANSFORMATION",
        message="it found nothing",
        exception_class="MappingError",
        attempts=0,
        first_failure_ms=1,
        last_failure_ms=1,
        request_id=None,
        target=None,
        source=None,
        detail_type=None,
        event_id=f"first/{offset}",
    )
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
        chosen = (r for r in self.records if r.offset in range(*ranges.get(r.partition.number, (0, 0))))
        while batch := list(islice(chosen, 10)):
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
        self.resolutions = FakeResolutions()
        self.polls = 0
        self.on_poll: Callable[[int], None] = self.assign_at_first
        self.letters = FakeLetters(records)
        self.ranges = dict.fromkeys({r.partition.number for r in records}, (0, 1000000))
        self.max_replays = max_replays
        self.state_feeds = {name: FakeWatch() for name in settings.all_targets}
        self.state_feed = self.state_feeds["default"]
        self.trial = DryRun(Pipeline(settings, None), lambda _: None)
        self.problems: list[str] = []
        """What the progress said."""
        self.replay = Replay(
            settings,
            ranges=self.ranges,
            tries=lambda ranges: tries(self.scan(ranges), self.trial),
            trial=self.trial,
            limits=limits,
            resolutions=self.resolutions,
            sink=self.sink,
            state_feeds=self.state_feeds,
            dead_letters=self.dead_letters,
            telemetry=Telemetry(),
            report=self.report,
            clock_s=self.clock,
        )

    def report(self, _tally: ReplayCounts, problem: str | None) -> None:
        if problem is not None and problem not in self.problems:
            self.problems.append(problem)

    def scan(self, ranges: Ranges) -> Iterator[ReplayBatch]:
        resolved = ResolutionTable(LETTERS, dict.fromkeys(self.ranges, (0, 1000)))
        for offset, resolution in self.resolutions.written.items():
            for number in self.ranges:
                resolved.note(Position(Partition(LETTERS, number), offset), resolution)
        return map(chosen, scan(self.letters, resolved, Selection(), ranges, max_replays=self.max_replays))

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

    def run(self) -> ReplayCounts:
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


@pytest.fixture
def settings(tmp_path: Path) -> config.Settings:
    file = tmp_path / "bridge.yaml"
    file.write_text(SETTINGS)
    return config.load(file, {})


def test_each_letter_is_sent_once_with_the_id_of_its_first_attempt(settings: config.Settings) -> None:
    """And each is recorded as delivered, with the EventId that its own result carried."""
    rig = Rig([record(n) for n in range(100)], settings=settings)

    tally = rig.run()

    assert list(range(100)) == sorted(rig.sent)
    assert {"template_null": 100} == tally.tried
    assert {DeadLetterState.DELIVERED} == set(rig.resolutions.states.values())
    assert 100 == len(rig.resolutions.states)
    for entries in rig.sink.requests:
        for place, entry in enumerate(entries):
            assert f"first/{number_of(entry)}" == dict(detail(entry))["_kafka"]["id"]  # type: ignore[index]
            assert f"id-{place}" == rig.resolutions.written[number_of(entry)].event_id


def test_nothing_is_recorded_before_the_answer(settings: config.Settings) -> None:
    """A replay that dies with requests under way has recorded none of them."""
    rig = Rig([record(n) for n in range(5)], settings=settings)
    rig.sink.is_holding = True
    seen: list[int] = []

    def look_up(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 50:
            seen.extend([len(rig.sent), len(rig.resolutions.written)])
            rig.sink.is_holding = False
            rig.sink.answer_held()

    rig.on_poll = look_up
    rig.run()

    assert [5, 0] == seen
    assert 5 == len(rig.resolutions.written)


def test_what_fails_again_is_resolved_after_its_new_letter_is_safe(settings: config.Settings) -> None:
    """The new letter has one more replay, and the old one stays open while the broker lacks it."""
    rig = Rig([record(0, type=None), record(1)], settings=settings)
    rig.dead_letters.is_down = True
    open_meanwhile: list[bool] = []

    def look_up(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 50:
            open_meanwhile.append(0 not in rig.resolutions.written)
            rig.dead_letters.is_down = False

    rig.on_poll = look_up
    rig.run()

    ((again, failure),) = rig.dead_letters.letters
    assert [True] == open_meanwhile
    assert {0: DeadLetterState.DEAD_LETTERED_AGAIN, 1: DeadLetterState.DELIVERED} == rig.resolutions.states
    assert b"1" == dict(again.headers)["partner-bridge.replay-count"]
    assert ("template_null", "first/0") == (failure.code, failure.event_id)


def test_what_eventbridge_refuses_becomes_a_new_letter(settings: config.Settings) -> None:
    """Its neighbours in the request are delivered."""
    rig = Rig([record(n) for n in range(3)], settings=settings)
    refused = Refused("InvalidArgument", "no")
    rig.sink.judge = lambda entries: outcomes(
        [refused if number_of(e) == 1 else accept([e]).outcomes[0] for e in entries]
    )

    tally = rig.run()

    assert ["entry_refused"] == rig.dead_letters.codes
    assert (2, {"entry_refused": 1}) == (tally.delivered, tally.failed)
    assert DeadLetterState.DEAD_LETTERED_AGAIN is rig.resolutions.states[1]


def test_what_a_rule_drops_is_recorded_as_discarded(settings: config.Settings) -> None:
    """The user's own filter says that it is not to be sent."""
    rig = Rig([record(0, draft=True)], settings=settings)

    tally = rig.run()

    assert [] == rig.sent
    assert {"filter": 1} == tally.dropped
    assert {0: DeadLetterState.DISCARDED} == rig.resolutions.states


def test_the_letters_of_a_key_wait_for_each_other(settings: config.Settings) -> None:
    """One that is refused for now is sent again before those behind it."""
    rig = Rig([record(n, key=b"k") for n in range(100)], settings=settings)
    refusals = iter([True, False, True])
    accepted: list[int] = []

    def judge(entries: Sequence[Entry]) -> Answer:
        if next(refusals, False):
            return outcomes([Retriable("InternalFailure", "later")] * len(entries))
        accepted.extend(map(number_of, entries))
        return accept(entries)

    rig.sink.judge = judge
    rig.run()

    assert list(range(100)) == accepted


def test_a_revoked_partition_is_finished_and_not_touched_again(settings: config.Settings) -> None:
    """In flight comes to its end and is recorded; what was not sent is left to the next owner."""
    records = [record(n, partition=n % 2, key=b"%d" % (n % 2)) for n in range(200)]
    rig = Rig(records, settings=settings)
    sent_then: list[int] = []

    def revoke(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 3:
            rig.replay.on_revoked([1])
            sent_then.extend(rig.sent)

    rig.on_poll = revoke
    tally = rig.run()

    assert {n for n in sent_then if n % 2} == {n for n in rig.sent if n % 2}
    assert {n for n in rig.sent if n % 2} == {n for n in rig.resolutions.written if n % 2}
    assert set(range(0, 200, 2)) == {n for n in rig.sent if n % 2 == 0}
    assert [1] == list(tally.elsewhere)


def test_a_partition_that_comes_back_goes_on_where_it_was(settings: config.Settings) -> None:
    """Nothing of it is sent twice, and nothing is left out."""
    rig = Rig([record(n, key=b"k") for n in range(200)], settings=settings)

    def swap(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls in {3, 6, 9}:
            rig.replay.on_revoked([0])
        if polls in {5, 8, 12}:
            rig.replay.on_assigned([0])

    rig.on_poll = swap
    tally = rig.run()

    assert list(range(200)) == rig.sent
    assert () == tuple(tally.elsewhere)


def test_a_late_answer_for_a_lost_partition_is_recorded(settings: config.Settings) -> None:
    """It is true, and it may keep the next owner from sending the same; but no letter is written for it."""
    rig = Rig([record(n) for n in range(2)], settings=settings)
    rig.sink.is_holding = True
    rig.sink.judge = lambda entries: outcomes([accept(entries).outcomes[0], Refused("no", "no")])

    def lose(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 10:
            rig.replay.on_lost([0])
            rig.sink.answer_held()
        if polls == 12:
            rig.replay.stop()

    rig.on_poll = lose
    rig.run()

    assert {0: DeadLetterState.DELIVERED} == rig.resolutions.states
    assert [] == rig.dead_letters.letters


def test_a_stop_finishes_what_is_in_flight(settings: config.Settings) -> None:
    """It is recorded, and nothing new is sent."""
    rig = Rig([record(n) for n in range(500)], settings=settings)

    def stop(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 4:
            rig.replay.stop()

    rig.on_poll = stop
    tally = rig.run()

    assert tally.is_stopped
    assert 0 < len(rig.sent) < 500
    assert sorted(rig.sent) == sorted(rig.resolutions.written)


def test_it_halts_when_eventbridge_takes_nothing_from_us(settings: config.Settings) -> None:
    """Every letter stays open."""
    rig = Rig([record(n) for n in range(50)], settings=settings)
    rig.sink.judge = lambda entries: outcomes([Forbidden("AccessDenied", "no")] * len(entries))

    with pytest.raises(NotAuthorizedError, match="AccessDenied"):
        rig.run()

    assert {} == rig.resolutions.written
    assert [] == rig.dead_letters.letters


def test_it_halts_when_everything_fails_again(settings: config.Settings) -> None:
    """A mapping that is still broken must not rewrite the whole topic."""
    rig = Rig([record(n, type=None) for n in range(500)], settings=settings)

    with pytest.raises(DeadLetterError, match="11 letters in a row failed again"):
        rig.run()

    assert 11 == len(rig.dead_letters.letters)
    assert 11 == len(rig.resolutions.written)


def test_it_halts_when_nothing_can_be_recorded(settings: config.Settings) -> None:
    """Going on would send what the next replay sends again."""
    rig = Rig([record(n) for n in range(500)], settings=settings)
    rig.resolutions.is_broken = True

    with pytest.raises(DeadLetterError, match="resolutions topic"):
        rig.run()

    assert len(rig.sent) <= 4 * 20


@pytest.mark.parametrize("refused", ["acknowledged", "write", "answers"])
def test_a_halt_records_what_was_in_flight(
    settings: config.Settings, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dead-letter topic takes no letter any more, while EventBridge has eighty others: their answers are
    waited for and recorded, nothing more is sent, and then it ends."""
    rig = Rig([*(record(n) for n in range(100)), record(100, type=None)], settings=settings)
    rig.sink.is_holding = True
    acknowledged = rig.dead_letters.acknowledged
    looks = 0

    def look_up() -> Sequence[Ack]:
        nonlocal looks
        looks += 1
        if looks == 10:
            rig.sink.is_holding = False
            rig.sink.answer_held()
        if refused != "write" and rig.sent:
            raise DeadLetterError("this user may not write letters")
        return acknowledged()

    monkeypatch.setattr(rig.dead_letters, "acknowledged", look_up)
    if refused == "write":
        monkeypatch.setattr(rig.dead_letters, "write", raises("this user may not write letters"))
    if refused == "answers":
        no = Refused("InvalidArgument", "no")
        # The first of each request fails again, meanwhile.
        rig.sink.judge = lambda entries: outcomes([no, *accept(entries[1:]).outcomes])

    with pytest.raises(DeadLetterError, match="may not write letters"):
        rig.run()

    assert [*range(80)] == sorted(rig.sent)
    assert (76 if refused == "answers" else 80) == len(rig.resolutions.written)
    assert {DeadLetterState.DELIVERED} == set(rig.resolutions.states.values())
    assert rig.resolutions.flushed == set(rig.resolutions.written)


def test_a_halt_waits_no_longer_than_stopping_may_take(settings: config.Settings) -> None:
    """EventBridge does not answer either."""
    rig = Rig([record(n) for n in range(100)], settings=settings)
    rig.sink.is_holding = True
    began_s = 0.0

    def look_up(polls: int) -> None:
        nonlocal began_s
        rig.assign_at_first(polls)
        if polls == 5:
            began_s = rig.clock()
            rig.dead_letters.refuses = True

    rig.on_poll = look_up
    with pytest.raises(DeadLetterError, match="may not write letters"):
        rig.run()

    assert 80 == len(rig.sent)
    assert 2.0 <= rig.clock() - began_s < 2.5
    assert {} == rig.resolutions.written


def test_a_resolution_that_cannot_be_written_keeps_no_other_from_it(settings: config.Settings) -> None:
    """Those of another partition may well be."""
    rig = Rig([record(n) for n in range(40)], settings=settings)
    rig.resolutions.breaks_at = 3

    with pytest.raises(DeadLetterError, match="resolutions topic"):
        rig.run()

    assert {*rig.sent} - {3} == rig.resolutions.flushed


def test_a_halt_says_too_what_could_not_be_recorded(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those letters are sent again by the next replay."""
    rig = Rig([record(n) for n in range(3)], settings=settings)
    rig.sink.judge = lambda entries: outcomes([Forbidden("AccessDenied", "no")] * len(entries))
    monkeypatch.setattr(rig.resolutions, "flush", raises("5 were not acknowledged"))

    with pytest.raises(HaltError, match=r"AccessDenied.* Besides: 5 were not acknowledged"):
        rig.run()


def raises(text: str) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise DeadLetterError(text)

    return refuse


def test_little_is_held_while_eventbridge_is_silent(settings: config.Settings) -> None:
    """However many letters there are, no more than a window of them is read ahead."""
    rig = Rig([record(n) for n in range(MAX_PENDING_LETTERS + 500)], settings=settings)
    rig.sink.is_holding = True
    tried: list[int] = []

    def look_up(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 200:
            tried.append(rig.replay.tally.tried_in_all)
            rig.sink.is_holding = False
            rig.sink.answer_held()

    rig.on_poll = look_up
    rig.run()

    assert [MAX_PENDING_LETTERS] == tried
    assert MAX_PENDING_LETTERS + 500 == len(rig.resolutions.written)


def test_nothing_more_is_sent_while_too_little_is_recorded(settings: config.Settings) -> None:
    """What a kill would make go twice stays small when the resolutions topic is slow."""
    rig = Rig([record(n) for n in range(100)], settings=settings)
    rig.resolutions.unwritten = 1_000
    sent: list[int] = []

    def look_up(polls: int) -> None:
        rig.assign_at_first(polls)
        if polls == 100:
            sent.append(len(rig.sent))
            rig.resolutions.unwritten = 0

    rig.on_poll = look_up
    rig.run()

    assert [0] == sent
    assert 100 == len(rig.sent)


def test_a_schema_that_cannot_be_had_is_waited_for(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No letter is skipped meanwhile, and none fails for it."""
    rig = Rig([record(n) for n in range(20)], settings=settings)
    refusals = iter([True] * 5)
    whole = rig.trial.whole

    def sometimes(found: object) -> object:
        if next(refusals, False):
            raise UnavailableError("the registry does not answer")
        return whole(found)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.trial, "whole", sometimes)
    tally = rig.run()

    assert list(range(20)) == rig.sent
    assert {} == tally.left


# Sources

ORDERS, BLUE = "aws.partner/example.com/orders", "aws.partner/example.com/blue"
DENIED = SourceStatus("UNKNOWN", reason="AccessDeniedException", is_denied=True)
REFUSED_SOURCE = Retriable("source_unknown", "Event Bus Not Found.")
NO_ANSWER = SourceStatus("UNKNOWN", reason="no lookup of it was answered in time")


def test_letters_of_a_source_that_is_not_active_are_left_open(settings: config.Settings) -> None:
    """Each is looked up before anything is sent; what is left was neither tried, nor did it fail."""
    rig = Rig([record(n, tenant="blue" if n % 2 else "orders") for n in range(40)], settings=settings)
    rig.state_feed.states[BLUE] = "PENDING"

    tally = rig.run()

    assert list(range(0, 40, 2)) == rig.sent == sorted(rig.resolutions.states)
    assert ({"template_null": 20}, 20, {}) == (tally.tried, tally.delivered, tally.failed)
    ((reason, left),) = tally.left.items()
    assert (20, True) == (left, reason.startswith("its source is PENDING: its customer has not associated"))
    assert [] == rig.dead_letters.letters


def test_letters_wait_for_the_lookup_of_their_source_and_the_progress_says_so(
    settings: config.Settings,
) -> None:
    """However long that takes, as long as lookups are answered: none is sent unseen."""
    rig = Rig([record(n) for n in range(40)], settings=settings)
    rig.state_feed.is_blind = True
    rig.state_feed.trouble = (0.0, "EventBridge asks for fewer calls")

    def answered() -> None:
        assert [] == rig.sent
        rig.state_feed.is_blind = False

    rig.at(poll_500=answered)
    rig.run()

    assert list(range(40)) == rig.sent
    waits = "40 letters wait for lookups of their sources: EventBridge asks for fewer calls"
    assert waits in rig.problems


def test_letters_are_left_open_rather_than_sent_unseen(settings: config.Settings) -> None:
    """A control plane that gives no answer is no reason to guess."""
    rig = Rig([record(n) for n in range(40)], settings=settings)
    rig.state_feed.is_blind = True
    rig.at(poll_100=lambda: rig.state_feed.say(ORDERS, NO_ANSWER))

    tally = rig.run()

    assert [] == rig.sent
    assert {"its source is UNKNOWN: no lookup of it was answered in time": 40} == tally.left
    assert ({}, {}) == (tally.tried, rig.resolutions.states)


def test_without_permission_only_letters_that_no_closed_source_wrote_are_sent(
    settings: config.Settings,
) -> None:
    """As the bridge would send them. Those that were written because the source was closed stay open."""
    codes: tuple[Code, ...] = ("template_null", "source_inactive", "source_unknown", "avro_invalid")
    rig = Rig([record(n, key=b"k", code=codes[n % 4]) for n in range(40)], settings=settings)
    rig.state_feed.is_blind = True
    rig.at(poll_50=lambda: rig.state_feed.say(ORDERS, DENIED))

    tally = rig.run()

    assert [n for n in range(40) if n % 4 in {0, 3}] == rig.sent
    assert {"template_null": 10, "avro_invalid": 10} == tally.tried
    assert {"its source was not ACTIVE when it was written, and may not be looked up": 20} == tally.left
    assert {"AccessDeniedException": 20} == tally.unseen


def test_letters_of_a_source_that_is_refused_and_cannot_be_looked_up_are_left_open(
    settings: config.Settings,
) -> None:
    """Nobody else is there whose events could be accepted, so waiting would never end."""
    rig = Rig([record(n) for n in range(4)], settings=settings)
    rig.state_feed.is_blind = True
    rig.at(**{f"poll_{n}": lambda: rig.state_feed.say(ORDERS, DENIED) for n in range(5, 2000, 50)})
    rig.sink.judge = lambda entries: outcomes([REFUSED_SOURCE] * len(entries))

    tally = rig.run()

    (reason,) = tally.left
    assert "EventBridge refuses its events" in reason
    assert ({reason: 4}, {}, {}) == (tally.left, tally.failed, rig.resolutions.states)
    assert 1 == len(rig.sink.requests)


@pytest.mark.parametrize("policy", ["dead_letter", "send"])
@pytest.mark.parametrize("state", ["ACTIVE", "MISSING"])
def test_letters_of_a_source_that_is_refused_all_the_time_are_left_open(
    settings: config.Settings, tmp_path: Path, policy: str, state: SourceState
) -> None:
    """Whatever a lookup shows, also where the topic sends to closed sources."""
    file = tmp_path / "policy.yaml"
    file.write_text(SETTINGS + f"    on_inactive_source: {policy}\n")
    rig = Rig([record(n) for n in range(4)], settings=config.load(file, {}))
    rig.state_feed.states[ORDERS] = state
    rig.sink.judge = lambda entries: outcomes([REFUSED_SOURCE] * len(entries))

    tally = rig.run()

    assert 4 == sum(tally.left.values())
    assert ({}, {}) == (tally.failed, rig.resolutions.states)
    assert policy == "send" or len(rig.sink.requests) <= 3
    if (policy, state) == ("dead_letter", "ACTIVE"):
        assert "4 letters wait, since EventBridge refuses the events of their sources" in rig.problems


def test_a_source_that_closes_midway_gets_what_is_in_flight_and_no_more(settings: config.Settings) -> None:
    """What waits behind a request is left open, and so is what EventBridge asks for again."""
    rig = Rig([record(n, key=b"k") for n in range(40)], settings=settings)
    rig.sink.is_holding = True

    def close() -> None:
        assert 20 == len(rig.sent)
        rig.state_feed.change(ORDERS, "PENDING")

    def answer() -> None:
        rig.sink.judge = lambda entries: outcomes(
            [Retriable("InternalFailure", "again") if number_of(e) % 2 else Delivered("id") for e in entries]
        )
        rig.sink.is_holding = False
        rig.sink.answer_held()

    rig.at(poll_50=close, poll_60=answer)
    tally = rig.run()

    assert 20 == len(rig.sent)
    assert set(range(0, 20, 2)) == rig.resolutions.states.keys()
    assert (10, 30, {}) == (tally.delivered, sum(tally.left.values()), tally.failed)


def test_so_many_are_tried_though_others_are_left_for_their_source(settings: config.Settings) -> None:
    """`--max` counts letters tried: those that are not sent make room for others."""
    rig = Rig(
        [record(n, tenant="blue" if n % 2 else "orders") for n in range(40)],
        settings=settings,
        limits=Limits(max_letters=7),
    )
    rig.state_feed.states[BLUE] = "PENDING"
    rig.state_feed.is_blind = True
    rig.at(poll_50=lambda: setattr(rig.state_feed, "is_blind", False))

    tally = rig.run()

    assert [0, 2, 4, 6, 8, 10, 12] == rig.sent
    assert 7 == tally.tried_in_all == tally.delivered


def test_after_an_outage_a_replay_looks_again_before_it_sends(settings: config.Settings) -> None:
    """A customer may have left while both planes were down: the letters already taken are not sent either."""
    rig = Rig([record(n) for n in range(900)], settings=settings)
    rig.state_feed.max_age_s = 5.0
    rig.sink.judge = lambda _: Answer((), UnavailableError("down"), None, 0.01)

    def down() -> None:
        assert 0 < len(rig.sent)
        rig.state_feed.is_blind = True
        rig.clock.now_s += 60

    def up() -> None:
        rig.sink.requests.clear()
        rig.sink.judge = accept

    def answered() -> None:
        assert [] == rig.sent
        rig.state_feed.states[ORDERS] = "PENDING"
        rig.state_feed.is_blind = False

    rig.at(poll_100=down, poll_200=up, poll_300=answered)
    tally = rig.run()

    assert ([], {}) == (rig.sent, rig.resolutions.states)
    assert (0, 900) == (tally.delivered, sum(tally.left.values()))


@pytest.mark.parametrize(
    ("seen", "code", "reason"),
    [
        (SourceStatus("ACTIVE"), "template_null", None),
        (SourceStatus("PENDING"), "template_null", "its source is PENDING: its customer has not"),
        (
            SourceStatus("OTHER", reason="called SLEEPING"),
            "template_null",
            "its source is OTHER: called SLEEPING",
        ),
        (NO_ANSWER, "template_null", "its source is UNKNOWN: no lookup of it was answered"),
        (DENIED, "template_null", None),
        (DENIED, "source_inactive", "its source was not ACTIVE when it was written"),
    ],
)
def test_a_plan_says_what_a_replay_does(
    settings: config.Settings, seen: SourceStatus, code: Code, reason: str | None
) -> None:
    """Of each letter, whatever was seen of its source."""
    rig = Rig([record(0, code=code)], settings=settings)
    rig.state_feed.is_blind = True
    rig.at(poll_50=lambda: rig.state_feed.say(ORDERS, seen))
    foreseen = plan(
        rig.scan(rig.ranges),
        trial=rig.trial,
        look_up=lambda *_: seen,
        max_letters=None,
        report=lambda *_: None,
    )
    replayed = rig.run()
    replayed.elsewhere = ()  # a plan has no group

    assert foreseen == replayed
    assert (reason is None) == (replayed.left == {})
    assert all(text.startswith(reason or "") for text in replayed.left)


def test_parked_letters_are_left(settings: config.Settings) -> None:
    """As many replays as allowed have failed."""
    written = record(0)
    headers = tuple(h for h in written.headers if h[0] != "partner-bridge.replay-count")
    parked = written._replace(headers=(*headers, ("partner-bridge.replay-count", b"3")))
    rig = Rig([parked, record(1)], settings=settings)

    tally = rig.run()

    assert 1 == tally.parked
    assert [1] == rig.sent


def test_only_so_many_are_tried(settings: config.Settings) -> None:
    """`--max` counts letters tried; the others stay open."""
    rig = Rig([record(n) for n in range(50)], settings=settings, limits=Limits(max_letters=7))

    tally = rig.run()

    assert 7 == tally.tried_in_all == len(rig.sent)


def test_a_plan_says_what_would_become_of_each_and_sends_nothing(settings: config.Settings) -> None:
    """By the code they have, and by the code they would get."""
    gone = record(3)
    headers = tuple((n, b"gone" if n == "__connect.errors.topic" else v) for n, v in gone.headers)
    rig = Rig(
        [record(0), record(1, type=None), record(2, draft=True), gone._replace(headers=headers)],
        settings=settings,
    )

    tally = plan(
        rig.scan(rig.ranges),
        trial=rig.trial,
        look_up=lambda *_: SourceStatus("ACTIVE"),
        max_letters=None,
        report=lambda *_: None,
    )

    assert {"template_null": 3} == tally.tried
    assert (1, {"template_null": 1}, {"filter": 1}) == (tally.delivered, tally.failed, tally.dropped)
    assert {"its origin is gone: no entry under `topics` matches it": 1} == tally.left
    assert "is null or missing" in tally.messages["template_null"]
    assert [] == rig.sent


@pytest.mark.parametrize(
    "read",
    [record(0, key=b"k"), record(0, draft=True), record(0, type=None)],
    ids=["sent", "dropped", "fails"],
)
def test_what_goes_through_the_pipe_comes_out_as_it_was(settings: config.Settings, read: Record) -> None:
    """A letter that another process read and tried is handled as if it was tried here."""
    rig = Rig([read], settings=settings)
    ((tried,),) = (batch.tried for batch in tries(rig.scan(rig.ranges), rig.trial))
    letter, result = pickle.loads(pickle.dumps(slim(tried)))

    assert tried.letter.record == letter.record
    assert (tried.letter.id, tried.letter.label) == (letter.id, letter.label)
    assert rig.trial.event_id(letter) == rig.trial.event_id(tried.letter) == "first/0"
    assert tried.letter.first_failure_ms == letter.first_failure_ms
    if isinstance(tried.result, RecordError):
        assert isinstance(result, type(tried.result))
        assert (tried.result.stage, tried.result.code, str(tried.result)) == (
            result.stage,
            result.code,
            str(result),
        )
    else:
        assert tried.result == result


def test_large_letters_are_tried_a_few_at_a_time(settings: config.Settings) -> None:
    """A hundred at once would not fit into memory. Each is tried once, and what is left open is told once."""
    rig = Rig([record(n, text="x" * 400_000) for n in range(10)], settings=settings)
    (batch,) = rig.scan(rig.ranges)
    steps = list(tries([batch._replace(parked=3, left={"why": 2})], rig.trial))

    assert [3, 3, 3, 1] == [len(step.tried) for step in steps]
    assert list(range(10)) == [tried.letter.id.offset for step in steps for tried in step.tried]
    assert ([3, 0, 0, 0], {"why": 2}) == ([step.parked for step in steps], steps[0].left)
    assert not any(step.left for step in steps[1:])


def test_reasons_are_counted_in_bounded_memory() -> None:
    """However many different ones there are."""
    tally = ReplayCounts()
    for number in range(1_000):
        tally.count(tally.left, f"reason {number}")

    assert len(tally.left) <= 21
    assert 1_000 == sum(tally.left.values())
