"""Per-topic rules: a decoded record becomes an event. Pure; compiled and checked at start."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable, Collection, Sequence
from functools import partial
from types import NoneType
from typing import TypeAlias

import orjson

from connector.config.entry_rules import (
    Parts,
    Rule,
    detail_type_problem,
    resource_problem,
    source_problem,
    unicode_problem,
)
from connector.config.problems import did_you_mean
from connector.config.settings import DEFAULT_TARGET, TimeUnit, Topic
from connector.errors import ConfigError, MappingError
from connector.mapping.expressions import Evaluate, Scope, is_exact_json, is_number, is_true
from connector.mapping.results import CONSTANT_WHY, KINDS, NUMBERS, Result, Types, constant, kinds, scope_of
from connector.mapping.templates import Compiler, Expression, Template
from connector.mapping.times import COUNTED, record_time_s, time_reader
from connector.model import END_OF_TIME_S, Decoded, Event, Headers, Json, Record, iso

MAX_DETAIL_DEPTH = 254
"""The deepest nesting of a detail, which is what orjson writes. EventBridge itself takes 1000 levels."""

NULL_ADVICE = "Give a default with `||` in the expression, or drop such records with `filter`"

NULL_ITEM_ADVICE = "Write `[*]` behind the array, as in `value.ids[*]`, which leaves nulls out"

TEXTS: Types = frozenset({str, int})
"""What a lone expression may yield where text is wanted."""
SCALARS: Types = TEXTS | NUMBERS | {bool}
"""What an expression with text around it may yield."""
A_TEXT, A_SCALAR = "a string or an integer", "a string, a number or a boolean"

TextOf: TypeAlias = "Callable[[Scope], str]"


class Mapping:
    """Turns the records of one topic into events by the rules of its configuration.

    `path` is where the topic stands in the configuration, as `topics.orders.v1`; messages begin
    with it. `name` is the topic's name, or None where a pattern stands for several; `targets` are the
    names of the targets. Everything that would go wrong with every record is found at construction,
    EventBridge's limits included, as far as they concern what templates say for every record.

    An event of a record is not checked against those limits here. That is true of emptiness too: a
    template that yields an empty string makes an event with an empty source or detail type.

    Raises:
        ConfigError: with every problem of this topic's filter and event.
    """

    uses_key: bool
    """Whether any expression uses the record's key; where none does it is not decoded."""

    def __init__(
        self,
        topic: Topic,
        *,
        path: str,
        name: str | None = None,
        targets: Collection[str] = (DEFAULT_TARGET,),
    ) -> None:
        compiler = Compiler(scope_of(topic, name=name))
        event, event_path = topic.event, f"{path}.event"

        self._filter: Evaluate | None = None
        if topic.filter is not None:
            self._filter = _filter(topic.filter, compiler, path=f"{path}.filter")
        self._source = _text(event.source, source_problem, compiler, path=f"{event_path}.source")
        self._detail_type = _text(
            event.detail_type, detail_type_problem, compiler, path=f"{event_path}.detail_type"
        )
        self._time = _time(event.time, event.time_unit, compiler, path=f"{event_path}.time")
        self._resources = [
            _resource(resource, compiler, path=f"{event_path}.resources[{index}]")
            for index, resource in enumerate(event.resources)
        ]
        self._detail = _detail(event.detail, compiler, path=f"{event_path}.detail")
        _check_metadata(event.detail, event.metadata, compiler, path=event_path)
        self._target: TextOf | None = None
        if "${" in topic.target:
            rule = partial(_target_problem, targets=targets)
            self._target = _text(topic.target, rule, compiler, path=f"{path}.target")
        self._metadata = event.metadata
        self._event_path = event_path

        _try_fixed_time(self._time, compiler, path=f"{event_path}.time")
        if compiler.problems:
            raise ConfigError(compiler.problems)
        self.uses_key = "key" in compiler.roots
        self._uses_headers = "headers" in compiler.roots

    def __call__(self, decoded: Decoded, event_id: str) -> Event | None:
        """The event of one record, or None when the filter drops it. The record stays as it was.

        Raises:
            MappingError: template_null, template_type, template_failed, time_out_of_range,
                detail_invalid or detail_too_deep.
        """
        record = decoded.record
        topic, partition = record.partition
        scope: Scope = {
            "value": decoded.value,
            "key": decoded.key,
            "topic": topic,
            "partition": partition,
            "offset": record.offset,
            "timestamp": record.timestamp_ms,
        }
        if self._uses_headers:
            scope["headers"] = _header_texts(record.headers)
        if self._filter is not None and not is_true(self._filter(scope)):
            return None
        resources: list[str] = []
        for texts in self._resources:
            resources += texts(scope)
        made = Event(
            self._source(scope),
            self._detail_type(scope),
            self._time(scope),
            resources,
            self._detail_bytes(scope, record, event_id),
        )
        return made if self._target is None else made._replace(target=self._target(scope))

    def _detail_bytes(self, scope: Scope, record: Record, event_id: str) -> bytes:
        detail = self._detail(scope)
        if not isinstance(detail, dict):
            detail = {"value": detail}
        if self._metadata is not None:
            if self._metadata in detail:
                raise MappingError(
                    "detail_invalid",
                    f"{self._event_path}.metadata: the detail already has a key `{self._metadata}`. "
                    "Choose another name for `metadata`, or null for none.",
                )
            # A copy: the detail may be the record's own value.
            detail = {**detail, self._metadata: _metadata(record, event_id)}
        # Integers from 2^63 to 2^64 - 1 pass orjson, and EventBridge's are signed. No decoder, constant
        # or function gives one.
        try:
            return orjson.dumps(detail)
        except TypeError as error:
            path = f"{self._event_path}.detail"
            if "Recursion limit" in str(error):
                message = f"{path}: nests deeper than {MAX_DETAIL_DEPTH} levels."
                raise MappingError("detail_too_deep", message) from error
            raise MappingError("detail_invalid", f"{path}: cannot be written as JSON: {error}.") from error


# --- filter, source, detail_type ----------------------------------------------------------------


def _filter(source: str, compiler: Compiler, *, path: str) -> Evaluate:
    if source.lstrip().startswith("${"):
        compiler.refuse(path, "a filter is one expression; write it without ${ }")
        return lambda _: True
    expression = compiler.expression(source, path=path)
    result = expression.result
    since = f": {result.why}" if result.why and result.why != CONSTANT_WHY else ""
    if not result.types:
        compiler.refuse(path, f"{expression.shown} fails for every record{since}")
    elif result.truth is True:
        message = (
            f"{expression.shown} is true for every record, so that it keeps all{since}. Leave `filter` out"
        )
        is_number = result.types <= NUMBERS
        advice = (
            "compare it, since a number is true, also 0" if is_number else "compare a field of the record"
        )
        compiler.refuse(path, f"{message}, or {advice}")
    elif result.truth is False:
        message = (
            f"{expression.shown} is false for every record, so that it drops all{since}. Compare a field"
        )
        compiler.refuse(path, f"{message} of the record with what it can be")
    return expression.evaluate


def _text(text: str, rule: Rule, compiler: Compiler, *, path: str) -> TextOf:
    """A field that must be text: a lone expression may yield a string or an integer."""
    template = compiler.template(text, path=path)
    _check(template, compiler, path=path, rule=rule)
    match template:
        case (Expression() as expression,):
            evaluate = expression.evaluate

            def text_of(scope: Scope) -> str:
                value = evaluate(scope)
                return value if isinstance(value, str) else _name(value, expression, path)

            return text_of
    return _joined(template, path=path)


def _name(value: Json, expression: Expression, path: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise _refusal(value, expression, path, wanted="a string or an integer")


def _joined(template: Template, *, path: str) -> TextOf:
    """Text with the values of expressions in it: strings as they are, the rest as JSON writes it."""
    match template:
        case ():
            return lambda _: ""
        case (str(text),):
            return lambda _: text
        case (str(prefix), Expression() as expression):
            evaluate = expression.evaluate

            def prefixed(scope: Scope) -> str:
                value = evaluate(scope)
                return prefix + (value if isinstance(value, str) else _scalar(value, expression, path))

            return prefixed

    def joined(scope: Scope) -> str:
        return "".join(
            [
                part if isinstance(part, str) else _scalar(part.evaluate(scope), part, path)
                for part in template
            ]
        )

    return joined


def _scalar(value: Json, expression: Expression, path: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and is_exact_json(value):
        return orjson.dumps(value).decode()
    raise _refusal(value, expression, path, wanted="a string, a number or a boolean")


def _target_problem(parts: Parts, *, targets: Collection[str]) -> str | None:
    form = "".join(".*" if part is None else re.escape(part) for part in parts)
    if any(re.fullmatch(form, target, re.DOTALL) for target in targets):
        return None
    fixed = "".join(part or "…" for part in parts)
    return f"there is no target {fixed}; known: {', '.join(targets)}{did_you_mean(fixed, targets)}"


# --- what is wrong for every record -------------------------------------------------------------


def _check(
    template: Template,
    compiler: Compiler,
    *,
    path: str,
    lone: Types = TEXTS,
    wanted: str = A_TEXT,
    rule: Rule = unicode_problem,
) -> None:
    """Find what keeps a text from being right for any record.

    `lone` are the types that one expression with no text around it may yield, and `wanted` says so.
    """
    is_lone = len(template) == 1
    accepted, wanted = (lone, wanted) if is_lone else (SCALARS, A_SCALAR)
    known = len(compiler.problems)
    for part in template:
        if isinstance(part, Expression) and (complaint := _complaint(part.result, accepted, wanted)):
            compiler.refuse(path, f"{part.shown} {complaint}")
    if template and len(compiler.problems) == known and (complaint := rule(_parts(template))):
        compiler.refuse(path, complaint)


def _complaint(result: Result, accepted: Types, wanted: str) -> str | None:
    """What is wrong with a result that never has one of the accepted types, and what to write."""
    if result.types & accepted:
        return None
    why = f": {result.why}" if result.why else ""
    if not result.types:
        return f"fails for every record{why}"
    if result.types == {NoneType}:
        return f"is null for every record{why}. Name a field that records have"
    advice = "Write to_string(…) around it"
    if result.types == {dict}:
        advice = "Name one of its fields, as `.id`"
    elif result.types == {list}:
        advice = "Pick an item with `[0]`, or write join(', ', …) around it"
    return f"is {kinds(result.types)} for every record{why}. It must be {wanted}. {advice}"


def _parts(template: Template) -> list[str | None]:
    """What is known of the text that a template makes."""
    parts: list[str | None] = []
    for part in template:
        text: str | None = None
        if isinstance(part, str):
            text = part
        elif part.result.constant:
            (value,) = part.result.constant
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
        if parts and text is not None and parts[-1] is not None:
            parts[-1] += text
        else:
            parts.append(text)
    return parts


def _refusal(value: Json, expression: Expression, path: str, *, wanted: str) -> MappingError:
    if value is None:
        message = f"{path}: {expression.shown} is null or missing. {NULL_ADVICE}."
        return MappingError("template_null", message)
    return MappingError(
        "template_type", f"{path}: {expression.shown} is {KINDS[type(value)]}, and must be {wanted}."
    )


# --- resources ----------------------------------------------------------------------------------


def _resource(text: str, compiler: Compiler, *, path: str) -> Callable[[Scope], Sequence[str]]:
    """One resource; a lone expression may yield a list of them."""
    template = compiler.template(text, path=path)
    match template:
        case (Expression() as expression,):
            _check_resources(expression, compiler, path=path)

            def several(scope: Scope) -> list[str]:
                value = expression.evaluate(scope)
                if not isinstance(value, list):
                    return [_name(value, expression, path)]
                return [each if isinstance(each, str) else _item(each, expression, path) for each in value]

            return several
    _check(template, compiler, path=path, rule=resource_problem)
    join = _joined(template, path=path)
    return lambda scope: (join(scope),)


def _item(value: Json, expression: Expression, path: str) -> str:
    if value is None:
        message = f"{path}: {expression.shown} is an array with a null in it. {NULL_ITEM_ADVICE}."
        raise MappingError("template_null", message)
    return _name(value, expression, path)


def _check_resources(expression: Expression, compiler: Compiler, *, path: str) -> None:
    """A lone expression may yield one resource, or an array of them."""
    result, shown = expression.result, expression.shown
    if list not in result.types or result.types & TEXTS:
        wanted = f"{A_TEXT}, or an array of them"
        _check((expression,), compiler, path=path, lone=TEXTS | {list}, wanted=wanted, rule=resource_problem)
        return
    items = list(result.inside.values())
    if result.constant and isinstance(result.constant[0], list):
        items = [constant(item) for item in result.constant[0]]
    for number, item in enumerate(items, start=1):
        complaint = _complaint(item, TEXTS, A_TEXT)
        if complaint is None and item.constant:
            complaint = resource_problem([str(item.constant[0])])
        if complaint:
            compiler.refuse(path, f"{shown}: item {number} {complaint}")


# --- time ---------------------------------------------------------------------------------------


def _time(
    text: str | None, unit: TimeUnit, compiler: Compiler, *, path: str
) -> Callable[[Scope], float | None]:
    """Unix time in seconds, by default the record's own, which may be None."""
    if text is None:
        return lambda scope: record_time_s(scope["timestamp"], path=path)
    template = compiler.template(text, path=path)
    _check(template, compiler, path=path, lone=TEXTS | NUMBERS, wanted="ISO 8601 text or a number")
    match template:
        case (Expression() as expression,):
            evaluate = expression.evaluate
            read_found = time_reader(unit, shown=expression.shown, path=path)

            def time_s(scope: Scope) -> float:
                value = evaluate(scope)
                if isinstance(value, str) or is_number(value):
                    return read_found(value)
                wanted = f"ISO 8601 text or a number of {COUNTED[unit]} since 1970"
                raise _refusal(value, expression, path, wanted=wanted)

            return time_s
    join, read = _joined(template, path=path), time_reader(unit, shown=text, path=path)
    return lambda scope: read(join(scope))


def _try_fixed_time(time_s: Callable[[Scope], float | None], compiler: Compiler, *, path: str) -> None:
    """Refuse a time that is wrong, and the same for every record."""
    template = compiler.templates.get(path)
    if not template or None in _parts(template) or any(problem.path == path for problem in compiler.problems):
        return
    try:
        time_s({})
    except MappingError as error:
        compiler.refuse(path, str(error).removeprefix(f"{path}: ").removesuffix("."))


# --- detail -------------------------------------------------------------------------------------


def _detail(node: Json, compiler: Compiler, *, path: str) -> Evaluate:
    """Templates nested in mappings and lists at any depth; keys and other scalars are literal."""
    match node:
        case str():
            template = compiler.template(node, path=path)
            match template:
                case (Expression() as expression,):
                    _check_value(expression, compiler, path=path)
                    return expression.evaluate
            _check(template, compiler, path=path)
            return _joined(template, path=path)
        case dict():
            fields = [(key, _detail(child, compiler, path=f"{path}.{key}")) for key, child in node.items()]
            return lambda scope: {key: evaluate(scope) for key, evaluate in fields}
        case list():
            items = [_detail(child, compiler, path=f"{path}[{index}]") for index, child in enumerate(node)]
            return lambda scope: [evaluate(scope) for evaluate in items]
    if not is_exact_json(node):
        message = (
            "JSON cannot carry this number: it is not finite, or an integer beyond 64 bit; write it as text"
        )
        compiler.refuse(path, message)
    return lambda _: node


def _check_value(expression: Expression, compiler: Compiler, *, path: str) -> None:
    """A value of the detail may be anything, but not a field of what has none."""
    result, shown = expression.result, expression.shown
    if not result.types:
        compiler.refuse(path, f"{shown} fails for every record: {result.why}")
    elif result.types == {NoneType} and result.why != CONSTANT_WHY:
        compiler.refuse(path, f"{shown} {_complaint(result, frozenset(), '')}")


def _check_metadata(node: Json, metadata: str | None, compiler: Compiler, *, path: str) -> None:
    """Refuse a detail that surely has the key that the metadata gets."""
    if metadata is None:
        return
    taken = node.keys() if isinstance(node, dict) else {"value"}
    if isinstance(node, str):
        match compiler.templates.get(f"{path}.detail"):
            case (Expression(result=result),) if dict in result.types:
                value = result.constant[0] if result.constant else result.inside
                taken = value.keys() if isinstance(value, dict) and result.types == {dict} else set()
    if metadata in taken:
        compiler.refuse(
            f"{path}.detail",
            f"has the key `{metadata}` for every record, and the bridge adds one of that name. Rename it, or "
            "choose another name for `metadata`, or null for none",
        )
    elif complaint := unicode_problem([metadata]):
        compiler.refuse(f"{path}.metadata", complaint)


def _metadata(record: Record, event_id: str) -> dict[str, Json]:
    """Where the event comes from, and the id that stays the same when it is sent again."""
    topic, partition = record.partition
    metadata: dict[str, Json] = {
        "id": event_id,
        "topic": topic,
        "partition": partition,
        "offset": record.offset,
        "timestamp": _iso_timestamp(record.timestamp_ms),
    }
    if record.headers:
        # https://www.w3.org/TR/trace-context/#traceparent-header
        for name, content in reversed(record.headers):
            if name == "traceparent" and content is not None:
                with contextlib.suppress(UnicodeDecodeError):
                    metadata["traceparent"] = content.decode()
                break
    return metadata


def _iso_timestamp(timestamp_ms: int | None) -> str | None:
    """As 2026-01-31T12:00:00.000Z; None where there is none, or none that ISO 8601 can write."""
    if timestamp_ms is None or not 0 <= timestamp_ms < END_OF_TIME_S * 1000:
        return None
    return iso(timestamp_ms)


def _header_texts(headers: Headers) -> dict[str, Json]:
    """Headers by name, the last of a name. UTF-8 as text, other bytes as base64."""
    return {name: None if content is None else _header_text(content) for name, content in headers}


def _header_text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return base64.b64encode(content).decode()
