"""Every setting. A new one: `settings`, with its rules in `rules`; its unit in `units`.

`load` reads the file (`yaml_file`) and the environment (`environment`); `problems` says in words what is
wrong. `kafka` knows which of librdkafka's keys belong to the bridge.
"""

from connector.config.load import as_json, as_yaml, json_schema, load, located, warnings
from connector.config.rules import is_loopback
from connector.config.settings import (
    DEFAULT_REGISTRY,
    DEFAULT_TARGET,
    ClaimCheckSettings,
    DeadLetterSettings,
    Delivery,
    Format,
    ReceiptSettings,
    Retry,
    SchemaRegistry,
    Settings,
    Sources,
    Target,
    Timeouts,
    Topic,
    registry_path,
)

__all__ = [
    "DEFAULT_REGISTRY",
    "DEFAULT_TARGET",
    "ClaimCheckSettings",
    "DeadLetterSettings",
    "Delivery",
    "Format",
    "ReceiptSettings",
    "Retry",
    "SchemaRegistry",
    "Settings",
    "Sources",
    "Target",
    "Timeouts",
    "Topic",
    "as_json",
    "as_yaml",
    "is_loopback",
    "json_schema",
    "load",
    "located",
    "registry_path",
    "warnings",
]
