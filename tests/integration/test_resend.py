"""What was delivered is sent again to one customer, with the same ids, whatever happens meanwhile."""

from __future__ import annotations

import shlex
import signal
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from connector.model import Json
from connector.resend.resend import MAX_UNCOMMITTED
from tests.resending import PREFIX, Resends, ids
from tests.scale import scaled
from tests.services.child import wait_until
from tests.topics import Sent
from tests.world import REGION, World, note

NOTES = scaled(3_000, 200_000)
CUSTOMERS = ("acme", *(f"customer-{number}" for number in range(1, scaled(3, 51))))
KEYS = 50
IN_FLIGHT = 4 * 20
"""Requests at once in these settings, and entries in each."""
PENDING = CUSTOMERS[-1]
"""A customer that has taken back its association by the time of the resend."""
FOUND = 3
"""Events of the last run that are looked for."""


@pytest.fixture
def resends(world: World, tmp_path: Path) -> Iterator[Resends]:
    """A topic of four partitions without notes."""
    resends = Resends(world, tmp_path)
    yield resends
    resends.close()


def notes(count: int, *tenants: str, **more: Json) -> list[tuple[str, bytes | None, dict[str, Json]]]:
    """So many notes of these tenants in turn, of fifty keys."""
    return [
        (tenants[number % len(tenants)], b"key-%d" % (number % KEYS), dict(more)) for number in range(count)
    ]


@pytest.mark.parametrize("customer", ["acme", None])
def test_a_time_is_sent_again_through_two_kills(resends: Resends, customer: str | None) -> None:
    """Most of one customer's notes again, or of all, with `kill -9` twice: exactly these events, with the ids
    of the first time, in the order of each key; none to others, nor to one who is PENDING; the bridge's own
    offsets stay. What was in flight goes twice, with what was answered since the last commit."""
    world = resends.world
    since, until = NOTES // 10, NOTES * 9 // 10
    resends.produce(notes(NOTES, *CUSTOMERS))
    first = resends.deliver()
    world.aws.set_source(REGION, PREFIX + PENDING, "PENDING")
    offsets = world.topics.committed(world.name, resends.partitions)
    tenants = {customer} if customer else {*CUSTOMERS} - {PENDING}
    wanted = {
        detail["_kafka"]["id"]
        for detail in first
        if detail["tenant"] in tenants and since <= detail["number"] < until
    }
    chosen = [*resends.between(since, until), "--execute", "--rate", "0"]
    if customer:
        chosen += ["--source", PREFIX + customer]

    runs: list[list[str]] = []
    for sent_by in (200, 500):
        world.aws.script({"latency_ms": 100})
        child = resends.start(*chosen)
        resends.wait_accepted(NOTES + sent_by, child)
        child.kill()
        world.aws.script({"latency_ms": 0})
        wait_until(lambda: world.aws.counts().in_flight == 0, what="all that was in flight is answered")
        runs.append(ids(world.details()[NOTES + sum(map(len, runs)) :]))
    resends.run(*chosen, code=0 if customer else 4)  # 4: the events of who is PENDING were left out
    again = world.details()[NOTES:]
    runs.append(ids(again[sum(map(len, runs)) :]))
    finished = resends.run(*chosen)

    times = Counter(ids(again))
    repeated = [len({*run}.intersection(chain(*runs[number:]))) for number, run in enumerate(runs, 1)]
    print(f"{repeated} sent once more after each run")
    assert wanted == times.keys()
    assert sum(CUSTOMERS[n % len(CUSTOMERS)] in tenants for n in range(since, until)) == len(wanted)
    assert [len({*run}) for run in runs] == [*map(len, runs)], "a run repeats nothing that it sent itself"
    assert max(repeated) <= IN_FLIGHT + MAX_UNCOMMITTED, "after one kill"
    assert all({*run}.difference(*runs[:number]) for number, run in enumerate(runs)), "each goes on"
    assert tenants == {detail["tenant"] for detail in again}
    assert (len(again) + NOTES, 0) == (world.aws.counts().accepted, world.aws.counts().dropped)
    assert "This resend was finished at 20" in finished
    assert offsets == world.topics.committed(world.name, resends.partitions)
    assert [] == world.letters()
    seen: dict[tuple[str, int], int] = {}
    for tenant, number in dict.fromkeys((detail["tenant"], detail["number"]) for detail in again):
        assert seen.get((tenant, number % KEYS), -1) < number
        seen[tenant, number % KEYS] = number
    once = [each for each in runs[-1] if times[each] == 1]
    for event_id in once[-FOUND:]:
        said = [each["eventbridge_id"] for each in resends.find(event_id)["deliveries"]]
        assert sorted(said) == sorted(resends.eventbridge_ids(event_id))
        assert 2 == len({*said})
    assert FOUND <= len(once)


def test_the_plan_counts_and_sends_nothing(resends: Resends) -> None:
    """For whom, what is filtered, would fail and is left out, how long it takes, and the command to do it."""
    resends.world.aws.set_source(REGION, f"{PREFIX}blue", "PENDING")
    mixed = notes(400, "acme", "blue")
    mixed[10] = ("acme", b"a", {"kind": None})
    mixed[12] = ("acme", b"a", {"draft": True})
    resends.produce(mixed)

    output = resends.run(*resends.between(0, 300))
    found = resends.as_json(*resends.between(0, 300))
    one = resends.run(*resends.between(0, 300), "--source", f"{PREFIX}blue")
    key = resends.as_json(*resends.between(0, 300), "--key", "key-7", "--detail-type", "Note")

    assert 0 == resends.world.aws.counts().accepted
    for text in (
        "records in the range                            300",
        "left out, for their source                      150",
        "would be sent                                   148",
        "not sent, by filter of the configuration          1",
        "1  template_null: ",
        "At 100 a second that takes about 1 s",
        "with the same event ids",
        "Left out: 150 events: its source is PENDING",
        "Nothing was sent. To do it:",
    ):
        assert text in output
    assert (300, 148, {"filter": 1}) == (found["records"], found["events"], found["dropped"])
    assert {f"{PREFIX}acme", f"{PREFIX}blue"} == found["sources"].keys()
    assert "There is nothing to send" in one
    assert "template_null" not in one  # that note is acme's
    assert (6, 0) == (key["sources"][f"{PREFIX}blue"]["events"], key["events"])


def test_a_pending_customer_gets_none(resends: Resends) -> None:
    """Its events are left out and counted, neither held for ever nor dead-lettered; others get theirs."""
    world = resends.world
    resends.produce(notes(400, "acme", "blue"))
    world.aws.set_source(REGION, f"{PREFIX}blue", "PENDING")

    found = resends.as_json(*resends.between(0, 400), "--execute", code=4)
    finished = resends.as_json(*resends.between(0, 400), "--execute")

    assert ({f"{PREFIX}acme": {"events": 200, "left_out": None}}, 200) == (found["sources"], found["events"])
    ((reason, left),) = found["left_out"].items()
    assert (200, True) == (left, reason.startswith("its source is PENDING"))
    assert {"acme"} == {detail["tenant"] for detail in world.details()}
    assert (0, []) == (world.aws.counts().dropped, world.letters())
    assert finished["finished_at"] is not None


def test_what_fails_becomes_a_dead_letter_that_names_the_resend(resends: Resends) -> None:
    """With the header `partner-bridge.resend`; of another customer's failures none is written."""
    world = resends.world
    mixed = notes(100, "acme", "blue")
    mixed[20] = ("acme", b"a", {"kind": None})
    mixed[21] = ("blue", b"b", {"kind": None})
    resends.produce(mixed)

    found = resends.as_json(*resends.between(0, 100), "--source", f"{PREFIX}acme", "--execute")

    (letter,) = world.topics.read(world.dead_letter_topic)
    headers = dict(letter.headers)
    assert (49, {"template_null": 1}) == (found["events"], found["failed"])
    assert found["id"].encode() == headers["partner-bridge.resend"]
    assert (b"template_null", b"0") == (
        headers["partner-bridge.code"],
        headers["partner-bridge.replay-count"],
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_resend_remembers_where_it_was(resends: Resends, number: signal.Signals) -> None:
    """It says how to go on, and doing so repeats nothing. --again sends all once more."""
    world = resends.world
    resends.produce(notes(600, "acme"))
    world.aws.script({"latency_ms": 50})
    child = resends.start(*resends.between(0, 600), "--execute", "--rate", "400")
    resends.wait_accepted(100, child)

    child.signal(number)
    code = child.wait(timeout_s=30)
    sent = len(world.details())
    world.aws.script({"latency_ms": 0})
    rest = resends.as_json(*resends.between(0, 600), "--execute")
    times = Counter(ids(world.details()))
    anew = resends.as_json(*resends.between(0, 600), "--execute", "--again")

    assert 128 + number == code
    assert "To go on where it was:" in child.output()
    assert 100 <= sent < 600
    assert (600 - sent, 600) == (rest["events"], anew["events"])
    assert (600, {1}) == (len(times), {*times.values()})
    assert {2} == {*Counter(ids(world.details())).values()}


def test_two_resends_at_once_share_the_partitions(resends: Resends) -> None:
    """No event is sent by both; --max ends a run, and the next one goes on."""
    world = resends.world
    resends.produce(notes(1_200, "acme"))
    begun = resends.as_json(*resends.between(0, 1_200), "--execute", "--max", "7")

    pair = [resends.start(*resends.between(0, 1_200), "--execute", "--rate", "300") for _ in range(2)]
    codes = [child.wait(timeout_s=60) for child in pair]
    resends.run(*resends.between(0, 1_200), "--execute")

    print(codes, [child.tail() for child in pair])
    assert 7 == begun["events"]
    assert {0, 4} >= {*codes}
    times = Counter(ids(world.details()))
    assert (1_200, {1}) == (len(times), {*times.values()})


def test_exact_offsets_are_sent(resends: Resends) -> None:
    """One record, or a few; what is not there is said, with what is."""
    world = resends.world
    resends.produce([("acme", b"one partition", {}) for _ in range(20)])
    (partition,) = {each["_kafka"]["partition"] for each in resends.deliver()}
    place = ["--partition", str(partition), "--offset"]
    world.topics.truncate(resends.partitions[partition], before=3)

    resends.run(*place, "5-7", "--execute")
    resends.run(*place, "19", "--execute")
    gone = resends.run(*place, "2-4", code=2)
    ahead = resends.run(*place, "18-20", code=2)

    assert [5, 6, 7, 19] == [detail["_kafka"]["offset"] for detail in world.details()[20:]]
    assert f"offset 2 is gone: retention deleted it. {resends.topic}[{partition}] holds 3 to 19" in _line(
        gone
    )
    assert "there is no offset 20 yet" in _line(ahead)


def test_a_range_counted_from_now_is_gone_on_with_as_it_was(resends: Resends) -> None:
    """An hour ago is another range each time: the output names the times to type. And a plan names the
    command that does what it says, also where the same is sent once more."""
    world = resends.world
    world.produce([Sent(resends.topic, note(number, kind="Note")) for number in range(5)])

    output = resends.run("--since", "1h", "--until", "0s", "--execute")
    command = shlex.split(output.partition("to go on with the same range later:")[2].splitlines()[1])
    since, until = (command[command.index(option) + 1] for option in ("--since", "--until"))
    finished = resends.run("--since", since, "--until", until, "--execute")
    accepted = world.aws.counts().accepted
    planned = resends.run("--since", since, "--until", until, "--again")
    printed = shlex.split(planned.partition("Nothing was sent. To do it:")[2].splitlines()[1])
    resends.run(*printed[printed.index("--since") :])

    assert "This resend was finished at" in finished
    assert (5, 10) == (accepted, world.aws.counts().accepted)


def test_bad_input_is_said_in_a_sentence_and_sends_nothing(resends: Resends) -> None:
    """Exit code 2, and what to do."""
    resends.produce(notes(10, "acme"))
    range_ = resends.between(0, 10)

    outputs = [
        resends.run(*arguments, "--execute", code=2)
        for arguments in (
            resends.between(5_000, 6_000),
            [*range_, "--partition", "9"],
            [*range_, "--topic", resends.topic.replace("notes", "nots")],
        )
    ]

    empty, partition, topic = map(_line, outputs)
    assert f"no record lies in {resends.topic} between 2026-" in empty
    assert "has no partition 9: it has partitions 0 to 3" in partition
    assert f"did you mean '{resends.topic}'?" in topic
    assert 0 == resends.world.aws.counts().accepted


def _line(output: str) -> str:
    """What was printed, without the frame and line breaks that typer draws."""
    return " ".join(output.replace("│", " ").split())


def test_brokers_that_do_not_answer_are_exit_code_4(resends: Resends) -> None:
    """Nothing is guessed."""
    resends.settings["kafka"]["bootstrap.servers"] = "127.0.0.1:1"

    child = resends.start(*resends.between(0, 10))
    wait_until(lambda: not child.running, what=child.tail, timeout_s=30)

    assert 4 == child.wait(timeout_s=1)
    assert "Kafka does not answer" in child.output()
