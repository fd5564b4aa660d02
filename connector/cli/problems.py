"""Mistakes in the settings that show without connecting."""

from __future__ import annotations

from connector import config
from connector.config.settings import Settings
from connector.errors import ConfigError, Problem
from connector.formats.registries import Registries
from connector.kafka import client
from connector.pipeline import Pipeline


def problems(settings: Settings) -> list[Problem]:
    """Find everything wrong with templates, filters, schemas, librdkafka keys, targets, customers and pauses.

    Connects to nothing.
    """
    from connector.eventbridge.endpoint import routes  # noqa: PLC0415
    from connector.sources.customers import read_customers  # noqa: PLC0415

    found = reading_problems(settings)
    try:
        routes(settings)
    except ConfigError as error:
        found += error.problems
    if settings.sources.customers is not None:
        try:
            read_customers(settings.sources.customers, settings)
        except ConfigError as error:
            found += [problem._replace(path="sources.customers") for problem in error.problems]
    if settings.pauses is not None:
        from connector.config.pauses import read_pauses  # noqa: PLC0415

        try:
            read_pauses(settings)
        except ConfigError as error:
            found += [Problem("pauses", f"{settings.pauses}: {problem}") for problem in error.problems]
    return found


def reading_problems(settings: Settings) -> list[Problem]:
    """Find everything wrong with templates, filters, schema files, registries and librdkafka keys.

    That is all that matters to a command that sends nothing. It imports no botocore, which would take as long
    as all else that such a command does.
    """
    found = client.option_problems(settings.kafka)
    try:
        registries = Registries.of(settings)
    except ConfigError as error:
        found += error.problems
        registries = Registries.of(_without_credentials(settings))
    try:
        Pipeline(settings, registries)
    except ConfigError as error:
        found += error.problems
    finally:
        registries.close()
    return found


def mapping_problems(settings: Settings) -> tuple[Problem, ...]:
    """Find everything wrong with templates, filters and schema files.

    That is all that matters to a command that tests mappings: it must run where there are no passwords.
    """
    from connector.workbench.cases import Rehearsal  # noqa: PLC0415

    try:
        with Rehearsal(settings):
            return ()
    except ConfigError as error:
        return error.problems


def _without_credentials(settings: Settings) -> Settings:
    """The same without sign-in and TLS of the registries, which must not hide other problems."""
    bare = {
        name: config.SchemaRegistry(type=registry.type, url=registry.url)
        for name, registry in settings.all_registries.items()
    }
    default = bare.pop(config.DEFAULT_REGISTRY, None)
    return settings.model_copy(update={"schema_registry": default, "schema_registries": bare})
