"""Avro → JSON: each type has one form, and a value that its type forbids is refused."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given, settings

from connector.config.settings import NonFinite
from connector.model import Json
from tests.avro_bombs import decoded, encoded, fixed, logical, record_of
from tests.avro_cases import Case, cases, named_once
from tests.decoding import refusal

# Avro → JSON


@pytest.mark.parametrize(
    ("schema", "raw_schema", "raw", "expected"),
    [
        ("bytes", "bytes", b"\x00\xff", "AP8="),
        (fixed(2), fixed(2), b"\x00\xff", "AP8="),
        (logical("bytes", "decimal", precision=5, scale=2), "bytes", b"\x04\xce", "12.30"),
        (logical("bytes", "decimal", precision=5, scale=2), "bytes", b"\xfb\x32", "-12.30"),
        (logical("bytes", "decimal", precision=5, scale=2), "bytes", b"\x05", "0.05"),
        (logical("bytes", "decimal", precision=5, scale=2), "bytes", b"\xff", "-0.01"),
        (logical("bytes", "decimal", precision=5), "bytes", b"\x00", "0"),
        (logical("bytes", "decimal", precision=3, scale=1), "bytes", b"\x03\xe8", "100.0"),
        (logical("bytes", "decimal", precision=5, scale=5), "bytes", b"\x01", "0.00001"),
        (fixed(4, "decimal", precision=9, scale=1), fixed(4), b"\xff\xff\xff\xf6", "-1.0"),
        (logical("long", "timestamp-millis"), "long", 1_704_067_200_123, "2024-01-01T00:00:00.123Z"),
        (logical("long", "timestamp-millis"), "long", -1, "1969-12-31T23:59:59.999Z"),
        (logical("long", "timestamp-millis"), "long", 253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (logical("long", "timestamp-millis"), "long", -62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
        (logical("long", "timestamp-micros"), "long", 1_704_067_200_123_456, "2024-01-01T00:00:00.123456Z"),
        (logical("long", "timestamp-nanos"), "long", 1, "1970-01-01T00:00:00.000000001Z"),
        (logical("long", "timestamp-nanos"), "long", -(2**63), "1677-09-21T00:12:43.145224192Z"),
        (logical("long", "local-timestamp-millis"), "long", 61_005, "1970-01-01T00:01:01.005"),
        (logical("long", "local-timestamp-micros"), "long", 5, "1970-01-01T00:00:00.000005"),
        (logical("long", "local-timestamp-nanos"), "long", 5, "1970-01-01T00:00:00.000000005"),
        (logical("int", "date"), "int", 19_723, "2024-01-01"),
        (logical("int", "date"), "int", -1, "1969-12-31"),
        (logical("int", "time-millis"), "int", 86_399_999, "23:59:59.999"),
        (logical("long", "time-micros"), "long", 3_661_000_001, "01:01:01.000001"),
        (logical("string", "uuid"), "string", "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
         "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        (fixed(16, "uuid"), fixed(16), uuid.UUID(int=17).bytes, str(uuid.UUID(int=17))),
        (fixed(12, "duration"), fixed(12), bytes([1, 0, 0, 0, 2, 0, 0, 0, 255, 255, 255, 255]),
         {"months": 1, "days": 2, "millis": 4_294_967_295}),
        ("long", "long", 2**63 - 1, 2**63 - 1),
        ("long", "long", -(2**63), -(2**63)),
        ("int", "int", -(2**31), -(2**31)),
        (logical("string", "colour"), "string", "blue", "blue"),
        (logical("long", "date"), "long", 5, 5),
        (fixed(4, "duration"), fixed(4), b"abcd", "YWJjZA=="),
        (logical("bytes", "decimal", precision=2, scale=3), "bytes", b"\x01", "AQ=="),
        (logical("bytes", "decimal"), "bytes", b"\x01", "AQ=="),
        (logical("bytes", "decimal", precision=0), "bytes", b"\x01", "AQ=="),
        (logical("bytes", "decimal", precision=2, scale=-1), "bytes", b"\x01", "AQ=="),
        (logical("bytes", "decimal", precision=4301), "bytes", b"\x01", "AQ=="),
        (fixed(2, "decimal", precision=5), fixed(2), b"\x00\x01", "AAE="),
        ({"type": "bytes", "logicalType": ["no", "text"]}, "bytes", b"\x01", "AQ=="),
        ({"type": {"type": "string"}}, "string", "nested", "nested"),
    ],
)  # fmt: skip
def test_each_type_has_one_form_in_json(schema: Any, raw_schema: Any, raw: Any, expected: Json) -> None:
    """Logical types become exact text; unknown, invalid or misplaced ones leave the underlying type."""
    value = decoded(schema, encoded(raw_schema, raw))

    assert expected == value


@pytest.mark.parametrize(
    ("schema", "raw_schema", "raw", "rule"),
    [
        (logical("long", "timestamp-millis"), "long", 253_402_300_800_000, "years 1 to 9999"),
        (logical("long", "timestamp-millis"), "long", -62_135_596_800_001, "years 1 to 9999"),
        (logical("long", "timestamp-micros"), "long", 2**63 - 1, "years 1 to 9999"),
        (logical("long", "local-timestamp-micros"), "long", -(2**63), "years 1 to 9999"),
        (logical("int", "date"), "int", 2_932_897, "years 1 to 9999"),
        (logical("int", "date"), "int", -719_163, "years 1 to 9999"),
        (logical("int", "time-millis"), "int", 86_400_000, "within one day"),
        (logical("long", "time-micros"), "long", -1, "within one day"),
        (logical("bytes", "decimal", precision=3), "bytes", b"\x7f" * 100_000, "more than 4300 digits"),
        (logical("string", "uuid"), "string", "not one", "uuid"),
        (logical("string", "uuid"), "string", "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}", "uuid"),
    ],
)
def test_a_value_outside_its_logical_type_names_the_rule(
    schema: Any, raw_schema: Any, raw: Any, rule: str
) -> None:
    """The letter says which type of which schema broke which rule, and not what was in it."""

    def record(of: Any) -> dict[str, object]:
        row = record_of({"name": "ok", "type": "int"}, {"name": "at", "type": of}, name="Row")
        return record_of({"name": "rows", "type": {"type": "array", "items": row}})

    buffer = encoded(record(raw_schema), {"rows": [{"ok": 1, "at": raw}]})
    error = refusal(lambda: decoded(record(schema), buffer))

    assert "value_out_of_range" == error.code
    assert "(schema 7)" in str(error)
    assert rule in str(error)
    assert str(raw) not in str(error)


@pytest.mark.parametrize(
    ("non_finite", "expected"),
    [("null", [None, None, None, 1.5]), ("string", ["NaN", "Infinity", "-Infinity", 1.5])],
)
@pytest.mark.parametrize("kind", ["float", "double"])
def test_numbers_that_json_lacks_become_what_the_setting_says(
    kind: str, non_finite: NonFinite, expected: Json
) -> None:
    """NaN and the infinities are null, text, or an error; never the bare word that JSON does not have."""
    schema = {"type": "array", "items": kind}
    buffer = encoded(schema, [math.nan, math.inf, -math.inf, 1.5])
    value = decoded(schema, buffer, non_finite=non_finite)

    assert expected == value
    assert "value_out_of_range" == refusal(lambda: decoded(schema, buffer, non_finite="error")).code


def test_each_branch_of_a_union_is_converted_as_that_branch() -> None:
    """Branches that look alike once read (bytes and decimal, text and enum, two records) are told apart."""
    schema = {"type": "array", "items": [
        "null", "bytes", fixed(2, "decimal", precision=4, scale=1), "string",
        {"type": "enum", "name": "E", "symbols": ["A", "B"]},
        {"type": "record", "name": "X", "fields": [{"name": "v", "type": logical("int", "date")}]},
        {"type": "record", "name": "Y", "fields": [{"name": "v", "type": "int"}]},
        logical("int", "date"), "long", {"type": "map", "values": ["int", "bytes"]},
    ]}  # fmt: skip
    branches = [(0, None), (1, b"\1"), (2, b"\0\x0f"), (3, "A"), (4, "B"), (5, 1), (6, 1), (7, 1), (8, 1)]
    wire = {0: "null", 1: "bytes", 2: fixed(2), 3: "string", 5: "int", 6: "int", 7: "int", 8: "long"}
    buffer = b"\x14"  # ten items, each behind the index of its branch
    for index, raw in branches:
        buffer += encoded("int", index) + (b"\x02" if index == 4 else encoded(wire[index], raw))
    buffer += b"\x12" + encoded({"type": "map", "values": ["int", "bytes"]}, {"k": b"\2"}) + b"\0"

    assert [None, "AQ==", "1.5", "A", "B", {"v": "1970-01-02"}, {"v": 1}, "1970-01-02", 1, {"k": "Ag=="}] == (
        decoded(schema, buffer)
    )


def test_an_optional_field_may_have_its_null_first_or_last() -> None:
    """`["null", T]` and `[T, "null"]` both give a bare value or null."""
    for schema in (["null", logical("int", "date")], [logical("int", "date"), "null"]):
        assert "1970-01-02" == decoded(schema, encoded(schema, dt.date(1970, 1, 2)))
        assert None is decoded(schema, encoded(schema, None))


# Properties


@settings(max_examples=100, deadline=None)
@given(cases().filter(lambda case: named_once(case[0])))
def test_what_fastavro_writes_comes_out_as_json(case: Case) -> None:
    """For any schema and value: the expected JSON, which orjson takes; and the same with a reader schema."""
    schema, value, expected = case
    buffer = encoded(schema, value)

    assert expected == decoded(schema, buffer)
    assert expected == decoded(schema, buffer, reader_schema=schema)
    assert expected == orjson.loads(orjson.dumps(decoded(schema, buffer)))


# Choices


@pytest.mark.parametrize(
    ("schema", "kind", "ticks", "text"),
    [
        (logical("long", "timestamp-millis"), "long", 253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
        (
            logical("long", "timestamp-micros"),
            "long",
            -62_135_596_800_000_001,
            "+000000-12-31T23:59:59.999999Z",
        ),
        (logical("long", "local-timestamp-millis"), "long", -(2**62), "-146136543-09-08T08:23:32.096"),
        (logical("long", "timestamp-micros"), "long", 9223372036825200000, "infinity"),
        (logical("long", "timestamp-micros"), "long", -9223372036832400000, "-infinity"),
        (logical("int", "date"), "int", 2_932_897, "+010000-01-01"),
        (logical("int", "date"), "int", -719_163, "+000000-12-31"),
        (logical("int", "date"), "int", 2**31 - 1, "infinity"),
        (logical("int", "date"), "int", 0, "1970-01-01"),
    ],
)
def test_times_beyond_the_calendar_are_a_choice(schema: Any, kind: str, ticks: int, text: str) -> None:
    """A dead letter by default; null, or text with a sign and six digits for the year."""
    buffer = encoded(kind, ticks)

    assert text == decoded(schema, buffer, out_of_range="string")
    assert (None if ticks else text) == decoded(schema, buffer, out_of_range="null")


def connect(kind: str, name: str, **keys: Any) -> dict[str, Any]:
    return {"type": kind, "connect.name": name, **keys}


SCALED = {
    "type": "record",
    "name": "VariableScaleDecimal",
    "namespace": "io.debezium.data",
    "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
    "connect.name": "io.debezium.data.VariableScaleDecimal",
}


@pytest.mark.parametrize(
    ("schema", "written_as", "written", "readable", "raw"),
    [
        (connect("int", "io.debezium.time.Date"), "int", 1, "1970-01-02", 1),
        (connect("int", "io.debezium.time.Time"), "int", 1, "00:00:00.001", 1),
        (connect("long", "io.debezium.time.MicroTime"), "long", 1, "00:00:00.000001", 1),
        (connect("long", "io.debezium.time.NanoTime"), "long", 1, "00:00:00.000000001", 1),
        (connect("long", "io.debezium.time.Timestamp"), "long", 1, "1970-01-01T00:00:00.001", 1),
        (connect("long", "io.debezium.time.MicroTimestamp"), "long", 1, "1970-01-01T00:00:00.000001", 1),
        (connect("long", "io.debezium.time.NanoTimestamp"), "long", 1, "1970-01-01T00:00:00.000000001", 1),
        (connect("string", "io.debezium.time.ZonedTimestamp"), "string", "2026", "2026", "2026"),
        (connect("int", "org.apache.kafka.connect.data.Date"), "int", 1, "1970-01-02", 1),
        (
            connect("long", "org.apache.kafka.connect.data.Timestamp"),
            "long",
            1,
            "1970-01-01T00:00:00.001Z",
            1,
        ),
        (
            connect(
                "bytes", "org.apache.kafka.connect.data.Decimal", **{"connect.parameters": {"scale": "2"}}
            ),
            "bytes",
            b"\x04\xce",
            "12.30",
            "BM4=",
        ),
        (SCALED, SCALED, {"scale": 2, "value": b"\x04\xce"}, "12.30", {"scale": 2, "value": "BM4="}),
        (SCALED, SCALED, {"scale": -2, "value": b"\x05"}, "500", {"scale": -2, "value": "BQ=="}),
        (SCALED, SCALED, {"scale": 0, "value": b"\xff"}, "-1", {"scale": 0, "value": "/w=="}),
    ],
)
def test_types_of_connect_and_debezium_are_readable(
    schema: Any, written_as: Any, written: Any, readable: Json, raw: Json
) -> None:
    """As those with a logical type are; `raw` leaves what the bytes hold."""
    buffer = encoded(written_as, written)

    assert readable == decoded(schema, buffer)
    assert raw == decoded(schema, buffer, connect_types="raw")


def test_a_decimal_whose_scale_is_absurd_is_refused() -> None:
    """Its zeros would fill the memory."""
    error = refusal(lambda: decoded(SCALED, encoded(SCALED, {"scale": 2**31 - 1, "value": b"\1"})))

    assert "value_out_of_range" == error.code
