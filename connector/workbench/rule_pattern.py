"""The pattern of a rule that matches a topic's events.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from connector.mapping.templates import Template
from connector.model import Json
from connector.workbench.event_schema import EventSchema

MAX_PATTERN_CHARACTERS = 4096
"""What PutRule takes."""
ROOM_FOR_TYPES = MAX_PATTERN_CHARACTERS - 1024
"""For detail types, beside sources and what else stands in the pattern."""


def rule_pattern(event: EventSchema) -> dict[str, Json]:
    """Give the pattern of all events of a topic: source and detail type, as exactly as they are known."""
    source = event.mapping.templates.source
    return {
        "source": list(event.sources) if event.sources else [_fixed_part(source)],
        "detail-type": detail_types(event),
    }


def source_pattern(source: str, events: Iterable[EventSchema], *others: str) -> dict[str, Json]:
    """Give the pattern of the events of one source, from some topics, and of other detail types."""
    wanted: list[Json] = [each for event in events for each in detail_types(event)]
    pattern: dict[str, Json] = {"source": [source], "detail-type": _once([*wanted, *others])}
    is_open = not wanted or ANY_TEXT in wanted or len(json.dumps(pattern)) > MAX_PATTERN_CHARACTERS
    return {"source": [source]} if is_open else pattern


def detail_types(event: EventSchema) -> list[Json]:
    """Give what matches the detail types of a topic's events: all of them, or how they begin or end."""
    if event.detail_types and len(json.dumps(list(event.detail_types))) <= ROOM_FOR_TYPES:
        return list(event.detail_types)
    return [_fixed_part(event.mapping.templates.detail_type)]


ANY_TEXT: Json = {"exists": True}


def _fixed_part(template: Template) -> Json:
    match template:
        case (str(text), *_):
            return {"prefix": text}
        case (*_, str(text)):
            return {"suffix": text}
    return ANY_TEXT


def _once(values: Sequence[Json]) -> list[Json]:
    return [value for index, value in enumerate(values) if value not in values[:index]]
