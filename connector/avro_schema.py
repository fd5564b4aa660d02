"""Avro schemas as values: JSON in, a graph of types out.

A schema is parsed here and not by fastavro because the bridge must read what others wrote. fastavro
refuses a whole schema for an invalid logical type or a wrong default, which the specification says to
ignore, and Java registries let pass.

https://avro.apache.org/docs/1.12.0/specification/
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from connector.errors import DecodeError

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})

MAX_PRECISION = 4300
"""The most digits of a decimal: what Python turns into text without being told otherwise."""


@dataclass(frozen=True, slots=True)
class Logical:
    """What a primitive or fixed type stands for; `precision` and `scale` belong to `decimal` alone."""

    name: str
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        return f"decimal({self.precision}, {self.scale})" if self.name == "decimal" else self.name


@dataclass(frozen=True, slots=True, eq=False)
class Primitive:
    kind: str
    logical: Logical | None = None

    def __str__(self) -> str:
        return f"{self.kind} ({self.logical})" if self.logical else self.kind


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    name: str
    aliases: tuple[str, ...]
    size_bytes: int
    logical: Logical | None = None

    def __str__(self) -> str:
        return f"fixed {self.name} of {self.size_bytes} bytes" + (
            f" ({self.logical})" if self.logical else ""
        )


@dataclass(frozen=True, slots=True, eq=False)
class Enum:
    name: str
    aliases: tuple[str, ...]
    symbols: tuple[str, ...]
    default: str | None

    def __str__(self) -> str:
        return f"enum {self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    items: Type

    def __str__(self) -> str:
        return "array"


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    values: Type

    def __str__(self) -> str:
        return "map"


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    branches: tuple[Type, ...]

    def __str__(self) -> str:
        return f"union of {', '.join(map(str, self.branches))}"


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    name: str
    aliases: tuple[str, ...]
    fields: list[Field] = field(default_factory=list)

    def __str__(self) -> str:
        return f"record {self.name}"


Type: TypeAlias = Primitive | Fixed | Enum | Array | Map | Union | Record
"""A node of a schema. A named type is one node however often it is used, so a recursive schema is a cycle."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    name: str
    aliases: tuple[str, ...]
    type: Type
    default: Any
    """As in the schema's JSON; `NO_DEFAULT` where there is none, since None is a default."""


NO_DEFAULT = object()

Names: TypeAlias = dict[str, Type]
"""Full names → types, as far as they are known."""


def parse(schema: Any, names: Names | None = None) -> Type:
    """Give the type that a schema's JSON stands for.

    `names` are the types it may refer to, and learns those it defines. An unknown or invalid logical
    type is ignored, as the specification says: the underlying type is used.

    Raises:
        DecodeError: `schema_invalid`, naming the rule that the schema breaks.
    """
    try:
        return _parse(schema, {} if names is None else names, "")
    except RecursionError:
        raise _invalid("it is nested too deeply") from None


def _parse(schema: Any, names: Names, namespace: str) -> Type:
    if isinstance(schema, str):
        return _named(schema, names, namespace)
    if isinstance(schema, list):
        if not schema:
            raise _invalid("a union has no branches")
        branches = tuple(_parse(branch, names, namespace) for branch in schema)
        if any(isinstance(branch, Union) for branch in branches):
            raise _invalid("a union is directly inside a union")
        return Union(branches)
    if not isinstance(schema, dict):
        raise _invalid(f"a type is a string, a list or an object, not {type(schema).__name__}")
    kind = schema.get("type")
    match kind:
        case "array":
            return Array(_parse(schema.get("items"), names, namespace))
        case "map":
            return Map(_parse(schema.get("values"), names, namespace))
        case "record" | "error" | "enum" | "fixed":
            return _define(kind, schema, names, namespace)
        case str() if kind in PRIMITIVES:
            return Primitive(kind, _logical(schema, kind, 0))
        case _:
            # {"type": {"type": "string"}} and {"type": "a.Named"}: outside the specification, but written.
            return _parse(kind, names, namespace)


def _named(name: str, names: Names, namespace: str) -> Type:
    if name in PRIMITIVES:
        return Primitive(name)
    full_name = _full_name(name, namespace)
    found = names.get(full_name) or names.get(name)
    if found is None:
        raise _invalid(f"it uses the type {full_name}, which is not defined before that place")
    return found


def _define(kind: str, schema: dict[str, Any], names: Names, namespace: str) -> Type:
    name = schema.get("name")
    if not isinstance(name, str) or not name:
        raise _invalid(f"a {kind} has no name")
    full_name = _full_name(name, schema.get("namespace", namespace) or "")
    namespace = full_name.rpartition(".")[0]
    if full_name in names:
        raise _invalid(f"the type {full_name} is defined twice")
    aliases = tuple(_full_name(alias, namespace) for alias in _texts(schema, "aliases", full_name))
    if kind == "fixed":
        size_bytes = schema.get("size")
        if not isinstance(size_bytes, int) or isinstance(size_bytes, bool) or size_bytes < 0:
            raise _invalid(f"the fixed type {full_name} has no size")
        fixed = Fixed(full_name, aliases, size_bytes, _logical(schema, "fixed", size_bytes))
        names[full_name] = fixed
        return fixed
    if kind == "enum":
        default = schema.get("default")
        symbols = _texts(schema, "symbols", full_name)
        enum = Enum(full_name, aliases, symbols, default if default in symbols else None)
        names[full_name] = enum
        return enum
    record = Record(full_name, aliases)
    names[full_name] = record  # before its fields, which may refer to it
    fields = schema.get("fields")
    if not isinstance(fields, list):
        raise _invalid(f"the record {full_name} has no list of fields")
    for each in fields:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str) or "type" not in each:
            raise _invalid(f"a field of {full_name} has no name or no type")
        record.fields.append(
            Field(
                each["name"],
                _texts(each, "aliases", full_name),
                _parse(each["type"], names, namespace),
                each.get("default", NO_DEFAULT),
            )
        )
    return record


def _full_name(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _texts(schema: dict[str, Any], key: str, owner: str) -> tuple[str, ...]:
    texts = schema.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _invalid(f"`{key}` in {owner} is not a list of names")
    return tuple(texts)


_UNDERLYING = {
    "date": ("int",),
    "time-millis": ("int",),
    "time-micros": ("long",),
    "timestamp-millis": ("long",),
    "timestamp-micros": ("long",),
    "timestamp-nanos": ("long",),
    "local-timestamp-millis": ("long",),
    "local-timestamp-micros": ("long",),
    "local-timestamp-nanos": ("long",),
    "uuid": ("string", "fixed"),
    "duration": ("fixed",),
    "decimal": ("bytes", "fixed"),
}
_SIZE_BYTES = {"uuid": 16, "duration": 12}


def _logical(schema: dict[str, Any], kind: str, size_bytes: int) -> Logical | None:
    name = schema.get("logicalType")
    if not isinstance(name, str) or kind not in _UNDERLYING.get(name, ()):
        return None
    if name != "decimal":
        fits = kind != "fixed" or size_bytes == _SIZE_BYTES[name]
        return Logical(name) if fits else None
    precision, scale, most = schema.get("precision"), schema.get("scale", 0), MAX_PRECISION
    if kind == "fixed":
        most = min(most, math.floor(math.log10(2) * (8 * size_bytes - 1)))
    if not isinstance(precision, int) or not isinstance(scale, int):
        return None
    return Logical(name, precision, scale) if 0 <= scale <= precision and 0 < precision <= most else None


def _invalid(rule: str) -> DecodeError:
    return DecodeError("schema_invalid", rule)
