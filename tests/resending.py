"""A topic of notes that a bridge has delivered, and the real `events resend` as a child process."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from connector.dead_letters.redelivery_group import SESSION_TIMEOUT_S
from connector.model import Json, Position, iso
from tests.bridge_process import AWS_ENVIRON
from tests.services.child import Child, wait_until
from tests.topics import Sent
from tests.world import TEXT_KEY, World, note

TIMEOUT_S = 60.0
BEGIN_MS = 1_790_000_000_000
PREFIX = "aws.partner/example.com/"
MAPPING: dict[str, Json] = {
    "value": {"format": "json"},
    "key": TEXT_KEY,
    "filter": "!(value.draft)",
    "event": {"source": PREFIX + "${value.tenant}", "detail_type": "${value.kind}"},
}


class Resends:
    """The topic of one world, its notes, and resends of them."""

    def __init__(self, world: World, folder: Path, *, partitions: int = 4) -> None:
        self.world = world
        self.partitions = world.topic("notes", partitions=partitions)
        self.topic = self.partitions[0].topic
        self.settings = world.settings(
            {self.topic: MAPPING}, eventbridge={"max_in_flight": 4}, dead_letter={"max_consecutive": 1_000}
        )
        self._folder = folder
        self._started: list[Child] = []

    def produce(self, notes: Sequence[tuple[str, bytes | None, dict[str, Json]]]) -> list[Position]:
        """Writes notes, each of a tenant, with a key and more of its value; they are a second apart."""
        sent = [
            Sent(
                self.topic,
                note(number, tenant=tenant, **{"kind": "Note", **more}),
                key,
                timestamp_ms=BEGIN_MS + 1_000 * number,
            )
            for number, (tenant, key, more) in enumerate(notes)
        ]
        return list(self.world.produce(sent))

    def deliver(self) -> list[dict[str, Any]]:
        """Has a bridge settle all there is, and ends it; the details that EventBridge has."""
        bridge = self.world.bridge(self.settings).start()
        self.world.wait_settled(self.partitions)
        bridge.sigterm()
        return self.world.details()

    def between(self, first: int, end: int) -> list[str]:
        """The options for the time from one note to another."""
        times = (iso(BEGIN_MS + 1_000 * number) for number in (first, end))
        return [text for pair in zip(("--since", "--until"), times, strict=True) for text in pair]

    def start(self, *arguments: str) -> Child:
        """Starts `events resend` with these arguments."""
        number = len(self._started)
        file = self._folder / f"resend-{number}.yaml"
        file.write_text(json.dumps(self.settings))  # JSON is YAML
        command = ["events", "resend", "--config", str(file), "--topic", self.topic, *arguments]
        child = Child(
            [sys.executable, "-m", "connector", *command],
            log=self._folder / f"resend-{number}.log",
            environ=AWS_ENVIRON,
        )
        self._started.append(child)
        child.start()
        return child

    def run(self, *arguments: str, code: int = 0) -> str:
        """Runs it to its end, expects this exit code, and answers everything it printed."""
        child = self.start(*arguments)
        assert child.wait(timeout_s=TIMEOUT_S + SESSION_TIMEOUT_S) == code, child.tail()
        return child.output()

    def as_json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """The same with --json, as fast as possible."""
        output = self.run("--json", "--rate", "0", *arguments, code=code)
        parsed: dict[str, Any] = json.loads(output[output.index("{\n") : output.rindex("}") + 1])
        return parsed

    def wait_accepted(self, count: int, child: Child) -> None:
        """Waits until EventBridge has so many events, while the resend runs."""

        def is_there() -> bool:
            assert child.running, child.tail()
            return self.world.aws.counts().accepted >= count

        wait_until(is_there, what=lambda: f"{count} events\n{child.tail()}", every_s=0.005)

    def close(self) -> None:
        for child in self._started:
            child.kill()


def ids(details: Sequence[dict[str, Any]]) -> list[str]:
    """The stable id of each event."""
    return [detail["_kafka"]["id"] for detail in details]
