"""A sample of what a JSON Schema allows: realistic, and the same every time."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from connector.mapping.expressions import Node, chain
from connector.model import Json, iso
from connector.workbench.expression_schema import TYPE_NAMES, ExpressionSchemas, branches_of
from connector.workbench.json_schema import JsonSchema
from connector.workbench.template_texts import Place, PlacedValues

MOMENT_MS = 1_795_341_600_000
"""2026-11-22T10:00:00Z: when everything in a sample happens."""
MOMENT = iso(MOMENT_MS)

_DATE, _CLOCK = MOMENT[:10], MOMENT[11:19]
_PATTERNED = [
    _DATE,
    *(f"{_CLOCK}.{'0' * digits}" for digits in (3, 6, 9)),
    *(f"{_DATE}T{_CLOCK}.{'0' * digits}{zone}" for digits in (3, 6, 9) for zone in ("Z", "")),
    "7f3b6a52-94c1-4d0e-8a35-2c1d9e6b7f40",
    "1299",
]
_SCALE = re.compile(r"\{([0-9]+)\}\$$")
_BY_NAME = {"email": "someone@example.com", "currency": "EUR", "country": "DE"}


class Sampler:
    """Makes one value of each schema that it is asked for.

    `chosen` are values for some places, and `likely` values to try at others; each where the schema allows
    it. `read` are the places that somebody reads, which exist also where the schema says nothing.
    """

    def __init__(
        self,
        schemas: ExpressionSchemas,
        *,
        chosen: PlacedValues,
        likely: Mapping[Place, list[Json]],
        read: Iterable[Place],
    ) -> None:
        self._schemas = schemas
        self._chosen = chosen
        self._likely = likely
        self._read = set(read) | set(chosen)

    def value(self, schema: JsonSchema, path: Place) -> Json:
        """A value of a schema that stands at `path`."""
        return self._value(schema, path, within=())

    def _value(self, schema: JsonSchema, path: Place, within: tuple[str, ...]) -> Json:
        wanted: list[Json] = [self._chosen[path]] if path in self._chosen else []
        for each in wanted + self._likely.get(path, []):
            if self._allows(schema, each):
                return each
        match schema:
            case {"$ref": str(name)}:
                if name in within:
                    raise _EndlessError
                return self._value(self._schemas.resolved(schema), path, (*within, name))
            case {"allOf": [only]}:
                return self._value(only, path, within)
        branches = branches_of(schema)
        if len(branches) > 1:
            return self._branch(branches, path, within)
        match branches[0]:
            case {"enum": [first, *_]}:
                value: Json = first
                return value
            case {"type": "object", **rest}:
                return self._object(rest, path, within)
            case {"type": "array", "items": items}:
                try:
                    return [self._value(items, (*path, 0), within)]
                except _EndlessError:
                    return []
            case {"type": "array"}:
                return []
            case {"type": str(kind), **rest}:
                return _scalar(kind, rest, path)
        return self._unknown(path)

    def _branch(self, branches: list[JsonSchema], path: Place, within: tuple[str, ...]) -> Json:
        """The first that is not null; that one only where the others hold themselves."""
        for branch in sorted(branches, key=lambda each: each == {"type": "null"}):
            try:
                return self._value(branch, path, within)
            except _EndlessError:
                continue
        raise _EndlessError

    def _object(self, rest: Mapping[str, Any], path: Place, within: tuple[str, ...]) -> Json:
        made = {
            name: self._value(schema, (*path, name), within)
            for name, schema in rest.get("properties", {}).items()
        }
        values = rest.get("additionalProperties")
        names = self._names(path) - made.keys()
        if isinstance(values, dict):
            try:
                made |= {
                    name: self._value(values, (*path, name), within) for name in sorted(names) or ["key"]
                }
            except _EndlessError:
                return made
        elif "properties" not in rest:
            made |= {name: self._unknown((*path, name)) for name in sorted(names)}
        return made

    def _unknown(self, path: Place) -> Json:
        """Where the schema says nothing: as much as is read of it."""
        if names := self._names(path):
            return {name: self._value({}, (*path, name), ()) for name in sorted(names)}
        if any(isinstance(step, int) for step in self._steps(path)):
            return [self._value({}, (*path, 0), ())]
        return _named(path) if len(path) > 1 else {}

    def _names(self, path: Place) -> set[str]:
        return {step for step in self._steps(path) if isinstance(step, str)}

    def _steps(self, path: Place) -> Iterator[str | int]:
        """What is read of what stands at a place."""
        depth = len(path)
        return (read[depth] for read in self._read if len(read) > depth and read[:depth] == path)

    def _allows(self, schema: JsonSchema, value: Json) -> bool:
        for branch in branches_of(self._schemas.resolved(schema)):
            match self._schemas.resolved(branch):
                case {"enum": [*values]} if value not in values:
                    continue
                case {"pattern": pattern} if not (isinstance(value, str) and re.search(pattern, value)):
                    continue
                case {"type": kind} if not _is(value, kind):
                    continue
                case _:
                    return True
        return False


class _EndlessError(Exception):
    """A record that holds itself in any case here."""


def _is(value: Json, kind: str) -> bool:
    name = TYPE_NAMES[type(value)]
    return name == kind or (name == "integer" and kind == "number")


def _scalar(kind: str, rest: Mapping[str, Any], path: Place) -> Json:
    match kind:
        case "string":
            return _text(rest, path)
        case "integer":
            return 1
        case "number":
            return 12.5
        case "boolean":
            return True
    return None


def _text(rest: Mapping[str, Any], path: Place) -> str:
    pattern = rest.get("pattern")
    if pattern is None:
        return MOMENT if rest.get("format") == "date-time" else _named(path)
    scale = _SCALE.search(pattern)
    digits = int(scale[1]) if scale else 0
    shortest, longest = rest.get("minLength", 0), rest.get("maxLength", sys.maxsize)
    candidates = [*_PATTERNED, f"12.{'9' * digits}", "QUJD" * (shortest // 4 or 1)]
    fitting = (each for each in candidates if shortest <= len(each) <= longest and re.search(pattern, each))
    return next(fitting, "")


def _named(path: Place) -> str:
    """A text for a field, from its name. It can be part of a source's name."""
    name = next((step for step in reversed(path) if isinstance(step, str)), "")
    known = next((text for end, text in _BY_NAME.items() if name.lower().endswith(end)), None)
    words = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()
    return known or f"{words or 'text'}-1"


# --- what a mapping reads -----------------------------------------------------------------------

_CHAINED = {"subexpression", "index_expression", "pipe"}
_PROJECTED = {"projection", "flatten", "value_projection", "filter_projection"}


def chains(node: Node) -> Iterator[Place]:
    """Give the field chains of an expression that begin at a root; of a projection what it is of."""
    if chain(node) is not None or node["type"] in _CHAINED | _PROJECTED:
        if beginning := _beginning(node):
            yield tuple(beginning)
        else:
            yield from chains(node["children"][0])
    elif node["type"] not in {"expref", "slice"}:  # of a slice the children are numbers
        for child in node["children"]:
            yield from chains(child)


def _beginning(node: Node) -> list[str | int]:
    """The steps with which an expression begins."""
    steps = chain(node) or []
    if node["type"] in _PROJECTED:
        return _beginning(node["children"][0])
    if not steps and node["type"] in _CHAINED:
        for child in node["children"]:
            steps += _beginning(child)
            if chain(child) is None:
                break
    return steps
