"""Per-topic rules: a decoded record becomes an event. Pure; compiled and checked at start."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

import orjson

from connector.config.settings import TimeUnit, Topic
from connector.errors import ConfigError, MappingError, Problem
from connector.mapping.expressions import Evaluate, Scope, is_exact_json, is_number, is_true
from connector.mapping.templates import Compiler, Expression, Template
from connector.mapping.times import COUNTED, record_time_s, time_reader
from connector.model import END_OF_TIME_S, Decoded, Event, Headers, Json, Record, iso

MAX_DETAIL_DEPTH = 254
"""The deepest nesting of a detail, which is what orjson writes. EventBridge itself takes 1000 levels."""

NULL_ADVICE = "Give a default with `||` in the expression, or drop such records with `filter`"

KINDS: dict[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a number with a fraction",
    str: "a string",
    list: "an array",
    dict: "an object",
}

TextOf: TypeAlias = "Callable[[Scope], str]"


class Mapping:
    """Turns the records of one topic into events by the rules of its configuration.

    `path` is where the topic stands in the configuration, as `topics.orders.v1`; messages begin
    with it. Everything about the configuration that can be wrong is found at construction.

    An event is not checked against EventBridge's limits here. That is true of emptiness too: a
    template that yields an empty string makes an event with an empty source or detail type.

    Raises:
        ConfigError: with every problem of this topic's filter and event.
    """

    uses_key: bool
    """Whether any expression uses the record's key; where none does it is not decoded."""

    def __init__(self, topic: Topic, *, path: str) -> None:
        compiler = Compiler()
        event, event_path = topic.event, f"{path}.event"

        self._filter: Evaluate | None = None
        if topic.filter is not None:
            self._filter = _filter(topic.filter, compiler, path=f"{path}.filter")
        self._source = _text(event.source, compiler, path=f"{event_path}.source")
        self._detail_type = _text(event.detail_type, compiler, path=f"{event_path}.detail_type")
        self._time = _time(event.time, event.time_unit, compiler, path=f"{event_path}.time")
        self._resources = [
            _resource(resource, compiler, path=f"{event_path}.resources[{index}]")
            for index, resource in enumerate(event.resources)
        ]
        self._detail = _detail(event.detail, compiler, path=f"{event_path}.detail")
        self._target = _text(topic.target, compiler, path=f"{path}.target") if "${" in topic.target else None
        self._metadata = event.metadata
        self._event_path = event_path

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
        # Integers from 2^63 to 2^64 - 1 pass orjson, and EventBridge's are signed. Only a JSON
        # record could hold one, and its decoder refuses them.
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
        compiler.problems.append(Problem(path, "a filter is one expression; write it without ${ }"))
        return lambda _: True
    return compiler.expression(source, path=path).evaluate


def _text(text: str, compiler: Compiler, *, path: str) -> TextOf:
    """A field that must be text: a lone expression may yield a string or an integer."""
    match template := compiler.template(text, path=path):
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
    match template := compiler.template(text, path=path):
        case (Expression() as expression,):

            def several(scope: Scope) -> list[str]:
                value = expression.evaluate(scope)
                values = value if isinstance(value, list) else [value]
                return [_name(each, expression, path) for each in values]

            return several
    join = _joined(template, path=path)
    return lambda scope: (join(scope),)


# --- time ---------------------------------------------------------------------------------------


def _time(
    text: str | None, unit: TimeUnit, compiler: Compiler, *, path: str
) -> Callable[[Scope], float | None]:
    """Unix time in seconds, by default the record's own, which may be None."""
    if text is None:
        return lambda scope: record_time_s(scope["timestamp"], path=path)
    template = compiler.template(text, path=path)
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


# --- detail -------------------------------------------------------------------------------------


def _detail(node: Json, compiler: Compiler, *, path: str) -> Evaluate:
    """Templates nested in mappings and lists at any depth; keys and other scalars are literal."""
    match node:
        case str():
            match template := compiler.template(node, path=path):
                case (Expression() as expression,):
                    return expression.evaluate
            return _joined(template, path=path)
        case dict():
            fields = [(key, _detail(child, compiler, path=f"{path}.{key}")) for key, child in node.items()]
            return lambda scope: {key: evaluate(scope) for key, evaluate in fields}
        case list():
            items = [_detail(child, compiler, path=f"{path}[{index}]") for index, child in enumerate(node)]
            return lambda scope: [evaluate(scope) for evaluate in items]
    if not is_exact_json(node):
        message = "JSON cannot carry this number: it is not finite, or an integer beyond 64 bit"
        compiler.problems.append(Problem(path, message))
    return lambda _: node


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
