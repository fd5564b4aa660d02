"""`check`: the plan topic by topic, every mistake, and each connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector import config
from connector.cli import check
from connector.cli.check import CheckResult
from tests.terminal import EXAMPLE, FIVE_MISTAKES, Terminal


def test_check_says_what_would_happen_topic_by_topic(terminal: Terminal) -> None:
    """Reading `check` is enough to know where every record of every topic goes."""
    ran = terminal.run("check", "--config", EXAMPLE)

    assert (0, "") == (ran.code, ran.err)
    text = " ".join(ran.out.split())
    for expected in (
        "topic orders.v1",
        "topics that match ^payments[.](card|transfer)$",
        "value Avro, each record naming its schema in the registry (Confluent framing)",
        "key text (UTF-8)",
        "tombstones dropped and counted",
        "filter only where value.status != 'DRAFT'; others are dropped and counted",
        "ordering records of one key go in their order",
        "ordering records of one partition go in their order",
        "source aws.partner/example.com/${value.tenant_id}",
        "detail type Order ${value.status}",
        "time ${value.updated_at}",
        "time the record's timestamp",
        "resources order/${value.order_id}",
        '{"payment": {"id": "${value.payment_id}"',
        "group orders-bridge; a new one starts at the earliest offset: it skips nothing",
        "region eu-central-1",
        "topic orders-bridge.dlt",
        "halt after 1000 in a row without one delivery between them",
        "event at most 256KiB; larger ones are dead-lettered",
        "request at most 20 events and 256KiB, waiting for others at most 50ms",
        "ceiling of one process",
        "lowest requests at once: 32,000 events/s where an answer takes 20ms",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("url", "is_clear"),
    [("http://registry:8081", True), ("https://registry:8081", False), ("http://127.0.0.1:8081", False)],
)
def test_check_tells_of_registry_credentials_in_the_clear(
    terminal: Terminal, folder: Path, url: str, is_clear: bool
) -> None:
    """That is allowed, as inside a cluster, and should be known to whoever allows it."""
    text = (
        Path(EXAMPLE)
        .read_text("utf-8")
        .replace("url: http://registry:8081", f"url: {url}\n  bearer_token: x")
    )
    (folder / "bridge.yaml").write_text(text, "utf-8")
    ran = terminal.run("check")

    assert (0, "") == (ran.code, ran.err)
    assert f"{url}, bearer token" in ran.out
    assert is_clear is ("bearer token in the clear: whoever is on the way can read it" in ran.out)


def test_a_variable_that_is_not_read_is_warned_of(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sets one without the prefix learns it from `check` (people and machines) and `config show`."""
    monkeypatch.setenv("EVENTBRIDGE_REGION", "eu-west-1")
    warning = "is not read; if it is meant for the bridge, its name must be BRIDGE_EVENTBRIDGE__REGION"
    ran, machine = terminal.run("check", "-c", EXAMPLE), terminal.run("check", "--json", "-c", EXAMPLE)
    shown = terminal.run("config", "show", "-c", EXAMPLE)

    assert (0, 0, 0) == (ran.code, machine.code, shown.code)
    assert f"warnings EVENTBRIDGE_REGION {warning}" in " ".join(ran.out.split())
    assert {"EVENTBRIDGE_REGION": warning} == json.loads(machine.out)["plan"]["warnings"]
    assert f"EVENTBRIDGE_REGION: {warning}\n" == shown.err


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_file_of_pauses_with_mistakes_is_an_error_with_its_lines(
    terminal: Terminal, folder: Path, command: str
) -> None:
    """At the start nothing is in force that could stay so: what was meant to wait would be sent."""
    (folder / "bridge.yaml").write_text(f"pauses: pauses.yaml\n{Path(EXAMPLE).read_text('utf-8')}", "utf-8")
    (folder / "pauses.yaml").write_text("- sorces: [x]\n- topics: orders\n", "utf-8")
    ran = terminal.run(command)
    said = " ".join(ran.err.split())

    assert 2 == ran.code
    assert "pauses.yaml: pauses[0].sorces: unknown key; did you mean 'sources'? (line 1)" in said
    assert "pauses.yaml: pauses[1].topics: must be a list" in said


def test_check_shows_what_is_paused_and_doubts_names_that_pause_nothing(
    terminal: Terminal, folder: Path
) -> None:
    """A file that is not there yet is no mistake."""
    (folder / "bridge.yaml").write_text(f"pauses: pauses.yaml\n{Path(EXAMPLE).read_text('utf-8')}", "utf-8")
    missing = terminal.run("check")
    (folder / "pauses.yaml").write_text("topics: [orders.v1, order.v1]\n", "utf-8")
    ran = terminal.run("check")
    said = " ".join(ran.out.split())

    assert (0, 0) == (missing.code, ran.code)
    assert "not there yet; nothing is paused until it comes" in " ".join(missing.out.split())
    assert "topic orders.v1 paused until it is resumed" in said
    assert "the topic order.v1 is not in the configuration; did you mean 'orders.v1'" in said


def test_check_says_what_a_number_in_time_counts(terminal: Terminal, folder: Path) -> None:
    """A wrong unit shows before the first record, to whoever reads the plan."""
    text = Path(EXAMPLE).read_text("utf-8")
    assert "${value.updated_at}; a number counts milliseconds since 1970, in the years 2000 to 2100" in (
        " ".join(terminal.run("check", "-c", EXAMPLE).out.split())
    )
    (folder / "bridge.yaml").write_text(
        text.replace('time: "${value.updated_at}"', 'time: "${value.updated_at}"\n      time_unit: us'),
        "utf-8",
    )
    assert "a number counts microseconds since 1970 " in " ".join(terminal.run("check").out.split())


def test_check_lists_every_mistake_of_a_file_with_five(terminal: Terminal, folder: Path) -> None:
    """A refused key, a missing unit, an unknown key and two broken expressions are five problems."""
    (folder / "bridge.yaml").write_text(FIVE_MISTAKES, "utf-8")
    ran = terminal.run("check")

    assert (2, "") == (ran.code, ran.out)
    listed = [line.strip() for line in ran.err.splitlines()[1:]]
    assert ["1.", "2.", "3.", "4.", "5."] == [line.split()[0] for line in listed]
    for expected in (
        "kafka.enable.auto.commit: cannot be set here",
        "eventbridge.timeouts.read: a duration needs a unit",
        "topics.orders.v1.tombstone: unknown key; did you mean 'tombstones'? (line 13)",
        "topics.orders.v1.filter: ",
        "topics.orders.v1.event.detail_type: ",
    ):
        assert expected in ran.err


def test_check_asks_librdkafka_about_its_keys(terminal: Terminal, folder: Path) -> None:
    """A key librdkafka does not know is found before anything is consumed, next to other mistakes."""
    text = Path(EXAMPLE).read_text("utf-8").replace("group.id:", "sesion.timeout.ms: 1\n  group.id:")
    (folder / "bridge.yaml").write_text(text.replace("tombstones: skip", "tombstones: no"), "utf-8")
    ran = terminal.run("check")

    assert (2, 3) == (ran.code, len(ran.err.splitlines()))
    assert "kafka.sesion.timeout.ms: " in ran.err
    assert "topics.orders.v1.tombstones: must be one of skip, send, dead_letter" in ran.err


def test_check_reads_schema_files(terminal: Terminal, folder: Path) -> None:
    """A schema file that is not there is a problem of the configuration, not of the first record."""
    text = Path(EXAMPLE).read_text("utf-8").replace("framing: confluent", "framing: none, schema: order.avsc")
    (folder / "bridge.yaml").write_text(text, "utf-8")
    ran = terminal.run("check")

    assert 2 == ran.code
    assert "1. topics.orders.v1.value.schema: order.avsc is not a usable Avro schema: No such file" in ran.err


def test_check_for_machines(terminal: Terminal, folder: Path) -> None:
    """`--json` puts the result, good or bad, on stdout and nothing on stderr."""
    (folder / "bad.yaml").write_text(FIVE_MISTAKES, "utf-8")
    good, bad = (
        terminal.run("check", "--json", "-c", EXAMPLE),
        terminal.run("check", "--json", "-c", "bad.yaml"),
    )

    assert (0, "", True) == (good.code, good.err, json.loads(good.out)["ok"])
    assert "eu-central-1" == json.loads(good.out)["plan"]["EventBridge"]["region"]
    assert json.loads(good.out)["plan"]["ceiling of one process"]["lowest"].startswith("requests at once")
    assert (2, "", False) == (bad.code, bad.err, json.loads(bad.out)["ok"])
    assert 5 == len(json.loads(bad.out)["problems"])
    assert {"path", "message"} == set(json.loads(bad.out)["problems"][0])


@pytest.mark.parametrize(("reachable", "code"), [(True, 0), (False, 4)])
def test_check_connect_reports_each_connection(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, *, reachable: bool, code: int
) -> None:
    """Each thing tried is reported; one that is not well makes the exit code 4."""

    def tried(_: config.Settings) -> Iterator[CheckResult]:
        yield CheckResult("brokers", ok=True, text="3 in cluster x")
        yield CheckResult("schema registry", ok=reachable, text="connection refused; is it running?")

    monkeypatch.setattr(check, "connection_checks", tried)
    ran = terminal.run("check", "--connect", "-c", EXAMPLE)
    machine = terminal.run("check", "--connect", "--json", "-c", EXAMPLE)

    assert (code, code) == (ran.code, machine.code)
    assert ["connections", "  ok      brokers: 3 in cluster x"] == ran.out.splitlines()[-3:-1]
    assert f"{'ok' if reachable else 'failed'} schema registry: connection refused; is it running?" == (
        " ".join(ran.out.splitlines()[-1].split())
    )
    assert (reachable, [True, reachable]) == (
        json.loads(machine.out)["ok"],
        [each["ok"] for each in json.loads(machine.out)["connections"]],
    )
