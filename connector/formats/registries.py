"""The schema registries that the settings name: opened, checked and closed in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from connector import config
from connector.errors import ConfigError, Problem
from connector.formats.apicurio_registry import ApicurioRegistry
from connector.formats.confluent_registry import ConfluentRegistry
from connector.formats.schema_cache import Registry, SchemaCache


@dataclass(frozen=True, slots=True)
class Registries:
    """The schemas of each registry, by its name in the settings. Call `close` in the end."""

    caches: Mapping[str, SchemaCache] = field(default_factory=dict)
    """By name; the one under `schema_registry` is called `default`."""

    @classmethod
    def of(cls, settings: config.Settings) -> Registries:
        """Open what the settings name; connects to nothing yet.

        Raises:
            ConfigError: a CA, certificate, key or token cannot be used; with every such problem.
        """
        opened: dict[str, Registry] = {}
        problems: list[Problem] = []
        for name in settings.all_registries:
            try:
                opened[name] = registry_of(settings, name)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return cls({name: SchemaCache(registry) for name, registry in opened.items()})

    @property
    def problem(self) -> str | None:
        """Why schemas cannot be had now, in a sentence; None when all is well."""
        return next(filter(None, (cache.problem() for cache in self.caches.values())), None)

    @property
    def checks(self) -> Mapping[str, Callable[[], None]]:
        """Name of each registry → a function that asks it for something, see `Registry.check`."""
        return {
            "schema registry" if name == config.DEFAULT_REGISTRY else f"schema registry {name}": cache.check
            for name, cache in self.caches.items()
        }

    def close(self) -> None:
        """Stop fetching. Does not wait for requests under way."""
        for cache in self.caches.values():
            cache.close()


def registry_of(settings: config.Settings, name: str) -> Registry:
    """Open one registry, to ask it something and wait for the answer; connects to nothing yet.

    Raises:
        ConfigError: its CA, certificate, key or token cannot be used.
    """
    registry, path = settings.all_registries[name], config.registry_path(name)
    match registry.type:
        case "confluent":
            return ConfluentRegistry(registry, path=path)
        case "apicurio":
            return ApicurioRegistry(registry, path=path)
        case "glue":
            # Here, since boto3 takes long to import.
            from connector.formats.glue_registry import GlueRegistry  # noqa: PLC0415

            return GlueRegistry(registry, path=path, target=settings.eventbridge)
