"""`events find` on real Kafka: what became of records of every kind, whichever way they are asked for."""

from __future__ import annotations

import json
import random
import secrets
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import KafkaException

from connector.model import Json, Position
from tests.bridge_process import AWS_ENVIRON
from tests.scale import scaled
from tests.services.child import Child, wait_until
from tests.terminal import Terminal
from tests.topics import Sent
from tests.world import REGION, TEXT_KEY, World, note

PREFIX = "aws.partner/example.com/"
CUSTOMERS = [f"customer-{number}" for number in range(scaled(6, 50))]
LATE = "late"
"""A customer that has not accepted its source."""
RECORDS = scaled(3_000, 200_000)
KEYS = scaled(150, 5_000)
EARLY, HELD, OLD, WAITING = (scaled(usual, 200) for usual in (60, 40, 100, 60))
"""Records delivered without receipts, for the late customer, deleted later, and that no bridge reads."""
POSITIONS, IDS, SEARCHED_KEYS, BEHIND = scaled(72, 500), 20, 8, 12

FILTER = "value.kind != 'DRAFT'"
MAPPING: dict[str, Json] = {
    "value": {"format": "json"},
    "key": TEXT_KEY,
    "filter": FILTER,
    "on_inactive_source": "hold",
    "event": {"source": f"{PREFIX}${{value.tenant}}", "detail_type": "${value.kind}"},
}
MENDED: dict[str, Json] = {
    **MAPPING,
    "event": {"source": f"{PREFIX}${{value.tenant}}", "detail_type": "${value.kind || 'Note'}"},
}


class Expected(NamedTuple):
    """What `find` must say of a record."""

    status: str
    customer: str | None
    """None where the record cannot be decoded."""
    key: str = ""
    code: str | None = None


class Find:
    """The command, with one configuration."""

    def __init__(self, file: Path, terminal: Terminal) -> None:
        self.file = file
        self._terminal = terminal

    def __call__(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        ran = self._terminal.run("events", "find", "-c", str(self.file), "--json", *arguments)
        assert code == ran.code, ran.err
        found: dict[str, Any] = json.loads(ran.out)
        return found

    def at(self, position: Position, *arguments: str) -> dict[str, Any]:
        """What it says of the record at a position."""
        found = self("--position", named(position), *arguments)
        assert 1 == len(found["events"]), found
        event: dict[str, Any] = found["events"][0]
        return event


def named(position: Position) -> str:
    (topic, number), offset = position
    return f"{topic}/{number}/{offset}"


def place(event: dict[str, Any]) -> str:
    return f"{event['topic']}/{event['partition']}/{event['offset']}"


def records(topic: str, count: int, chance: random.Random) -> list[tuple[Sent, Expected]]:
    """Good, filtered and broken records of all customers; a mended mapping takes some of the broken."""
    made = []
    for number in range(count):
        customer, key = chance.choice(CUSTOMERS), f"order-{chance.randrange(KEYS)}"
        good, mended = note(number, tenant=customer, kind="Note"), note(number, tenant=customer, kind=None)
        draft = note(number, tenant=customer, kind="DRAFT")
        value, expected = chance.choice(
            [
                (draft, Expected("filtered", customer, key)),
                (mended, Expected("delivered", customer, key, "template_null")),
                (b"{", Expected("dead-lettered", None, key, "json_invalid")),
                *[(good, Expected("delivered", customer, key))] * 5,
            ]
        )
        made.append((Sent(topic, value, key.encode()), expected))
    return made


def produced(world: World, made: Sequence[tuple[Sent, Expected]]) -> dict[Position, Expected]:
    positions = world.topics.produce([sent for sent, _ in made])
    return dict(zip(positions, [expected for _, expected in made], strict=True))


def replay(file: Path) -> None:
    command = [sys.executable, "-m", "connector", "dead-letters", "replay", "--execute", "--rate", "0"]
    chosen = ["--config", str(file), "--code", "template_null"]
    child = Child([*command, *chosen], log=file.with_suffix(".log"), environ=AWS_ENVIRON)
    child.start()
    assert 0 == child.wait(timeout_s=90), child.tail()


def eventbridge_ids(world: World) -> dict[str, set[str]]:
    """The EventIds of each of our ids."""
    ids: dict[str, set[str]] = {}
    for event in world.aws.events():
        ids.setdefault(json.loads(event.detail)["_kafka"]["id"], set()).add(event.event_id)
    return ids


def told(world: World, receipts: str) -> int:
    """How many deliveries the receipts tell of."""
    return sum(len(json.loads(each.value or b"")["events"]) for each in world.topics.read(receipts))


class Outside(NamedTuple):
    """What the world outside the bridge holds."""

    accepted: dict[str, set[str]]
    """The EventIds of each of our ids."""
    letters: dict[str, str]
    """The id of the dead letter of each record."""

    @classmethod
    def of(cls, world: World) -> Outside:
        return cls(
            eventbridge_ids(world),
            {named(each.origin): named(each.record.position) for each in world.letters()},
        )

    def wrong(self, event: dict[str, Any], expected: Expected) -> str | None:
        """What `find` says of a record that is not so."""
        letter = event["dead_letter"] or {}
        said = event["status"], event["source"], *(letter.get(name) for name in ("code", "id", "state"))
        source = None if expected.customer is None else PREFIX + expected.customer
        state = None
        if expected.code is not None:
            state = "delivered" if expected.status == "delivered" else "open"
        if said != (expected.status, source, expected.code, self.letters.get(place(event)), state):
            return f"{place(event)}: {said}, not {expected}: {event}"
        if expected.status == "filtered" and event["why"] != f"topics.{event['topic']}.filter: {FILTER}":
            return f"{place(event)}: filtered, as {event['why']}"
        delivered = {each["eventbridge_id"] for each in event["deliveries"]}
        sent = self.accepted.get(event["event_id"] or "", set())
        if expected.status == "delivered" and delivered != sent:
            return f"{place(event)}: {delivered}, not {sent}"
        if not all(each["attempts"] >= 1 and each["request_id"] for each in event["deliveries"]):
            return f"{place(event)}: {event['deliveries']}"
        return None


def test_find_accounts_for_records_of_every_kind(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Delivered, replayed, dead-lettered, filtered, held, waiting, gone, unknown: by position, by both ids,
    by key and by source, `find` says what the world outside the bridge says."""
    seed = secrets.randbits(32)
    chance = random.Random(seed)
    find = Find(tmp_path / "mended.yaml", Terminal(capsys))
    notes = world.topic("notes", partitions=3)
    (early,), (old,) = world.topic("early"), world.topic("old")
    (receipts,) = {each.topic for each in world.topic("receipts", partitions=2)}
    for name in (*CUSTOMERS, LATE):
        world.aws.set_source(REGION, PREFIX + name, "PENDING" if name == LATE else "ACTIVE")
    topics = {partition.topic: MAPPING for partition in (notes[0], early, old)}
    letters = {"create": True, "replication_factor": 1, "max_consecutive": 10_000}
    sources: dict[str, Json] = {"refresh_interval": "1s"}
    settings = world.settings(topics, dead_letter=letters, sources=sources)
    with_receipts = {**settings, "receipts": {"topic": receipts}}

    # Delivered before receipts are on.
    without = world.bridge(settings, name="without").start()
    expected = produced(
        world,
        [
            (Sent(early.topic, note(n, tenant=CUSTOMERS[0], kind="Note")), Expected("unknown", CUSTOMERS[0]))
            for n in range(EARLY)
        ],
    )
    world.wait_settled([early])
    without.sigterm()
    # With receipts; some are dead-lettered, and delivered when the mapping is mended.
    bridge = world.bridge(with_receipts).start()
    expected |= produced(world, records(notes[0].topic, RECORDS, chance))
    deleted = [
        (
            Sent(old.topic, note(n, tenant=CUSTOMERS[1], kind=("Note", "DRAFT")[n % 2])),
            Expected(*(("delivered", CUSTOMERS[1]), ("gone", None))[n % 2]),
        )
        for n in range(OLD)
    ]
    expected |= produced(world, deleted)
    world.wait_settled([*notes, old])
    world.topics.truncate(old, before=OLD)
    mended = {**with_receipts, "topics": dict.fromkeys(topics, MENDED)}
    find.file.write_text(json.dumps(mended))
    replay(find.file)
    # The late customer's are held, and those of others behind them are delivered.
    accepted = world.aws.counts().accepted
    behind = [
        (
            Sent(notes[0].topic, note(n, tenant=name, kind="Note"), b"behind-%d" % n),
            Expected("held" if name == LATE else "delivered", name, f"behind-{n}"),
        )
        for n, name in enumerate([LATE, CUSTOMERS[2]] * HELD)
    ]
    late = produced(world, behind)
    world.wait_accepted(accepted + HELD)
    bridge.wait_metric("held_records", HELD)

    wait_until(
        lambda: told(world, receipts) == world.aws.counts().accepted - EARLY,
        what="receipts of all that was delivered with receipts on",
    )
    outside = Outside.of(world)
    ids = outside.accepted
    faults = [
        outside.wrong(find.at(each, "--bridge", bridge.url), late[each])
        for each in chance.sample(sorted(late), BEHIND)
    ]
    of_late = [position for position, said in late.items() if said.status == "held"]
    held = find.at(chance.choice(of_late), "--bridge", bridge.url)
    bridge.sigterm()
    expected |= {each: said for each, said in late.items() if said.status == "delivered"}
    expected |= {each: said._replace(status="waiting") for each, said in late.items() if each not in expected}
    expected |= produced(
        world,
        [
            (Sent(notes[0].topic, note(n, tenant=CUSTOMERS[3], kind="Note"), b"new"),
             Expected("waiting", CUSTOMERS[3], "new"))
            for n in range(WAITING)
        ],
    )  # fmt: skip
    by_status: dict[str, list[Position]] = {}
    for position, said in expected.items():
        by_status.setdefault(said.status, []).append(position)
    sample = [
        each for line in by_status.values() for each in chance.sample(line, POSITIONS // len(by_status))
    ]
    faults += [outside.wrong(find.at(each), expected[each]) for each in sample]
    with_a_receipt = sorted(each for each in ids if early.topic not in each)
    for event_id in chance.sample(with_a_receipt, IDS // 2):
        (ours,) = find("--id", event_id)["events"]
        (theirs,) = find("--id", chance.choice(sorted(ids[event_id])))["events"]
        position = Position(*next(p for p in expected if named(p) == place(ours)))
        faults += [
            outside.wrong(ours, expected[position]),
            None if ours == theirs else f"{ours} and {theirs}",
        ]
    searched = 0
    for key in chance.sample(sorted({each.key for each in expected.values() if each.key}), SEARCHED_KEYS):
        wanted = {named(p): e for p, e in expected.items() if e.key == key}
        found = find("--topic", notes[0].topic, "--key", key)["events"]
        searched += len(found)
        assert sorted(wanted) == sorted(map(place, found))
        faults += [outside.wrong(event, wanted[place(event)]) for event in found]
    for customer in (CUSTOMERS[0], CUSTOMERS[1], LATE):
        wanted = {named(p): e for p, e in expected.items() if e.customer == customer}
        found = find("--source", PREFIX + customer, "--limit", "5000")
        searched += len(found["events"])
        assert sorted(wanted) == sorted(map(place, found["events"]))
        faults += [outside.wrong(event, wanted[place(event)]) for event in found["events"]]
        assert any("source cannot be told" in each for each in found["problems"])
    with capsys.disabled():
        kinds = Counter(each.status for each in expected.values())
        print(f"seed {seed}: {BEHIND + 1 + len(sample) + IDS + searched} accounts; records {dict(kinds)}")

    assert [] == [fault for fault in faults if fault], f"seed {seed}"
    assert ("held", 0) == (held["status"], world.aws.counts().dropped)
    assert f"{PREFIX}{LATE} is PENDING since" in held["why"]
    assert {"delivered", "dead-lettered", "filtered", "waiting", "gone", "unknown"} == by_status.keys()


def is_created(world: World) -> bool:
    """Whether the topic of notes could be created; not while brokers delete the one before."""
    try:
        return bool(world.topic("notes"))
    except KafkaException:
        return False


def test_a_topic_made_anew_is_told_from_the_one_before(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new record at a position was not delivered because the old one was; the old one's id is found."""
    (notes,) = world.topic("notes")
    (receipts,) = {each.topic for each in world.topic("receipts")}
    settings = world.settings({notes.topic: MENDED}) | {"receipts": {"topic": receipts}}
    bridge = world.bridge(settings).start()
    world.produce([Sent(notes.topic, note(n, tenant=CUSTOMERS[0], kind="Note")) for n in range(3)])
    world.wait_settled([notes])
    bridge.sigterm()
    find = Find(bridge.file, Terminal(capsys))
    before = [find.at(Position(notes, offset)) for offset in range(3)]
    world.topics.delete(notes.topic)
    wait_until(lambda: is_created(world), what="the topic is made anew")
    world.produce([Sent(notes.topic, note(9, tenant=CUSTOMERS[1], kind="Note"))])

    after = find.at(Position(notes, 0))

    assert ("waiting", []) == (after["status"], after["deliveries"])
    for old in before:
        (found,) = find("--id", old["event_id"])["events"]
        assert ("delivered", old["deliveries"]) == (found["status"], found["deliveries"])


def test_a_letter_is_found_by_its_source_after_retention_took_the_record(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Receipts are off, so that nothing else knows that it was the customer's."""
    (notes,) = world.topic("notes")
    world.aws.script({"faults": [{"kind": "entry_error", "source": PREFIX, "code": "MalformedDetail"}]})
    bridge = world.bridge(world.settings({notes.topic: MENDED})).start()
    positions = world.produce(
        [Sent(notes.topic, note(n, tenant=CUSTOMERS[0], kind="Note")) for n in range(3)]
    )
    world.wait_settled([notes])
    bridge.sigterm()
    world.topics.truncate(notes, before=2)
    find = Find(bridge.file, Terminal(capsys))

    found = find("--source", PREFIX + CUSTOMERS[0])["events"]

    assert {named(each) for each in positions} == set(map(place, found))
    assert ["dead-lettered"] * 3 == [each["status"] for each in found]
