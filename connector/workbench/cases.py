"""Runs cases of fixtures: each record is written, framed, read and mapped as it would be from Kafka."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self, cast

from connector import config
from connector.config.problems import path_of
from connector.config.settings import Format
from connector.errors import ConfigError, Problem
from connector.formats.registries import Registries
from connector.formats.schema_cache import SchemaCache, Side
from connector.model import Json, Partition, Record, iso
from connector.pipeline import Pipeline, topic_problem
from connector.workbench.differences import ABSENT, Difference, differences
from connector.workbench.encoding import UnfitError
from connector.workbench.explanation import Explanation, explain
from connector.workbench.fixtures import CaseFixture, FixtureFile, RecordFixture
from connector.workbench.topic_schemas import topic_schemas
from connector.workbench.writing import MemoryRegistry, Write, writer

CLUSTER_ID = "test"
"""What event ids begin with: `test/orders.v1/0/0`."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of one case."""

    index: int
    """In its fixture."""
    case: CaseFixture
    explanation: Explanation
    came: Json
    """What a fixture would expect: all of the event, or why there is none."""
    differences: list[Difference]
    """Empty where it passed."""


class Rehearsal:
    """The bridge's own pipeline, for records that are written here. Use it as a context.

    Schemas come from files, or from the topic's registry, which is asked for those that no file gives.

    Raises:
        ConfigError: as `Pipeline`.
    """

    def __init__(self, settings: config.Settings) -> None:
        self._settings = settings
        self._registry = MemoryRegistry()
        self._closing = ExitStack()
        # Each record's schema is that of this registry, whatever its topic calls it.
        registries = Registries(dict.fromkeys(settings.all_registries, SchemaCache(self._registry)))
        self._closing.callback(registries.close)
        self.pipeline = Pipeline(settings, registries)
        self.pipeline.cluster_id = CLUSTER_ID
        self._write = lru_cache(self._writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def record(
        self,
        topic: str,
        fixture: RecordFixture,
        *,
        schema: Path | None = None,
        key_schema: Path | None = None,
    ) -> Record:
        """Write a record of a configured topic, with the schemas of files or those that the topic has.

        Raises:
            ConfigError: a schema is not to be had, or the record does not fit it; with paths as in a fixture.
        """
        problems: list[Problem] = []
        contents: dict[Side, bytes | None] = {}
        headers = {name: None if text is None else text.encode() for name, text in fixture.headers.items()}
        sides: list[tuple[Side, Json, Path | None]] = [
            ("key", fixture.key, key_schema),
            ("value", fixture.value, schema),
        ]
        for side, value, file in sides:
            if value is None:
                contents[side] = None
                continue
            try:
                contents[side], of_framing = self._write(topic, side, file)(value)
            except ConfigError as error:
                problems += error.problems
            except UnfitError as error:
                problems += (Problem(path_of(("record", side, *loc)), text) for loc, text in error.located)
            else:
                headers |= of_framing
        if problems:
            raise ConfigError(problems)
        partition = Partition(topic, fixture.partition)
        return Record(
            partition,
            fixture.offset,
            fixture.timestamp,
            contents["key"],
            contents["value"],
            tuple(headers.items()),
        )

    def without_metadata(self, topic: str, came: Json) -> Json:
        """What came, without the position and id of the record that the bridge adds to an event's detail."""
        added = self.pipeline.route(topic).mapping.templates.metadata
        if isinstance(came, dict) and isinstance(detail := came["detail"], dict):
            return came | {"detail": {name: each for name, each in detail.items() if name != added}}
        return came

    def run(self, fixture: FixtureFile) -> list[CaseResult]:
        """Run the cases of one fixture.

        Raises:
            ConfigError: its topic, schema or records cannot be used; with every problem, each with its line.
        """
        topic, problems = fixture.fixture.topic, list[Problem]()
        if why := topic_problem(self._settings, self.pipeline, topic):
            raise ConfigError([fixture.problem("topic", why)])
        results = []
        files = {"schema": fixture.fixture.schema_file, "key_schema": fixture.fixture.key_schema}
        for index, case in enumerate(fixture.fixture.cases):
            try:
                record = self.record(topic, case.record, **files)
            except ConfigError as error:
                problems += (_located(problem, fixture, index) for problem in error.problems)
                if not all(problem.path.startswith("record") for problem in error.problems):
                    break  # a schema that is not to be had would be looked for again with every case
            else:
                results.append(_result(index, case, explain(self.pipeline, record)))
        if problems:
            raise ConfigError(problems)
        return results

    def _writer(self, topic: str, side: Side, file: Path | None) -> Write:
        path = self.pipeline.route(topic).path
        settings = self._settings.topics[path.removeprefix("topics.")]
        form: Format = settings.key if side == "key" else settings.value
        setting = "schema" if side == "value" else "key_schema"
        if form.format != "avro" and file is not None:
            message = f"is for Avro, and the format of `{path}.{side}` is {form.format}; leave it out"
            raise ConfigError([Problem(setting, message)])
        try:
            found = topic_schemas(self._settings, topic, side, file=file, count=1)
        except ConfigError as error:
            at = setting if file is not None else "topic"
            raise ConfigError([Problem(at, problem.message) for problem in error.problems]) from None
        return writer(form, found[0].schemas if found else [], self._registry)


def _located(problem: Problem, fixture: FixtureFile, index: int) -> Problem:
    is_of_record = problem.path.startswith("record")
    return fixture.problem(
        f"cases[{index}].{problem.path}" if is_of_record else problem.path, problem.message
    )


def _result(index: int, case: CaseFixture, explanation: Explanation) -> CaseResult:
    outcome, named = explanation.outcome, case.event.named if case.event else {}
    came = _came(explanation, named)
    found = [Difference((other,), case.expected, ABSENT) for other in case.outcomes if other != outcome]
    if outcome in case.outcomes:
        is_whole = case.event is not None and case.event.exactly
        found += differences(case.expected, came, exactly=is_whole, loc=(outcome,))
    else:
        found.append(Difference((outcome,), ABSENT, came))
    return CaseResult(index, case, explanation, came, found)


def _came(explanation: Explanation, named: Collection[str]) -> Json:
    """What a fixture would expect; of an event what is usual only if it is named."""
    entry = explanation.entry
    if entry is None:
        return explanation.code
    event: dict[str, Json] = {"source": entry["Source"], "detail_type": entry["DetailType"]}
    if "Time" in entry:
        event["time"] = iso(round(cast("float", entry["Time"]) * 1000))
    if "Resources" in entry or "resources" in named:
        event["resources"] = entry.get("Resources", [])
    event["detail"] = entry["Detail"]
    if explanation.target != config.DEFAULT_TARGET or "target" in named:
        event["target"] = explanation.target
    return event
