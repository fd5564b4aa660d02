"""What `check` finds out: problems that only compiling the settings shows, and the answers of connections."""

from __future__ import annotations

from dataclasses import dataclass

from connector.config.settings import Settings
from connector.errors import ConfigError, Problem
from connector.formats.schema_registry import SchemaRegistry
from connector.kafka import client
from connector.pipeline import Pipeline
from connector.sources.customers import read_customers

WITHOUT_TLS = {"ca": None, "certificate": None, "private_key": None}
"""A registry whose certificates cannot be used must not hide what else is wrong."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What trying one connection came to."""

    name: str
    """What was tried, as `dead-letter topic`."""
    ok: bool
    text: str
    """What was found; where it is not ok, also what to do about it."""


def problems(settings: Settings) -> list[Problem]:
    """Everything wrong with templates, filters, schema files and librdkafka keys. Connects to nothing."""
    found = client.option_problems(settings.kafka)
    if settings.sources.customers is not None:
        try:
            read_customers(settings.sources.customers, settings)
        except ConfigError as error:
            found += [problem._replace(path="sources.customers") for problem in error.problems]
    registry = None
    if settings.schema_registry is not None:
        try:
            registry = SchemaRegistry(settings.schema_registry)
        except ConfigError as error:
            found += error.problems
            registry = SchemaRegistry(settings.schema_registry.model_copy(update=WITHOUT_TLS))
    try:
        Pipeline(settings, registry)
    except ConfigError as error:
        found += error.problems
    finally:
        if registry is not None:
            registry.close()
    return found
