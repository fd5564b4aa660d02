"""Whatever records a schema allows, what the pipeline makes of them is what the exported schemas say."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import fastavro
import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate

from connector import config
from connector.config.settings import Topic
from connector.errors import RecordError
from connector.eventbridge.claim_check import ClaimCheck
from connector.formats.avro_types import Forms
from connector.model import Event, Json, Partition, Record
from connector.pipeline import Dropped, Pipeline
from connector.workbench.event_schema import EventSchema
from connector.workbench.export import on_the_bus
from connector.workbench.json_schema import json_schema
from connector.workbench.openapi import openapi
from tests.avro_cases import Case, cases, named_once

NAME = "orders.v1"
EVENT: dict[str, Any] = {"source": "aws.partner/example.com/acme", "detail_type": "Order"}

DETAILS: list[Json] = [
    "${value}",
    "${value.f0}",
    "${value.f0.u}",
    "${value.f0[0]}",
    "${value[0].f1}",
    "${value.f0 || value.f1 || 'none'}",
    "${value.f0 && value.f1}",
    "${value.{a: f0, b: f1.u}}",
    "${[value, key]}",
    "${value | f1}",
    {
        "whole": "${value}",
        "list": [1, "a ${topic}", "${timestamp}", None, True, 0.5],
        "in": {"deep": "${value.f2}"},
    },
    {"text": "${to_string(value)}", "is": "${value == `1`}", "kind": "${type(value)}", "keys": "${headers}"},
]
"""Of what `cases` draws: records have fields f0, f1, …, and unions records with a field u."""


def topic(**event: Any) -> Topic:
    more = {key: event.pop(key) for key in ("filter", "tombstones", "value") if key in event}
    return Topic.model_validate({**more, "event": {**EVENT, **event}})


def described(schema: Any, *, claim_paths: tuple[str, ...] = (), **event: Any) -> EventSchema:
    return EventSchema(NAME, topic(**event), json_schema([schema], Forms()), claim_paths=claim_paths)


def sent(schema: Any, value: Any, **event: Any) -> Event:
    """What a value in Avro becomes, written by fastavro and mapped by the pipeline."""
    content = io.BytesIO()
    fastavro.schemaless_writer(content, fastavro.parse_schema(schema), value)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.avsc")
        file.write_text(json.dumps(schema))
        described = topic(value={"framing": "none", "schema": str(file)}, **event)
        pipeline = Pipeline(_settings(described), None)
    record = Record(
        Partition(NAME, 0), 7, 1_795_341_600_000, b"k", content.getvalue(), (("h", b"x"), ("n", None))
    )
    made = pipeline(record)
    assert not isinstance(made, Dropped)
    its = orjson.loads(made.json)
    return Event(
        its["Source"], its["DetailType"], its["Time"], its.get("Resources", ()), its["Detail"].encode()
    )


def _settings(described: Topic) -> config.Settings:
    return config.Settings.model_validate(
        {
            "kafka": {"bootstrap.servers": "localhost:1", "group.id": "test"},
            "eventbridge": {"region": "eu-central-1"},
            "dead_letter": {"topic": "dlt"},
            "topics": {NAME: described},
        }
    )


def by_reference(event: Event, path: str, *, metadata: str | None) -> Event | None:
    """What is sent of it where its target has a claim check, and it is too large."""
    claim_check = config.ClaimCheckSettings(bucket="large", path=path)
    target = config.Target(region="eu-central-1", claim_check=claim_check)
    taken = ClaimCheck(target, claim_check)(event, "cluster/orders.v1/0/7", metadata=metadata)
    return None if taken is None else taken[0]


def complaints(event: EventSchema, made: Event) -> list[str]:
    """What both schemas have against an event as it arrives on the bus."""
    on_bus = on_the_bus(made, region="eu-central-1")
    schema = event.document()
    Draft4Validator.check_schema(schema)
    document = openapi(schema, source="s", detail_type="t")
    validate(document)
    as_openapi = OAS30Validator({**document, "$ref": "#/components/schemas/AWSEvent"})
    return [
        f"{error.json_path}: {error.message}"
        for validator in (Draft4Validator(schema), as_openapi)
        for error in validator.iter_errors(on_bus)
    ]


@pytest.mark.long
@given(
    cases().filter(lambda case: named_once(case[0])),
    st.sampled_from(DETAILS),
    st.sampled_from(["_kafka", None]),
)
@settings(max_examples=120, deadline=None)
def test_what_the_pipeline_sends_is_what_the_schemas_say(
    case: Case, detail: Json, metadata: str | None
) -> None:
    """Of any schema, value and detail; a record that becomes a dead letter is none of them."""
    schema, value, _ = case
    event = described(schema, detail=detail, metadata=metadata)
    try:
        made = sent(schema, value, detail=detail, metadata=metadata)
    except RecordError:
        assume(False)

    assert [] == complaints(event, made)


PATHS = ["", ".f0", ".f0.u", ".f1", ".value", ".value.u", ".a", ".whole", ".whole.f0", ".in.deep", "._kafka"]


@pytest.mark.long
@given(
    cases().filter(lambda case: named_once(case[0])),
    st.sampled_from(DETAILS),
    st.sampled_from([f"$.detail{path}" for path in PATHS]),
    st.sampled_from(["_kafka", None]),
)
@settings(max_examples=200, deadline=None)
def test_what_a_claim_check_leaves_is_what_the_schemas_say_too(
    case: Case, detail: Json, path: str, metadata: str | None
) -> None:
    """Of any schema, value, detail and path; and the whole event still is."""
    schema, value, _ = case
    event = described(schema, claim_paths=(path,), detail=detail, metadata=metadata)
    try:
        made = sent(schema, value, detail=detail, metadata=metadata)
    except RecordError:
        assume(False)
    small = by_reference(made, path, metadata=metadata)

    assert [] == complaints(event, made)
    assert small is None or [] == complaints(event, small)


ORDER = {
    "type": "record",
    "name": "shop.Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "parent", "type": ["null", "Order"]},
        {
            "name": "line",
            "type": {"type": "record", "name": "Line", "fields": [{"name": "sku", "type": "string"}]},
        },
    ],
}
METADATA = {"id", "topic", "partition", "offset", "timestamp"}
"""What the key of the metadata has in any case."""


def detail_of(schema: Any = ORDER, **event: Any) -> Any:
    return described(schema, **event).document()["properties"]["detail"]


def test_the_metadata_is_in_every_detail() -> None:
    """Beside the fields of the value; a value that is no object stands under `value`."""
    its, text = detail_of(), detail_of(detail="${value.id}")

    assert {"id", "parent", "line", "_kafka"} == set(its["required"]) == its["properties"].keys()
    assert METADATA == set(its["properties"]["_kafka"]["required"])
    assert {"value": {"type": "string"}}.items() <= text["properties"].items()
    assert ["value", "_kafka"] == text["required"]
    assert {"id", "parent", "line"} == detail_of(metadata=None)["properties"].keys()


@pytest.mark.parametrize("path", ["$.detail", "$.detail.line.sku"])
@pytest.mark.parametrize("line", ["L", ""])
def test_a_default_object_takes_metadata_and_claim_check_as_any_other(path: str, line: str) -> None:
    """Whether it is the detail or stands in it."""
    schema = {"type": "record", "name": "Order", "fields": [{"name": "line", "type": "string"}]}
    for detail in (
        '${value.line && value | @ || `{"line": {"sku": "", "code": 1}}`}',
        {"line": '${value.line || `{"sku": "", "code": 1}`}'},
    ):
        event = described(schema, claim_paths=(path,), detail=detail)
        made = sent(schema, {"line": line}, detail=detail)
        small = by_reference(made, path, metadata="_kafka")

        assert [] == complaints(event, made)
        assert small is None or [] == complaints(event, small)


def test_a_detail_that_may_be_an_object_or_not_is_either() -> None:
    """As a union of the schema is."""
    whole, wrapped = detail_of(["string", "int", ORDER])["anyOf"]

    assert {"id", "parent", "line", "_kafka"} == whole["properties"].keys()
    assert 2 == len(wrapped["properties"]["value"]["anyOf"])


def test_only_the_definitions_that_are_needed_are_there() -> None:
    """Those of what the detail leaves out are of no use to a customer, and tell what is none of theirs."""
    assert {"shop.Order", "shop.Line"} == described(ORDER).document()["definitions"].keys()
    assert {"shop.Line"} == described(ORDER, detail={"line": "${value.line}"}).document()[
        "definitions"
    ].keys()
    assert "definitions" not in described(ORDER, detail={"id": "${value.id}"}).document()


def test_a_field_may_be_called_enum() -> None:
    """As a word of JSON Schema: what its schema refers to is defined, and OpenAPI can be written."""
    line = {"type": "record", "name": "Line", "fields": [{"name": "sku", "type": "string"}]}
    order = {"type": "record", "name": "Order", "fields": [{"name": "enum", "type": line}]}
    document = described(order).document()

    assert ["Line"] == list(document["definitions"])
    validate(openapi(document, source="s", detail_type="t"))


def test_a_tombstone_that_is_sent_has_a_null_everywhere() -> None:
    """Its value is null, and so is every field of it."""
    event = described(ORDER, detail={"id": "${value.id}"}, tombstones="send")
    its = event.document()["properties"]["detail"]["properties"]["id"]

    assert {"anyOf": [{"type": "string"}, {"type": "null"}]} == its


@pytest.mark.parametrize(
    ("source", "fits", "fits_not"),
    [
        ("aws.partner/example.com/acme", "aws.partner/example.com/acme", "aws.partner/example.com/blue"),
        (
            "aws.partner/example.com/${value.id}",
            "aws.partner/example.com/b/c",
            "aws.partner/exampleXcom/blue",
        ),
    ],
)
def test_the_source_is_as_exact_as_its_template(source: str, fits: str, fits_not: str) -> None:
    validator = Draft4Validator(described(ORDER, source=source).document()["properties"]["source"])

    assert validator.is_valid(fits)
    assert not validator.is_valid(fits_not)


def test_the_detail_types_of_an_event_are_those_that_the_filter_lets_through() -> None:
    """As far as it decides by what makes them."""
    schema = {"type": "record", "name": "O", "fields": [{"name": "s", "type": {"type": "enum", "name": "S",
        "symbols": ["A", "B", "C"]}}, {"name": "n", "type": "int"}]}  # fmt: skip
    event = described(
        schema, detail_type="${value.s}", filter="value.s != 'A' && (value.s == 'B' || value.n > `1`)"
    )

    assert {"type": "string", "enum": ["B", "C"]} == event.document()["properties"]["detail-type"]
    assert {"type": "string", "enum": ["B"]} == event.document("B")["properties"]["detail-type"]


@pytest.mark.parametrize(("written", "known"), [("string", {"type": "string"}), ("json", {})])
def test_without_a_schema_the_format_is_known(written: str, known: Json) -> None:
    event = EventSchema(NAME, topic(value={"format": written}, detail={"all": "${value}"}), None)

    assert known == event.document()["properties"]["detail"]["properties"]["all"]
    assert (written == "json") == event.is_open
