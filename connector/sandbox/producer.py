"""Producing records for a bridge in the sandbox: JSON, text, bytes, or Avro in any framing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import fastavro
import orjson
import urllib3
from confluent_kafka import KafkaError, Message, Producer
from fastavro.schema import SchemaParseException
from fastavro.validation import validate

from connector.errors import DecodeError, UnavailableError
from connector.formats.avro_types import Forms, base64_text
from connector.model import Json
from connector.workbench.encoding import Encode, encoder
from connector.workbench.framings import RegisteredSchema, WrittenFraming, framed

DELIVERY_TIMEOUT_S = 10.0
"""The broker may take so long for a record."""

Value: TypeAlias = Any
"""Bytes as they are, text as UTF-8, None for a tombstone; anything else as JSON."""
Schema: TypeAlias = Mapping[str, Any] | list[Any] | str | Path
"""An Avro schema: as the JSON document it is, or the path of its file."""


class _Registered(NamedTuple):
    """A schema: what the registry says of it, as fastavro wants it, and what writes JSON with it."""

    schema: RegisteredSchema
    parsed: Any
    encode: Encode


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
        self._schemas: dict[tuple[str, bytes], _Registered] = {}
        """By topic and text."""
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

        A decimal, time or UUID is Python's own, or the text that the bridge makes of it; bytes may be base64.

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
        registered, parsed, encode = self._registered(topic, schema)
        if not validate(value, parsed, raise_errors=False):
            return framed(framing, registered, encode(_as_json(value)))
        out = BytesIO()
        fastavro.schemaless_writer(out, parsed, value)
        return framed(framing, registered, out.getvalue())

    def _registered(self, topic: str, schema: Schema) -> _Registered:
        text = Path(schema).read_bytes() if isinstance(schema, str | Path) else orjson.dumps(schema)
        if (topic, text) not in self._schemas:
            try:
                document = orjson.loads(text)
                parsed, encode = fastavro.parse_schema(document), encoder([document], Forms())
            except (SchemaParseException, DecodeError, KeyError, TypeError, ValueError) as error:
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
            registered = RegisteredSchema(document, found["id"], found["guid"])
            self._schemas[topic, text] = _Registered(registered, parsed, encode)
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


def _as_json(value: Any) -> Json:
    """Give a value in the forms that the bridge makes of Avro."""
    match value:
        case dict():
            return {key: _as_json(each) for key, each in value.items()}
        case list() | tuple():
            return [_as_json(each) for each in value]
        case bytes():
            return base64_text(value)
        case Decimal():
            return f"{value:f}"
        case datetime(tzinfo=tzinfo()):
            return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
        case date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
    json: Json = value
    return json
