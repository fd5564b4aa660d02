"""What customers and catalogues need of a topic: schemas, samples and a rule pattern of its events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

import orjson

from connector import config
from connector.errors import MappingError, OversizeError
from connector.eventbridge.entry import entry
from connector.formats.avro_types import Forms
from connector.mapping.times import PER_SECOND
from connector.model import Event, Json, Partition, Record, iso_second
from connector.workbench.event_schema import EventSchema
from connector.workbench.json_schema import JsonSchema, json_schema
from connector.workbench.openapi import openapi
from connector.workbench.rule_pattern import rule_pattern
from connector.workbench.sample import MOMENT, MOMENT_MS, Sampler, chains
from connector.workbench.template_texts import PlacedValues, expressions
from connector.workbench.topic_schemas import configured, topic_schemas

ACCOUNT = "111122223333"
"""The customer's account in a sample; one that AWS's own documents use."""


SAMPLE_CLUSTER, SAMPLE_OFFSET = "MkU3OEVBNTcwNTJENDM2Qg", 1042
MAX_RECORDS = 50
"""Samples of records that are mapped to find one that becomes an event."""


class NoSampleError(Exception):
    """The mapping makes no event of the sample of a record; the text says why."""


class ExportedEvent(NamedTuple):
    """The events of one detail type, or of all where they cannot be told apart before they come."""

    name: str
    """Of its files."""
    schema: JsonSchema
    """Draft 4."""
    openapi: dict[str, Any]
    sample: dict[str, Any] | None
    """As it arrives on the bus; None where there is none."""
    problem: str | None
    """Why there is no sample."""


class Export(NamedTuple):
    """All that is known of the events of one topic."""

    events: list[ExportedEvent]
    pattern: dict[str, Json]


def event_schema(settings: config.Settings, topic: str, *, file: Path | None = None) -> EventSchema:
    """Give what is known of a topic's events; its schema is that of `file`, its own or the registry's latest.

    Raises:
        ConfigError: the topic is not configured, or its schema cannot be had.
    """
    its = settings.topics[configured(settings, topic)]
    # With a reader schema every value has its fields, whatever it was written with.
    found = topic_schemas(settings, topic, file=file or its.value.reader_schema, count=1)
    value = json_schema(found[0].schemas, Forms.of(its.value)) if found else None
    return EventSchema(topic, its, value, claim_paths=claim_paths(settings, its))


def claim_paths(settings: config.Settings, topic: config.Topic) -> Iterable[str]:
    """The paths of the claim checks of all targets that a topic's events may go to."""
    targets = settings.all_targets
    chosen = [targets[topic.target]] if topic.target in targets else targets.values()
    return dict.fromkeys(each.claim_check.path for each in chosen if each.claim_check)


def exported(event: EventSchema, *, target: config.Target) -> Export:
    """Describe the events of a topic, and make a sample of each detail type."""
    names: list[str] = []
    events: list[ExportedEvent] = []
    every: list[tuple[str | None, list[PlacedValues]]] = [(None, event.records)]
    for detail_type, records in [*(event.detail_types or {}).items()] or every:
        names.append(_file_name(detail_type or event.name, names))
        schema = event.document(detail_type)
        sample, problem = None, None
        try:
            sample = sample_event(event, records, detail_type=detail_type, target=target)
        except NoSampleError as error:
            problem = str(error)
        its = sample or {"source": _example_source(event), "detail-type": event.name}
        document = openapi(
            schema, source=str(its["source"]), detail_type=detail_type or str(its["detail-type"])
        )
        events.append(ExportedEvent(names[-1], schema, document, sample, problem))
    return Export(events, rule_pattern(event))


def sample_event(
    event: EventSchema, records: Sequence[PlacedValues], *, detail_type: str | None, target: config.Target
) -> dict[str, Json]:
    """Make an event, as it arrives on the bus, by mapping samples of records until one becomes an event.

    Raises:
        NoSampleError: none does; with the first reason.
    """
    reasons: list[str] = []
    for choices in records[:MAX_RECORDS]:
        try:
            made = _mapped(event, choices, target=target)
        except (MappingError, OversizeError) as error:
            reasons.append(str(error))
            continue
        if made and detail_type in {None, made.detail_type}:
            return on_the_bus(made, region=target.region)
    raise NoSampleError([*reasons, "the filter drops every record that was tried"][0])


def _mapped(event: EventSchema, choices: PlacedValues, *, target: config.Target) -> Event | None:
    sampler = _sampler(event, choices)
    value, key = sampler.value(event.value, ("value",)), sampler.value(event.key, ("key",))
    record = Record(Partition(event.name, 0), SAMPLE_OFFSET, MOMENT_MS, b"", b"", ())
    event_id = f"{SAMPLE_CLUSTER}/{event.name}/0/{SAMPLE_OFFSET}/{MOMENT_MS}"
    made = event.mapping.event(record, key, value, event_id)
    if made is not None:
        entry(made, max_event_bytes=target.max_event_bytes)  # the checks of what is sent
    return made


def on_the_bus(made: Event, *, region: str, account: str = ACCOUNT) -> dict[str, Json]:
    """Give an event as it arrives on the customer's bus."""
    resources: list[Json] = list(made.resources)
    time_ms = MOMENT_MS if made.time_s is None else int(made.time_s * 1000)
    return {
        "version": "0",
        "id": str(uuid5(NAMESPACE_URL, f"{made.source}/{made.detail_type}")),
        "detail-type": made.detail_type,
        "source": made.source,
        "account": account,
        "time": iso_second(time_ms),
        "region": region,
        "resources": resources,
        "detail": orjson.loads(made.detail),
    }


def _sampler(event: EventSchema, choices: PlacedValues) -> Sampler:
    its = event.mapping.templates
    parts = [part for template in its.by_path.values() for part in expressions(template)]
    read = [place for part in [*parts, *filter(None, [its.filter])] for place in chains(part.node)]
    moments: list[Json] = [MOMENT, MOMENT_MS * PER_SECOND[its.time_unit] // 1000]
    times = [place for part in expressions(its.time or ()) for place in chains(part.node)]
    return Sampler(event.schemas, chosen=choices, likely=dict.fromkeys(times, moments), read=read)


def _example_source(event: EventSchema) -> str:
    parts = [part if isinstance(part, str) else "example" for part in event.mapping.templates.source]
    return "".join(parts)


def _file_name(text: str, taken: list[str]) -> str:
    """A name for files that no other has, also where case does not count."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "event"
    lowered = {each.lower() for each in taken}
    if name.lower() not in lowered:
        return name
    return next(each for number in range(2, 1000) if (each := f"{name}-{number}").lower() not in lowered)
