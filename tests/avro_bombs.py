"""Avro bytes that would kill a careless reader, and a process of its own to read them in.

Run as a program it reads each with little memory, and prints a line of JSON for each refusal.
"""

from __future__ import annotations

import io
import json
import resource
import time
from typing import Any

import fastavro

from connector.errors import DecodeError
from connector.formats.avro_code import Read
from connector.formats.avro_schema import compile_reader
from connector.formats.avro_schema import reader_schema as parsed_reader
from connector.formats.avro_types import Forms
from connector.model import Json

MEMORY_BYTES = 1_000_000_000


def encoded(schema: Any, value: Any) -> bytes:
    """The bytes that another Avro library writes for a value."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def decoded(schema: Any, buffer: bytes, *, reader_schema: Any = None, **forms: Any) -> Json:
    """What the bytes are, or a DecodeError: the same from fastavro and from the schema's own code."""
    reader = None if reader_schema is None else parsed_reader(reader_schema, forms=Forms(**forms))

    def read(written_after: int) -> Read:
        made = compile_reader(
            [schema], reader, forms=Forms(**forms), name="schema 7", written_after=written_after
        )
        return made.read

    read_written = read(1)
    outcome(read_written, buffer)
    assert outcome(read(0), buffer) == outcome(read_written, buffer)
    return read_written(buffer, 0)


def outcome(read: Read, buffer: bytes) -> str:
    """What comes of bytes, so that it can be compared; 1, 1.0 and True differ."""
    try:
        return repr(read(buffer, 0))
    except DecodeError as error:
        return f"{error.code}: {error}"


def logical(kind: str, name: str, **more: object) -> dict[str, object]:
    return {"type": kind, "logicalType": name, **more}


def fixed(size: int, name: str | None = None, **more: object) -> dict[str, object]:
    return {"type": "fixed", "name": "F", "size": size, **({"logicalType": name} if name else {}), **more}


def record_of(*fields: dict[str, object], name: str = "R", **more: object) -> dict[str, object]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


NODE = {"type": "record", "name": "N", "fields": [{"name": "next", "type": ["null", "N"]}]}
WIDE = {"type": "record", "name": "W", "fields": [
    {"name": "b", "type": "boolean"}, *({"name": f"n{i}", "type": "null"} for i in range(1000))]}  # fmt: skip


def doubling(levels: int) -> dict[str, object]:
    """A schema of a few lines that stands for 2**levels values and no bytes."""
    inner: object = {"type": "record", "name": "R0", "fields": []}
    for level in range(1, levels + 1):
        fields = [{"name": "a", "type": inner}, {"name": "b", "type": f"R{level - 1}"}]
        inner = {"type": "record", "name": f"R{level}", "fields": fields}
    assert isinstance(inner, dict)
    return inner


def chain(levels: int) -> list[object]:
    """A flat schema whose last record has many levels: each refers to the one before."""
    records: list[object] = [record_of({"name": "b", "type": "boolean"}, name="C0")]
    for level in range(1, levels + 1):
        array = {"type": "array", "items": f"C{level - 1}"}
        records.append({"type": "record", "name": f"C{level}", "fields": [{"name": "a", "type": array}]})
    return records


BOMBS: dict[str, tuple[Any, bytes, Any]] = {
    "a list linked 5,000 times": (NODE, b"\x02" * 5_000, None),
    "a list linked a million times": (NODE, b"\x02" * 1_000_000, None),
    "lists in lists": (
        {"type": "record", "name": "L", "fields": [{"name": "l", "type": {"type": "array", "items": "L"}}]},
        b"\x02" * 100_000, None),
    "a record of itself": (record_of({"name": "n", "type": "R"}), b"", None),
    "an array of nulls": ({"type": "array", "items": "null"}, encoded("long", 2**62) + b"\x00", None),
    "an array of the most negative count": (
        {"type": "array", "items": "null"}, encoded("long", -(2**63)) + b"\x02\x00", None),
    "many blocks of nulls": (
        {"type": "array", "items": "null"}, encoded("long", 400_000) * 1000 + b"\x00", None),
    "arrays of arrays of nulls": (
        {"type": "array", "items": {"type": "array", "items": "null"}},
        encoded("long", 100_000) + (encoded("long", 100_000) + b"\x00") * 100_000 + b"\x00", None),
    "an array of empty records": (
        {"type": "array", "items": {"type": "record", "name": "E", "fields": []}},
        encoded("long", 2**40) + b"\x00", None),
    "an array of fixed of size 0": ({"type": "array", "items": fixed(0)}, encoded("long", 2**40), None),
    "an array of records of 1,000 nulls": (
        {"type": "array", "items": WIDE}, encoded("long", 100_000) + b"\x01" * 100_000 + b"\x00", None),
    "a record that doubles thirty times": (doubling(30), b"", None),
    "nulls that the reader ignores": (
        record_of({"name": "x", "type": {"type": "array", "items": "null"}}),
        encoded("long", 2**40) + b"\x00", record_of()),
    "lists that the reader ignores": (record_of({"name": "x", "type": NODE}), b"\x02" * 100_000, record_of()),
    "defaults of the reader": (
        {"type": "array", "items": record_of({"name": "b", "type": "boolean"})},
        encoded("long", 50_000) + b"\x01" * 50_000 + b"\x00",
        {"type": "array", "items": record_of(
            {"name": "l", "type": {"type": "array", "items": "int"}, "default": [0] * 1000})}),
    "lists in a chain of 300 records": (chain(300), encoded("long", 300) + b"\x02" * 300, None),
    "lists in a chain of 5,000 records": (chain(5_000), encoded("long", 5_000) + b"\x02" * 5_000, None),
    "a list in a string, behind a block that lies about its size": (
        record_of({"name": "x", "type": {"type": "array", "items": NODE}}, {"name": "s", "type": "string"}),
        b"\x01\x0a" + b"\x00\x00" + encoded("string", "\x02" * 200_000), record_of()),
    "a number of a megabyte": ("long", b"\x80" * 1_000_000 + b"\x00\x00", None),
    "a long string that is not there": ("string", encoded("long", 2**62), None),
    "a decimal of a megabyte": (
        logical("bytes", "decimal", precision=4300), encoded("bytes", b"\x7f" * 1_000_000), None),
    "a decimal of ten megabytes, with as many places as may be": (
        logical("bytes", "decimal", precision=4300, scale=4300),
        encoded("bytes", b"\x7f" * 10_000_000), None),
    "many decimals of 4,300 digits": (
        {"type": "array", "items": logical("bytes", "decimal", precision=4300)},
        encoded("long", 5_500) + encoded("bytes", b"\x7f" * 1_785) * 5_500 + b"\x00", None),
    "decimals of two bytes and 4,300 places": (
        {"type": "array", "items": logical("bytes", "decimal", precision=4300, scale=4300)},
        encoded("long", 30_000) + b"\x02\x01" * 30_000 + b"\x00", None),
    "a moment in each of 400,000 minutes": (
        {"type": "array", "items": logical("long", "timestamp-millis")},
        encoded({"type": "array", "items": "long"}, list(range(0, 24_000_000_000, 60_000))), None),
    "an enum's symbol of 100 KB, many times": (
        {"type": "array", "items": {"type": "enum", "name": "E", "symbols": ["A" * 100_000]}},
        encoded("long", 10_000) + b"\x00" * 10_001, None),
    "a field's name of 100 KB, many times": (
        {"type": "array", "items": record_of({"name": "f" * 100_000, "type": "boolean"})},
        encoded("long", 10_000) + b"\x00" * 10_001, None),
}  # fmt: skip


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for name, (schema, buffer, reader_schema) in BOMBS.items():
        started_s = time.process_time()
        try:
            decoded(schema, buffer, reader_schema=reader_schema)
        except DecodeError as error:
            print(
                json.dumps([name, error.code, time.process_time() - started_s, len(str(error))]), flush=True
            )


if __name__ == "__main__":
    main()
