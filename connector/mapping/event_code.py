"""Writes the Python function that makes events of one topic's records, from its templates.

Calling a function for every template, and for every part of one, takes longer than what they do. Here all of
it stands in one. Fields, constants, comparisons with a constant, `||`, `&&` and `!` are written out. For any
other expression the function calls `Expression.evaluate`, and to complain, functions at the end of this file.
Nothing of the configuration is executed: its texts stand in the function as literals only.
"""

from __future__ import annotations

import base64
import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, NoReturn, TypeAlias

import orjson

from connector.code import INDENT, Code
from connector.config.settings import TimeUnit
from connector.errors import MappingError
from connector.mapping.expressions import (
    COMPARISONS,
    ROOTS,
    Node,
    Scope,
    chain,
    is_exact_json,
    is_number,
    is_true,
)
from connector.mapping.results import KINDS
from connector.mapping.templates import Expression, Template
from connector.mapping.times import COUNTED, ReadTime, record_time_s
from connector.model import END_OF_TIME_S, Event, Headers, Json, Record, iso, new_tuple

MakeEvent: TypeAlias = "Callable[[Record, Json, Json, str], Event | None]"
"""Takes a record, its key and its value as JSON, and the event's id; None where the filter drops it."""

MAX_DETAIL_DEPTH = 254
"""The deepest nesting of a detail, which is what orjson writes. EventBridge itself takes 1000 levels."""
MAX_FIELDS = 3
"""Of a chain that is written out."""
MAX_OPERATORS = 10
"""Within each other. Python reads 200 parentheses at most."""
MAX_SUM = 8
"""Parts of a text that are added; more are joined."""

_SIGNS: Final = {"eq": "==", "ne": "!="}


class Templates(NamedTuple):
    """Everything about a topic that makes its events, compiled and checked."""

    filter: Expression | None
    source: Template
    detail_type: Template
    time: Template | None
    time_unit: TimeUnit
    read_time: ReadTime
    """Makes Unix time in seconds of what `time` yields."""
    resources: Sequence[Template]
    detail: Json
    """As the configuration has it; texts in it are templates."""
    metadata: str | None
    target: Template | None
    by_path: Mapping[str, Template]
    path: str
    """Where the event stands in the configuration."""
    target_path: str
    roots: frozenset[str]
    """The names of `ROOTS` that any expression uses."""


def event_code(templates: Templates) -> Code:
    """Write the function, a `MakeEvent`. It raises MappingError, and leaves the record as it is."""
    writer = _EventWriter(templates)
    writer.write()
    return writer.code


class _EventWriter:
    """Writes one function, line by line. In it the roots of expressions are variables of the same names."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        names = {
            "Event": Event,
            "add_traceparent": _add_traceparent,
            "dumps": orjson.dumps,
            "header_texts": header_texts,
            "is_true": is_true,
            "iso": _iso_timestamp,
            "key_is_taken": _key_is_taken,
            "new": new_tuple,
            "scalar": _scalar,
            "several": _several,
            "text": _text,
            "unwritable": _unwritable,
            **COMPARISONS,
        }
        self.code = Code("event", "record, key, value, event_id", names)
        self._calls = False
        """Some expression is called, and takes the scope."""

    def write(self) -> None:
        its, path = self._templates, self._templates.path
        self.code.write("(topic, partition), offset, timestamp, _, _, read_headers = record")
        given = [root for root in ROOTS if root != "headers"]
        if "headers" in its.roots:
            self.code.write("headers = header_texts(read_headers)")
            given.append("headers")
        place = len(self.code.lines)
        if its.filter is not None:
            self.code.write(f"if not {self._truth_of(its.filter)}:", "    return None")
        self.code.write(f"resources = {self._resources()}")
        self.code.write(f"source = {self._text_of(its.source, f'{path}.source')}")
        self.code.write(f"detail_type = {self._text_of(its.detail_type, f'{path}.detail_type')}")
        self.code.write(f"time = {self._time()}")
        self.code.write(f"detail = {self._detail(its.detail, f'{path}.detail')}")
        if not isinstance(its.detail, dict):
            self.code.write("if not isinstance(detail, dict):", "    detail = {'value': detail}")
        self._add_metadata()
        self.code.write("try:", "    detail = dumps(detail)")
        self.code.write("except TypeError as error:", f"    unwritable(error, {path!r})")
        target = None if its.target is None else self._text_of(its.target, its.target_path)
        self.code.write(f"return new(Event, (source, detail_type, time, resources, detail, {target}))")
        if self._calls:
            scope = ", ".join(f"{root!r}: {root}" for root in given)
            self.code.lines.insert(place, f"{INDENT}scope = {{{scope}}}")

    def _add_metadata(self) -> None:
        its = self._templates
        if its.metadata is None:
            return
        self.code.write(
            "metadata = {'id': event_id, 'topic': topic, 'partition': partition, 'offset': offset, "
            "'timestamp': iso(timestamp)}"
        )
        self.code.write("if read_headers:", "    add_traceparent(metadata, read_headers)")
        if not isinstance(its.detail, dict):
            self.code.write(
                f"if {its.metadata!r} in detail:", f"    key_is_taken({its.metadata!r}, {its.path!r})"
            )
        # A copy: the detail may be the record's own value.
        self.code.write(f"detail = {{**detail, {its.metadata!r}: metadata}}")

    # Templates

    def _text_of(self, template: Template, path: str) -> str:
        """A text; an expression alone may yield a string or an integer."""
        match template:
            case (Expression() as expression,):
                return self._checked(expression, "text", path)
        return self._joined(template, path)

    def _joined(self, template: Template, path: str) -> str:
        """A text with values in it: strings as they are, the rest as JSON writes it."""
        parts = [
            repr(part) if isinstance(part, str) else self._checked(part, "scalar", path) for part in template
        ]
        return " + ".join(parts) or "''" if len(parts) <= MAX_SUM else f"''.join([{', '.join(parts)}])"

    def _checked(self, expression: Expression, otherwise: str, path: str) -> str:
        found = self.code.variable()
        other = f"{otherwise}({found}, {self.code.constant(expression)}, {path!r})"
        return f"({found} if isinstance({found} := {self._value_of(expression)}, str) else {other})"

    def _resources(self) -> str:
        codes = []
        for number, template in enumerate(self._templates.resources):
            path = f"{self._templates.path}.resources[{number}]"
            match template:
                case (Expression() as expression,):
                    value = self._value_of(expression)
                    codes.append(f"*several({value}, {self.code.constant(expression)}, {path!r})")
                case _:
                    codes.append(self._joined(template, path))
        return f"[{', '.join(codes)}]"

    def _time(self) -> str:
        its, path = self._templates, f"{self._templates.path}.time"
        if its.time is None:
            self.code.names["read_time"] = partial(record_time_s, path=path)
            return "read_time(timestamp)"
        self.code.names["read_time"] = its.read_time
        match its.time:
            case (Expression() as expression,):
                found, value = self.code.variable(), self._value_of(expression)
                read_other = _reader_of_others(its.read_time, expression, its.time_unit, path)
                other = f"{self.code.constant(read_other)}({found})"
                return f"read_time({found}) if isinstance({found} := {value}, str) else {other}"
            case template:
                return f"read_time({self._joined(template, path)})"

    def _detail(self, node: Json, path: str) -> str:
        """Templates nested in mappings and lists at any depth; keys and other scalars are as they stand.

        Each mapping and list has a line of its own, since Python does not read what nests deeply.
        """
        match node:
            case str():
                template = self._templates.by_path[path]
                match template:
                    case (Expression() as expression,):
                        return self._value_of(expression)
                return self._joined(template, path)
            case dict():
                fields = [f"{key!r}: {self._detail(child, f'{path}.{key}')}" for key, child in node.items()]
                return self.code.stored("{" + ", ".join(fields) + "}")
            case list():
                items = [self._detail(child, f"{path}[{index}]") for index, child in enumerate(node)]
                return self.code.stored(f"[{', '.join(items)}]")
        return self._literal(node)

    # Expressions

    def _value_of(self, expression: Expression) -> str:
        return self._value(expression.node, 0) or self._call(expression)

    def _truth_of(self, expression: Expression) -> str:
        """Whether JMESPath takes the value for true."""
        return self._truth(expression.node, 0) or f"is_true({self._call(expression)})"

    def _call(self, expression: Expression) -> str:
        self._calls = True
        return f"{self.code.constant(expression.evaluate)}(scope)"

    def _value(self, node: Node, depth: int) -> str | None:
        """The node in Python; None where it could fail, is rare, or too deep."""
        if depth > MAX_OPERATORS:
            return None
        match node["type"], node["children"]:
            case "literal", _:
                return self._literal(node["value"])
            case "field" | "subexpression", _:
                return self._fields(chain(node) or ())
            case "or_expression" | "and_expression" as kind, [first, second]:
                left, right = self._value(first, depth + 1), self._value(second, depth + 1)
                found = self.code.variable()
                if left is None or right is None:
                    return None
                then, otherwise = (found, right) if kind == "or_expression" else (right, found)
                return f"({then} if is_true({found} := {left}) else {otherwise})"
            case "comparator" | "not_expression", _:
                return self._truth(node, depth)  # true, false, or null
        return None

    def _truth(self, node: Node, depth: int) -> str | None:
        if depth > MAX_OPERATORS:
            return None
        match node["type"], node["children"]:
            case "or_expression" | "and_expression" as kind, [first, second]:
                left, right = self._truth(first, depth + 1), self._truth(second, depth + 1)
                if left is None or right is None:
                    return None
                return f"({left} {'or' if kind == 'or_expression' else 'and'} {right})"
            case "not_expression", [negated]:
                truth = self._truth(negated, depth + 1)
                return truth and f"(not {truth})"
            case "comparator", [first, second]:
                return self._comparison(str(node["value"]), first, second, depth + 1)
        value = self._value(node, depth)
        return value and f"is_true({value})"

    def _comparison(self, sign: str, first: Node, second: Node, depth: int) -> str | None:
        left, right = self._value(first, depth), self._value(second, depth)
        if left is None or right is None:
            return None
        if sign not in _SIGNS:
            return f"{sign}({left}, {right})"
        # Text and null are equal in Python where they are for JMESPath. Others may nest too deeply.
        if any(
            each["type"] == "literal" and isinstance(each["value"], str | None) for each in (first, second)
        ):
            return f"({left} {_SIGNS[sign]} {right})"
        return None

    def _fields(self, steps: Sequence[str | int]) -> str | None:
        match steps:
            case [str(root), *fields] if root in ROOTS and len(fields) <= MAX_FIELDS:
                code = found = known = root
                for field in fields:
                    code = f"({found}.get({field!r}) if isinstance({known}, dict) else None)"
                    found = self.code.variable()
                    known = f"({found} := {code})"
                return code if all(isinstance(field, str) for field in fields) else None
        return None

    def _literal(self, value: Json) -> str:
        is_plain = value is None or isinstance(value, str | bool | int)
        if is_plain or (isinstance(value, float) and math.isfinite(value)):
            return repr(value)
        return self.code.constant(value)


# --- what the function calls --------------------------------------------------------------------

NULL_ADVICE = "Give a default with `||` in the expression, or drop such records with `filter`"
NULL_ITEM_ADVICE = "Write `[*]` behind the array, as in `value.ids[*]`, which leaves nulls out"


def _text(value: Json, expression: Expression, path: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise _refusal(value, expression, path, wanted="a string or an integer")


def _scalar(value: Json, expression: Expression, path: str) -> str:
    if isinstance(value, (int, float)) and is_exact_json(value):
        return orjson.dumps(value).decode()
    raise _refusal(value, expression, path, wanted="a string, a number or a boolean")


def _several(value: Json, expression: Expression, path: str) -> list[str]:
    if not isinstance(value, list):
        return [_text(value, expression, path)]
    return [each if isinstance(each, str) else _item(each, expression, path) for each in value]


def _item(value: Json, expression: Expression, path: str) -> str:
    if value is None:
        message = f"{path}: {expression.shown} is an array with a null in it. {NULL_ITEM_ADVICE}."
        raise MappingError("template_null", message)
    return _text(value, expression, path)


def _refusal(value: Json, expression: Expression, path: str, *, wanted: str) -> MappingError:
    """What is wrong with a value of another type than `wanted`, without the value."""
    if value is None:
        message = f"{path}: {expression.shown} is null or missing. {NULL_ADVICE}."
        return MappingError("template_null", message)
    return MappingError(
        "template_type", f"{path}: {expression.shown} is {KINDS[type(value)]}, and must be {wanted}."
    )


def _reader_of_others(
    read: ReadTime, expression: Expression, unit: TimeUnit, path: str
) -> Callable[[Json], float]:
    def read_other(value: Json) -> float:
        if is_number(value):
            return read(value)
        wanted = f"ISO 8601 text or a number of {COUNTED[unit]} since 1970"
        raise _refusal(value, expression, path, wanted=wanted)

    return read_other


def _key_is_taken(name: str, path: str) -> NoReturn:
    raise MappingError(
        "detail_invalid",
        f"{path}.metadata: the detail already has a key `{name}`. "
        "Choose another name for `metadata`, or null for none.",
    )


def _unwritable(error: TypeError, path: str) -> NoReturn:
    # Integers from 2^63 to 2^64 - 1 pass orjson, and EventBridge's are signed. No decoder, constant
    # or function gives one.
    if "Recursion limit" in str(error):
        message = f"{path}.detail: nests deeper than {MAX_DETAIL_DEPTH} levels."
        raise MappingError("detail_too_deep", message) from error
    raise MappingError("detail_invalid", f"{path}.detail: cannot be written as JSON: {error}.") from error


def _iso_timestamp(timestamp_ms: int | None) -> str | None:
    """As 2026-01-31T12:00:00.000Z; None where there is none, or none that ISO 8601 can write."""
    if timestamp_ms is None or not 0 <= timestamp_ms < END_OF_TIME_S * 1000:
        return None
    return iso(timestamp_ms)


def _add_traceparent(metadata: dict[str, Json], headers: Headers) -> None:
    # https://www.w3.org/TR/trace-context/#traceparent-header
    for name, content in reversed(headers):
        if name == "traceparent" and content is not None:
            with contextlib.suppress(UnicodeDecodeError):
                metadata["traceparent"] = content.decode()
            break


# --- the same, one template at a time ------------------------------------------------------------


def record_scope(record: Record, key: Json, value: Json) -> Scope:
    """What expressions see of a record, with its decoded key and value."""
    (topic, partition), offset, timestamp_ms, _, _, headers = record
    texts: Json = header_texts(headers)
    return {
        "value": value,
        "key": key,
        "headers": texts,
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "timestamp": timestamp_ms,
    }


def value_of(template: Template, scope: Scope) -> Json:
    """What a template makes: of an expression alone its value, else a text; None also where it fails."""
    match template:
        case (Expression() as expression,):
            with contextlib.suppress(MappingError):
                return expression.evaluate(scope)
            return None
    return text_of(template, scope)


def text_of(template: Template, scope: Scope) -> str | None:
    """The text that a template makes for a source or detail type; None where it fails."""
    other = _text if len(template) == 1 else _scalar

    def text(part: str | Expression) -> str:
        if isinstance(part, str):
            return part
        value = part.evaluate(scope)
        return value if isinstance(value, str) else other(value, part, "")

    try:
        return "".join(map(text, template))
    except MappingError:
        return None


def header_texts(headers: Headers) -> dict[str, Json]:
    """Headers by name, the last of a name. UTF-8 as text, other bytes as base64."""
    return {name: None if content is None else _header_text(content) for name, content in headers}


def _header_text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return base64.b64encode(content).decode()
