"""Walks over Avro bytes, for the schemas with which bytes could do harm to a reader that trusts them.

fastavro's compiled reader recurses on the C stack as deep as the bytes say, and makes as many values. For
most schemas each value takes about a byte, and there is nothing to fear. With a recursive type, or items
that take no bytes or stand for long text, a few bytes can end the process. This walk comes first then: it
makes nothing, and refuses depth, counts, lengths and numbers beyond the limits.

https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from connector.errors import DecodeError
from connector.formats.avro_types import MAX_SCALE

MAX_VALUES = 500_000
"""The most values (fields, items, entries, nested records) in a record. Each takes two bytes of JSON or
more, and an event has at most 1,000,000, so more could not be sent. Walking as many takes half a second."""

MAX_DEPTH = 250
"""The deepest nesting of records, arrays and maps; orjson writes 254 levels."""

VALUES_PER_BYTE = 8
"""Values for each of its bytes that a record may have without a walk."""

NO_BYTES_COUNTS = 50
"""An item that takes no bytes counts as so many values: 10,000 of them are the most in a record. They cost
the producer nothing, and each costs a rule that reads it a microsecond or two."""

TEXT_COUNTS = 16
"""So many characters of JSON count as one more value, where they are not in the bytes: the names of a
record's fields, an enum's symbol, a decimal's digits."""

Skip: TypeAlias = Callable[[bytes, int, int], int]
"""Takes bytes, the position of a value, and its depth; gives the position after it."""


class Walk(NamedTuple):
    """A check that a record is harmless, before it is read."""

    above_bytes: float
    """Records of this schema that are no longer than this are harmless, whatever is in them."""
    check: Callable[[bytes, int], None]
    """Raises DecodeError `avro_invalid`, or IndexError where the bytes end too early."""


def walk_of(schema: Any, names: Mapping[str, Any], *, default_values: int) -> Walk:
    """Give the walk for a schema as fastavro parsed it, with its named types.

    `default_values` are added to each record: so many values can the defaults of a reader schema be.
    """
    budget = _Budget()
    node = _Compiler(names, default_values, budget).node(schema)

    def check(buffer: bytes, start: int) -> None:
        budget.left = MAX_VALUES
        node.skip(buffer, start, 0)

    surplus = node.surplus if node.height <= MAX_DEPTH else math.inf
    return Walk((MAX_VALUES - surplus) / VALUES_PER_BYTE, check)


class _Node(NamedTuple):
    skip: Skip
    surplus: float
    """By how much its values can outnumber its bytes times VALUES_PER_BYTE."""
    least_bytes: int = 1
    height: int = 0
    """Its levels of records, arrays and maps."""


class _Budget:
    """The values that the current record may still hold. For one thread at a time."""

    def __init__(self) -> None:
        self.left = MAX_VALUES

    def enter(self, count: int, depth: int) -> None:
        self.left -= count
        if self.left < 0:
            rule = "values; one that takes no bytes, or stands for long text, counts as several"
            raise DecodeError("avro_invalid", f"the record holds more than {MAX_VALUES:,} {rule}")
        if depth > MAX_DEPTH:
            raise DecodeError("avro_invalid", f"the value is nested more than {MAX_DEPTH} levels deep")


class _Compiler:
    """Makes the function that skips a type.

    What it makes does not lead back to it or the schema: cycles would keep schemas that are not used any
    more in memory until the garbage collector runs, and a large one takes 30 MB.
    """

    def __init__(self, names: Mapping[str, Any], default_values: int, budget: _Budget) -> None:
        self._enter = budget.enter
        self._names = names
        self._default_values = default_values
        self._named: dict[str, _Node] = {}
        self._leaves: dict[tuple[Skip, int], _Node] = {}

    def node(self, schema: Any) -> _Node:
        if isinstance(schema, list):
            return self._union([self.node(branch) for branch in schema])
        kind = schema if isinstance(schema, str) else schema["type"]
        match kind:
            case "record":
                return self._record(schema)
            case "array":
                return self._blocks(self.node(schema["items"]), _skip_nothing, 0)
            case "map":
                return self._blocks(self.node(schema["values"]), _skip_text, 1)
            case "fixed":
                return self._leaf(schema, _skip_fixed(schema["size"]), schema["size"])
            case "boolean":
                return self._leaf(schema, _skip_boolean)
            case "enum" | "int":
                return self._leaf(schema, _skip_int)
            case "long":
                return self._leaf(schema, _skip_long)
            case "bytes" | "string":
                return self._leaf(schema, _skip_text)
            case "null" | "float" | "double":
                return self._leaf(schema, *_WIDTHS[kind])
        if kind not in self._named:
            self._named[kind] = self.node(self._names[kind])
        return self._named[kind]

    def _leaf(self, schema: Any, skip: Skip, least_bytes: int = 1) -> _Node:
        more = 0 if isinstance(schema, str) else _counts_more(schema)
        if (skip, more) not in self._leaves:
            counted = self._counted(skip, more) if more else skip
            self._leaves[skip, more] = _Node(counted, 1 + more - VALUES_PER_BYTE * least_bytes, least_bytes)
        return self._leaves[skip, more]

    def _counted(self, skip: Skip, more: int) -> Skip:
        enter = self._enter

        def counted(buffer: bytes, pos: int, depth: int) -> int:
            enter(more, depth)
            return skip(buffer, pos, depth)

        return counted

    def _record(self, schema: Any) -> _Node:
        name = schema["name"]
        if name in self._named:
            return self._named[name]
        enter = self._enter
        fields: list[Skip] = []
        own = 1 + self._default_values + _counts_more(schema)
        count = own + len(schema["fields"])

        def skip(buffer: bytes, pos: int, depth: int) -> int:
            enter(count, depth)
            for field in fields:
                pos = field(buffer, pos, depth + 1)
            return pos

        # What its own fields get when they refer to it: there is no limit to what recursion makes. What
        # leads back to it is an array, a map or a union, and takes a byte.
        self._named[name] = _Node(skip, math.inf)
        nodes = [self.node(field["type"]) for field in schema["fields"]]
        fields += [node.skip for node in nodes]
        self._named[name] = _Node(
            skip,
            own + sum(node.surplus for node in nodes),
            sum(node.least_bytes for node in nodes),
            1 + max((node.height for node in nodes), default=0),
        )
        return self._named[name]

    def _blocks(self, item: _Node, skip_key: Skip, key_bytes: int) -> _Node:
        enter, skip_item = self._enter, item.skip
        counts = 1 if key_bytes or item.least_bytes else NO_BYTES_COUNTS

        def skip(buffer: bytes, pos: int, depth: int) -> int:
            while True:
                count, pos = _number(buffer, pos)
                if count == 0:
                    return pos
                end = None
                if count < 0:
                    size, pos = _number(buffer, pos)
                    count, end = -count, pos + size
                enter(count * counts, depth)
                for _ in range(count):
                    pos = skip_item(buffer, skip_key(buffer, pos, depth), depth + 1)
                if end is not None and end != pos:  # some read the items, some believe the size
                    raise _broken("a block does not have the size that it says")

        surplus = math.inf if item.surplus > VALUES_PER_BYTE * key_bytes else 1 - VALUES_PER_BYTE
        return _Node(skip, surplus, height=1 + item.height)

    def _union(self, branches: list[_Node]) -> _Node:
        skips = [branch.skip for branch in branches]

        def skip(buffer: bytes, pos: int, depth: int) -> int:
            index, pos = _number(buffer, pos)
            if not 0 <= index < len(skips):
                raise _broken(f"a union has {len(skips)} branches, and this is another one")
            return skips[index](buffer, pos, depth)

        surplus = max((branch.surplus for branch in branches), default=0) - VALUES_PER_BYTE
        return _Node(skip, surplus, height=max((branch.height for branch in branches), default=0))


def _counts_more(schema: Any) -> int:
    """The values that one of this type counts beyond the first, for its text in JSON."""
    match schema:
        case {"fields": fields}:
            scale = MAX_SCALE if "logicalType" in schema else 0  # a decimal whose scale is in the record
            return (len(json.dumps([field["name"] for field in fields])) + scale) // TEXT_COUNTS
        case {"symbols": symbols}:
            return max((len(json.dumps(symbol)) for symbol in symbols), default=0) // TEXT_COUNTS
        case {"type": "int" | "long" | "bytes" | "fixed", "logicalType": _}:
            precision: int = schema.get("precision", 0)
            return 1 + precision // TEXT_COUNTS
    return 0


def _number(buffer: bytes, pos: int) -> tuple[int, int]:
    byte = buffer[pos]
    number, shift = byte & 0x7F, 7
    while byte > 0x7F:
        pos += 1
        byte = buffer[pos]
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70 or number >> 64:
            raise _broken("a number is longer than 64 bits")
    return (number >> 1) ^ -(number & 1), pos + 1


def _skip_nothing(_buffer: bytes, pos: int, _depth: int) -> int:
    return pos


def _skip_varint(name: str, *, bits: int) -> Skip:
    last, most = divmod(bits, 7)
    most = (1 << most) - 1  # what the last byte may be, if there are so many

    def skip(buffer: bytes, pos: int, _depth: int) -> int:
        end = pos
        while buffer[end] > 0x7F:
            end += 1
            if end - pos == last and buffer[end] > most:
                raise _broken(f"a number of type {name} is longer than {bits} bits")
        return end + 1

    return skip


_skip_int, _skip_long = _skip_varint("int", bits=32), _skip_varint("long", bits=64)


def _skip_boolean(buffer: bytes, pos: int, _depth: int) -> int:
    if buffer[pos] > 1:
        raise _broken("a boolean is neither 0 nor 1")
    return pos + 1


def _skip_text(buffer: bytes, pos: int, _depth: int) -> int:
    length, pos = _number(buffer, pos)
    if length < 0:
        raise _broken("a length is negative")
    return pos + length


def _skip_fixed(size_bytes: int) -> Skip:
    return lambda _buffer, pos, _depth: pos + size_bytes


_WIDTHS = {"null": (_skip_fixed(0), 0), "float": (_skip_fixed(4), 4), "double": (_skip_fixed(8), 8)}


def _broken(rule: str) -> DecodeError:
    return DecodeError("avro_invalid", f"{rule}. Was it written with another schema?")
