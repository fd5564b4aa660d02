"""`partner-bridge run --dry-run` beside a bridge: what it says would happen, and that nothing does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from confluent_kafka import Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from connector import config
from connector.errors import ConfigError
from connector.model import Partition, Position
from connector.sandbox import orders
from connector.sandbox.demo import Account, Place, produce
from connector.sandbox.server import free_port
from connector.sandbox.services import Sandbox
from connector.workbench.shadow_run import POLL_RECORDS, ShadowRun, shadow_run
from tests.services.child import wait_until
from tests.shadow import read_records, read_until
from tests.terminal import Terminal
from tests.topics import Sent, Topics

GROUP = "orders-bridge"
PARTITIONS = [Partition(orders.TOPIC, number) for number in range(orders.PARTITIONS)]
NOTES = {
    "value": {"format": "json"},
    "event": {"source": "aws.partner/example.com/${value.tenant}", "detail_type": "Note"},
}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def topics(sandbox: Sandbox) -> Topics:
    return Topics({"bootstrap.servers": sandbox.broker.bootstrap})


def produced(sandbox: Sandbox, count: int) -> Account:
    account = Account()
    produce(sandbox, account, count)
    return account


def commit(sandbox: Sandbox, offsets: Mapping[Partition, int]) -> None:
    """Commits as the bridge's group."""
    with closing(Consumer({"bootstrap.servers": sandbox.broker.bootstrap, "group.id": GROUP})) as member:
        wanted = [TopicPartition(*partition, offset) for partition, offset in offsets.items()]
        member.commit(offsets=wanted, asynchronous=False)


def file_of(sandbox: Sandbox, folder: Path, **changes: Mapping[str, Any]) -> Path:
    """The example's configuration, with no credentials anywhere near it; `changes` go into its sections."""
    settings = yaml.safe_load(sandbox.config(http_port=0))
    for section, change in changes.items():
        settings[section] = change if section == "topics" else {**settings.get(section, {}), **change}
    file = folder / "bridge.yaml"
    file.write_text(json.dumps(settings, indent=2))  # JSON is YAML
    return file


class DryRun:
    """The command as a process, without AWS credentials."""

    def __init__(self, file: Path, *options: str) -> None:
        self.port = free_port()
        own = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BRIDGE_"))}
        environ = {**own, "BRIDGE_HTTP__PORT": str(self.port), "BRIDGE_HTTP__HOST": "127.0.0.1"}
        command = [sys.executable, "-m", "connector", "run", "--dry-run", "-c", str(file), *options]
        self.process = subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; 0 while nothing answers."""
        try:
            answer = urllib3.request("GET", f"http://127.0.0.1:{self.port}{path}", timeout=5, retries=False)
        except urllib3.exceptions.HTTPError:
            return 0, ""
        return answer.status, answer.data.decode()

    def mapped(self) -> int:
        """How many records `/metrics` shows by now."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return sum(
            int(sample.value)
            for family in families
            for sample in family.samples
            if sample.name == "partner_bridge_dry_run_records_total"
        )

    def wait_mapped(self, count: int) -> None:
        def is_done() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            return self.mapped() == count

        wait_until(is_done, what=lambda: f"{count} records mapped, not {self.mapped()}")

    def end(self) -> tuple[int, str, str]:
        """Ends it with SIGTERM; answers its exit code and what it wrote."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@contextmanager
def started(file: Path, *options: str) -> Iterator[DryRun]:
    run = DryRun(file, *options)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.process.kill()


def test_it_foretells_what_the_bridge_would_do_and_changes_nothing(
    sandbox: Sandbox, topics: Topics, tmp_path: Path
) -> None:
    """From the group's position on, every record is an event, filtered, or a dead letter with the code that
    it was made for. The group's offsets are what they were, and EventBridge was asked for nothing."""
    account = produced(sandbox, 1_000)
    commit(sandbox, {PARTITIONS[0]: 10, PARTITIONS[1]: 20})
    before = topics.committed(GROUP, PARTITIONS)
    expected = Counter(
        made.becomes
        for place, made in account.produced.items()
        if place.offset >= before.get(PARTITIONS[place.partition], 0)
    )
    left = expected.total()
    with started(file_of(sandbox, tmp_path), "--json") as run:
        run.wait_mapped(left)
        ready, live = run.get("/readyz")[0], run.get("/livez")[0]
        more = produced(sandbox, 200)
        run.wait_mapped(left + 200)
        names = {line.split("{")[0] for line in run.get("/metrics")[1].splitlines()}
        code, out, err = run.end()
    report = json.loads(out)
    expected += Counter(made.becomes for made in more.produced.values())
    letters = {code: letter["records"] for code, letter in report["dead_letters"].items()}

    assert 4 == code, err
    assert (200, 200) == (ready, live)
    assert {"partner_bridge_dry_run_records_total", "partner_bridge_dry_run_lag"} <= names
    assert (before, {}) == (
        topics.committed(GROUP, PARTITIONS),
        topics.committed(f"{GROUP}.dry-run", PARTITIONS),
    )
    assert (0, 0) == (sandbox.eventbridge.counts().requests.total(), sandbox.eventbridge.counts().accepted)
    assert left + 200 == report["records"]
    assert report["records"] == report["events"] + sum(report["filtered"].values()) + sum(letters.values())
    assert {"event": report["events"], "filtered": sum(report["filtered"].values()), **letters} == expected
    assert 0 == report["left"]
    assert [10, 20, 0, 0, 0, 0] == [each["from_offset"] for each in report["partitions"]]
    assert report["events"] == sum(report["sources"].values()) == sum(report["detail_types"].values())
    places = {code: Place(*place_of(letter["position"])) for code, letter in report["dead_letters"].items()}
    known = account.produced | more.produced
    assert {code: known[place].becomes for code, place in places.items()} == {code: code for code in letters}


def place_of(position: str) -> tuple[int, int]:
    """Partition and offset of `topic[3]@1042`."""
    partition, _, offset = position.rpartition("]@")
    return int(partition.rpartition("[")[2]), int(offset)


def test_without_a_finding_it_ends_with_0_when_its_time_is_over(
    sandbox: Sandbox, topics: Topics, tmp_path: Path
) -> None:
    """What people read names the counts; progress and notes are on stderr."""
    topics.produce([Sent(orders.TOPIC, b'{"tenant": "acme"}', partition=0)] * 3)
    file = file_of(sandbox, tmp_path, topics={orders.TOPIC: NOTES, "^nothing": NOTES})
    with started(file, "--for", "2s") as run:
        out, err = run.process.communicate(timeout=60)

    assert 0 == run.process.returncode, err
    assert out.startswith("3 records mapped in 2 s, ")
    assert "aws.partner/example.com/acme       3\n" in out
    assert "none: caught up" in out
    assert "Reading 6 partitions of 1 topic with 3 records to come" in err
    assert "note: ^nothing matches no topic that can be read" in err


def test_a_record_waits_for_its_schema_as_in_the_bridge(sandbox: Sandbox, tmp_path: Path) -> None:
    """While the registry does not answer nothing is judged and `/readyz` says why; then all goes on. A run
    that ends before is no success. What waits in memory does not grow with the backlog."""
    account = produced(sandbox, 2_000)
    file = file_of(sandbox, tmp_path)
    sandbox.registry.script({"down": True})
    with shadow_run(config.load(file)) as run:
        read_until(run, lambda: set(PARTITIONS) == set(run.report.waiting))
        assert not run.report.is_clean
        assert set(PARTITIONS) == set(run.report.waiting)
        assert 2_000 == run.report.left + run.report.records  # bytes that name no schema need none
        assert sum(map(len, run._waiting.values())) <= len(PARTITIONS) * POLL_RECORDS
        assert "schema_registry" in reasons(run)

    with shadow_run(config.load(file)) as run:
        back = threading.Timer(1.0, lambda: sandbox.registry.script({}))
        back.start()
        read_records(run, 2_000)
        back.join()

    assert not run.report.waiting
    assert Counter(made.becomes for made in account.produced.values())["event"] == run.report.total.events


def reasons(run: ShadowRun) -> set[str]:
    found = run._health.ready()[1]["reasons"]
    assert isinstance(found, dict)
    return set(found)


def test_what_is_missing_is_said_at_once_with_its_line(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every topic that does not exist, in one message; exit 2."""
    file = file_of(sandbox, tmp_path, topics={"odrers": NOTES, orders.TOPIC: NOTES, "invoices": NOTES})
    ran = Terminal(capsys).run("run", "--dry-run", "--config", str(file))

    assert (2, "") == (ran.code, ran.out)
    for topic in ("odrers", "invoices"):
        line = file.read_text().splitlines().index(f'    "{topic}": {{') + 1
        text = "there is no such topic; create it, or correct its name"
        assert f"topics.{topic}: {text} (line {line})\n" in ran.err
    assert orders.TOPIC not in ran.err


def test_brokers_that_do_not_answer_are_exit_2(
    tmp_path: Path,
    sandbox: Sandbox,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One message: what, and where to look."""
    monkeypatch.setattr("connector.kafka.reader.ANSWER_TIMEOUT_S", 1.0)
    file = file_of(sandbox, tmp_path)
    sandbox.set_kafka_down(down=True)
    ran = Terminal(capsys).run("run", "--dry-run", "--config", str(file))

    assert (2, "") == (ran.code, ran.out)
    assert "Kafka does not answer" in ran.err
    assert "bootstrap.servers" in ran.err


def test_a_pattern_reads_what_the_bridge_would(sandbox: Sandbox, topics: Topics, tmp_path: Path) -> None:
    """Never the dead-letter topic, nor a topic that two patterns claim; of this one it says so."""
    for name in ("notes.a", "notes.b", "notes.dlt"):
        sandbox.create_topic(name, 1)
        topics.produce([Sent(name, b'{"tenant": "acme"}')])
    file = file_of(
        sandbox,
        tmp_path,
        topics={"^notes": NOTES, "^notes.b": NOTES},
        dead_letter={"topic": "notes.dlt"},
    )
    with shadow_run(config.load(file)) as run:
        read_records(run, 1)

    assert {Partition("notes.a", 0)} == set(run.report.partitions)
    assert ["notes.b"] == [note.split()[0] for note in run.notes if "is not read" in note]


@pytest.mark.parametrize(("reset", "first"), [("earliest", 0), ("latest", 4)])
def test_without_a_committed_offset_it_begins_where_the_bridge_would(
    sandbox: Sandbox, topics: Topics, tmp_path: Path, reset: str, first: int
) -> None:
    """As `auto.offset.reset` says; so where the committed offset is gone."""
    sandbox.create_topic("notes", 2)
    for number in (0, 1):
        topics.produce([Sent("notes", b'{"tenant": "acme"}', partition=number)] * 4)
    commit(sandbox, {Partition("notes", 1): 99})
    file = file_of(sandbox, tmp_path, topics={"notes": NOTES}, kafka={"auto.offset.reset": reset})
    with shadow_run(config.load(file)) as run:
        topics.produce([Sent("notes", b'{"tenant": "acme"}', partition=number) for number in (0, 1)])
        read_records(run, 2 * (5 - first))

    assert [first, first] == [reading.from_offset for _, reading in sorted(run.report.partitions.items())]


def test_where_the_bridge_would_halt_for_want_of_an_offset_it_says_so(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """With `auto.offset.reset: error` nothing is read from a guess."""
    sandbox.create_topic("notes", 1)
    file = file_of(sandbox, tmp_path, topics={"notes": NOTES}, kafka={"auto.offset.reset": "error"})
    with (
        pytest.raises(ConfigError, match=r"notes\[0\] has no committed offset, and with `error`"),
        shadow_run(config.load(file)),
    ):
        pass


def test_a_broker_that_goes_away_is_waited_for(sandbox: Sandbox, tmp_path: Path) -> None:
    """The run is unready meanwhile, and goes on where it was: nothing is counted twice or left out."""
    produced(sandbox, 50)
    with shadow_run(config.load(file_of(sandbox, tmp_path))) as run:
        sandbox.set_kafka_down(down=True)
        read_until(run, lambda: "kafka" in reasons(run))
        back = threading.Timer(0.5, lambda: sandbox.set_kafka_down(down=False))
        back.start()
        read_records(run, 50 - run.report.records)
        back.join()

    assert (50, 0) == (run.report.records, run.report.left)


def test_examples_are_positions_of_their_own_code(sandbox: Sandbox, topics: Topics, tmp_path: Path) -> None:
    """The first of each code; the text holds no value of the record."""
    sandbox.create_topic("notes", 1)
    topics.produce([Sent("notes", value) for value in (b"canary", b'{"no": "canary"}', b"canary again")])
    with shadow_run(config.load(file_of(sandbox, tmp_path, topics={"notes": NOTES}))) as run:
        read_records(run, 3)
    notes = Partition("notes", 0)

    assert {"json_invalid": Position(notes, 0), "template_null": Position(notes, 1)} == {
        code: example.position for code, example in run.report.examples.items()
    }
    assert "canary" not in json.dumps(run.report.as_json())
