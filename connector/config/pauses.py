"""The file of `pauses`: what is in it, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, WithJsonSchema

from connector.config import units, yaml_file
from connector.config.problems import Group, did_you_mean, problems_of
from connector.config.settings import Settings, Text
from connector.errors import ConfigError, Problem, why_failed
from connector.model import Pause, PauseKind

Moment: TypeAlias = Annotated[
    datetime,
    BeforeValidator(units.moment),
    PlainSerializer(units.show_moment, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class PauseRule(Group):
    """What is paused together, and until when."""

    sources: list[Text] = Field(
        default=[],
        examples=[["aws.partner/example.com/acme"]],
        description="Partner event sources by name or glob; `*` stands for any text, also with `/` in it.",
    )
    topics: list[Text] = Field(
        default=[], examples=[["orders.v1"]], description="Topics, or patterns of the configuration."
    )
    targets: list[Text] = Field(
        default=[], examples=[["us"]], description="Targets; `default` is `eventbridge`."
    )
    until: Moment | None = Field(
        default=None,
        examples=["2026-11-30T06:00Z"],
        description="When it ends by itself, with a zone. Default: when it is taken out of the file.",
    )


class PauseRules(Group):
    """All rules of a file."""

    pauses: list[PauseRule] = Field(default=[], examples=[[{"topics": ["orders.v1"]}]], description="Rules.")


def parse_pauses(text: bytes | str, *, name: str) -> list[Pause]:
    """The pauses in the text of a file: one rule, a list of rules, or nothing.

    Raises:
        ConfigError: with every problem, each with its line.
    """
    written = yaml_file.parse_yaml(text, name=name, loc=("pauses",))
    values: Any = written.values or []
    is_one = isinstance(values, dict)
    if is_one:
        written = yaml_file.parse_yaml(text, name=name, loc=("pauses", 0))
        values = [written.values]
    rules: list[PauseRule] = []
    problems: list[Problem] = []
    try:
        rules = PauseRules(pauses=values).pauses
    except ValidationError as error:
        problems = [written.locate(problem) for problem in problems_of(error, PauseRules)]
    if problems := written.problems + problems:
        raise ConfigError(
            [
                problem._replace(path=problem.path.removeprefix("pauses[0].")) if is_one else problem
                for problem in problems
            ]
        )
    return [
        Pause(kind, each, None if rule.until is None else int(rule.until.timestamp() * 1000))
        for rule in rules
        for kind, names in _names(rule).items()
        for each in names
    ]


def _names(rule: PauseRule) -> dict[PauseKind, list[str]]:
    return {"source": rule.sources, "topic": rule.topics, "target": rule.targets}


def read_pauses(settings: Settings) -> list[Pause]:
    """The pauses in the file that the settings name, if any; none where it does not exist yet.

    Raises:
        ConfigError: it cannot be read, or with every problem in it.
    """
    try:
        text = b"" if settings.pauses is None else settings.pauses.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError([Problem("", f"cannot be read: {why_failed(error)}")]) from error
    return parse_pauses(text, name="YAML")


def doubts(pauses: Iterable[Pause], settings: Settings) -> list[Problem]:
    """What the settings say pauses nothing: a name that is mistyped, or not in use any more."""
    found = []
    for pause in dict.fromkeys(pauses):
        if pause.kind == "target" and pause.name not in settings.all_targets:
            hint = did_you_mean(pause.name, settings.all_targets)
            found.append(f"there is no target {pause.name}{hint}")
        elif pause.kind == "topic" and not any(is_of(pause.name, key) for key in settings.topics):
            hint = did_you_mean(pause.name, settings.topics)
            found.append(f"the topic {pause.name} is not in the configuration{hint}")
        elif pause.kind == "source" and not re.match(r"aws\.partner/|[*?\[]", pause.name):
            hint = "names begin with aws.partner/, and a glob with * where it leaves that out"
            found.append(f"no source has the name {pause.name}: {hint}")
    return [Problem("pauses", f"{text}. This pauses nothing; the others count") for text in found]


def is_of(name: str, key: str) -> bool:
    """Whether a topic's name, or pattern, belongs to a key of `topics`."""
    return name == key or (key.startswith("^") and not name.startswith("^") and bool(re.search(key, name)))
