"""OpenAPI 3.0 has no type null and no definitions; the registry finds source and detail type by name."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate

from connector.formats.avro_types import Forms
from connector.workbench.event_schema import EventSchema
from connector.workbench.json_schema import json_schema
from connector.workbench.openapi import openapi
from tests.mapping import topic

ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "com.example",
    "fields": [
        {"name": "note", "type": ["null", "string"], "doc": "Free text."},
        {"name": "status", "type": ["null", {"type": "enum", "name": "Status", "symbols": ["A"]}]},
        {"name": "parent", "type": ["null", "Order"]},
        {"name": "ratio", "type": "double"},
        {"name": "id", "type": "long"},
    ],
}


def document(detail_type: str = "Order Placed", avro: Any = None, **event: Any) -> dict[str, Any]:
    schema = EventSchema(
        "orders", topic(detail_type=detail_type, **event), json_schema([avro or ORDER], Forms())
    )
    made = openapi(
        schema.document(detail_type), source="aws.partner/example.com/acme", detail_type=detail_type
    )
    validate(made)
    return made


def test_the_event_is_where_the_registry_looks_for_it() -> None:
    made = document()
    event = made["components"]["schemas"]["AWSEvent"]

    assert ("3.0.0", {}, "OrderPlaced") == (made["openapi"], made["paths"], made["info"]["title"])
    assert "Order Placed" == event["x-amazon-events-detail-type"]
    assert "aws.partner/example.com/acme" == event["x-amazon-events-source"]
    assert {"$ref": "#/components/schemas/OrderPlaced"} == event["properties"]["detail"]
    assert set(event["required"]) == event["properties"].keys()


def test_null_is_nullable() -> None:
    """Beside a reference it would say nothing, and an enum must have it among its values."""
    fields = document()["components"]["schemas"]["OrderPlaced"]["properties"]
    null = {"type": "string", "nullable": True, "enum": [None]}

    assert {"description": "Free text.", "type": "string", "nullable": True} == fields["note"]
    assert {"type": "string", "nullable": True, "enum": ["A", None]} == fields["status"]
    assert {"anyOf": [null, {"$ref": "#/components/schemas/Order"}]} == fields["parent"]
    assert {"type": "number", "nullable": True} == fields["ratio"]
    assert {"type": "integer", "format": "int64"} == fields["id"]


@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        ("note", None, True), ("note", 1, False), ("status", None, True), ("status", "B", False),
        ("parent", None, True), ("parent", {}, False), ("parent", "x", False), ("ratio", None, True),
    ],
)  # fmt: skip
def test_a_validator_takes_null_where_it_may_be(field: str, value: Any, *, fits: bool) -> None:
    made = document()
    order: dict[str, Any] = {"note": "x", "status": "A", "parent": None, "ratio": 0.5, "id": 1, field: value}
    validator = OAS30Validator({**made, "$ref": "#/components/schemas/OrderPlaced"})

    assert fits == validator.is_valid(order)


def test_no_word_of_draft_4_alone_is_left() -> None:
    found = set(words(document(detail={"a": [1, "${value}"], "b": "${value.parent}", "c": None})))

    assert not found & {"$schema", "definitions", "null"}


def words(part: Any) -> list[str]:
    match part:
        case dict():
            return [*part, *(word for each in part.values() for word in words(each))]
        case list():
            return [word for each in part for word in words(each)]
        case str():
            return [part]
    return []


def test_components_have_names_of_their_own() -> None:
    """The event's, the detail's, and two records of one short name."""
    inner = {"type": "record", "name": "other.Order", "fields": [{"name": "x", "type": "int"}]}
    outer = {
        "type": "record",
        "name": "shop.Order",
        "fields": [{"name": "a", "type": ["null", "shop.Order"]}, {"name": "b", "type": inner}],
    }
    names = document("Order", outer)["components"]["schemas"].keys()

    assert {"AWSEvent", "Order", "shop_Order", "other_Order"} == names
    assert {"AWSEvent", "AWSEvent_2"} <= document("AWSEvent")["components"]["schemas"].keys()
