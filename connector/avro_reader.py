"""Avro schemas → functions from bytes to JSON-able values, with schema resolution.

Logical types and the reader schema are decided once, when a schema is compiled, so that a record pays
only for what it holds.

Why not fastavro's compiled reader: bytes that somebody else wrote can kill the process through it. Five
kilobytes for a recursive schema overflow the C stack, and an array of nulls allocates until there is no
memory. Its result would need a second pass to become JSON, and does not say which branch of a union a
value came from. For a record of 13 fields that is 13 µs in all; here it is 15 µs, and there is one way.

https://avro.apache.org/docs/1.12.0/specification/#schema-resolution
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from connector import avro_binary as binary
from connector.avro_binary import MAX_VALUES, Read
from connector.avro_logical import NonFinite, converter
from connector.avro_schema import NO_DEFAULT, Array, Enum, Fixed, Map, Primitive, Record, Type, Union
from connector.errors import DecodeError
from connector.model import Json

_PATH_STEPS = 8

_PROMOTIONS = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}


def compile_reader(
    writer: Type, reader: Type | None, *, non_finite: NonFinite, name: str
) -> Callable[[bytes, int], Json]:
    """Give a function that reads one value, from a position to the end of the bytes.

    With a `reader` schema values come out in its shape. `name` says in messages which schema it is. The
    function is for one thread at a time. It raises DecodeError `avro_invalid`, `value_out_of_range`, or,
    for a branch of a union or a symbol that the reader schema has no place for, `schema_invalid`.

    Raises:
        DecodeError: `schema_invalid`, when the reader schema cannot read what the writer schema writes.
    """
    compiler = _Compiler(non_finite)
    try:
        read = compiler.read(writer, writer if reader is None else reader)
    except DecodeError as error:
        rule = f"{name} and the reader schema do not fit: {_at(error)}{error}"
        raise DecodeError("schema_invalid", rule) from None
    except RecursionError:
        raise DecodeError("schema_invalid", f"{name} is nested too deeply") from None
    left = compiler.left

    def read_all(buffer: bytes, start: int) -> Json:
        left[0] = MAX_VALUES
        value: Json
        try:
            value, end = read(buffer, start)
        except DecodeError as error:
            raise DecodeError(error.code, f"{_at(error)}{error} ({name})") from None
        except (IndexError, struct.error) as error:
            rule = f"{_at(error)}{len(buffer) - start} bytes are too few for {name}"
            raise DecodeError("avro_invalid", f"{rule}. Was it written with another schema?") from None
        except UnicodeDecodeError as error:
            rule = f"{_at(error)}a string is not UTF-8. Was it written with another schema? ({name})"
            raise DecodeError("avro_invalid", rule) from None
        except RecursionError:
            raise DecodeError("avro_invalid", f"the value is nested too deeply ({name})") from None
        if end != len(buffer):
            rule = f"{len(buffer) - end} bytes are left over after the value of {name}"
            raise DecodeError("avro_invalid", f"{rule}. Was it written with another schema?")
        return value

    return read_all


def _at(error: Exception) -> str:
    """Where in the value it happened: each enclosing closure left its step as a note, innermost first."""
    steps = getattr(error, "__notes__", [])[::-1]
    shown = "".join(steps[:_PATH_STEPS]).removeprefix(".") + ("…" if len(steps) > _PATH_STEPS else "")
    return f"at {shown}: " if shown else ""


class _Compiler:
    """Compiles pairs of types: as written, and as wanted. Wanted None means: read past it, unconverted."""

    def __init__(self, non_finite: NonFinite) -> None:
        self.left = [MAX_VALUES]
        """How many more values the record at hand may hold; shared by all closures of the schema."""
        self._non_finite = non_finite
        self._records: dict[tuple[int, int], Read] = {}

    def read(self, writer: Type, reader: Type | None) -> Read:
        if isinstance(writer, Union):
            return self._union(writer, reader)
        wanted = reader
        if isinstance(wanted, Union):
            wanted = max(wanted.branches, key=lambda branch: _fit(writer, branch))
        if wanted is not None and not _fit(writer, wanted):
            raise DecodeError("schema_invalid", f"{writer} cannot be read as {reader}")
        match writer, wanted:
            case Record(), Record() | None:
                return self._record(writer, wanted)
            case Array(), Array() | None:
                return binary.array_of(self.read(writer.items, wanted and wanted.items), self.left)
            case Map(), Map() | None:
                return binary.map_of(self.read(writer.values, wanted and wanted.values), self.left)
            case Enum(), Enum() | None:
                return _enum(writer, wanted)
            case Primitive() | Fixed(), Primitive() | Fixed() | None:
                return self._leaf(writer, wanted)
        raise AssertionError("_fit lets no other pair through")

    def _leaf(self, writer: Primitive | Fixed, reader: Primitive | Fixed | None) -> Read:
        if isinstance(writer, Fixed):
            raw = binary.fixed(writer.size_bytes)
        elif writer.kind in ("string", "bytes"):
            # The same on the wire: what is wanted decides, and bytes are the cheaper way to read past.
            wants_text = isinstance(reader, Primitive) and reader.kind == "string"
            raw = binary.PRIMITIVES["string" if wants_text else "bytes"]
        else:
            raw = binary.PRIMITIVES[writer.kind]
        if reader is None:
            return raw
        if isinstance(writer, Primitive) and writer.kind in ("int", "long"):
            assert isinstance(reader, Primitive)  # noqa: S101  # for mypy
            if reader.kind in ("float", "double"):
                return binary.converted(raw, float)
        convert = converter(reader, self._non_finite)
        return raw if convert is None else binary.converted(raw, convert)

    def _union(self, writer: Union, reader: Type | None) -> Read:
        branches: list[Read] = []
        misfits: list[DecodeError] = []
        for branch in writer.branches:
            try:
                branches.append(self.read(branch, branch if reader is writer else reader))
            except DecodeError as error:
                # Only a record that uses this branch is in trouble, unless there is no other.
                misfits.append(error)
                branches.append(binary.refused(error.code, f"{_at(error)}{error}"))
        if len(misfits) == len(branches):
            raise misfits[0]
        if len(branches) == 2 and binary.read_null in branches:
            null = branches.index(binary.read_null)
            return binary.nullable(branches[1 - null], null_byte=2 * null)
        return binary.branched(branches)

    def _record(self, writer: Record, reader: Record | None) -> Read:
        key = id(writer), id(reader)
        if key in self._records:
            return self._records[key]
        made: list[Read] = []

        def later(buffer: bytes, pos: int) -> tuple[Any, int]:
            return made[0](buffer, pos)

        self._records[key] = later  # for its own fields, which may refer to it
        try:
            made.append(self._fields(writer, reader))
        except DecodeError as error:
            made.append(binary.refused(error.code, str(error)))
            del self._records[key]
            raise
        self._records[key] = made[0]
        return made[0]

    def _fields(self, writer: Record, reader: Record | None) -> Read:
        if reader is None or reader is writer:
            same = [(each.name, self.read(each.type, reader and each.type)) for each in writer.fields]
            return binary.record(same, self.left)
        missing = {each.name: each for each in reader.fields}
        by_alias = {alias: each for each in reader.fields for alias in each.aliases}
        steps: list[tuple[str | None, Read]] = []
        for each in writer.fields:
            wanted = missing.pop(each.name, None) or by_alias.get(each.name)
            if wanted is None:
                steps.append((None, self.read(each.type, None)))
                continue
            missing.pop(wanted.name, None)
            try:
                steps.append((wanted.name, self.read(each.type, wanted.type)))
            except DecodeError as error:
                error.add_note(f".{wanted.name}")
                raise
        defaults: dict[str, Json] = {}
        for name, each in missing.items():
            try:
                defaults[name] = self._default(each.type, each.default)
            except DecodeError as error:
                error.add_note(f".{name}")
                raise
        return binary.resolved_record(steps, defaults, default_values=_count(defaults), left=self.left)

    def _default(self, wanted: Type, default: Any) -> Json:
        """Give a default of the reader schema as it would come out if it were written."""
        match wanted, default:
            case Union(), _:
                for branch in wanted.branches:
                    try:
                        return self._default(branch, default)
                    except DecodeError:
                        continue
            case Record(), dict():
                return {
                    each.name: self._default(each.type, default.get(each.name, each.default))
                    for each in wanted.fields
                }
            case Array(), list():
                return [self._default(wanted.items, each) for each in default]
            case Map(), dict():
                return {key: self._default(wanted.values, each) for key, each in default.items()}
            case Enum(), str() if default in wanted.symbols:
                return default
            case ((Primitive() | Fixed()), _):
                raw = _raw_default(wanted, default)
                if raw is not NO_DEFAULT:
                    convert = converter(wanted, self._non_finite)
                    value: Json = raw if convert is None else convert(raw)
                    return value
        if default is NO_DEFAULT:
            raise DecodeError("schema_invalid", "the writer schema lacks this field, and it has no default")
        raise DecodeError("schema_invalid", f"the default is not a value of {wanted}")


def _raw_default(wanted: Primitive | Fixed, default: Any) -> Any:
    """Give a leaf's default as the wire would have it, or NO_DEFAULT where it is of another type."""
    match wanted, default:
        case Fixed(), str() if len(default) == wanted.size_bytes and max(default, default="") <= "\xff":
            return default.encode("latin-1")
        case Primitive(kind="bytes"), str() if max(default, default="") <= "\xff":
            return default.encode("latin-1")
        case Primitive(kind="null"), None:
            return None
        case Primitive(kind="boolean"), bool():
            return default
        case Primitive(kind="int" | "long"), int() if not isinstance(default, bool):
            return default
        case Primitive(kind="float" | "double"), int() | float() if not isinstance(default, bool):
            return float(default)
        case Primitive(kind="string"), str():
            return default
    return NO_DEFAULT


def _count(values: Json) -> int:
    """How many values there are inside a value, at any depth."""
    inner = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    return sum(1 + _count(each) for each in inner)


def _enum(writer: Enum, reader: Enum | None) -> Read:
    if reader is None or reader is writer:
        return binary.enum(writer.name, writer.symbols)
    known = [symbol if symbol in reader.symbols else reader.default for symbol in writer.symbols]
    return binary.enum(writer.name, known)


def _fit(writer: Type, reader: Type) -> int:
    """How well a type can be read as another: 0 not at all, 1 by promotion or unqualified name, 2 exactly."""
    if writer is reader:
        return 2
    if isinstance(writer, Union):
        return 1
    if isinstance(writer, Primitive | Fixed) and isinstance(reader, Primitive | Fixed):
        # Else a number in microseconds would be taken for one in milliseconds.
        if writer.logical is not None and reader.logical is not None and writer.logical != reader.logical:
            return 0
        if isinstance(writer, Primitive) and isinstance(reader, Primitive):
            return 2 if writer.kind == reader.kind else int(reader.kind in _PROMOTIONS.get(writer.kind, ()))
        if isinstance(writer, Fixed) and isinstance(reader, Fixed):
            return _same_name(writer, reader) if writer.size_bytes == reader.size_bytes else 0
        return 0
    if isinstance(writer, Record | Enum) and isinstance(reader, Record | Enum):
        return _same_name(writer, reader) if type(writer) is type(reader) else 0
    return 2 if type(writer) is type(reader) else 0  # arrays and maps: their items are compared in their turn


def _same_name(writer: Record | Enum | Fixed, reader: Record | Enum | Fixed) -> int:
    if writer.name == reader.name:
        return 2
    unqualified = [name.rpartition(".")[2] for name in (reader.name, *reader.aliases)]
    return int(writer.name.rpartition(".")[2] in unqualified)
