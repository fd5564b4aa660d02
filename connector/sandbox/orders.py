"""The example the sandbox shows: orders of a shop with several tenants, and ways in which they go wrong."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import fastavro
import orjson

from connector import config as settings
from connector.errors import Code

TOPIC = "orders.v1"
PARTITIONS = 6
MAX_RECORDS = 100_000
"""More than this the sandbox's broker may forget before they are read."""
_OVERSIZE_UNTIL = 4_000
"""From here on no order is oversize: the broker keeps 5 MiB of dead letters."""
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_TENANTS = ("acme", "globex", "initech", "umbrella", "hooli")
_EVENTS = ("OrderPlaced", "OrderPaid", "OrderShipped", "OrderCancelled")
_GOODS = (("tea", "4.20"), ("kettle", "39.90"), ("cup", "7.50"), ("honey", "11.00"), ("strainer", "3.95"))

_MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
_INSTANT = {"type": "long", "logicalType": "timestamp-millis"}

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "namespace": "com.example.orders",
    "fields": [
        {"name": "order_id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "reference", "type": "string", "doc": "What the customer reads on the invoice."},
        {"name": "tenant_id", "type": ["null", "string"], "default": None},
        {"name": "event", "type": "string"},
        {
            "name": "status",
            "type": {
                "type": "enum",
                "name": "Status",
                "symbols": ["DRAFT", "PLACED", "PAID", "SHIPPED", "CANCELLED"],
            },
        },
        {"name": "placed_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "updated_at", "type": _INSTANT},
        {"name": "deliver_on", "type": ["null", {"type": "int", "logicalType": "date"}], "default": None},
        {"name": "total", "type": _MONEY},
        {
            "name": "customer",
            "type": {
                "type": "record",
                "name": "Customer",
                "fields": [
                    {"name": "number", "type": "long"},
                    {"name": "country", "type": "string"},
                    {"name": "score", "type": "double"},
                ],
            },
        },
        {
            "name": "lines",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Line",
                    "fields": [
                        {"name": "article", "type": "string"},
                        {"name": "quantity", "type": "int"},
                        {"name": "price", "type": _MONEY},
                    ],
                },
            },
        },
        {"name": "labels", "type": {"type": "map", "values": "string"}},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}
_PARSED = fastavro.parse_schema(SCHEMA)

CONFIG = """\
name: orders-bridge
kafka:
  bootstrap.servers: {bootstrap}
  group.id: orders-bridge
  session.timeout.ms: 6000              # a short one suits the sandbox's broker
schema_registry: {{url: {registry}}}
eventbridge:
  region: {region}
  endpoint_url: {eventbridge}
sources: {{refresh_interval: 1s}}         # a customer who accepts is seen at once
dead_letter: {{topic: orders-bridge.dlt, count_open_every: 2s}}
http: {{host: 127.0.0.1, port: {http_port}}}
topics:
  orders.v1:
    value: {{format: avro, framing: confluent}}
    key: {{format: string}}
    tombstones: skip
    filter: "value.status != 'DRAFT'"
    event:
      source: "aws.partner/example.com/${{value.tenant_id}}"
      detail_type: "${{value.event}}"
      time: "${{value.updated_at}}"
      resources: ["order/${{value.reference}}"]
"""
"""A complete `bridge.yaml` for these orders, with the sandbox's addresses left open."""
DEAD_LETTER_TOPIC = "orders-bridge.dlt"
REGION = "eu-central-1"


def config(addresses: Mapping[str, Any], *, http_port: int) -> str:
    """Write `CONFIG` with the addresses of a sandbox."""
    text = CONFIG.format(
        bootstrap=addresses["kafka"]["bootstrap.servers"],
        registry=addresses["schema_registry"],
        eventbridge=addresses["eventbridge"],
        region=REGION,
        http_port=http_port,
    )
    if is_plain_elsewhere(addresses["eventbridge"]):
        text = re.sub(r"(?<=\n)( +)endpoint_url: .*\n", r"\g<0>\1allow_insecure: true\n", text)
    return text


def is_plain_elsewhere(url: str) -> bool:
    """Whether a bridge has to be told that it may send to this address without TLS."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not settings.is_loopback(parts.hostname or "")


Fate: TypeAlias = Code | Literal["event", "filtered"]
"""What becomes of a record; a code is that of its dead letter."""


class Produced(NamedTuple):
    """A record to produce, and what the bridge is to make of it."""

    key: bytes
    value: bytes | None
    becomes: Fate
    what: str


def records(count: int, schema_id: int, *, seed: int = 1) -> Iterator[Produced]:
    """Answers `count` orders, the same for the same seed; about one in fifteen is filtered or broken.

    Each way to be broken occurs, from a count of 500 on.
    """
    chance = random.Random(seed)
    for number in range(count):
        made = order(number, chance)
        key = made["order_id"].encode()
        value: bytes | None
        becomes: Fate
        if number % 50 == 7:
            ways = _BROKEN if number < _OVERSIZE_UNTIL else _BROKEN[:-1]
            value, becomes, what = ways[number // 50 % len(ways)](made, schema_id)
        elif number % 50 == 21:
            value, becomes, what = encode(made | {"status": "DRAFT"}, schema_id), "filtered", "a draft"
        elif number % 100 == 33:
            value, becomes, what = None, "filtered", "a tombstone"
        else:
            value, becomes, what = encode(made, schema_id), "event", "an order"
        yield Produced(key, value, becomes, what)


def encode(order: dict[str, Any], schema_id: int) -> bytes:
    """An order as Avro, behind Confluent's five bytes."""
    out = BytesIO()
    out.write(b"\x00" + schema_id.to_bytes(4, "big"))
    fastavro.schemaless_writer(out, _PARSED, order)
    return out.getvalue()


def order(number: int, chance: random.Random) -> dict[str, Any]:
    """A good order, as fastavro takes it."""
    event = chance.randrange(len(_EVENTS))
    goods = chance.sample(_GOODS, chance.randint(1, 3))
    lines: list[dict[str, Any]] = [
        {"article": article, "quantity": chance.randint(1, 4), "price": Decimal(price)}
        for article, price in goods
    ]
    total = sum((line["price"] * line["quantity"] for line in lines), Decimal(0))
    placed_at = _EPOCH + timedelta(seconds=37 * number, microseconds=chance.randrange(1_000_000))
    return {
        "order_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "reference": f"A-{10_000 + number}",
        "tenant_id": chance.choice(_TENANTS),
        "event": _EVENTS[event],
        "status": ("PLACED", "PAID", "SHIPPED", "CANCELLED")[event],
        "placed_at": placed_at,
        "updated_at": placed_at + timedelta(minutes=chance.randint(0, 600)),
        "deliver_on": date(2026, 2, 1) + timedelta(days=number % 28) if number % 3 else None,
        "total": total,
        "customer": {
            "number": 1_000_000 + number % 997,
            "country": chance.choice(("DE", "FR", "NL", "SE")),
            "score": chance.random(),
        },
        "lines": lines,
        "labels": {"channel": chance.choice(("web", "shop", "phone"))},
        "note": "Bitte beim Nachbarn klingeln – größer als gedacht" if number % 5 == 0 else None,
    }


_Broken = Callable[[dict[str, Any], int], tuple[bytes, Code, str]]


def _with(code: Code, what: str, **change: object) -> _Broken:
    return lambda order, schema_id: (encode(order | change, schema_id), code, what)


_BROKEN: tuple[_Broken, ...] = (
    lambda order, schema_id: (
        b"\x42" + encode(order, schema_id)[1:],
        "framing_invalid",
        "a wrong magic byte",
    ),
    lambda order, _: (encode(order, 987_654), "schema_unknown", "a schema id the registry lacks"),
    lambda order, schema_id: (encode(order, schema_id)[:-30], "avro_invalid", "Avro that ends too soon"),
    lambda order, _: (orjson.dumps({"order": order["reference"]}), "framing_invalid", "JSON, not Avro"),
    _with("template_null", "no tenant", tenant_id=None),
    _with("detail_type_too_long", "a detail type of 129 characters", event="O" * 129),
    _with("resource_too_long", "a resource over 2,048 characters", reference="A" * 2_100),
    _with("source_invalid", "a tenant with a space", tenant_id="the shop"),
    _with("value_out_of_range", "a timestamp after the year 9999", updated_at=300_000_000_000_000),
    _with("event_too_large", "a detail over 256 KiB", note="n" * 300_000),
)
