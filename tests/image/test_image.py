"""The image runs as the chart runs it: not as root, on a read-only root, without capabilities."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import urllib3
from confluent_kafka import Producer

from connector import __version__
from connector.sandbox import orders
from connector.sandbox.services import Sandbox
from tests.conftest import PARTS
from tests.image.conftest import ROOT, Image
from tests.services.child import free_ports, wait_until

pytestmark = pytest.mark.timeout(600)

INSIDE = "/etc/partner-bridge"
LOOK = """
import importlib.util, json, os, pathlib
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status"))
def writable(path):
    try:
        pathlib.Path(path, "x").write_text("")
    except OSError:
        return False
    return True
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "capabilities": int(status["CapEff"], 16),
    "writable": [path for path in ("/", "/opt/partner-bridge", "/tmp") if writable(path)],
    "modules": [name for name in ("pip", "tests", "pytest", "hatchling") if importlib.util.find_spec(name)],
    "tools": [tool for tool in ("gcc", "cc", "make", "git") for folder in os.environ["PATH"].split(":")
              if os.path.exists(f"{folder}/{tool}")],
    "programs": sorted(os.listdir("/opt/partner-bridge/bin")),
}))
"""


INSTALLED = """
import importlib.metadata, json
found = importlib.metadata.distribution("kafka-partner-bridge")
license = found.metadata["License-Expression"], found.read_text("licenses/LICENSE")
print(json.dumps([found.name, found.version, *license]))
"""

UNCOMPILED = """
import importlib.util, json, os, sys
import connector.__main__, connector.service, connector.cli.app
files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
sources = [file for file in files if file.endswith(".py") and not file.startswith("/etc/")]
print(json.dumps([file for file in sources if not os.path.exists(importlib.util.cache_from_source(file))]))
"""


def mounted(folder: Path) -> list[str]:
    folder.chmod(0o755)
    return [f"--volume={folder}:{INSIDE}:ro", f"--env=BRIDGE_CONFIG={INSIDE}/bridge.yaml"]


def test_it_is_not_root_can_write_nothing_and_holds_no_tools(image: Image) -> None:
    """What the restricted profile demands, and no build tools or tests in it."""
    looked = image.engine.run(image.tag, "-c", LOOK, options=["--entrypoint=/opt/partner-bridge/bin/python"])

    assert 0 == looked.returncode, looked.stderr
    assert {
        "uid": 10001,
        "gid": 10001,
        "capabilities": 0,
        "writable": ["/tmp"],
        "modules": [],
        "tools": [],
        "programs": ["env", "partner-bridge", "python"],
    } == json.loads(looked.stdout)


def test_a_scanner_finds_the_product_and_its_license(image: Image) -> None:
    """As scanners of Python packages look: by the metadata of what is installed."""
    looked = image.engine.run(
        image.tag, "-c", INSTALLED, options=["--entrypoint=/opt/partner-bridge/bin/python"]
    )

    assert 0 == looked.returncode, looked.stderr
    assert ["kafka-partner-bridge", __version__, "Apache-2.0", (ROOT / "LICENSE").read_text()] == json.loads(
        looked.stdout
    )


def test_a_start_compiles_nothing(image: Image) -> None:
    """The root is read-only: what is not compiled in the build is compiled again by each start."""
    looked = image.engine.run(
        image.tag, "-c", UNCOMPILED, options=["--entrypoint=/opt/partner-bridge/bin/python"]
    )

    assert 0 == looked.returncode, looked.stderr
    assert [] == json.loads(looked.stdout)


def test_it_says_what_it_is(image: Image) -> None:
    """Labels, user, stop signal and entry point."""
    found = image.engine.inspect(image.tag)
    labels, settings = found["Config"]["Labels"], found["Config"]

    assert "kafka-partner-bridge" == labels["org.opencontainers.image.title"]
    assert len(labels["org.opencontainers.image.revision"]) in {40, len("unknown")}
    assert __version__ == labels["org.opencontainers.image.version"]
    assert labels["org.opencontainers.image.base.name"]
    assert not labels["org.opencontainers.image.source"].startswith("file"), "an address of the web, or none"
    assert "10001:10001" == settings["User"]
    assert "SIGTERM" == settings["StopSignal"]
    assert ["partner-bridge"] == settings["Entrypoint"]
    assert ["run"] == settings["Cmd"]


def test_commands_are_arguments(image: Image, tmp_path: Path) -> None:
    """`check` accepts the example; `dead-letters replay` is there."""
    (tmp_path / "bridge.yaml").write_text((ROOT / "examples" / "bridge.yaml").read_text())
    (tmp_path / "bridge.yaml").chmod(0o644)

    checked = image.engine.run(image.tag, "check", options=mounted(tmp_path))
    helped = image.engine.run(image.tag, "dead-letters", "replay", "--help")

    assert 0 == checked.returncode, checked.stdout + checked.stderr
    assert "orders.v1" in checked.stdout
    assert 0 == helped.returncode, helped.stderr
    assert "--execute" in helped.stdout


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def test_it_bridges_and_stops_on_sigterm(
    image: Image, sandbox: Sandbox, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """`run` against broker, registry and EventBridge of the sandbox; SIGTERM ends it with 0."""
    (port,) = free_ports(1)
    (tmp_path / "bridge.yaml").write_text(sandbox.config(http_port=port))
    (tmp_path / "bridge.yaml").chmod(0o644)
    credentials: Mapping[str, str] = sandbox.credentials()
    name = f"partner-bridge-{uuid.uuid4().hex[:8]}"
    producer = Producer({"bootstrap.servers": sandbox.broker.bootstrap})
    good = [record for record in orders.records(200, sandbox.schema_id) if record.becomes == "event"]

    began_s = time.monotonic()
    image.engine.start(
        image.tag,
        name,
        "run",
        options=[*mounted(tmp_path), *(f"--env={key}={value}" for key, value in credentials.items())],
    )
    try:
        wait_until(
            lambda: status(port) == 200, what=lambda: f"ready\n{image.engine.logs(name)}", timeout_s=60
        )
        ready_s = time.monotonic() - began_s
        for record in good:
            producer.produce(orders.TOPIC, record.value, record.key)
        assert 0 == producer.flush(30)
        wait_until(
            lambda: sandbox.eventbridge.counts().accepted >= len(good),
            what=lambda: f"everything delivered\n{image.engine.logs(name)}",
        )
        began_s = time.monotonic()
        image.engine.terminate(name)

        assert 0 == image.engine.wait(name, timeout_s=40), image.engine.logs(name)
        stopped_s = time.monotonic() - began_s
        assert '"event": "stopped"' in image.engine.logs(name)
    finally:
        image.engine.remove(name)
    pytestconfig.stash[PARTS]["Image"] += (
        f"; ready {ready_s:.1f} s after `run`, ended {stopped_s:.1f} s after SIGTERM"
    )


@pytest.mark.parametrize("command", [["run"], ["dead-letters", "list"]], ids=["run", "list"])
@pytest.mark.parametrize("moment_s", [0.0, 0.2, 0.6, 2.0])
def test_a_term_is_heard_at_any_moment(
    image: Image, command: list[str], moment_s: float, tmp_path: Path
) -> None:
    """As process 1, which hears no signal before it has a handler. Nothing that it connects to answers."""
    config = orders.CONFIG.format(
        bootstrap="127.0.0.1:1",
        registry="http://127.0.0.1:1",
        region=orders.REGION,
        eventbridge="http://127.0.0.1:1",
        http_port=free_ports(1)[0],
    )
    (tmp_path / "bridge.yaml").write_text(config)
    (tmp_path / "bridge.yaml").chmod(0o644)
    name = f"partner-bridge-{uuid.uuid4().hex[:8]}"
    credentials = [f"--env={key}={value}" for key, value in Sandbox.credentials().items()]

    image.engine.start(image.tag, name, *command, options=[*mounted(tmp_path), *credentials])
    try:
        time.sleep(moment_s)  # when the signal comes is what this is about
        began_s = time.monotonic()
        image.engine.terminate(name)
        code = image.engine.wait(name, timeout_s=20)
        took_s = time.monotonic() - began_s
        logs = image.engine.logs(name)
    finally:
        image.engine.remove(name)

    assert (0 if command == ["run"] else 143) == code, logs
    assert 5 > took_s, "two seconds, and what the engine takes for two commands"
    assert "Traceback" not in logs


def status(port: int) -> int:
    """Of `/readyz`; 0 when nothing answers."""
    try:
        return urllib3.request("GET", f"http://127.0.0.1:{port}/readyz", timeout=2, retries=False).status
    except urllib3.exceptions.HTTPError:
        return 0
