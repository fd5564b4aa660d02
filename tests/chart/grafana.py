"""Judges a dashboard by Grafana's own schema: the types of its Foundation SDK, which are generated from it.

Grafana itself shows what it can and is silent about the rest, so a misspelt field is not seen there.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import typing
from collections.abc import Iterator
from typing import Any

import pydantic

from tests.chart import tools

NOT_IN_THE_SCHEMA = {"definition", "titleFormat"}
"""What Grafana writes itself into a variable, and what Prometheus' annotations add to the common ones."""

_STRICT = pydantic.ConfigDict(strict=True, arbitrary_types_allowed=True)


def problems(dashboard: dict[str, Any]) -> list[str]:
    """What is wrong with a dashboard: unknown fields and panels, values of another type, wrong choices."""
    try:
        schema = _models("models.dashboard")
        parsed = schema.Dashboard.from_json(dashboard)
        for panel in parsed.panels:
            if getattr(panel, "links", None):  # which the types leave as they are
                panel.links = [schema.DashboardLink.from_json(link) for link in panel.links]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"cannot be read: {error}"]
    written = json.loads(json.dumps(parsed, cls=_models("cog.encoder").JSONEncoder))
    return [*_lost(dashboard, written, "dashboard"), *_mistyped(parsed, "dashboard")]


def _lost(given: Any, kept: Any, where: str) -> Iterator[str]:
    """What the types did not keep, because they do not know it."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key in given.keys() - NOT_IN_THE_SCHEMA:
            if key in kept:
                yield from _lost(given[key], kept[key], f"{where}.{key}")
            else:
                yield f"{where}.{key} is unknown"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from _lost(one, other, f"{where}[{number}]")
    elif given != kept:
        yield f"{where} is {given!r}, and would be {kept!r}"


def _mistyped(value: Any, where: str) -> Iterator[str]:
    """Fields whose value is not of the type that the schema says."""
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from _mistyped(each, f"{where}[{number}]")
        return
    name = type(value).__name__
    if name == "UnknownDataquery" or (name == "Panel" and isinstance(value.options, dict)):
        yield f"{where} is of no kind that Grafana has"
    elif type(value).__module__.startswith("grafana_foundation_sdk.models") and hasattr(value, "to_json"):
        for key, kind in typing.get_type_hints(type(value)).items():
            field = getattr(value, key)
            judge = pydantic.TypeAdapter(kind, config=_STRICT)
            try:
                if isinstance(field, str | int | float):
                    judge.validate_json(json.dumps(field))  # where the text of a choice is the choice
                else:
                    judge.validate_python(field)
            except pydantic.ValidationError as error:
                yield f"{where}.{key}: {error.errors()[0]['msg']}"
            yield from _mistyped(field, f"{where}.{key}")


@functools.cache
def _models(name: str) -> Any:
    if (folder := str(tools.grafana_types())) not in sys.path:
        sys.path.append(folder)
        importlib.import_module("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    return importlib.import_module(f"grafana_foundation_sdk.{name}")
