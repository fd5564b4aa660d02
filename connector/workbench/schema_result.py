"""What a schema lets values be, as the `Result` that expressions over them start from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import NoneType

from connector.mapping.results import ALL, MAX_NUMBER_BYTES, Result, Size, constant, kinds, size_of, union
from connector.workbench.json_schema import POINTER, JsonSchema, ValueSchema


def schema_result(value: ValueSchema, *, root: str = "value") -> Result:
    """What values of a schema are; `root` is the name of the expressions' root that they are.

    A record within itself is an object of which nothing is known. That a float may be NaN, and null then, is
    among its types, and not among those that it has for some records.
    """
    return _Reader(value.definitions).result(value.schema, f"`{root}`")


MAX_PARTS = 1000
"""Then every record is cut short: those that hold each other may have ways without number."""


class _Reader:
    def __init__(self, definitions: Mapping[str, JsonSchema]) -> None:
        self._definitions = definitions
        self._open: set[str] = set()
        self._cut: set[str] = set()
        """Records that were cut short within one that is still open."""
        self._made: dict[str, Result] = {}
        self._parts = 0
        """How often a record was made that has one cut short in it."""

    def result(self, schema: JsonSchema, named: str) -> Result:
        """`named` says in messages which value it is."""
        match schema:
            case {"allOf": [inner]}:
                return self.result(inner, named)
            case {"$ref": str(pointer)}:
                return _called(self._record(pointer.removeprefix(POINTER)), named)
            case {"anyOf": branches}:
                return _called(union(*(self.result(branch, named) for branch in branches)), named)
            case {"type": list()}:
                number = self.result({"type": "number"}, named)
                return replace(number, types=number.types | {NoneType}, truth=None, size=number.size)
            case {"type": "object", "properties": properties}:  # a duration
                fields = self._fields(properties, "a duration")
                return _called(_object(fields, "a duration"), named)
            case {"type": "object", "additionalProperties": values}:
                inside = self.result(values, f"a value of {named}")
                return _of(dict, named, Size(2), rest=inside)
            case {"type": "array", "items": items}:
                return _of(list, named, Size(2), rest=self.result(items, f"an item of {named}"))
            case {"type": "string"}:
                return _text(schema, named)
            case {"type": "integer", "minimum": least, "maximum": most}:
                return _of(int, named, Size(1, max(len(str(least)), len(str(most)))))
        kind, size = _SCALARS[schema["type"]]
        return _of(kind, named, size)

    def _record(self, name: str) -> Result:
        if name in self._made:
            return self._made[name]
        if name in self._open or self._parts >= MAX_PARTS:
            self._cut.add(name)
            return Result(frozenset({dict}), possible={dict: ""}, size=Size(2))
        outside, self._cut = self._cut, set()
        self._open.add(name)
        fields = self._fields(self._definitions[name].get("properties", {}), f"record {name}")
        self._open.remove(name)
        self._cut.discard(name)
        made = _object(fields, name)
        if self._cut:  # elsewhere it may be whole
            self._parts += 1
        else:
            self._made[name] = made
        self._cut |= outside
        return made

    def _fields(self, properties: Mapping[str, JsonSchema], owner: str) -> dict[str | int, Result]:
        return {name: self.result(schema, f"`{name}` of {owner}") for name, schema in properties.items()}


_SCALARS: Mapping[str, tuple[type, Size]] = {
    "null": (NoneType, Size(4, 4)),
    "boolean": (bool, Size(4, 5)),
    "number": (float, Size(3, MAX_NUMBER_BYTES)),
}


def _of(kind: type, named: str, size: Size, *, rest: Result | None = None) -> Result:
    types = frozenset({kind})
    bare = Result(ALL, rest=rest, possible={kind: ""}, size=size)
    return _called(replace(bare.only(types), size=size), named)


def _object(fields: Mapping[str | int, Result], name: str) -> Result:
    return Result(
        frozenset({dict}),
        truth=bool(fields),
        inside=fields,
        record=name,
        possible={dict: ""},
        size=size_of(fields),
    )


def _called(result: Result, named: str) -> Result:
    """The same with sentences that say which value it is."""
    shown = kinds(result.possible or result.types)
    possible = {
        kind: f"{named} is nullable"
        if kind is NoneType and result.types != {NoneType}
        else f"{named} is {shown}"
        for kind in result.possible
    }
    return replace(result, why=f"{named} is {shown}", possible=possible)


# --- text ---------------------------------------------------------------------------------------

_BASE64 = "[A-Za-z0-9+/]"
_CLOCK = "12:00:00"
_SHAPES = [
    "2026-01-31",
    *(f"{_CLOCK}.{'0' * digits}" for digits in (3, 6, 9)),
    *(f"2026-01-31T{_CLOCK}.{'0' * digits}{zone}" for digits in (3, 6, 9) for zone in ("Z", "")),
    "0b7e1f6a-9d3c-4c58-8f0e-5a2d1c3b4e5f",
]
"""A text of each form that texts may have by their type, but for decimals, which are anything's text."""


def _text(schema: JsonSchema, named: str) -> Result:
    if "enum" in schema:
        symbols = union(*map(constant, schema["enum"])) if schema["enum"] else _of(str, named, Size(2))
        return _called(replace(symbols, constant=(), symbols=tuple(schema["enum"])), named)
    least, most = schema.get("minLength"), schema.get("maxLength")
    size = Size(2) if least is None or most is None else Size(least + 2, most + 2)
    result = _of(str, named, size)
    pattern = schema.get("pattern", "")
    if _BASE64 in pattern:
        return replace(result, texts=("+" * (least or 4),))
    texts = tuple(text for text in _SHAPES if pattern and re.fullmatch(pattern, text))
    return replace(result, texts=texts, truth=True if pattern else None)
