"""Wire formats and Avro: what each kind of bytes becomes, and how each kind of bad bytes is refused."""

from __future__ import annotations

import base64
import datetime as dt
import gc
import json
import math
import struct
import subprocess
import sys
import time
import tracemalloc
import uuid
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.config.settings import Format
from connector.errors import ConfigError, DecodeError
from connector.formats import confluent
from connector.formats.avro_limits import MAX_DEPTH, MAX_VALUES
from connector.formats.avro_schema import compile_reader, reader_schema
from connector.formats.avro_types import NonFinite
from connector.formats.decoder import decoder
from connector.formats.registries import Registries
from connector.formats.schema_registry import Schemas
from connector.model import Json
from tests.avro_bombs import BOMBS, NODE, chain, decoded, encoded, fixed, logical, record_of

ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "lines", "type": {"type": "array", "items": {
            "type": "record", "name": "Line", "fields": [{"name": "sku", "type": "string"}]}}},
    ],
}  # fmt: skip


def nested_schema(levels: int) -> Any:
    schema: Any = "int"
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def refusal(attempt: Callable[[], object]) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        attempt()
    return caught.value


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
        (logical("bytes", "decimal", precision=3, scale=1), "bytes", b"\x03\xe8", "precision of 3"),
        (logical("bytes", "decimal", precision=3), "bytes", b"\x7f" * 100_000, "precision of 3"),
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


def test_a_recursive_schema_is_decoded() -> None:
    """A tree of depth 200 comes out whole: recursion alone is no reason to refuse."""
    schema = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
    value: Json = None
    for _ in range(200):
        value = {"next": value}

    assert value == decoded(schema, b"\x02" * 199 + b"\x00")


def test_the_written_schema_is_taken_as_java_takes_it() -> None:
    """A wrong default or an invalid decimal in the writer's schema does not matter to what is read."""
    schema = {"type": "record", "name": "R", "fields": [
        {"name": "n", "type": "long", "default": "0"},
        {"name": "d", "type": fixed(2, "decimal", precision=30), "default": None}]}  # fmt: skip

    assert {"n": 1, "d": "AAE="} == decoded(schema, b"\x02\x00\x01")


@pytest.mark.parametrize(
    ("schema", "rule"),
    [
        ("Missing", "Missing, which is not defined"),
        ({"type": "record", "name": "R"}, "record has no name or list of fields"),
        ({"type": "record", "fields": []}, "record has no name or list of fields"),
        ({"type": "array"}, "array has no items"),
        ({"type": "array", "items": None}, "not NoneType"),
        ({"type": "fixed", "name": "F"}, "fixed has no name or size"),
        ({"type": "fixed", "name": "F", "size": -1}, "fixed has no name or size"),
        ([], "no branches"),
        ({"type": "record", "name": "R", "fields": [{"name": "a"}]}, "no name or no type"),
        (
            [{"type": "enum", "name": "E", "symbols": []}, {"type": "enum", "name": "E", "symbols": []}],
            "redefined named type: E",
        ),
        ({"type": "enum", "name": "E", "symbols": "AB"}, "enum has no name or list of symbols"),
        ({"type": "enum", "name": "E", "symbols": [5]}, "symbol"),
        (5, "not int"),
        (nested_schema(5_000), "nested too deeply"),
        (["null", ["int"]], "a branch of a union is a union"),
        (["null", {"type": ["int"]}], "a branch of a union is a union"),
        (["int"] * 50_000, "more than 50,000 types"),
        ({"type": "enum", "name": "E", "symbols": ["A"] * 50_000}, "more than 50,000 types"),
        (record_of(name="N" * 257), "more than 256 characters"),
        (record_of(name="R", namespace="n" * 4_000_000), "more than 256 characters"),
        ("N" * 4_000_000, "more than 256 characters"),
        ([record_of(name="N" * 256, namespace="n" * 256)] * 2, "redefined named type: nnn"),
        ([record_of(name="array"), "array"], "cannot be parsed (TypeError)"),
    ],
)
def test_a_schema_that_is_none_says_what_is_wrong(schema: Any, rule: str) -> None:
    """An unusable schema is `schema_invalid`, with the rule that it breaks."""
    error = refusal(lambda: decoded(schema, b""))

    assert "schema_invalid" == error.code
    assert str(error).startswith("schema 7 is not a usable Avro schema: ")
    assert rule in str(error)
    assert len(str(error)) < 300


def test_a_schema_that_is_forgotten_is_freed_at_once() -> None:
    """Python would look for cycles too late: a large schema takes 30 MB, and the next one comes at once."""
    schema = record_of({"name": "a", "type": ["null", "bytes", fixed(2)]}, {"name": "b", "type": "double"})
    compile_reader([schema], None, non_finite="null", name="schema 7")
    gc.collect()
    gc.disable()
    try:
        compile_reader([schema], None, non_finite="null", name="schema 7")
        cycles = gc.collect()
    finally:
        gc.enable()

    assert 0 == cycles


def test_a_deep_schema_is_read() -> None:
    """A schema may be nested far deeper than anybody writes."""
    assert decoded(nested_schema(150), b"\x02" * 150 + b"\x54" + b"\x00" * 150) is not None


def test_a_name_belongs_to_the_namespace_around_it() -> None:
    """A name without a namespace is of the one around it; "" is no namespace, and 5 not even that."""
    inner = {"type": "enum", "name": "E", "symbols": ["A"], "namespace": 5}
    free = {"type": "enum", "name": "Free", "namespace": "", "symbols": ["B"]}
    schema = record_of(
        {"name": "a", "type": inner}, {"name": "b", "type": "E"}, {"name": "c", "type": "n.E"},
        {"name": "d", "type": {"type": "E"}}, {"name": "e", "type": free}, name="n.R",
    )  # fmt: skip

    assert {"a": "A", "b": "A", "c": "A", "d": "A", "e": "B"} == decoded(schema, b"\0" * 5)


# Reader schema


def test_a_reader_schema_renames_drops_promotes_and_fills_in() -> None:
    """Values come out in the reader's shape: aliases, ignored fields, promotions, defaults.

    What a number means is up to the writer: no unit or scale of the reader's is put on it.
    """
    writer = record_of(
        {"name": "old", "type": "int"}, {"name": "gone", "type": logical("long", "timestamp-millis")},
        {"name": "text", "type": "string"}, {"name": "raw", "type": "bytes"}, {"name": "n", "type": "int"},
        {"name": "at", "type": logical("long", "timestamp-micros")},
        {"name": "state", "type": {"type": "enum", "name": "S", "symbols": ["A", "B"]}},
        {"name": "maybe", "type": ["null", "int"]}, name="a.W",
    )  # fmt: skip
    reader = record_of(
        {"name": "new", "type": "double", "aliases": ["old"]}, {"name": "text", "type": "bytes"},
        {"name": "raw", "type": ["null", "string"]},
        {"name": "n", "type": logical("long", "timestamp-millis")},
        {"name": "at", "type": logical("long", "timestamp-millis")},
        {"name": "state", "type": {"type": "enum", "name": "S", "symbols": ["B", "C"], "default": "C"}},
        {"name": "maybe", "type": ["string", "long", "null"]},
        {"name": "day", "type": ["null", logical("int", "date")], "default": 1},
        {"name": "bin", "type": "bytes", "default": "\u00ff"},
        {"name": "sub", "type": record_of({"name": "x", "type": "int", "default": 5}, name="Sub"),
         "default": {}},
        {"name": "list", "type": {"type": "array", "items": "float"}, "default": [1]},
        name="b.W",
    )  # fmt: skip
    buffer = encoded(
        writer, {"old": 3, "gone": 0, "text": "hi", "raw": b"ok", "n": 5, "at": 6, "state": "A", "maybe": 4}
    )
    value = decoded(writer, buffer, reader_schema=reader)

    assert {
        "new": 3.0, "text": "aGk=", "raw": "ok", "n": 5, "at": "1970-01-01T00:00:00.000006Z", "state": "C",
        "maybe": 4, "day": "1970-01-02", "bin": "/w==", "sub": {"x": 5}, "list": [1.0],
    } == value  # fmt: skip


def test_what_the_reader_ignores_cannot_cost_the_record() -> None:
    """A timestamp out of range in a field that the reader schema leaves out is read past."""
    writer = record_of(
        {"name": "at", "type": logical("long", "timestamp-millis")}, {"name": "n", "type": "int"}
    )
    raw = record_of({"name": "at", "type": "long"}, {"name": "n", "type": "int"})

    assert {"n": 1} == decoded(
        writer, encoded(raw, {"at": 2**62, "n": 1}), reader_schema=record_of({"name": "n", "type": "int"})
    )


def test_every_way_to_read_past_a_field_leaves_the_next_one_right() -> None:
    """Whatever kind a field is that the reader schema leaves out, the field after it is read."""
    kinds: list[tuple[Any, Any]] = [
        ("null", None), ("boolean", True), ("int", -7), ("long", 2**40), ("float", 1.5), ("double", 1.5),
        ("bytes", b"abc"), ("string", "abc"), (fixed(3), b"abc"), (["null", "string"], "abc"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B"),
        ({"type": "array", "items": "int"}, [1, 2]), ({"type": "map", "values": "string"}, {"k": "v"}),
        (NODE, {"next": {"next": None}}),
        (logical("bytes", "decimal", precision=4, scale=1), Decimal("1.5")),
    ]  # fmt: skip
    reader = record_of({"name": "z", "type": "string"})
    for kind, value in kinds:
        writer = record_of({"name": "a", "type": kind}, {"name": "z", "type": "string"})
        buffer = encoded(writer, {"a": value, "z": "end"})

        assert {"z": "end"} == decoded(writer, buffer, reader_schema=reader), kind


@pytest.mark.parametrize(
    ("reader", "rule"),
    [
        (record_of({"name": "a", "type": "int", "default": "x"}), "the default of a field"),
        (record_of({"name": "a", "type": fixed(2), "default": "x"}), "the default of a field"),
        (record_of({"name": "a", "type": ["null", "int"], "default": "x"}), "the default of a field"),
        (record_of({"name": "a", "type": "R", "default": {}}), "nested too deeply"),
        (
            record_of(
                {"name": "d", "type": logical("bytes", "decimal", precision=2), "default": "\u007f\u00ff"}
            ),
            "precision of 2",
        ),
        (record_of({"name": "a", "type": "int", "aliases": "b"}), "aliases are a list of names"),
        (record_of({"name": "a", "type": "int", "aliases": ["b", 5]}), "aliases are a list of names"),
        (record_of(aliases=5), "aliases are a list of names"),
        (["null", ["int"]], "a branch of a union is a union"),
        ("Missing", "Missing, which is not defined"),
    ],
)
def test_a_reader_schema_that_is_none_says_what_is_wrong(reader: Any, rule: str) -> None:
    """A default of another type could never be delivered, so it is found before any record."""
    error = refusal(lambda: reader_schema(reader, non_finite="null"))

    assert "schema_invalid" == error.code
    assert rule in str(error)


@pytest.mark.parametrize(
    ("writer", "reader", "value"),
    [
        ("string", "int", "x"),
        ("long", "int", 1),
        (record_of(), record_of({"name": "a", "type": "int"}), {}),
        (record_of({"name": "a", "type": "string"}), record_of({"name": "a", "type": "int"}), {"a": "x"}),
        (record_of(name="A"), record_of(name="B"), {}),
        (fixed(2), fixed(3), b"ab"),
        (["null", "int"], "string", 5),
        (
            {"type": "enum", "name": "E", "symbols": ["x"]},
            {"type": "enum", "name": "E", "symbols": ["B"]},
            "x",
        ),
    ],
)
def test_schemas_that_do_not_fit_are_the_schemas_fault(writer: Any, reader: Any, value: Any) -> None:
    """What the reader schema has no place for is `schema_invalid`, and not a damaged record."""
    buffer = encoded(writer, value)
    error = refusal(lambda: decoded(writer, buffer, reader_schema=reader))

    assert "schema_invalid" == error.code
    assert "does not fit the reader schema" in str(error)


def test_no_cut_goes_unnoticed_because_the_reader_ignores_the_field() -> None:
    """Every cut of a good record is refused, also where only ignored fields are cut."""
    fields: list[dict[str, object]] = [
        {"name": name, "type": kind}
        for name, kind in (
            ("a", "string"),
            ("d", "double"),
            ("f", fixed(3)),
            ("t", "boolean"),
            ("s", "bytes"),
        )
    ]
    writer = record_of(*fields)
    buffer = encoded(writer, {"a": "x", "d": 1.5, "f": b"abc", "t": True, "s": b"xyz"})
    reader = record_of(fields[0])

    assert {"a": "x"} == decoded(writer, buffer, reader_schema=reader)
    for size in range(len(buffer)):
        error = refusal(partial(decoded, writer, buffer[:size], reader_schema=reader))

        assert ("avro_invalid", True) == (error.code, "end too early" in str(error)), size


def test_a_branch_that_the_reader_lacks_costs_only_the_records_that_use_it() -> None:
    """With a union, records of the branches that fit are still read."""
    writer, reader = ["int", "string"], "long"

    assert 5 == decoded(writer, encoded(writer, 5), reader_schema=reader)
    assert (
        "schema_invalid" == refusal(lambda: decoded(writer, encoded(writer, "x"), reader_schema=reader)).code
    )


# Bad and hostile bytes


def test_bytes_that_end_too_early_are_refused() -> None:
    """Every cut of a good record is refused, and never read as something shorter."""
    buffer = encoded(ORDER, {"id": "o-1", "lines": [{"sku": "a"}, {"sku": "b"}]})
    cuts = [buffer[:size] for size in range(len(buffer))]
    errors = [refusal(partial(decoded, ORDER, cut)) for cut in cuts]

    assert {"avro_invalid"} == {error.code for error in errors}
    assert "end too early" in str(errors[7])
    assert "schema 7" in str(errors[7])


def test_bytes_left_over_are_an_error() -> None:
    """A value that does not use all bytes was written with another schema."""
    error = refusal(lambda: decoded("int", b"\x02\x02\x02"))

    assert "avro_invalid" == error.code
    assert "2 bytes are left over" in str(error)


@pytest.mark.parametrize(
    ("schema", "buffer"),
    [
        ("string", b"\x01"),
        ("string", b"\x04\xff\xfe"),
        ("bytes", b"\x03a"),
        ("bytes", b"\xfe\xff\xff\xff\x0fa"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x01"),
        (["null", "int"], b"\x04"),
        (["null", "int"], b"\x01\x02"),
        (["null", "int"], b"\x03\x02"),
        (["int", "string", "null"], b"\x06"),
        (["int", "string", "null"], b"\x01\x02"),
        ({"type": "array", "items": "int"}, b"\xff" * 9 + b"\x01\x00"),
    ],
)
def test_numbers_that_avro_does_not_allow_are_refused(schema: Any, buffer: bytes) -> None:
    """Negative lengths and indexes, and those beyond the schema: errors, never the last branch or symbol."""
    assert "avro_invalid" == refusal(lambda: decoded(schema, buffer)).code


@pytest.mark.parametrize(
    ("schema", "buffer"),
    [
        ("int", encoded("long", 2**31)),
        ("int", encoded("long", -(2**31) - 1)),
        ("int", b"\x82\x80\x80\x80\x80\x00"),
        ("long", b"\xff" * 9 + b"\x02"),
        ("long", b"\x82" + b"\x80" * 9 + b"\x00"),
        ("string", b"\x80" * 10 + b"\x00"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x80" * 10 + b"\x00"),
        ("boolean", b"\x02"),
    ],
)
def test_a_record_that_is_looked_at_first_has_only_numbers_that_avro_has(schema: Any, buffer: bytes) -> None:
    """A number that is too long, and a boolean that is neither, are refused and not read as another."""
    error = refusal(lambda: decoded(_walked(schema), b"\x00" + buffer))

    assert "avro_invalid" == error.code
    assert "Was it written with another schema?" in str(error)


@pytest.mark.parametrize("item", ["null", fixed(0), record_of(), record_of({"name": "n", "type": "null"})])
def test_items_that_take_no_bytes_are_few(item: Any) -> None:
    """They cost nothing to write and time to look at: 10,000 in all arrays together are read, and no more."""
    schema = {"type": "array", "items": {"type": "array", "items": item}}

    def arrays(*counts: int) -> bytes:
        blocks = [encoded("long", count) + b"\x00" for count in counts]
        return encoded("long", len(counts)) + b"".join(blocks) + b"\x00"

    lists = decoded(schema, arrays(9_000, 500))
    assert isinstance(lists, list)
    assert [9_000, 500] == [len(each) for each in lists if isinstance(each, list)]
    assert "takes no bytes" in str(refusal(lambda: decoded(schema, arrays(10_001))))
    assert "takes no bytes" in str(refusal(lambda: decoded(schema, arrays(6_000, 6_000))))


def test_items_that_take_bytes_are_many() -> None:
    """Neither a key without a value, nor a record that may hold more of its kind, is for nothing."""
    tree = record_of({"name": "l", "type": {"type": "array", "items": "R"}})
    keys = {str(n): None for n in range(20_000)}
    nulls = {"type": "map", "values": "null"}

    assert keys == decoded(nulls, encoded(nulls, keys))
    assert {"l": [{"l": []}] * 20_000} == decoded(tree, encoded("long", 20_000) + b"\x00" * 20_001)


def test_a_block_may_say_its_size_in_bytes() -> None:
    """A negative count is followed by the block's size, as some writers do it."""
    assert [1, 2, 3] == decoded({"type": "array", "items": "int"}, b"\x03\x04\x02\x04\x02\x06\x00")
    assert {"k": 1} == decoded({"type": "map", "values": "int"}, b"\x01\x06\x02k\x02\x00")


def test_no_bytes_can_kill_or_hold_up_the_process() -> None:
    """Each bomb, with 1 GB of memory, is one refused record, within a second of the processor."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.avro_bombs"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    outcomes = [json.loads(line) for line in child.stdout.splitlines()]

    assert 0 == child.returncode, (
        f"ended with {child.returncode} after {outcomes[-1:]}: {child.stderr[-500:]}"
    )
    assert list(BOMBS) == [name for name, *_ in outcomes]
    for name, code, seconds, message_length in outcomes:
        assert code in {"avro_invalid", "value_out_of_range"}, name
        assert seconds < 1.0, name
        assert message_length < 300, name


def test_a_large_honest_record_is_read() -> None:
    """The limit on values is far above what fits into an event."""
    schema = {"type": "array", "items": ["null", "int"]}
    value = [None, 7] * 50_000

    assert value == decoded(schema, encoded(schema, value))
    assert 400_000 < MAX_VALUES


def test_a_large_record_of_a_harmless_schema_is_read_however_large() -> None:
    """A record may be larger than what is read without a look: the look finds nothing wrong."""
    schema = {"type": "map", "values": {"type": "array", "items": ["null", "double", ORDER]}}
    value = {
        str(n): [None, float(n), {"id": "x" * 50, "lines": [{"sku": "y" * 20}] * 3}] for n in range(1000)
    }

    assert value == decoded(schema, encoded(schema, value))


def test_a_tree_may_be_as_deep_as_json_is_written() -> None:
    """Depth up to the limit is read, and a level more is refused by name, whatever the schema."""
    deepest = b"\x02" * (MAX_DEPTH - 1) + b"\x00"

    orjson.dumps(decoded(NODE, deepest))
    assert f"nested more than {MAX_DEPTH} levels" in str(refusal(lambda: decoded(NODE, b"\x02" + deepest)))
    flat = chain(MAX_DEPTH)
    buffer = encoded("long", MAX_DEPTH) + b"\x02" * MAX_DEPTH + b"\x01" + b"\x00" * MAX_DEPTH
    assert "nested more than" in str(refusal(lambda: decoded(flat, buffer)))


def test_a_schema_may_use_types_of_others() -> None:
    """What is referred to comes first, and is converted like the rest; recursion is found there as well."""
    money = {"type": "record", "name": "shop.Money", "fields": [
        {"name": "amount", "type": logical("bytes", "decimal", precision=4, scale=2)},
        {"name": "at", "type": ["null", logical("int", "date")]}]}  # fmt: skip
    order = record_of({"name": "price", "type": "Money"}, {"name": "list", "type": NODE}, name="shop.Order")
    read = compile_reader([money, "int", order], None, non_finite="null", name="schema 7").read

    price = {"amount": "1.00", "at": "1970-01-02"}
    assert {"price": price, "list": {"next": None}} == read(b"\x02\x64" + b"\x02\x02" + b"\x00", 0)
    assert "avro_invalid" == refusal(lambda: read(b"\x02\x64\x03\x02\x00", 0)).code
    assert "levels deep" in str(refusal(lambda: read(b"\x02\x64\x00" + b"\x02" * 50_000, 0)))


def test_a_schema_that_cannot_be_used_is_tried_once() -> None:
    """Each of its records is refused with the same words."""
    registry = Registry({1: {"type": "arry"}})
    decode = decode_with(registry, format="avro")
    errors = [refusal(lambda: decode(b"\0\0\0\0\x01\x02")) for _ in range(3)]

    assert {("schema_invalid", str(errors[0]))} == {(error.code, str(error)) for error in errors}
    assert [1] == registry.asked


# Framing and the other formats


class Registry:
    """Schemas by id, at once: what the real one is once it has asked."""

    def __init__(self, schemas: dict[int, Any]) -> None:
        self.schemas = schemas
        self.asked: list[int] = []

    def get(self, schema_id: int) -> Schemas:
        self.asked.append(schema_id)
        return [orjson.dumps(self.schemas[schema_id])]


def decode_with(registry: Registry | None = None, /, **keys: Any) -> Callable[[bytes], Json]:
    return decoder(Format(**keys), Registries(registry), path="topics.t.value")  # type: ignore[arg-type]


def test_confluent_framing_names_the_schema_in_each_record() -> None:
    """The header's id picks the schema, and each is asked for once."""
    registry = Registry({1: "string", 258: logical("int", "date")})
    decode = decode_with(registry, format="avro")

    assert "hi" == decode(b"\0\0\0\0\x01" + b"\x04hi")
    assert "1970-01-02" == decode(b"\0\0\0\x01\x02" + b"\x02")
    assert "ho" == decode(b"\0\0\0\0\x01" + b"\x04ho")
    assert [1, 258] == registry.asked


@pytest.mark.parametrize(("bound", "most"), [("MAX_SCHEMAS", 2), ("MAX_SCHEMAS_BYTES", 4_000)])
def test_schemas_beyond_the_bound_make_room_for_each_other(
    monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    """A topic with a new schema in every record is decoded like any other, in bounded memory."""
    monkeypatch.setattr(confluent, bound, most)
    registry = Registry(dict.fromkeys((1, 2, 3), "string"))
    decode = decode_with(registry, format="avro")

    for schema_id in (1, 2, 3, 3, 2, 1):
        assert "hi" == decode(struct.pack(">bI", 0, schema_id) + b"\x04hi")
    assert [1, 2, 3, 1] == registry.asked


@pytest.mark.parametrize(
    ("value", "found", "guess"),
    [
        (b'{"secret": 1}', "first byte 0x7b, expected 0x00", "JSON producer"),
        (b"[1]", "first byte 0x5b", "JSON producer"),
        (b"\x03\x00" + b"g" * 20, "first byte 0x03", "Glue"),
        (b"\xc3\x01" + b"g" * 20, "first byte 0xc3", "single-object"),
        (b"\x01" + b"g" * 20, "first byte 0x01", "GUID"),
        (b"secret", "first byte 0x73", "no schema registry"),
        (b"\x00\x00\x00", "3 bytes, expected a header of 5", "cut off"),
        (b"", "empty", "tombstone"),
    ],
)
def test_what_is_not_confluent_avro_is_named_with_a_guess(value: bytes, found: str, guess: str) -> None:
    """The message says what was found, what was expected and the likely cause, and shows no more."""
    error = refusal(lambda: decode_with(Registry({}), format="avro")(value))

    assert "framing_invalid" == error.code
    assert found in str(error)
    assert guess in str(error)
    assert "secret" not in str(error)


def test_framing_none_takes_the_schema_from_a_file(tmp_path: Path) -> None:
    """The whole value is Avro; a reader schema may come from a file as well."""
    (tmp_path / "w.avsc").write_text('{"type": "int"}')
    (tmp_path / "r.avsc").write_text('"double"')
    keys = {"format": "avro", "framing": "none", "schema": tmp_path / "w.avsc"}

    assert 3 == decode_with(**keys)(b"\x06")
    value = decode_with(**keys, reader_schema=tmp_path / "r.avsc")(b"\x06")
    assert (3.0, float) == (value, type(value))


@pytest.mark.parametrize(
    ("schema", "reader_schema", "path", "why"),
    [
        (None, None, "topics.t.value.schema", "No such file"),
        ("{", None, "topics.t.value.schema", "not a usable Avro schema"),
        ('{"type": "arry"}', None, "topics.t.value.schema", "arry, which is not defined"),
        ('"int"', '"Missing"', "topics.t.value.reader_schema", "Missing"),
        ('"int"', '{"type": "record", "name": "R"}', "topics.t.value.reader_schema", "no name or list"),
    ],
)
def test_a_schema_file_that_is_none_is_a_problem_of_the_configuration(
    tmp_path: Path, schema: str | None, reader_schema: str | None, path: str, why: str
) -> None:
    """A file that is missing, broken, or does not fit is found at the start, with its place in the YAML."""
    keys: dict[str, Any] = {"format": "avro", "framing": "none", "schema": tmp_path / "w.avsc"}
    if schema is not None:
        (tmp_path / "w.avsc").write_text(schema)
    if reader_schema is not None:
        (tmp_path / "r.avsc").write_text(reader_schema)
        keys["reader_schema"] = tmp_path / "r.avsc"
    # Not validated: the configuration would already say that the file is missing.
    broken = Format.model_construct(
        schema_file=keys.pop("schema"), reader_schema=keys.pop("reader_schema", None), **keys
    )
    with pytest.raises(ConfigError) as caught:
        decoder(broken, Registries(), path="topics.t.value")

    (problem,) = caught.value.problems
    assert path == problem.path
    assert why in problem.message


def test_text_and_bytes_are_taken_as_they_are() -> None:
    """`string` is UTF-8, `bytes` is base64 text."""
    assert "Zürich" == decode_with(format="string")("Zürich".encode())
    assert "AP8=" == decode_with(format="bytes")(b"\x00\xff")
    error = refusal(lambda: decode_with(format="string")(b"secret\xff"))
    assert "text_invalid" == error.code
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b'"12345678901234567890123"', "12345678901234567890123"),
        (b"0.1234567890123456789012", 0.1234567890123456789012),
    ],
)
def test_json_is_taken_as_it_is(value: bytes, expected: Json) -> None:
    """JSON keeps its types; integers up to 64 bit keep every digit."""
    assert expected == decode_with(format="json")(value)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"", "json_invalid"),
        (b"{secret", "json_invalid"),
        (b"NaN", "json_invalid"),
        (b"[Infinity]", "json_invalid"),
        (b'"\xff"', "json_invalid"),
        (b'"\\ud800"', "json_invalid"),
        (b"[" * 100_000, "json_invalid"),
        (b"\0\0\0\0\1\2", "json_invalid"),
        (b'{"a": 18446744073709551616}', "value_out_of_range"),
        (b"-9223372036854775809", "value_out_of_range"),
        (b"1" * 10_000, "json_invalid"),
        (b"[1, 1111111111111111111111111]", "value_out_of_range"),
    ],
)
def test_what_is_not_json_or_not_exact_is_refused(value: bytes, code: str) -> None:
    """Not JSON, or an integer whose digits would be lost."""
    error = refusal(lambda: decode_with(format="json")(value))

    assert code == error.code
    assert "secret" not in str(error)


@pytest.mark.parametrize("long_number", [b"", b",1234567890123456789"])
@pytest.mark.parametrize("item", [b"0", b"[[]]", b'{"":0}', b'"\\",["', b'""'])
def test_json_of_more_values_than_an_event_could_hold_is_refused(item: bytes, long_number: bytes) -> None:
    """Ten megabytes could be half a gigabyte of values: they are counted first, within a second."""
    value = b"[" + (item + b",") * 500_000 + item + long_number + b"]"
    began_s = time.process_time()
    error = refusal(lambda: decode_with(format="json")(value))

    assert time.process_time() - began_s < 1.0
    assert "json_invalid" == error.code
    assert "more than 500,000 values" in str(error)


@pytest.mark.parametrize("text", ["a,[{", '",\\\n', "é,", "1"])
def test_json_of_few_large_texts_is_read(text: str) -> None:
    """What looks like a separator within text is none: a megabyte of commas is one value."""
    value = {"texts": [text * (1_000_000 // len(text))] * 2, "numbers": [0] * 400_000}

    assert value == decode_with(format="json")(json.dumps(value, ensure_ascii=False).encode())


def test_json_with_long_numbers_is_in_memory_once() -> None:
    """A second look at digits does not take the memory twice."""
    value = b"[1234567890123456789" + b',{"":0}' * 20_000 + b"]"
    decode = decode_with(format="json")
    tracemalloc.start()
    decoded_value = decode(value)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 1234567890123456789 == decoded_value[0]  # type: ignore[index]
    assert peak < 1.5 * kept


def test_avro_where_json_is_expected_is_guessed() -> None:
    """The other mix-up has a guess as well."""
    assert "Avro producer" in str(refusal(lambda: decode_with(format="json")(b"\0\0\0\0\1\2")))


# Properties

UTC = dt.UTC
Case = tuple[Any, Any, Json]
"""A schema, a value as fastavro takes it, and what JSON must hold."""


def _case(
    schema: Any, values: st.SearchStrategy[Any], expected: Callable[[Any], Json]
) -> st.SearchStrategy[Case]:
    return values.map(lambda value: (schema, value, expected(value)))


def _same(value: Any) -> Json:
    result: Json = value
    return result


def _whole_millis(time: dt.datetime) -> dt.datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


LEAVES: list[st.SearchStrategy[Case]] = [
    _case("null", st.none(), _same),
    _case("boolean", st.booleans(), _same),
    _case("int", st.integers(-(2**31), 2**31 - 1), _same),
    _case("long", st.integers(-(2**63), 2**63 - 1), _same),
    _case("double", st.floats(), lambda v: v if math.isfinite(v) else None),
    _case("float", st.floats(width=32), lambda v: v if math.isfinite(v) else None),
    _case("string", st.text(max_size=20), _same),
    _case("bytes", st.binary(max_size=20), _base64),
    _case(logical("long", "timestamp-millis"),
          st.datetimes(timezones=st.just(UTC)).map(_whole_millis),
          lambda t: t.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"),
    _case(logical("long", "timestamp-micros"), st.datetimes(timezones=st.just(UTC)),
          lambda t: t.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"),
    _case(logical("long", "local-timestamp-micros"), st.datetimes(),
          lambda t: t.isoformat(timespec="microseconds")),
    _case(logical("int", "date"), st.dates(), lambda d: d.isoformat()),
    _case(logical("long", "time-micros"), st.times(), lambda t: t.isoformat(timespec="microseconds")),
    _case(logical("string", "uuid"), st.uuids(), str),
    _case(logical("bytes", "decimal", precision=12, scale=4),
          st.integers(-(10**12) + 1, 10**12 - 1).map(lambda n: Decimal(n).scaleb(-4)), lambda d: f"{d:.4f}"),
]  # fmt: skip


@st.composite
def cases(draw: st.DrawFn, depth: int = 2) -> Case:
    """Schemas nested up to `depth`; names get a number so that none is defined twice."""
    kind = draw(st.sampled_from(["leaf", "record", "array", "map", "union"] if depth else ["leaf"]))
    number = draw(st.integers(0, 10**9))
    if kind == "record":
        inner = draw(st.lists(cases(depth - 1), max_size=4))
        fields = [{"name": f"f{i}", "type": schema} for i, (schema, _, _) in enumerate(inner)]
        return (
            {"type": "record", "name": f"R{number}", "fields": fields},
            {f"f{i}": value for i, (_, value, _) in enumerate(inner)},
            {f"f{i}": expected for i, (_, _, expected) in enumerate(inner)},
        )
    if kind == "union":
        return draw(_union_cases(depth, number))
    schema, value, expected = draw(st.one_of(LEAVES) if kind == "leaf" else cases(depth - 1))
    if kind == "array":
        count = draw(st.integers(0, 3))
        return {"type": "array", "items": schema}, [value] * count, [expected] * count
    if kind == "map":
        keys = draw(st.lists(st.text(max_size=5), max_size=3, unique=True))
        return {"type": "map", "values": schema}, dict.fromkeys(keys, value), dict.fromkeys(keys, expected)
    return schema, value, expected


@st.composite
def _union_cases(draw: st.DrawFn, depth: int, number: int) -> Case:
    schema, value, expected = draw(cases(depth - 1).filter(lambda case: not isinstance(case[0], list)))
    # A record with one field takes the place of any branch: it can be told from every other.
    name, other = f"U{number}", f"V{number}"
    wrapped = {"type": "record", "name": name, "fields": [{"name": "u", "type": schema}]}
    decoy = {"type": "record", "name": other, "fields": [{"name": "u", "type": "bytes"}]}
    branches = draw(st.permutations(["null", "int", wrapped, decoy]))
    chosen: list[tuple[Any, Json]] = [
        (None, None), ((name, {"u": value}), {"u": expected}), ((other, {"u": b"\1"}), {"u": "AQ=="}), (5, 5)
    ]  # fmt: skip
    raw, json_value = draw(st.sampled_from(chosen))
    return branches, raw, json_value


def _named_once(schema: Any) -> bool:
    names = [part.split('"')[0] for part in json.dumps(schema).split('"name": "')[1:]]
    named = [name for name in names if name[0] in "RUV"]
    return len(named) == len(set(named))


@settings(max_examples=100, deadline=None)
@given(cases().filter(lambda case: _named_once(case[0])))
def test_what_fastavro_writes_comes_out_as_json(case: Case) -> None:
    """For any schema and value: the expected JSON, which orjson takes; and the same with a reader schema."""
    schema, value, expected = case
    buffer = encoded(schema, value)

    assert expected == decoded(schema, buffer)
    assert expected == decoded(schema, buffer, reader_schema=schema)
    assert expected == orjson.loads(orjson.dumps(decoded(schema, buffer)))


def _walked(schema: Any) -> Any:
    """The same in a record that could hold itself, which is reason enough to look before it is read."""
    return record_of({"name": "again", "type": ["null", "R"]}, {"name": "v", "type": schema})


@settings(max_examples=100, deadline=None)
@given(cases().filter(lambda case: _named_once(case[0])))
def test_looking_first_changes_nothing_about_a_good_record(case: Case) -> None:
    """Records of schemas that could do harm come out as all others."""
    schema, value, expected = case
    buffer = encoded(_walked(schema), {"again": {"again": None, "v": value}, "v": value})

    assert {"again": {"again": None, "v": expected}, "v": expected} == decoded(_walked(schema), buffer)


@settings(max_examples=100, deadline=None)
@given(cases().filter(lambda case: _named_once(case[0])), st.data())
def test_damaged_bytes_are_decoded_or_refused_and_nothing_else(case: Case, data: st.DataObject) -> None:
    """Whatever is done to the bytes, the answer is a value that orjson takes, or a DecodeError."""
    schema, value, _ = case
    if data.draw(st.booleans()):
        schema, value = _walked(schema), {"again": None, "v": value}
    reader = data.draw(st.sampled_from([None, schema, record_of()]))
    buffer = bytearray(encoded(schema, value) + data.draw(st.binary(max_size=3)))
    for _ in range(data.draw(st.integers(1, 4))):
        if buffer:
            buffer[data.draw(st.integers(0, len(buffer) - 1))] = data.draw(st.integers(0, 255))
    try:
        result = decoded(schema, bytes(buffer), reader_schema=reader)
    except DecodeError:
        return

    orjson.dumps(result)
