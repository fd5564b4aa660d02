"""Wire formats: the bytes of a record's key or value → JSON-able values.

What a producer put around the value (the framing) is known here; Avro itself is in the modules `avro_*`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias, TypeVar

import orjson

from connector import config
from connector.avro_logical import base64_text
from connector.avro_reader import Compiled, Read, compile_reader, reader_schema
from connector.avro_walk import MAX_VALUES
from connector.errors import ConfigError, DecodeError, Problem
from connector.model import Json
from connector.schema_registry import SchemaRegistry

Decode: TypeAlias = Callable[[bytes], Json]
"""Gives the value, or raises DecodeError, or UnavailableError while the schema is not at hand."""

T = TypeVar("T")

_HEADER_BYTES = 5

MAX_SCHEMAS = 1_000
"""Schemas kept ready for one topic's keys or values; the oldest makes room. No topic has so many by design,
but a producer that registers one with every start, or every record, must not fill the memory."""

MAX_SCHEMAS_BYTES = 64 * 1024 * 1024
"""How much memory they may take, all together, roughly: 250 of a hundred optional fields."""

_GUESSES = {
    0x7B: "Is a JSON producer writing to this topic?",  # {
    0x5B: "Is a JSON producer writing to this topic?",  # [
    0x01: "Is the producer writing Confluent schema GUIDs (framing version 1)?",
    0x03: "Is the producer writing AWS Glue framing?",
    0xC3: "Is the producer writing Avro single-object encoding?",
}

_MIN_LONG, _MAX_UNSIGNED = -(2**63), 2**64 - 1
_ALL_DIGITS_0 = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * 19

_SEPARATORS = b",[{"
_VALUE = re.compile(rb'[^",\[{]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?+[^",\[{]*+)*+(?:[,\[{]|\Z)', re.DOTALL)
"""Up to the next separator that is not within text."""


def decoder(format: config.Format, registry: SchemaRegistry | None, *, path: str) -> Decode:  # noqa: A002
    """Give the function that decodes what `format` describes. It is for one thread at a time.

    `path` is where the format stands in the configuration, as `topics.orders.value`. `registry` is
    needed for Avro with framing `confluent`.

    Raises:
        ConfigError: a schema file cannot be read or is not a schema, or the registry is missing.
    """
    match format.format:
        case "json":
            return _decode_json
        case "string":
            return _decode_string
        case "bytes":
            return base64_text
        case "avro":
            return _avro(format, registry, path)


def _avro(format: config.Format, registry: SchemaRegistry | None, path: str) -> Decode:  # noqa: A002
    problems: list[Problem] = []

    def of_file(file: Path | None, key: str, use: Callable[[Json], T]) -> T | None:
        try:
            return None if file is None else use(orjson.loads(file.read_bytes()))
        except (OSError, ValueError, DecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            problems.append(Problem(f"{path}.{key}", f"{file} is not a usable Avro schema: {reason}"))
            return None

    reader = of_file(
        format.reader_schema,
        "reader_schema",
        lambda schema: reader_schema(schema, non_finite=format.non_finite),
    )
    compiled = partial(compile_reader, reader=reader, non_finite=format.non_finite)
    if format.schema_file is not None:
        name = f"schema {format.schema_file.name}"
        found = of_file(format.schema_file, "schema", lambda schema: compiled([schema], name=name))
        if found is not None and not problems:
            read = found.read
            return lambda value: read(value, 0)
    elif registry is None:
        problems.append(Problem(path, "Avro needs `schema_registry`, or framing `none` and a schema"))
    if problems or registry is None:
        raise ConfigError(problems)
    return _confluent(registry, lambda schemas, name: compiled(schemas, name=name))


def _confluent(registry: SchemaRegistry, compiled: Callable[[Sequence[Json], str], Compiled]) -> Decode:
    # By the header as it stands in the record: one look-up says that it is one, and which schema it names.
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


def _decode_string(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(
            "text_invalid",
            f"not UTF-8 text: an invalid byte at {error.start} of {len(value)}. "
            "Is it binary? Then set `format: bytes`.",
        ) from None


def _decode_json(value: bytes) -> Json:
    if len(value) > MAX_VALUES:  # fewer bytes cannot hold more values
        _check_values(value)
    try:
        decoded: Json = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        guess = " Is an Avro producer writing to this topic?" if value[:1] == b"\0" else ""
        raise DecodeError(
            "json_invalid", f"not JSON: {error.msg}, at {error.pos} of {len(value)}.{guess}"
        ) from None
    # orjson makes a float of an integer that is too long for it, and digits are lost in silence.
    # Looking for 19 digits first costs a tenth of what a regular expression does.
    if _LONG_NUMBER not in value.translate(_ALL_DIGITS_0):
        return decoded
    del decoded  # two at once would take twice the memory
    try:
        decoded = json.loads(value, parse_int=_int)
    except RecursionError:
        raise DecodeError("json_invalid", "not usable JSON: it is nested too deeply.") from None
    return decoded


def _check_values(value: bytes) -> None:
    """Refuse JSON with more values than an event could hold: each may take forty times its bytes in memory.

    A value has a separator before it; an empty list or object counts as two. Most large JSON has few
    separators, in and outside of text, and only what has many is looked at more closely.
    """
    if len(value) - len(value.translate(None, _SEPARATORS)) <= MAX_VALUES:
        return
    if sum(1 for _ in islice(_VALUE.finditer(value), MAX_VALUES + 1)) > MAX_VALUES:
        raise DecodeError("json_invalid", f"not usable JSON: it holds more than {MAX_VALUES:,} values.")


def _int(digits: str) -> int:
    if len(digits) > 20 or not _MIN_LONG <= (number := int(digits)) <= _MAX_UNSIGNED:
        raise DecodeError(
            "value_out_of_range", "an integer is beyond 64 bits. Let the producer write it as a string."
        )
    return number
