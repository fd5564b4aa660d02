"""Avro's binary encoding: bytes → values, one closure for each node of a schema.

Each closure is `(bytes, position) -> (value, next position)`; `avro_reader` puts them together. Bytes that
somebody else wrote cannot do harm here: lengths, counts and indexes are checked, depth ends in a
RecursionError (nothing recurses in C), and the number of values in a record has a limit.

They raise DecodeError for what breaks a rule, and IndexError or struct.error where the bytes end too early.
On the way out every enclosing closure adds its step of the path to the error as a note, which costs the
records that are well formed nothing.

https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from connector.avro_logical import Convert
from connector.errors import Code, DecodeError
from connector.model import Json

Read: TypeAlias = Callable[[bytes, int], "tuple[Any, int]"]
"""Gives the value at a position and the position after it."""

MAX_VALUES = 500_000
"""The most values (fields, items, entries, nested records) in a record. Each takes two bytes of JSON or
more, and an event has at most 1,000,000, so more could not be sent. Reading as many takes half a second."""

_FLOAT = struct.Struct("<f").unpack_from
_DOUBLE = struct.Struct("<d").unpack_from


def _broken(rule: str) -> DecodeError:
    return DecodeError("avro_invalid", f"{rule}. Was it written with another schema?")


def _too_many() -> DecodeError:
    return DecodeError("avro_invalid", f"the record holds more than {MAX_VALUES:,} values")


def _varint(buffer: bytes, pos: int, first: int) -> tuple[int, int]:
    """Give the unsigned number whose first byte said that there are more, and the position after it."""
    number = first & 0x7F
    shift = 7
    while True:
        byte = buffer[pos]
        pos += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise _broken("a number is longer than ten bytes")
    if number >> 64:
        raise _broken("a number is longer than 64 bits")
    return number, pos


def read_null(_: bytes, pos: int) -> tuple[None, int]:
    return None, pos


def _read_boolean(buffer: bytes, pos: int) -> tuple[bool, int]:
    byte = buffer[pos]
    if byte > 1:
        raise _broken("a boolean is neither 0 nor 1")
    return byte == 1, pos + 1


def _read_long(buffer: bytes, pos: int) -> tuple[int, int]:
    number = buffer[pos]
    pos += 1
    if number > 0x7F:
        number, pos = _varint(buffer, pos, number)
    return (number >> 1) ^ -(number & 1), pos


def _read_int(buffer: bytes, pos: int) -> tuple[int, int]:
    number = buffer[pos]
    pos += 1
    if number > 0x7F:
        number, pos = _varint(buffer, pos, number)
        if number >> 32:
            raise _broken("an int is longer than 32 bits")
    return (number >> 1) ^ -(number & 1), pos


def _read_float(buffer: bytes, pos: int) -> tuple[float, int]:
    return _FLOAT(buffer, pos)[0], pos + 4


def _read_double(buffer: bytes, pos: int) -> tuple[float, int]:
    return _DOUBLE(buffer, pos)[0], pos + 8


def _read_bytes(buffer: bytes, pos: int) -> tuple[bytes, int]:
    length, pos = _read_long(buffer, pos)
    if length < 0:
        raise _broken("a length is negative")
    end = pos + length
    if end > len(buffer):
        raise IndexError
    return buffer[pos:end], end


def _read_string(buffer: bytes, pos: int) -> tuple[str, int]:
    length = buffer[pos]
    pos += 1
    if length > 0x7F:
        length, pos = _varint(buffer, pos, length)
    if length & 1:
        raise _broken("a length is negative")
    end = pos + (length >> 1)
    if end > len(buffer):
        raise IndexError
    return str(buffer[pos:end], "utf-8"), end


PRIMITIVES: dict[str, Read] = {
    "null": read_null,
    "boolean": _read_boolean,
    "int": _read_int,
    "long": _read_long,
    "float": _read_float,
    "double": _read_double,
    "bytes": _read_bytes,
    "string": _read_string,
}


def fixed(size_bytes: int) -> Read:
    def read(buffer: bytes, pos: int) -> tuple[bytes, int]:
        end = pos + size_bytes
        if end > len(buffer):
            raise IndexError
        return buffer[pos:end], end

    return read


def converted(raw: Read, convert: Convert) -> Read:
    """Read a value and convert it."""
    if raw in (_read_int, _read_long):
        return _converted_long(convert)
    if raw is _read_bytes:
        return _converted_bytes(convert)

    def read(buffer: bytes, pos: int) -> tuple[Json, int]:
        value, pos = raw(buffer, pos)
        return convert(value), pos

    return read


# Times and amounts are in most records: reading them is written out once more, which saves a call.


def _converted_long(convert: Convert) -> Read:
    def read(buffer: bytes, pos: int) -> tuple[Json, int]:
        number = buffer[pos]
        pos += 1
        if number > 0x7F:
            number, pos = _varint(buffer, pos, number)
        return convert((number >> 1) ^ -(number & 1)), pos

    return read


def _converted_bytes(convert: Convert) -> Read:
    def read(buffer: bytes, pos: int) -> tuple[Json, int]:
        length = buffer[pos]
        pos += 1
        if length > 0x7F:
            length, pos = _varint(buffer, pos, length)
        if length & 1:
            raise _broken("a length is negative")
        end = pos + (length >> 1)
        if end > len(buffer):
            raise IndexError
        return convert(buffer[pos:end]), end

    return read


def enum(name: str, symbols: Sequence[str | None]) -> Read:
    """Read an enum; None stands for a symbol that the reader schema lacks."""

    def read(buffer: bytes, pos: int) -> tuple[str, int]:
        index = buffer[pos]
        pos += 1
        if index > 0x7F:
            index, pos = _varint(buffer, pos, index)
        if index & 1 or index >> 1 >= len(symbols):
            raise _broken(f"the enum {name} has {len(symbols)} symbols, and this is another one")
        symbol = symbols[index >> 1]
        if symbol is None:
            raise DecodeError("schema_invalid", f"the enum {name} of the reader schema lacks a symbol")
        return symbol, pos

    return read


def nullable(inner: Read, *, null_byte: int) -> Read:
    inner_byte = 2 - null_byte

    def read(buffer: bytes, pos: int) -> tuple[Any, int]:
        byte = buffer[pos]
        if byte == null_byte:
            return None, pos + 1
        if byte == inner_byte:
            return inner(buffer, pos + 1)
        raise _broken("a union has 2 branches, and this is another one")

    return read


def branched(branches: Sequence[Read]) -> Read:
    def read(buffer: bytes, pos: int) -> tuple[Any, int]:
        index, pos = _read_long(buffer, pos)
        if not 0 <= index < len(branches):
            raise _broken(f"a union has {len(branches)} branches, and this is another one")
        return branches[index](buffer, pos)

    return read


def refused(code: Code, rule: str) -> Read:
    """Refuse whatever value is there."""

    def read(_buffer: bytes, _pos: int) -> tuple[Any, int]:
        raise DecodeError(code, rule)

    return read


def _read_block_count(buffer: bytes, pos: int, left: list[int]) -> tuple[int, int]:
    count, pos = _read_long(buffer, pos)
    if count < 0:  # then the block's size in bytes follows, for those who skip it
        count = -count
        _, pos = _read_long(buffer, pos)
    left[0] -= count
    if left[0] < 0:
        raise _too_many()
    return count, pos


def array_of(item: Read, left: list[int]) -> Read:
    def read(buffer: bytes, pos: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        try:
            while buffer[pos]:  # a block of no items ends the array
                count, pos = _read_block_count(buffer, pos, left)
                for _ in range(count):
                    value, pos = item(buffer, pos)
                    items.append(value)
        except Exception as error:
            error.add_note(f"[{len(items)}]")
            raise
        return items, pos + 1

    return read


def map_of(value_of: Read, left: list[int]) -> Read:
    def read(buffer: bytes, pos: int) -> tuple[dict[str, Any], int]:
        entries: dict[str, Any] = {}
        try:
            while buffer[pos]:
                count, pos = _read_block_count(buffer, pos, left)
                for _ in range(count):
                    key, pos = _read_string(buffer, pos)
                    entries[key], pos = value_of(buffer, pos)
        except Exception as error:
            error.add_note("[*]")  # never the key: it belongs to the record
            raise
        return entries, pos + 1

    return read


def record(fields: Sequence[tuple[str, Read]], left: list[int]) -> Read:
    fields = tuple(fields)
    count = 1 + len(fields)

    def read(buffer: bytes, pos: int) -> tuple[dict[str, Any], int]:
        left[0] -= count
        if left[0] < 0:
            raise _too_many()
        values: dict[str, Any] = {}
        name = ""
        try:
            for name, field in fields:
                values[name], pos = field(buffer, pos)
        except Exception as error:
            error.add_note(f".{name}")
            raise
        return values, pos

    return read


def resolved_record(
    steps: Sequence[tuple[str | None, Read]],
    defaults: dict[str, Json],
    *,
    default_values: int,
    left: list[int],
) -> Read:
    steps = tuple(steps)
    count = 1 + len(steps) + default_values

    def read(buffer: bytes, pos: int) -> tuple[dict[str, Any], int]:
        left[0] -= count
        if left[0] < 0:
            raise _too_many()
        values: dict[str, Any] = {}
        name: str | None = None
        try:
            for name, field in steps:
                value, pos = field(buffer, pos)
                if name is not None:
                    values[name] = value
        except Exception as error:
            error.add_note(f".{name or '(ignored field)'}")
            raise
        for name, default in defaults.items():
            values[name] = copy.deepcopy(default) if isinstance(default, dict | list) else default
        return values, pos

    return read
