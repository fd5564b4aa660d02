"""Reads the settings, from the YAML file and the environment (which wins), and shows them again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    ValidationError,
)
from pydantic.json_schema import GenerateJsonSchema

from connector.config import environment, units, yaml_file
from connector.config.problems import MISSING, problems_of, without_mistakes
from connector.config.rules import RULES
from connector.config.settings import FOLDER, Settings
from connector.errors import ConfigError, Problem
from connector.model import Json

# Reading and showing ------------------------------------------------------------------------------


def load(
    path: Path | None,
    environ: Mapping[str, str] | None = None,
    *,
    also: Callable[[Settings], Iterable[Problem]] = lambda _: (),
) -> Settings:
    """The settings of the file at `path` and of the environment, which wins; None reads no file.

    Relative paths in the settings are relative to the file. `also` may find more problems in settings
    that are whole but for the problems known already. Raises ConfigError with every problem there is.
    """
    environ = os.environ if environ is None else environ
    folder = FOLDER.set(path.parent if path else Path())
    try:
        file = yaml_file.read_yaml(path) if path else yaml_file.Written()
        written = environment.read_environment(environ, root=Settings, file=file).over(file)
        settings, problems = _validated(written.values)
        if path and not file.values and file.problems:
            problems = []  # an unreadable file is one problem, not one for each setting that was in it
        elif settings is not None:
            refused = tuple(f"{problem.path}." for problem in problems)
            broken = [problem for rule in RULES for problem in rule(settings)]
            paths = {problem.path for problem in broken}
            broken += [problem for problem in also(settings) if problem.path not in paths]
            # What a rule says of a value that was refused, it says of the one put in its place.
            problems += [problem for problem in broken if not f"{problem.path}.".startswith(refused)]
    finally:
        FOLDER.reset(folder)
    unread = environment.unread_variables(environ, Settings, file.values)
    problems = [written.locate(problem) for problem in _with_unread(problems, unread)]
    if problems := written.problems + problems:
        raise ConfigError(problems)
    assert settings is not None  # noqa: S101  # no problems were found, so it was made
    return settings


def located(
    problems: Iterable[Problem], path: Path | None, environ: Mapping[str, str] | None = None
) -> list[Problem]:
    """The problems of settings that were loaded, each with the line or variable that its setting is from."""
    written = places(path, environ)
    return [written.locate(problem) for problem in problems]


def places(path: Path | None, environ: Mapping[str, str] | None = None) -> yaml_file.Written:
    """The settings as they are written, which know where each of them is from."""
    environ = os.environ if environ is None else environ
    file = yaml_file.read_yaml(path) if path else yaml_file.Written()
    return environment.read_environment(environ, root=Settings, file=file).over(file)


def warnings(settings: Settings, environ: Mapping[str, str] | None = None) -> list[Problem]:
    """What is allowed and probably not meant: variables that look like settings and are not read.

    The path of each is the variable's name.
    """
    environ = os.environ if environ is None else environ
    names = {"topics": settings.topics, "targets": settings.targets}
    return [
        Problem(variable, f"is not read; if it is meant for the bridge, its name must be {meant}")
        for variable, meant, *_ in environment.unread_variables(environ, Settings, names)
    ]


def _with_unread(
    problems: Iterable[Problem], unread: Iterable[environment.UnreadVariable]
) -> Iterator[Problem]:
    """The problems; of a missing setting with the variable that perhaps was to give it.

    A variable that is a problem itself is one mistake together with the setting that it does not give.
    """
    given = {each.path: each for each in unread}
    for problem in problems:
        each = given.get(problem.path) if problem.message == MISSING else None
        if each is None:
            yield problem
        elif not each.is_ours:
            hint = f"{MISSING}; {each.variable} is set, and the bridge reads {each.meant}"
            yield problem._replace(message=hint)


def _validated(values: dict[str, Any]) -> tuple[Settings | None, list[Problem]]:
    """The settings without what is wrong, and what is wrong; None where too little is left."""
    problems: list[Problem] | None = None
    for _ in range(4):  # mending shows the next layer: a missing group, then what is missing in it
        try:
            return Settings(**values), problems or []
        except ValidationError as error:
            problems = problems_of(error, Settings) if problems is None else problems
            values = without_mistakes(values, error, Settings)
    return None, problems or []


def as_yaml(settings: Settings) -> str:
    """The settings in force as YAML: defaults included, secrets as `***`."""
    return yaml.safe_dump(as_json(settings), sort_keys=False, allow_unicode=True, width=110)


def as_json(settings: Settings) -> Json:
    shown: Json = settings.model_dump(mode="json", by_alias=True)
    return shown


class WithoutTitles(GenerateJsonSchema):
    """Writes JSON Schemas without a title for each key, which would only repeat it."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False


def json_schema() -> str:
    """The JSON Schema of the YAML file.

    It does not require secrets, not even where the bridge does: they belong into the environment.
    """
    schema = Settings.model_json_schema(schema_generator=WithoutTitles)
    for group in (schema, *schema["$defs"].values()):
        settings = group.get("properties", {})
        for setting in settings.values():
            if "default" in setting:
                setting["default"] = _as_written(setting)
        if "required" in group:
            group["required"] = [key for key in group["required"] if not settings[key].get("writeOnly")]
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | schema, indent=2, ensure_ascii=False) + "\n"


def _as_written(setting: Mapping[str, Any]) -> Json:
    default: Json = setting["default"]
    match setting.get("pattern"):
        case units.DURATION if isinstance(default, float):
            return units.show_seconds(default)
        case units.SIZE if isinstance(default, int):
            return units.show_bytes(default)
    return default
