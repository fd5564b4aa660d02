"""Dead letters made to measure, and the real `dead-letters replay` as a child process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from connector.dead_letters.format import OURS, DeadLetterRecord, letter, without_value
from connector.errors import Code
from connector.model import Headers, Json, Partition, Record
from tests.failures import failed
from tests.redelivering import Redeliveries
from tests.services.child import Child
from tests.topics import Sent
from tests.world import NOTES, World, note

PARTITIONS = 6
RECORDED_MS = 1_790_000_000_000
BROKEN: dict[str, Json] = {**NOTES, "event": {"source": "${value.missing}", "detail_type": "Note"}}
"""A mapping under which every note fails with template_null."""


class Replays(Redeliveries):
    """The dead-letter topic of one world, its letters, and replays of them."""

    def __init__(self, world: World, folder: Path, *, mapping: Mapping[str, Json] = NOTES) -> None:
        super().__init__(world, folder, {})
        self.topic = f"{world.name}.letters"
        self.origin = Partition(f"{world.name}.notes", 0)
        self.partitions = world.topics.create(self.topic, partitions=PARTITIONS)
        self.configure(mapping)

    def configure(self, mapping: Mapping[str, Json]) -> None:
        """From now on replays have this mapping for the topic the letters came from."""
        dead_letter: dict[str, Json] = {"topic": self.topic, "create": True, "replication_factor": 1}
        self.settings = self.world.settings(
            {self.origin.topic: dict(mapping)}, dead_letter={**dead_letter, "max_consecutive": 10_000}
        )

    def letter(
        self,
        number: int,
        *,
        key: bytes | None = None,
        value: bytes | None = None,
        code: Code = "template_null",
    ) -> DeadLetterRecord:
        """The letter of one note, by default of one that `NOTES` maps."""
        found = Record(self.origin, number, RECORDED_MS + number, key, value or note(number), ())
        failure = failed(
            at_ms=RECORDED_MS,
            event_id=self.event_id(number),
            code=code,
            message="topics.notes.event.source: found nothing",
        )
        return letter(found, failure, bridge_name=self.world.name, version="0")

    def omitted(self, number: int, value: bytes) -> DeadLetterRecord:
        """The letter of a note that was too large for the dead-letter topic."""
        return without_value(self.letter(number, value=value))

    def event_id(self, number: int) -> str:
        return f"cluster/{self.origin.topic}/0/{number}"

    def write(self, letters: Iterable[DeadLetterRecord], *, also: Headers = ()) -> None:
        """Puts letters into the topic, where their keys belong."""
        sent = [Sent(self.topic, each.value, each.key, (*each.headers, *also)) for each in letters]
        self.world.topics.produce(sent)

    def start(self, *arguments: str, command: str = "replay") -> Child:
        """Starts `dead-letters replay`, or another of its commands, with these arguments."""
        return self.launch("dead-letters", command, *arguments)

    def run(self, *arguments: str, code: int = 0, command: str = "replay") -> str:
        """Runs it to its end, expects this exit code, and answers everything it printed."""
        return self.finish(self.start(*arguments, command=command), code)

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """What `dead-letters list --json` says of each letter."""
        lines = self.run("--json", *arguments, command="list").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def execute(self, *arguments: str, code: int = 0) -> str:
        """The same with --execute, as fast as possible."""
        return self.run("--execute", "--rate", "0", *arguments, code=code)

    def sent(self) -> list[str]:
        """The stable id of each event EventBridge has, in the order of acceptance."""
        return [detail["_kafka"]["id"] for detail in self.world.details()]

    def resolutions(self) -> dict[str, dict[str, Any]]:
        """The last resolution of each letter, by the letter's id."""
        records = self.world.topics.read(f"{self.topic}.resolutions")
        return {(each.key or b"").decode(): json.loads(each.value or b"null") for each in records}

    def states(self) -> list[str]:
        """What became of the letters so far, one of each."""
        return sorted({found["state"] for found in self.resolutions().values()})

    def written(self) -> int:
        """Letters in the topic so far."""
        return sum(self.world.topics.ends(self.partitions).values())

    def counts(self) -> list[int]:
        """The replay count of each letter in the topic, in the order of writing."""
        return [
            int(dict(record.headers).get(f"{OURS}replay-count") or b"0")
            for record in self.world.topics.read(self.topic)
        ]
