"""The records of the benchmark: orders with 13 fields of every usual kind, 76 bytes with their framing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO

import fastavro
from confluent_kafka import KafkaError, Message, Producer

from connector.model import Json

FLUSH_TIMEOUT_S = 60.0
REGION = "eu-central-1"
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_STATUS = ("PLACED", "PAID", "SHIPPED", "CANCELLED")
_TENANTS = ("acme", "hooli", "globex", "initech")

SCHEMA: dict[str, Json] = {
    "type": "record",
    "name": "Order",
    "namespace": "com.example.bench",
    "fields": [
        {"name": "order_id", "type": "string"},
        {"name": "tenant_id", "type": "string"},
        {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["DRAFT", *_STATUS]}},
        {"name": "updated_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "deliver_on", "type": ["null", {"type": "int", "logicalType": "date"}], "default": None},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "currency", "type": "string"},
        {"name": "quantity", "type": "int"},
        {"name": "weight", "type": "double"},
        {"name": "paid", "type": "boolean"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {
            "name": "customer",
            "type": {
                "type": "record",
                "name": "Customer",
                "fields": [{"name": "number", "type": "long"}, {"name": "country", "type": "string"}],
            },
        },
        {"name": "tags", "type": {"type": "array", "items": "string"}},
    ],
}
_PARSED = fastavro.parse_schema(SCHEMA)

TOPIC_SETTINGS: dict[str, Json] = {
    "value": {"format": "avro", "framing": "confluent"},
    "key": {"format": "string"},
    "filter": "value.status != 'DRAFT'",
    "event": {
        "source": "aws.partner/example.com/${value.tenant_id}",
        "detail_type": "Order ${value.status}",
        "time": "${value.updated_at}",
        "resources": ["order/${value.order_id}"],
    },
}
"""What the bridge makes of an order; `plain_loop.py` makes the same of it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """In what the records of a topic differ from one another."""

    keys: int = 10_000
    """Customers: how many different keys there are."""
    sources: int = len(_TENANTS)
    """Tenants: how many partner event sources the records are for."""
    padding_bytes: int = 0
    """Length of a note in each record, to make it larger."""
    distinct: int | None = None
    """How many different values there are; then they repeat, each time with other keys. None: all differ."""


ORDERS = Shape()


def order_id(number: int) -> str:
    return f"order-{number:010}"


def key(number: int, shape: Shape = ORDERS) -> bytes:
    """Whose order it is: a customer usually has one in ten thousand, so keys repeat and few wait for each
    other."""
    return b"customer-%05d" % (number * 7919 % shape.keys)


def value(number: int, schema_id: int, shape: Shape = ORDERS) -> bytes:
    """One order as Avro, behind Confluent's five bytes."""
    note = "leave at the door" if number % 8 == 0 else None
    tenant = number % shape.sources
    out = BytesIO()
    out.write(b"\x00" + schema_id.to_bytes(4, "big"))
    order = {
        "order_id": order_id(number),
        "tenant_id": _TENANTS[tenant] if tenant < len(_TENANTS) else f"tenant-{tenant}",
        "status": _STATUS[number % len(_STATUS)],
        "updated_at": _EPOCH + timedelta(seconds=number, milliseconds=number % 1000),
        "deliver_on": date(2026, 2, 1) + timedelta(days=number % 28) if number % 4 else None,
        "amount": Decimal(number % 1_000_000).scaleb(-2),
        "currency": "EUR",
        "quantity": number % 9 + 1,
        "weight": number % 1000 / 8,
        "paid": number % 2 == 0,
        "note": "x" * shape.padding_bytes or note,
        "customer": {"number": 100_000 + number % 10_000, "country": "DE"},
        "tags": ["web", "gift"],
    }
    fastavro.schemaless_writer(out, _PARSED, order)
    return out.getvalue()


def values(count: int, schema_id: int, shape: Shape = ORDERS) -> Iterator[tuple[bytes, bytes]]:
    """`count` orders, with their keys."""
    made = [value(number, schema_id, shape) for number in range(shape.distinct or 0)]
    for number in range(count):
        yield (
            key(number, shape),
            made[number % len(made)] if made else value(number, schema_id, shape),
        )


class Sender:
    """Writes orders to one topic. Raises AssertionError where the broker refuses one."""

    def __init__(self, client: Mapping[str, str], topic: str, *, linger_ms: int = 20) -> None:
        self._topic = topic
        self._failures: list[KafkaError] = []
        self._producer = Producer(
            {**client, "linger.ms": linger_ms, "queue.buffering.max.messages": 200_000, "log_level": 0}
        )

    def send(self, key: bytes, value: bytes) -> float:
        """Writes one order stamped with this moment, and answers the moment (Unix time in seconds)."""
        while True:
            now_s = time.time()
            try:
                self._producer.produce(
                    self._topic, value, key, timestamp=int(now_s * 1000), on_delivery=self._noted
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return now_s

    def flush(self) -> None:
        """Returns once the broker has everything."""
        left = self._producer.flush(FLUSH_TIMEOUT_S)
        assert not self._failures, f"producing failed: {self._failures[:3]}"
        assert not left, f"{left} records were not acknowledged in {FLUSH_TIMEOUT_S:g} s"

    def _noted(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failures.append(error)


def fill(client: Mapping[str, str], topic: str, count: int, schema_id: int, shape: Shape = ORDERS) -> float:
    """Writes `count` orders to a topic, and answers their mean size in bytes."""
    sender = Sender(client, topic)
    size_bytes = 0
    for each_key, each_value in values(count, schema_id, shape):
        sender.send(each_key, each_value)
        size_bytes += len(each_value)
    sender.flush()
    return size_bytes / count


def paced(send: Callable[[int], float], *, first: int, count: int, per_second: float) -> dict[str, float]:
    """Sends `count` orders at a steady rate, and answers when each was sent, by order id."""
    began_s = time.monotonic()
    sent: dict[str, float] = {}
    for number in range(first, first + count):
        wait_s = began_s + (number - first) / per_second - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        sent[order_id(number)] = send(number)
    return sent
