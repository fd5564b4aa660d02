"""What stands in a rule's pattern; tests/contract/test_rule_patterns.py has AWS's matcher judge it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector.formats.avro_types import Forms
from connector.model import Json
from connector.workbench.event_schema import EventSchema
from connector.workbench.json_schema import json_schema
from connector.workbench.rule_pattern import MAX_PATTERN_CHARACTERS, rule_pattern, source_pattern
from tests.mapping import topic

SOURCE = "aws.partner/example.com/acme"


def event_schema(symbols: list[str] | None = None, **event: Any) -> EventSchema:
    status = {"type": "enum", "name": "Status", "symbols": symbols or ["A", "B"]}
    fields = [{"name": "status", "type": status}, {"name": "text", "type": "string"}]
    schema = {"type": "record", "name": "Order", "fields": fields}
    return EventSchema("orders", topic(**event), json_schema([schema], Forms()))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (SOURCE, [SOURCE]),
        (
            "aws.partner/example.com/${value.status}",
            ["aws.partner/example.com/A", "aws.partner/example.com/B"],
        ),
        ("aws.partner/example.com/${value.text}", [{"prefix": "aws.partner/example.com/"}]),
        ("${value.text}/orders", [{"suffix": "/orders"}]),
    ],
)
def test_a_source_is_exact_where_it_is_known(source: str, expected: list[Json]) -> None:
    assert expected == rule_pattern(event_schema(source=source))["source"]


def test_a_detail_type_of_which_nothing_is_known_is_left_open() -> None:
    event = event_schema(detail_type="${value.text}")

    assert [{"exists": True}] == rule_pattern(event)["detail-type"]
    assert {"source": [SOURCE]} == source_pattern(SOURCE, [event], "Ping")


def test_detail_types_of_several_topics_are_listed_once() -> None:
    events = [event_schema(detail_type="Order ${value.status}"), event_schema(detail_type="Order A")]

    assert ["Order A", "Order B", "Ping"] == source_pattern(SOURCE, events, "Ping")["detail-type"]


def test_a_pattern_is_never_longer_than_eventbridge_takes() -> None:
    """More detail types than there is room for are matched by how they begin, or by the source alone."""
    long = event_schema([f"S{number}" for number in range(45)], detail_type="x" * 100 + "${value.status}")
    many = [event_schema(detail_type=f"{number} " + "x" * 100) for number in range(50)]

    assert [{"prefix": "x" * 100}] == rule_pattern(long)["detail-type"]
    assert {"source": [SOURCE]} == source_pattern(SOURCE, many)
    assert len(json.dumps(rule_pattern(long))) < MAX_PATTERN_CHARACTERS
