"""What an expression can yield, known before any record is read.

A `Result` never says less than what some record yields: a check that relies on one refuses nothing that
works for a single record. What its schema makes certain of some records stands beside that, in `possible`
and `texts`. `inference` finds the result of an expression; `workbench.schema_result` that of a schema.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import NamedTuple, TypeAlias

import orjson

from connector.config.settings import Format, Topic
from connector.mapping.expressions import INTERPRETER, Node, is_true
from connector.model import Json

Types: TypeAlias = "frozenset[type]"

KINDS: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number with a fraction",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
    NoneType: "null",
}
ALL: Types = frozenset(KINDS)
NUMBERS: Types = frozenset({int, float})
CONTAINERS: Types = frozenset({list, dict})
_NULL: Types = frozenset({NoneType})

MAX_OPTIONS = 16
"""Containers that one result is told apart by; of more nothing is known."""


def kinds(types: Iterable[type]) -> str:
    """The types in words, as `a string or null`."""
    types = frozenset(types)
    words = [word for kind, word in KINDS.items() if kind in types]
    if types >= NUMBERS:
        words[words.index(KINDS[int]) : words.index(KINDS[float]) + 1] = ["a number"]
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


class Size(NamedTuple):
    """The bytes of a value as JSON, text with its quotes."""

    least: int = 1
    most: float = math.inf


UNKNOWN = Size()
MAX_NUMBER_BYTES = 24
"""Of a number, as in -2.2250738585072014e-308."""


@dataclass(frozen=True, slots=True)
class Result:
    """What an expression can yield over all records."""

    types: Types = ALL
    """Of what it yields where it does not fail; empty where it fails for every record."""
    why: str = ""
    """How that is known, as a sentence without its period; empty where nothing is."""
    truth: bool | None = None
    """Whether it is always true, or always false, for JMESPath."""
    constant: tuple[Json, ...] = ()
    """The one value that it yields, unless it fails; empty where there is none."""
    inside: Mapping[str | int, Result] = field(default_factory=dict)
    """Fields or items that it surely has, where it is an object or array."""
    rest: Result | None = None
    """What any other field or item is that it has; None for anything."""
    options: tuple[Result, ...] = ()
    """The objects and arrays that it is one of, where they are several; then nothing is `inside`."""
    record: str = ""
    """The name of the Avro record that it is, which has no other fields than those inside."""
    possible: Mapping[type, str] = field(default_factory=dict)
    """Those of its types that it has for some records by their schema, each with how that is known."""
    texts: tuple[str, ...] = ()
    """Where it is text: what it is for some records, one of each shape."""
    only_texts: bool = False
    """Whether it is no other text than these."""
    symbols: tuple[str, ...] = ()
    """All that its enums have, also those that it is known not to be here."""
    size: Size = UNKNOWN

    def at(self, step: str | int) -> Result:
        """Its field of that name, or its item at that index."""
        if self is ANYTHING:
            return self
        container, words = (list, "items") if isinstance(step, int) else (dict, "fields")
        if container not in self.types:
            if self.types == _NULL:
                return self
            return constant(None, why=f"{self.why or kinds(self.types)}, which has no {words}")
        if self.constant:
            return constant(INTERPRETER.visit(_step(step), self.constant[0]))
        if self.options:
            found = union(*(option.at(step) for option in self.options))
        else:
            found = self._inside_at(step)
        if self.types == {container}:
            return found
        others = {kind: why for kind, why in self.possible.items() if kind not in CONTAINERS}
        why = others.get(NoneType) or f"it may be {kinds(others)}, which has no {words}" if others else ""
        return union(found, null(why))

    def _inside_at(self, step: str | int) -> Result:
        if isinstance(step, int) and step < 0:
            step += len(self.inside)
        if step in self.inside:
            return self.inside[step]
        if self.record:
            return constant(None, why=self.lacks(step))
        if self.rest is None or self.rest.types == _NULL:
            return self.rest or ANYTHING
        if not self.rest.possible:
            return self.rest if NoneType in self.rest.types else union(self.rest, null())
        missing = "an array may have fewer items" if isinstance(step, int) else f"a map may have no `{step}`"
        return union(self.rest, null(missing))

    def lacks(self, step: str | int) -> str:
        """Says that no record that it can be has this field; empty where one may have it."""
        records = [option for option in self.options or (self,) if dict in option.types]
        if not all(each.record and step not in each.inside for each in records):
            return ""
        names = list(dict.fromkeys(each.record for each in records))
        return f"record {' and '.join(names)} has no field `{step}`" if names else ""

    def only(self, types: Types) -> Result:
        """The same, where it is one of these types; with no types where it never is."""
        kept = self.types & types
        if kept == self.types:
            return self
        result = replace(
            self,
            types=kept,
            why=self.possible.get(NoneType, self.why) if kept == _NULL else self.why,
            constant=(),
            possible={kind: why for kind, why in self.possible.items() if kind in kept},
        )
        if not kept & CONTAINERS:
            result = replace(result, inside={}, rest=None, options=(), record="")
        if str not in kept:
            result = replace(result, texts=(), only_texts=False, symbols=())
        return replace(result, truth=_truth(result))

    def where(self, *, truth: bool) -> Result:
        """The same, where it is true, or where it is false; with no types where it never is."""
        if self.truth is not None:
            return self if self.truth is truth else never("")
        texts = tuple(text for text in self.texts if bool(text) is truth)
        unwanted = _NULL if truth else NUMBERS | (frozenset({dict}) if self.inside else frozenset())
        if self.only_texts and not texts:
            unwanted |= {str}
        result = self.only(self.types - unwanted)
        if not result.types:
            return result
        inside, rest, options = result.inside, result.rest, result.options
        if not truth:
            rest = null("it is empty") if result.types & CONTAINERS else None
            inside, options, texts = {}, (), texts if self.only_texts else ()
        elif result.types == {list} and rest is not None and not inside and not options:
            inside = {0: rest}
        return replace(
            result,
            truth=truth,
            inside=inside,
            rest=rest,
            options=options,
            texts=texts if str in result.types else (),
        )

    def __str__(self) -> str:
        return self.why or f"it is {kinds(self.types)}"


ANYTHING = Result()


CONSTANT_WHY = "it is a constant"
"""How the result of what is written in the expression itself is known."""


def constant(value: Json, *, why: str = CONSTANT_WHY) -> Result:
    kind = type(value)
    result = Result(frozenset({kind}), why, is_true(value), (value,), possible={kind: why})
    if isinstance(value, str):
        result = replace(result, texts=(value,), only_texts=True)
    try:
        count = len(orjson.dumps(value))
    except TypeError:  # half of a surrogate pair, or too large an integer
        return result
    return replace(result, size=Size(count, count))


def null(why: str = "") -> Result:
    """Null for some records, where it is known why; otherwise it may be null."""
    return Result(_NULL, why, truth=False, possible={NoneType: why} if why else {}, size=Size(4, 4))


def never(why: str) -> Result:
    """Of an expression that fails for every record."""
    return Result(frozenset(), why)


def some(*types: type, why: str = "", rest: Result | None = None) -> Result:
    """Of any of these types, with nothing known but that 0 is true too."""
    kinds = frozenset(types)
    size = UNKNOWN if kinds & {str, list, dict} else Size(1, MAX_NUMBER_BYTES)
    return Result(kinds, why, True if kinds <= NUMBERS else None, rest=rest, size=size)


def union(*results: Result) -> Result:
    """What either yields."""
    first = results[0]
    if all(result is first or result == first for result in results):
        return first
    containers = [result for result in results if result.types & CONTAINERS]
    inside = containers[0] if len(containers) == 1 else ANYTHING
    options = inside.options
    if len(containers) > 1:
        found = [each for result in containers for each in result.options or (result.only(CONTAINERS),)]
        different = [each for number, each in enumerate(found) if each not in found[:number]]
        if len(different) == 1:
            (inside,) = different
        elif len(different) <= MAX_OPTIONS:
            options = tuple(different)
    truth = first.truth if all(result.truth is first.truth for result in results) else None
    possible = {kind: why for result in reversed(results) for kind, why in result.possible.items()}
    texts = [result for result in results if str in result.types]
    return Result(
        frozenset().union(*(result.types for result in results)),
        truth=truth,
        inside=inside.inside,
        rest=inside.rest,
        options=options,
        record=inside.record,
        possible=possible,
        texts=tuple(dict.fromkeys(text for result in texts for text in result.texts)),
        only_texts=bool(texts) and all(result.only_texts for result in texts),
        symbols=tuple(dict.fromkeys(symbol for result in texts for symbol in result.symbols)),
        size=Size(min(result.size.least for result in results), max(result.size.most for result in results)),
    )


def any_of(*results: Result) -> Result:
    """What either yields of those that yield something."""
    return union(*([result for result in results if result.types] or results[-1:]))


def items_of(array: Result) -> list[Result]:
    """What the items of an array, or the values of an object, are, each kind of them."""
    found: list[Result] = []
    for each in array.options or (array,):
        match each.constant:
            case (list() | dict() as value,):
                found += map(constant, value if isinstance(value, list) else value.values())
            case _:
                others = [] if each.record else [ANYTHING if each.rest is None else each.rest]
                found += [*each.inside.values(), *others]
    return found


def item_of(array: Result) -> Result:
    items = items_of(array)
    return union(*items) if items else null()


def size_of(fields: Mapping[str | int, Result]) -> Size:
    """Of an object or array with these fields or items."""
    names = [constant(name).size.least + 1 for name in fields if isinstance(name, str)]
    around = 2 + sum(names) + max(len(fields) - 1, 0)
    sizes = [each.size for each in fields.values()]
    return Size(around + sum(size.least for size in sizes), around + sum(size.most for size in sizes))


def why_null(*results: Result) -> str:
    """How it is known that one of them is null, where that is not written there itself."""
    return next((r.why for r in results if r.types == {NoneType} and r.why != CONSTANT_WHY), "")


def _truth(result: Result) -> bool | None:
    """Whether its types alone make it true, or false."""
    if result.types == _NULL:
        return False
    is_true_object = result.types == {dict} and bool(result.inside)
    is_true_text = result.types == {str} and result.only_texts and all(result.texts)
    if result.types and (result.types <= NUMBERS or is_true_object or is_true_text):
        return True
    return result.truth


def _step(step: str | int) -> Node:
    return {"type": "index" if isinstance(step, int) else "field", "value": step, "children": []}


# --- the scope ----------------------------------------------------------------------------------

_TEXT_FORMATS = {"string": "text", "bytes": "base64 text"}


def scope_of(
    topic: Topic, *, name: str | None, value: Result | None = None, key: Result | None = None
) -> Result:
    """The roots of expressions over the records of one topic; `name` is None where a pattern names it.

    `value` and `key` are what a schema says of them; without one their formats say little.
    """
    text = some(str, NoneType, why="a header is text or null")
    roots: dict[str | int, Result] = {
        "value": value or _decoded("value", topic.value),
        "key": key or _decoded("key", topic.key),
        "headers": some(dict, why="`headers` is an object", rest=text),
        "topic": Result(frozenset({str}), "`topic` is text", truth=True),
        "partition": some(int, why="`partition` is an integer"),
        "offset": some(int, why="`offset` is an integer"),
        "timestamp": some(int, NoneType, why="`timestamp` is an integer or null"),
    }
    if name is not None:
        roots["topic"] = constant(name, why=f"`topic` is the text {name}")
    return Result(frozenset({dict}), "`@` is an object", truth=True, inside=roots, rest=constant(None))


def _decoded(root: str, format: Format) -> Result:  # noqa: A002
    if format.format not in _TEXT_FORMATS:
        return ANYTHING
    written = _TEXT_FORMATS[format.format]
    return some(str, NoneType, why=f"`{root}` is {written}, by `{root}.format: {format.format}`")
