"""Writes `helm/templates/_defaults.tpl`: what a value set to null falls back to.

Helm takes a default away where a user sets it to null, and the templates would find nothing there. The
chart's own sections and single values get their default again. What goes into a Kubernetes object as it
stands, as `resources` or `strategy`, stays away: so one says that it should not be in the object.
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from tests.chart.values_schema import VALUES, is_ours


def values_defaults() -> str:
    """The template of defaults."""
    text = VALUES.read_text()
    node = yaml.compose(text)
    assert isinstance(node, yaml.MappingNode)
    defaults = yaml.safe_dump(_kept(node, text.splitlines()), sort_keys=False, width=110)
    return (
        "{{/* Written by `make docs` from values.yaml: what a value set to null falls back to. */}}\n"
        f'{{{{- define "partner-bridge.defaults" -}}}}\n{defaults}{{{{- end -}}}}\n'
    )


def _kept(node: yaml.MappingNode, lines: list[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in node.value:
        default = yaml.safe_load(yaml.serialize(value))
        if isinstance(value, yaml.MappingNode) and default and is_ours(value, lines):
            kept[key.value] = _kept(value, lines)
        elif default is not None and not (isinstance(default, dict | list) and default):
            kept[key.value] = default
    return kept


if __name__ == "__main__":
    sys.stdout.write(values_defaults())
