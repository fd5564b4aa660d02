"""Mapping: the event of a record, and every way in which there is none."""

from __future__ import annotations

import copy

import orjson
import pytest
from hypothesis import given

from connector.mapping.event import Mapping
from connector.model import Headers, Json
from tests.mapping import (
    PATH,
    TIMESTAMP_MS,
    decoded,
    detail,
    documents,
    event_of,
    mapped,
    problems,
    refused,
    topic,
)

VALUE: dict[str, Json] = {
    "tenant_id": "acme",
    "order_id": 4711,
    "status": "SHIPPED",
    "updated_at": "2026-01-31T12:00:00.123Z",
    "total": 12.5,
    "gift": True,
    "note": None,
    "lines": [{"sku": "a"}, {"sku": "b"}],
}


def of_object(found: Json) -> dict[str, Json]:
    assert isinstance(found, dict)
    return found


# --- the whole event ----------------------------------------------------------------------------


def test_a_record_becomes_an_event() -> None:
    """The mapping of the documentation makes the event that the documentation shows."""
    made = mapped(
        decoded(VALUE),
        filter="value.status != 'DRAFT'",
        source="aws.partner/example.com/${value.tenant_id}",
        detail_type="Order ${value.status}",
        time="${value.updated_at}",
        resources=["order/${value.order_id}"],
        metadata="_kafka",
    )

    metadata = {
        "id": "c1/orders.v1/3/1042",
        "topic": "orders.v1",
        "partition": 3,
        "offset": 1042,
        "timestamp": "2026-01-31T12:00:00.123Z",
    }
    assert made.source == "aws.partner/example.com/acme"
    assert made.detail_type == "Order SHIPPED"
    assert made.time_s == TIMESTAMP_MS / 1000
    assert ["order/4711"] == list(made.resources)
    assert {**VALUE, "_kafka": metadata} == orjson.loads(made.detail)


@pytest.mark.parametrize("key", ["a", None, 1, {"id": 1}])
def test_every_root_name_is_the_records_own(key: Json) -> None:
    """Expressions read value, key, headers, topic, partition, offset and timestamp."""
    record = decoded({"a": 1}, key=key, headers=(("h", b"x"),))
    names: list[Json] = ["value", "key", "headers", "topic", "partition", "offset", "timestamp"]

    assert {
        "value": [{"a": 1}, key, {"h": "x"}, "orders.v1", 3, 1042, TIMESTAMP_MS],
    } == detail(record, detail=[f"${{{name}}}" for name in names])


def test_the_record_is_not_changed() -> None:
    """Mapping leaves the decoded value as it was, with or without metadata."""
    value = copy.deepcopy(VALUE)
    mapped(decoded(value), metadata="_kafka")

    assert VALUE == value


def test_the_filter_drops_what_is_falsy() -> None:
    """A filter that yields null, false or something empty drops the record; 0 does not."""
    mapping = Mapping(topic(filter="value.x"), path=PATH)
    dropped: list[Json] = [None, False, "", [], {}]
    kept: list[Json] = [0, 0.0, True, "x", [0], {"a": None}]

    assert [None] * len(dropped) == [event_of(mapping, decoded({"x": x}), "id") for x in dropped]
    assert all(event_of(mapping, decoded({"x": x}), "id") for x in kept)
    assert event_of(mapping, decoded(None), "id") is None


def test_a_filter_that_fails_is_an_error() -> None:
    """A filter that cannot be evaluated never drops a record in silence."""
    error = refused(decoded({"name": None}), filter="starts_with(value.name, 'a')")

    assert error.code == "template_failed"
    assert str(error).startswith(f"{PATH}.filter: starts_with(value.name, 'a') failed: ")


@pytest.mark.parametrize(
    ("expression", "uses_key"), [("value", False), ("key", True), ("@", True), ("value.key", False)]
)
def test_uses_key_says_whether_the_key_matters(expression: str, uses_key: bool) -> None:
    """A key that no expression reads need not be decoded."""
    assert uses_key == Mapping(topic(detail=f"${{{expression}}}"), path=PATH).uses_key


# --- templates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["source", "detail_type"])
@pytest.mark.parametrize(("found", "expected"), [("x", "x"), ("", ""), (5, "5"), (-(2**63), str(-(2**63)))])
def test_a_text_field_takes_strings_and_integers(field: str, found: Json, expected: str) -> None:
    """A lone expression for text may be an integer; emptiness is judged with EventBridge's limits."""
    assert expected == getattr(mapped(decoded({"a": found}), **{field: "${value.a}"}), field)


@pytest.mark.parametrize("field", ["source", "detail_type"])
@pytest.mark.parametrize(
    "template", ["${value.secret}", "aws.partner/${value.secret}", "${value.secret}${topic}"]
)
@pytest.mark.parametrize("value", [None, {}, {"secret": None}, [], "text"])
def test_null_in_text_is_an_error(field: str, template: str, value: Json) -> None:
    """A missing or null value is never an empty string; the message says where and what to do."""
    error = refused(decoded(value), **{field: template})

    assert error.code == "template_null"
    assert str(error).startswith(f"{PATH}.event.{field}: ${{value.secret}} is null or missing. ")
    assert "`||`" in str(error)


@pytest.mark.parametrize("found", [True, 1.5, ["secret"], {"secret": 1}])
def test_other_types_are_not_text(found: Json) -> None:
    """A lone expression that is no string or integer cannot be a source or a resource."""
    errors = [
        refused(decoded({"a": found}), source="${value.a}"),
        refused(decoded({"a": found}), detail_type="${value.a}"),
        refused(decoded({"a": [[found]]}), resources=["${value.a}"]),
    ]

    assert ["template_type"] * 3 == [error.code for error in errors]
    assert not any("secret" in str(error) for error in errors)


@pytest.mark.parametrize("found", [["secret"], {"secret": 1}, [], {}])
def test_arrays_and_objects_do_not_join_text(found: Json) -> None:
    """Joined text takes scalars only."""
    error = refused(decoded({"a": found}), detail={"x": ["a ${value.a}"]})

    assert error.code == "template_type"
    assert str(error).startswith(f"{PATH}.event.detail.x[0]: ${{value.a}} is an ")
    assert "secret" not in str(error)


# --- resources ----------------------------------------------------------------------------------


def test_resources_expand_lists() -> None:
    """A lone expression that is a list gives one resource for each item; none for an empty one."""
    made = mapped(
        decoded({"ids": ["a", "b", 3], "none": []}),
        resources=["first", "${value.ids}", "${value.none}", "x/${value.ids[0]}"],
    )

    assert ["first", "a", "b", "3", "x/a"] == list(made.resources)


@pytest.mark.parametrize("value", [{}, {"ids": None}, {"ids": ["a", None]}])
def test_null_resources_are_errors(value: Json) -> None:
    """Null is no resource, alone or in a list."""
    error = refused(decoded(value), resources=["fixed", "${value.ids}"])

    assert error.code == "template_null"
    assert str(error).startswith(f"{PATH}.event.resources[1]: ")


def test_a_null_in_an_array_of_resources_is_advised_what_helps() -> None:
    """A default for the whole array would change nothing; `[*]`, as the message has it, does."""
    record = decoded({"ids": ["a", None, "b"]})
    error = refused(record, resources=["${value.ids}"])

    assert "||" not in str(error)
    assert "`value.ids[*]`" in str(error)
    assert ["a", "b"] == list(mapped(record, resources=["${value.ids[*]}"]).resources)


# --- detail -------------------------------------------------------------------------------------


def test_detail_nests_templates_at_any_depth() -> None:
    """Mappings and lists are kept, keys and scalars are literal, and text is evaluated."""
    made = detail(
        decoded(VALUE),
        detail={
            "type": "order",
            "${value}": 1,
            "nested": [{"id": "${value.order_id}", "label": "no ${value.order_id}"}, 2.5, None, True],
            "none": "${value.note}",
        },
    )

    assert {
        "type": "order",
        "${value}": 1,
        "nested": [{"id": 4711, "label": "no 4711"}, 2.5, None, True],
        "none": None,
    } == made


@pytest.mark.parametrize("value", [None, "text", 5, 1.5, False, [1, 2]])
def test_a_detail_that_is_no_object_is_wrapped(value: Json) -> None:
    """EventBridge takes objects only, so anything else becomes `{"value": …}`."""
    assert {"value": value} == detail(decoded(value))


def test_null_in_joined_detail_text_is_an_error() -> None:
    """Only a lone expression may be null."""
    assert refused(decoded({"a": None}), detail={"x": "a ${value.a}"}).code == "template_null"


def test_headers_are_text_and_the_last_wins() -> None:
    """Headers are UTF-8 text, else base64; of several with one name the last counts."""
    headers: Headers = (("a", b"1"), ("b", b"\xff\x00"), ("a", "ä".encode()), ("c", None))

    assert {"a": "ä", "b": "/wA=", "c": None} == detail(decoded(1, headers=headers), detail="${headers}")
    assert "ä" == mapped(decoded(1, headers=headers), source="${headers.a}").source


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((("traceparent", b"00-aa-bb-01"),), "00-aa-bb-01"),
        ((("traceparent", b"old"), ("other", b"x"), ("traceparent", b"new")), "new"),
        ((("traceparent", b"\xff"),), None),
        ((("traceparent", None),), None),
        ((("other", b"x"),), None),
    ],
)
def test_metadata_carries_the_trace(headers: Headers, expected: str | None) -> None:
    """A `traceparent` header that is text goes into the metadata."""
    metadata = of_object(detail(decoded({}, headers=headers), metadata="m"))["m"]

    assert expected == of_object(metadata).get("traceparent")


@pytest.mark.parametrize(
    ("timestamp_ms", "expected"),
    [
        (None, None),
        (-1, None),
        (0, "1970-01-01T00:00:00.000Z"),
        (7, "1970-01-01T00:00:00.007Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_metadata_timestamp_has_exact_milliseconds(timestamp_ms: int | None, expected: str | None) -> None:
    """The record's timestamp is written in UTC with milliseconds, or null."""
    record = decoded({"t": 0}, timestamp_ms=timestamp_ms)
    metadata = of_object(detail(record, time="2026-01-01T00:00:00Z", metadata="m"))["m"]

    assert expected == of_object(metadata)["timestamp"]


def test_metadata_never_replaces_a_field() -> None:
    """A detail that already has the metadata's key is refused, not overwritten."""
    error = refused(decoded({"_kafka": "mine"}), metadata="_kafka")

    assert error.code == "detail_invalid"
    assert "Choose another name" in str(error)


def test_details_that_json_cannot_carry() -> None:
    """Too deep, beyond 64 bit, or no Unicode: each is refused with its own code and without values."""
    deep: Json = "secret"
    for _ in range(255):
        deep = [deep]
    cases: list[tuple[Json, str]] = [
        (deep, "detail_too_deep"),
        ({"a": 2**64}, "detail_invalid"),
        ({"a": "secret\ud800"}, "detail_invalid"),
    ]
    errors = [refused(decoded(value)) for value, _ in cases]

    assert [code for _, code in cases] == [error.code for error in errors]
    assert "254 levels" in str(errors[0])
    assert not any("secret" in str(error) or str(2**64) in str(error) for error in errors)


# --- problems at start --------------------------------------------------------------------------


def test_every_problem_is_reported_with_its_path() -> None:
    """One start shows everything that is wrong, in the order of the configuration."""
    found = problems(
        filter="value.status = 'DRAFT'",
        source="${vlaue.tenant_id}/${kye}",
        detail_type="${value.}",
        time="${value.t",
        resources=["ok", "${asb(key)}"],
        detail={"a": [{"b": "${abs(key, key)}"}], "c": float("nan")},
    )

    assert [
        "filter: value.status = 'DRAFT', column 14: not JMESPath: Unknown token '='; write `==` for equality",
        "event.source: ${vlaue.tenant_id}, column 3: unknown name 'vlaue'; did you mean 'value'?",
        "event.source: ${kye}, column 22: unknown name 'kye'; did you mean 'key'?",
        "event.detail_type: ${value.}, column 9: not JMESPath: it ends too early",
        r"event.time: ${value.t, column 1: this ${ is never closed by a }; for a literal one write \${",
        "event.resources[1]: ${asb(key)}, column 3: JMESPath has no function 'asb'; did you mean 'abs'?",
        "event.detail.a[0].b: ${abs(key, key)}, column 3: abs() takes 1 argument, and is given 2",
        "event.detail.c: JSON cannot carry this number: it is not finite, or an integer beyond 64 bit; "
        "write it as text",
    ] == found


def test_a_filter_is_no_template() -> None:
    """The likely mistake has its own message."""
    assert ["filter: a filter is one expression; write it without ${ }"] == problems(filter="${value.a}")


# --- any document -------------------------------------------------------------------------------


@given(value=documents)
def test_every_document_becomes_a_detail(value: Json) -> None:
    """The default detail is the value, wrapped where it is no object."""
    assert (value if isinstance(value, dict) else {"value": value}) == detail(decoded(value))
