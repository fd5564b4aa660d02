"""What an expression can yield, known from its syntax before any record is read.

A `Result` never says less than what some record yields: a check at start that relies on one refuses
nothing that works for a single record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import TypeAlias

from jmespath import functions

from connector.config.settings import Format, Topic
from connector.mapping.expressions import COMPARISONS, INTERPRETER, CallError, Node, is_true
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
_CONTAINERS: Types = frozenset({list, dict})


def kinds(types: Types) -> str:
    """The types in words, as `a string or null`."""
    words = [word for kind, word in KINDS.items() if kind in types]
    if types >= NUMBERS:
        words[words.index(KINDS[int]) : words.index(KINDS[float]) + 1] = ["a number"]
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


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
    """What it has for any other field or index; None for anything."""

    def at(self, step: str | int) -> Result:
        """Its field of that name, or its item at that index."""
        container, words = (list, "items") if isinstance(step, int) else (dict, "fields")
        if container not in self.types:
            if self.types == {NoneType}:
                return self
            return constant(None, why=f"{self.why or kinds(self.types)}, which has no {words}")
        if self.constant:
            return constant(INTERPRETER.visit(_step(step), self.constant[0]))
        if isinstance(step, int) and step < 0:
            step += len(self.inside)
        found = self.inside.get(step, self.rest or ANYTHING)
        return found if self.types == {container} else union(found, constant(None))

    def __str__(self) -> str:
        return self.why or f"it is {kinds(self.types)}"


ANYTHING = Result()


CONSTANT_WHY = "it is a constant"
"""How the result of what is written in the expression itself is known."""


def constant(value: Json, *, why: str = CONSTANT_WHY) -> Result:
    return Result(frozenset({type(value)}), why, is_true(value), (value,))


def never(why: str) -> Result:
    """Of an expression that fails for every record."""
    return Result(frozenset(), why)


def some(*types: type, why: str = "", rest: Result | None = None) -> Result:
    """Of any of these types, with nothing known but that 0 is true too."""
    return Result(frozenset(types), why, True if NUMBERS.issuperset(types) else None, rest=rest)


def union(*results: Result) -> Result:
    """What either yields."""
    first = results[0]
    if all(result == first for result in results):
        return first
    containers = [result for result in results if result.types & _CONTAINERS]
    only = containers[0] if len(containers) == 1 else ANYTHING
    truth = first.truth if all(result.truth is first.truth for result in results) else None
    types: Types = frozenset().union(*(result.types for result in results))
    return Result(types, truth=truth, inside=only.inside, rest=only.rest)


# --- the scope ----------------------------------------------------------------------------------

_TEXT_FORMATS = {"string": "text", "bytes": "base64 text"}


def scope_of(topic: Topic, *, name: str | None) -> Result:
    """The roots of expressions over the records of one topic; `name` is None where a pattern names it."""
    text = some(str, NoneType, why="a header is text or null")
    roots: dict[str | int, Result] = {
        "value": _decoded("value", topic.value),
        "key": _decoded("key", topic.key),
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


# --- expressions --------------------------------------------------------------------------------


def result_of(node: Node, current: Result) -> Result:
    """What a node of jmespath's syntax tree yields, where `current` is what it is applied to."""
    children: Sequence[Node] = node["children"]
    match node["type"]:
        case "literal":
            return constant(node["value"])
        case "current" | "identity":
            return current
        case "field" | "index" if isinstance(step := node["value"], str | int):
            return current.at(step)
        case "subexpression" | "index_expression" | "pipe":
            for child in children:
                if not current.types:
                    break
                current = result_of(child, current)
            return current
        case "or_expression":
            first, second = (result_of(child, current) for child in children)
            return _or(first, second)
        case "and_expression":
            first, second = (result_of(child, current) for child in children)
            return _and(first, second)
        case "not_expression":
            negated = result_of(children[0], current)
            if not negated.types:
                return negated
            if negated.truth is None:
                return some(bool, why="`!` yields true or false (it binds closer than a dot: !(a.b))")
            return constant(not negated.truth, why=negated.why)
        case "comparator":
            left, right = (result_of(child, current) for child in children)
            return _compared(str(node["value"]), left, right)
        case "multi_select_list" | "multi_select_dict":
            return _selected(node, current)
        case "projection" | "flatten" | "filter_projection" | "value_projection" | "slice":
            return _projected(node, current)
        case "function_expression":
            arguments = [
                None if child["type"] == "expref" else result_of(child, current) for child in children
            ]
            return _called(node, arguments)
    return ANYTHING


def _or(first: Result, second: Result) -> Result:
    if not first.types or first.truth is True:
        return first
    if first.truth is False:
        return second
    # What the first yields is true, so it cannot be null.
    kept = replace(first, types=first.types - {NoneType}, why="", truth=True)
    return union(kept, second)


def _and(first: Result, second: Result) -> Result:
    if not first.types or first.truth is False:
        return first
    if first.truth is True:
        return second
    kept = Result(first.types - NUMBERS, truth=False)  # numbers are true
    return union(kept, second)


SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def _compared(name: str, left: Result, right: Result) -> Result:
    if not left.types or not right.types:
        return right if left.types else left
    sign = SIGNS[name]
    if left.constant and right.constant:
        found = COMPARISONS[name](left.constant[0], right.constant[0])
        of_record = left if left.why != CONSTANT_WHY else right
        return constant(found, why=of_record.why)
    shared = _comparable(left.types) & _comparable(right.types)
    if name in {"eq", "ne"}:
        if shared:
            return some(bool, why=f"`{sign}` yields true or false")
        why = f"`{sign}` compares {kinds(left.types)} with {kinds(right.types)}, which are never equal"
        return constant(name == "ne", why=_why_null(left, right) or why)
    if shared & {str, int}:
        return some(bool, NoneType, why=f"`{sign}` yields true, false or null")
    why = (
        f"`{sign}` compares numbers with numbers and strings with strings, and has "
        f"{kinds(left.types)} and {kinds(right.types)}"
    )
    return constant(None, why=_why_null(left, right) or why)


def _comparable(types: Types) -> Types:
    return types | {int} if types & NUMBERS else types


def _why_null(*results: Result) -> str:
    """How it is known that one of them is null, where that is not written there itself."""
    return next((r.why for r in results if r.types == {NoneType} and r.why != CONSTANT_WHY), "")


def _selected(node: Node, current: Result) -> Result:
    """Of `[a, b]` and `{x: a}`, which yield null where they are applied to null."""
    if current.types == {NoneType}:
        return current
    is_object = node["type"] == "multi_select_dict"
    found: dict[str | int, Result] = {}
    for index, child in enumerate(node["children"]):
        result = result_of(child["children"][0] if is_object else child, current)
        if not result.types:
            return result if NoneType not in current.types else union(constant(None), result)
        found[str(child["value"]) if is_object else index] = result
    if NoneType not in current.types and all(result.constant for result in found.values()):
        values = {key: result.constant[0] for key, result in found.items()}
        return constant(
            {str(key): value for key, value in values.items()} if is_object else list(values.values())
        )
    made = Result(
        frozenset({dict if is_object else list}),
        "`{…}` makes an object" if is_object else "`[…]` makes an array",
        truth=True,
        inside=found,
        rest=constant(None, why="it is made here without that"),
    )
    return made if NoneType not in current.types else union(made, constant(None))


def _projected(node: Node, current: Result) -> Result:
    if node["type"] == "slice":
        base, rest = current, None
    else:
        base, rest = result_of(node["children"][0], current), node["children"][1:]
    if not base.types:
        return base
    container, sign = (dict, ".*") if node["type"] == "value_projection" else (list, "[…]")
    if container not in base.types:
        if base.types == {NoneType}:
            return base
        kind = "objects" if container is dict else "arrays"
        return constant(None, why=f"{base}, and `{sign}` is for {kind}")
    if base.constant:
        if rest is None:
            return _evaluated(node, base.constant[0])
        return _evaluated({**node, "children": [_literal(base.constant[0]), *rest]})
    made = some(list, why=f"`{sign}` yields an array")
    return made if base.types == {container} else union(made, constant(None))


# --- functions ----------------------------------------------------------------------------------

ACCEPTED: dict[str, Types] = {
    "number": NUMBERS,
    "string": frozenset({str}),
    "boolean": frozenset({bool}),
    "array": frozenset({list}),
    "object": frozenset({dict}),
    "null": frozenset({NoneType}),
}
_STRING_OR_NULL = some(str, NoneType)
YIELDS: dict[str, Result] = {
    "abs": some(int, float),
    "avg": some(float, NoneType),
    "ceil": some(int),
    "contains": some(bool),
    "ends_with": some(bool),
    "floor": some(int),
    "join": some(str),
    "keys": some(list, rest=_STRING_OR_NULL),
    "length": some(int),
    "map": some(list),
    "max": some(int, float, str, NoneType),
    "merge": some(dict),
    "min": some(int, float, str, NoneType),
    "reverse": some(str, list),
    "sort": some(list),
    "sort_by": some(list),
    "starts_with": some(bool),
    "sum": some(int, float),
    "to_array": some(list),
    "to_number": some(int, float, NoneType),
    "to_string": some(str),
    "type": some(str),
    "values": some(list),
}
"""What each function yields; those that are missing may yield anything."""


def _called(node: Node, arguments: Sequence[Result | None]) -> Result:
    """Of a function call; None stands for an &expression."""
    name = str(node["value"])
    signature = functions.Functions.FUNCTION_TABLE[name]["signature"]
    given = [argument for argument in arguments if argument is not None]
    if failing := [argument for argument in given if not argument.types]:
        return failing[0]
    # jmespath checks the types of as many arguments as the signature has.
    for argument, wanted in zip(arguments, signature, strict=False):
        if argument is not None and (complaint := _type_complaint(argument, wanted["types"])):
            return never(f"{name}() takes {' or '.join(wanted['types'])}, and {complaint}")
    if len(given) == len(arguments) and all(argument.constant for argument in given):
        made = _evaluated({**node, "children": [_literal(argument.constant[0]) for argument in given]})
        whys = [argument.why for argument in given if argument.why != CONSTANT_WHY]
        return replace(made, why=whys[0]) if whys and made.types else made
    match name, given:
        case "contains", [subject, search] if list not in subject.types and str not in search.types:
            return never(f"contains() of a string takes a string, and {search}")
        case "to_number", [argument] if not argument.types & (NUMBERS | {str}):
            return constant(None, why=f"to_number() yields null where {argument}")
        case "not_null", _:
            return _not_null(given)
        case "merge", _:
            return _merged(given)
    if name not in YIELDS:
        return ANYTHING
    return replace(YIELDS[name], why=f"{name}() yields {kinds(YIELDS[name].types)}")


def _type_complaint(argument: Result, wanted: Iterable[str]) -> str | None:
    """What keeps an argument from ever having one of the types that a signature names."""
    if not wanted or wanted == ["expref"]:
        return None
    outer = [kind.partition("-")[0] for kind in wanted]
    accepted = argument.types & frozenset().union(*(ACCEPTED[kind] for kind in outer))
    if not accepted:
        return str(argument)
    items = [ACCEPTED[inner] for _, _, inner in (kind.partition("-") for kind in wanted) if inner]
    if accepted == {list} and items and len(items) == len(outer):
        for item in argument.inside.values():
            if item.types and not item.types & frozenset().union(*items):
                return f"of the array's items {item}"
    return None


def _not_null(given: Sequence[Result]) -> Result:
    found: list[Result] = []
    for argument in given:
        if argument.types != {NoneType}:
            found.append(replace(argument, types=argument.types - {NoneType}))
        if NoneType not in argument.types:
            return union(*found)
    return union(*found, constant(None, why=_why_null(*given)))


def _merged(given: Sequence[Result]) -> Result:
    inside: dict[str | int, Result] = {}
    for argument in given:
        if argument.constant and isinstance(argument.constant[0], dict):
            inside.update({key: constant(value) for key, value in argument.constant[0].items()})
        else:
            # What is not known to be in it may be in it, and then it wins.
            inside = {**dict.fromkeys(inside, ANYTHING), **argument.inside}
    return Result(
        frozenset({dict}), "merge() yields an object", truth=True if inside else None, inside=inside
    )


def _evaluated(node: Node, value: Json = None) -> Result:
    """Of a node that depends on nothing but `value`."""
    try:
        return constant(INTERPRETER.visit(node, value))
    except CallError as error:
        return never(str(error))


def _literal(value: Json) -> Node:
    return {"type": "literal", "value": value, "children": []}


def _step(step: str | int) -> Node:
    return {"type": "index" if isinstance(step, int) else "field", "value": step, "children": []}
