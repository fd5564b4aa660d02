"""The JSON Schema of what an expression of a mapping yields, from that of what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

from connector.mapping.expressions import Node
from connector.mapping.inference import result_of
from connector.mapping.results import ANYTHING, Result
from connector.model import Json
from connector.workbench.json_schema import POINTER, JsonSchema

NULL: JsonSchema = {"type": "null"}
ANY: JsonSchema = {}
TYPE_NAMES: Mapping[type, str] = {
    str: "string",
    float: "number",
    int: "integer",
    bool: "boolean",
    list: "array",
    dict: "object",
    NoneType: "null",
}


def constant(value: Json) -> JsonSchema:
    """Allow one value."""
    return NULL if value is None else {"type": TYPE_NAMES[type(value)], "enum": [value]}


def union(*schemas: JsonSchema) -> JsonSchema:
    """Allow what any of them allows."""
    branches: list[JsonSchema] = []
    for schema in schemas:
        branches += [each for each in branches_of(schema) if each not in branches]
    if not branches or ANY in branches:
        return ANY
    return branches[0] if len(branches) == 1 else {"anyOf": branches}


def branches_of(schema: JsonSchema) -> list[JsonSchema]:
    """Give the schemas of which a value must fit one; the schema itself where it has no branches."""
    match schema:
        case {"anyOf": [*branches]}:
            return [each for branch in branches for each in branches_of(branch)]
        case {"type": [*kinds]}:
            return [{**schema, "type": kind} for kind in kinds]
    return [schema]


class ExpressionSchemas:
    """Follows expressions through the schemas of the roots that they read.

    A schema never allows less than what some record yields.
    """

    def __init__(self, roots: Mapping[str, JsonSchema], definitions: Mapping[str, JsonSchema]) -> None:
        self._scope: JsonSchema = {"type": "object", "properties": dict(roots), "required": list(roots)}
        self._definitions = definitions

    def of(self, node: Node) -> JsonSchema:
        """What an expression yields where it does not fail, by its node of jmespath's syntax tree."""
        return self._of(node, self._scope)

    def resolved(self, schema: JsonSchema) -> JsonSchema:
        """What a schema refers to; the schema itself where it refers to nothing."""
        match schema:
            case {"$ref": str(pointer)}:
                return self._definitions[pointer.removeprefix(POINTER)]
            case {"allOf": [only]}:
                return self.resolved(only)
        return schema

    def _of(self, node: Node, current: JsonSchema) -> JsonSchema:
        children = node["children"]
        match node["type"]:
            case "literal":
                return constant(node["value"])
            case "current" | "identity":
                return current
            case "field" | "index" if isinstance(step := node["value"], str | int):
                return self._step(current, step)
            case "subexpression" | "index_expression" | "pipe":
                for child in children:
                    current = self._of(child, current)
                return current
            case "or_expression":
                first, second = (self._of(child, current) for child in children)
                return union(*_without_null(first), second)
            case "and_expression":
                return union(*(self._of(child, current) for child in children))
            case "multi_select_list" | "multi_select_dict":
                return self._selected(node, current)
        return _of_result(result_of(node, ANYTHING))

    def _step(self, schema: JsonSchema, step: str | int) -> JsonSchema:
        branches = branches_of(self.resolved(schema))
        if len(branches) > 1:
            return union(*(self._step(branch, step) for branch in branches))
        (schema,) = branches
        match self.resolved(schema), step:
            case {"type": "object", "properties": properties, **others}, str() if step in properties:
                is_required = step in others.get("required", ())
                return properties[step] if is_required else union(properties[step], NULL)
            case {"type": "object", "additionalProperties": dict(values)}, str():
                return union(values, NULL)
            case {"type": "array", "items": items}, int():
                return union(items, NULL)
            case {"type": "object", "properties": _}, str():
                return NULL
            case ({"type": "object"}, str()) | ({"type": "array"}, int()):
                return ANY
            case {"type": str()}, _:
                return NULL
        return ANY

    def _selected(self, node: Node, current: JsonSchema) -> JsonSchema:
        """Of `[a, b]` and `{x: a}`, which yield null where they are applied to null."""
        is_object = node["type"] == "multi_select_dict"
        found = {
            str(child["value"]) if is_object else str(index): self._of(
                child["children"][0] if is_object else child, current
            )
            for index, child in enumerate(node["children"])
        }
        made = object_of(found) if is_object else array_of(list(found.values()))
        may_be_null = any(
            self.resolved(each) == ANY or each == NULL for each in branches_of(self.resolved(current))
        )
        return union(made, NULL) if may_be_null else made


def object_of(properties: Mapping[str, JsonSchema], *, optional: tuple[str, ...] = ()) -> JsonSchema:
    """An object that has these, all but the optional ones in any case."""
    required = [name for name in properties if name not in optional]
    # Draft 4 has no empty `required`.
    return {"type": "object", "properties": dict(properties), **({"required": required} if required else {})}


def opened(schema: JsonSchema) -> JsonSchema:
    """A constant object by its properties, so that some can be added or left out; else the schema itself."""
    match schema:
        case {"enum": [dict() as value]}:
            return object_of({name: constant(each) for name, each in value.items()})
    return schema


def with_properties(schema: JsonSchema, added: Mapping[str, JsonSchema]) -> JsonSchema:
    """The same object, which has these in any case as well, in the place of its own of the same name."""
    if not added:
        return schema
    schema = opened(schema)
    properties = {**schema.get("properties", {}), **added}
    required = [*dict.fromkeys((*schema.get("required", ()), *added))]
    return {**schema, "properties": properties, "required": required}


def array_of(items: list[JsonSchema]) -> JsonSchema:
    """An array of as many items, one of each schema; their order is not part of it."""
    return {"type": "array", "items": union(*items), "minItems": len(items), "maxItems": len(items)}


def _without_null(schema: JsonSchema) -> list[JsonSchema]:
    return [branch for branch in branches_of(schema) if branch != NULL]


def _of_result(result: Result) -> JsonSchema:
    if result.constant:
        return constant(result.constant[0])
    kinds = [TYPE_NAMES[kind] for kind in TYPE_NAMES if kind in result.types]
    if len(kinds) in {0, len(TYPE_NAMES)}:
        return ANY
    if "number" in kinds and "integer" in kinds:
        kinds.remove("integer")
    schemas: list[dict[str, Any]] = [{"type": kind} for kind in kinds]
    return union(*schemas)
