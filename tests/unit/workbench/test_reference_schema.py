"""What the schema of a detail says of one whose large part is in S3."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft4Validator

from connector.model import Json
from connector.workbench.expression_schema import NULL, ExpressionSchemas, constant, object_of, union
from connector.workbench.json_schema import JsonSchema
from connector.workbench.reference_schema import by_reference

LINE: JsonSchema = {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}
ORDER = object_of({"id": {"type": "string"}, "line": union({"$ref": "#/definitions/Line"}, NULL)})
METADATA = {"_kafka": object_of({"id": {"type": "string"}})}
REFERENCE: dict[str, Json] = {
    "dataref": "arn:aws:s3:::large/events/1",
    "datarefJsonPath": "$.detail.line.sku",
    "datarefSize": 300_000,
    "datarefSha256": "0" * 64,
    "_kafka": {"id": "1"},
}


def schema_at(path: str, detail: JsonSchema = ORDER) -> Any:
    schemas = ExpressionSchemas({}, {"Line": LINE})
    schema = by_reference(detail, path, metadata=METADATA, resolved=schemas.resolved)
    if schema is not None:
        Draft4Validator.check_schema(schema)
    return schema


def test_a_part_is_replaced_by_all_that_is_needed_to_find_it() -> None:
    """What the part was inside of is there, and is an object."""
    validator = Draft4Validator(schema_at("$.detail.line.sku"))
    event = {**REFERENCE, "id": "4711", "line": {}}

    assert validator.is_valid(event)
    for name in event:
        assert not validator.is_valid({key: value for key, value in event.items() if key != name})
    assert not validator.is_valid({**event, "line": None})
    assert not validator.is_valid({**event, "datarefJsonPath": "$.detail.line"})
    assert not validator.is_valid({**event, "datarefSha256": "0"})
    assert not validator.is_valid({**event, "dataref": "s3://large/events/1"})


def test_of_a_whole_detail_the_metadata_stays() -> None:
    validator = Draft4Validator(schema_at("$.detail"))

    assert validator.is_valid({**REFERENCE, "datarefJsonPath": "$.detail"})
    assert not validator.is_valid({"dataref": "arn:aws:s3:::large/1"})


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("$.detail.total", ORDER),
        ("$.detail.id.text", ORDER),
        ("$.detail.line.sku.code", ORDER),
        ("$.detail.none", object_of({"none": NULL})),
        ("$.detail.text", object_of({"text": {"type": "string"}, "dataref": {"type": "string"}})),
        ("$.detail.text", object_of({"text": {"type": "string"}, "datarefSize": {"type": "integer"}})),
        ("$.detail.line.code", object_of({"line": constant({"sku": ""})})),
    ],
)
def test_where_nothing_can_be_taken_there_is_no_such_form(path: str, detail: JsonSchema) -> None:
    """No field of that name, no object, always null, or a reference of the record's own."""
    assert schema_at(path, detail) is None


def test_a_record_without_its_optional_reference_gets_ours() -> None:
    """And only such a record."""
    detail = object_of({"text": {}, "datarefSize": {"type": "string"}}, optional=("datarefSize",))
    validator = Draft4Validator(schema_at("$.detail.text", detail))

    assert validator.is_valid({**REFERENCE, "datarefJsonPath": "$.detail.text"})
    assert not validator.is_valid({**REFERENCE, "datarefJsonPath": "$.detail.text", "datarefSize": "1"})


def test_a_field_with_the_name_of_the_metadata_is_the_metadata() -> None:
    """As the event has it."""
    validator = Draft4Validator(schema_at("$.detail.text", object_of({"text": {}, "_kafka": NULL})))

    assert validator.is_valid({**REFERENCE, "datarefJsonPath": "$.detail.text"})


@pytest.mark.parametrize(
    "detail",
    [
        {"type": "object"},
        object_of({"line": {}}),
        object_of({"line": {"type": "object"}}),
        object_of({"line": constant({"sku": "", "code": 1})}),
        object_of({"line": union(object_of({"sku": {}, "size": {}}), constant({"sku": "", "code": 1}))}),
    ],
)
def test_of_what_is_not_known_anything_may_be_taken(detail: JsonSchema) -> None:
    validator = Draft4Validator(schema_at("$.detail.line.sku", detail))

    assert validator.is_valid({**REFERENCE, "line": {"code": 1}})
    assert not validator.is_valid({**REFERENCE, "line": "text"})


def test_a_key_of_a_map_may_be_taken() -> None:
    """The others keep their schema."""
    orders: JsonSchema = object_of({"line": {"type": "object", "additionalProperties": {"type": "string"}}})
    validator = Draft4Validator(schema_at("$.detail.line.sku", orders))

    assert validator.is_valid({**REFERENCE, "line": {"code": "1"}})
    assert not validator.is_valid({**REFERENCE, "line": {"code": 1}})
