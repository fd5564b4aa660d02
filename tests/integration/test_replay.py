"""What was dead-lettered is sent again, each letter once, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connector.dead_letters.format import DeadLetterRecord
from connector.dead_letters.redelivery import MAX_UNRECORDED
from connector.model import Json
from tests.replaying import BROKEN, Replays
from tests.services.child import Child, wait_until
from tests.topics import Sent
from tests.world import TEXT_KEY, World, note, spread

MAPPING: dict[str, Any] = {
    "value": {"format": "json"},
    "key": TEXT_KEY,
    "tombstones": "dead_letter",
    "event": {
        "source": "aws.partner/example.com/${value.tenant}",
        "detail_type": "${value.kind}",
        "resources": ["note/${value.place}"],
    },
}
GOOD: dict[str, Any] = {"tenant": "acme", "kind": "Note", "place": "here"}
BROKEN_NOTES: dict[str, bytes | None] = {
    "json_invalid": b"{",
    "tombstone": None,
    "template_null": note(0, **{**GOOD, "kind": None}),
    "source_invalid": note(0, **{**GOOD, "tenant": "the shop"}),
    "detail_type_too_long": note(0, **{**GOOD, "kind": "N" * 129}),
    "resource_too_long": note(0, **{**GOOD, "place": "p" * 2_100}),
}
LETTERS = 5_000
RECORDS = 600
KILLS = 3


@pytest.fixture
def replays(world: World, tmp_path: Path) -> Iterator[Replays]:
    """A dead-letter topic of six partitions, and a mapping that takes notes."""
    replays = Replays(world, tmp_path)
    yield replays
    replays.close()


def test_a_mended_mapping_delivers_exactly_the_letters_it_mends(replays: Replays) -> None:
    """5,000 letters of six codes as the bridge wrote them, the mapping corrected for one: the plan says what
    would happen, the replay delivers those, and the same command again sends nothing."""
    world = replays.world
    replays.configure(MAPPING)
    partitions = world.topics.create(replays.origin.topic, partitions=6)
    values = list(BROKEN_NOTES.values())
    world.produce(
        [Sent(partitions[0].topic, values[number % len(values)], key) for number, key in spread(LETTERS)]
    )
    bridge = world.bridge(replays.settings).start()
    world.wait_settled(partitions)
    bridge.sigterm()
    mended = len([number for number in range(LETTERS) if number % len(values) == 2])
    event: dict[str, Json] = {**MAPPING["event"], "detail_type": "${value.kind || 'Note'}"}
    replays.configure({**MAPPING, "event": event})

    everything = replays.run()
    plan = replays.run("--code", "template_null")
    sent_by_plans = world.aws.counts().accepted
    done = replays.execute("--code", "template_null")
    again = replays.execute("--code", "template_null")

    assert 0 == sent_by_plans
    assert "would try 5,000 letters" in everything
    assert f"would fail again  {LETTERS - mended:>9,}" in everything
    assert f"would try {mended:,} letters" in plan
    assert f"would be sent  {mended:>9,}" in plan
    assert f"delivered  {mended:>9,}" in done
    assert "Nothing to replay" in again
    assert mended == len(replays.sent()) == len(set(replays.sent()))
    assert mended == Counter(found["state"] for found in replays.resolutions().values())["delivered"]


def reading_for(child: Child) -> int:
    """The process that reads letters for a replay at full rate."""
    (found,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    return int(found)


def is_running(pid: int) -> bool:
    """A process that was orphaned may stay as a zombie where nobody reaps it."""
    with contextlib.suppress(FileNotFoundError):
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    return False


def test_a_replay_that_was_killed_goes_on_where_it_was(replays: Replays) -> None:
    """SIGKILL in the middle of 3,000 at full rate: all are delivered in the end, only what was not recorded
    is sent twice, and each repetition has the id of the first."""
    replays.write(replays.letter(number, key=key) for number, key in spread(3_000))
    replays.world.aws.script({"latency_ms": 400})
    child = replays.start("--execute", "--rate", "0")
    replays.wait_accepted(1_000, child)
    reader = reading_for(child)
    child.kill()
    replays.world.aws.script({"latency_ms": 0})
    recorded = len(replays.resolutions())
    wait_until(lambda: not is_running(reader), what="what read for it has ended too")

    replays.execute()

    times = Counter(replays.sent())
    repeated = sum(times.values()) - len(times)
    print(f"{recorded} recorded at the kill, {repeated} sent twice")
    assert {replays.event_id(number) for number in range(3_000)} == times.keys()
    assert repeated <= MAX_UNRECORDED
    assert ["delivered"] == replays.states()
    assert 3_000 == len(replays.resolutions())


def has_more(replays: Replays, before: int) -> bool:
    return replays.written() > before


def test_as_many_are_delivered_as_failed_whatever_was_killed_before(replays: Replays) -> None:
    """A bridge in a crash loop while it dead-letters writes some records several times. With and without a
    key, each is listed once, planned once, and delivered once."""
    world = replays.world
    partitions = world.topics.create(replays.origin.topic, partitions=3)
    good = replays.settings
    replays.configure(BROKEN)
    replays.settings["kafka"]["group.instance.id"] = "one"  # the next one begins at once
    world.produce(
        [
            Sent(replays.origin.topic, note(number), key if number % 2 else None)
            for number, key in spread(RECORDS)
        ]
    )
    bridge = world.bridge(replays.settings)
    for _ in range(KILLS):
        before = replays.written()
        bridge.start(ready=False)
        wait_until(partial(has_more, replays, before), what=bridge.log, every_s=0.01)
        bridge.kill()
    bridge.start()
    world.wait_settled(partitions)
    bridge.sigterm()
    # What a kill leaves behind where it comes between the letters and the commit.
    left = world.topics.read(replays.topic)[:50]
    replays.write(DeadLetterRecord(record.key, record.value, record.headers) for record in left)
    print(f"{replays.written()} letters of {RECORDS} records")
    replays.settings = good

    listed = replays.listed()
    plan = replays.run()
    output = replays.execute()

    assert replays.written() >= RECORDS + 50
    assert RECORDS == len(listed) == len({line["event_id"] for line in listed})
    assert f"would try {RECORDS} letters" in plan
    assert f"Replayed {RECORDS} letters" in output
    assert RECORDS == len(replays.sent()) == len({*replays.sent()})
    assert [] == replays.listed()


def test_a_replay_killed_among_letters_of_the_same_records_repeats_only_what_was_in_flight(
    replays: Replays,
) -> None:
    """Two replays after it have no more to do than is left; discarding has nothing to do then."""
    replays.write(replays.letter(number, key=key) for number, key in spread(1_500))
    replays.write(replays.letter(number) for number in range(1_500))
    replays.world.aws.script({"latency_ms": 400})
    child = replays.start("--execute", "--rate", "0")
    replays.wait_accepted(500, child)
    child.kill()
    replays.world.aws.script({"latency_ms": 0})

    pair = [replays.start("--execute", "--rate", "0") for _ in range(2)]
    codes = [child.wait(timeout_s=90) for child in pair]
    replays.execute()

    times = Counter(replays.sent())
    assert {0, 4} >= set(codes)
    assert {replays.event_id(number) for number in range(1_500)} == times.keys()
    assert times.total() - len(times) <= MAX_UNRECORDED
    assert 1_500 == len(replays.resolutions())
    assert "No open dead letter" in replays.run("--reason", "none", "--execute", command="discard")


def test_a_replay_halts_when_what_reads_for_it_is_gone(replays: Replays) -> None:
    """Killed for want of memory, say: exit code 3 and a sentence, and the next run does the rest."""
    replays.write(replays.letter(number, key=key) for number, key in spread(10_000))
    replays.world.aws.script({"latency_ms": 400})
    child = replays.start("--execute", "--rate", "0")
    replays.wait_accepted(500, child)
    os.kill(reading_for(child), signal.SIGKILL)

    code = child.wait(timeout_s=60)
    replays.world.aws.script({"latency_ms": 0})
    replays.execute()

    assert 3 == code
    assert "the process that reads letters ended with -9; run the same command again" in child.output()
    assert "Traceback" not in child.output()
    assert {1} == set(Counter(replays.sent()).values())
    assert 10_000 == len(replays.sent())


def test_two_replays_at_once_share_the_letters(replays: Replays) -> None:
    """No letter is sent by both, whichever partitions each is given."""
    replays.write(replays.letter(number, key=key) for number, key in spread(3_000))
    replays.world.aws.script({"latency_ms": 30})

    pair = [replays.start("--execute", "--rate", "400") for _ in range(2)]
    codes = [child.wait(timeout_s=90) for child in pair]
    replays.execute()

    print(codes, [child.tail() for child in pair])
    assert {0, 4} >= set(codes)
    assert {1} == set(Counter(replays.sent()).values())
    assert 3_000 == len(replays.sent())


def test_a_second_replay_takes_over_without_repeating(replays: Replays) -> None:
    """One that joins midway is given partitions, and begins with what the first has not sent."""
    replays.write(replays.letter(number, key=key) for number, key in spread(2_000))
    first = replays.start("--execute", "--rate", "300")
    replays.wait_accepted(200, first)
    second = replays.start("--execute", "--rate", "300")
    first.wait(timeout_s=90)
    second.wait(timeout_s=90)

    replays.execute()

    assert {1} == set(Counter(replays.sent()).values())
    assert 2_000 == len(replays.sent())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_replay_records_what_it_sent(replays: Replays, number: signal.Signals) -> None:
    """It ends as a command does that a signal ended, says how to go on, and doing so repeats nothing."""
    replays.write(replays.letter(number, key=key) for number, key in spread(1_000))
    replays.world.aws.script({"latency_ms": 100})
    child = replays.start("--execute", "--rate", "500")
    replays.wait_accepted(200, child)

    child.signal(number)
    code = child.wait(timeout_s=30)
    sent = len(replays.sent())
    recorded = len(replays.resolutions())
    replays.execute()

    assert 128 + number == code
    assert "dead-letters replay --config" in child.output()
    assert sent == recorded < 1_000
    assert 1_000 == len(replays.sent()) == len(set(replays.sent()))


def test_a_second_signal_ends_it_at_once(replays: Replays) -> None:
    """Even while EventBridge does not answer what is in flight."""
    replays.write(replays.letter(number) for number in range(100))
    replays.world.aws.script({"faults": [{"kind": "hang"}]})
    child = replays.start("--execute")
    wait_until(lambda: replays.world.aws.counts().requests.total() > 0, what=child.tail)

    child.signal(signal.SIGTERM)
    wait_until(lambda: "Stopping" in child.output(), what=child.tail)
    child.signal(signal.SIGTERM)

    assert 143 == child.wait(timeout_s=2)


def test_what_fails_again_is_parked_after_three_times(replays: Replays) -> None:
    """Each time there is a new letter with one more replay, and the old one is resolved; after the third it
    is left alone until more are allowed. A script is told that none was delivered, by exit code 4."""
    replays.write([replays.letter(1, key=b"a")])
    replays.configure(BROKEN)

    outputs = [replays.execute(code=4 if number < 3 else 0) for number in range(4)]
    counts = replays.counts()
    allowed = replays.execute("--max-replays", "4", code=4)

    assert all("failed again, each a new letter" in output for output in outputs[:3])
    assert "Parked, and left so: 1 letter" in outputs[3]
    assert [0, 1, 2, 3] == counts
    assert "failed again, each a new letter" in allowed
    assert [0, 1, 2, 3, 4] == replays.counts()
    assert ["dead-lettered-again"] == replays.states()
    last = replays.world.topics.read(replays.topic)[-1]
    assert replays.event_id(1).encode() == dict(last.headers)["partner-bridge.event-id"]
    assert note(1) == last.value


def test_letters_of_kafka_connect_are_replayed(replays: Replays) -> None:
    """Those of a sink that was replaced have Connect's headers alone; the event id is made of the origin."""
    place = {"topic": replays.origin.topic, "partition": "0", "offset": "77"}
    headers = tuple((f"__connect.errors.{name}", text.encode()) for name, text in place.items())
    replays.world.topics.produce([Sent(replays.topic, note(77), b"k", headers)])

    replays.execute("--code", "connect")

    (event,) = replays.world.details()
    assert (77, 77) == (event["number"], event["_kafka"]["offset"])
    assert f"/{replays.origin.topic}/0/77/" in event["_kafka"]["id"]


def test_what_cannot_be_replayed_stays_open_and_stops_nothing(replays: Replays) -> None:
    """Letters without a value whose record is gone, of topics that are not configured, or without headers:
    each has its line, exit code 4, and the others are sent."""
    world = replays.world
    world.topics.create(replays.origin.topic)
    world.topics.produce([Sent(replays.origin.topic, note(0, text="kept")), Sent(replays.origin.topic, b"x")])
    other = replays.letter(5)
    gone = ("__connect.errors.topic", b"gone.v1")
    elsewhere = tuple(gone if header[0] == gone[0] else header for header in other.headers)
    replays.write(
        [
            replays.omitted(0, note(0, text="kept")),
            replays.omitted(1, note(1, text="another record is there now")),
            replays.omitted(9, note(9, text="retention took it")),
            replace(other, headers=elsewhere),
        ]
    )
    world.topics.produce([Sent(replays.topic, b"no letter")])

    plan = replays.run(code=4)
    output = replays.execute(code=4)

    assert "would be sent" in plan
    for reason in ("does not retain that any more", "no entry under `topics`", "no header"):
        assert reason in plan
        assert reason in output
    assert ["kept"] == [detail["text"] for detail in world.details()]
    assert ["delivered"] == replays.states()


def test_a_replay_halts_where_going_on_would_only_fail(replays: Replays) -> None:
    """Not authorised: exit code 3 with the sentence, and every letter stays open."""
    replays.write(replays.letter(number) for number in range(50))
    replays.world.aws.script({"faults": [{"kind": "access_denied"}]})

    output = replays.execute(code=3)

    assert "Halted: " in output
    assert "AccessDeniedException" in output
    assert {} == replays.resolutions()


def test_a_target_that_is_down_is_waited_for(replays: Replays) -> None:
    """Nothing is dead-lettered again meanwhile, and the replay goes on by itself."""
    replays.write(replays.letter(number) for number in range(200))
    replays.world.aws.script({"faults": [{"kind": "unavailable"}]})
    child = replays.start("--execute", "--rate", "0")
    wait_until(lambda: replays.world.aws.counts().requests.total() > 30, what=child.tail)

    replays.world.aws.script({"faults": []})

    assert 0 == child.wait(timeout_s=60), child.tail()
    assert 200 == len(set(replays.sent()))
    assert [0] * 200 == replays.counts()


def test_letters_of_a_key_go_in_their_order(replays: Replays) -> None:
    """Also when some are refused for now and sent again."""
    replays.write(replays.letter(number, key=key) for number, key in spread(1_000, keys=10))
    throttle = {"kind": "throttle", "probability": 0.2}
    replays.world.aws.script({"latency_ms": 10, "seed": 3, "faults": [throttle]})

    replays.execute()

    numbers: dict[int, list[int]] = {}
    for detail in replays.world.details():
        numbers.setdefault(detail["number"] % 10, []).append(detail["number"])
    assert 1_000 == sum(map(len, numbers.values()))
    assert all(sorted(found) == found for found in numbers.values())


def test_filters_and_a_number_choose(replays: Replays) -> None:
    """As they say in `list`; --max ends it early."""
    replays.write(replays.letter(number) for number in range(300))
    replays.write([replays.letter(1_000 + number, code="source_invalid") for number in range(10)])

    replays.run("--execute", "--rate", "50", "--max", "60", "--code", "template_null")
    replays.execute("--code", "source_*")

    assert 70 == len(replays.sent())
    assert {replays.event_id(1_000 + number) for number in range(10)} <= set(replays.sent())


def test_ids_choose_letters_and_one_that_does_not_exist_is_named(replays: Replays, tmp_path: Path) -> None:
    """Exactly the letters named; exit code 4 where one does not exist, and the others are sent."""
    replays.write(replays.letter(number, key=b"one partition") for number in range(20))
    (partition,) = {record.partition.number for record in replays.world.topics.read(replays.topic)}
    ids = tmp_path / "ids.txt"
    ids.write_text("".join(f"{replays.topic}/{partition}/{offset}\n" for offset in (3, 7, 500)))
    replays.write([replays.letter(7, key=b"one partition")])  # once more: the old id stands for it

    output = replays.execute("--ids", str(ids), code=4)

    assert [3, 7] == sorted(detail["number"] for detail in replays.world.details())
    assert f"{replays.topic}/{partition}/500 does not exist" in output
    name = f"{replays.topic}/{partition}"
    assert f"note: {name}/20 is a newer letter of the same record as {name}/7" in output
    assert {f"{name}/3", f"{name}/20"} == {*replays.resolutions()}


def test_nothing_selected_is_said_and_is_no_failure(replays: Replays) -> None:
    """A filter that matches nothing ends with 0."""
    replays.write([replays.letter(1)])

    assert "Nothing to replay" in replays.run("--code", "json_invalid")
    assert "Nothing to replay" in replays.execute("--code", "json_invalid")
