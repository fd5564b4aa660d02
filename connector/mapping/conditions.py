"""What is known of values where an expression over them is true, or false.

As behind `&&` and `||`, and of the records that a filter keeps: what is compared with text is no null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import NoneType
from typing import TypeAlias

from jmespath import functions

from connector.mapping.calls import accepted_types
from connector.mapping.expressions import COMPARISONS, Node, chain, is_number, is_true
from connector.mapping.results import CONTAINERS, NUMBERS, Result, any_of, never, null
from connector.model import Json

_Change: TypeAlias = "Callable[[Result], Result]"


def assuming(current: Result, node: Node, *, truth: bool) -> Result:
    """`current`, where it is known that the node, applied to it, is true, or false.

    It stays as it is where that cannot be: what follows is never evaluated then.
    """
    found = _narrowed(current, node, truth, 0)
    return found if found.types else current


MAX_DEPTH = 8
"""Operators within each other that are followed: each may double the ways."""
MAX_WAYS = 4
"""Alternatives that are kept apart."""


def _narrowed(current: Result, node: Node, truth: bool, depth: int) -> Result:  # noqa: FBT001
    if depth > MAX_DEPTH or not current.types:
        return current
    narrowed = partial(_narrowed, depth=depth + 1)
    match node["type"], node["children"]:
        case "literal", _:
            return current if is_true(node["value"]) is truth else never("")
        case "not_expression", [negated]:
            return narrowed(current, negated, not truth)
        case "and_expression" | "or_expression" as kind, [first, second]:
            found = narrowed(current, first, truth)
            if truth is (kind == "and_expression"):
                return narrowed(found, second, truth)
            either = any_of(found, narrowed(narrowed(current, first, not truth), second, truth))
            return either if len(either.options) <= MAX_WAYS else current
        case "comparator", [first, second]:
            for child in (first, second):
                current = _with_arguments(current, child)
            return _narrowed_by(current, str(node["value"]), first, second, truth=truth)
        case "function_expression", children:
            current = _with_arguments(current, node)
            match node["value"], children:
                case "contains", [among, item] if truth and (steps := chain(item)):
                    texts = _texts_in(among)
                    return (
                        current if texts is None else _changed(current, steps, partial(_one_of, texts=texts))
                    )
        case _ if steps := chain(node) or (_projected_at(node) if truth else None):
            return _changed(current, steps, partial(Result.where, truth=truth))
    return current


def _projected_at(node: Node) -> list[str | int] | None:
    """The steps to what a projection is of: where that yields something, it has items."""
    match node["type"], node["children"]:
        case "projection" | "filter_projection" | "value_projection" | "flatten", [base, *_]:
            return chain(base) or _projected_at(base)
        case "subexpression" | "index_expression", [first, last]:
            start, end = chain(first), _projected_at(last)
            return [*start, *end] if start and end else None
    return None


def _narrowed_by(current: Result, name: str, first: Node, second: Node, *, truth: bool) -> Result:
    """What a comparison of a field with a constant lets know."""
    if name in {"eq", "ne"}:
        name, truth = "eq" if truth is (name == "eq") else "ne", True
    if not truth:
        return current  # what is not less may be null
    for one, other in ((first, second), (second, first)):
        steps = chain(one)
        if steps and name not in {"eq", "ne"}:
            current = _changed(current, steps, partial(Result.only, types=NUMBERS | {str}))
        elif steps and other["type"] == "literal":
            change = _equal if name == "eq" else _unequal
            current = _changed(current, steps, partial(change, value=other["value"]))
        elif other["type"] == "literal" and (steps := _measured(one)) and is_number(value := other["value"]):
            # As length(x) > `0`.
            is_true_of_none = COMPARISONS[name](*((0, value) if one is first else (value, 0)))
            if not is_true_of_none:
                current = _changed(current, steps, partial(Result.where, truth=True))
    return current


def _measured(node: Node) -> list[str | int] | None:
    """The steps to what length() is called with."""
    is_length = node["type"] == "function_expression" and node["value"] == "length"
    return chain(node["children"][0]) if is_length else None


def _with_arguments(current: Result, node: Node) -> Result:
    """What is known where a function does not fail: its arguments have types that it takes."""
    if node["type"] != "function_expression":
        return current
    signature = functions.Functions.FUNCTION_TABLE.get(str(node["value"]), {}).get("signature", ())
    for argument, wanted in zip(node["children"], signature, strict=False):
        accepted, steps = accepted_types(wanted["types"]), chain(argument)
        if accepted and steps:
            found = _changed(current, steps, partial(Result.only, types=accepted))
            current = found if found.types else current
    return current


def _texts_in(node: Node) -> list[str] | None:
    """The texts of an array of constants; None where there is anything else in it."""
    match node:
        case {"type": "literal", "value": list(values)}:
            pass
        case {"type": "multi_select_list", "children": children}:
            values = [child["value"] if child["type"] == "literal" else None for child in children]
        case _:
            return None
    texts = [value for value in values if isinstance(value, str)]
    return texts if len(texts) == len(values) else None


def _equal(result: Result, value: Json) -> Result:
    if isinstance(value, str):
        return _one_of(result, [value])
    found = result.only(NUMBERS if is_number(value) else frozenset({type(value)}))
    return (
        replace(found, truth=is_true(value)) if found.types and not isinstance(value, dict | list) else found
    )


def _one_of(result: Result, texts: Sequence[str]) -> Result:
    kept = tuple(text for text in texts if not result.only_texts or text in result.texts)
    found = result.only(frozenset({str}))
    if not found.types or not kept:
        return never("")
    return replace(found, texts=kept, only_texts=True, truth=True if all(kept) else found.truth)


def _unequal(result: Result, value: Json) -> Result:
    if value is None:
        return result.only(result.types - {NoneType})
    if isinstance(value, str) and result.only_texts:
        texts = tuple(text for text in result.texts if text != value)
        return replace(result, texts=texts) if texts else result.only(result.types - {str})
    return result


def _changed(current: Result, steps: Sequence[str | int], change: _Change) -> Result:
    """`current`, where `change` says what is known behind these steps; no types where that cannot be."""
    if not steps:
        return change(current)
    if current.constant:
        return current
    step, *further = steps
    container = list if isinstance(step, int) else dict
    may_be_null = bool(change(null()).types)
    parts: list[Result] = []
    for option in current.options or (current.only(CONTAINERS),):
        kept = option.only(frozenset({container}))
        child = _changed(kept.at(step), further, change) if kept.types else kept
        if child.types:
            parts.append(_having(kept, step, child))
        if may_be_null:
            parts.append(option.only(option.types - {container}))
    if may_be_null:
        parts.append(current.only(current.types - CONTAINERS))
    return any_of(*parts, never(""))


def _having(container: Result, step: str | int, child: Result) -> Result:
    """An object or array with something known at that step, where it surely has it."""
    is_sure = step in container.inside or NoneType not in child.types
    is_next = isinstance(step, str) or step == 0 or step in container.inside
    if container.constant or not is_sure or not is_next:
        return container
    return replace(container, inside={**container.inside, step: child}, truth=True)
