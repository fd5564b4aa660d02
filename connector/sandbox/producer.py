"""Producing records for a bridge in the sandbox: JSON, text, bytes, or Avro in any framing."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import fastavro
import orjson
import urllib3
from confluent_kafka import KafkaError, Message, Producer
from fastavro.schema import SchemaParseException
from fastavro.validation import ValidationError, validate

from connector.errors import UnavailableError
from connector.sandbox.framings import RegisteredSchema, WrittenFraming, framed

DELIVERY_TIMEOUT_S = 10.0
"""The broker may take so long for a record."""

Value: TypeAlias = Any
"""Bytes as they are, text as UTF-8, None for a tombstone; anything else as JSON."""
Schema: TypeAlias = Mapping[str, Any] | list[Any] | str | Path
"""An Avro schema: as the JSON document it is, or the path of its file."""


class RecordProducer:
    """Produces to one broker; schemas are registered under `TOPIC-value`. Call `flush` in the end."""

    def __init__(self, bootstrap: str, registry_url: str) -> None:
        self._registry_url = registry_url
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "message.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000),
                "log_level": 0,
            }
        )
        self._schemas: dict[tuple[str, bytes], tuple[RegisteredSchema, Any]] = {}
        """By topic and text: what the registry says of it, and the schema as fastavro wants it."""
        self._failed: KafkaError | None = None

    def add(
        self,
        topic: str,
        value: Value,
        *,
        key: Value = None,
        headers: Mapping[str, str | bytes] | None = None,
        schema: Schema | None = None,
        framing: WrittenFraming = "confluent",
    ) -> None:
        """Produce a record; with a `schema` its value is Avro, in this framing.

        Raises:
            ValueError: the value does not fit the schema, or the schema is none. Names fields, but no value.
            UnavailableError: the registry does not answer.
        """
        encoded, own_headers = (
            (as_bytes(value), {}) if schema is None else self._avro(topic, value, schema, framing)
        )
        while True:
            try:
                self._producer.produce(
                    topic,
                    encoded,
                    as_bytes(key),
                    headers={**(headers or {}), **own_headers},
                    on_delivery=self._on_delivery,
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                break
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until the broker has every record.

        Raises:
            UnavailableError: it does not take them.
        """
        left = self._producer.flush(DELIVERY_TIMEOUT_S + 1)
        failed, self._failed = self._failed, None
        if failed is not None or left:
            why = "it does not answer" if failed is None else failed.str()
            raise UnavailableError(f"The sandbox's broker does not take the records: {why}.")

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        self._failed = self._failed or error

    def _avro(
        self, topic: str, value: Value, schema: Schema, framing: WrittenFraming
    ) -> tuple[bytes, Mapping[str, bytes]]:
        registered, parsed = self._registered(topic, schema)
        try:
            validate(value, parsed, raise_errors=True)
        except ValidationError as error:
            raise ValueError("; ".join(dict.fromkeys(map(_unfit, error.errors)))) from None
        out = BytesIO()
        fastavro.schemaless_writer(out, parsed, value)
        return framed(framing, registered, out.getvalue())

    def _registered(self, topic: str, schema: Schema) -> tuple[RegisteredSchema, Any]:
        text = Path(schema).read_bytes() if isinstance(schema, str | Path) else orjson.dumps(schema)
        if (topic, text) not in self._schemas:
            try:
                document = orjson.loads(text)
                parsed = fastavro.parse_schema(document)
            except (SchemaParseException, KeyError, TypeError, ValueError) as error:
                raise ValueError(f"the schema cannot be used: {type(error).__name__}: {error}") from error
            url = f"{self._registry_url}/subjects/{topic}-value/versions"
            asked = {"schema": orjson.dumps(document).decode()}
            try:
                answer = urllib3.request("POST", url, json=asked, timeout=DELIVERY_TIMEOUT_S, retries=False)
            except urllib3.exceptions.HTTPError as error:
                raise UnavailableError(
                    f"The sandbox's registry does not answer at {self._registry_url}."
                ) from error
            if answer.status != 200:
                raise UnavailableError(f"The sandbox's registry refuses the schema: {answer.data.decode()}")
            found = answer.json()
            self._schemas[topic, text] = RegisteredSchema(document, found["id"], found["guid"]), parsed
        return self._schemas[topic, text]


def as_bytes(value: Value) -> bytes | None:
    """The bytes of a key or value: see `Value`.

    Raises:
        ValueError: it cannot be written as JSON.
    """
    if value is None or isinstance(value, bytes):
        return value
    try:
        return value.encode() if isinstance(value, str) else orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise ValueError(f"it cannot be written as JSON: {error}") from error


def _unfit(found: Any) -> str:
    """Say which field wants what; the value stays out of it."""
    wanted = found.schema
    if isinstance(wanted, Mapping):
        wanted = wanted.get("logicalType") or wanted.get("name") or wanted["type"]
    return f"{found.field or 'the record'} must be {wanted}"
