"""The loop when deliveries fail: what is sent again, what becomes a dead letter, and who is to blame."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from connector import config
from connector.delivery import queue
from connector.delivery.source_gate import UNANSWERED
from connector.errors import OversizeError, RefusedError, ThrottledError, UnavailableError
from connector.model import Answer, Delivered, Entry, Outcome, Record, Refused, Retriable
from tests.fakes import accept, outcomes
from tests.pages import without_numbers, words_of
from tests.rig import P0, Rig, each, error, failing, number_of, others, record, with_retry, with_room
from tests.unit.delivery.test_source_gate import written

SOURCE = "aws.partner/example.com/orders"


def test_only_the_failed_entries_of_an_answer_are_sent_again(settings: config.Settings) -> None:
    """A partial failure re-sends what failed and nothing else."""
    failures: Iterator[Outcome] = iter([Retriable("InternalFailure", "once"), Delivered("id")])
    rig = Rig(settings, each(lambda n: next(failures) if n == 3 else Delivered("id")))
    rig.consumer.put(*(record(n) for n in range(5)))
    rig.run_to_the_end()

    assert [0, 1, 2, 3, 3, 4] == sorted(rig.delivered_ids)
    assert [] == rig.dead_letters.codes


def test_a_record_refused_with_an_unknown_code_while_others_succeed_is_dead_lettered(
    settings: config.Settings,
) -> None:
    """Its attempts count because the target is healthy."""
    rig = Rig(settings, failing(3, Retriable("unknown", "TeapotException: always")))
    rig.consumer.put(*(record(n) for n in range(400)))
    rig.run_to_the_end()

    assert ["retries_exhausted"] == rig.dead_letters.codes
    assert 3 == rig.dead_letters.letters[0][1].attempts


@pytest.mark.parametrize("code", ["InternalFailure", "ServiceUnavailable", "answer_invalid", "throttled"])
@pytest.mark.long
def test_trouble_of_eventbridge_is_never_the_fault_of_the_few_records_that_suffer_it(
    settings: config.Settings, code: str
) -> None:
    """However often they fail while others are accepted: for `max_age` they are tried again."""
    rig = Rig(settings, failing(3, Retriable(code, "", throttled=code == "throttled")))
    rig.consumer.put(*(record(n) for n in range(40)))

    def recovers() -> bool:
        if rig.clock.now_s > 1_100:
            rig.sink.judge = accept
        return {P0: 40}.items() <= rig.consumer.committed.items()

    rig.run(others(rig, until=recovers))

    assert [] == rig.dead_letters.codes
    assert 20 < rig.delivered_ids.count(3)


def test_what_fails_for_max_age_while_others_are_accepted_is_a_dead_letter(
    settings: config.Settings,
) -> None:
    """Not before, and soon after."""
    rig = Rig(with_retry(settings, max_age=60.0), failing(3, Retriable("InternalFailure", "always")))
    rig.consumer.put(*(record(n) for n in range(10)))
    rig.run(others(rig, until=lambda: rig.consumer.committed.get(P0) == 10))

    assert ["retries_exhausted"] == rig.dead_letters.codes
    assert 1_060 < rig.clock.now_s < 1_080


def test_an_outage_does_not_age_what_failed_before_it(settings: config.Settings) -> None:
    """An hour in which nothing is accepted says nothing about the record that failed last before it."""
    rig = Rig(with_retry(settings, max_age=60.0), failing(3, Retriable("InternalFailure", "bad luck")))
    rig.consumer.put(*(record(n) for n in range(10)))

    def until() -> bool:
        if 1_010 < rig.clock.now_s < 1_020:
            rig.sink.judge = lambda _: error(UnavailableError("connection refused"))
            rig.clock.now_s = 4_600
        elif 4_610 < rig.clock.now_s < 4_620:
            rig.sink.judge = failing(3, Retriable("InternalFailure", "bad luck"))
        elif rig.clock.now_s > 4_630:
            rig.sink.judge = accept
        return rig.consumer.committed.get(P0) == 10

    rig.run(others(rig, until=until))

    assert [] == rig.dead_letters.codes


@pytest.mark.long
def test_records_that_fail_alone_do_not_block_for_ever_when_nothing_else_fits(
    settings: config.Settings,
) -> None:
    """They fill all that may be pending, so nothing new can be accepted by which their age would count."""
    rig = Rig(
        with_retry(settings, max_age=30.0),
        each(lambda n: Delivered("id") if n % 10 == 0 else Retriable("InternalFailure", "always")),
    )
    rig.consumer.put(*(record(n) for n in range(1_000)))

    def until() -> bool:
        rig.clock.now_s += 0.1
        return rig.consumer.committed.get(P0) == 1_000

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
    rig.consumer.put(*(record(n) for n in range(20)))
    rig.run(others(rig, until=lambda: rig.consumer.committed.get(P0) == 20))

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
    rig.consumer.put(*(record(n) for n in range(20)))
    rig.run(others(rig, until=lambda: rig.consumer.committed.get(P0) == 20))

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
    rig.consumer.put(*(record(n) for n in range(200)))
    rig.run_to_the_end()

    assert [] == rig.dead_letters.codes


@pytest.mark.parametrize(
    "reason", [UnavailableError("connection refused"), ThrottledError("slow down")], ids=["down", "throttled"]
)
def test_an_outage_dead_letters_nothing(settings: config.Settings, reason: Exception) -> None:
    """A target that answers nothing is nobody's fault; when it is back all is delivered."""
    calls = iter(range(1000))
    rig = Rig(settings, lambda entries: error(reason) if next(calls) < 30 else accept(entries))
    rig.consumer.put(*(record(n) for n in range(40)))
    rig.run_to_the_end()

    assert [] == rig.dead_letters.codes
    assert set(range(40)) == set(rig.delivered_ids)


REFUSED_REQUESTS = [
    (RefusedError("request_refused", "ValidationException"), "request_refused"),
    (OversizeError("request_too_large", "413"), "request_too_large"),
]


@pytest.mark.parametrize(("reason", "code"), REFUSED_REQUESTS)
def test_a_refused_request_is_bisected_to_the_culprit(
    settings: config.Settings, reason: Exception, code: str
) -> None:
    """One bad entry never costs its neighbours, though EventBridge refuses the request as a whole."""

    def judge(entries: Sequence[Entry]) -> Answer:
        return error(reason) if any(number_of(entry) == 7 for entry in entries) else accept(entries)

    rig = Rig(settings, judge)
    rig.consumer.put(*(record(n) for n in range(20)))
    rig.run_to_the_end()

    assert [code] == rig.dead_letters.codes
    assert 7 == rig.dead_letters.letters[0][0].offset
    assert set(range(20)) == set(rig.delivered_ids)


@pytest.mark.parametrize("reason", [reason for reason, _ in REFUSED_REQUESTS])
def test_entries_of_a_refused_request_are_not_said_to_fail(
    settings: config.Settings, reason: Exception
) -> None:
    """They are sent again in smaller requests, and accepted."""
    rig = Rig(settings, lambda entries: error(reason) if len(entries) > 5 else accept(entries))
    rig.consumer.put(*(record(n) for n in range(60)))
    began_s, said = rig.clock.now_s, set()

    def until() -> bool:
        said.add(rig.health.ready()[1]["sent_again"])
        return rig.clock.now_s - began_s > 3

    rig.run(others(rig, until=until))

    assert {None} == said
    assert set(range(60)) <= set(rig.delivered_ids)


def test_an_entry_refused_for_good_is_dead_lettered_at_once(settings: config.Settings) -> None:
    """What can never succeed is not tried again."""
    rig = Rig(settings, failing(3, Refused("MalformedDetail", "Detail is malformed.")))
    rig.consumer.put(*(record(n) for n in range(5)))
    rig.run_to_the_end()

    assert ["entry_refused"] == rig.dead_letters.codes
    assert list(range(5)) == sorted(rig.delivered_ids)


@pytest.mark.long
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
    rig.consumer.put(*(record(n) for n in range(500)))
    rig.run(lambda: rig.clock.now_s > 1_020)

    assert looks < 20 * 1_000, "a look every 5 ms, and one for each probe"


BROWN_OUTS = 1
"""With how many seeds; `BROWN_OUTS=500 pytest -k brown_out` tries as many."""


@pytest.mark.parametrize("what", ["requests", "entries"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(int(os.environ.get("BROWN_OUTS", str(BROWN_OUTS)))))
@pytest.mark.long
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
    rig.consumer.put(*(record(n) for n in range(500)))
    rig.run(lambda: {P0: 500} == rig.consumer.committed, max_polls=50_000)

    assert [] == rig.dead_letters.codes


@pytest.mark.long
def test_records_that_never_succeed_are_dead_letters_also_where_they_are_many(
    settings: config.Settings,
) -> None:
    """A third of a topic that EventBridge never takes is no brown-out for ever, and no broken mapping."""
    rig = Rig(
        with_retry(with_room(settings), max_age=20.0),
        each(lambda n: Delivered("id") if n % 3 else Retriable("InternalFailure", "")),
    )
    rig.consumer.put(*(record(n) for n in range(600)))
    rig.run(others(rig, first=1_000_001, until=lambda: len(rig.dead_letters.codes) >= 200), max_polls=50_000)

    dead = [letter.offset for letter, _ in rig.dead_letters.letters if letter.partition == P0]
    assert list(range(0, 600, 3)) == sorted(dead)
    assert {"retries_exhausted"} == set(rig.dead_letters.codes)


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
    rig.consumer.put(*(record(n, tenant=f"t{n % 40}") for n in range(200)))
    rig.run(lambda: {P0: 200} == rig.consumer.committed)

    assert set(range(200)) == set(rig.delivered_ids)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (UnavailableError("connection refused"), "connection refused"),
        (ThrottledError("EventBridge asks for a lower rate"), "lower rate"),
        (None, "EventBridge in eu-central-1 has not answered for"),
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
    rig.consumer.put(record(0))

    def until() -> bool:
        nonlocal is_out
        is_ready, said = rig.health.ready()
        if is_out and not is_ready:
            assert why in str(said["reasons"])
            assert why in rig.first_sentence
            assert rig.clock.now_s - began_s < 5
            is_out = rig.sink.is_holding = False
            rig.sink.answer_held()
        return not is_out and is_ready

    rig.run(until)

    assert {P0: 1} == rig.consumer.committed


def bad_record() -> Record:
    return record(0)._replace(value=b"{")


def sources_away(rig: Rig) -> None:
    rig.state_feed.states[SOURCE] = "PENDING"
    rig.consumer.put(record(0))


def lookups_come_to_nothing(rig: Rig, why: str) -> None:
    rig.state_feed.is_blind, rig.state_feed.trouble = True, (rig.clock(), why)
    rig.consumer.put(record(0))


def looks_at_known_sources_fail(rig: Rig) -> None:
    rig.state_feed.trouble = (rig.clock(), "HTTP 500")


def letters_are_not_written(rig: Rig) -> None:
    rig.dead_letters.is_down = True
    rig.consumer.put(bad_record())


def kafka_is_down(rig: Rig) -> None:
    rig.consumer.problem = "no Kafka broker can be reached"


def receipts_are_lost(rig: Rig) -> None:
    rig.receipts.problem = "receipts are lost, and events go on: no topic"


def half_fails(rig: Rig) -> None:
    tries = itertools.count()
    result = Retriable("InternalFailure", "no luck")
    rig.sink.judge = each(lambda _: result if next(tries) % 2 else Delivered("id"))
    rig.consumer.put(*(record(n) for n in range(50)))


OUTAGES: dict[str, tuple[Callable[[Rig], None], str]] = {
    "lookups fail": (partial(lookups_come_to_nothing, why="HTTP 500"), "has succeeded for 2 s: HTTP 500"),
    "lookups hang": (partial(lookups_come_to_nothing, why=UNANSWERED), "EventBridge has not answered yet"),
    "looks at known sources fail": (looks_at_known_sources_fail, "no lookup of a source in eu-central-1"),
    "no letter can be written": (letters_are_not_written, "the dead-letter topic is down"),
    "Kafka is down": (kafka_is_down, "no Kafka broker can be reached"),
    "a customer is away": (sources_away, "1 customer has not accepted its source"),
    "receipts are lost": (receipts_are_lost, "no topic"),
    "half of it fails": (half_fails, "failed (InternalFailure) and are sent again"),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_every_outage_is_in_the_first_sentence_within_5_s(settings: config.Settings, outage: str) -> None:
    """In the words of `/readyz`, by the bridge's own clock."""
    begin, words = OUTAGES[outage]
    rig = Rig(settings)
    began_s = rig.clock.now_s
    begin(rig)

    def until() -> bool:
        sentence, ready = rig.first_sentence, rig.health.ready()[1]
        assert rig.clock.now_s - began_s < 5, sentence
        for text in words_of(ready):
            assert text in without_numbers(sentence)
        return words in sentence

    rig.run(others(rig, until=until))


def test_targets_that_are_all_down_are_told_apart(tmp_path: Path) -> None:
    """Each by its name, with the Region."""
    rig = Rig(written(tmp_path), lambda _: error(UnavailableError("connection refused")))
    rig.consumer.put(record(0), record(1, target="far"))
    said: list[str] = []

    def until() -> bool:
        if "eventbridge" in str(rig.health.ready()[1]["reasons"]):
            said.append(rig.first_sentence)
        return bool(said)

    rig.run(until)

    assert "target default: nothing was accepted in eu-central-1" in said[0]
    assert "; target far: nothing was accepted in us-east-1" in said[0]
