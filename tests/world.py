"""One test's own corner of the world: topics, a group, EventBridge, bridges, and the account at the end."""

from __future__ import annotations

import io
import itertools
import json
import struct
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import fastavro
from confluent_kafka import KafkaException

from connector.model import Json, Partition, Position
from connector.sandbox.eventbridge import DroppedEvent, FakeEventBridge
from tests import accounting
from tests.accounting import Balance, Letter, Sample, Sampler
from tests.bridge_process import BridgeProcess
from tests.services.child import wait_until
from tests.topics import Sent, Topics

REGION = "eu-central-1"

ORDER: dict[str, Json] = {
    "type": "record",
    "name": "Order",
    "namespace": "com.example",
    "fields": [
        {"name": "order_id", "type": "string"},
        {"name": "tenant_id", "type": "string"},
        {"name": "status", "type": "string"},
        {"name": "updated_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}
_PARSED = fastavro.parse_schema(ORDER)

TEXT_KEY: dict[str, Json] = {"format": "string"}

ORDERS: dict[str, Json] = {
    "value": {"format": "avro"},
    "key": TEXT_KEY,
    "filter": "value.status != 'DRAFT'",
    "event": {
        "source": "aws.partner/example.com/${value.tenant_id}",
        "detail_type": "Order ${value.status}",
        "time": "${value.updated_at}",
        "resources": ["order/${value.order_id}"],
    },
}
"""The mapping of a topic of Avro orders."""

NOTES: dict[str, Json] = {
    "value": {"format": "json"},
    "key": TEXT_KEY,
    "event": {"source": "aws.partner/example.com/${value.tenant}", "detail_type": "Note"},
}
"""The mapping of a topic of JSON notes: `{"tenant": …}` and anything else."""


def order(schema_id: int, number: int, *, status: str = "NEW", tenant: str = "acme") -> bytes:
    """An order as Confluent Avro."""
    out = io.BytesIO()
    out.write(struct.pack(">bI", 0, schema_id))
    value = {
        "order_id": str(number),
        "tenant_id": tenant,
        "status": status,
        "updated_at": datetime.fromtimestamp(1_790_000_000 + number, UTC),
        "amount": b"\x04\xd2",
        "note": None,
    }
    fastavro.schemaless_writer(out, _PARSED, value)
    return out.getvalue()


def note(number: int, *, tenant: str = "acme", **more: Json) -> bytes:
    """A note as JSON."""
    return json.dumps({"tenant": tenant, "number": number, **more}).encode()


class World:
    """Names, topics and processes that belong to one test. Use as a context: it ends what it started.

    It fails where a bridge had ended by itself.

    The dead-letter topic lies on the broker `dead_letters_on` alone, where that is given.
    """

    def __init__(
        self,
        client: Mapping[str, str],
        *,
        folder: Path,
        registry_url: str | None = None,
        max_request_bytes: int = 262_144,
        dead_letters_on: int | None = None,
    ) -> None:
        self.name = f"t{uuid.uuid4().hex[:10]}"
        """The group, the bridge's name, and what all topics of this test begin with."""
        self.topics = Topics(client)
        self.aws = FakeEventBridge(max_request_bytes=max_request_bytes)
        self.dead_letter_topic = f"{self.name}.dlt"
        self._dead_letters_on = dead_letters_on
        self.client = dict(client)
        self._registry_url = registry_url
        self._folder = folder
        self._bridges: list[BridgeProcess] = []
        self._dead_letter_partitions: list[Partition] = []

    def __enter__(self) -> World:
        self.aws.start()
        self._dead_letter_partitions = self.topics.create(
            self.dead_letter_topic, broker=self._dead_letters_on
        )
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        for bridge in self._bridges:
            bridge.kill()
        self.aws.stop()
        if error is None:
            self._alive()

    def log(self) -> str:
        """The end of each bridge's log, for failure messages."""
        return "\n".join(bridge.log() for bridge in self._bridges)

    def topic(self, name: str, *, partitions: int = 1, broker: int | None = None) -> list[Partition]:
        """Creates the topic `<this test>.<name>` and answers its partitions."""
        return self.topics.create(f"{self.name}.{name}", partitions=partitions, broker=broker)

    def settings(self, topics: Mapping[str, Json], **changes: Mapping[str, Json]) -> dict[str, Any]:
        """A configuration for these topics; `changes` go into its sections (`delivery={...}`).

        Intervals are short, so that tests are.
        """
        settings: dict[str, dict[str, Any]] = {
            "kafka": {
                **self.client,
                "group.id": self.name,
                "topic.metadata.refresh.interval.ms": 1000,
                "reconnect.backoff.max.ms": 1000,
            },
            "eventbridge": {
                "region": REGION,
                "endpoint_url": self.aws.url,
                "retry": {"initial_interval": "20ms", "max_interval": "500ms"},
            },
            "dead_letter": {"topic": self.dead_letter_topic},
            "delivery": {"commit_interval": "200ms", "shutdown_timeout": "10s"},
            "log": {"format": "json"},
        }
        if self._registry_url is not None:
            settings["schema_registry"] = {"url": self._registry_url}
        for section, change in changes.items():
            settings.setdefault(section, {}).update(change)
        if settings["kafka"].get("group.protocol") != "consumer":
            # With the consumer protocol the brokers decide about these.
            settings["kafka"] = {
                "session.timeout.ms": 4000,
                "heartbeat.interval.ms": 400,
                **settings["kafka"],
            }
        return {"name": self.name, **settings, "topics": dict(topics)}

    def bridge(
        self,
        settings: Mapping[str, Any],
        *,
        name: str = "bridge",
        environ: Mapping[str, str] | None = None,
    ) -> BridgeProcess:
        """A bridge with these settings, not started yet, and ended with this world."""
        bridge = BridgeProcess(settings, folder=self._folder, name=name, environ=environ)
        self._bridges.append(bridge)
        return bridge

    def produce(
        self, records: Sequence[Sent], options: Mapping[str, str | int] | None = None
    ) -> dict[Position, bytes | None]:
        """Writes the records and answers the key of each position, in their order."""
        positions = self.topics.produce(records, options)
        return {position: sent.key for position, sent in zip(positions, records, strict=True)}

    def sampler(self, partitions: Sequence[Partition]) -> Sampler:
        """Watches what this test's group commits, while it is used as a context."""
        return Sampler(
            self.client,
            self.name,
            partitions,
            delivered=lambda: self.aws.counts().accepted,
            dead_letters=self._dead_letter_partitions,
            dropped=lambda: self.aws.counts().dropped,
        )

    def wait_settled(self, partitions: Sequence[Partition], *, timeout_s: float = 60) -> None:
        """Waits until the group has committed everything these partitions hold now."""
        ends = {partition: end for partition, end in self.topics.ends(partitions).items() if end > 0}

        def missing() -> dict[Partition, tuple[int, int]]:
            try:
                committed = self.topics.committed(self.name, partitions)
            except KafkaException:
                committed = {}  # a broker that was away is not back yet: nothing is known at this moment
            return {
                each: (committed.get(each, 0), end)
                for each, end in ends.items()
                if committed.get(each) != end
            }

        wait_until(
            lambda: self._alive() and not missing(),
            what=lambda: f"all is committed; missing (committed, end): {missing()}\n{self.log()}",
            timeout_s=timeout_s,
            every_s=0.1,
        )

    def wait_committed(self, wanted: Mapping[Partition, int], *, timeout_s: float = 60) -> None:
        """Waits until the group has committed exactly these offsets."""
        wait_until(
            lambda: wanted.items() <= self.topics.committed(self.name, list(wanted)).items(),
            what=lambda: f"{wanted} committed, not {self.topics.committed(self.name, list(wanted))}",
            timeout_s=timeout_s,
        )

    def wait_accepted(self, count: int, *, timeout_s: float = 60) -> None:
        """Waits until EventBridge has accepted so many events, repetitions included."""
        wait_until(
            lambda: self._alive() and self.aws.counts().accepted >= count,
            what=lambda: f"{count} events accepted, not {self.aws.counts().accepted}\n{self.log()}",
            timeout_s=timeout_s,
            every_s=0.005,
        )

    def _alive(self) -> bool:
        """Ends a wait at once when a bridge has ended by itself."""
        for bridge in self._bridges:
            assert not bridge.has_failed, bridge.failure()
        return True

    def details(self) -> list[dict[str, Any]]:
        """The detail of each accepted event, in the order of acceptance."""
        return [json.loads(event.detail) for event in self.aws.events()]

    def letters(self) -> list[Letter]:
        """All dead letters so far."""
        return accounting.letters(self.topics.read(self.dead_letter_topic))

    def balance(
        self,
        produced: Mapping[Position, bytes | None],
        *,
        filtered: Collection[Position] = (),
        dead: Mapping[Position, str] | None = None,
        may_be_dead: Mapping[Position, str] | None = None,
        dropped: Sequence[DroppedEvent] = (),
        void: Sequence[DroppedEvent] = (),
        order: Literal["key", "partition"] | None = None,
        samples: Sequence[Sample] = (),
    ) -> Balance:
        """Judges what EventBridge and the dead-letter topic hold, as `accounting.balance`, and prints it."""
        result = accounting.balance(
            produced=produced,
            delivered=accounting.deliveries(self.details()),
            letters=self.letters(),
            filtered=filtered,
            dead=dead,
            may_be_dead=may_be_dead,
            dropped=accounting.deliveries(json.loads(event.detail) for event in dropped),
            void=accounting.deliveries(json.loads(event.detail) for event in void),
            order=order,
            samples=samples,
        )
        print(f"{result}; {len(samples)} samples")
        return result


def positions(of: Mapping[Position, bytes | None], chosen: Iterable[int]) -> list[Position]:
    """The positions of the records that were produced at these places."""
    line = list(of)
    return [line[place] for place in chosen]


def spread(count: int, *, keys: int = 100) -> Iterable[tuple[int, bytes]]:
    """Numbers from 0, each with one of so many keys."""
    return zip(range(count), itertools.cycle([f"key-{key}".encode() for key in range(keys)]), strict=False)
