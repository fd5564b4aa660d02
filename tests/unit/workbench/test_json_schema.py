"""The JSON Schema of what values become."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft4Validator

from connector.formats.avro_types import Forms
from connector.model import Json
from connector.workbench.json_schema import POINTER, json_schema
from tests.avro_bombs import logical
from tests.avro_cases import Case, cases, named_once


def validator(avro: Any, forms: Forms = Forms()) -> Draft4Validator:  # noqa: B008 - a frozen value
    found = json_schema([avro], forms)
    whole = {**found.schema, "definitions": found.definitions}
    Draft4Validator.check_schema(whole)
    return Draft4Validator(whole, format_checker=Draft4Validator.FORMAT_CHECKER)


@given(cases().filter(lambda case: named_once(case[0])))
def test_what_a_value_becomes_is_valid(case: Case) -> None:
    """Whatever the decoder gives for a schema, its JSON Schema allows."""
    avro, _, expected = case
    assert not list(validator(avro).iter_errors(expected))


@pytest.mark.parametrize(
    ("avro", "forms", "right", "wrong"),
    [
        ("int", Forms(), 2**31 - 1, 2**31),
        ("long", Forms(), -(2**63), 2**63),
        ("double", Forms(), None, "NaN"),
        ("double", Forms(non_finite="string"), "-Infinity", None),
        ("double", Forms(non_finite="error"), 1.5, None),
        (logical("bytes", "decimal", precision=9, scale=2), Forms(), "-12.30", "12.3"),
        (logical("bytes", "decimal", precision=9, scale=0), Forms(), "12", "12.0"),
        (logical("int", "date"), Forms(), "2026-11-22", "22.11.2026"),
        (logical("int", "date"), Forms(out_of_range="null"), None, 1),
        (logical("int", "date"), Forms(out_of_range="string"), "+010000-01-01", None),
        (logical("int", "time-millis"), Forms(), "08:30:00.000", "08:30:00"),
        (logical("long", "timestamp-nanos"), Forms(), "2026-11-22T10:00:00.000000000Z", 1769860800),
        (logical("long", "local-timestamp-millis"), Forms(), "2026-11-22T10:00:00.000", "2026-11-22"),
        (logical("string", "uuid"), Forms(), "18072e8c-35bf-492d-89e9-c616612e7696", "18072e8c"),
        ({"type": "fixed", "name": "F", "size": 3}, Forms(), "AAAA", "AAAA=="),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, Forms(), "B", "C"),
        ({"type": "map", "values": "int"}, Forms(), {"any": 1}, {"any": "1"}),
        ({"type": "array", "items": "string"}, Forms(), ["a"], [1]),
        (["null", "string"], Forms(), None, 1),
        (
            {"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"},
            Forms(),
            {"months": 1, "days": 2, "millis": 3},
            {"months": -1, "days": 2, "millis": 3},
        ),
    ],
)
def test_each_type_has_the_form_that_the_decoder_gives(
    avro: Any, forms: Forms, right: Json, wrong: Json
) -> None:
    """A schema says what a customer gets, and refuses what no record becomes."""
    assert validator(avro, forms).is_valid(right)
    assert not validator(avro, forms).is_valid(wrong)


def test_a_record_needs_its_fields_and_refers_to_others_by_name() -> None:
    """Fields of a record always come, and a type that holds itself is a reference to its definition."""
    node = {
        "type": "record",
        "name": "shop.Node",
        "doc": "A category.",
        "fields": [
            {"name": "label", "type": "string", "doc": "What a customer reads."},
            {"name": "below", "type": ["null", "Node"], "default": None},
        ],
    }
    found = json_schema([node], Forms())
    definition = found.definitions["shop.Node"]

    assert found.schema == {"$ref": f"{POINTER}shop.Node"}
    assert definition["required"] == ["label", "below"]
    assert definition["description"] == "A category."
    assert definition["properties"]["label"]["description"] == "What a customer reads."
    assert validator(node).is_valid({"label": "tea", "below": {"label": "green", "below": None}})
    assert not validator(node).is_valid({"label": "tea", "below": {"label": 1, "below": None}})
