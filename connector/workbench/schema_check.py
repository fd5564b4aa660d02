"""What a topic's mapping does not allow for, of all that its schemas let records be.

What is wrong with every record, `mapping.event` finds, told what the schema says. Here is found what is wrong
with some. Nothing is said of what a schema leaves open: whether a text is long, or a header is there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain as chained
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import NamedTuple

import orjson

from connector import config
from connector.config.entry_rules import Rule, detail_type_problem, resource_problem, source_problem
from connector.errors import ConfigError, MappingError, Problem
from connector.formats.avro_schema import without_comments
from connector.formats.avro_types import Forms
from connector.formats.schema_cache import Side
from connector.mapping.conditions import assuming
from connector.mapping.event import A_SCALAR, A_TEXT, SCALARS, TEXTS, target_problem
from connector.mapping.event import Mapping as EventMapping
from connector.mapping.event_code import NULL_ADVICE, NULL_ITEM_ADVICE, Templates
from connector.mapping.inference import Inference
from connector.mapping.results import NUMBERS, Result, Types, items_of, kinds, null, scope_of, union
from connector.mapping.templates import Expression, Template
from connector.workbench.event_size import event_size, unbounded
from connector.workbench.json_schema import json_schema
from connector.workbench.schema_result import schema_result
from connector.workbench.topic_schemas import TopicSchema, configured, topic_schemas

MAX_SHOWN = 5
"""Of the fields that set no limit to the size of events."""


class Finding(NamedTuple):
    """Something that is wrong for records of a schema."""

    schema: str
    """As `version 3 of orders-value`; where it is wrong for several, the newest."""
    path: str
    """The setting that it is about, as `topics.orders.v1.event.source`."""
    message: str


class TopicCheck(NamedTuple):
    """What was found for one topic."""

    topic: str
    schemas: Sequence[str]
    """Those that it was checked against, the newest first; none where its values have none."""
    findings: Sequence[Finding]
    remark: str
    """What is to be known beside that; empty where there is nothing."""


def check_schemas(settings: config.Settings, files: Mapping[str, Sequence[Path]]) -> list[TopicCheck]:
    """Check the mapping of every topic against its newest schema and the one before, from its registry.

    `files` has schemas of topics, and of patterns, that are asked of no registry; newest first.

    Raises:
        ConfigError: schemas that cannot be had, with one problem for each.
    """
    problems: list[Problem] = []
    checks: list[TopicCheck] = []
    given = [name for name in files if name not in settings.topics]
    for name in [*settings.topics, *given]:
        has_topics = name.startswith("^") and any(re.search(name, topic) for topic in given)
        if has_topics and name not in files:
            continue  # its topics have schemas of their own
        try:
            checks.append(_check_topic(settings, name, files.get(name, ())))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return checks


def _check_topic(settings: config.Settings, name: str, files: Sequence[Path]) -> TopicCheck:
    if files:
        values = [*chained.from_iterable(topic_schemas(settings, name, file=file) for file in files)]
    mapped_as = configured(settings, name)
    topic = settings.topics[mapped_as]
    if topic.value.format != "avro":
        return TopicCheck(name, [], [], f"its values are {topic.value.format}, which has no schema to check")
    path = f"topics.{mapped_as}"
    if topic.value.reader_schema is not None:
        values = [_reader_schema(topic.value.reader_schema, f"{path}.value.reader_schema")]
    elif not files:
        values = [*topic_schemas(settings, name)]
    checker = _TopicChecker(settings, topic, path, None if name.startswith("^") else name)
    remarks: list[str] = []
    key = None
    if checker.mapping.uses_key and topic.key.format == "avro":
        if files and topic.key.is_registered:
            remarks.append("the schema of its key was not looked at")
        else:
            keys = topic_schemas(settings, name, "key", count=1)
            key = _result(keys[0], topic.key, "key")
    drafts = [checker.drafts(_result(schema, topic.value, "value"), key) for schema in values]
    if open_fields := checker.unbounded:
        shown = ", ".join(open_fields[:MAX_SHOWN]) + " and others" * (len(open_fields) > MAX_SHOWN)
        remarks.append(f"its schema sets no limit to the size of its events: {shown}")
    labels = [schema.shown for schema in values]
    return TopicCheck(name, labels, checker.findings(labels, drafts), "; ".join(remarks))


def _reader_schema(file: Path, path: str) -> TopicSchema:
    try:
        return TopicSchema(str(file), [orjson.loads(without_comments(file.read_text()))])
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(path, f"{file} is not a usable Avro schema: {error}")]) from None


def _result(schema: TopicSchema, form: config.Format, side: Side) -> Result:
    return schema_result(json_schema(schema.schemas, Forms.of(form)), root=side)


class _Draft(NamedTuple):
    """What may become a finding."""

    path: str
    message: str
    key: object
    """The same for two schemas where both have it."""
    is_decisive: bool = True
    """Whether it counts for one schema alone; else it must be so for all."""
    cause: str = ""
    """The expression, as the configuration has it, that this is inside of; then what is said of the whole
    follows from it."""


class _TopicChecker:
    """Checks one topic's templates against what its records may be."""

    def __init__(self, settings: config.Settings, topic: config.Topic, path: str, name: str | None) -> None:
        self._topic = topic
        self._path = path
        self._name = name
        self._targets = settings.all_targets
        self.mapping = EventMapping(topic, path=path, name=name, targets=self._targets)
        self.unbounded: list[str] = []
        """The first fields of the newest schema that events may be of any size by."""

    def drafts(self, value: Result, key: Result | None) -> list[_Draft]:
        """Everything that is wrong by one schema."""
        templates, topic = self.mapping.templates, self._topic
        if topic.tombstones == "send":
            value = union(value, null("a tombstone has no value, and `tombstones` is send"))
        if key is not None:
            key = union(key, null())
        scope = scope_of(topic, name=self._name, value=value, key=key)
        drafts: list[_Draft] = []
        if (kept := templates.filter) is not None:
            self._found(kept, scope, f"{self._path}.filter", drafts)
        drafts += self._wrong_for_every_record(scope)
        if kept is not None:
            scope = assuming(scope, kept.node, truth=True)
        found: dict[int, Result] = {}
        for path, template in templates.by_path.items():
            for part in template:
                if isinstance(part, Expression):
                    found[id(part)] = self._found(part, scope, path, drafts)
            refused = any(draft.path == path and not draft.cause for draft in drafts)
            if not refused:
                drafts += _wrong_for_some_records(path, template, templates, found, [*self._targets])
        return [*drafts, *self._sizes(found)]

    def _found(self, expression: Expression, scope: Result, path: str, drafts: list[_Draft]) -> Result:
        """What an expression yields; adds what is wrong inside it."""
        inference = Inference()
        result = inference.result(expression.node, scope)
        for node, message, is_decisive in inference.remarks:
            text = f"{expression.shown}: {message}"
            drafts.append(_Draft(path, text, node, is_decisive, expression.shown))
        return result

    def _wrong_for_every_record(self, scope: Result) -> Iterator[_Draft]:
        try:
            EventMapping(self._topic, path=self._path, name=self._name, targets=self._targets, scope=scope)
        except ConfigError as error:
            for path, message in error.problems:
                is_filter = path == f"{self._path}.filter"
                if not is_filter or not self._is_needless(scope):
                    yield _Draft(path, message, message, is_decisive=not is_filter)

    def _is_needless(self, scope: Result) -> bool:
        """Whether the filter keeps all, perhaps for the sake of other schemas; a number is a mistake."""
        if (kept := self.mapping.templates.filter) is None:
            return False
        result = Inference().result(kept.node, scope)
        return result.truth is True and not result.types <= NUMBERS

    def _sizes(self, found: Mapping[int, Result]) -> Iterator[_Draft]:
        templates = self.mapping.templates
        size = event_size(templates, found, topic=self._name)
        chosen = self._targets.get(self._topic.target)
        targets = [chosen] if chosen else self._targets.values()
        if all(each.claim_check for each in targets):
            return  # what is too large goes to S3
        limits = [each.max_event_bytes for each in targets if not each.claim_check]
        path = f"{templates.path}.detail"
        if size.least > max(limits):
            text = (
                f"every event has {size.least:,} bytes or more, and `max_event_bytes` allows {max(limits):,}"
            )
            yield _Draft(path, f"{text}. {_LESS}", text)
        elif min(limits) < size.most < math.inf:
            text = f"an event may have {size.most:,} bytes, and `max_event_bytes` allows {min(limits):,}"
            yield _Draft(path, f"{text}; larger ones are dead-lettered (event_too_large). {_LESS}", text)
        if not self.unbounded:
            self.unbounded = list(islice(unbounded(templates, found), MAX_SHOWN + 1))

    def findings(self, schemas: Sequence[str], drafts: Sequence[Sequence[_Draft]]) -> list[Finding]:
        """What is wrong, once where it is so for several schemas, in the order of the templates."""
        keys = [{(draft.path, draft.key) for draft in each} for each in drafts]
        places = [f"{self._path}.filter", *self.mapping.templates.by_path]
        found: dict[object, Finding] = {}
        for schema, each in zip(schemas, drafts, strict=True):
            counted = [
                draft
                for draft in each
                if draft.is_decisive or all((draft.path, draft.key) in others for others in keys)
            ]
            causes = [(draft.path, draft.cause) for draft in counted if draft.cause]
            for draft in counted:
                follows = any(
                    draft.path == path and draft.message.startswith(shown) for path, shown in causes
                )
                if draft.cause or not follows:
                    found.setdefault((draft.path, draft.key), Finding(schema, draft.path, draft.message))
        order = {path: number for number, path in enumerate(places)}
        return sorted(found.values(), key=lambda finding: order.get(finding.path, len(order)))


# --- what is wrong for some records -------------------------------------------------------------

_LOST = "such records are dead-lettered"
_LESS = (
    "Send less of the record in `event.detail`, or raise `max_event_bytes` where the account has the 1 MB "
    "limit"
)


def _wrong_for_some_records(
    path: str, template: Template, templates: Templates, found: Mapping[int, Result], targets: Sequence[str]
) -> Iterator[_Draft]:
    role = path.removeprefix(f"{templates.path}.") if path != templates.target_path else "target"
    rule: Rule | None = None
    accepted, wanted = (TEXTS, A_TEXT) if len(template) == 1 else (SCALARS, A_SCALAR)
    match re.split(r"[.\[]", role)[0]:
        case "source":
            rule = source_problem
        case "detail_type":
            rule = detail_type_problem
        case "target":
            rule = partial(target_problem, targets=targets)
        case "resources":
            rule = resource_problem
            if len(template) == 1:
                accepted, wanted = TEXTS | {list}, f"{A_TEXT}, or an array of them"
        case "time" if role == "time":
            if len(template) == 1:
                accepted, wanted = TEXTS | NUMBERS, "ISO 8601 text or a number"
            yield from _time_drafts(path, template, templates, found)
        case "detail" if len(template) == 1:
            return
    for part in template:
        if isinstance(part, Expression):
            yield from _type_drafts(path, part, found[id(part)], accepted, wanted)
    if rule is not None:
        yield from _text_drafts(path, template, found, rule)


def _type_drafts(
    path: str, expression: Expression, result: Result, accepted: Types, wanted: str
) -> Iterator[_Draft]:
    def draft(message: str) -> _Draft:
        return _Draft(path, f"{expression.shown} {message}", (expression.shown, message))

    if not result.types & accepted:
        return  # that is wrong for every record
    others = {kind: why for kind, why in result.possible.items() if kind not in accepted}
    if NoneType in others:
        yield draft(f"may be null{_since(others.pop(NoneType))}; {_LOST} (template_null). {NULL_ADVICE}")
    if others:
        yield draft(
            f"may be {kinds(others)}{_since(*others.values())}; {_LOST} (template_type). It must be {wanted}"
        )
    if list not in accepted or list not in result.possible:
        return
    for item in items_of(result.only(frozenset({list}))):
        bad = {kind: why for kind, why in item.possible.items() if kind not in TEXTS}
        if NoneType in bad:
            yield draft(f"may have null among its items; {_LOST} (template_null). {NULL_ITEM_ADVICE}")
        elif bad:
            yield draft(
                f"may have {kinds(bad)} among its items; {_LOST} (template_type). Each must be {A_TEXT}"
            )


def _since(*whys: str) -> str:
    return next((f": {why}" for why in whys if why), "")


def _text_drafts(path: str, template: Template, found: Mapping[int, Result], rule: Rule) -> Iterator[_Draft]:
    """Texts that the rule of a field refuses, by the first for each expression."""
    longest = [_longest(part, found) for part in template]
    for number, part in enumerate(template):
        if not isinstance(part, Expression):
            continue
        for text in found[id(part)].texts:
            parts = _joined([*longest[:number], text, *longest[number + 1 :]])
            if complaint := rule(parts):
                message = f"where {part.shown} is '{text}': {complaint}; {_LOST}"
                yield _Draft(path, message, (part.shown, complaint))
                break


def _longest(part: str | Expression, found: Mapping[int, Result]) -> str | None:
    if isinstance(part, str):
        return part
    result = found[id(part)]
    return max(result.texts, key=len, default=None) if result.only_texts and result.types == {str} else None


def _joined(parts: Sequence[str | None]) -> list[str | None]:
    """With fixed texts that follow each other as one."""
    joined: list[str | None] = []
    for part in parts:
        if joined and part is not None and joined[-1] is not None:
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def _time_drafts(
    path: str, template: Template, templates: Templates, found: Mapping[int, Result]
) -> Iterator[_Draft]:
    """Texts that are no time, where it is known of each part what text it is."""
    for number, part in enumerate(template):
        if not isinstance(part, Expression):
            continue
        for text in found[id(part)].texts:
            others = [_any_text(each, found) for each in (*template[:number], *template[number + 1 :])]
            if any(other is None for other in others):
                return
            whole = "".join(filter(None, [*others[:number], text, *others[number:]]))
            try:
                templates.read_time(whole)
            except MappingError as error:
                if error.code == "template_type":
                    said = str(error).removeprefix(f"{path}: ").removesuffix(".")
                    yield _Draft(path, f"{said}; {_LOST} (template_type)", said)
                    break


def _any_text(part: str | Expression, found: Mapping[int, Result]) -> str | None:
    return part if isinstance(part, str) else next(iter(found[id(part)].texts), None)
