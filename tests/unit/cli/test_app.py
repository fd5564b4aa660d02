"""The command line: exit codes, stdout and stderr, help and what a start imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from connector import __version__, service
from connector.__main__ import runs_until_told
from connector.cli import app, problems
from connector.errors import HaltError
from connector.kafka import consumer
from tests.terminal import EXAMPLE, FIVE_MISTAKES, Terminal, screen

ROOT = Path(__file__).parents[3]

CANARY = "canary-card"


def test_a_bug_shows_where_it_is_and_no_values(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the command: its text may quote a record, and the terminal of support is not for those."""

    def breaks(_: object) -> list[object]:
        raise ValueError(CANARY)

    monkeypatch.setattr(problems, "problems", breaks)
    ran = terminal.run("check", "--config", EXAMPLE)

    assert (1, "") == (ran.code, ran.out)
    assert "test_app.py" in ran.err
    assert "ValueError\nThis is a bug in partner-bridge." in ran.err
    assert CANARY not in ran.err


# run


@pytest.fixture
def _no_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "KafkaConsumer", lambda _: None)


@pytest.mark.usefixtures("_no_brokers")
def test_run_ends_with_the_code_of_the_service(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 stopped cleanly, 3 halted: whatever runs the bridge can tell them apart."""
    for code in (0, 3):
        monkeypatch.setattr(service, "run", lambda *_, code=code: sys.exit(code))

        assert code == terminal.run("run", "-c", EXAMPLE).code


@pytest.mark.usefixtures("_no_brokers")
def test_a_halt_on_the_way_is_exit_3_without_a_traceback(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A halt is a decision, not a bug: it says why, in one line."""

    def halt(*_: object) -> int:
        raise HaltError("the role is refused; correct its policy")

    monkeypatch.setattr(service, "run", halt)

    assert (3, "", "Halted: the role is refused; correct its policy\n") == terminal.run("run", "-c", EXAMPLE)


def test_a_mistake_stops_run_before_anything_starts(terminal: Terminal, folder: Path) -> None:
    """A configuration mistake exits 2 with the same list as `check`, and no traceback."""
    (folder / "bridge.yaml").write_text(FIVE_MISTAKES, "utf-8")

    assert terminal.run("check") == terminal.run("run")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--for", "10m"], "Invalid value for --for: it is for a dry run: add --dry-run"),
        (["--json"], "Invalid value for --json: it is for a dry run: add --dry-run"),
        (["--dry-run", "--for", "10"], "10: a duration needs a unit: write 100ms, 5s, 2m or 1h"),
        (["--dry-run", "--for", "soon"], "soon: is not a duration: write 100ms, 5s, 2m or 1h"),
    ],
)
def test_options_of_a_dry_run_say_what_to_write(terminal: Terminal, arguments: list[str], text: str) -> None:
    """None of them is ignored, which would be a bridge at work where a trial was meant."""
    ran = terminal.run("run", *arguments, "-c", EXAMPLE)

    assert (2, "") == (ran.code, ran.out)
    assert ran.err.endswith(f"{text}\n")


@pytest.mark.parametrize(
    ("arguments", "is_told"),
    [
        (["run"], True),
        (["run", "--config", "bridge.yaml"], True),
        (["run", "--dry-run"], False),
        (["run", "--config", "bridge.yaml", "--dry-run"], False),
        (["check"], False),
    ],
)
def test_only_a_bridge_that_is_stopped_before_it_reads_has_succeeded(
    arguments: list[str], is_told: bool
) -> None:
    """A dry run that was stopped before found nothing, and CI must not take that for success."""
    assert is_told is runs_until_told(arguments)


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


HELP = "import connector.cli"
RUN = f"""
from connector import service
from connector.cli import app
from connector.kafka import consumer

consumer.KafkaConsumer = lambda _: None
service.run = lambda *_: None
try:
    app.main(["run", "--config", {EXAMPLE!r}])
except SystemExit as ended:
    assert not ended.code
"""


@pytest.mark.parametrize(
    ("start", "heavy"),
    [
        (HELP, ["botocore", "confluent_kafka", "fastavro", "pydantic", "connector.cli.sandbox"]),
        (
            RUN,
            [
                "confluent_kafka.admin",
                "connector.cli.check",
                "connector.cli.dry_run",
                "connector.cli.sources",
                "connector.config.pauses",
                "connector.delivery.pauses",
                "connector.eventbridge.claim_store",
                "connector.receipts",
                "connector.telemetry.page.render",
                "connector.telemetry.spans",
                "jinja2",
                "opentelemetry",
                "pydantic_settings",
            ],
        ),
    ],
    ids=["help", "run"],
)
def test_a_start_imports_nothing_heavy(start: str, heavy: list[str]) -> None:
    """Help is instant, and a start pays only for what runs: modules are loaded by need."""
    code = f"{start}\nimport sys; print([m for m in sys.argv[1:] if m in sys.modules])"
    never = ["aiohttp", "boto3", "rich", "structlog", "connector.sandbox", "multiprocessing"]
    ran = subprocess.run(
        [sys.executable, "-c", code, *heavy, *never], capture_output=True, text=True, check=True
    )

    assert "[]\n" == ran.stdout


def test_a_mistyped_group_of_commands_gets_a_suggestion(terminal: Terminal) -> None:
    """Groups are imported when they are named; one that nearly is counts too."""
    ran = terminal.run("sandbx")

    assert 2 == ran.code
    assert "Did you mean 'sandbox'?" in ran.err


# On a terminal


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize(
    "arguments",
    [["check", "-c", EXAMPLE], ["check", "-c", "bad.yaml"], ["check", "-c", "bad.yaml", "--connect"]],
)
def test_check_goes_on_indented_and_breaks_no_word(
    folder: Path, monkeypatch: pytest.MonkeyPatch, columns: int, arguments: list[str]
) -> None:
    """The plan, and the list of problems: whoever reads them at night has a terminal of 80 columns."""
    (folder / "bad.yaml").write_text(FIVE_MISTAKES, "utf-8")
    with screen(monkeypatch, columns) as shown, pytest.raises(SystemExit):
        app.main(arguments)

    assert [] == shown.too_long
    titles = [line for line in shown.lines if line and not line.startswith("  ")]
    assert all(line[0].isalpha() for line in titles)


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_no_colours_gets_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    with screen(monkeypatch) as coloured, pytest.raises(SystemExit):
        app.main(["check", "-c", EXAMPLE])
    with screen(monkeypatch) as plain:
        monkeypatch.setenv(variable, value)
        with pytest.raises(SystemExit):
            app.main(["check", "-c", EXAMPLE])

    assert "\x1b[1m" in coloured.raw
    assert "\x1b" not in plain.raw
    assert coloured.lines == plain.lines


@pytest.mark.parametrize(
    "command",
    [
        *(
            [],
            ["run"],
            ["check"],
            ["config"],
            ["config", "show"],
            ["config", "schema"],
            ["sandbox"],
            ["demo"],
            ["explain"],
            ["test"],
            ["init"],
            ["export"],
        ),
        *(["dead-letters"], *(["dead-letters", each] for each in ("list", "show", "discard", "replay"))),
        *(["events"], *(["events", each] for each in ("find", "resend"))),
        *(["source"], *(["source", each] for each in ("list", "status", "create", "delete", "sync", "ping"))),
    ],
)
def test_help_fits_80_columns(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """Nothing is cut short with three dots; only a command to copy may be longer."""
    with screen(monkeypatch) as shown, pytest.raises(SystemExit):
        app.main([*command, "--help"])

    assert [] == [line for line in shown.too_long if not line.startswith("    partner-bridge ")]
    assert [] == [line for line in shown.lines[1:] if line.endswith("...")]
