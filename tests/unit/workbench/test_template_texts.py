"""The texts that a template can make: all of them, none that is not, and how to come to each."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from connector.errors import ConfigError, MappingError
from connector.formats.avro_types import Forms
from connector.model import Json
from connector.workbench.event_schema import EventSchema
from connector.workbench.json_schema import json_schema
from connector.workbench.template_texts import MAX_TEXTS, texts
from tests.mapping import decoded, event_of, topic

STATUS = {"type": "enum", "name": "Status", "symbols": ["DRAFT", "PAID"]}
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "status", "type": STATUS},
        {"name": "old", "type": ["null", "Status"]},
        {"name": "is_test", "type": "boolean"},
        {"name": "note", "type": ["null", "string"]},
        {"name": "kind", "type": "string"},
    ],
}
orders = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["DRAFT", "PAID"]),
        "old": st.sampled_from([None, "DRAFT", "PAID"]),
        "is_test": st.booleans(),
        "note": st.sampled_from([None, "", "a note"]),
        "kind": st.sampled_from(["", "web", "shop"]),
    }
)


def event_schema(detail_type: str, *, kept: str | None = None) -> EventSchema:
    described = topic(detail_type=detail_type, filter=kept)
    return EventSchema("orders.v1", described, json_schema([ORDER], Forms()))


def all_texts(detail_type: str) -> list[str] | None:
    event = event_schema(detail_type)
    found = texts(event.mapping.templates.detail_type, event.schemas)
    return None if found is None else list(found)


KNOWN: list[tuple[str, list[str] | None]] = [
    ("Order", ["Order"]),
    ("Order ${value.status}", ["Order DRAFT", "Order PAID"]),
    ("${value.status}/${value.old}", ["DRAFT/DRAFT", "DRAFT/PAID", "PAID/DRAFT", "PAID/PAID"]),
    ("${value.old || 'NONE'}", ["NONE", "DRAFT", "PAID"]),
    ("${value.status == 'PAID' && 'Paid' || 'Changed'}", ["Changed", "Paid"]),
    ("${value.note && 'Annotated' || 'Plain'}", ["Annotated", "Plain"]),
    ("${value.kind == 'web' && 'Web' || 'Shop'}", ["Web", "Shop"]),
    ("${!(value.note) && 'Plain' || value.status}", ["DRAFT", "PAID", "Plain"]),
    ("test: ${value.is_test}", ["test: true", "test: false"]),
    ("${topic}", ["orders.v1"]),
    ("${value.status == value.old && 'Same' || 'Other'}", ["Other", "Same"]),
    ("${value.kind}", None),
    ("Order ${value.note}", None),
    ("${value.kind || 'x'}", None),
    ("${value.status && value.kind}", None),
    ("${to_string(value.status)}", None),
]


@pytest.mark.parametrize(("detail_type", "expected"), KNOWN)
def test_texts_are_known_of_constants_enums_and_conditions(
    detail_type: str, expected: list[str] | None
) -> None:
    found = all_texts(detail_type)

    assert (None if expected is None else sorted(expected)) == (None if found is None else sorted(found))


atoms = st.sampled_from(
    [
        "value.status",
        "value.old",
        "value.is_test",
        "value.note",
        "value.kind",
        "'PAID'",
        "'x'",
        "''",
        "`null`",
        "`true`",
    ]
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["||", "&&", "==", "!="]), inner).map(
            lambda each: f"({' '.join(each)})"
        ),
        inner.map(lambda each: f"!({each})"),
    ),
    max_leaves=5,
)


@pytest.mark.long
@given(conditions, st.sampled_from(["", "Order "]), orders)
@settings(max_examples=300, deadline=None)
def test_no_record_makes_another_text(condition: str, before: str, order: dict[str, Json]) -> None:
    """A rule that lists detail types would miss its events."""
    detail_type = f"{before}${{{condition}}}"
    try:
        event = event_schema(detail_type)
        made = event_of(event.mapping, decoded(order))
    except (ConfigError, MappingError):
        assume(False)
    found = texts(event.mapping.templates.detail_type, event.schemas)

    assert made is not None
    assert found is None or made.detail_type in found


@pytest.mark.long
@given(conditions, conditions, orders)
@example(
    "value.note == ''",
    "!(value.note)",
    {"status": "PAID", "old": None, "is_test": True, "note": "", "kind": ""},
)
@settings(max_examples=300, deadline=None)
def test_no_detail_type_is_left_out_that_the_filter_lets_through(
    condition: str, kept: str, order: dict[str, Json]
) -> None:
    """What is left out of a rule is never sent to its customer."""
    try:
        event = event_schema(f"Order ${{{condition}}}", kept=kept)
        made = event_of(event.mapping, decoded(order))
    except (ConfigError, MappingError):
        assume(False)
    assume(made is not None)

    assert made is not None
    assert event.records
    assert event.detail_types is None or made.detail_type in event.detail_types


FINITE = [detail_type for detail_type, expected in KNOWN if expected]


@pytest.mark.parametrize("detail_type", FINITE)
def test_choices_lead_to_their_text(detail_type: str) -> None:
    """A sample of each detail type is made by them; what they leave open, any other record has."""
    event = event_schema(detail_type)
    found = texts(event.mapping.templates.detail_type, event.schemas)
    rest: dict[str, Json] = {"status": "DRAFT", "old": None, "is_test": False, "note": "a note", "kind": "x"}

    assert found
    for text, alternatives in found.items():
        orders = [
            {**rest, **{str(place[1]): value for place, value in choices.items()}} for choices in alternatives
        ]
        made = [event_of(event.mapping, decoded(order)) for order in orders]
        assert text in {each.detail_type for each in made if each}


def test_many_texts_are_not_listed() -> None:
    """A rule with hundreds of them is not read by anybody."""
    symbols = [f"S{number}" for number in range(MAX_TEXTS + 1)]
    schema = {
        "type": "record",
        "name": "O",
        "fields": [{"name": "s", "type": {"type": "enum", "name": "S", "symbols": symbols}}],
    }
    event = EventSchema("orders.v1", topic(detail_type="${value.s}"), json_schema([schema], Forms()))

    assert None is texts(event.mapping.templates.detail_type, event.schemas)
