"""The tutorial of docs/mapping.md: its commands, typed in a terminal beside a sandbox, and what they print.

What differs from run to run is replaced: ports and the cluster's id. The records are always the same.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from connector.sandbox import orders
from connector.sandbox.client import SandboxClient
from connector.sandbox.server import free_port
from connector.sandbox.services import Sandbox

COLUMNS = 100
NOT_OURS = ("AWS_", "BRIDGE_", "COLUMNS", "LINES")
"""Variables that would say something of another account, bridge or terminal."""
RECORDS = 5
FIRST_MS = 1_795_910_400_000
ACME = "aws.partner/example.com/acme"
CLUSTER_ID = "mockCluster15776b33d504"


class Tutorial:
    """A folder with the files of the tutorial, and what each step printed."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self._sandbox = sandbox
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)},
            **sandbox.credentials(),
            "AWS_ENDPOINT_URL_EVENTBRIDGE": sandbox.eventbridge.url,
            "PARTNER_BRIDGE_SANDBOX_URL": sandbox.eventbridge.url,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "BRIDGE_HTTP__PORT": str(free_port()),
            "TERM": "dumb",
        }
        self.printed: dict[str, str] = {}
        """By the name of the step: the command as it is shown, and below it what it printed."""

    def __call__(self, step: str, *arguments: str) -> None:
        """Type a command."""
        shown = f"$ partner-bridge {' '.join(arguments)}"
        self.printed[step] = f"{self._cleaned(shown)}\n{self._cleaned(self._in_terminal(arguments))}"

    def run(self, *arguments: str) -> str:
        """Type a command that is not shown; gives what it printed."""
        return self._in_terminal(arguments)

    def file(self, step: str, name: str) -> None:
        """Show a file that a step wrote."""
        self.printed[step] = self._cleaned((self.folder / name).read_text())

    def edit(self, name: str, *changes: tuple[str, str]) -> None:
        """Change a file as a person would."""
        file = self.folder / name
        text = file.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        file.write_text(text)

    @contextmanager
    def bridge(self) -> Iterator[None]:
        """A bridge that runs meanwhile, and is stopped as Kubernetes would."""
        with subprocess.Popen(
            ["partner-bridge", "run"],
            cwd=self.folder,
            env=self._environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as bridge:
            try:
                yield
            finally:
                bridge.send_signal(signal.SIGTERM)
                assert 0 == bridge.wait(timeout=60)

    def _in_terminal(self, arguments: tuple[str, ...]) -> str:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        with subprocess.Popen(
            ["partner-bridge", *arguments],
            cwd=self.folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        ):
            os.close(theirs)
            printed = b""
            while chunk := _read(ours):
                printed += chunk
        os.close(ours)
        return printed.decode().replace("\r\n", "\n")

    def _cleaned(self, text: str) -> str:
        broker, registry = self._sandbox.broker.bootstrap, self._sandbox.registry.url
        text = text.replace(registry, "http://registry:8081").replace(broker, "kafka:9092")
        text = re.sub(r"mockCluster[0-9a-f]+", CLUSTER_ID, text)
        return re.sub(r"mapped in [^.]*\.", "mapped in 2 s, 2 a second.", text)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody has its other end open any more
        return b""


@cache
def printed() -> Mapping[str, str]:
    """Go through the tutorial; gives what each step printed."""
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        _produce_orders(sandbox)
        do = Tutorial(Path(folder), sandbox)
        brokers = ("--bootstrap-servers", sandbox.broker.bootstrap)
        do("init", "init", *brokers, "--schema-registry", sandbox.registry.url, "--topic", orders.TOPIC)
        do.file("configuration", "bridge.yaml")
        do("explain", "explain", "--topic", orders.TOPIC, "--last", "1")
        do.edit(
            "bridge.yaml",
            ('detail_type: "${value.event}"', 'detail_type: "Order ${value.status}"'),
            (
                "    # filter: JMESPath, as \"value.status != 'DRAFT'\"",
                "    filter: \"value.status != 'DRAFT'\"  #",
            ),
        )
        do("test", "test")
        do("update", "test", "--update")
        do.edit("bridge.yaml", ("value.tenant_id ||", "value.tenent_id ||"))
        do("check", "check", "--schemas")
        do.edit("bridge.yaml", ("value.tenent_id ||", "value.tenant_id ||"))
        do("export", "export", "--topic", orders.TOPIC, "--out", "orders")
        do.file("pattern", "orders/rule-pattern.json")
        do.file("sample", "orders/Order-PLACED.sample.json")
        do("handover", "source", "handover", ACME)
        do("dry_run", "run", "--dry-run", "--for", "5s")
        with do.bridge():
            sent = SandboxClient(sandbox.eventbridge.url).wait_for_events(RECORDS, timeout_s=60)
        do("events", "sandbox", "events")
        do.printed["sent"] = json.dumps(sent)
    return do.printed


def step(name: str, *, begin: str = "", leave_out: tuple[str, ...] = (), command: bool = True) -> str:
    """A step as a block of the page: from the line that begins so, and without some of its sections."""
    head, _, output = printed()[name].partition("\n")
    if not command:
        head, output = "", printed()[name]
    lines = output.rstrip().split("\n")
    start = next((at for at, line in enumerate(lines) if line.startswith(begin)), 0)
    kept = ["…"] * bool(start)
    is_kept = True
    for line in lines[start:]:
        if line and not line.startswith(" "):
            was, is_kept = is_kept, line not in leave_out
            if was and not is_kept:
                kept.append("…")
        if is_kept:
            kept.append(line)
    return "\n".join([head] * command + kept) + "\n"


def sent() -> list[dict[str, Any]]:
    """The events of the last step, as they arrived on the customers' buses."""
    return [
        {key: value for key, value in event.items() if key != "sandbox"}
        for event in json.loads(printed()["sent"])
    ]


def _produce_orders(sandbox: Sandbox) -> None:
    producer = Producer({"bootstrap.servers": sandbox.broker.bootstrap, "log_level": 0})
    chance = random.Random(1)
    for number in range(RECORDS):
        order = orders.order(number, chance)
        value = orders.encode(order, sandbox.schema_id)
        producer.produce(orders.TOPIC, value, order["reference"], partition=0, timestamp=FIRST_MS + number)
    assert 0 == producer.flush(30)


if __name__ == "__main__":
    for name, text in printed().items():
        print(f"=== {name}\n{text}")
