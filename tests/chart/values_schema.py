"""Writes `helm/values.schema.json` from `helm/values.yaml` and the application's own JSON Schema.

Types come from the defaults, meanings from the comments `# --` that helm-docs reads as well, and what a
default cannot say from a comment `# @schema {…}` above. A mapping that has keys takes no others; an empty
one takes what its comment says. `config` is the application's schema as it is, but for keys that the chart's
own rules ask for in better words (`_validations.tpl`).

Null is allowed wherever nothing is required: a later values file takes away so what an earlier one said
(`_values.tpl`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from connector.config.load import json_schema

ROOT = Path(__file__).parents[2]
VALUES = ROOT / "helm" / "values.yaml"

ASKED_FOR_BY_THE_CHART = ("Config", "Kafka", "DeadLetterSettings", "Target", "Topic", "EventTemplate")
"""Groups whose required keys `_validations.tpl` asks for, naming the fix."""

_TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}


def values_schema() -> str:
    """The JSON Schema of the chart's values."""
    text = VALUES.read_text()
    node = yaml.compose(text)
    assert isinstance(node, yaml.MappingNode)
    schema = _mapping(node, text.splitlines())
    groups = _config_groups()
    for each in (schema, *groups.values()):
        _allow_null(each)
    for group in groups.values():
        _or_null(group)  # what refers to it
    return (
        json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "$comment": "Written by `make docs` from values.yaml and the application's schema.",
                **schema,
                "$defs": groups,
            },
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
    )


def _config_groups() -> dict[str, Any]:
    config = json.loads(json_schema())
    groups: dict[str, Any] = config.pop("$defs")
    config.pop("$schema")
    groups["Config"] = config
    for name in ASKED_FOR_BY_THE_CHART:
        groups[name].pop("required", None)
    return groups


def _allow_null(schema: dict[str, Any]) -> None:
    """Lets every value of a mapping be null, at any depth, but for what is required."""
    values = {**schema.get("properties", {}), "*": schema.get("additionalProperties")}
    for key, value in values.items():
        if isinstance(value, dict):
            _allow_null(value)
            if key not in schema.get("required", ()):
                _or_null(value)


def _or_null(schema: dict[str, Any]) -> None:
    if "anyOf" in schema and {"type": "null"} not in schema["anyOf"]:
        schema["anyOf"].append({"type": "null"})
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        schema["type"] = [*types, *({"null"} - set(types))]
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]


def _mapping(node: yaml.MappingNode, lines: list[str]) -> dict[str, Any]:
    properties = {}
    for key, value in node.value:
        meaning, written = _comments(key.start_mark.line, lines)
        schema: dict[str, Any]
        if isinstance(value, yaml.MappingNode) and value.value:
            schema = {"type": "object"} | (_mapping(value, lines) if is_ours(value, lines) else {})
        elif isinstance(value, yaml.MappingNode):
            schema = {"type": "object"}
        else:
            default = yaml.safe_load(yaml.serialize(value))
            schema = {"type": _TYPES[type(default)]} if default is not None else {}
            schema["default"] = default
        schema |= written
        if "$ref" in schema:
            schema = {"$ref": schema["$ref"]}
        properties[key.value] = {"description": meaning, **schema} if meaning else schema
    return {"type": "object", "additionalProperties": False, "properties": properties}


def is_ours(node: yaml.MappingNode, lines: list[str]) -> bool:
    """Whether the keys below are the chart's own, with comments, and not those of a Kubernetes object."""
    for key, value in node.value:
        if any(_comments(key.start_mark.line, lines)):
            return True
        if isinstance(value, yaml.MappingNode) and value.value and is_ours(value, lines):
            return True
    return False


def _comments(line: int, lines: list[str]) -> tuple[str, dict[str, Any]]:
    """The meaning and the written schema in the comment right above a key."""
    above: list[str] = []
    while line > 0 and lines[line - 1].strip().startswith("#"):
        line -= 1
        above.insert(0, lines[line].strip().removeprefix("#").strip())
    schema: dict[str, Any] = {}
    meaning: list[str] = []
    for text in above:
        if text.startswith("@schema"):
            schema |= yaml.safe_load(text.removeprefix("@schema"))
        elif text.startswith("--"):
            meaning = [text.removeprefix("--").strip()]
        elif meaning:
            meaning.append(text)
    return " ".join(meaning), schema


if __name__ == "__main__":
    sys.stdout.write(values_schema())
