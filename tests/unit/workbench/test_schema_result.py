"""A schema as a result: true of every value that the decoder makes, and exact where the schema is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from io import BytesIO
from types import NoneType
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings

from connector.formats.avro_schema import compile_reader
from connector.formats.avro_types import Forms
from connector.mapping.results import Result
from connector.workbench.json_schema import POINTER, JsonSchema, ValueSchema, json_schema
from connector.workbench.schema_result import schema_result
from tests.avro_bombs import logical
from tests.avro_cases import Case, cases, named_once
from tests.unit.mapping.test_results import known

COUNT = 30


def result_of_schema(schema: Any, forms: Forms = Forms()) -> Result:  # noqa: B008
    return schema_result(json_schema([schema], forms))


@settings(max_examples=200, deadline=None)
@given(case=cases().filter(lambda case: named_once(case[0])))
def test_a_result_is_true_of_every_value(case: Case) -> None:
    """Types, fields, texts and sizes."""
    schema, value, _ = case
    written = BytesIO()
    fastavro.schemaless_writer(written, fastavro.parse_schema(schema), value)
    found = compile_reader([schema], None, forms=Forms(), name="schema").read(written.getvalue(), 0)
    result = result_of_schema(schema)

    assert known(result, found)
    assert result.size.least <= len(json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    ("schema", "types", "possible"),
    [
        ("double", {float, NoneType}, {float}),
        (["null", "string"], {str, NoneType}, {str, NoneType}),
        (["int", "double"], {int, float, NoneType}, {int, float}),
        (logical("bytes", "decimal", precision=4, scale=2), {str}, {str}),
    ],
)
def test_null_is_told_from_what_is_not_a_number(schema: Any, types: set[type], possible: set[type]) -> None:
    """A float is null where it is NaN, which is no reason to want a default everywhere."""
    result = result_of_schema(schema)

    assert (types, possible) == (set(result.types), set(result.possible))


def test_a_record_within_itself_ends_in_an_object() -> None:
    """Of which nothing is known."""
    node = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
    result = result_of_schema(node)

    assert NoneType in result.at("next").types
    assert "" == result.at("next").lacks("anything")
    assert "record Node has no field `x`" == result.lacks("x")
    assert float("inf") == result.size.most


def test_a_record_is_as_well_known_wherever_it_stands() -> None:
    """One that holds itself is whole in each place but within itself."""
    node = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
    pair = {
        "type": "record",
        "name": "Pair",
        "fields": [{"name": "a", "type": node}, {"name": "b", "type": "Node"}],
    }
    result = result_of_schema(pair)

    assert "record Node has no field `x`" == result.at("a").lacks("x") == result.at("b").lacks("x")
    assert "" == result.at("b").at("next").lacks("x")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("others_of", [lambda n: [n + 1, n + 1], lambda _: range(COUNT)])
def test_records_that_are_used_again_cost_no_more(others_of: Callable[[int], Iterable[int]]) -> None:
    """Each has the next one twice, or each has all of them: billions of ways to the last one."""
    definitions: dict[str, JsonSchema] = {f"R{COUNT}": {"type": "object", "properties": {}}}
    for number in range(COUNT):
        fields = {f"f{at}": {"$ref": f"{POINTER}R{other}"} for at, other in enumerate(others_of(number))}
        definitions[f"R{number}"] = {"type": "object", "properties": fields}
    result = schema_result(ValueSchema({"$ref": f"{POINTER}R0"}, definitions))

    assert "record R0 has no field `x`" == result.lacks("x")
    assert result.at("f1").lacks("x")


@pytest.mark.parametrize(
    ("schema", "texts", "only"),
    [
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, ("A", "B"), True),
        (logical("long", "timestamp-micros"), ("2026-01-31T12:00:00.000000Z",), False),
        (logical("int", "time-millis"), ("12:00:00.000",), False),
        (logical("string", "uuid"), ("0b7e1f6a-9d3c-4c58-8f0e-5a2d1c3b4e5f",), False),
        ("bytes", ("++++",), False),
        ("string", (), False),
        (logical("bytes", "decimal", precision=4, scale=2), (), False),
    ],
)
def test_texts_are_those_of_its_form(schema: Any, texts: tuple[str, ...], only: bool) -> None:
    """All symbols of an enum; else one of each form, for what is legal does not depend on the value."""
    result = result_of_schema(schema)

    assert (texts, only) == (result.texts, result.only_texts)
