"""The demo's parts: a real bridge process in a sandbox, the orders it gets, and their account.

Some orders are broken, and EventBridge fails now and then. At the end every produced record must be
delivered, dead-lettered or filtered, and once only.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import orjson
import urllib3
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition

from connector.sandbox import orders
from connector.sandbox.server import free_port
from connector.sandbox.services import Sandbox

_DEADLINE_S = 90
_STOP_S = 30
_LETTER_HEADERS = ("__connect.errors.partition", "__connect.errors.offset", "partner-bridge.code")
FAULTS = {
    "latency_ms": 20,
    "seed": 1,
    "faults": [
        {"kind": "unavailable", "times": 3, "after": 15},
        {"kind": "reset", "times": 1, "after": 10},
        {"kind": "entry_error", "code": "ThrottlingException", "probability": 0.01},
    ],
}


class Place(NamedTuple):
    """The position of a record in the demo's topic."""

    partition: int
    offset: int


@dataclass(slots=True)
class Account:
    """Every record that was produced, and every delivery and dead letter of it."""

    produced: dict[Place, orders.Produced] = field(default_factory=dict)
    delivered: dict[Place, set[str]] = field(default_factory=dict)
    """By place, the ids the bridge gave the event: one, however often it was delivered."""
    events: int = 0
    letters: dict[Place, str] = field(default_factory=dict)
    """By place, the code of its dead letter."""
    letter_count: int = 0
    filtered: int = 0
    """As the bridge's own metric says."""

    def settled(self) -> int:
        """Count the records that are accounted for so far."""
        return len(self.delivered.keys() | self.letters.keys()) + self.filtered

    def duplicates(self) -> int:
        return self.events - len(self.delivered) + self.letter_count - len(self.letters)

    def problems(self) -> list[str]:
        """List why the account does not balance; empty where it does."""
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
            f"{len(places)} records {finding}, as {min(places)}"
            for finding, places in findings.items()
            if places
        ]
        if not self.delivered:
            problems.append("no event was delivered")
        if self.filtered != len(untouched):
            problems.append(
                f"the bridge counts {self.filtered} filtered records; {len(untouched)} reached nothing"
            )
        return problems

    def surprises(self) -> Counter[tuple[str, str]]:
        """Count the records that were settled in another way than they were made for: (made for, got)."""
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


class DemoBridge:
    """The real bridge as a child process, with its log in a file."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.config = folder / "bridge.yaml"
        self._log = folder / "bridge.log"
        self._port = free_port()
        self.config.write_text(sandbox.config(http_port=self._port), encoding="utf-8")
        own = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BRIDGE_"))}
        self._environment = own | sandbox.credentials() | {"NO_PROXY": "127.0.0.1"}
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # -P: what lies in the reader's folder is not imported, as `html.py` for the standard library's.
        command = [sys.executable, "-P", "-m", "connector", "run", "--config", str(self.config)]
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
        """Stop the bridge as Kubernetes would; returns the problems of that."""
        if self._child is None:
            return ["the bridge was never started"]
        self._child.send_signal(signal.SIGTERM)
        try:
            code = self._child.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            return [f"the bridge did not stop within {_STOP_S} s of SIGTERM"]
        return [] if code == 0 else [f"the bridge exited with {code}, not with 0"]

    def filtered(self) -> int:
        """Read from its metrics how many records it filtered; 0 while it does not answer."""
        try:
            text = urllib3.request("GET", f"{self.url}/metrics", timeout=2, retries=False).data.decode()
        except urllib3.exceptions.HTTPError:
            return 0
        values = re.findall(r"^partner_bridge_records_filtered_total\{.*\} (\S+)$", text, re.MULTILINE)
        return int(sum(map(float, values)))


def produce(sandbox: Sandbox, account: Account, count: int) -> None:
    """Produce `count` orders; returns when the broker has all of them."""
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


def follow(
    sandbox: Sandbox, bridge: DemoBridge, account: Account, *, on_settled: Callable[[int], None]
) -> list[str]:
    """Keep the account until every record is in it; returns the problem that ended that earlier.

    `on_settled` gets the number of records that were settled since its last call.
    """
    letters = Consumer({"bootstrap.servers": sandbox.broker.bootstrap, "group.id": "demo"})
    letters.assign([TopicPartition(orders.DEAD_LETTER_TOPIC, 0, OFFSET_BEGINNING)])
    deadline_s = time.monotonic() + _DEADLINE_S
    read = settled = 0
    try:
        while settled < len(account.produced):
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
            on_settled(account.settled() - settled)
            settled = account.settled()
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


def uncommitted(sandbox: Sandbox) -> list[str]:
    """List the partitions whose committed offset is not their end; the next run would read records again."""
    partitions = [TopicPartition(orders.TOPIC, number) for number in range(orders.PARTITIONS)]
    reader = Consumer({"bootstrap.servers": sandbox.broker.bootstrap, "group.id": "orders-bridge"})
    try:
        found = []
        for each in reader.committed(partitions, timeout=10):
            _, end = reader.get_watermark_offsets(each, timeout=10)
            if end and each.offset != end:
                found.append(f"partition {each.partition} is committed at {each.offset}, its end is {end}")
        return found
    finally:
        reader.close()
