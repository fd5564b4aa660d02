"""The command line: exit codes, what goes to stdout and what to stderr, and what `check` says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from connector import __version__, config, service
from connector.cli import app, check
from connector.cli.check import CheckResult
from connector.errors import HaltError

ROOT = Path(__file__).parents[3]
EXAMPLE = str(ROOT / "examples" / "bridge.yaml")
CANARY = "canary-card"

FIVE_MISTAKES = """
kafka:
  bootstrap.servers: localhost:9092
  group.id: orders
  enable.auto.commit: true
schema_registry: {url: http://localhost:8081}
eventbridge:
  region: eu-central-1
  timeouts: {read: 15}
dead_letter: {topic: orders.dlt}
topics:
  orders.v1:
    tombstone: skip
    filter: "value.status !="
    event:
      source: aws.partner/example.com/a
      detail_type: "Order ${value.status"
"""


class Ran(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run commands in, without BRIDGE_ variables."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("BRIDGE_")]:
        monkeypatch.delenv(variable)
    return tmp_path


class Terminal:
    """Runs commands as a shell would, inside this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: str) -> Ran:
        with pytest.raises(SystemExit) as caught:
            app.main(list(arguments))
        written = self._capsys.readouterr()
        code = caught.value.code
        return Ran(code if isinstance(code, int) else 0, written.out, written.err)


@pytest.fixture
def terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def test_a_bug_shows_where_it_is_and_no_values(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the command: its text may quote a record, and the terminal of support is not for those."""

    def breaks(_: object) -> list[object]:
        raise ValueError(CANARY)

    monkeypatch.setattr(check, "problems", breaks)
    ran = terminal.run("check", "--config", EXAMPLE)

    assert (1, "") == (ran.code, ran.out)
    assert "test_app.py" in ran.err
    assert "ValueError\nThis is a bug in partner-bridge." in ran.err
    assert CANARY not in ran.err


# check


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


# run


def test_run_ends_with_the_code_of_the_service(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 stopped cleanly, 3 halted: whatever runs the bridge can tell them apart."""
    for code in (0, 3):
        monkeypatch.setattr(service, "run", lambda _, code=code: sys.exit(code))

        assert code == terminal.run("run", "-c", EXAMPLE).code


def test_a_halt_on_the_way_is_exit_3_without_a_traceback(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A halt is a decision, not a bug: it says why, in one line."""

    def halt(_: config.Settings) -> int:
        raise HaltError("the role is refused; correct its policy")

    monkeypatch.setattr(service, "run", halt)

    assert (3, "", "Halted: the role is refused; correct its policy\n") == terminal.run("run", "-c", EXAMPLE)


def test_a_mistake_stops_run_before_anything_starts(terminal: Terminal, folder: Path) -> None:
    """A configuration mistake exits 2 with the same list as `check`, and no traceback."""
    (folder / "bridge.yaml").write_text(FIVE_MISTAKES, "utf-8")

    assert terminal.run("check") == terminal.run("run")


# config


def test_config_show_masks_secrets(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in force is shown, wherever it came from; passwords are not."""
    monkeypatch.setenv("BRIDGE_KAFKA__SASL_PASSWORD", "s3cret")
    monkeypatch.setenv("BRIDGE_HTTP__PORT", "9999")
    ran, machine = (
        terminal.run("config", "show", "-c", EXAMPLE),
        terminal.run("config", "show", "--json", "-c", EXAMPLE),
    )

    assert (0, "") == (ran.code, ran.err)
    assert "port: 9999\n" in ran.out
    assert "sasl.password: '***'\n" in ran.out
    assert "s3cret" not in ran.out + machine.out
    assert 9999 == json.loads(machine.out)["http"]["port"]


def test_config_schema_is_the_committed_one(terminal: Terminal) -> None:
    """The schema comes out as it is committed, to the byte."""
    assert (ROOT / "schemas" / "config.json").read_text("utf-8") == terminal.run("config", "schema").out


# Which file


def test_the_file_is_the_option_then_the_variable_then_bridge_yaml(
    terminal: Terminal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--config wins over $BRIDGE_CONFIG, which wins over ./bridge.yaml."""
    example = Path(EXAMPLE).read_text("utf-8")
    for name in ("bridge", "variable", "option"):
        (folder / f"{name}.yaml").write_text(example.replace("name: orders-bridge", f"name: {name}"), "utf-8")

    assert "name: bridge\n" in terminal.run("config", "show").out
    monkeypatch.setenv("BRIDGE_CONFIG", "variable.yaml")
    assert "name: variable\n" in terminal.run("config", "show").out
    assert "name: option\n" in terminal.run("config", "show", "--config", "option.yaml").out


def test_no_configuration_at_all_says_what_to_do(terminal: Terminal) -> None:
    """A first start in an empty folder is told where a configuration is looked for."""
    ran = terminal.run("run")

    assert 2 == ran.code
    assert "no configuration: write ./bridge.yaml, or name a file with --config or $BRIDGE_CONFIG" in ran.err


# Usage


@pytest.mark.parametrize(
    "arguments",
    [["chek"], ["run", "--no-such-option"], ["demo", "--records", "0"], ["sandbox", "--registry-port", "x"]],
)
def test_wrong_usage_is_exit_2_on_stderr(terminal: Terminal, arguments: list[str]) -> None:
    """A mistyped command line is told so, and does nothing."""
    ran = terminal.run(*arguments)

    assert (2, "") == (ran.code, ran.out)
    assert "Error: " in ran.err


@pytest.mark.parametrize(
    "command",
    [[], ["run"], ["check"], ["config"], ["config", "show"], ["config", "schema"], ["sandbox"], ["demo"]],
)
def test_help_ends_in_examples_to_copy(terminal: Terminal, command: list[str]) -> None:
    """Each line of the examples is a command, whole and unwrapped."""
    ran = terminal.run(*command, "--help")
    examples = ran.out.partition("  Examples:\n")[2].splitlines()

    assert 0 == ran.code
    assert examples
    assert all("partner-bridge" in line for line in examples)


def test_version(terminal: Terminal) -> None:
    """--version is one line on stdout."""
    assert (0, f"partner-bridge {__version__}\n", "") == terminal.run("--version")


def test_help_and_start_import_nothing_heavy() -> None:
    """Help is instant, and start-up pays only for what runs: AWS and Kafka clients are loaded by need."""
    code = "import sys, connector.cli; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["boto3", "aiohttp", "confluent_kafka", "fastavro", "pydantic", "rich"]
    ran = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)

    assert "[]\n" == ran.stdout


def test_a_registry_certificate_that_cannot_be_used_hides_nothing(folder: Path) -> None:
    """The CA is one problem; a broken filter is still found next to it."""
    text = (
        Path(EXAMPLE).read_text("utf-8").replace("url: http://registry:8081", "url: https://r\n  ca: no.pem")
    )
    (folder / "bridge.yaml").write_text(text.replace("value.status != 'DRAFT'", "value.status !="), "utf-8")
    settings = config.load(Path("bridge.yaml"), {})

    assert ["schema_registry.ca", "topics.orders.v1.filter"] == [
        each.path for each in check.problems(settings)
    ]
