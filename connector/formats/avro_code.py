"""Writes the Python function that reads values of one Avro schema.

For every value fastavro asks the schema what to read, and calls back where JSON has another form for it. Code
that is written once for the schema has asked before: it is nothing but reads and conversions, one after the
other, and takes half the time. It knows the usual forms only. On anything else, damaged bytes above all, it
raises some exception, and the caller has fastavro read the same bytes. So a value that comes out is the one
that fastavro gives, and every refusal is fastavro's.

https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from struct import Struct
from typing import Any, TypeAlias

from connector.code import Code
from connector.formats.avro_types import conversion
from connector.model import Json

Read: TypeAlias = Callable[[bytes, int], Json]

MAX_TYPES = 1_000
"""Types of a schema for which code is written, each counted wherever it is used. One compiles in 50 µs."""
MAX_LOOPS = 15
"""Arrays and maps within each other. Python compiles 20 loops at most."""
MAX_DEPTH = 60
"""Loops and branches within each other. Python reads 100 levels of indentation at most."""
MAX_BRANCHES = 64
"""Of a union; the number of each takes one byte."""


def reader_of(schema: Any, named: Mapping[str, Any]) -> Read | None:
    """Make the function for a schema as fastavro parsed it, with its named types; None where none is written.

    It reads the value that stands between a position and the end of the bytes, and raises any exception for
    what it does not know. What `avro_limits` does not find harmless may make it loop as often as it says.
    """
    code = code_of(schema, named)
    return None if code is None else code.function()


def code_of(schema: Any, named: Mapping[str, Any]) -> Code | None:
    """Write the function; None where it would be too long or too deep, or a type contains itself."""
    writer = _SchemaWriter(named)
    try:
        value = writer.value(schema, 1)
    except _TooMuchError:
        return None
    writer.code.write("if p != len(b):", "    raise ValueError", f"return {value}")
    return writer.code


class _TooMuchError(Exception):
    """The code would be too long, or without end."""


def _varint(b: bytes, p: int) -> tuple[int, int]:
    """A number of two bytes or more, its sign still in the last bit, and the position after it."""
    # The last bit of each byte says that another one follows, and is taken off with it.
    number = b[p] + (b[p + 1] << 7) - 0x80
    if b[p + 1] < 128:
        return number, p + 2
    number += (b[p + 2] << 14) - 0x4000
    if b[p + 2] < 128:
        return number, p + 3
    number -= 0x200000
    p += 3
    shift = 21
    while (byte := b[p]) > 127:
        number += (byte - 128) << shift
        shift += 7
        p += 1
    if shift > 56:
        raise ValueError  # over 63 bits
    return number + (byte << shift), p + 1


def _length(b: bytes, p: int) -> tuple[int, int]:
    """The same for a length, which has no sign; of one byte only where it has one."""
    number, p = _varint(b, p)
    if number & 1:
        raise ValueError
    return number >> 1, p


def _count(b: bytes, p: int) -> tuple[int, int]:
    """The number of items in the next block; before those of a negative one stands their size in bytes."""
    number, p = _number(b, p)
    if number & 1:
        return (number + 1) >> 1, _number(b, p)[1]
    return number >> 1, p


def _number(b: bytes, p: int) -> tuple[int, int]:
    return (b[p], p + 1) if b[p] < 128 else _varint(b, p)


class _SchemaWriter:
    """Writes one function. `b` are the bytes in it, `p` is the position, `n` the number read last."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self.code = Code("read", "b, p", {"varint": _varint, "length": _length, "count": _count})
        self._types = 0
        self._named = named
        self._inside: list[str] = []
        """Named types that are being written."""
        self._loops = 0

    def value(self, schema: Any, depth: int) -> str:
        """Write what reads a value; gives the expression that has it then."""
        self._types += 1
        if self._types > MAX_TYPES or depth > MAX_DEPTH:
            raise _TooMuchError
        if isinstance(schema, list):
            return self._union(schema, depth)
        kind = schema if isinstance(schema, str) else schema["type"]
        if kind in self._named:
            return self._definition(kind, self._named[kind], depth)
        if isinstance(schema, dict) and "name" in schema:
            return self._definition(schema["name"], schema, depth)
        return self._converted(kind, schema, self._plain(kind, schema, depth), depth)

    def _definition(self, name: str, schema: Any, depth: int) -> str:
        if name in self._inside:
            raise _TooMuchError
        self._inside.append(name)
        value = self._converted(schema["type"], schema, self._plain(schema["type"], schema, depth), depth)
        self._inside.pop()
        return value

    def _plain(self, kind: str, schema: Any, depth: int) -> str:
        match kind:
            case "null":
                return "None"
            case "record":
                fields = [(field["name"], self.value(field["type"], depth)) for field in schema["fields"]]
                return "{" + ", ".join(f"{name!r}: {value}" for name, value in fields) + "}"
            case "array":
                return self._array(schema, depth)
            case "map":
                return self._map(schema, depth)
            case "int" | "long":
                self._number(depth)
                return self._stored("(n >> 1) ^ -(n & 1)", depth)
            case "string":
                return self._bytes("b[p:e].decode()", depth)
            case "bytes":
                return self._bytes("b[p:e]", depth)
            case "fixed":
                self._write(depth, f"e = p + {schema['size']}", "if e > len(b):", "    raise ValueError")
                value = self._stored("b[p:e]", depth)
                self._write(depth, "p = e")
                return value
            case "float" | "double":
                form = Struct("<f" if kind == "float" else "<d")
                self.code.names[kind] = form.unpack_from
                value = self._stored(f"{kind}(b, p)[0]", depth)
                self._write(depth, f"p += {form.size}")
                return value
            case "boolean":
                self._write(depth, "n = b[p]", "p += 1", "if n > 1:", "    raise ValueError")
                return self._stored("n == 1", depth)
            case "enum":
                self._length(depth)
                return self._stored(f"{self.code.constant(tuple(schema['symbols']))}[n]", depth)
        raise _TooMuchError

    def _converted(self, kind: str, schema: Any, value: str, depth: int) -> str:
        convert = conversion(kind, schema)
        if convert is None:
            return value
        call = f"{self.code.constant(convert)}({value}, {self.code.constant(schema)}, None)"
        if kind in {"float", "double"}:
            # Only what is not finite has another form. A number minus itself is 0, or no number.
            self._write(depth, f"if {value} - {value} != 0.0:", f"    {value} = {call}")
            return value
        return self._stored(call, depth)

    def _union(self, branches: list[Any], depth: int) -> str:
        value = self.code.variable()
        self._write(depth, "n = b[p]", "p += 1")
        for number, branch in enumerate(islice(branches, MAX_BRANCHES)):
            self._write(depth, f"{'elif' if number else 'if'} n == {2 * number}:")
            self._write(depth + 1, f"{value} = {self.value(branch, depth + 1)}")
        self._write(depth, "else:", "    raise ValueError")
        return value

    def _array(self, schema: Any, depth: int) -> str:
        items = self._stored("[]", depth)
        with_item = self._blocks(depth)
        self._write(with_item, f"{items}.append({self.value(schema['items'], with_item)})")
        self._end_of_block(depth)
        return items

    def _map(self, schema: Any, depth: int) -> str:
        entries = self._stored("{}", depth)
        with_entry = self._blocks(depth)
        key = self._bytes("b[p:e].decode()", with_entry)
        self._write(with_entry, f"{entries}[{key}] = {self.value(schema['values'], with_entry)}")
        self._end_of_block(depth)
        return entries

    def _blocks(self, depth: int) -> int:
        """Write the loops over the blocks of an array or map; gives the depth of what reads one item."""
        self._loops += 1
        if self._loops > MAX_LOOPS:
            raise _TooMuchError
        self._length(depth, "count")
        self._write(depth, "while n:", "    for _ in range(n):")
        return depth + 2

    def _end_of_block(self, depth: int) -> None:
        self._loops -= 1
        self._length(depth + 1, "count")

    def _number(self, depth: int) -> None:
        self._write(depth, "n = b[p]", "p += 1", "if n > 127:", "    n, p = varint(b, p - 1)")

    def _length(self, depth: int, otherwise: str = "length") -> None:
        # Most are below 64: one byte, without sign.
        self._write(depth, "n = b[p]", "p += 1", "if n & 129:")
        self._write(depth + 1, f"n, p = {otherwise}(b, p - 1)")
        self._write(depth, "else:", "    n >>= 1")

    def _bytes(self, expression: str, depth: int) -> str:
        self._length(depth)
        self._write(depth, "e = p + n")
        value = self._stored(expression, depth)
        self._write(depth, "p = e")
        return value

    def _stored(self, expression: str, depth: int) -> str:
        return self.code.stored(expression, depth=depth)

    def _write(self, depth: int, *lines: str) -> None:
        self.code.write(*lines, depth=depth)
