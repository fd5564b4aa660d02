"""Fixtures: YAML files of records and of what each must become, read with the line of every mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import orjson
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from connector.config.problems import Group, problems_of
from connector.config.settings import FOLDER, AnyJson, File, Text
from connector.config.yaml_file import Written, parse_yaml
from connector.errors import Code, ConfigError, Problem, why_failed
from connector.model import DropReason, Json, iso


def _unix_ms(written: object) -> object:
    if isinstance(written, int):
        return written
    try:
        moment = datetime.fromisoformat(str(written))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("must be a time, as 2026-11-22T10:00:00Z")
    return round(moment.timestamp() * 1000)


UnixMs: TypeAlias = Annotated[
    int, BeforeValidator(_unix_ms), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""Unix time in milliseconds, written in ISO 8601."""


class RecordFixture(Group):
    """A Kafka record, in the JSON that the bridge makes of it."""

    value: AnyJson | None = Field(
        description="Its value: decimals and times as text, unions as the bare value. null is a tombstone."
    )
    key: AnyJson | None = Field(default=None, description="Its key; null for none.")
    headers: dict[str, str | None] = Field(default={}, description="Its headers, as text.")
    timestamp: UnixMs | None = Field(default=None, description="Its time; null where the topic keeps none.")
    partition: int = Field(default=0, ge=0, description="The partition that it is in.")
    offset: int = Field(default=0, ge=0, description="Its place there.")


class EventFixture(Group):
    """The event that a record must become. What is named is compared, in objects at any depth."""

    source: str | None = Field(default=None, description="The partner event source.")
    detail_type: str | None = Field(default=None, description="What kind of event it is.")
    time: UnixMs | None = Field(default=None, description="When it happened.")
    resources: list[str] | None = Field(default=None, description="What it is about.")
    detail: AnyJson | None = Field(default=None, description="Its content. Lists are compared as a whole.")
    target: str | None = Field(default=None, description="Which of `targets` it is sent to.")
    exactly: bool = Field(default=False, description="Compare all that came, and not only what is named.")

    @property
    def named(self) -> dict[str, Json]:
        """What is to be compared; the time as ISO 8601 text."""
        named: dict[str, Json] = self.model_dump(exclude_unset=True, exclude_none=True, exclude={"exactly"})
        if self.time is not None:
            named["time"] = iso(self.time)
        return named


OUTCOMES = ("event", "filtered", "dead_letter")


class CaseFixture(Group):
    """A record, and what it must become."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [outcome]} for outcome in OUTCOMES]})

    name: Text = Field(examples=["a shipped order"], description="What the case shows.")
    record: RecordFixture = Field(description="The record.")
    event: EventFixture | None = Field(default=None, description="The event that it must become.")
    filtered: DropReason | None = Field(default=None, description="The rule that must drop it.")
    dead_letter: Code | None = Field(
        default=None, description="The code under which it must be dead-lettered."
    )

    @property
    def outcomes(self) -> list[str]:
        """Which of `OUTCOMES` it names; one, but for a case that `--update` is to complete."""
        return [outcome for outcome in OUTCOMES if getattr(self, outcome) is not None]

    @property
    def expected(self) -> Json:
        """What it says of its outcome: what is named of the event, the rule, or the code."""
        return self.filtered or self.dead_letter or (self.event.named if self.event else None)


class Fixture(Group):
    """Cases of one topic."""

    topic: Text = Field(examples=["orders.v1"], description="The topic's name, also where a pattern has it.")
    schema_file: File | None = Field(
        default=None,
        alias="schema",
        description="The Avro schema of the values. Default: the topic's own, else the registry's latest.",
    )
    key_schema: File | None = Field(default=None, description="The same for keys in Avro.")
    cases: list[CaseFixture] = Field(min_length=1, description="The cases, each with a name of its own.")


@dataclass(frozen=True, slots=True)
class FixtureFile:
    """A fixture as a file has it."""

    file: Path
    text: str
    fixture: Fixture
    written: Written

    def problem(self, path: str, message: str) -> Problem:
        """A problem of the setting at this path, with its file and line."""
        return _in_file(self.file, self.written.locate(Problem(path, message)))

    def line(self, index: int) -> int:
        """The line of a case."""
        return int(self.written.origins[f"cases[{index}]"].removeprefix("line "))


def read_fixture(file: Path, *, to_update: bool = False) -> tuple[FixtureFile | None, list[Problem]]:
    """Read a fixture, and find everything wrong with it. One `to_update` may leave out outcomes.

    Paths in it are relative to its file. Where it has problems, what can be used of it is there all the same,
    so that more may be found.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        return None, [Problem(str(file), f"cannot be read: {why_failed(error)}")]
    return parse_fixture(file, content, to_update=to_update)


def parse_fixture(
    file: Path, content: bytes, *, to_update: bool = False
) -> tuple[FixtureFile | None, list[Problem]]:
    """The same for the content of a file."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return None, [Problem(str(file), f"not UTF-8 text, from byte {error.start}")]
    written = parse_yaml(text, name=str(file))
    if not written.values:
        return None, written.problems or [Problem(str(file), "is empty; write `topic` and `cases`")]
    token = FOLDER.set(file.parent)
    try:
        fixture, problems = _validated(written.values)
    finally:
        FOLDER.reset(token)
    if fixture is not None:
        problems += _case_problems(fixture.cases, to_update=to_update)
    found = [_in_file(file, problem) for problem in written.problems + list(map(written.locate, problems))]
    return None if fixture is None else FixtureFile(file, text, fixture, written), found


def record_in(content: bytes) -> RecordFixture | None:
    """The record that a file holds as a fixture does, in YAML or JSON.

    None where it holds anything else: no mapping, one without a value, or with a key that no record has.

    Raises:
        ConfigError: it is such a record, with mistakes.
    """
    try:
        values = orjson.loads(content)
    except orjson.JSONDecodeError:
        written = parse_yaml(content, name="")
        values = None if written.problems else written.values
    if not isinstance(values, dict) or "value" not in values or values.keys() - RecordFixture.keys():
        return None
    try:
        return RecordFixture.model_validate(values)
    except ValidationError as error:
        raise ConfigError(problems_of(error, RecordFixture)) from None


def _in_file(file: Path, problem: Problem) -> Problem:
    return Problem(": ".join(filter(None, (str(file), problem.path))), problem.message)


def _validated(values: Mapping[str, Any]) -> tuple[Fixture | None, list[Problem]]:
    """The fixture, with a stand-in for each case that has mistakes; None where there are others."""
    try:
        return Fixture.model_validate(values), []
    except ValidationError as error:
        problems, places = problems_of(error, Fixture), [each["loc"][:2] for each in error.errors()]
    if not all(len(place) == 2 and place[0] == "cases" for place in places):
        return None, problems
    cases = list(values["cases"])
    for _, index in places:
        cases[int(index)] = {"name": f"case {index}", **_STAND_IN}
    return Fixture.model_validate({**values, "cases": cases}), problems


_STAND_IN = {"record": {"value": None}, "filtered": "tombstone"}


def _case_problems(cases: Sequence[CaseFixture], *, to_update: bool) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, case in enumerate(cases):
        path = f"cases[{index}]"
        if first.setdefault(case.name, index) != index:
            yield Problem(f"{path}.name", f"cases[{first[case.name]}] has this name; choose another")
        if len(case.outcomes) > 1:
            yield Problem(path, f"a record has one outcome; keep one of {', '.join(case.outcomes)}")
        if not case.outcomes and not to_update:
            missing = (
                f"write what the record becomes: one of {', '.join(OUTCOMES)}; --update writes what came"
            )
            yield Problem(path, missing)
