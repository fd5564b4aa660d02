"""Confluent's framing: a magic byte and the schema's id before the Avro bytes.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from connector.errors import DecodeError
from connector.formats.avro_schema import Compiled, Read
from connector.formats.schema_registry import SchemaRegistryClient
from connector.model import Decode, Json

_HEADER_BYTES = 5

MAX_SCHEMAS = 1_000
"""Schemas kept ready for one topic's keys or values; the oldest makes room. No topic has so many by design,
but a producer that registers one with every start, or every record, must not fill the memory."""

MAX_SCHEMAS_BYTES = 64 * 1024 * 1024
"""The memory they may take together, roughly: 250 of a hundred optional fields."""

_GUESSES = {
    0x7B: "Is a JSON producer writing to this topic?",  # {
    0x5B: "Is a JSON producer writing to this topic?",  # [
    0x01: "Is the producer writing Confluent schema GUIDs (framing version 1)?",
    0x03: "Is the producer writing AWS Glue framing?",
    0xC3: "Is the producer writing Avro single-object encoding?",
}


def confluent_decoder(
    registry: SchemaRegistryClient, compiled: Callable[[Sequence[Json], str], Compiled]
) -> Decode:
    """Give the function that decodes values in this framing, with the schemas of `registry`.

    `compiled` makes a reader of a schema and those that it refers to, by the name for its errors.
    """
    # By the header as it stands in the record: one lookup says that it is one, and which schema it names.
    readers: dict[bytes, Read] = {}
    sizes_bytes: dict[bytes, int] = {}

    def learn(value: bytes) -> Read:
        if len(value) < _HEADER_BYTES or value[0] != 0:
            raise _not_confluent(value)
        header = value[:_HEADER_BYTES]
        schema_id = int.from_bytes(header[1:], "big")
        schemas = registry.get(schema_id)
        try:
            read, size_bytes = compiled([orjson.loads(schema) for schema in schemas], f"schema {schema_id}")
            size_bytes += sum(map(len, schemas))
        except DecodeError as error:
            read, size_bytes = _refuse(str(error)), 0
        readers[header], sizes_bytes[header] = read, size_bytes
        while len(readers) > MAX_SCHEMAS or sum(sizes_bytes.values()) > MAX_SCHEMAS_BYTES:
            oldest = next(iter(readers))
            del readers[oldest], sizes_bytes[oldest]
        return read

    def decode(value: bytes) -> Json:
        read = readers.get(value[:_HEADER_BYTES]) or learn(value)
        return read(value, _HEADER_BYTES)

    return decode


def _refuse(rule: str) -> Read:
    """Refuse every record of a schema that cannot be used, without trying the schema again."""

    def read(_value: bytes, _start: int) -> Json:
        raise DecodeError("schema_invalid", rule)

    return read


def _not_confluent(value: bytes) -> DecodeError:
    if not value:
        found, guess = "it is empty", "Was a tombstone meant? That is null, not zero bytes."
    elif value[0] != 0:
        found = f"first byte 0x{value[0]:02x}, expected 0x00"
        guess = _GUESSES.get(value[0], "Is the producer using no schema registry? Then set `framing: none`.")
    else:
        found = f"{len(value)} bytes, expected a header of {_HEADER_BYTES}"
        guess = "Was it cut off?"
    return DecodeError("framing_invalid", f"not Confluent Avro: {found}. {guess}")
