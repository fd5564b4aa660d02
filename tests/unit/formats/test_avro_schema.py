"""Schemas of writer and reader: which are usable, what a reader gets, and which bytes do not fit."""

from __future__ import annotations

import gc
import json
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connector.formats.avro_schema import compile_reader, reader_schema, without_comments
from connector.formats.avro_types import Forms
from connector.model import Json
from tests.avro_bombs import NODE, decoded, encoded, fixed, logical, record_of
from tests.avro_cases import ORDER
from tests.decoding import refusal


def nested_schema(levels: int) -> Any:
    schema: Any = "int"
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


# Avro → JSON


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
    compile_reader([schema], None, forms=Forms(), name="schema 7")
    gc.collect()
    gc.disable()
    try:
        compile_reader([schema], None, forms=Forms(), name="schema 7")
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


def test_a_type_without_namespace_is_found_from_within_one() -> None:
    """As in Java: a short name is looked for in the namespace around it, then in none."""
    free: dict[str, Any] = record_of({"name": "x", "type": "int"}, name="Free", namespace="")
    schema = record_of(
        {"name": "a", "type": free}, {"name": "b", "type": "Free"},
        {"name": "c", "type": record_of({"name": "f", "type": "Free"}, name="Inner")}, name="n.R",
    )  # fmt: skip

    assert {"a": {"x": 1}, "b": {"x": 2}, "c": {"f": {"x": 3}}} == decoded(schema, b"\x02\x04\x06")
    free["fields"].append({"name": "next", "type": ["null", "Free"]})
    assert {"a": {"x": 1, "next": None}} == decoded(
        record_of({"name": "a", "type": free}, name="n.R"), b"\x02\x00"
    )


def test_a_name_that_referred_schemas_define_twice_must_mean_the_same() -> None:
    """Two contents under one name would swap fields in silence; the same content twice is fine."""
    address = record_of({"name": "a", "type": "string"}, {"name": "b", "type": "string"}, name="n.Address")
    swapped = record_of({"name": "b", "type": "string"}, {"name": "a", "type": "string"}, name="n.Address")
    order = record_of({"name": "to", "type": "n.Address"}, name="n.Order")
    read = compile_reader([address, address, order], None, forms=Forms(), name="schema 7").read

    assert {"to": {"a": "1", "b": "2"}} == read(b"\x021\x022", 0)
    error = refusal(lambda: compile_reader([address, swapped, order], None, forms=Forms(), name="schema 7"))
    assert "schema_invalid" == error.code
    assert "n.Address" in str(error)


@pytest.mark.parametrize("symbol", ["N/A", "in-progress", "1", "gr\u00fcn"])
def test_symbols_need_not_be_names(symbol: str) -> None:
    """Registries accept them, and so do we; also in a reader's enum, and as its default."""
    schema = {"type": "enum", "name": "E", "symbols": ["A", symbol]}

    assert symbol == decoded(schema, b"\x02")
    reader = {"type": "enum", "name": "E", "symbols": [symbol, "B"], "default": symbol}
    assert [symbol, symbol] == [decoded(schema, each, reader_schema=reader) for each in (b"\0", b"\2")]


def test_comments_in_a_schema_file_are_left_out() -> None:
    """Java's parser lets them stand; what looks like one within text stays."""
    text = '/* a */ {"type": "enum", // b\n "name": "E", "doc": "http://x /* y */", "symbols": ["\\"//"]}'

    assert {"type": "enum", "name": "E", "doc": "http://x /* y */", "symbols": ['"//']} == json.loads(
        without_comments(text)
    )


# Reader schema


def test_a_reader_of_another_name_says_so() -> None:
    """The names of the outermost records must agree, or an alias say that they do."""
    writer = record_of({"name": "a", "type": "int"}, name="shop.Order")
    reader = record_of({"name": "a", "type": "int"}, name="PublicOrder")
    error = refusal(lambda: decoded(writer, b"\2", reader_schema=reader))

    assert "schema_invalid" == error.code
    assert "the reader schema is called PublicOrder, and the record was written as shop.Order" in str(error)
    assert {"a": 1} == decoded(writer, b"\2", reader_schema={**reader, "aliases": ["shop.Order"]})


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
        (record_of({"name": "a", "type": "int", "default": 2**31}), "the default of a field"),
        (record_of({"name": "a", "type": "long", "default": 2**63}), "the default of a field"),
        (record_of({"name": "a", "type": fixed(2), "default": "x"}), "the default of a field"),
        (record_of({"name": "a", "type": ["null", "int"], "default": "x"}), "the default of a field"),
        (record_of({"name": "a", "type": "R", "default": {}}), "nested too deeply"),
        (record_of({"name": "a", "type": "int", "aliases": "b"}), "aliases are a list of names"),
        (record_of({"name": "a", "type": "int", "aliases": ["b", 5]}), "aliases are a list of names"),
        (record_of(aliases=5), "aliases are a list of names"),
        (["null", ["int"]], "a branch of a union is a union"),
        ("Missing", "Missing, which is not defined"),
    ],
)
def test_a_reader_schema_that_is_none_says_what_is_wrong(reader: Any, rule: str) -> None:
    """A default of another type could never be delivered, so it is found before any record."""
    error = refusal(lambda: reader_schema(reader, forms=Forms()))

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


def test_a_schema_may_use_types_of_others() -> None:
    """What is referred to comes first, and is converted like the rest; recursion is found there as well."""
    money = {"type": "record", "name": "shop.Money", "fields": [
        {"name": "amount", "type": logical("bytes", "decimal", precision=4, scale=2)},
        {"name": "at", "type": ["null", logical("int", "date")]}]}  # fmt: skip
    order = record_of({"name": "price", "type": "Money"}, {"name": "list", "type": NODE}, name="shop.Order")
    read = compile_reader([money, "int", order], None, forms=Forms(), name="schema 7").read

    price = {"amount": "1.00", "at": "1970-01-02"}
    assert {"price": price, "list": {"next": None}} == read(b"\x02\x64" + b"\x02\x02" + b"\x00", 0)
    assert "avro_invalid" == refusal(lambda: read(b"\x02\x64\x03\x02\x00", 0)).code
    assert "levels deep" in str(refusal(lambda: read(b"\x02\x64\x00" + b"\x02" * 50_000, 0)))


# What Java writes: see tests/java

OF_JAVA = json.loads((Path(__file__).parents[2] / "java" / "avro_of_java.json").read_text())["cases"]
OUR_FORMS = {
    "a name of both namespaces": {"a": {"x": 1}, "b": "AQ==", "c": "Ag=="},
    "a decimal of more digits than its precision": {"d": "100.0"},
    "a union, a map and an array": {"u": 5, "m": {"k": "v"}, "l": [0.5]},
}
"""Where our JSON is another than Avro's own."""


@pytest.mark.parametrize("case", OF_JAVA, ids=[case["name"] for case in OF_JAVA])
def test_what_java_writes_is_read(case: dict[str, Any]) -> None:
    """Apache Avro takes the schema, and its bytes give the value."""
    expected = OUR_FORMS.get(case["name"], case["value"])

    assert expected == decoded(case["schema"], bytes.fromhex(case["bytes"]))
