"""A sample fits its schema, whatever the schema, and looks like what its field is called."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft4Validator

from connector.formats.avro_types import Forms
from connector.mapping.templates import Compiler
from connector.model import Json
from connector.workbench.expression_schema import ExpressionSchemas
from connector.workbench.json_schema import JsonSchema, json_schema
from connector.workbench.sample import MOMENT, Sampler, chains
from connector.workbench.template_texts import Place
from tests.avro_bombs import logical
from tests.avro_cases import Case, cases, named_once


def sample(
    schema: JsonSchema,
    definitions: dict[str, JsonSchema] | None = None,
    *,
    chosen: dict[Place, Json] | None = None,
    likely: dict[Place, list[Json]] | None = None,
    read: list[Place] | None = None,
) -> Json:
    schemas = ExpressionSchemas({"value": schema}, definitions or {})
    return Sampler(schemas, chosen=chosen or {}, likely=likely or {}, read=read or []).value(
        schema, ("value",)
    )


def complaints(avro: Any) -> list[str]:
    value = json_schema([avro], Forms())
    definitions = dict(value.definitions)
    made = sample(value.schema, definitions)
    return [
        error.message
        for error in Draft4Validator({**value.schema, "definitions": definitions}).iter_errors(made)
    ]


@pytest.mark.long
@given(cases().filter(lambda case: named_once(case[0])))
@settings(max_examples=150, deadline=None)
def test_a_sample_fits_its_schema(case: Case) -> None:
    assert [] == complaints(case[0])


@pytest.mark.parametrize(
    "avro",
    [
        logical("bytes", "decimal", precision=12, scale=0),
        logical("bytes", "decimal", precision=40, scale=38),
        logical("int", "time-millis"),
        logical("long", "local-timestamp-millis"),
        logical("long", "timestamp-nanos"),
        {"type": "fixed", "name": "F", "size": 1},
        {"type": "fixed", "name": "F", "size": 17},
        {"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"},
    ],
    ids=str,
)
def test_forms_that_are_rare_fit_too(avro: Any) -> None:
    assert [] == complaints(avro)


NODE = {
    "type": "record",
    "name": "Node",
    "fields": [
        {"name": "parent", "type": ["null", "Node"]},
        {"name": "children", "type": {"type": "array", "items": "Node"}},
        {"name": "by_name", "type": {"type": "map", "values": "Node"}},
    ],
}


def test_a_record_that_holds_itself_ends() -> None:
    """The first level is whole; further down is what the schema allows instead."""
    value = json_schema([NODE], Forms())

    assert {"parent": None, "children": [], "by_name": {}} == sample(value.schema, dict(value.definitions))


def test_what_is_chosen_stands_there_and_what_is_likely_where_it_may() -> None:
    schema: JsonSchema = {
        "type": "object",
        "properties": {
            "status": {"type": "string", "enum": ["A", "B"]},
            "other": {"type": "string", "enum": ["A", "B"]},
            "at": {"type": "string"},
            "count": {"type": "integer"},
        },
    }
    moment: list[Json] = [MOMENT, 1]
    likely: dict[Place, list[Json]] = {("value", name): moment for name in ("at", "count", "other")}
    made = sample(schema, chosen={("value", "status"): "B", ("value", "count"): "x"}, likely=likely)

    assert {"status": "B", "other": "A", "at": MOMENT, "count": 1} == made


def test_where_no_schema_is_what_is_read_is_there() -> None:
    """Of JSON topics: so the mapping finds what it needs."""
    read: list[Place] = [
        ("value", "tenant_id"),
        ("value", "a", "b"),
        ("value", "lines", 0, "sku"),
        ("key", "x"),
    ]

    assert {"tenant_id": "tenant-id-1", "a": {"b": "b-1"}, "lines": [{"sku": "sku-1"}]} == sample(
        {}, read=read
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("orderId", "orderid-1"),
        ("customer_email", "someone@example.com"),
        ("currency", "EUR"),
        ("ü", "text-1"),
    ],
)
def test_texts_tell_what_they_are_of(name: str, text: str) -> None:
    """And can be part of a source's name, which takes few characters."""
    assert {name: text} == sample({"type": "object", "properties": {name: {"type": "string"}}})


def test_what_an_expression_reads() -> None:
    expression = "value.a.b == 'x' && contains(value.tags, 'y') || value.lines[*].sku | [0]"
    node = Compiler().expression(expression, path="").node

    assert [("value", "a", "b"), ("value", "tags"), ("value", "lines")] == list(chains(node))
    sliced = Compiler().expression("length(value.lines[0:2].sku || [0:1])", path="").node
    assert [("value", "lines")] == list(chains(sliced))
