"""The sandbox as the place to learn, and in a team's own CI: real processes, from shell and pytest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from connector.sandbox.server import free_port
from connector.sandbox.testing import LocalSandbox
from tests.services.child import Child, wait_until
from tests.shell import Shell, sandbox_shell

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "sandbox"
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
ACME = "aws.partner/example.com/acme"
ORDER = {"id": 1, "tenant": "acme", "status": "PAID", "updated_at": "2026-11-29T10:00:00Z"}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with sandbox_shell(tmp_path, "--strict-sources") as shell:
        yield shell


@pytest.fixture
def bridge(shell: Shell) -> Iterator[Child]:
    """A bridge with the configuration of production, whose dead-letter topic does not exist."""
    shutil.copy(EXAMPLES / "bridge.yaml", shell.folder)
    config = shell.folder / "sandbox.yaml"
    config.write_text(shell("sandbox", "config", "bridge.yaml", "--http-port", "0"))
    bridge = Child(
        [sys.executable, "-m", "connector", "run", "--config", str(config)],
        log=shell.folder / "bridge.log",
        environ=shell.environ,
    )
    bridge.start()
    yield bridge
    assert 0 == bridge.stop(), bridge.tail()


def test_a_customers_day(shell: Shell, bridge: Child) -> None:
    """A source is offered; its events wait; the customer accepts and gets them, then leaves again."""
    shell("source", "create", ACME, "--account", "111122223333", "--config", "sandbox.yaml")
    assert "PENDING" in shell("sandbox", "sources")
    shell("sandbox", "produce", "orders", "--key", "1", fed=json.dumps(ORDER))
    wait_until(lambda: "source_inactive" in bridge.output(), what=bridge.tail, timeout_s=60)
    shell("sandbox", "events", "--wait", "1", "--timeout", "0", code=4)

    shell("sandbox", "accept", ACME)
    found = json.loads(shell("sandbox", "events", "--wait", "1", "--timeout", "60", "--json"))["events"]
    assert [(ACME, "Order PAID")] == [(event["source"], event["detail-type"]) for event in found]

    shell("sandbox", "deactivate", ACME)
    shell("source", "status", ACME, "--config", "sandbox.yaml", code=4)
    state = json.loads(shell("sandbox", "status", "--json"))["counts"]
    assert (1, 0) == (state["accepted"], state["dropped"])


def test_a_fault_is_given_and_cleared_and_a_bad_record_is_dead_lettered(shell: Shell, bridge: Child) -> None:
    """While every request fails nothing arrives; after `clear` everything does, through the same bridge."""
    shell("sandbox", "source", ACME, "ACTIVE", "--region", "eu-central-1")
    shell("sandbox", "fault", "unavailable")
    shell(
        "sandbox", "produce", "orders", fed=f"{json.dumps(ORDER)}\n{json.dumps(ORDER | {'tenant': None})}\n"
    )

    def has_struck() -> bool:
        return bool(json.loads(shell("sandbox", "faults", "--json"))["struck"].get("unavailable"))

    wait_until(has_struck, what=bridge.tail, timeout_s=60)
    shell("sandbox", "events", "--wait", "1", "--timeout", "0", code=4)
    shell("sandbox", "clear")
    shell("sandbox", "events", "--wait", "1", "--timeout", "60")

    letter = json.loads(shell("dead-letters", "list", "--json", "--config", "sandbox.yaml"))
    assert "template_null" == letter["code"]


def test_the_examples_pass_as_tests_of_a_team(tmp_path: Path) -> None:
    """The fixture is found without a word in conftest.py, in a project that has nothing else of ours."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    ran = subprocess.run(
        [*PYTEST, "--rootdir", str(tmp_path), "examples"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip

    assert 0 == ran.returncode, ran.stdout + ran.stderr
    assert "3 passed" in ran.stdout


@pytest.mark.parametrize(("tenant", "code"), [("acme", 0), ("a customer", 1)])
def test_the_example_for_a_shell_ends_with_the_code_of_its_result(
    tmp_path: Path, tenant: str, code: int
) -> None:
    """0 where the events arrive; and where a change of the mapping breaks them, not."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    script = tmp_path / "examples" / "orders.sh"
    text = script.read_text().replace("--timeout 60 ||", f"--timeout {60 if code == 0 else 1} ||")
    script.write_text(text.replace('"acme"', f'"{tenant}"'))
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SANDBOX_PORT": str(free_port()),
        "TMPDIR": str(tmp_path),
    }
    ran = subprocess.run([str(script)], env=environ, capture_output=True, text=True, timeout=300, check=False)

    assert code == ran.returncode, ran.stdout + ran.stderr
    assert ("0 of 2 events came" in ran.stderr) == bool(code)
    assert ["examples"] == [path.name for path in tmp_path.iterdir()], "it left files behind"


def test_two_sandboxes_at_once_do_not_meet(tmp_path: Path) -> None:
    """Each has its own ports, records, sources and events."""
    with LocalSandbox(_folder(tmp_path, "a")) as one, LocalSandbox(_folder(tmp_path, "b")) as other:
        one.start_bridge(EXAMPLES / "bridge.yaml")
        for number, sandbox in enumerate((one, other), start=1):
            sandbox.produce("orders", ORDER | {"id": number})

        assert [1] == [event["detail"]["id"] for event in one.wait_for_events(1, timeout_s=60)]
        assert [ACME] == [source["Name"] for source in one.sources()]
        assert ([], []) == (other.events(), other.sources())
        one.stop_bridges()


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


BROKEN = """
import yaml

def test_a_wrong_mapping(partner_bridge_sandbox):
    partner_bridge_sandbox.start_bridge({settings!r})

def test_a_bridge_that_ends(partner_bridge_sandbox):
    bridge = partner_bridge_sandbox.start_bridge({good!r})
    bridge._child.kill()
    bridge._child.wait()
    partner_bridge_sandbox.wait_for_events(1)

def test_nothing_arrives(partner_bridge_sandbox):
    partner_bridge_sandbox.start_bridge({good!r})
    partner_bridge_sandbox.wait_for_events(1, timeout_s=0)
"""


def test_what_is_wrong_with_a_bridge_is_in_the_failure(tmp_path: Path) -> None:
    """A configuration that is refused, a bridge that ends, and events that do not come: with its log."""
    good = yaml.safe_load((EXAMPLES / "bridge.yaml").read_text())
    bad = json.loads(json.dumps(good))
    bad["topics"]["orders"]["event"]["source"] = "${value.tenant"
    (tmp_path / "test_broken.py").write_text(BROKEN.format(settings=bad, good=good))
    ran = subprocess.run(
        [*PYTEST, "--tb=line", "--rootdir", str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip

    assert 1 == ran.returncode, ran.stdout
    assert "3 failed" in ran.stdout
    for words in (
        "ended by itself with exit code 2",
        "topics.orders.event.source",
        f"ended by itself with exit code -{signal.SIGKILL.value}",
        "0 of 1 event came within 0 s.",
        "the log of bridge ends:",
    ):
        assert words in ran.stdout
