"""The texts that a template can make, where they are few: from constants, enums and conditions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import orjson

from connector.mapping.expressions import COMPARISONS, Node, chain, is_true
from connector.mapping.templates import Expression, Template
from connector.model import Json
from connector.workbench.expression_schema import NULL, ExpressionSchemas, branches_of
from connector.workbench.json_schema import JsonSchema

MAX_TEXTS = 50
"""A rule that lists more is hard to read, and its pattern soon too long for EventBridge."""
MAX_ALTERNATIVES = 200
"""What yields more is not followed."""

Place: TypeAlias = "tuple[str | int, ...]"
"""Field names and indexes, from a root on, as `("value", "status")`."""

PlacedValues: TypeAlias = "Mapping[Place, Json]"
"""What records have at some places."""


class Alternative(NamedTuple):
    """One of the values that something yields, and what some of the records have of which it does."""

    value: Json
    choices: PlacedValues


def texts(template: Template, schemas: ExpressionSchemas) -> dict[str, list[PlacedValues]] | None:
    """Give every text that a template can make. Every record that makes one has one of its choices.

    None where the texts are not known, or more than `MAX_TEXTS`.
    """
    known: Sequence[Alternative] | None = [Alternative("", {})]
    for part in template:
        found = [Alternative(part, {})] if isinstance(part, str) else _values(part.node, schemas)
        if known is None or found is None:
            return None
        written = [
            Alternative(text, choices)
            for value, choices in found
            if (text := _text(value, is_lone=len(template) == 1)) is not None
        ]
        known = _limited(
            both
            for first in known
            for second in written
            if (both := _joined(first, second, f"{first.value}{second.value}"))
        )
    by_text: dict[str, list[PlacedValues]] = {}
    for each in known or ():
        by_text.setdefault(str(each.value), []).append(each.choices)
    return by_text if 0 < len(by_text) <= MAX_TEXTS else None


def expressions(template: Template) -> Iterator[Expression]:
    """Give the expressions of a template."""
    return (part for part in template if isinstance(part, Expression))


def _text(value: Json, *, is_lone: bool) -> str | None:
    """A value as a template writes it; None where that is an error."""
    if isinstance(value, str):
        return value
    is_written = isinstance(value, int | float) and not (is_lone and isinstance(value, bool | float))
    return orjson.dumps(value).decode() if is_written else None


def _values(node: Node, schemas: ExpressionSchemas, *, exact: bool = True) -> list[Alternative] | None:
    """What an expression yields. Not `exact`, false stands for all that is false for JMESPath."""
    match node["type"], node["children"]:
        case "literal", _:
            return [Alternative(node["value"], {})]
        case "or_expression", [first, second]:
            return _chosen(_values(first, schemas, exact=False), _values(second, schemas), ends=True)
        case "and_expression", [first, second]:
            left = _values(first, schemas) if exact else truths(first, schemas)
            return _chosen(left, _values(second, schemas), ends=False)
        case "not_expression", _:
            return truths(node, schemas)
        case "comparator", [first, second] if node["value"] in {"eq", "ne"}:
            return _limited(_compared(str(node["value"]), first, second, schemas))
    if (path := chain(node)) is None:
        return None
    values = _enumerated(schemas.of(node), schemas)
    return None if values is None else [Alternative(value, {tuple(path): value}) for value in values]


def _chosen(
    first: list[Alternative] | None, second: list[Alternative] | None, *, ends: bool
) -> list[Alternative] | None:
    """Of `||` and `&&`: the first where its truth `ends` it, else the second."""
    if first is None or second is None:
        return None
    found: list[Alternative] = []
    for each in first:
        if is_true(each.value) == ends:
            found.append(each)
        else:
            found += [both for other in second if (both := _joined(each, other, other.value))]
    return _limited(found)


def truths(node: Node, schemas: ExpressionSchemas) -> list[Alternative]:
    """Give true, false, or both: what the expression of a node is for JMESPath.

    Of each, every record that has it has one of the choices.
    """
    found: list[Alternative] | None = None
    match node["type"], node["children"]:
        case "or_expression" | "and_expression" as kind, [first, second]:
            left, right = truths(first, schemas), truths(second, schemas)
            found = _chosen(left, right, ends=kind == "or_expression")
        case "not_expression", [negated]:
            found = [Alternative(not value, choices) for value, choices in truths(negated, schemas)]
        case _ if (values := _values(node, schemas)) is not None:
            found = _limited(Alternative(is_true(value), choices) for value, choices in values)
    if found is not None:
        return found
    either = [Alternative(value=True, choices={}), Alternative(value=False, choices={})]
    if (path := chain(node)) and NULL in branches_of(schemas.of(node)):
        # Before the one that is left open, since it is easily made.
        return [Alternative(value=False, choices={tuple(path): None}), *either]
    return either


def _compared(sign: str, first: Node, second: Node, schemas: ExpressionSchemas) -> Iterator[Alternative]:
    compare = COMPARISONS[sign]
    left, right = _values(first, schemas), _values(second, schemas)
    if left is not None and right is not None:
        for one in left:
            for other in right:
                if both := _joined(one, other, compare(one.value, other.value)):
                    yield both
        return
    # Of what has too many values, one that is equal makes the difference; the others are left open.
    known, path = (left, chain(second)) if right is None else (right, chain(first))
    for each in known or ():
        if path:
            yield Alternative(sign == "eq", {**each.choices, tuple(path): each.value})
    yield Alternative(sign == "ne", {})
    if not known or not path:
        yield Alternative(sign == "eq", {})


def _enumerated(schema: JsonSchema, schemas: ExpressionSchemas) -> list[Json] | None:
    """Every value that a schema allows; None where they are many."""
    found: list[Json] = []
    for branch in branches_of(schemas.resolved(schema)):
        match schemas.resolved(branch):
            case {"enum": [*values]}:
                found += values
            case {"type": "null"}:
                found.append(None)
            case {"type": "boolean"}:
                found += [True, False]
            case _:
                return None
    return found


def joined(first: PlacedValues, second: PlacedValues) -> PlacedValues | None:
    """Give both at once; None where no record has both."""
    if any(second.get(place, chosen) != chosen for place, chosen in first.items()):
        return None
    return {**first, **second}


def _joined(first: Alternative, second: Alternative, value: Json) -> Alternative | None:
    choices = joined(first.choices, second.choices)
    return None if choices is None else Alternative(value, choices)


def _limited(alternatives: Iterable[Alternative]) -> list[Alternative] | None:
    """Each once; None where they are too many."""
    kept: list[Alternative] = []
    for each in alternatives:
        if each not in kept:
            kept.append(each)
        if len(kept) > MAX_ALTERNATIVES:
            return None
    return kept
