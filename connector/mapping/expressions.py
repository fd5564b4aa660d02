"""JMESPath expressions as Python functions.

The jmespath library parses them. What mappings mostly consist of (field chains, indexes, literals,
comparisons, `||`, `&&`, `!`) becomes plain Python functions with the same results; the rest runs in the
library's interpreter, which takes 4 to 16 µs for an expression where ours takes 0.1 to 0.5.
https://jmespath.org/specification.html
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias, TypedDict, TypeGuard

from jmespath import functions, visitor
from jmespath.exceptions import (
    JMESPathTypeError,
)

from connector.errors import MappingError
from connector.model import Json

ROOTS = ("value", "key", "headers", "topic", "partition", "offset", "timestamp")
"""The names an expression may start with."""

Scope: TypeAlias = "dict[str, Json]"
"""The values of `ROOTS` for one record."""

Evaluate: TypeAlias = "Callable[[Scope], Json]"


class Node(TypedDict):
    """A node of jmespath's syntax tree."""

    type: str
    value: Json
    children: list[Node]


def is_exact_json(value: Json) -> bool:
    """Whether JSON can carry a value of the configuration as it is: no NaN, infinity or giant integer."""
    match value:
        case float():
            return math.isfinite(value)
        case int():
            return -(2**63) <= value < 2**63
        case list():
            return all(map(is_exact_json, value))
        case dict():
            return all(map(is_exact_json, value.values()))
    return True


# --- evaluation ---------------------------------------------------------------------------------


def is_true(value: Json) -> bool:
    """JMESPath's truth: null, false and empty strings, arrays and objects are false; 0 is true."""
    return bool(value) or (value == 0 and value is not False)


def _equal(left: Json, right: Json) -> bool:
    # In Python 1 == True. jmespath compares the outermost value only, and so do we.
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _ordering(
    compare: Callable[[float | str, float | str], bool],
) -> Callable[[Json, Json], bool | None]:
    """Numbers compare with numbers and strings with strings; anything else is null.

    jmespath fails on a string next to a number, where its specification asks for null.
    """

    def ordered(left: Json, right: Json) -> bool | None:
        if isinstance(left, str):
            return compare(left, right) if isinstance(right, str) else None
        if is_number(left) and is_number(right):
            return compare(left, right)
        return None

    return ordered


def is_number(value: Json) -> TypeGuard[int | float]:
    # A tuple: `int | float` would be built anew at every call, at twice the time.
    return isinstance(value, (int, float)) and not isinstance(value, bool)


COMPARISONS: dict[str, Callable[[Json, Json], bool | None]] = {
    "eq": _equal,
    "ne": lambda left, right: not _equal(left, right),
    "lt": _ordering(operator.lt),
    "lte": _ordering(operator.le),
    "gt": _ordering(operator.gt),
    "gte": _ordering(operator.ge),
}


class CallError(Exception):
    """A JMESPath function failed; the message holds no values."""


class _Functions(functions.Functions):
    """JMESPath's functions, with errors that hold no values and results that JSON can carry."""

    def call_function(self, function_name: str, resolved_args: Iterable[Json]) -> Json:
        try:
            result: Json = super().call_function(function_name, resolved_args)
        except JMESPathTypeError as error:
            found = functions.TYPES_MAP.get(error.actual_type, error.actual_type)
            expected = " or ".join(error.expected_types)
            raise CallError(f"{error.function_name}() takes {expected}, and was given {found}") from None
        except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise CallError(f"{function_name}() failed with {type(error).__name__}") from None
        if is_number(result) and not is_exact_json(result):
            raise CallError(f"{function_name}() made a number that JSON cannot carry")
        return result


class _Interpreter(visitor.TreeInterpreter):
    COMPARATOR_FUNC = COMPARISONS


INTERPRETER = _Interpreter(visitor.Options(custom_functions=_Functions()))


def guard(evaluate: Evaluate, *, path: str, shown: str) -> Evaluate:
    """Turn the failures of an expression into MappingError `template_failed`, without values of the record.

    `path` is its place in the configuration, `shown` its text.
    """

    def guarded(scope: Scope) -> Json:
        try:
            return evaluate(scope)
        except (CallError, RecursionError) as error:
            reason = str(error) if isinstance(error, CallError) else "the value nests too deeply"
            # `from None`: the cause holds values of the record, and a traceback would show them.
            raise MappingError("template_failed", f"{path}: {shown} failed: {reason}.") from None

    return guarded


def compile_node(node: Node) -> Evaluate:
    """Give the function that evaluates a node of jmespath's syntax tree, with all that is below it."""
    children = node["children"]
    match node["type"]:
        case "literal":
            value = node["value"]
            return lambda _: value
        case "field" | "subexpression" | "index_expression":
            match chain(node):
                case [str(root), *steps]:
                    return _reader(root, steps)
        case "comparator":
            compare = COMPARISONS[str(node["value"])]
            left, right = map(compile_node, children)
            return lambda scope: compare(left(scope), right(scope))
        case "or_expression":
            first, second = map(compile_node, children)
            return lambda scope: found if is_true(found := first(scope)) else second(scope)
        case "and_expression":
            first, second = map(compile_node, children)
            return lambda scope: second(scope) if is_true(found := first(scope)) else found
        case "not_expression":
            (negated,) = map(compile_node, children)
            return lambda scope: not is_true(negated(scope))
    return lambda scope: INTERPRETER.visit(node, scope)


def chain(node: Node) -> list[str | int] | None:
    """The field names and indexes of `a.b[0].c`; None for what has anything else in it."""
    match node["type"]:
        case "field" | "index":
            step = node["value"]
            return [step] if isinstance(step, str | int) else None
        case "subexpression" | "index_expression":
            steps: list[str | int] = []
            for child in node["children"]:
                if (more := chain(child)) is None:
                    return None
                steps += more
            return steps
    return None


def _reader(root: str, steps: Sequence[str | int]) -> Evaluate:
    match steps:
        case []:
            return lambda scope: scope[root]
        case [str(name)]:

            def read_field(scope: Scope) -> Json:
                found = scope[root]
                return found.get(name) if isinstance(found, dict) else None

            return read_field

    def read(scope: Scope) -> Json:
        found = scope[root]
        for step in steps:
            if isinstance(found, dict):
                # An index is no key of any object, so this is null for one, as it must be.
                found = found.get(step)  # type: ignore[arg-type]
            elif isinstance(found, list) and isinstance(step, int) and -len(found) <= step < len(found):
                found = found[step]
            else:
                return None
        return found

    return read
