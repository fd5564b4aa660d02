"""One record, explained: what it holds, what each template makes of it, and what becomes of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple, TypeAlias, cast

import orjson

from connector.config.problems import did_you_mean
from connector.errors import DecodeError, OversizeError, Problem, RecordError
from connector.eventbridge.entry import entry
from connector.formats.schema_cache import with_schema
from connector.mapping.event_code import Templates, record_scope, value_of
from connector.mapping.expressions import Scope
from connector.mapping.templates import Expression, Template
from connector.model import Entry, Json, Record, billed_chunks, iso
from connector.pipeline import Dropped, Pipeline, TopicRoute
from connector.workbench.doubts import doubts
from connector.workbench.sample import chains

OutcomeKind: TypeAlias = Literal["event", "filtered", "dead_letter"]


class TemplateResult(NamedTuple):
    """What one template, or the filter, makes of a record."""

    path: str
    """Where it stands in the configuration, as `topics.orders.v1.event.source`."""
    template: str
    result: Json
    """null also where it fails, which is why the record is dead-lettered then."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of one record, and why."""

    position: str
    outcome: OutcomeKind
    code: str | None
    """Of a dead letter; of a filtered record the rule that drops it."""
    message: str | None
    decoded: Json
    """Its key, value, headers and timestamp; what cannot be decoded is null."""
    templates: list[TemplateResult]
    entry: dict[str, Json] | None
    """As it would be sent, with the detail as an object; None where nothing is sent."""
    target: str
    size_bytes: int | None
    """As EventBridge counts it; also of an event that is too large."""
    limit_bytes: int
    billed_chunks: int | None
    claim_check: dict[str, Json] | None
    """What of the event goes to S3: its place in the event, its bytes, and the key of the object."""
    misspelt: list[Problem]
    """Fields that templates name and the record lacks, where it has one of nearly that name."""
    warnings: list[str]
    """These, and what is doubtful in the event."""

    def as_json(self) -> dict[str, Json]:
        """As `--json` shows it."""
        shown = asdict(self) | {"templates": [each._asdict() for each in self.templates]}
        return {name: value for name, value in shown.items() if name not in {"target", "misspelt"}}


def explain(pipeline: Pipeline, record: Record) -> Explanation:
    """Explain a record of a configured topic. Waits for its schema.

    Raises:
        UnavailableError: the registry does not give its schema.
    """
    route = pipeline.route(record.partition.topic)
    key, _ = _decoded(lambda: pipeline.decode_key(record))
    value, is_read = _decoded(lambda: pipeline.decode_value(record))
    scope = record_scope(record, key, value)
    templates = list(_results(route.mapping.templates, scope)) if is_read else []
    misspelt = list(_misspelt(route.mapping.templates, scope)) if is_read else []
    decoded: Json = {
        "key": key,
        "value": value,
        "headers": scope["headers"],
        "timestamp": None if record.timestamp_ms is None else iso(record.timestamp_ms),
    }
    outcome: OutcomeKind = "event"
    code: str | None = None
    message = made = None
    try:
        result = with_schema(lambda: pipeline(record))
    except RecordError as error:
        outcome, code, message = "dead_letter", error.code, str(error)
        if isinstance(error, OversizeError):
            made = _unlimited(route, record, key, value, pipeline.event_id(record))
    else:
        match result:
            case Dropped(reason):
                outcome, code = "filtered", reason
            case _:
                made = result
    target = made.target if made else route.target
    shown = sent(made) if made and outcome == "event" else None
    doubtful = [] if shown is None else doubts(shown, timestamp_ms=record.timestamp_ms)
    return Explanation(
        str(record.position),
        outcome,
        code,
        message,
        decoded,
        templates,
        shown,
        target,
        made.size_bytes if made else None,
        route.targets[target].max_event_bytes,
        billed_chunks(made.size_bytes) if made else None,
        made and _claim_check(made),
        misspelt,
        [*map(str, misspelt), *doubtful],
    )


def sent(made: Entry) -> dict[str, Json]:
    """An entry as it would be sent, with the detail as an object."""
    shown = cast("dict[str, Json]", orjson.loads(made.json))
    return shown | {"Detail": cast("Json", orjson.loads(cast("str", shown["Detail"])))}


def _claim_check(made: Entry) -> dict[str, Json] | None:
    if (claim := made.claim) is None:
        return None
    return {"path": claim.place, "bytes": len(claim.body), "key": claim.key}


def _decoded(decode: Callable[[], Json]) -> tuple[Json, bool]:
    """A key or value, and whether it could be read; the pipeline says why it could not."""
    try:
        return with_schema(decode), True
    except DecodeError:
        return None, False


def _results(templates: Templates, scope: Scope) -> Iterator[TemplateResult]:
    for path, template in _by_path(templates).items():
        shown = "".join(part if isinstance(part, str) else part.shown for part in template)
        yield TemplateResult(path, shown, value_of(template, scope))


def _by_path(templates: Templates) -> dict[str, Template]:
    """Every template, and before them the filter."""
    path = f"{templates.target_path.removesuffix('target')}filter"
    return {**({path: (templates.filter,)} if templates.filter else {}), **templates.by_path}


def _misspelt(templates: Templates, scope: Scope) -> Iterator[Problem]:
    for path, template in _by_path(templates).items():
        for part in template:
            if isinstance(part, Expression):
                for steps in chains(part.node):
                    if hint := _instead(steps, scope):
                        yield Problem(path, f"{part.shown}: {hint}")


def _instead(steps: Iterable[str | int], scope: Scope) -> str:
    """What to write for the first field that the record does not have; empty where nothing is near."""
    value: Json = dict(scope)
    for step in steps:
        match value, step:
            case dict(), str() if step in value:
                value = value[step]
            case dict(), str():
                hint = did_you_mean(step, value)
                return hint and f"the record has no field '{step}'{hint}"
            case list(), int() if -len(value) <= step < len(value):
                value = value[step]
            case _:
                break
    return ""


def _unlimited(route: TopicRoute, record: Record, key: Json, value: Json, event_id: str) -> Entry | None:
    """The entry of a record that is over its target's limit."""
    event = route.mapping.event(record, key, value, event_id)
    if event is None:
        return None
    return entry(event, max_event_bytes=sys.maxsize, target=event.target or route.target)
