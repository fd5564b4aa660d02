"""`partner-bridge sandbox` and its commands, as a user meets them."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3
import yaml

from connector.sandbox.server import free_port
from connector.sandbox.services import Sandbox
from tests.terminal import Ran, Terminal

ACME = "aws.partner/example.com/acme"
CANARY = "canary-card"


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "connector", "sandbox", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()


def configuration(child: subprocess.Popen[str]) -> str:
    """What a sandbox that has started writes to stdout."""
    assert child.stdout
    lines = []
    for line in child.stdout:
        lines.append(line)
        if "resources:" in line:
            break
    return "".join(lines)


def test_stdout_is_a_configuration_and_sigterm_ends_it_with_0() -> None:
    """`partner-bridge sandbox > bridge.yaml` works, and the addresses in it answer."""
    with started("--eventbridge-port", "0") as child:
        settings = yaml.safe_load(configuration(child))
        url = settings["eventbridge"]["endpoint_url"]
        state = urllib3.request("GET", f"{url}/_sandbox/state")
        subjects = urllib3.request("GET", f"{settings['schema_registry']['url']}/subjects").json()
        child.send_signal(signal.SIGTERM)
        _, talk = child.communicate(timeout=30)

    assert 0 == child.returncode
    assert 200 == state.status
    assert ["orders.v1-value"] == subjects
    assert settings["kafka"]["bootstrap.servers"] in talk
    assert f"partner-bridge sandbox events --url {url}\n" in talk
    assert f"its page is at http://127.0.0.1:{settings['http']['port']}/." in talk


def test_a_port_that_is_taken_is_exit_2_with_a_reason() -> None:
    """Nothing runs, nothing is on stdout, and the message names the address and the way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started("--eventbridge-port", str(port)) as child:
            out, talk = child.communicate(timeout=30)

    assert 2 == child.returncode
    assert "" == out
    assert str(port) in talk
    assert "--eventbridge-port 0" in talk


def test_it_listens_on_another_address_when_told_and_hands_out_that_one_alone() -> None:
    """As in a container, for others beside it: no address is one that only this machine has."""
    kafka_port = free_port()
    with started(
        *("--host", "127.0.0.2", "--eventbridge-port", "0", "--kafka-port", str(kafka_port))
    ) as child:
        written = configuration(child)
        settings = yaml.safe_load(written)
        url = settings["eventbridge"]["endpoint_url"]
        at = [sys.executable, "-m", "connector", "sandbox"]
        status = subprocess.run([*at, "status", "--url", url], capture_output=True, text=True, check=False)
        environ = subprocess.run([*at, "env", "--url", url], capture_output=True, text=True, check=False)
        child.send_signal(signal.SIGTERM)
        _, talk = child.communicate(timeout=30)

    assert 0 == child.returncode, talk
    assert f"127.0.0.2:{kafka_port}" == settings["kafka"]["bootstrap.servers"]
    assert url.startswith("http://127.0.0.2:")
    assert settings["schema_registry"]["url"].startswith("http://127.0.0.2:")
    assert 0 == status.returncode, status.stderr
    assert f"127.0.0.2:{kafka_port}" in status.stdout
    assert "export NO_PROXY=127.0.0.1,127.0.0.2" in environ.stdout
    assert "127.0.0.1" not in talk


def test_every_address_is_none_to_hand_out() -> None:
    """Clients would be told to connect to 0.0.0.0, which is themselves."""
    with started("--host", "0.0.0.0") as child:
        out, talk = child.communicate(timeout=30)

    assert 2 == child.returncode
    assert "" == out
    assert "--advertised-host" in talk


def test_an_address_of_another_machine_is_exit_2_with_a_reason() -> None:
    with started("--host", "192.0.2.1") as child:
        out, talk = child.communicate(timeout=30)

    assert 2 == child.returncode
    assert "" == out
    assert "192.0.2.1" in talk
    assert "Traceback" not in talk


def test_a_signal_ends_a_command_that_waits_with_128_and_its_number() -> None:
    """Only the sandbox itself is to be stopped so: a wait that was stopped did not find its events."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        with started(
            "events", "--wait", "1", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}"
        ) as child:
            asking, _ = silent.accept()
            child.send_signal(signal.SIGTERM)
            code = child.wait(timeout=30)
            asking.close()

    assert 143 == code


class Shell:
    """Types commands about one sandbox."""

    def __init__(self, terminal: Terminal, sandbox: Sandbox) -> None:
        self._terminal = terminal
        self.sandbox = sandbox

    def __call__(self, *arguments: str) -> Ran:
        return self._terminal.run("sandbox", *arguments, "--url", self.sandbox.eventbridge.url)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    with Sandbox() as sandbox:
        yield Shell(Terminal(capsys), sandbox)


COMMANDS = [
    ["status"], ["env"], ["config"], ["topic", "a"], ["produce", "a", "/dev/null"], ["events"], ["sources"],
    ["accept", ACME], ["deactivate", ACME], ["reject", ACME],
    ["source", ACME, "ACTIVE", "--region", "eu-west-1"],
    ["fault", "throttle"], ["slow", "--latency-ms", "1"], ["down"], ["up"], ["faults"], ["clear"], ["reset"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_a_sandbox_a_command_says_how_to_start_one(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """In one sentence, with exit code 4."""
    url = f"http://127.0.0.1:{free_port()}"
    ran = Terminal(capsys).run("sandbox", *command, "--url", url)

    assert (4, "") == (ran.code, ran.out)
    assert ran.err.startswith(f"No sandbox answers at {url}. Start one with `partner-bridge sandbox`;")
    assert 1 == len(ran.err.splitlines())


def test_the_address_can_come_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `sandbox env` exports it, for scripts in which several sandboxes run."""
    with Sandbox() as sandbox:
        monkeypatch.setenv("PARTNER_BRIDGE_SANDBOX_URL", sandbox.eventbridge.url)
        ran = Terminal(capsys).run("sandbox", "status", "--json")

    assert sandbox.broker.bootstrap == json.loads(ran.out)["kafka"]["bootstrap.servers"]


def test_env_is_for_a_shell(shell: Shell) -> None:
    """It takes the user's own account out of reach, and knows the sandbox and its EventBridge."""
    ran = shell("env")
    script = f"{ran.out}\nenv"
    before = {"AWS_PROFILE": "production", "AWS_SESSION_TOKEN": "own", "PATH": "/usr/bin:/bin"}
    shown = subprocess.run(["sh", "-c", script], env=before, capture_output=True, text=True, check=True)
    after = dict(line.split("=", 1) for line in shown.stdout.splitlines())

    assert "AWS_PROFILE" not in after
    assert "AWS_SESSION_TOKEN" not in after
    assert "/dev/null" == after["AWS_CONFIG_FILE"]
    assert "AKIDSANDBOX" == after["AWS_ACCESS_KEY_ID"]
    assert shell.sandbox.eventbridge.url == after["PARTNER_BRIDGE_SANDBOX_URL"]
    assert shell.sandbox.eventbridge.url == after["AWS_ENDPOINT_URL_EVENTBRIDGE"]


def test_config_without_a_file_is_that_of_the_start(shell: Shell) -> None:
    """The example, comments and all."""
    assert shell.sandbox.config(http_port=8080) == shell("config").out


def test_config_of_a_file_that_is_missing_is_exit_2(shell: Shell, tmp_path: Path) -> None:
    """As everywhere else."""
    ran = shell("config", str(tmp_path / "nowhere.yaml"))

    assert 2 == ran.code
    assert "cannot read" in ran.err


def test_sources_are_listed_and_moved(shell: Shell) -> None:
    """A table for people, JSON for machines, and a sentence for each act."""
    assert (0, "") == shell("sources")[:2]
    put = shell("source", ACME, "PENDING", "--region", "eu-central-1", "--account", "999922223333")
    accepted = shell("accept", ACME)
    listed = json.loads(shell("sources", "--json").out)["sources"]

    assert f"{ACME} is PENDING in eu-central-1.\n" == put.err
    assert f"{ACME} is ACTIVE.\n" == accepted.err
    assert [(ACME, "ACTIVE", "999922223333")] == [(s["Name"], s["State"], s["Account"]) for s in listed]
    assert re.search(rf"^{ACME}  ACTIVE  eu-central-1  999922223333$", shell("sources").out, re.MULTILINE)
    assert 0 == shell("deactivate", ACME).code
    assert 0 == shell("reject", ACME).code
    refused = shell("accept", ACME)
    assert (4, f"The sandbox refuses: there is no source {ACME}.\n") == (refused.code, refused.err)


def test_faults_are_set_shown_and_cleared(shell: Shell) -> None:
    """One beside the other; a kind that does not exist is refused with those that do."""
    assert "Nothing is set to go wrong.\n" == shell("faults").err
    shell("fault", "throttle", "--times", "5", "--region", "eu-west-1")
    shell("fault", "entry_error", "--code", "InternalFailure", "--probability", "0.5", "--seed", "3")
    shell("slow", "--latency-ms", "20", "--rate", "10", "--burst", "3", "--clock-skew-s", "-2")
    shell("down")
    found = json.loads(shell("faults", "--json").out)
    shown = shell("faults").out

    assert ["throttle", "entry_error"] == [each["kind"] for each in found["faults"]]
    assert (20, -2, 3, True) == tuple(
        found["script"][name] for name in ("latency_ms", "clock_skew_s", "seed", "down")
    )
    assert "times 5, region eu-west-1" in shown
    assert re.search(r"^rate: +10 a second, 3 at once$", shown, re.MULTILINE)
    unknown = shell("fault", "throtle")
    assert 4 == unknown.code
    assert "'throttle'" in unknown.err
    assert 2 == shell("slow").code

    shell("up")
    shell("clear")
    assert "Nothing is set to go wrong.\n" == shell("faults").err


@pytest.mark.parametrize("part", ["kafka", "registry", "eventbridge"])
def test_each_part_goes_down_and_comes_back(shell: Shell, part: str) -> None:
    """And the sentence about it says how to bring it back."""
    assert f"partner-bridge sandbox up {part}" in shell("down", part).err
    assert f"{part} is up.\n" == shell("up", part).err


def test_credentials_are_replaced(shell: Shell, tmp_path: Path) -> None:
    """From a file, so that they are in no list of processes; one that is no JSON is exit 2."""
    file = tmp_path / "keys.json"
    file.write_text('{"AKID": {"secret": "s", "expired": true}}')
    assert "EventBridge knows 1 access key.\n" == shell("credentials", str(file)).err
    file.write_text('{"AKID": {"sceret": "s"}}')
    assert 4 == shell("credentials", str(file)).code
    file.write_text("{")
    assert 2 == shell("credentials", str(file)).code


def test_events_that_do_not_come_are_exit_4(shell: Shell) -> None:
    """With what is known of them; without --wait none is no failure."""
    ran = shell("events", "--wait", "3", "--timeout", "0")

    assert (4, "") == (ran.code, ran.out)
    assert "0 of 3 events came within 0 s.\nNo bridge has asked EventBridge for anything" in ran.err
    assert (0, "No events so far.\n") == (shell("events").code, shell("events").err)


SCHEMA = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "int"}]}


@pytest.mark.parametrize(
    ("line", "options", "problem"),
    [
        ('{"id": "' + CANARY + '"}', ["--schema", "order.avsc"], "Line 2: id: must be a whole number from"),
        ("{" + CANARY, ["--schema", "order.avsc"], "Line 2: is not JSON: "),
        (CANARY, ["--key-separator", "|"], "Line 2: has no key separator."),
    ],
)
def test_a_line_that_cannot_be_produced_is_named(
    shell: Shell, tmp_path: Path, line: str, options: list[str], problem: str
) -> None:
    """By its number, and without its text: it may be a real record."""
    lines, schema = tmp_path / "lines", tmp_path / "order.avsc"
    schema.write_text(json.dumps(SCHEMA))
    lines.write_text("\n".join(['{"id": 1}' if "--schema" in options else "1|a", line]))
    options = [each.replace("order.avsc", str(schema)) for each in options]
    ran = shell("produce", "orders", str(lines), *options)

    assert 2 == ran.code
    assert ran.err.startswith(problem)
    assert CANARY not in ran.err


def test_files_that_cannot_be_read_are_exit_2(shell: Shell, tmp_path: Path) -> None:
    """Of records as well as of a schema."""
    nowhere = str(tmp_path / "nowhere")
    (tmp_path / "lines").write_text("{}\n")
    for arguments in ([nowhere], [str(tmp_path / "lines"), "--schema", nowhere]):
        ran = shell("produce", "orders", *arguments)
        assert 2 == ran.code
        assert f"{nowhere} cannot be read: No such file or directory.\n" in ran.err


def test_status_says_where_everything_is_and_what_is_down(shell: Shell) -> None:
    """And counts nothing that did not happen."""
    shell("down", "kafka")
    shown = shell("status").out

    assert f"{shell.sandbox.broker.bootstrap} (down)\n" in shown
    assert "accepted:        0 events" in shown
    assert "dropped" not in shown


def test_a_topic_is_created_with_its_partitions(shell: Shell) -> None:
    """A second time it is refused."""
    assert "orders has 3 partitions.\n" == shell("topic", "orders", "--partitions", "3").err
    assert 4 == shell("topic", "orders").code


@pytest.mark.parametrize("command", [each[0] for each in COMMANDS])
def test_help_ends_in_examples_to_copy(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Each of them is of this command, or of a shell that feeds it."""
    ran = Terminal(capsys).run("sandbox", command, "--help")
    examples = ran.out.partition("  Examples:\n")[2].splitlines()

    assert examples
    assert all(f"partner-bridge sandbox {command}" in line for line in examples)
