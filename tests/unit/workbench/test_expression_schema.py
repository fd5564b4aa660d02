"""What an expression yields of a record is what its schema says, whatever the record and the expression."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from connector.errors import MappingError
from connector.formats.avro_types import Forms
from connector.mapping.templates import Compiler
from connector.workbench.expression_schema import ExpressionSchemas
from connector.workbench.json_schema import JsonSchema, json_schema
from tests.avro_cases import Case, cases, named_once

steps = st.sampled_from([".f0", ".f1", ".f2", ".u", "[0]", "[1]", "[-1]"])
chains = st.lists(steps, max_size=3).map(lambda parts: "value" + "".join(parts))
expressions = st.recursive(
    chains | st.sampled_from(["`1`", "`null`", "'text'", '`[1, {"f0": 2}]`', "headers.a", "timestamp"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["||", "&&", "==", "<"]), inner).map(
            lambda each: f"({' '.join(each)})"
        ),
        inner.map(lambda each: f"!({each})"),
        st.tuples(inner, inner).map(lambda each: f"[{each[0]}, {each[1]}]"),
        st.tuples(inner, inner).map(lambda each: f"{{f0: {each[0]}, u: {each[1]}}}"),
        st.tuples(inner, st.sampled_from(["f0", "{f0: f1, f1: u}", "[f0, u]", "@", "[0]"])).map(" | ".join),
        st.tuples(
            st.sampled_from(["type", "to_string", "to_array", "not_null", "length", "keys"]), inner
        ).map(lambda each: f"{each[0]}({each[1]})"),
        inner.map(lambda each: f"{each}[*].f0"),
    ),
    max_leaves=5,
)


def described(schema: Any) -> tuple[ExpressionSchemas, dict[str, JsonSchema]]:
    value = json_schema([schema], Forms())
    text_or_null = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    roots: dict[str, JsonSchema] = {
        "value": value.schema,
        "headers": {"type": "object", "additionalProperties": text_or_null},
        "timestamp": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    }
    return ExpressionSchemas(roots, value.definitions), dict(value.definitions)


@pytest.mark.long
@given(cases().filter(lambda case: named_once(case[0])), expressions, st.sampled_from([None, 1]))
@settings(max_examples=200, deadline=None)
def test_what_an_expression_yields_fits_its_schema(
    case: Case, expression: str, timestamp: int | None
) -> None:
    """Never less than what some record yields: a customer's validation must not refuse an event."""
    schema, _, value = case
    compiler = Compiler()
    compiled = compiler.expression(expression, path="")
    assume(not compiler.problems)
    try:
        found = compiled.evaluate({"value": value, "headers": {"a": "x", "b": None}, "timestamp": timestamp})
    except MappingError:
        assume(False)
    schemas, definitions = described(schema)
    whole = {**schemas.of(compiled.node), "definitions": definitions}

    assert [] == [error.message for error in Draft4Validator(whole).iter_errors(found)]


ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "note", "type": ["null", "string"]},
        {"name": "lines", "type": {"type": "array", "items": "int"}},
        {"name": "labels", "type": {"type": "map", "values": "boolean"}},
        {"name": "parent", "type": ["null", "Order"]},
    ],
}
TEXT, NULL, BOOLEAN = {"type": "string"}, {"type": "null"}, {"type": "boolean"}
INT = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}


@pytest.mark.parametrize(
    ("expression", "schema"),
    [
        ("value.id", TEXT),
        ("value.note", {"anyOf": [NULL, TEXT]}),
        ("value.note || 'none'", {"anyOf": [TEXT, {"type": "string", "enum": ["none"]}]}),
        ("value.lines[0]", {"anyOf": [INT, NULL]}),
        ("value.labels.vip", {"anyOf": [BOOLEAN, NULL]}),
        ("value.parent.id", {"anyOf": [NULL, TEXT]}),
        ("value.unknown", NULL),
        ("value.id.more", NULL),
        ("{a: value.id}", {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}),
        ("value.id == 'x'", BOOLEAN),
        ("length(value.id)", {"type": "integer"}),
        ("sum(value.lines)", {"type": "number"}),
    ],
)
def test_a_schema_says_as_much_as_is_known(expression: str, schema: JsonSchema) -> None:
    """One that allowed anything would be right, and of no use."""
    node = Compiler().expression(expression, path="").node

    assert schema == described(ORDER)[0].of(node)
