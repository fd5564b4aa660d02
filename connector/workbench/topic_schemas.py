"""The schemas of a topic, before a record is read: from a file, or the last ones that its registry has."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from connector import config
from connector.config.problems import did_you_mean
from connector.errors import ConfigError, ConnectorError, DecodeError, Problem
from connector.formats.avro_schema import described_schema, without_comments
from connector.formats.avro_types import Forms
from connector.formats.registries import registry_of
from connector.formats.schema_cache import NotFoundError, SchemaVersion, Side


class TopicSchema(NamedTuple):
    """An Avro schema that keys or values of a topic are written with."""

    shown: str
    """Which one it is, for messages: `version 3 of orders-value`, or its file."""
    schemas: Sequence[Any]
    """As JSON: its own, the last one, behind those that it refers to."""


def topic_schemas(
    settings: config.Settings,
    topic: str,
    side: Side = "value",
    *,
    file: Path | None = None,
    count: int = 2,
) -> Sequence[TopicSchema]:
    """Give the last `count` schemas of a topic, the newest first; waits for the registry.

    They are those of `file` where it is given; else of the files of the topic's own setting, all of them and
    the last by name first; else those that the registry has. Without Avro there are none. `topic` is the name
    of a topic, or a pattern as the settings have it. A `reader_schema` is none that values are written with.

    Raises:
        ConfigError: with one problem: the topic is not configured, there is no schema to be found, or it is
            none.
    """
    name = configured(settings, topic)
    path = f"topics.{name}.{side}"
    form = settings.topics[name].key if side == "key" else settings.topics[name].value
    if form.format != "avro":
        return []
    if file is not None:
        return [_of_file(file, path)]
    if not form.is_registered:
        own = form.schema_file
        files = sorted(own.glob("*.avsc"), reverse=True) if own is not None and own.is_dir() else [own]
        return [_of_file(each, f"{path}.schema") for each in files if each is not None]
    if topic.startswith("^"):
        text = "a pattern stands for several topics, so no registry has the one schema"
        raise _problem(path, text, topic)
    registry = form.registry or config.DEFAULT_REGISTRY
    if registry not in settings.all_registries:
        raise _problem(path, "its registry is not configured", topic)
    found = _asked(
        lambda: registry_of(settings, registry).versions(topic, side, count=count), path=path, topic=topic
    )
    return [_parsed(version, path) for version in found]


def configured(settings: config.Settings, topic: str) -> str:
    """Give the name or pattern under which the settings have a topic.

    Raises:
        ConfigError: they do not have it.
    """
    if topic in settings.topics:
        return topic
    for name in settings.topics:
        if name.startswith("^") and re.search(name, topic):
            return name
    hint = did_you_mean(topic, settings.topics) or f"; known here: {', '.join(settings.topics)}"
    raise ConfigError([Problem("topics", f"no mapping is for the topic {topic}{hint}")])


def _asked(ask: Callable[[], Sequence[SchemaVersion]], *, path: str, topic: str) -> Sequence[SchemaVersion]:
    try:
        found = ask()
    except ConfigError:
        raise
    except NotFoundError as error:
        raise _problem(path, str(error), topic) from None
    except ConnectorError as error:
        raise ConfigError([Problem(path, str(error))]) from None
    if not found:
        raise _problem(path, "every version of its schema is disabled or deleted", topic)
    return found


def _problem(path: str, text: str, topic: str) -> ConfigError:
    hint = f"give a file: `--schema '{topic}=FILE'` (check), `--schema FILE` (export), `schema: FILE` (test)"
    return ConfigError([Problem(path, f"{text}; {hint}")])


def _parsed(version: SchemaVersion, path: str) -> TopicSchema:
    schemas = [orjson.loads(text) for text in version.schemas.texts]
    return _checked(TopicSchema(version.shown, schemas), path)


def _of_file(file: Path, path: str) -> TopicSchema:
    try:
        schema = orjson.loads(without_comments(file.read_text()))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError([Problem(path, f"{file} is not a usable Avro schema: {reason}")]) from None
    return _checked(TopicSchema(str(file), [schema]), path)


def _checked(found: TopicSchema, path: str) -> TopicSchema:
    try:
        described_schema(found.schemas, forms=Forms())
    except DecodeError as error:
        raise ConfigError([Problem(path, f"{found.shown} is not a usable Avro schema: {error}")]) from None
    return found
