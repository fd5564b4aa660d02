"""The JSON Schema of a topic's events as they arrive on a bus, from its mapping and the schema of its values.

Draft 4, as in `json_schema`. What EventBridge adds to an event:
https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from connector.config.entry_rules import MAX_DETAIL_TYPE_CHARACTERS, MAX_SOURCE_CHARACTERS
from connector.config.settings import DEFAULT_TARGET, Format, Topic
from connector.mapping.event import Mapping as EventMapping
from connector.mapping.templates import Expression, Template
from connector.model import Json
from connector.workbench.expression_schema import (
    ANY,
    NULL,
    ExpressionSchemas,
    array_of,
    branches_of,
    constant,
    object_of,
    union,
    with_properties,
)
from connector.workbench.json_schema import POINTER, JsonSchema, ValueSchema
from connector.workbench.reference_schema import by_reference
from connector.workbench.template_texts import MAX_ALTERNATIVES, PlacedValues, joined, texts, truths

DRAFT_4 = "http://json-schema.org/draft-04/schema#"
TEXT: JsonSchema = {"type": "string"}
MOMENT: JsonSchema = {"type": "string", "format": "date-time"}
COUNT: JsonSchema = {"type": "integer", "minimum": 0}


class EventSchema:
    """What is known of the events of one topic before there is one.

    `name` is the topic's, or a pattern for several. `value` is None where nothing is known of the topic's
    values but their format.
    """

    sources: list[str] | None
    """Every source that they can have; None where they are not known, or many."""

    detail_types: dict[str, list[PlacedValues]] | None
    """The same for detail types, without those that the filter surely drops; with the records of each."""

    records: list[PlacedValues]
    """What records have at some places that the filter lets through: each of them one of these."""

    is_open: bool
    """Whether nothing is known of what values hold."""

    def __init__(
        self, name: str, topic: Topic, value: ValueSchema | None, *, claim_paths: Iterable[str] = ()
    ) -> None:
        """`claim_paths` are those of the claim checks that its events may go through."""
        self.name = name
        self._claim_paths = list(claim_paths)
        self.topic = topic
        # Where an event goes is no part of it, and which targets there are is no matter here.
        untargeted = topic.model_copy(update={"target": DEFAULT_TARGET})
        known = None if name.startswith("^") else name
        self.mapping = EventMapping(untargeted, path=f"topics.{name}", name=known)
        self._topic_name = TEXT if known is None else constant(known)
        self.value = _of_format(topic.value) if value is None else value.schema
        if topic.tombstones == "send":
            self.value = union(self.value, NULL)
        self.key = union(_of_format(topic.key), NULL)
        self.definitions = {} if value is None else value.definitions
        self.is_open = self.value == ANY
        roots = {
            "value": self.value,
            "key": self.key,
            "headers": {"type": "object", "additionalProperties": union(TEXT, NULL)},
            "topic": self._topic_name,
            "partition": COUNT,
            "offset": COUNT,
            "timestamp": union({"type": "integer"}, NULL),
        }
        self.schemas = ExpressionSchemas(roots, self.definitions)
        its = self.mapping.templates
        sources = texts(its.source, self.schemas)
        self.sources = None if sources is None else list(sources)
        self.records = self._records([{}])
        self.detail_types = None
        if (detail_types := texts(its.detail_type, self.schemas)) is not None:
            records = {text: self._records(choices) for text, choices in detail_types.items()}
            self.detail_types = {text: choices for text, choices in records.items() if choices}

    def document(self, detail_type: str | None = None) -> JsonSchema:
        """The JSON Schema of the events, or only of those of one detail type."""
        its = self.mapping.templates
        types = list(self.detail_types or ()) if detail_type is None else [detail_type]
        event = object_of(
            {
                "version": TEXT,
                "id": TEXT,
                "detail-type": _text_schema(its.detail_type, types, MAX_DETAIL_TYPE_CHARACTERS),
                "source": _text_schema(its.source, self.sources, MAX_SOURCE_CHARACTERS),
                "account": {"type": "string", "pattern": "^[0-9]{12}$"},
                "time": MOMENT,
                "region": TEXT,
                "resources": {"type": "array", "items": TEXT},
                "detail": self._detail_object(),
            }
        )
        needed = self._needed(event)
        return {
            "$schema": DRAFT_4,
            "title": detail_type or f"Events of {self.name}",
            **event,
            **({"definitions": needed} if needed else {}),
        }

    def _records(self, alternatives: Sequence[PlacedValues]) -> list[PlacedValues]:
        """Those with what the filter lets through; none where it drops them all."""
        kept = self.mapping.templates.filter
        if kept is None:
            return [*alternatives]
        passing = [each.choices for each in truths(kept.node, self.schemas) if each.value]
        pairs = (joined(choices, others) for choices in alternatives for others in passing)
        return list(islice((both for both in pairs if both is not None), MAX_ALTERNATIVES))

    # The detail

    def _detail_object(self) -> JsonSchema:
        """Any of the objects that it may be, with the metadata in it; each whole, or with a reference."""
        its = self.mapping.templates
        added = {} if its.metadata is None else {its.metadata: self._metadata()}
        objects = list(self._detail_objects())
        references = (
            by_reference(each, path, metadata=added, resolved=self.schemas.resolved)
            for path in self._claim_paths
            for each in objects
        )
        return union(*(with_properties(each, added) for each in objects), *filter(None, references))

    def _detail_objects(self) -> Iterator[JsonSchema]:
        """An object in any case: a value that is none stands under `value`."""
        its = self.mapping.templates
        others: list[JsonSchema] = []
        for branch in branches_of(self._detail(its.detail, f"{its.path}.detail")):
            match resolved := self.schemas.resolved(branch):
                case {"type": "object"}:
                    yield resolved
                case {"type": str()}:
                    others.append(branch)
                case _:
                    yield {"type": "object"}
        if others:
            yield object_of({"value": union(*others)})

    def _detail(self, node: Json, path: str) -> JsonSchema:
        match node:
            case str():
                return self._of_template(self.mapping.templates.by_path[path])
            case dict():
                return object_of({key: self._detail(child, f"{path}.{key}") for key, child in node.items()})
            case list():
                return array_of([self._detail(child, f"{path}[{index}]") for index, child in enumerate(node)])
        return constant(node)

    def _of_template(self, template: Template) -> JsonSchema:
        match template:
            case (Expression() as expression,):
                return self.schemas.of(expression.node)
            case () | (str(),):
                return constant("".join(map(str, template)))
        return TEXT

    def _metadata(self) -> JsonSchema:
        return object_of(
            {
                "id": TEXT,
                "topic": self._topic_name,
                "partition": COUNT,
                "offset": COUNT,
                "timestamp": union(MOMENT, NULL),
                "traceparent": TEXT,
            },
            optional=("traceparent",),
        )

    def _needed(self, schema: JsonSchema) -> dict[str, JsonSchema]:
        """The definitions that a schema refers to, directly or not."""
        needed: dict[str, JsonSchema] = {}
        open_ = list(references(schema))
        while open_:
            if (name := open_.pop()) not in needed:
                needed[name] = self.definitions[name]
                open_ += references(needed[name])
        return {name: needed[name] for name in self.definitions if name in needed}


def references(schema: Any) -> Iterator[str]:
    """Give the names of the definitions that a schema refers to."""
    match schema:
        case {"$ref": str(pointer)}:
            yield pointer.removeprefix(POINTER)
        case {"enum": [*_]}:  # what stands there is no schema
            return
        case dict():
            for each in schema.values():
                yield from references(each)
        case list():
            for each in schema:
                yield from references(each)


def _of_format(written: Format) -> JsonSchema:
    """What is known without a schema."""
    return TEXT if written.format in {"string", "bytes"} else ANY


def _text_schema(template: Template, known: list[str] | None, max_characters: int) -> JsonSchema:
    if known:
        return {"type": "string", "enum": list(known)}
    parts = [r"[\s\S]*" if isinstance(part, Expression) else _escaped(part) for part in template]
    return {"type": "string", "minLength": 1, "maxLength": max_characters, "pattern": f"^{''.join(parts)}$"}


def _escaped(text: str) -> str:
    """As a pattern of ECMA 262, which is JSON Schema's, has it: only what must be escaped is."""
    return re.sub(r"[\\^$.*+?()\[\]{}|]", r"\\\g<0>", text)
