"""A topic of notes that a bridge has delivered, and the real `events resend` as a child process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from connector.model import Json, Position, iso
from tests.redelivering import Redeliveries
from tests.services.child import Child
from tests.topics import Sent
from tests.world import TEXT_KEY, World, note

BEGIN_MS = 1_790_000_000_000
PREFIX = "aws.partner/example.com/"
MAPPING: dict[str, Json] = {
    "value": {"format": "json"},
    "key": TEXT_KEY,
    "filter": "!(value.draft)",
    "event": {"source": PREFIX + "${value.tenant}", "detail_type": "${value.kind}"},
}


class Resends(Redeliveries):
    """The topic of one world, its notes, and resends of them."""

    def __init__(self, world: World, folder: Path, *, partitions: int = 4) -> None:
        self.partitions = world.topic("notes", partitions=partitions)
        self.topic = self.partitions[0].topic
        (receipts,) = world.topic("receipts")
        settings = world.settings(
            {self.topic: MAPPING},
            eventbridge={"max_in_flight": 4},
            dead_letter={"max_consecutive": 1_000},
            receipts={"topic": receipts.topic},
        )
        super().__init__(world, folder, settings)

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

    def eventbridge_ids(self, event_id: str) -> list[str]:
        """The ids that EventBridge gave an event of ours, one for each time it was delivered."""
        events = self.world.aws.events()
        return [each.event_id for each in events if json.loads(each.detail)["_kafka"]["id"] == event_id]

    def start(self, *arguments: str) -> Child:
        """Starts `events resend` with these arguments."""
        return self.launch("events", "resend", "--topic", self.topic, *arguments)

    def run(self, *arguments: str, code: int = 0) -> str:
        """Runs it to its end, expects this exit code, and answers everything it printed."""
        return self.finish(self.start(*arguments), code)

    def as_json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """The same with --json, as fast as possible."""
        return _json_in(self.run("--json", "--rate", "0", *arguments, code=code))

    def find(self, event_id: str) -> dict[str, Any]:
        """What `events find` says of the one record with this id."""
        output = self.finish(self.launch("events", "find", "--id", event_id, "--json"), 0)
        found: list[dict[str, Any]] = _json_in(output)["events"]
        (event,) = found
        return event


def _json_in(output: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(output[output.index("{\n") : output.rindex("}") + 1])
    return parsed


def ids(details: Sequence[dict[str, Any]]) -> list[str]:
    """The stable id of each event."""
    return [detail["_kafka"]["id"] for detail in details]
