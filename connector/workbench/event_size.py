"""How large the events of a mapping can be, by what its expressions yield."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import orjson

from connector.config.entry_rules import (
    MAX_DETAIL_TYPE_CHARACTERS,
    MAX_RESOURCE_CHARACTERS,
    MAX_SOURCE_CHARACTERS,
)
from connector.config.settings import MAX_TOPIC_NAME
from connector.eventbridge.entry import TIME_BYTES
from connector.mapping.event_code import Templates
from connector.mapping.expressions import chain
from connector.mapping.results import Result, Size, constant, size_of
from connector.mapping.templates import Expression, Template
from connector.model import Json

_UTF8_BYTES = 4
"""Of a character, at most."""
_WRAPPED = Size(len('{"value":}'), len('{"value":}'))

Found = Mapping[int, Result]
"""What each expression yields, by its id."""


def event_size(templates: Templates, found: Found, *, topic: str | None) -> Size:
    """Give the bounds of an event's bytes as EventBridge counts them; no `topic` stands for several.

    The largest is infinite where a text, an array, a map or a decimal of any length gets into the event.
    """
    parts = [
        _capped(_text_size(templates.source, found), MAX_SOURCE_CHARACTERS),
        _capped(_text_size(templates.detail_type, found), MAX_DETAIL_TYPE_CHARACTERS * _UTF8_BYTES),
        Size(0 if templates.time is None else TIME_BYTES, TIME_BYTES),
        *(_resource_size(resource, found) for resource in templates.resources),
        _detail_size(templates.detail, f"{templates.path}.detail", templates, found),
    ]
    if not isinstance(templates.detail, dict):
        parts.append(Size(0, _WRAPPED.most))
    if templates.metadata is not None:
        parts.append(_metadata_size(templates.metadata, topic))
    return Size(sum(part.least for part in parts), sum(part.most for part in parts))


def unbounded(templates: Templates, found: Found) -> Iterator[str]:
    """Give the expressions of the detail, and the fields of what they yield, that set it no limit.

    They may be very many, where records are used again and again.
    """
    detail = f"{templates.path}.detail"
    seen: set[str] = set()
    for path, template in templates.by_path.items():
        if path == detail or path.startswith((f"{detail}.", f"{detail}[")):
            for part in template:
                if isinstance(part, Expression):
                    steps = chain(part.node)
                    shown = part.shown.removeprefix("${").removesuffix("}")
                    for name in _unbounded(found[id(part)], shown, within=steps is not None):
                        if name not in seen:
                            seen.add(name)
                            yield name


def _unbounded(result: Result, shown: str, *, within: bool) -> Iterator[str]:
    if result.size.most != math.inf:
        return
    objects = [each for each in result.options or (result,) if each.record]
    if not within or not objects or result.types & {list, str}:
        yield f"`{shown}`"
        return
    for each in objects:
        for name, field in each.inside.items():
            yield from _unbounded(field, f"{shown}.{name}", within=True)


def _capped(size: Size, most: int) -> Size:
    """What is longer is dead-lettered for that."""
    return Size(min(size.least, most), min(size.most, most))


def _text_size(template: Template, found: Found) -> Size:
    sizes = [
        Size(len(part.encode(errors="replace")), len(part.encode(errors="replace")))
        if isinstance(part, str)
        else _in_text(found[id(part)])
        for part in template
    ]
    return Size(sum(size.least for size in sizes), sum(size.most for size in sizes))


def _in_text(result: Result) -> Size:
    """Without the quotes that it has as JSON."""
    least, most = result.size
    return Size(max(least - 2, 0), most) if str in result.types else result.size


def _resource_size(template: Template, found: Found) -> Size:
    match template:
        case (Expression() as expression,) if list in found[id(expression)].types:
            return Size(0, found[id(expression)].size.most)
    return _capped(_text_size(template, found), MAX_RESOURCE_CHARACTERS * _UTF8_BYTES)


def _detail_size(node: Json, path: str, templates: Templates, found: Found) -> Size:
    inner: dict[str | int, Size]
    match node:
        case str():
            template = templates.by_path[path]
            match template:
                case (Expression() as expression,):
                    return found[id(expression)].size
            sizes = [
                Size(constant(part).size.least - 2, constant(part).size.least - 2)
                if isinstance(part, str)
                else _in_text(found[id(part)])
                for part in template
            ]
            return Size(2 + sum(size.least for size in sizes), 2 + sum(size.most for size in sizes))
        case dict():
            inner = {key: _detail_size(each, f"{path}.{key}", templates, found) for key, each in node.items()}
        case list():
            inner = {
                number: _detail_size(each, f"{path}[{number}]", templates, found)
                for number, each in enumerate(node)
            }
        case _:
            return constant(node).size
    return size_of({key: Result(size=size) for key, size in inner.items()})


def _metadata_size(name: str, topic: str | None) -> Size:
    """Of the record's position, timestamp and id; a cluster's id has 22 characters, and a traceparent 55."""
    around = constant(name).size.least + 2

    def written(cluster: str, number: int, offset: int, timestamp: Json, **more: Json) -> int:
        named = topic or ("t" if not more else "t" * MAX_TOPIC_NAME)
        event_id = f"{cluster}/{named}/{number}/{offset}" + f"/{offset}" * (timestamp is not None)
        fields: Json = {
            "id": event_id,
            "topic": named,
            "partition": number,
            "offset": offset,
            "timestamp": timestamp,
            **more,
        }
        return around + len(orjson.dumps(fields))

    largest = written("c" * 64, 2**31 - 1, 2**63 - 1, "2026-01-31T12:00:00.000Z", traceparent="0" * 55)
    return Size(written("c", 0, 0, None), largest)
