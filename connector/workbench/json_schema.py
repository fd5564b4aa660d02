"""The JSON Schema of what values become, from their Avro schema and the forms that the settings choose.

Draft 4, which EventBridge's schema registry takes. It follows the marks that the decoder follows
(`formats.avro_types`), so that it says of each type what the decoder makes of it.

https://json-schema.org/specification-links#draft-4
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-schema.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from connector.formats.avro_schema import described_schema, shown_name
from connector.formats.avro_types import Forms, form_of

JsonSchema: TypeAlias = "dict[str, Any]"
"""A JSON Schema, or a part of one, as the JSON object it is."""

POINTER = "#/definitions/"
"""How a part refers to a definition."""


class ValueSchema(NamedTuple):
    """What values of one Avro schema become."""

    schema: JsonSchema
    """It may refer to definitions."""
    definitions: Mapping[str, JsonSchema]
    """Of records, by their full names.

    A record has `properties` and no `additionalProperties`, and all of its fields are required. A map has
    `additionalProperties`."""


def json_schema(schemas: Sequence[Any], forms: Forms) -> ValueSchema:
    """Give the JSON Schema of an Avro schema, the last of `schemas`; the others are what it refers to.

    Raises:
        DecodeError: `schema_invalid`.
    """
    described = described_schema(schemas, forms=forms)
    writer = _Writer(described.named)
    schema = writer.schema(described.type)
    return ValueSchema(schema, writer.definitions)


def branches(schema: JsonSchema, definitions: Mapping[str, JsonSchema]) -> Iterator[JsonSchema]:
    """Give the schemas of which a value has to fit one, each without `$ref`, `anyOf` and `allOf`."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix(POINTER)]
    inner = [*schema.get("anyOf", ()), *schema.get("allOf", ())]
    if not inner:
        yield schema
    for each in inner:
        yield from branches(each, definitions)


class _Writer:
    def __init__(self, named: Mapping[str, Any]) -> None:
        self.definitions: dict[str, JsonSchema] = {}
        self._named = named

    def schema(self, avro: Any) -> JsonSchema:
        if isinstance(avro, list):
            inner = [self.schema(branch) for branch in avro]
            return inner[0] if len(inner) == 1 else {"anyOf": inner}
        kind = avro if isinstance(avro, str) else avro["type"]
        if kind in self._named:
            avro, kind = self._named[kind], self._named[kind]["type"]
        described = {"description": avro["doc"]} if isinstance(avro, dict) and "doc" in avro else {}
        form, beyond = form_of(avro)
        if form in FORMS:
            return {**_beyond(FORMS[form](avro), beyond), **described}
        match kind:
            case "record":
                return self._record(avro)
            case "array":
                return {"type": "array", "items": self.schema(avro["items"])}
            case "map":
                return {"type": "object", "additionalProperties": self.schema(avro["values"])}
            case "enum":
                return {"type": "string", "enum": list(avro["symbols"]), **described}
        return dict(_PLAIN[kind])

    def _record(self, avro: Mapping[str, Any]) -> JsonSchema:
        name = shown_name(avro["name"])
        if name not in self.definitions:
            definition = self.definitions[name] = {"type": "object"}
            if "doc" in avro:
                definition["description"] = avro["doc"]
            definition["properties"] = {field["name"]: self._field(field) for field in avro["fields"]}
            if avro["fields"]:  # draft 4 has no empty `required`
                definition["required"] = [field["name"] for field in avro["fields"]]
        return {"$ref": POINTER + name}

    def _field(self, field: Mapping[str, Any]) -> JsonSchema:
        schema = self.schema(field["type"])
        if "doc" not in field:
            return schema
        # Beside a $ref draft 4 ignores everything.
        return {"description": field["doc"], **({"allOf": [schema]} if "$ref" in schema else schema)}


_PLAIN: Mapping[str, JsonSchema] = {
    "null": {"type": "null"},
    "boolean": {"type": "boolean"},
    "int": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "long": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "string": {"type": "string"},
}

NUMBER_OR_NULL: JsonSchema = {"type": ["number", "null"]}
"""Of a float, which is null where it is NaN or infinite."""


def _beyond(schema: JsonSchema, choice: str) -> JsonSchema:
    """Also what a value outside of its range becomes."""
    match choice, schema:
        case "null", {"type": "number"}:
            return NUMBER_OR_NULL
        case "null", _:
            return {"anyOf": [schema, {"type": "null"}]}
        case "string", {"type": "number"}:
            return {"anyOf": [schema, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}
        case "string", _:  # a year of more digits, or an infinity of Postgres
            return {"type": "string"}
    return schema


def _text(pattern: str, *, length: int | None = None, format: str | None = None) -> JsonSchema:  # noqa: A002
    schema: JsonSchema = {"type": "string"}
    if format is not None:
        schema["format"] = format
    if length is not None:
        schema |= {"minLength": length, "maxLength": length}
    return schema | {"pattern": f"^{pattern}$"}


_DATE, _CLOCK = "[0-9]{4}-[0-9]{2}-[0-9]{2}", "[0-9]{2}:[0-9]{2}:[0-9]{2}"
_DIGITS = {"millis": 3, "micros": 6, "nanos": 9}


def _time(digits: int, _avro: Any) -> JsonSchema:
    return _text(f"{_CLOCK}[.][0-9]{{{digits}}}", length=9 + digits)


def _timestamp(digits: int, zone: str, _avro: Any) -> JsonSchema:
    pattern = f"{_DATE}T{_CLOCK}[.][0-9]{{{digits}}}{zone}"
    return _text(pattern, length=20 + digits + len(zone), format="date-time" if zone else None)


def _base64(avro: Any) -> JsonSchema:
    length = 4 * -(-avro["size"] // 3) if avro["type"] == "fixed" else None
    return _text("[A-Za-z0-9+/]*={0,2}", length=length)


def _decimal(avro: Any) -> JsonSchema:
    scale: int = avro["scale"]
    return _text(f"-?[0-9]+[.][0-9]{{{scale}}}" if scale else "-?[0-9]+")


def _duration(_avro: Any) -> JsonSchema:
    part = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
    parts = ["months", "days", "millis"]
    return {"type": "object", "properties": dict.fromkeys(parts, part), "required": parts}


FORMS: Mapping[str, Callable[[Any], JsonSchema]] = {
    "base64": _base64,
    "number": lambda _: {"type": "number"},
    "text": lambda _: {"type": "string"},
    "decimal": _decimal,
    "scaled": lambda _: _text("-?[0-9]+([.][0-9]+)?"),
    "uuid": lambda _: _text("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", length=36),
    "duration": _duration,
    "date": lambda _: _text(_DATE, length=10),
    **{f"time-{unit}": partial(_time, digits) for unit, digits in _DIGITS.items()},
    **{
        f"{local}timestamp-{unit}": partial(_timestamp, digits, zone)
        for local, zone in (("", "Z"), ("local-", ""))
        for unit, digits in _DIGITS.items()
    },
}
"""By the names of `avro_types.form_of`; each is given the type as Avro has it."""
