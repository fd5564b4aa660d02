"""The smallest configuration that is valid, with settings over it, in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from connector import config
from connector.config.settings import Settings
from connector.errors import ConfigError

MINIMAL = """
kafka:
  bootstrap.servers: localhost:9092
  group.id: orders
schema_registry: {url: http://registry:8081}
eventbridge: {region: eu-central-1}
dead_letter: {topic: orders.dlt}
topics:
  orders.v1:
    event: {source: aws.partner/example.com/a, detail_type: Order}
"""


class Written:
    """A configuration file in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "bridge.yaml"

    def load(self, text: str, environ: Mapping[str, str] | None = None) -> Settings:
        self.file.write_text(text, "utf-8")
        return config.load(self.file, environ or {})

    def problems(self, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(text, environ)
        return list(map(str, caught.value.problems))


def with_settings(**groups: object) -> str:
    """The minimal configuration with some settings over it: `eventbridge={"max_in_flight": 1}`."""
    values = yaml.safe_load(MINIMAL)
    for group, settings in groups.items():
        over = isinstance(settings, dict) and group != "topics"
        values[group] = {**values.get(group, {}), **settings} if over else settings  # type: ignore[dict-item]
    text: str = yaml.safe_dump(values, sort_keys=False)
    return text


def with_topic(**settings: object) -> str:
    event = {"source": "aws.partner/example.com/a", "detail_type": "Order"}
    return with_settings(topics={"orders.v1": {"event": event, **settings}})


EVENT = {"source": "aws.partner/example.com/a", "detail_type": "b"}
