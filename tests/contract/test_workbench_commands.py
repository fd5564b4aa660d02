"""`partner-bridge explain` and `test` as a user meets them, on the sandbox's broker and registry."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from connector.sandbox.server import free_port
from connector.sandbox.testing import LocalSandbox
from tests.terminal import Ran, Terminal, screen

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "order_id", "type": "string"},
        {"name": "tenant", "type": ["null", "string"], "default": None},
        {"name": "status", "type": "string"},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "placed", "type": "long"},
    ],
}
ORDER = {"order_id": "A-1", "tenant": "acme", "status": "PAID", "total": "12.30", "placed": 1}
PLACED_MS = 1_795_341_600_000
CASES = """\
# tests of orders
topic: orders.v1
cases:
  - name: a paid order   # the usual one
    record: {value: {order_id: A-1, tenant: acme, status: PAID, total: "12.30", placed: 1}}
    event: {source: aws.partner/example.com/acme, detail: {total: "12.30"}}
  - {name: a tombstone, record: {value: null}, filtered: tombstone}
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSandbox]:
    with LocalSandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        sandbox.create_topic("notes")
        sandbox.create_topic("empty")
        orders = ORDER, {**ORDER, "status": "DRAFT"}, {**ORDER, "tenant": None, "placed": PLACED_MS}
        sandbox.produce("orders.v1", *orders, key="A", schema=SCHEMA)
        for number in range(20):
            sandbox.produce("notes", {"tenant": "acme", "kind": f"ann{number}@example.com"})
        yield sandbox


class Bridge:
    """A configuration in a folder of its own, and commands about it."""

    def __init__(self, folder: Path, terminal: Terminal, sandbox: LocalSandbox) -> None:
        self.folder = folder
        self._terminal = terminal
        self._addresses = sandbox.addresses()
        (folder / "tests").mkdir()

    def configure(self, event: Mapping[str, Any] | None = None, **groups: Any) -> None:
        templates = {
            "source": "aws.partner/example.com/${value.tenant}",
            "detail_type": "Order",
            **(event or {}),
        }
        notes = {"source": "aws.partner/example.com/${value.tenant}", "detail_type": "${value.kind}"}
        settings = {
            "kafka": {
                "bootstrap.servers": self._addresses["kafka"]["bootstrap.servers"],
                "group.id": "orders",
            },
            "schema_registry": {"url": self._addresses["schema_registry"]},
            "eventbridge": {"region": "eu-central-1"},
            "dead_letter": {"topic": "orders.dlt"},
            "topics": {
                "orders.v1": {"filter": "value.status != 'DRAFT'", "event": templates},
                "^(notes|empty|missing)$": {"value": {"format": "json"}, "event": notes},
            },
        }
        (self.folder / "bridge.yaml").write_text(yaml.safe_dump(settings | groups, sort_keys=False))

    def run(self, command: str, *arguments: str) -> Ran:
        return self._terminal.run(command, "--config", str(self.folder / "bridge.yaml"), *arguments)

    def explain(self, *arguments: str, topic: str = "orders.v1") -> Ran:
        return self.run("explain", "--topic", topic, *arguments)

    def write(self, name: str, text: str) -> Path:
        file = self.folder / "tests" / name
        file.write_text(text)
        return file


@pytest.fixture
def bridge(tmp_path: Path, capsys: pytest.CaptureFixture[str], sandbox: LocalSandbox) -> Bridge:
    bridge = Bridge(tmp_path, Terminal(capsys), sandbox)
    bridge.configure()
    return bridge


def test_explain_shows_the_last_records(bridge: Bridge) -> None:
    """An object a line, the oldest first; 4 since one of them would be dead-lettered."""
    ran = bridge.explain("--last", "3", "--json")
    found = [json.loads(line) for line in ran.out.splitlines()]

    assert 4 == ran.code
    assert ["event", "filtered", "dead_letter"] == [each["outcome"] for each in found]
    assert [None, "filter", "template_null"] == [each["code"] for each in found]
    assert "12.30" == found[0]["entry"]["Detail"]["total"]
    assert [PLACED_MS] == [each["decoded"]["value"]["placed"] for each in found[2:]]


def test_explain_shows_one_record(bridge: Bridge) -> None:
    """Its position, values, templates with their lines, the entry and its size, within 80 columns."""
    position = json.loads(bridge.explain("--last", "3", "--json").out.splitlines()[0])["position"]
    partition, _, offset = position.removeprefix("orders.v1[").partition("]@")
    ran = bridge.explain("--partition", partition, "--offset", offset)

    assert 0 == ran.code
    assert ran.out.startswith(f"{position} becomes an event\n\nrecord\n")
    assert '"total": "12.30"' in ran.out
    assert "    value.status != 'DRAFT'\n    → true: the record is kept\n" in ran.out
    lines = (bridge.folder / "bridge.yaml").read_text().splitlines()
    source = "aws.partner/example.com/${value.tenant}"
    place = f"topics.orders.v1.event.source (line {lines.index(f'      source: {source}') + 1})"
    assert f'  {place}\n    {source}\n    → "aws.partner/example.com/acme"\n' in ran.out
    assert "of 262,144 bytes\n  billed  AWS bills 1 chunk of 64 KiB\n" in ran.out


def test_explain_shows_what_goes_by_reference(bridge: Bridge) -> None:
    """How much of the event that is too large, from where, and the key of its object."""
    claim_check = {"bucket": "large", "prefix": "v1", "path": "$.detail.text", "above": 1024}
    bridge.configure(eventbridge={"region": "eu-central-1", "claim_check": claim_check})
    value = bridge.write("value.json", json.dumps({"tenant": "acme", "kind": "Note", "text": "x" * 2000}))
    ran = bridge.explain("--file", str(value), topic="notes")
    _, _, shown = ran.out.partition("\nclaim check\n")

    assert 0 == ran.code
    assert "  out of it  2,002 bytes at $.detail.text go to S3" == shown.splitlines()[0]
    assert shown.splitlines()[1].startswith("  object     v1/aws.partner/example.com/acme/")
    assert '"datarefJsonPath": "$.detail.text"' in ran.out


def test_explain_fits_80_columns(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever can be broken is."""
    with screen(monkeypatch) as shown:
        bridge.explain("--last", "3")

    assert [] == shown.too_long
    assert any("would be dead-lettered as template_null" in line for line in shown.lines)


def test_explain_counts_the_kinds_of_events(bridge: Bridge) -> None:
    """The sixteenth has a warning; none of them repeats the address that is in the detail type."""
    ran = bridge.explain("--last", "20", "--json", topic="notes")
    warnings = [json.loads(line)["warnings"] for line in ran.out.splitlines()]

    assert 20 == len(warnings)
    assert [1] * 15 + [2] * 5 == [len(each) for each in warnings]
    assert "detail_type: 16 kinds in 16 events" in warnings[15][1]
    assert not any("ann" in warning for each in warnings for warning in each)


@pytest.mark.parametrize(
    ("topic", "arguments", "message"),
    [
        ("orders.v1", ["--partition", "0", "--offset", "4711"], "orders.v1[0]@4711 is not there"),
        (
            "orders.v1",
            ["--partition", "99", "--offset", "0"],
            "orders.v1[99]@0: orders.v1 has the partitions 0 to",
        ),
        ("empty", ["--partition", "0", "--offset", "0"], "the partition is empty, and its next offset is 0"),
        ("empty", ["--last", "3"], "empty holds no records"),
        ("missing", ["--last", "3"], "missing does not exist in this Kafka cluster"),
        ("orders.v1", ["--file", "nowhere"], "nowhere cannot be read: no such file or directory"),
    ],
)
def test_explain_of_what_is_not_there(bridge: Bridge, topic: str, arguments: list[str], message: str) -> None:
    """One message that says what there is instead, and exit code 2."""
    ran = bridge.explain(*arguments, topic=topic)

    assert (2, "") == (ran.code, ran.out)
    assert message in ran.err
    assert 1 == len(ran.err.splitlines())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say which record"),
        (["--last", "1", "--file", "x"], "say which record"),
        (["--partition", "1"], "give both"),
        (["--offset", "1", "--last", "1"], "give both"),
    ],
)
def test_explain_takes_one_way_to_name_records(bridge: Bridge, arguments: list[str], message: str) -> None:
    """None and two are exit code 2."""
    ran = bridge.explain(*arguments)

    assert 2 == ran.code
    assert message in ran.err


def test_explain_of_a_topic_that_is_not_configured(bridge: Bridge) -> None:
    """With the one that may be meant."""
    ran = bridge.explain("--last", "1", topic="order.v1")

    assert 2 == ran.code
    assert "did you mean 'orders.v1'?" in ran.err


def test_explain_without_an_answer(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Kafka, or of the registry that has the record's schema: one message, and exit code 2."""
    monkeypatch.setattr("connector.kafka.reader.ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr("connector.formats.schema_cache.WAIT_S", 0.5)
    bridge.configure(kafka={"bootstrap.servers": f"127.0.0.1:{free_port()}", "group.id": "a"})
    no_kafka = bridge.explain("--last", "1")
    bridge.configure(schema_registry={"url": f"http://127.0.0.1:{free_port()}"})
    no_registry = bridge.explain("--last", "1")

    assert (2, 2) == (no_kafka.code, no_registry.code)
    assert "Kafka does not answer" in no_kafka.err
    assert "schema registry" in no_registry.err
    assert [1, 1] == [len(ran.err.splitlines()) for ran in (no_kafka, no_registry)]


def test_explain_of_a_file(bridge: Bridge) -> None:
    """A record as a fixture has it, written with the registry's latest schema; or a value's bytes."""
    record = bridge.write("record.yaml", f"key: k\nvalue: {json.dumps(ORDER)}\noffset: 7\n")
    value = bridge.write("value.bin", '{"tenant": "acme", "kind": "Note"}')
    written = json.loads(bridge.explain("--file", str(record), "--json").out)
    raw = json.loads(bridge.explain("--file", str(value), "--json", topic="notes").out)

    assert ("orders.v1[0]@7", "event") == (written["position"], written["outcome"])
    assert ("k", ORDER) == (written["decoded"]["key"], written["decoded"]["value"])
    assert ("notes[0]@0", "Note") == (raw["position"], raw["entry"]["DetailType"])


def test_explain_of_a_record_that_the_schema_refuses(bridge: Bridge) -> None:
    """Every field, and what it must be."""
    record = bridge.write("record.yaml", f"value: {json.dumps({**ORDER, 'total': 'much', 'placed': 'x'})}\n")
    ran = bridge.explain("--file", str(record))

    assert 2 == ran.code
    assert ran.err.startswith(f"{record} cannot be used:\n")
    assert ". value.total: must be a decimal" in ran.err
    assert ". value.placed: must be a whole number" in ran.err


def test_tests_pass(bridge: Bridge) -> None:
    """A line for each file, a summary, and a report for CI; the schema is the registry's latest."""
    file = bridge.write("orders.yaml", CASES)
    report = bridge.folder / "report.xml"
    ran = bridge.run("test", "--junit", str(report))
    suites = ET.parse(report).getroot()

    assert (0, f"{file}: 2 cases, passed\n\n2 cases passed\n") == (ran.code, ran.out)
    assert ["testsuites", "testsuite", "testcase", "testcase"] == [element.tag for element in suites.iter()]
    assert {"name": str(file), "tests": "2", "failures": "0", "errors": "0"} == suites[0].attrib
    assert "a paid order" == suites[0][0].attrib["name"]


def test_a_misspelt_field_is_found_by_a_test(bridge: Bridge) -> None:
    """With the difference that it makes, its place in the configuration, and what was meant."""
    bridge.configure({"detail": {"total": "${value.totl}"}})
    bridge.write("orders.yaml", CASES)
    report = bridge.folder / "report.xml"
    ran = bridge.run("test", "--junit", str(report))
    machine = json.loads(bridge.run("test", "--json").out)

    assert 4 == ran.code
    assert '  a paid order (line 4)\n    event.detail.total: expected "12.30", got null\n' in ran.out
    assert "${value.totl}: the record has no field 'totl'; did you mean 'total'? (line " in ran.out
    assert "1 case passed, 1 failed\n" in ran.out
    failure = ET.parse(report).getroot().find(".//failure")
    assert failure is not None
    assert 'event.detail.total: expected "12.30", got null' == failure.attrib["message"]
    assert (False, 1, 1) == (machine["ok"], machine["passed"], machine["failed"])
    assert [{"path": "event.detail.total", "expected": "12.30", "got": None}] == machine["fixtures"][0][
        "cases"
    ][0]["differences"]


def test_tests_fit_80_columns(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences and what explains them are wrapped."""
    bridge.configure({"detail": {"total": "${value.totl}"}})
    bridge.write("orders.yaml", CASES)
    with screen(monkeypatch) as shown:
        bridge.run("test")

    assert [] == shown.too_long
    assert any("did you mean" in line for line in shown.lines)


def test_update_writes_what_came(bridge: Bridge) -> None:
    """Of what failed; every other byte stays, and then it passes."""
    bridge.configure({"detail": {"total": "${value.totl}"}})
    file = bridge.write("orders.yaml", CASES)
    same = bridge.write("same.yaml", CASES.replace('detail: {total: "12.30"}', "detail_type: Order"))
    before = same.stat().st_mtime_ns
    ran = bridge.run("test", "--update")

    assert 0 == ran.code
    assert CASES.replace('{total: "12.30"}}\n  - {', "{total: null}}\n  - {") == file.read_text()
    assert before == same.stat().st_mtime_ns
    assert 0 == bridge.run("test").code


def test_update_writes_nothing_where_a_file_cannot_be_used(bridge: Bridge) -> None:
    """Not even the others: all problems first."""
    bridge.configure({"detail": {"total": "${value.totl}"}})
    file = bridge.write("orders.yaml", CASES)
    broken = bridge.write("broken.yaml", CASES + "  - [")
    ran = bridge.run("test", "--update")

    assert 2 == ran.code
    assert f"{broken}, line" in ran.err
    assert (CASES, CASES + "  - [") == (file.read_text(), broken.read_text())


def test_fixtures_that_cannot_be_used(bridge: Bridge) -> None:
    """The problems of all files at once, each with its line; for machines too."""
    bridge.write("a.yaml", CASES.replace("value: {order_id", "valeu: {order_id"))
    bridge.write("b.yaml", CASES.replace('"12.30", placed: 1', "much, placed: 1"))
    bridge.write("c.yaml", CASES.replace("orders.v1", "order.v1"))
    ran = bridge.run("test")
    machine = json.loads(bridge.run("test", "--json").out)

    assert (2, "") == (ran.code, ran.out)
    for problem in (
        "a.yaml: cases[0].record.valeu: unknown key; did you mean 'value'? (line 5)",
        "b.yaml: cases[0].record.value.total: must be a decimal with at most 2 digits",
        "c.yaml: topic: order.v1: no entry under `topics` matches it; did you mean 'orders.v1'? (line 2)",
    ):
        assert problem in ran.err
    assert (False, 3) == (machine["ok"], len(machine["problems"]))


def test_a_registry_that_does_not_answer_is_not_asked_where_a_file_has_the_schema(bridge: Bridge) -> None:
    """Without one: one message, however many cases, and exit code 2."""
    bridge.configure(schema_registry={"url": f"http://127.0.0.1:{free_port()}"})
    (bridge.folder / "order.avsc").write_text(json.dumps(SCHEMA))
    file = bridge.write("orders.yaml", CASES)
    without = bridge.run("test")
    file.write_text(CASES.replace("cases:", "schema: ../order.avsc\ncases:"))

    assert 2 == without.code
    assert 2 == len(without.err.splitlines())
    assert 0 == bridge.run("test").code


def test_no_fixtures(bridge: Bridge) -> None:
    """It says where they are looked for."""
    ran = bridge.run("test")

    assert (2, "") == (ran.code, ran.out)
    assert f"There are no fixtures in {bridge.folder}/tests: write " in ran.err
