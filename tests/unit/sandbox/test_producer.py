"""Records as users give them: JSON, text, bytes, tombstones, and Avro behind Confluent's five bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

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
    """By a schema or its file; instants and decimals as numbers, or as Python's own."""
    file = tmp_path / "order.avsc"
    file.write_text(json.dumps(SCHEMA))
    producer.add("notes", {"id": 1, "at": 5, "total": None}, schema=file)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    producer.add("notes", {"id": 2, "at": at, "total": Decimal("12.50")}, schema=SCHEMA)
    producer.flush()

    orders = []
    for message in read(sandbox, 2):
        magic, schema_id, avro = _parts(message.value() or b"")
        assert (0, sandbox.registry.register("notes-value", SCHEMA)) == (magic, schema_id)
        orders.append(fastavro.schemaless_reader(BytesIO(avro), fastavro.parse_schema(SCHEMA), None))
    assert {"id": 2, "at": at, "total": Decimal("12.50")} == orders[1]


def _parts(value: bytes) -> tuple[int, int, bytes]:
    return value[0], int.from_bytes(value[1:5], "big"), value[5:]


def test_a_value_that_does_not_fit_is_told_by_its_field(producer: RecordProducer) -> None:
    """With what the field wants, and without the value."""
    with pytest.raises(ValueError, match=r"^Order.id must be int$") as caught:
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
