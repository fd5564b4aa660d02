"""A first mapping of a topic, from the names and types of its fields: whose, when, about what, what kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

from connector.config.entry_rules import MAX_DETAIL_TYPE_CHARACTERS
from connector.config.settings import TimeUnit
from connector.mapping.times import unit_of
from connector.model import Json
from connector.workbench.json_schema import JsonSchema, ValueSchema, branches

Kind: TypeAlias = Literal["text", "enum", "integer", "time", "other"]


class Field(NamedTuple):
    """A field that a template may take."""

    path: tuple[str, ...]
    kind: Kind
    nullable: bool

    @property
    def name(self) -> str:
        """Its name in words joined by `_`, behind that of the record that it is in: `customer_id`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^a-zA-Z0-9]+", "_", "_".join(self.path)).lower()

    @property
    def expression(self) -> str:
        """The JMESPath of it: `value.customer.id`."""
        parts = (part if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", part) else f'"{part}"' for part in self.path)
        return ".".join(["value", *parts])

    def of(self, value: Json) -> Json:
        """What a record has there; null where it is missing."""
        for part in self.path:
            value = value.get(part) if isinstance(value, dict) else None
        return value


class Proposal(NamedTuple):
    """Templates of an event, each with the field it is made of, if any."""

    source: Field | None
    time: Field | None
    time_unit: TimeUnit
    resource: Field | None
    detail_type: Field | None
    entity: str
    """What the topic is about, as a word: `order`."""
    title: str
    """The same as a type's name: `Order`."""
    has_fields: bool
    """Whether values have any."""


_TENANT = (
    r"tenant(_?id|_key|_name|_slug)?",
    r"customer(_?id|_no|_number|_key)?",
    r"account(_?id|_no|_number|_key)?",
    r"organi[sz]ation(_?id|_key)?|org(_?id)?",
    r"(workspace|company|merchant|shop|partner|client)(_?id|_key)?",
)
_WHEN = (
    r"(updated|modified|changed|last_modified|last_updated)(_?at|_on|_time|_date)?",
    r"(occurred|happened|event|emitted|published)(_?at|_on|_time|_date)",
    r"created(_?at|_on|_time|_date)?",
    r"(time_?stamp|ts|time|event_?timestamp)",
    r"(?!expire|due|deliver|delete|birth|valid|start|end|until)(.*_)?(at|time|timestamp)",
)
_TYPE = (r"event_?type", r"type", r"event(_?name)?", r"action|operation|kind")
_NUMBER = "(number|no|reference|ref|uuid|key)"
_STATE = (r"(.*_)?(status|state)",)


def proposal(
    topic: str, fields: Sequence[Field], values: Sequence[Json], *, record_name: str | None
) -> Proposal:
    """Propose a mapping by the fields of a topic's values and some values; `record_name` is the schema's."""
    entity = _entity(topic)
    source = _first(fields, _TENANT, ("text", "enum", "integer"), values=values, legal=_is_legal)
    others = [field for field in fields if field != source and not field.nullable]
    word = re.escape(entity)
    ids = (rf"{word}_?id", "id", rf"{word}_{_NUMBER}", _NUMBER, ".*_id")
    time, unit = _time(fields, values)
    detail_type = _first(fields, _TYPE, ("text", "enum"), values=values, legal=_is_type) or _first(
        fields, _STATE, ("enum",)
    )
    title = record_name or entity.title().replace("_", "")
    resource = _first(others, ids, ("text", "integer"))
    return Proposal(source, time, unit, resource, detail_type, entity, title, bool(fields))


def fields_of_schema(schema: ValueSchema) -> list[Field]:
    """Give the fields of a record by its schema, and those of the records in it."""

    def fields(of: JsonSchema, path: tuple[str, ...], *, nullable: bool) -> Iterator[Field]:
        fitting = list(branches(of, schema.definitions))
        given = [branch for branch in fitting if branch.get("type") != "null"]
        nullable = nullable or len(given) < len(fitting)
        if len(given) == 1 and "properties" in given[0] and len(path) < 2:
            for name, inner in given[0]["properties"].items():
                yield from fields(inner, (*path, name), nullable=nullable)
        elif path:
            yield Field(path, _kind(given[0]) if len(given) == 1 else "other", nullable)

    return _outer_first(fields(schema.schema, (), nullable=False))


def fields_of_values(values: Sequence[Json]) -> list[Field]:
    """The same by some values, for want of a schema."""

    def fields(found: Sequence[Json], path: tuple[str, ...], *, nullable: bool) -> Iterator[Field]:
        given = [value for value in found if value is not None]
        nullable = nullable or len(given) < len(found)
        objects = [value for value in given if isinstance(value, dict)]
        if objects and len(objects) == len(given) and len(path) < 2:
            for name in dict.fromkeys(name for each in objects for name in each):
                yield from fields([each.get(name) for each in objects], (*path, name), nullable=nullable)
        elif path:
            yield Field(path, _kind_of_values(given), nullable)

    return _outer_first(fields(values, (), nullable=False))


def in_both(fields: Sequence[Field], earlier: Sequence[Field]) -> list[Field]:
    """Give the fields that two versions of a schema have, of one kind; nullable where one of them is."""
    before = {(field.path, field.kind): field for field in earlier}
    return [
        field._replace(nullable=field.nullable or before[field.path, field.kind].nullable)
        for field in fields
        if (field.path, field.kind) in before
    ]


def _outer_first(fields: Iterator[Field]) -> list[Field]:
    return sorted(fields, key=lambda field: len(field.path))


def _kind(schema: JsonSchema) -> Kind:
    match schema:
        case {"type": "string", "enum": _}:
            return "enum"
        case {"type": "string", "format": "date-time"}:
            return "time"
        case {"type": "string", "pattern": _} if schema.get("maxLength") != _UUID_CHARACTERS:
            return "other"
        case {"type": "string"}:
            return "text"
        case {"type": "integer"}:
            return "integer"
    return "other"


_UUID_CHARACTERS = 36


def _kind_of_values(values: Sequence[Json]) -> Kind:
    texts = [value for value in values if isinstance(value, str)]
    if texts and len(texts) == len(values):
        return "time" if all(map(_is_time, texts)) else "text"
    return "integer" if values and all(type(value) is int for value in values) else "other"


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _time(fields: Sequence[Field], values: Sequence[Json]) -> tuple[Field | None, TimeUnit]:
    """The field that says when, and what it counts if it is a number; milliseconds are what `auto` takes."""
    if (time := _first(fields, _WHEN, ("time",))) is not None:
        return time, "auto"
    number = _first(fields, _WHEN, ("integer",), values=values, legal=lambda value: _unit(value) is not None)
    units = [_unit(number.of(value)) for value in values] if number else []
    unit: TimeUnit | None = next(filter(None, units), None)
    if unit == "ms":
        unit = "auto"
    return (None, "auto") if unit is None else (number, unit)


def _unit(value: Json) -> TimeUnit | None:
    return unit_of(value) if type(value) is int else None


def _is_legal(value: Json) -> bool:
    return re.fullmatch(r"[.\-_A-Za-z0-9]{1,100}", str(value)) is not None


def _is_type(value: Json) -> bool:
    return 0 < len(str(value)) <= MAX_DETAIL_TYPE_CHARACTERS


def _first(
    fields: Sequence[Field],
    patterns: Sequence[str],
    kinds: Sequence[Kind],
    *,
    values: Sequence[Json] = (),
    legal: Callable[[Json], bool] = lambda _: True,
) -> Field | None:
    """Give the field whose name fits best; most of its values, where there are some, must be legal."""
    for pattern in patterns:
        for field in fields:
            if field.kind in kinds and re.fullmatch(pattern, field.name):
                found = [each for each in map(field.of, values) if each is not None]
                if 2 * sum(map(legal, found)) >= len(found):
                    return field
    return None


def _entity(topic: str) -> str:
    """The word in a topic's name that says what it is about: `order` of `shop.orders.v1`."""
    words = [
        word for word in re.split(r"[._-]+", topic.lower()) if word and not re.fullmatch(r"v?[0-9]+", word)
    ]
    last = words[-1] if words else "record"
    return last[:-1] if len(last) > 3 and last.endswith("s") and not last.endswith("ss") else last
