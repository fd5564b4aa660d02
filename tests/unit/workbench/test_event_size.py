"""The bounds of an event's size hold for every event of the mapping."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.eventbridge.entry import entry
from connector.formats.avro_types import Forms
from connector.mapping.event import Mapping
from connector.mapping.inference import result_of
from connector.mapping.results import Size, scope_of
from connector.mapping.templates import Expression
from connector.model import Json, Partition, Record
from connector.workbench.event_size import event_size, unbounded
from connector.workbench.json_schema import json_schema
from connector.workbench.schema_result import schema_result
from tests.mapping import PATH, topic

SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "count", "type": "long"},
        {"name": "kind", "type": ["null", {"type": "enum", "name": "Kind", "symbols": ["A", "LONG"]}]},
        {"name": "price", "type": "double"},
        {"name": "paid", "type": "boolean"},
    ],
}
orders = st.fixed_dictionaries({
    "count": st.integers(-(2**63), 2**63 - 1),
    "kind": st.sampled_from([None, "A", "LONG"]),
    "price": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
    "paid": st.booleans(),
})  # fmt: skip


def sized(schema: Any, **event: Any) -> tuple[Mapping, Size, list[str]]:
    mapped = topic(**event)
    scope = scope_of(mapped, name="orders.v1", value=schema_result(json_schema([schema], Forms())))
    mapping = Mapping(mapped, path=PATH, name="orders.v1", scope=scope)
    found = {
        id(part): result_of(part.node, scope)
        for template in mapping.templates.by_path.values()
        for part in template
        if isinstance(part, Expression)
    }
    return (
        mapping,
        event_size(mapping.templates, found, topic="orders.v1"),
        list(unbounded(mapping.templates, found)),
    )


@pytest.mark.parametrize(
    "event",
    [
        {"detail": "${value}", "metadata": "meta"},
        {"detail": {"a": ["é\"${value.count}", True], "b": "${value.kind || 'é'}"}, "metadata": "m"},
        {"detail_type": "x${value.price || '-'}", "resources": ["a/${value.paid}"], "time": "1000000000000"},
        {"detail": "${value.kind}"},
    ],
)  # fmt: skip
@given(value=orders, offset=st.integers(0, 2**63 - 1), timestamp_ms=st.none() | st.integers(0, 2**42))
def test_every_event_is_within_the_bounds(
    event: dict[str, Json], value: Json, offset: int, timestamp_ms: int | None
) -> None:
    """As EventBridge counts it, with and without what the bridge adds."""
    mapping, size, _ = sized(SCHEMA, **event)
    record = Record(Partition("orders.v1", 3), offset, timestamp_ms, b"k", b"v", ())
    event_id = f"{'c' * 22}/orders.v1/3/{offset}/{timestamp_ms}"
    made = mapping.event(record, None, value, event_id)
    assert made is not None
    size_bytes = entry(made, max_event_bytes=1_000_000).size_bytes

    assert size.least <= size_bytes <= size.most < math.inf


def test_what_sets_no_limit_is_named() -> None:
    """The fields of a record, where an expression yields one; else the expression."""
    line = {"type": "record", "name": "L", "fields": [{"name": "sku", "type": "string"}]}
    fields = [{"name": "line", "type": line}, {"name": "tags", "type": {"type": "array", "items": "int"}}]
    schema = {"type": "record", "name": "Order", "fields": fields}
    _, size, names = sized(schema, detail={"all": "${value}", "joined": "${to_string(value.line)}"})

    assert math.inf == size.most
    assert ["`value.line.sku`", "`value.tags`", "`to_string(value.line)`"] == names
