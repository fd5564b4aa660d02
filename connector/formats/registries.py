"""The schema registries that the settings name: opened, checked and closed in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connector import config
from connector.formats.schema_registry import SchemaRegistryClient


@dataclass(frozen=True, slots=True)
class Registries:
    """One client for each kind of registry; None for a kind that the settings do not name.

    A framing with a registry of another kind gets an attribute here. Call `close` in the end.
    """

    confluent: SchemaRegistryClient | None = None

    @classmethod
    def of(cls, settings: config.Settings) -> Registries:
        """Open what the settings name; connects to nothing yet.

        Raises:
            ConfigError: a CA, certificate, key or token cannot be used.
        """
        named = settings.schema_registry
        return cls(confluent=SchemaRegistryClient(named) if named is not None else None)

    @property
    def problem(self) -> str | None:
        """Why schemas cannot be had now, in a sentence; None when all is well."""
        return self.confluent.problem() if self.confluent is not None else None

    @property
    def checks(self) -> Mapping[str, Callable[[], None]]:
        """Name of each registry → a function that asks it for something, see `SchemaRegistryClient.check`."""
        return {"schema registry": self.confluent.check} if self.confluent is not None else {}

    def close(self) -> None:
        """Stop fetching. Does not wait for requests under way."""
        if self.confluent is not None:
            self.confluent.close()
