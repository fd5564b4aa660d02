"""JSON → Avro: what was decoded becomes its bytes again, and a misfit is told by its field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from connector.errors import DecodeError
from connector.formats.avro_types import Forms
from connector.model import Json
from connector.workbench.encoding import UnfitError, encoder
from tests.avro_bombs import NODE, decoded, encoded, fixed, logical, record_of
from tests.avro_cases import ORDER, Case, cases, named_once
from tests.unit.formats.test_avro_types import SCALED, connect

CANARY = "canary-4711"


def written(schema: Any, value: Json, **forms: Any) -> bytes:
    return encoder([schema], Forms(**forms))(value)


def back(schema: Any, value: Json, **forms: Any) -> Json:
    return decoded(schema, written(schema, value, **forms), **forms)


def complaints(schema: Any, value: Json, **forms: Any) -> list[tuple[str, str]]:
    with pytest.raises(UnfitError) as caught:
        written(schema, value, **forms)
    assert CANARY not in str(caught.value)
    return caught.value.complaints


@settings(max_examples=100, deadline=None)
@given(cases(depth=3).filter(lambda case: named_once(case[0])))
def test_what_is_decoded_is_encoded_to_the_same_bytes(case: Case) -> None:
    """Whatever schema and value, and to the same JSON; but for NaN and unions, of which JSON tells less."""
    schema, value, expected = case
    good = encoded(schema, value)
    read = decoded(schema, good)
    again = written(schema, read)

    assert repr(read) == repr(decoded(schema, again))
    if "None" not in repr(expected) and "null" not in repr(schema):
        assert good == again


@settings(max_examples=100, deadline=None)
@given(cases(depth=1).filter(lambda case: named_once(case[0])))
def test_any_branch_of_a_union_of_every_type_gives_the_same_json(case: Case) -> None:
    """Also where many branches would take the value."""
    schema, value, expected = case
    if isinstance(schema, list) or expected is None:
        return
    kind = schema if isinstance(schema, str) else schema["type"]
    others: list[Any] = ["string", "bytes", "double", "float", "long", logical("int", "date"), "null"]
    union = [
        *(other for other in others if kind != (other if isinstance(other, str) else other["type"])),
        schema,
    ]
    read = decoded(schema, encoded(schema, value))

    assert repr(read) == repr(back(union, read))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (fixed(2), "AP8="),
        (fixed(4, "decimal", precision=9, scale=1), "-1.0"),
        (logical("bytes", "decimal", precision=3, scale=1), "100000.0"),
        (logical("bytes", "decimal", precision=5), "12"),
        (logical("long", "timestamp-nanos"), "1677-09-21T00:12:43.145224192Z"),
        (logical("long", "local-timestamp-millis"), "0001-01-01T00:00:00.000"),
        (logical("int", "time-millis"), "23:59:59.999"),
        (fixed(16, "uuid"), "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        (fixed(12, "duration"), {"months": 1, "days": 2, "millis": 4_294_967_295}),
        ({"type": "enum", "name": "E", "symbols": ["no name", "B"]}, "no name"),
        ({"type": "map", "values": {"type": "array", "items": "int"}}, {"": [1, 2], "b": []}),
        (NODE, {"next": {"next": {"next": None}}}),
        (ORDER, {"id": "a", "lines": [{"sku": "b"}]}),
        (connect("long", "io.debezium.time.MicroTimestamp"), "1970-01-01T00:00:00.000001"),
        (connect("long", "io.debezium.time.NanoTime"), "00:00:00.000000001"),
        (SCALED, "12.30"),
        (SCALED, "-1"),
    ],
)
def test_each_form_is_taken_back(schema: Any, value: Json) -> None:
    """Those of Connect and Debezium as well, of any digits, and types within themselves."""
    assert value == back(schema, value)


@pytest.mark.parametrize(
    ("schema", "value", "choice"),
    [
        ("double", None, {"non_finite": "null"}),
        ("double", "NaN", {"non_finite": "string"}),
        ("float", "-Infinity", {"non_finite": "string"}),
        (logical("int", "date"), None, {"out_of_range": "null"}),
        (logical("long", "timestamp-millis"), None, {"out_of_range": "null"}),
        (logical("int", "date"), "infinity", {"out_of_range": "string"}),
        (logical("long", "timestamp-micros"), "-infinity", {"out_of_range": "string"}),
        (logical("long", "timestamp-micros"), "+000000-12-31T23:59:59.999999Z", {"out_of_range": "string"}),
        (logical("long", "local-timestamp-millis"), "-146136543-09-08T08:23:32.096",
         {"out_of_range": "string"}),
        (SCALED, {"scale": -2, "value": "BQ=="}, {"connect_types": "raw"}),
    ],
)  # fmt: skip
def test_what_the_settings_choose_is_taken_back(schema: Any, value: Json, choice: dict[str, Any]) -> None:
    """Numbers that are none, times outside of the calendar, and Connect's types as they are."""
    assert value == back(schema, value, **choice)
    if "connect_types" not in choice:
        assert complaints(schema, value, non_finite="error")


@pytest.mark.parametrize(
    ("schema", "value", "read"),
    [
        (logical("long", "timestamp-millis"), "2026-11-22T10:00:00Z", "2026-11-22T10:00:00.000Z"),
        (logical("long", "timestamp-millis"), "2026-11-22T10:00:00.120000Z", "2026-11-22T10:00:00.120Z"),
        (logical("bytes", "decimal", precision=9, scale=2), "12.3", "12.30"),
        ("double", 12, 12.0),
    ],
)
def test_what_people_write_is_taken_where_it_is_clear(schema: Any, value: Json, read: Json) -> None:
    """Fewer digits than the decoder shows, and zeros beyond."""
    assert read == back(schema, value)


MONEY = logical("bytes", "decimal", precision=9, scale=2)
INSTANT = logical("long", "timestamp-millis")


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        (MONEY, CANARY, 'must be a decimal with at most 2 digits after the point, as "12.30"'),
        (MONEY, "12.345", 'must be a decimal with at most 2 digits after the point, as "12.30"'),
        (MONEY, 12.3, 'must be a decimal with at most 2 digits after the point, as "12.30"'),
        (fixed(1, "decimal", precision=2), "128",
         'must be a decimal that 1 bytes hold, with no digits after the point, as "12"'),
        (INSTANT, "2026-02-30T10:00:00Z", "must be a time in UTC with at most 3 digits after the point, "
         'as "2026-11-22T10:00:00.000Z"'),
        (INSTANT, "2026-11-22T10:00:00", "must be a time in UTC with at most 3 digits after the point, "
         'as "2026-11-22T10:00:00.000Z"'),
        (logical("long", "local-timestamp-millis"), "2026-11-22T10:00:00Z", "must be a time without zone "
         'with at most 3 digits after the point, as "2026-11-22T10:00:00.000"'),
        (logical("int", "time-millis"), "24:00:00", "must be a time of day with at most 3 digits after the "
         'point, as "10:00:00.000"'),
        (["null", logical("int", "date")], CANARY, 'must be null, or a date, as "2026-11-22"'),
        ("int", 2**31, "must be a whole number from -2^31 to 2^31 - 1"),
        ("int", True, "must be a whole number from -2^31 to 2^31 - 1"),
        ("long", 1.0, "must be a whole number from -2^63 to 2^63 - 1"),
        ("float", 1e39, "must be a number that a float holds, or null"),
        ("string", 5, "must be text"),
        ("string", "\ud800", "must be text"),
        (fixed(2), "AA==", "must be base64 of 2 bytes"),
        ({"type": "enum", "name": "E", "symbols": ["PAID", "SHIPPED"]}, "SHIPED",
         "must be one of PAID, SHIPPED; did you mean 'SHIPPED'?"),
        (ORDER, [CANARY], "must be a mapping of the fields of shop.Order"),
        (logical("string", "uuid"), CANARY, 'must be a UUID, as "0b9a4e4e-6c1f-4a53-9d0c-1f9e1c9a3a55"'),
        (fixed(12, "duration"), {"months": 1, "days": 2}, "must be a mapping of months, days and millis to "
         "whole numbers from 0 to 2^32 - 1"),
        (SCALED, 5, 'must be a decimal, as "12.30"'),
    ],
)  # fmt: skip
def test_a_misfit_is_told_by_the_rule_of_its_type(schema: Any, value: Json, message: str) -> None:
    """And never by the value."""
    row = record_of({"name": "at", "type": schema}, name="Row")

    assert [("at", message)] == complaints(row, {"at": value})


def test_all_misfits_are_told_at_once_by_their_places() -> None:
    """Fields that are unknown, with the one that was meant; missing ones; and those in lists and maps."""
    line = record_of({"name": "quantity", "type": "int"}, name="Line")
    schema = record_of(
        {"name": "id", "type": "string"},
        {"name": "total", "type": MONEY},
        {"name": "lines", "type": ["null", {"type": "array", "items": line}]},
        {"name": "labels", "type": {"type": "map", "values": "string"}},
        {"name": "note", "type": "string", "default": "none"},
    )
    value: Json = {
        "totl": CANARY, "lines": [{"quantity": 1}, {"quantity": CANARY}], "labels": {CANARY: 5}, "id": 5
    }  # fmt: skip

    assert [
        ("totl", "is no field of R; did you mean 'total'?"),
        ("total", "required, and missing"),
        ("id", "must be text"),
        ("lines[1].quantity", "must be a whole number from -2^31 to 2^31 - 1"),
        ("labels.*", "must be text"),
    ] == complaints(schema, value)


@pytest.mark.parametrize(
    ("schema", "default", "read"),
    [
        (["null", "string"], None, None),
        (MONEY, "\u0004\u00ce", "12.30"),
        (INSTANT, 5, "1970-01-01T00:00:00.005Z"),
        (record_of({"name": "a", "type": "int"}, {"name": "b", "type": "int", "default": 2}, name="In"),
         {"a": 1}, {"a": 1, "b": 2}),
        ({"type": "array", "items": "bytes"}, ["\u00ff"], ["/w=="]),
    ],
)  # fmt: skip
def test_a_field_that_is_left_out_has_its_default(schema: Any, default: Json, read: Json) -> None:
    """Which the schema has in Avro's own forms; one that is no value of its type is no default."""
    row = record_of({"name": "f", "type": schema, "default": default}, name="Row")

    assert {"f": read} == back(row, {})
    broken = record_of({"name": "f", "type": "int", "default": "x"}, name="Row")
    assert [("f", "required, and missing")] == complaints(broken, {})


@pytest.mark.parametrize(
    ("union", "value", "branch"),
    [
        (["string", INSTANT], "2026-11-22T10:00:00.000Z", 1),
        (["string", INSTANT], "2026-11-22T10:00:00Z", 0),
        (["bytes", "string"], "cash", 1),
        (["double", "long"], 5, 1),
        (["int", "double"], 5.0, 1),
        (["int", "long"], 2**31, 1),
        (["double", "null"], None, 1),
        ([record_of({"name": "a", "type": "int"}, {"name": "b", "type": "int", "default": 1}, name="X"),
          record_of({"name": "a", "type": "int"}, name="Y")], {"a": 1}, 1),
    ],
)  # fmt: skip
def test_a_bare_value_is_written_as_the_branch_that_says_most(union: Any, value: Json, branch: int) -> None:
    """As long as its bytes are read as the same JSON."""
    assert branch == written(union, value)[0] >> 1
    assert repr(value) == repr(back(union, value))


def test_a_misfit_in_a_union_is_told_within_the_record_that_was_meant() -> None:
    """And not by a list of all that could stand there."""
    union = ["null", ORDER, record_of({"name": "other", "type": "int"}, {"name": "b", "type": "int"})]

    assert [("lines[0].sku", "must be text")] == complaints(union, {"id": "a", "lines": [{"sku": 5}]})


def test_a_schema_that_refers_to_others_is_written() -> None:
    """They come first, as in `compile_reader`."""
    line = record_of({"name": "sku", "type": "string"}, name="Line")
    order = record_of({"name": "lines", "type": {"type": "array", "items": "Line"}}, name="Order")

    assert encoded("int", 1) + encoded("string", "a") + b"\0" == encoder([line, order], Forms())(
        {"lines": [{"sku": "a"}]}
    )


def test_a_value_nested_too_deeply_and_a_schema_that_is_none_are_refused() -> None:
    """In words, and not by what the interpreter has to say."""
    deep: Json = None
    for _ in range(10_000):
        deep = {"next": deep}

    assert [("", "is nested too deeply")] == complaints(NODE, deep)
    with pytest.raises(DecodeError, match="recrod"):
        encoder([{"type": "recrod"}], Forms())
