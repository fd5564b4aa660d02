"""The registries that the settings name: opened, asked and closed together."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connector import config
from connector.errors import ConfigError, UnavailableError
from connector.formats.registries import Registries


def settings(**registry: Any) -> config.Settings:
    """The example's settings, with this registry or none."""
    example = config.load(Path(__file__).parents[3] / "examples" / "bridge.yaml", {})
    named = config.SchemaRegistry(**registry) if registry else None
    return example.model_copy(update={"schema_registry": named})


def test_without_a_registry_there_is_nothing_to_ask() -> None:
    """Opening, asking and closing all work where the settings name no registry."""
    registries = Registries.of(settings())

    assert {} == registries.caches
    assert None is registries.problem
    assert {} == registries.checks
    registries.close()


def test_a_named_registry_is_opened_and_can_be_checked() -> None:
    """Each registry has a name and a check; a port that refuses connections fails it."""
    with closing(Registries.of(settings(url="http://127.0.0.1:1"))) as registries:
        assert None is registries.problem  # nothing was asked yet
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 cannot be reached"):
            registries.checks["schema registry"]()


def test_credentials_that_cannot_be_used_are_found_when_it_is_opened(tmp_path: Path) -> None:
    """Before anything connects, with the key of the setting."""
    missing = tmp_path / "ca.pem"

    with pytest.raises(ConfigError) as caught:
        Registries.of(settings(url="https://registry.example", ca=str(missing)))

    assert ["schema_registry.ca"] == [problem.path for problem in caught.value.problems]
