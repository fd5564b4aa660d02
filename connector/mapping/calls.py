"""What JMESPath's functions take, and what they yield.

https://jmespath.org/specification.html#built-in-functions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import NoneType

from connector.mapping.expressions import INTERPRETER, CallError, Node
from connector.mapping.results import (
    ANYTHING,
    CONSTANT_WHY,
    CONTAINERS,
    NUMBERS,
    Result,
    Types,
    any_of,
    constant,
    item_of,
    items_of,
    kinds,
    never,
    null,
    some,
    union,
    why_null,
)
from connector.model import Json


def result_of_call(node: Node, arguments: Sequence[Result | None]) -> Result:
    """Of a call with arguments that fit; None stands for an &expression."""
    name = str(node["value"])
    given = [argument for argument in arguments if argument is not None]
    if len(given) == len(arguments) and all(argument.constant for argument in given):
        made = evaluated({**node, "children": [literal(argument.constant[0]) for argument in given]})
        whys = [argument.why for argument in given if argument.why != CONSTANT_WHY]
        return replace(made, why=whys[0]) if whys and made.types else made
    match name, given:
        case "to_number", [argument] if not argument.types & (NUMBERS | {str}):
            return constant(None, why=f"to_number() yields null where {argument}")
        case "not_null", _:
            return _not_null(given)
        case "merge", _:
            return _merged(given)
        case "to_array", [argument]:
            return _as_array(argument)
    if name not in YIELDS:
        return ANYTHING
    made = replace(YIELDS[name], why=f"{name}() yields {kinds(YIELDS[name].types)}")
    if name in KEEPS_ITEMS and given[0].types & CONTAINERS:
        made = replace(made, rest=item_of(given[0].only(CONTAINERS)))
    return replace(made, possible=_possible_of(name, given, made))


def contains_complaint(name: str, given: Sequence[Result]) -> str | None:
    """What is wrong with every call of contains() that has a string to look in."""
    match name, given:
        case "contains", [subject, search] if list not in subject.types and str not in search.types:
            return f"contains() of a string takes a string, and {search}"
    return None


ACCEPTED: dict[str, Types] = {
    "number": NUMBERS,
    "string": frozenset({str}),
    "boolean": frozenset({bool}),
    "array": frozenset({list}),
    "object": frozenset({dict}),
    "null": frozenset({NoneType}),
}
YIELDS: dict[str, Result] = {
    "abs": some(int, float),
    "avg": some(float, NoneType),
    "ceil": some(int),
    "contains": some(bool),
    "ends_with": some(bool),
    "floor": some(int),
    "join": some(str),
    "keys": some(list, rest=some(str)),
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
KEEPS_ITEMS = frozenset({"reverse", "sort", "sort_by", "values"})
"""Functions that yield an array of what is in their first argument."""


def accepted_types(wanted: Sequence[str]) -> Types:
    """The types that a signature names; none where it takes any."""
    if not wanted or wanted == ["expref"]:
        return frozenset()
    return frozenset().union(*(ACCEPTED[kind.partition("-")[0]] for kind in wanted))


def _accepted_items(wanted: Sequence[str]) -> Types:
    """The types that the items of an array must have; none where they may have any."""
    outer, items = {kind.partition("-")[0] for kind in wanted}, [kind.partition("-")[2] for kind in wanted]
    return (
        frozenset().union(*(ACCEPTED[kind] for kind in items))
        if outer == {"array"} and all(items)
        else frozenset()
    )


def type_complaint(argument: Result, wanted: Sequence[str]) -> str | None:
    """What keeps an argument from ever having one of the types that a signature names."""
    accepted = accepted_types(wanted)
    if not accepted:
        return None
    if not argument.types & accepted:
        return str(argument)
    items = _accepted_items(wanted)
    if argument.types & accepted == {list} and items:
        for item in argument.inside.values():
            if item.types and not item.types & items:
                return f"of the array's items {item}"
    return None


def possible_complaint(argument: Result, wanted: Sequence[str]) -> str | None:
    """What an argument is for some records that a signature does not take."""
    accepted = accepted_types(wanted)
    if not accepted:
        return None
    for kind, why in argument.possible.items():
        if kind not in accepted:
            return why or f"it may be {kinds({kind})}"
    items = _accepted_items(wanted)
    for item in items_of(argument.only(frozenset({list}))) if items else ():
        for kind, why in item.possible.items():
            if kind not in items:
                return f"of the array's items {why or f'some may be {kinds({kind})}'}"
    return None


def _possible_of(name: str, given: Sequence[Result], made: Result) -> Mapping[type, str]:
    """What a function surely yields for some records, by what its arguments may be."""
    if not given or not all(argument.possible for argument in given):
        return {}
    (first, *_) = given
    item = item_of(first.only(frozenset({list}))) if list in first.types else ANYTHING
    match name:
        case "abs":
            return {kind: "" for kind in first.possible if kind in NUMBERS}
        case "max" | "min" | "avg":
            found: list[type] = [kind for kind in item.possible if kind in made.types]
            empty = f"{name}() yields null of an empty array"
            return {**dict.fromkeys([float] if name == "avg" else found, ""), NoneType: empty}
        case "sum":
            return {int: "", **{kind: "" for kind in item.possible if kind in NUMBERS}}
        case "reverse":
            return {kind: "" for kind in first.possible if kind in made.types}
        case "to_number":
            return {}
    return dict.fromkeys(made.types, made.why)


def _not_null(given: Sequence[Result]) -> Result:
    found: list[Result] = []
    for argument in given:
        if argument.types != {NoneType}:
            found.append(argument.only(argument.types - {NoneType}))
        if NoneType not in argument.types:
            return union(*found)
    whys = [argument.possible.get(NoneType, "") for argument in given]
    missing = null(whys[-1]) if all(whys) else null()
    return union(*found, missing if found else constant(None, why=why_null(*given)))


def _as_array(argument: Result) -> Result:
    others = argument.only(argument.types - {list})
    why = "to_array() yields an array"
    made = Result(frozenset({list}), why, truth=True, inside={0: others}, rest=constant(None, why=why))
    made = replace(made, possible={list: why} if others.possible else {})
    return any_of(argument.only(frozenset({list})), made) if others.types else argument


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


def evaluated(node: Node, value: Json = None) -> Result:
    """Of a node that depends on nothing but `value`."""
    try:
        return constant(INTERPRETER.visit(node, value))
    except CallError as error:
        return never(str(error))


def literal(value: Json) -> Node:
    return {"type": "literal", "value": value, "children": []}
