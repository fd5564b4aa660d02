"""The whole product in one command: a real bridge process among the sandbox's parts, and its account.

Orders are produced, some of them broken, and EventBridge fails now and then. At the end every
produced record must be delivered, dead-lettered or filtered, and once only.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import orjson
import urllib3
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from connector import process
from connector.sandbox import orders
from connector.sandbox.eventbridge import FakeEventBridge
from connector.sandbox.server import free_port
from connector.sandbox.services import Sandbox

_DEADLINE_S = 90
_STOP_S = 30
_LETTER_HEADERS = ("__connect.errors.partition", "__connect.errors.offset", "partner-bridge.code")
_FAULTS = {
    "latency_ms": 20,
    "seed": 1,
    "faults": [
        {"kind": "unavailable", "times": 3, "after": 15},
        {"kind": "reset", "times": 1, "after": 10},
        {"kind": "entry_error", "code": "ThrottlingException", "probability": 0.01},
    ],
}


class Place(NamedTuple):
    """Where a record is in the demo's topic."""

    partition: int
    offset: int


@dataclass(slots=True)
class Account:
    """What was produced, and what became of it."""

    produced: dict[Place, orders.Produced] = field(default_factory=dict)
    delivered: dict[Place, set[str]] = field(default_factory=dict)
    """By place, the ids the bridge gave the event: one, however often it was delivered."""
    events: int = 0
    letters: dict[Place, str] = field(default_factory=dict)
    """By place, the code of its dead letter."""
    letter_count: int = 0
    filtered: int = 0
    """What the bridge's own metric says."""

    def settled(self) -> int:
        """How many records are accounted for so far."""
        return len(self.delivered.keys() | self.letters.keys()) + self.filtered

    def duplicates(self) -> int:
        return self.events - len(self.delivered) + self.letter_count - len(self.letters)

    def problems(self) -> list[str]:
        """Why the account does not balance; empty where it does."""
        untouched = self.produced.keys() - self.delivered.keys() - self.letters.keys()
        findings = {
            "settled, but never produced": (self.delivered.keys() | self.letters.keys())
            - self.produced.keys(),
            "delivered and dead-lettered": self.delivered.keys() & self.letters.keys(),
            "delivered under several ids": {at for at, ids in self.delivered.items() if len(ids) > 1},
            "lost: neither delivered nor dead-lettered, and not to be filtered": {
                at for at in untouched if self.produced[at].becomes != "filtered"
            },
        }
        problems = [
            f"{len(places)} records {what}, as {min(places)}" for what, places in findings.items() if places
        ]
        if self.filtered != len(untouched):
            problems.append(
                f"the bridge counts {self.filtered} filtered records; {len(untouched)} reached nothing"
            )
        return problems

    def surprises(self) -> Counter[tuple[str, str]]:
        """Records that were settled in another way than they were made for: (for, got)."""
        return Counter(
            (wanted.becomes, got)
            for at, wanted in self.produced.items()
            if (got := "event" if at in self.delivered else self.letters.get(at, "filtered"))
            != wanted.becomes
        )

    def __str__(self) -> str:
        return (
            f"produced {len(self.produced)} = delivered {len(self.delivered)} "
            f"+ dead-lettered {len(self.letters)} + filtered {self.filtered}"
        )


def demo(*, records: int = 4000, keep: bool = False) -> int:
    """Runs the bridge over `records` orders and prints the account; answers 0 where it balances.

    With `keep` everything stays up for a look around, until SIGINT or SIGTERM. One of them before that ends
    the process at once, and nothing is left of it. More records than the broker holds: 2.
    """
    talk, out = Console(stderr=True, highlight=False), Console(highlight=False)
    if not 0 < records <= orders.MAX_RECORDS:
        talk.print(
            f"The demo's broker holds 1 to {orders.MAX_RECORDS} records, not {records}. Ask for fewer."
        )
        return 2
    folder = Path(tempfile.mkdtemp(prefix="partner-bridge-demo-"))
    with process.before_ending(partial(shutil.rmtree, folder, ignore_errors=True)):
        problems = _run(folder, records, keep=keep, talk=talk, out=out)
    if not problems:
        shutil.rmtree(folder, ignore_errors=True)
        _next_steps(out)
        return 0
    for problem in problems:
        talk.print(f"[bold red]wrong:[/] {problem}", soft_wrap=True)
    log = folder / "bridge.log"
    if log.exists():
        lines = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        talk.print(f"The end of the bridge's log, {log}:\n{lines}", markup=False, soft_wrap=True)
    return 1


def _run(folder: Path, records: int, *, keep: bool, talk: Console, out: Console) -> list[str]:
    """Starts everything, follows it and ends it; answers what went wrong."""
    account = Account()
    with Sandbox() as sandbox, DemoBridge(sandbox, folder) as bridge, process.before_ending(bridge.kill):
        talk.print(
            f"Kafka {sandbox.broker.bootstrap}, schema registry {sandbox.registry.url}, "
            f"EventBridge {sandbox.eventbridge.url}, bridge process {bridge.pid}",
            soft_wrap=True,
        )
        sandbox.eventbridge.script(_FAULTS)
        _produce(sandbox, account, records)
        problems = _watch(sandbox, bridge, account, talk)
        out.print(f"\n{account}\n", soft_wrap=True)
        if not problems:
            _report(account, sandbox.eventbridge, out)
            if keep:
                _show_around(sandbox, bridge, folder, talk)
        problems += bridge.stop() + account.problems()
        return problems or _uncommitted(sandbox)


class DemoBridge:
    """The real bridge as a child process, with what it logs in a file."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.config = folder / "bridge.yaml"
        self._log = folder / "bridge.log"
        self._port = free_port()
        self.config.write_text(sandbox.config(http_port=self._port), encoding="utf-8")
        own = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BRIDGE_"))}
        self._environment = own | sandbox.credentials() | {"NO_PROXY": "127.0.0.1"}
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "connector", "run", "--config", str(self.config)]
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)  # noqa: S603
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        if self.is_running and self._child:
            self._child.kill()
            self._child.wait()

    @property
    def pid(self) -> int:
        return self._child.pid if self._child else 0

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def stop(self) -> list[str]:
        """Ends the bridge as Kubernetes would; answers what was wrong about its end."""
        if self._child is None:
            return ["the bridge was never started"]
        self._child.send_signal(signal.SIGTERM)
        try:
            code = self._child.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            return [f"the bridge did not stop within {_STOP_S} s of SIGTERM"]
        return [] if code == 0 else [f"the bridge exited with {code}, not with 0"]

    def filtered(self) -> int:
        """How many records it says it dropped by a rule; 0 while it does not answer."""
        try:
            text = urllib3.request("GET", f"{self.url}/metrics", timeout=2, retries=False).data.decode()
        except urllib3.exceptions.HTTPError:
            return 0
        values = re.findall(r"^partner_bridge_records_filtered_total\{.*\} (\S+)$", text, re.MULTILINE)
        return int(sum(map(float, values)))


def _produce(sandbox: Sandbox, account: Account, count: int) -> None:
    """Produces the orders; returns when the broker has all of them."""
    producer = Producer({"bootstrap.servers": sandbox.broker.bootstrap, "linger.ms": 5})

    for record in orders.records(count, sandbox.schema_id):

        def produced(error: KafkaError | None, message: Message, record: orders.Produced = record) -> None:
            partition, offset = message.partition(), message.offset()
            if error is None and partition is not None and offset is not None:
                account.produced[Place(partition, offset)] = record

        producer.produce(orders.TOPIC, record.value, record.key, on_delivery=produced)
        producer.poll(0)
    producer.flush(_STOP_S)
    if len(account.produced) != count:
        raise RuntimeError(f"the sandbox's broker took {len(account.produced)} of {count} records")


def _watch(sandbox: Sandbox, bridge: DemoBridge, account: Account, talk: Console) -> list[str]:
    """Follows what the bridge does until every record is accounted for; answers what stopped it earlier."""
    letters = Consumer({"bootstrap.servers": sandbox.broker.bootstrap, "group.id": "demo"})
    letters.assign([TopicPartition(orders.DEAD_LETTER_TOPIC, 0, OFFSET_BEGINNING)])
    deadline_s = time.monotonic() + _DEADLINE_S
    read = 0
    try:
        with _progress(talk, len(account.produced)) as show:
            while account.settled() < len(account.produced):
                if not bridge.is_running:
                    return ["the bridge ended by itself"]
                if time.monotonic() > deadline_s:
                    return [f"not everything was settled within {_DEADLINE_S} s"]
                for letter in letters.consume(500, 0.1):
                    if letter.error() is None:
                        _count_letter(account, letter)
                for event in sandbox.eventbridge.events(after=read):
                    read = event.seq
                    _count_event(account, event.detail)
                account.filtered = bridge.filtered()
                show.to(account.settled())
    finally:
        letters.close()
    return []


def _count_event(account: Account, detail: str) -> None:
    origin = orjson.loads(detail)["_kafka"]
    account.events += 1
    account.delivered.setdefault(Place(origin["partition"], origin["offset"]), set()).add(origin["id"])


def _count_letter(account: Account, letter: Message) -> None:
    headers = {str(name): value for name, value in dict(letter.headers() or []).items()}
    partition, offset, code = (_text(headers[name]) for name in _LETTER_HEADERS)
    at = Place(int(partition), int(offset))
    account.letter_count += 1
    account.letters[at] = code


def _text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def _uncommitted(sandbox: Sandbox) -> list[str]:
    """Which partitions the bridge left with records that a next run would read again."""
    asked = [TopicPartition(orders.TOPIC, number) for number in range(orders.PARTITIONS)]
    reader = Consumer({"bootstrap.servers": sandbox.broker.bootstrap, "group.id": "orders-bridge"})
    try:
        found = []
        for each in reader.committed(asked, timeout=10):
            _, end = reader.get_watermark_offsets(each, timeout=10)
            if end and each.offset != end:
                found.append(f"partition {each.partition} is committed at {each.offset}, its end is {end}")
        return found
    finally:
        reader.close()


def _report(account: Account, eventbridge: FakeEventBridge, out: Console) -> None:
    table = Table("code", "letters", "what was wrong", title="Dead letters", title_justify="left")
    by_code = Counter(account.letters.values())
    for code, count in sorted(by_code.items()):
        places = (at for at, got in account.letters.items() if got == code)
        reasons = dict.fromkeys(account.produced[at].what for at in places if at in account.produced)
        table.add_row(code, str(count), ", ".join(reasons))
    out.print(table)
    for (wanted, got), count in sorted(account.surprises().items()):
        out.print(f"unexpected: {count} made for {wanted} became {got}")
    counts = eventbridge.counts()
    injected = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.faults.items())) or "none"
    out.print(f"faults injected: {injected}; duplicates: {account.duplicates()}")
    example = next(iter(eventbridge.events()), None)
    if example:
        out.print("\nOne event, as the customer gets it:")
        shown: Mapping[str, object] = {k: v for k, v in example.as_json().items() if k != "sandbox"}
        out.print_json(orjson.dumps(shown).decode())


def _show_around(sandbox: Sandbox, bridge: DemoBridge, folder: Path, talk: Console) -> None:
    talk.print(
        f"Still running. Ctrl-C ends it.\n"
        f"  bridge       curl {bridge.url}/metrics\n"
        f"  EventBridge  curl {sandbox.eventbridge.url}/_sandbox/events\n"
        f"  Kafka        {sandbox.broker.bootstrap}\n"
        f"  dead letters partner-bridge dead-letters list --config {bridge.config}\n"
        f"  files        {folder}",
        soft_wrap=True,
    )
    stopped = threading.Event()
    process.stop_with(stopped.set)
    stopped.wait()


def _next_steps(out: Console) -> None:
    out.print(
        "\nWhere to look next:\n"
        "  partner-bridge demo --keep           the same, and it stays up for a look around\n"
        "  partner-bridge dead-letters list     while it is up: what failed and why; then show and replay\n"
        "  partner-bridge sandbox               broker, registry and EventBridge for a bridge of your own\n"
        "  examples/bridge.yaml                 a configuration to start from, which README.md explains",
        soft_wrap=True,
    )


class _Shown:
    """Progress as a bar on a terminal, and as a line every other second elsewhere."""

    def __init__(self, talk: Console, total: int, bar: Progress | None) -> None:
        self._talk, self._total, self._bar = talk, total, bar
        self._task = bar.add_task("records settled", total=total) if bar else None
        self._next_s = 0.0

    def to(self, settled: int) -> None:
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=settled)
        elif time.monotonic() >= self._next_s or settled >= self._total:
            self._next_s = time.monotonic() + 2
            self._talk.print(f"{settled} of {self._total} records settled")


@contextmanager
def _progress(talk: Console, total: int) -> Iterator[_Shown]:
    if not talk.is_terminal:
        yield _Shown(talk, total, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=talk) as bar:
        yield _Shown(talk, total, bar)
