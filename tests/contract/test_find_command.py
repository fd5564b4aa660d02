"""`partner-bridge events find` in a sandbox: what support asks, what it reads, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from connector import config
from connector.dead_letters.format import letter
from connector.delivery_log.bridges import BridgeEvidence
from connector.delivery_log.log import DeliveryLog
from connector.delivery_log.search import Search
from connector.model import Partition, Record
from connector.sandbox.bridge import SandboxBridge
from connector.sandbox.orders import REGION
from connector.sandbox.testing import LocalSandbox
from tests.failures import failed
from tests.services.child import wait_until
from tests.terminal import Ran, Terminal, screen

TOPIC, BROKEN = "notes.v1", "notes.v1/0/1"
PREFIX = "aws.partner/example.com/"
ACME = f"{PREFIX}acme"
CANARY = "canary-card"
NOTE = {"tenant": "acme", "card": CANARY}
MAPPING = {
    "value": {"format": "json"},
    "key": {"format": "json"},
    "filter": "value.kind != 'DRAFT'",
    "on_inactive_source": "hold",
    "event": {"source": f"{PREFIX}${{value.tenant}}", "detail_type": "Note"},
}
SETTINGS: dict[str, Any] = {
    "name": "notes",
    "kafka": {"group.id": "notes"},
    "dead_letter": {"topic": "notes.dlt", "partitions": 1},
    "receipts": {"topic": "notes.receipts"},
    "topics": {TOPIC: MAPPING},
}


class NoProgress:
    def advance(self, count: int) -> None: ...


@contextmanager
def silent(_title: str, _total: int | None) -> Iterator[NoProgress]:
    """Show nothing."""
    yield NoProgress()


class Find:
    """The command, with the configuration of one bridge."""

    def __init__(self, sandbox: LocalSandbox, bridge: SandboxBridge, terminal: Terminal) -> None:
        self.sandbox = sandbox
        self.bridge = bridge
        self.terminal = terminal
        self.file = bridge.config

    def __call__(self, *arguments: str) -> Ran:
        return self.terminal.run("events", "find", "-c", str(self.file), *arguments)

    def without_receipts(self, folder: Path) -> None:
        """From now on with a configuration that has none."""
        settings = json.loads(self.file.read_text())
        del settings["receipts"]
        self.file = folder / "bridge.yaml"
        self.file.write_text(json.dumps(settings))

    def events(self, *arguments: str) -> list[dict[str, Any]]:
        ran = self(*arguments, "--json")
        assert 0 == ran.code, ran.err
        found: list[dict[str, Any]] = json.loads(ran.out)["events"]
        return found


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSandbox]:
    with LocalSandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def bridge(sandbox: LocalSandbox) -> SandboxBridge:
    """One that has delivered two records, dead-lettered one, filtered one and holds one; of one partition."""
    sandbox.create_topic(TOPIC, 1)
    sandbox.create_topic("notes.receipts", 1)
    for name, state in (("acme", "ACTIVE"), ("late", "PENDING")):
        sandbox.set_source(PREFIX + name, state, region=REGION)
    bridge = sandbox.start_bridge(SETTINGS)
    sandbox.produce(TOPIC, NOTE, key={"id": 4711, "card": CANARY})
    sandbox.produce(TOPIC, "{", key="broken")
    sandbox.produce(TOPIC, {**NOTE, "kind": "DRAFT"}, key={"id": 4711, "card": CANARY})
    sandbox.produce(TOPIC, NOTE, key=4712)
    sandbox.wait_for_events(2)
    bridge.wait_for_dead_letters(1)
    sandbox.produce(TOPIC, {**NOTE, "tenant": "late"}, key="late")
    return bridge


@pytest.fixture
def find(sandbox: LocalSandbox, bridge: SandboxBridge, capsys: pytest.CaptureFixture[str]) -> Find:
    found = Find(sandbox, bridge, Terminal(capsys))
    wait_until(
        lambda: "held" == found.events("--position", f"{TOPIC}/0/4")[0]["status"], what="the last one is held"
    )
    return found


def test_an_order_is_found_by_its_key(find: Find) -> None:
    """By the JSON that it decodes to, however that is written; the newest record first."""
    key = f'{{ "card": "{CANARY}", "id": 4711 }}'
    draft, note = find.events("--topic", TOPIC, "--key", key)

    assert ("filtered", f"topics.{TOPIC}.filter: value.kind != 'DRAFT'") == (draft["status"], draft["why"])
    assert ("delivered", ACME, "Note") == (note["status"], note["source"], note["detail_type"])
    assert [3] == [each["offset"] for each in find.events("--topic", TOPIC, "--key", "4712")]


def test_both_ids_and_the_position_lead_to_the_same(find: Find) -> None:
    (event,) = find.events("--position", f"{TOPIC}/0/0")
    (delivery,) = event["deliveries"]

    assert [event] == find.events("--id", event["event_id"])
    assert [event] == find.events("--id", delivery["eventbridge_id"])
    received = [each for each in find.sandbox.events() if each["id"] == delivery["eventbridge_id"]]
    assert [event["event_id"]] == [each["detail"]["_kafka"]["id"] for each in received]


def test_a_customers_records_are_found_by_the_source(find: Find) -> None:
    """Filtered ones too; one that cannot be decoded may be anyone's, which is said."""
    ran = find("--source", ACME, "--limit", "2", "--json")
    found = json.loads(ran.out)

    assert ["delivered", "filtered"] == [each["status"] for each in found["events"]]
    assert 1 == found["more"]
    assert ["1 record of notes.v1 was left out: its source cannot be told"] == found["problems"]
    assert ["held"] == [each["status"] for each in find.events("--source", f"{PREFIX}late")]


def test_what_people_read(find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fits a terminal of 80 columns, says everything of each record, and nothing that records hold."""
    with screen(monkeypatch) as shown:
        for offset in range(5):
            arguments = ["events", "find", "-c", str(find.file), "--position", f"{TOPIC}/0/{offset}"]
            assert 0 == find.terminal.run(*arguments).code
    text = " ".join(" ".join(shown.lines).split())

    assert [] == shown.too_long
    assert f"source {ACME} detail type Note delivered " in text
    assert "json_invalid not JSON: unexpected end of data, at 1 of 1. letter notes.dlt/0/0 is open" in text
    assert f"filtered topics.{TOPIC}.filter: value.kind != 'DRAFT'" in text
    assert f"held {PREFIX}late is PENDING since" in text
    assert CANARY not in text


def test_a_paused_topic_is_why_its_records_wait(find: Find, tmp_path: Path) -> None:
    """Also where it is paused by its pattern; asked through a name, as that of a headless Service."""
    (tmp_path / "pauses.yaml").write_text("topics: ['^paused[.]']\n")
    find.sandbox.create_topic("paused.v1", 1)
    settings = {
        **SETTINGS,
        "name": "paused",
        "kafka": {"group.id": "paused"},
        "topics": {"^paused[.]": MAPPING},
        "pauses": str(tmp_path / "pauses.yaml"),
    }
    with find.sandbox.start_bridge(settings) as bridge:
        wait_until(
            lambda: urllib3.request("GET", f"{bridge.url}/readyz", timeout=5).json()["pauses"],
            what="the topic is paused",
        )
        find.sandbox.produce("paused.v1", NOTE)
        find.file = bridge.config
        place = ["--position", "paused.v1/0/0", "--bridge", f"dns:localhost:{urlsplit(bridge.url).port}"]
        (event,) = find.events(*place)

    assert "waiting" == event["status"]
    assert event["why"].startswith("the topic ^paused[.] is paused until it is resumed; ")


def test_nothing_found_says_where_it_looked(find: Find) -> None:
    """Exit code 4, for scripts."""
    by_key = find("--topic", TOPIC, "--key", "nothing", "--since", "1h")
    later = find("--position", f"{TOPIC}/0/999")
    unknown = find("--id", "7f3b6a52-94c1-4d0e-8a35-2c1d9e6b7f40")

    assert [4, 4, 4] == [by_key.code, later.code, unknown.code]
    assert "Nothing found in 5 records of notes.v1 since 2" in by_key.out
    assert "is not there yet: its next offset is 5" in later.err
    assert (
        "Nothing found in the receipts in notes.receipts, the replays in notes.dlt.resolutions."
        in " ".join(unknown.out.split())
    )


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--topic", TOPIC, "--key", "nothing"], "look further back: --since 7d; the key is its text"),
        (
            ["--source", f"{PREFIX}acne", "--since", "1h"],
            "look further back: --since 7d; the source is a whole",
        ),
        (["--source", f"{PREFIX}acne", "--since", "7d"], "look further back, with an earlier --since"),
        (["--source", ACME, "--since", "2h", "--until", "1h"], "widen --since and --until"),
        (["--position", f"{TOPIC}/0/0", "--until", "1h"], "leave out --since and --until"),
        (["--id", "7f3b6a52-94c1-4d0e-8a35-2c1d9e6b7f40"], "search by --position, --key or --source"),
    ],
)
def test_nothing_found_says_what_to_do(find: Find, arguments: list[str], advice: str) -> None:
    """To people, and to a portal that reads JSON."""
    text, as_json = find(*arguments), find(*arguments, "--json")

    assert [4, 4] == [text.code, as_json.code]
    assert f"note: {advice}" in text.err
    assert json.loads(as_json.out)["problems"][-1].startswith(advice)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "say which records: --id, --position, --topic with --key, or --source"),
        (["--position", BROKEN, "--source", ACME], "say which records"),
        (["--key", "1"], "say of which topic, with --topic"),
        (["--topic", TOPIC, "--position", BROKEN], "it goes with --key or --source"),
        (["--position", "notes.v1[0]@1"], "is no position, as orders.v1/3/1042"),
        (["--position", "notes.v2/0/1"], "did you mean 'notes.v1'?"),
        (["--topic", "notes.v2", "--key", "1"], "did you mean 'notes.v1'?"),
        (["--id", "other/notes.v1/0/1/5"], "is of the Kafka cluster other"),
        (["--id", "notes.v1/0/1"], "is no id of an event"),
        (["--source", ACME, "--since", "1h", "--until", "2h"], "1h is not before --until 2h: swap them"),
        (
            ["--source", ACME, "--since", "2026-11-22T10:00"],
            "Write 2026-11-22T10:00Z if it is UTC",
        ),
        (["--source", ACME, "--bridge", "pod-0:8080"], "is not a URL, as http://pod-0:8080"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(find: Find, arguments: list[str], expected: str) -> None:
    ran = find(*arguments)

    assert 2 == ran.code
    assert expected in " ".join(ran.err.split())


def test_without_receipts_it_says_what_cannot_be_known(find: Find, tmp_path: Path) -> None:
    """Letters, filters and what waits are known all the same; of EventIds only those of replays."""
    find.without_receipts(tmp_path)
    statuses = [find.events("--position", f"{TOPIC}/0/{offset}")[0]["status"] for offset in range(5)]
    delivered = find("--position", f"{TOPIC}/0/0")
    unknown = find("--id", "7f3b6a52-94c1-4d0e-8a35-2c1d9e6b7f40")

    assert ["unknown", "dead-lettered", "filtered", "unknown", "held"] == statuses
    assert "receipts: {topic: notes.receipts, create: true}" in delivered.err
    assert (4, "Nothing found in the replays in notes.dlt.resolutions.\n") == (unknown.code, unknown.out)
    assert "receipts are off" in unknown.err


def test_a_letter_outlives_the_topic_of_its_record(find: Find, tmp_path: Path) -> None:
    """It is found by the source that it names, with and without receipts."""
    former = f"{PREFIX}former"
    record = Record(Partition("former.v1", 2), 7, 1_795_348_800_000, b"key", json.dumps(NOTE).encode(), ())
    event_id = f"c/former.v1/2/7/{record.timestamp_ms}"
    failure = failed(at_ms=1_795_348_800_500, event_id=event_id, code="entry_refused", source=former)
    written = letter(record, failure, bridge_name="notes", version="1")
    headers = {name: content or b"" for name, content in written.headers}
    find.sandbox.produce("notes.dlt", NOTE, key="key", headers=headers)

    (event,) = found = find.events("--source", former, "--since", "2026-11-01T00:00Z")
    find.without_receipts(tmp_path)

    assert ("dead-lettered", "former.v1", 7, event_id) == tuple(
        event[name] for name in ("status", "topic", "offset", "event_id")
    )
    assert found == find.events("--source", former, "--since", "2026-11-01T00:00Z")
    assert [] == json.loads(find("--source", former, "--since", "2026-11-23T00:00Z", "--json").out)["events"]


def test_what_a_replay_delivered_is_found_by_its_eventid_without_receipts(
    find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The letter's resolution has it, also where no receipt is left."""
    refused = f"{PREFIX}refused"
    find.sandbox.create_topic("replayed.v1", 1)
    find.sandbox.set_source(refused, "ACTIVE", region=REGION)
    find.sandbox.fault("entry_error", source=refused, code="MalformedDetail")
    settings = {
        **{name: value for name, value in SETTINGS.items() if name != "receipts"},
        "name": "replayed",
        "kafka": {"group.id": "replayed"},
        "dead_letter": {"topic": "replayed.dlt", "partitions": 1},
        "topics": {"replayed.v1": MAPPING},
    }
    with find.sandbox.start_bridge(settings) as bridge:
        find.sandbox.produce("replayed.v1", {**NOTE, "tenant": "refused"})
        bridge.wait_for_dead_letters(1)
        find.sandbox.clear()
        for name, value in find.sandbox.addresses()["environment"].items():
            monkeypatch.setenv(name, value)
        ran = find.terminal.run("dead-letters", "replay", "--execute", "-c", str(bridge.config))
        (received,) = find.sandbox.wait_for_events(1, source=refused)
        with DeliveryLog(config.load(bridge.config), show=silent) as log:
            findings = log.find(Search(event_id=received["id"]), BridgeEvidence)

    assert 0 == ran.code, ran.err
    (event,) = findings.events
    assert ("delivered", received["detail"]["_kafka"]["id"]) == (event.status, event.event_id)
    assert event.letter is not None
    assert event.letter.resolution is not None
    assert received["id"] == event.letter.resolution.event_id
