"""Records as users give them: JSON, text, bytes, tombstones, and Avro behind Confluent's five bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from connector.errors import UnavailableError
from connector.sandbox.producer import RecordProducer
from connector.sandbox.services import Sandbox

CANARY = "canary-card"
SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "int"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {
            "name": "total",
            "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}],
        },
    ],
}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        sandbox.create_topic("notes", 1)
        yield sandbox


@pytest.fixture
def producer(sandbox: Sandbox) -> RecordProducer:
    return RecordProducer(sandbox.broker.bootstrap, sandbox.registry.url)


def read(sandbox: Sandbox, count: int) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": sandbox.broker.bootstrap, "group.id": "test"})
    consumer.assign([TopicPartition("notes", 0, 0)])
    found = consumer.consume(count, 20)
    consumer.close()
    return found


def test_values_are_json_text_bytes_or_nothing(sandbox: Sandbox, producer: RecordProducer) -> None:
    """Each as its type says; so are keys."""
    for value in ({"a": [1, None]}, "text ß", b"\x00\xff", None):
        producer.add("notes", value, key={"id": 1}, headers={"trace": "t"})
    producer.flush()

    found = read(sandbox, 4)
    assert [b'{"a":[1,null]}', "text ß".encode(), b"\x00\xff", None] == [each.value() for each in found]
    assert {b'{"id":1}'} == {each.key() for each in found}
    assert [("trace", b"t")] == found[0].headers()


def test_avro_is_framed_and_its_schema_registered(
    sandbox: Sandbox, producer: RecordProducer, tmp_path: Path
) -> None:
    """By a schema or its file; instants and decimals as numbers, as text, or as Python's own."""
    file = tmp_path / "order.avsc"
    file.write_text(json.dumps(SCHEMA))
    producer.add("notes", {"id": 1, "at": 5, "total": None}, schema=file)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    producer.add("notes", {"id": 2, "at": at, "total": Decimal("12.50")}, schema=SCHEMA)
    producer.add("notes", {"id": 2, "at": "2026-01-01T00:00:00.000Z", "total": "12.50"}, schema=SCHEMA)
    producer.add("notes", {"id": 2, "at": at, "total": "12.5"}, schema=SCHEMA)
    producer.flush()

    orders = []
    for message in read(sandbox, 4):
        magic, schema_id, avro = _parts(message.value() or b"")
        assert (0, sandbox.registry.register("notes-value", SCHEMA)) == (magic, schema_id)
        orders.append(fastavro.schemaless_reader(BytesIO(avro), fastavro.parse_schema(SCHEMA), None))
    assert [{"id": 2, "at": at, "total": Decimal("12.50")}] * 3 == orders[1:]


def _parts(value: bytes) -> tuple[int, int, bytes]:
    return value[0], int.from_bytes(value[1:5], "big"), value[5:]


def test_python_s_own_values_stand_beside_text(sandbox: Sandbox, producer: RecordProducer) -> None:
    """Each becomes what the bridge makes of its bytes, whatever way its neighbours are given."""
    types = {
        "total": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        "at": {"type": "long", "logicalType": "timestamp-micros"},
        "local": {"type": "long", "logicalType": "local-timestamp-millis"},
        "day": {"type": "int", "logicalType": "date"},
        "clock": {"type": "int", "logicalType": "time-millis"},
        "id": {"type": "string", "logicalType": "uuid"},
        "raw": {"type": "array", "items": "bytes"},
    }
    fields = [{"name": name, "type": type_} for name, type_ in types.items()]
    schema = {"type": "record", "name": "R", "fields": fields}
    text = {
        "total": "12.50",
        "at": "2026-01-01T10:00:00.000001Z",
        "local": "2026-01-01T10:00:00.000",
        "day": "2026-01-01",
        "clock": "10:00:00.000",
        "id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "raw": ["AP8="],
    }
    own = {
        "total": Decimal("12.5"),
        "at": datetime(2026, 1, 1, 11, 0, 0, 1, tzinfo=timezone(timedelta(hours=1))),
        "local": datetime(2026, 1, 1, 10),  # noqa: DTZ001 - it has none
        "day": date(2026, 1, 1),
        "clock": time(10),
        "id": UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        "raw": [b"\x00\xff"],
    }
    producer.add("notes", text, schema=schema)
    for name, value in own.items():
        producer.add("notes", text | {name: value}, schema=schema)
    producer.flush()

    assert 1 == len({message.value() for message in read(sandbox, len(own) + 1)})


def test_a_value_that_does_not_fit_is_told_by_its_field(producer: RecordProducer) -> None:
    """With what the field wants, and without the value."""
    with pytest.raises(ValueError, match=r"^id: must be a whole .*; at: must be a time in UTC") as caught:
        producer.add("notes", {"id": CANARY, "at": CANARY, "total": None}, schema=SCHEMA)

    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("schema", [{"type": "recrod"}, {"type": "enum", "name": "A"}, 7])
def test_a_schema_that_is_none_is_refused(producer: RecordProducer, schema: Any) -> None:
    """Before anything is produced."""
    with pytest.raises(ValueError, match="schema"):
        producer.add("notes", {}, schema=schema)


def test_a_broker_that_is_down_is_told_within_seconds(
    sandbox: Sandbox, producer: RecordProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test does not wait for ever for a broker that it took down itself."""
    monkeypatch.setattr("connector.sandbox.producer.DELIVERY_TIMEOUT_S", 1.0)
    producer = RecordProducer(sandbox.broker.bootstrap, sandbox.registry.url)
    sandbox.set_kafka_down(down=True)
    producer.add("notes", "text")

    with pytest.raises(UnavailableError, match="does not take the records"):
        producer.flush()
