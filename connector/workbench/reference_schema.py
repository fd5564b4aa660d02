"""The JSON Schema of a detail whose large part is in S3: see `eventbridge.claim_check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from connector.eventbridge.claim_check import RESERVED, steps_of
from connector.workbench.expression_schema import (
    ANY,
    NULL,
    branches_of,
    constant,
    object_of,
    opened,
    union,
    with_properties,
)
from connector.workbench.json_schema import JsonSchema

_OPEN: JsonSchema = {"type": "object", "additionalProperties": ANY}
"""An object of which nothing is known."""

Resolve = Callable[[JsonSchema], JsonSchema]
"""Gives what a schema refers to."""


def by_reference(
    detail: JsonSchema, path: str, *, metadata: Mapping[str, JsonSchema], resolved: Resolve
) -> JsonSchema | None:
    """What a detail becomes of which the part at a path is in S3; None where nothing can ever be there.

    `detail` is an object, and `metadata` what it has besides.
    """
    steps = steps_of(path)
    small: JsonSchema | None = object_of(metadata)
    if steps:
        small = _without(
            with_properties(_OPEN if detail == {"type": "object"} else detail, metadata), steps, resolved
        )
    if small is None or not RESERVED.isdisjoint(small.get("required", ())):
        return None
    reference = {
        "dataref": {"type": "string", "pattern": "^arn:[a-z-]+:s3:::"},
        "datarefJsonPath": constant(path),
        "datarefSize": {"type": "integer", "minimum": 0},
        "datarefSha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    }
    return with_properties(small, reference)


def _without(schema: JsonSchema, steps: Sequence[str], resolved: Resolve) -> JsonSchema | None:
    """A value after what is at these steps was taken out of it; None where nothing can be there."""
    branches = branches_of(resolved(schema))
    if len(branches) > 1:
        found = [small for each in branches if (small := _without(each, steps, resolved)) is not None]
        return union(*found) if found else None
    (schema,) = branches
    schema = opened(resolved(schema))
    if schema in ({"type": "object"}, ANY):
        schema = _OPEN
    if schema.get("type") != "object":
        return None
    step, *inwards = steps
    properties: Mapping[str, JsonSchema] = schema.get("properties", {})
    inside = properties.get(step, schema.get("additionalProperties"))
    if inside is None or resolved(inside) == NULL:
        return None
    others = {name: each for name, each in properties.items() if name != step}
    required = [name for name in schema.get("required", ()) if name != step]
    if inwards:
        small = _without(inside, inwards, resolved)
        if small is None:
            return None
        others[step] = small
        required.append(step)
    kept = {key: each for key, each in schema.items() if key not in {"properties", "required"}}
    return {**kept, "properties": others, **({"required": required} if required else {})}
