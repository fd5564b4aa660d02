"""Records that keep coming while everything breaks, and what is to become of each."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial

from confluent_kafka import KafkaError, Message, Producer

from connector.model import Position
from connector.sandbox.registry import FakeRegistry
from tests.topics import Topics
from tests.world import ORDER, order

TICK_S = 0.05
KIND = "kind"
"""The header that says what is to become of a record."""
NUMBER = "number"
"""The header that tells one record from another."""
NEW_SCHEMA_S = 3.0
"""A schema that nobody has cached yet; otherwise the registry could be down and nobody would notice."""


def tenant_name(number: int) -> str:
    """Whose source is `aws.partner/example.com/` and this."""
    return f"tenant-{number}"


class Load:
    """Produces orders at a steady rate until told to stop, to each topic in turn; some are filtered, some are
    broken.

    The producer is idempotent and never gives up. What the topic holds at the end is what was produced: each
    record that was acknowledged, some perhaps twice, where librdkafka began a new epoch after a broker died.
    """

    def __init__(
        self,
        client: Mapping[str, str],
        topics: Sequence[str],
        registry: FakeRegistry,
        *,
        per_second: int,
        seed: int,
        keys: int = 200,
        tenants: int = 10,
        leavers: int = 0,
    ) -> None:
        """The last `leavers` of the tenants may be away, so that their records may be dead letters."""
        self.produced: dict[Position, bytes | None] = {}
        self.filtered: set[Position] = set()
        self.dead: dict[Position, str] = {}
        self.may_be_dead: dict[Position, str] = {}
        self._client = client
        self._topics = topics
        self._registry = registry
        self._per_second = per_second
        self._chance = random.Random(seed)
        self._keys = keys
        self._tenants = tenants
        self._stayers = tenants - leavers
        self._acknowledged: set[int] = set()
        self._failures: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns once the brokers have all that was produced."""
        self._over.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "the producer did not get rid of its records"
        assert not self._failures, f"producing failed: {self._failures[:3]}"

    def give_up(self) -> None:
        """Stops without waiting."""
        self._over.set()

    def _run(self) -> None:
        producer = Producer(
            {
                **self._client,
                "enable.idempotence": "true",
                "linger.ms": "5",
                "message.timeout.ms": "0",
                "topic.metadata.refresh.interval.ms": "1000",
                "log_level": "0",
            }
        )
        number, began_s, schema_id, schema_s = 0, time.monotonic(), 0, 0.0
        while not self._over.wait(TICK_S):
            elapsed_s = time.monotonic() - began_s
            if elapsed_s >= schema_s:
                schema_id = self._registry.register("orders-value", {**ORDER, "doc": f"{number}"})
                schema_s = elapsed_s + NEW_SCHEMA_S
            while number < elapsed_s * self._per_second and len(producer) < 50_000:
                self._produce(producer, schema_id, number)
                number += 1
            producer.poll(0)
        left = producer.flush(100)
        if left:
            self._failures.append(f"{left} records are not acknowledged")

    def _produce(self, producer: Producer, schema_id: int, number: int) -> None:
        dice = self._chance.random()
        status = "DRAFT" if dice < 0.03 else "NEW"
        turn, tenant = divmod(number, self._tenants)
        value = order(schema_id, number, status=status, tenant=tenant_name(tenant))
        is_broken = 0.03 <= dice < 0.05
        key = f"key-{number % self._keys}".encode()
        producer.produce(
            self._topics[turn % len(self._topics)],
            value=value[:-3] if is_broken else value,
            key=key,
            headers=[
                (KIND, b"filtered" if status == "DRAFT" else b"dead" if is_broken else b"good"),
                (NUMBER, b"%d" % number),
            ],
            on_delivery=partial(self._noted, number),
        )

    def _noted(self, number: int, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failures.append(str(error))
        else:
            self._acknowledged.add(number)

    def read_back(self, topics: Topics) -> None:
        """Fills in what was produced, as the topic has it: after a retry a producer knows no offset."""
        found: set[int] = set()
        for record in (record for topic in self._topics for record in topics.read(topic)):
            at = Position(record.partition, record.offset)
            self.produced[at] = record.key
            headers = dict(record.headers)
            number = int(headers[NUMBER] or b"")
            found.add(number)
            kind = headers[KIND]
            if kind == b"filtered":
                self.filtered.add(at)
            elif kind == b"dead":
                self.dead[at] = "avro_invalid"
            elif number % self._tenants >= self._stayers:
                self.may_be_dead[at] = "source_inactive"
        lost = sorted(self._acknowledged - found)
        assert not lost, f"Kafka lost {len(lost)} records that it had acknowledged: {lost[:5]}"
