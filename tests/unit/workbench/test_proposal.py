"""A first mapping is proposed by names and types: whose an event is, when it was, what it is about and of."""

from __future__ import annotations

from typing import Any

import pytest

from connector.formats.avro_types import Forms
from connector.model import Json
from connector.sandbox import orders
from connector.workbench.json_schema import json_schema
from connector.workbench.proposal import (
    Field,
    Proposal,
    fields_of_schema,
    fields_of_values,
    in_both,
    proposal,
)
from tests.avro_bombs import logical, record_of

INSTANT = logical("long", "timestamp-millis")


def fields(**types: Any) -> list[Field]:
    schema = record_of(*({"name": name, "type": type_} for name, type_ in types.items()))
    return fields_of_schema(json_schema([schema], Forms()))


def proposed(topic: str = "orders.v1", *values: Json, **types: Any) -> Proposal:
    found = fields(**types) if types else fields_of_values(values)
    return proposal(topic, found, values, record_name=None)


def expressions(found: Proposal) -> list[str | None]:
    chosen = (found.source, found.time, found.resource, found.detail_type)
    return [field.expression if field else None for field in chosen]


def test_the_orders_of_the_sandbox_are_mapped_as_people_would() -> None:
    """A nullable tenant, the time of the last change, the order's id, and the name of the event."""
    found = proposal(
        orders.TOPIC,
        fields_of_schema(json_schema([orders.SCHEMA], Forms())),
        [],
        record_name="Order",
    )

    assert ["value.tenant_id", "value.updated_at", "value.order_id", "value.event"] == expressions(found)
    assert found.source is not None
    assert found.source.nullable
    assert ("order", "Order") == (found.entity, found.title)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ({"tenantId": "string", "createdAt": INSTANT, "id": "long"},
         ["value.tenantId", "value.createdAt", "value.id", None]),
        ({"customer": record_of({"name": "id", "type": "int"}, name="C")}, ["value.customer.id", None,
         None, None]),
        ({"account_id": "string", "customer": "string"}, ["value.customer", None, "value.account_id", None]),
        ({"status": {"type": "enum", "name": "S", "symbols": ["A"]}}, [None, None, None, "value.status"]),
        ({"status": "string"}, [None, None, None, None]),
        ({"expires_at": INSTANT, "created_at": "long", "sent_at": INSTANT},
         [None, "value.sent_at", None, None]),
        ({"order_id": ["null", "string"], "order_number": "string"},
         [None, None, "value.order_number", None]),
        ({"tenant": INSTANT, "type": "int"}, [None, None, None, None]),
        ({"total": "double"}, [None, None, None, None]),
    ],
)  # fmt: skip
def test_a_field_is_chosen_by_its_name_and_type(types: dict[str, Any], expected: list[str | None]) -> None:
    """Also in other spellings, and in a record within; a time by its type before any by its name."""
    assert expected == expressions(proposed(**types))


def test_values_without_a_schema_have_the_fields_that_all_have() -> None:
    """One that a record lacks, or has as null, may be null; a text that is a time in all is one."""
    values: list[Json] = [
        {"tenant": "a", "at": "2026-11-22T10:00:00Z", "n": {"id": 1, "deep": {"x": 1}}, "odd": 1},
        {"tenant": None, "at": "2026-11-22T11:00:00+01:00", "n": {"id": 2, "deep": None}, "odd": "text"},
    ]

    assert [
        Field(("tenant",), "text", nullable=True),
        Field(("at",), "time", nullable=False),
        Field(("odd",), "other", nullable=False),
        Field(("n", "id"), "integer", nullable=False),
        Field(("n", "deep"), "other", nullable=True),
    ] == fields_of_values(values)
    assert [] == fields_of_values(["text", [1]])


@pytest.mark.parametrize(
    ("number", "unit"),
    [(1_790_000_000, "s"), (1_790_000_000_000, "auto"), (1_790_000_000_000_000, "us"), (17, None)],
)
def test_a_number_is_a_time_where_it_is_of_this_century(number: int, unit: str | None) -> None:
    """In the unit that makes it one; milliseconds are what `auto` takes."""
    found = proposed("orders", {"updated_at": number})

    assert (unit is not None, unit or "auto") == (found.time is not None, found.time_unit)


def test_a_number_without_a_record_is_no_time() -> None:
    """Nobody knows what it counts."""
    assert None is proposed(updated_at="long").time


def test_a_tenant_that_no_source_can_be_called_after_is_passed_over() -> None:
    """If most records say so; a broken one does not decide."""
    values: list[Json] = [{"tenant": f"the shop {n}", "account": "a-1" if n else "a b"} for n in range(3)]

    assert "value.account" == expressions(proposed("orders", *values))[0]


def test_only_what_two_versions_have_is_proposed() -> None:
    """Nullable where one of them is, since records of both are read."""
    found = in_both(fields(a="string", b="string", c="int"), fields(a=["null", "string"], c="string"))

    assert [Field(("a",), "text", nullable=True)] == found


@pytest.mark.parametrize(
    ("topic", "entity"),
    [
        ("orders.v1", "order"),
        ("shop.payments-card", "card"),
        ("press", "press"),
        ("v1", "record"),
    ],
)
def test_a_topic_is_about_the_last_word_of_its_name(topic: str, entity: str) -> None:
    """Without its version, and one of them."""
    assert entity == proposed(topic, {}).entity


def test_names_that_jmespath_does_not_take_are_quoted() -> None:
    """As it wants them."""
    (field,) = fields_of_values([{"tenant-id": "a"}])

    assert ('value."tenant-id"', "tenant_id") == (field.expression, field.name)
