"""The OpenAPI document of an event, in the shape of EventBridge's schema registry.

The registry finds the event by the name `AWSEvent`, and in it source and detail type:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-schema-create.html
OpenAPI 3.0 has no type null: https://spec.openapis.org/oas/v3.0.3#schema-object
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connector.workbench.expression_schema import branches_of
from connector.workbench.json_schema import POINTER, JsonSchema

COMPONENT_POINTER = "#/components/schemas/"
EVENT = "AWSEvent"
NULL: JsonSchema = {"type": "string", "nullable": True, "enum": [None]}
"""Allows null alone. `nullable` beside a `$ref` or without a type would say nothing."""
_INTEGERS: Mapping[tuple[Any, Any], str] = {(-(2**31), 2**31 - 1): "int32", (-(2**63), 2**63 - 1): "int64"}


def openapi(event: JsonSchema, *, source: str, detail_type: str) -> dict[str, Any]:
    """Give the OpenAPI 3.0 document of an event's JSON Schema, for events of that source and detail type."""
    properties: Mapping[str, JsonSchema] = event["properties"]
    definitions: Mapping[str, JsonSchema] = event.get("definitions", {})
    title = re.sub(r"[^A-Za-z0-9_]+", "", detail_type) or "Event"
    names = _component_names([title, *definitions])
    detail, names_of = names[0], dict(zip(definitions, names[1:], strict=True))
    ordered = {name: _converted(schema, names_of) for name, schema in properties.items() if name != "detail"}
    return {
        "openapi": "3.0.0",
        "info": {"version": "1.0.0", "title": title},
        "paths": {},
        "components": {
            "schemas": {
                EVENT: {
                    "type": "object",
                    "required": event["required"],
                    "x-amazon-events-detail-type": detail_type,
                    "x-amazon-events-source": source,
                    "properties": {"detail": {"$ref": COMPONENT_POINTER + detail}, **ordered},
                },
                detail: _converted(properties["detail"], names_of),
                **{names_of[name]: _converted(schema, names_of) for name, schema in definitions.items()},
            }
        },
    }


def _component_names(wanted: list[str]) -> list[str]:
    """Names that a component may have, each another: the last part of a full name where that is free."""
    names = [EVENT]
    for name in wanted:
        legal = re.sub(r"[^A-Za-z0-9_]", "_", name)
        short = re.sub(r"[^A-Za-z0-9_]", "_", name.rpartition(".")[2])
        numbered = (f"{legal}_{number}" for number in range(2, len(wanted) + 3))
        names.append(next(each for each in (short, legal, *numbered) if each and each not in names))
    return names[1:]


def _converted(schema: JsonSchema, names: Mapping[str, str]) -> JsonSchema:
    match schema:
        case {"$ref": str(pointer)}:
            return {"$ref": COMPONENT_POINTER + names[pointer.removeprefix(POINTER)]}
        case {"type": "null"}:
            return NULL
        case {"anyOf": _} | {"type": [*_]}:
            described = {"description": schema["description"]} if "description" in schema else {}
            branches = branches_of({key: value for key, value in schema.items() if key != "description"})
            return described | _any_of([_converted(branch, names) for branch in branches])
    made = dict(schema)
    if "allOf" in made:
        made["allOf"] = [_converted(each, names) for each in made["allOf"]]
    if "properties" in made:
        made["properties"] = {name: _converted(each, names) for name, each in made["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in made:
            made[key] = _converted(made[key], names)
    if made.get("type") == "array":
        made.setdefault("items", {})
    if size := _INTEGERS.get((made.get("minimum"), made.get("maximum"))):
        del made["minimum"], made["maximum"]
        made["format"] = size
    return made


def _any_of(branches: list[JsonSchema]) -> JsonSchema:
    others = [branch for branch in branches if branch != NULL]
    match others:
        case [{"type": str(), **rest} as only] if len(others) < len(branches):
            values = {"enum": [*rest["enum"], None]} if "enum" in rest else {}
            return {**only, "nullable": True, **values}
    return {"anyOf": branches} if len(branches) > 1 else branches[0]
