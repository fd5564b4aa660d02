"""What is written of a topic: of any schema a sample that both of its schemas take, and names of files."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft4Validator
from openapi_schema_validator import OAS30Validator

from connector.config.settings import Target
from connector.formats.avro_types import Forms
from connector.workbench.event_schema import EventSchema
from connector.workbench.export import Export, exported
from connector.workbench.json_schema import json_schema
from tests.avro_cases import Case, cases, named_once
from tests.mapping import topic

TARGET = Target(region="eu-central-1")


def export(schema: Any, **event: Any) -> Export:
    described = topic(filter=event.pop("filter", None), **event)
    return exported(EventSchema("orders", described, json_schema([schema], Forms())), target=TARGET)


@pytest.mark.long
@given(cases().filter(lambda case: named_once(case[0])))
@settings(max_examples=100, deadline=None)
def test_every_schema_has_a_sample_that_fits(case: Case) -> None:
    """Made by the mapping itself, so that it is what the bridge would send."""
    (event,) = export(case[0], metadata="_kafka", resources=["${topic}"]).events
    as_openapi = OAS30Validator({**event.openapi, "$ref": "#/components/schemas/AWSEvent"})

    assert event.problem is None
    assert [] == [error.message for error in Draft4Validator(event.schema).iter_errors(event.sample)]
    assert [] == [error.message for error in as_openapi.iter_errors(event.sample)]


def order(*symbols: str) -> dict[str, Any]:
    status = {"type": "enum", "name": "Status", "symbols": list(symbols)}
    at = {"name": "at", "type": ["null", "long"]}
    kind = {"name": "kind", "type": "string"}
    return {"type": "record", "name": "Order", "fields": [{"name": "status", "type": status}, at, kind]}


def test_each_detail_type_has_files_of_its_own() -> None:
    """Also where file systems do not tell their names apart."""
    made = export(order("a", "A", "b"), detail_type="Order/${value.status}")

    assert ["Order-a", "Order-A-2", "Order-b"] == [each.name for each in made.events]
    assert ["Order/a", "Order/A", "Order/b"] == [
        each.sample and each.sample["detail-type"] for each in made.events
    ]


def test_a_sample_has_the_time_and_passes_the_filter_that_the_mapping_wants() -> None:
    """Numbers of the right unit, and the text that a filter compares with."""
    made = export(order("A"), time="${value.at}", time_unit="us", filter="value.kind == 'web'")
    (event,) = made.events

    assert event.sample is not None
    assert "2026-11-22T10:00:00Z" == event.sample["time"]
    assert {"status": "A", "at": 1_795_341_600_000_000, "kind": "web"} == event.sample["detail"]


def test_a_sample_is_of_a_record_that_the_filter_lets_through() -> None:
    """Also where the detail type says nothing of what the filter asks."""
    made = export(
        order("DRAFT", "PAID"), filter="value.status != 'DRAFT' && !(value.at)", detail_type="${value.kind}"
    )
    (event,) = made.events

    assert event.sample is not None
    assert {"status": "PAID", "at": None, "kind": "kind-1"} == event.sample["detail"]


def test_a_sample_that_cannot_be_made_says_why() -> None:
    (event,) = export(order("A"), filter="starts_with(value.kind, 'x')").events

    assert event.sample is None
    assert "the filter drops every record that was tried" == event.problem
    its = event.openapi["components"]["schemas"]["AWSEvent"]
    assert "aws.partner/example.com/acme" == its["x-amazon-events-source"]
