"""A configuration of the user's own, turned to a sandbox: its addresses, and no sign-in elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connector.config.yaml_file import as_json, read_yaml
from connector.errors import ConfigError
from connector.sandbox import orders
from connector.sandbox.registry import APICURIO_API

_SIGNING_IN = re.compile(r"auth|(security|sasl|ssl|https|enable\.ssl|enable\.sasl)\..*|group\.instance\.id")
"""What of `kafka` is about another broker; and the place in the group that one bridge alone may have."""
_OF_AWS = frozenset(
    {"profile", "role_arn", "external_id", "ca_bundle", "use_fips", "use_dualstack", "allow_insecure"}
)
_SESSION_TIMEOUT_MS = 6000
"""With the classic protocol, the sandbox's broker lets a new member wait for the others for so long."""
_REFRESH_INTERVAL = "1s"
"""So that a customer who accepts is seen at once."""


def for_sandbox(
    given: Path | Mapping[str, Any], addresses: Mapping[str, Any], *, http: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a file, or given as they are in one, for a bridge in the sandbox with these addresses.

    Topics, mappings, rules and limits stay. Brokers, registry and endpoints become the sandbox's, sign-in
    and TLS go, missing dead-letter topics are created, sources are looked up every second, and `http` is
    laid over what is there. Paths are absolute afterwards, so that the result can be written anywhere.

    Raises:
        ConfigError: the file cannot be read, or is not YAML.
    """
    folder = Path()
    if isinstance(given, Path):
        written = read_yaml(given)
        if written.problems:
            raise ConfigError(written.problems)
        settings, folder = as_json(written.values), given.absolute().parent
    else:
        settings = as_json(dict(given))
    assert isinstance(settings, dict)  # noqa: S101 - it was one
    kafka = {key: value for key, value in _group(settings, "kafka").items() if not _SIGNING_IN.fullmatch(key)}
    kafka["bootstrap.servers"] = addresses["kafka"]["bootstrap.servers"]
    if kafka.get("group.protocol") != "consumer":
        kafka["session.timeout.ms"] = _SESSION_TIMEOUT_MS
    settings |= {
        "kafka": kafka,
        "schema_registry": _registry(_group(settings, "schema_registry"), addresses),
        "eventbridge": {"region": orders.REGION, **_target(_group(settings, "eventbridge"), addresses)},
        "sources": {**_group(settings, "sources"), "refresh_interval": _REFRESH_INTERVAL},
        "dead_letter": {**_group(settings, "dead_letter"), "create": True},
        "http": {**_group(settings, "http"), **http},
    }
    if targets := _group(settings, "targets"):
        settings["targets"] = {name: _target(_group(targets, name), addresses) for name in targets}
    if registries := _group(settings, "schema_registries"):
        settings["schema_registries"] = {
            name: _registry(_group(registries, name), addresses) for name in registries
        }
    _make_absolute(_group(settings, "sources"), "customers", folder)
    topics = _group(settings, "topics")
    for name in topics:
        for part in ("value", "key"):
            form = _group(_group(topics, name), part)
            for setting in ("schema", "reader_schema"):
                _make_absolute(form, setting, folder)
    return settings


def _group(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A group of settings; empty where it is missing or none, which the bridge itself will say."""
    group = settings.get(name)
    return group if isinstance(group, dict) else {}


def _registry(registry: Mapping[str, Any], addresses: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in registry.items() if key in {"type", "timeout"}}
    path = APICURIO_API if kept.get("type") == "apicurio" else ""
    return kept | {"url": addresses["schema_registry"] + path}


def _target(target: Mapping[str, Any], addresses: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in target.items() if key not in _OF_AWS}
    insecure = {"allow_insecure": True} if orders.is_plain_elsewhere(addresses["eventbridge"]) else {}
    return kept | {"endpoint_url": addresses["eventbridge"]} | insecure


def _make_absolute(group: dict[str, Any], name: str, folder: Path) -> None:
    if isinstance(group.get(name), str):
        group[name] = str(folder / group[name])
