"""README's table of settings, from the JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from connector.config import units
from connector.config.load import json_schema


def settings_table() -> str:
    """Every setting as a row of a Markdown table: path, type, default, meaning."""
    schema = json.loads(json_schema())
    rows = [
        ("setting", "type", "default", "meaning"),
        ("---",) * 4,
        *_rows(schema, schema["$defs"], path="", defaults={}),
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _rows(
    group: Mapping[str, Any], groups: Mapping[str, Any], *, path: str, defaults: Mapping[str, Any]
) -> Iterator[tuple[str, ...]]:
    for key, setting in group["properties"].items():
        at = f"{path}{key}"
        if inner := _group(setting, groups):
            yield from _rows(inner, groups, path=f"{at}.", defaults=setting.get("default") or {})
        elif (inner := _group(setting.get("additionalProperties", {}), groups)) is groups.get("Target"):
            meaning = f"{setting['description']} Each has the keys of `eventbridge`."
            yield f"`{at}.<target>`", "group", "none", meaning
        elif inner:
            yield from _rows(inner, groups, path=f"{at}.<{key.removesuffix('s')}>.", defaults={})
        else:
            found = {"default": defaults[key]} if key in defaults else setting
            default = f"`{json.dumps(found['default'])}`" if "default" in found else "required"
            yield f"`{at}`", _type(setting).replace("|", r"\|"), default, setting["description"]
    if "propertyNames" in group:
        yield f"`{path}<key>`", "text, number or boolean", "librdkafka's", "Any other librdkafka setting."


def _group(setting: Mapping[str, Any], groups: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The group of settings that this one is, if it is one; optional groups included."""
    for choice in setting.get("anyOf", [setting]):
        name = choice.get("$ref", "").removeprefix("#/$defs/")
        if name and "properties" in groups[name]:
            found: Mapping[str, Any] = groups[name]
            return found
    return None


def _type(setting: Mapping[str, Any]) -> str:
    match setting:
        case {"anyOf": choices}:
            return " or ".join(_type(choice) for choice in choices)
        case {"enum": choices}:
            return " | ".join(f"`{choice}`" for choice in choices)
        case {"const": only}:
            return f"`{only}`"
        case {"pattern": units.DURATION}:
            return "duration"
        case {"pattern": units.SIZE}:
            return "size"
        case {"writeOnly": True}:
            return "secret"
        case {"format": "path"}:
            return "path"
        case {"type": "array", "items": items}:
            return f"list of {_type(items)}"
        case {"type": name}:
            return _TYPES[name]
    return "any JSON"


_TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean", "null": "null"}
