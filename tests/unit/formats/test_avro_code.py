"""The code written for a schema gives what fastavro gives, or nothing."""

from __future__ import annotations

import random
import secrets
import struct
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import DecodeError
from connector.formats.avro_code import MAX_LOOPS, MAX_TYPES, code_of, reader_of
from connector.formats.avro_schema import WRITTEN_AFTER, compile_reader
from connector.formats.avro_types import Forms
from connector.model import Json
from tests.avro_bombs import NODE, decoded, encoded, fixed, logical, outcome, record_of
from tests.avro_cases import Case, cases, named_once

TELLING = [
    b"\x00",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\x80\x00",
    b"\xff" * 9 + b"\x01",
    b"\xfe\xff\xff\xff\x0f",
]
"""Bytes with which numbers and lengths go wrong."""


def written(schema: Any) -> Any:
    """The function for a plain schema, without any conversion."""
    parsed = fastavro.parse_schema(schema)
    read = reader_of(parsed, {})
    assert read is not None
    return read


def field(name: str) -> dict[str, object]:
    return {"name": name, "type": "int"}


def damaged(chance: random.Random, good: bytes) -> bytes:
    changed = bytearray(good)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[at:] = b""
            case 1:
                changed[at : at + chance.randrange(3)] = chance.choice(TELLING)
            case 2 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case _:
                changed[at:at] = changed[:at] or b"\x02"
    return bytes(changed)


@settings(deadline=None)
@given(case=cases().filter(lambda case: named_once(case[0])), seed=st.integers(0, 2**32))
def test_any_value_of_any_schema_comes_out_the_same_however_its_bytes_are_damaged(
    case: Case, seed: int
) -> None:
    """`decoded` reads each with fastavro and with the code, and fails where the two differ."""
    schema, value, expected = case
    good = encoded(schema, value)
    chance = random.Random(seed)

    assert repr(expected) == repr(decoded(schema, good))
    for _ in range(5):
        outcome(lambda buffer, _: decoded(schema, buffer), damaged(chance, good))


@pytest.mark.parametrize(
    "number", [0, 1, 63, 64, 8191, 8192, 2**20, 2**21 - 1, 2**27, 2**40, 2**55, 2**62 - 1]
)
def test_numbers_of_every_length(number: int) -> None:
    """One byte to nine, of either sign; a tenth byte is left to fastavro."""
    read = written("long")
    for each in (number, -number - 1):
        assert each == read(encoded("long", each), 0)
    raw = encoded("long", 2**62)
    assert 2**62 == decoded("long", raw)
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text, since nobody sees it
        read(raw, 0)


def test_every_number_of_two_and_three_bytes() -> None:
    """And some of each longer length; the seed is printed."""
    seed = secrets.randbits(31)
    print(f"seed {seed}")
    chance = random.Random(seed)
    read = written("long")
    numbers = [
        *range(-70_000, 70_000),
        *(chance.randrange(-(2**bits), 2**bits) for bits in range(17, 62) for _ in range(200)),
    ]

    assert numbers == [read(encoded("long", number), 0) for number in numbers]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "array", "items": "string"}, ["a", "", "ü" * 100]),
        ({"type": "map", "values": {"type": "array", "items": "long"}}, {"a": [1, -2], "": []}),
        ({"type": "enum", "name": "E", "symbols": [f"S{n}" for n in range(100)]}, "S99"),
        ([f"{kind}" for kind in ("null", "boolean", "int", "string", "double")], "text"),
        (fixed(3), b"abc"),
        ("bytes", b"x" * 5000),
        ("string", "x" * 60_000),
        (record_of({"name": "a", "type": record_of(name="E")}, {"name": "b", "type": "null"}),
         {"a": {}, "b": None}),
        (logical("bytes", "decimal", precision=8, scale=2), None),
    ],
)  # fmt: skip
def test_the_usual_types_are_read_by_the_code(schema: Any, value: Any) -> None:
    """It does not give up on them, which nobody would notice but by the time it takes."""
    raw = encoded(schema, value) if value is not None else b"\x04\x04\xce"
    parsed = compile_reader([schema], None, forms=Forms(), name="it", written_after=1)
    first = parsed.read(raw, 0)

    # From now on fastavro is not asked, so it does not matter what it would do.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("connector.formats.avro_schema.schemaless_reader", None)
        assert repr(first) == repr(parsed.read(raw, 0))


@pytest.mark.parametrize(
    "blocks",
    [
        b"\x04\x02\x04\x00",
        b"\x02\x02\x02\x04\x00",
        b"\x03\x04\x02\x04\x00",
        b"\x01\x02\x02\x01\x02\x04\x00",
        b"\x84\x00\x02\x04\x80\x00",
    ],
)  # fmt: skip
def test_items_come_in_blocks(blocks: bytes) -> None:
    """Several, with or without their size in bytes before them, and counts in more bytes than they need."""
    schema = {"type": "array", "items": "int"}

    assert [1, 2] == written(schema)(blocks, 0) == decoded(schema, blocks)


def test_a_count_without_items_ends_with_the_bytes() -> None:
    """However many it says: the code stops where the bytes do."""
    for items in ("int", "string", "double", "boolean", fixed(4)):
        for count in (b"\xfe\xff\xff\xff\x0f", b"\xfd\xff\xff\xff\x0f\x02"):
            with pytest.raises((IndexError, ValueError, struct.error)):
                written({"type": "array", "items": items})(count + b"\x00", 0)


def test_no_code_is_written_for_what_would_be_too_long_or_deep() -> None:
    """A type within itself, thousands of types, and loops within loops; fastavro reads them."""
    deep: Any = "int"
    for _ in range(MAX_LOOPS + 1):
        deep = {"type": "array", "items": deep}
    unions: Any = "int"
    for level in range(70):
        unions = ["null", record_of({"name": "a", "type": unions}, name=f"R{level}")]
    wide = record_of(*(field(f"f{number}") for number in range(MAX_TYPES + 1)))
    node = fastavro.parse_schema(NODE)

    assert code_of(node, {"N": node}) is None
    assert [None] * 3 == [code_of(fastavro.parse_schema(schema), {}) for schema in (deep, unions, wide)]
    assert {"next": {"next": None}} == decoded(NODE, b"\x02\x00")


def test_a_union_of_more_branches_than_one_byte_can_name() -> None:
    """The first 64 are read by the code, the others by fastavro."""
    branches = [record_of({"name": "a", "type": "int"}, name=f"R{number}") for number in range(70)]
    for number in (0, 63, 64, 69):
        raw = encoded("long", number) + b"\x0a"
        assert {"a": 5} == decoded(branches, raw)


def test_names_and_symbols_are_never_code() -> None:
    """Whatever stands in a schema stands in the function as a literal."""
    hostile = [
        "'",
        '"',
        "\\",
        "'}); raise SystemExit #",
        "\n    raise SystemExit",
        "{p}",
        "\ud800",
        "__import__('os')",
    ]
    symbols = {"type": "enum", "name": "E", "symbols": hostile}

    assert dict.fromkeys(hostile, 1) == decoded(record_of(*map(field, hostile)), b"\x02" * len(hostile))
    assert hostile[3] == decoded(symbols, b"\x06")


def test_code_is_written_once_a_schema_is_used() -> None:
    """A schema for every record must not cost a function for each; nor is there one before it pays."""
    with pytest.MonkeyPatch.context() as patched:
        made: list[object] = []

        def noted(*given: Any) -> Any:
            made.append(given)
            return reader_of(*given)

        patched.setattr("connector.formats.avro_schema.reader_of", noted)
        read = compile_reader(["int"], None, forms=Forms(), name="it").read
        for _ in range(WRITTEN_AFTER - 1):
            read(b"\x02", 0)
        assert not made
        for _ in range(100):
            assert 1 == read(b"\x02", 0)
        assert 1 == len(made)
    with pytest.raises(DecodeError, match="left over"):
        read(b"\x02\x02", 0)


def test_the_code_is_plain() -> None:
    """What is written for a small schema, to be read."""
    code = code_of(
        fastavro.parse_schema(
            record_of(
                {"name": "id", "type": "string"}, {"name": "note", "type": ["null", "long"]}, name="Order"
            )
        ),
        {},
    )
    expected: Json = """def read(b, p):
    n = b[p]
    p += 1
    if n & 129:
        n, p = length(b, p - 1)
    else:
        n >>= 1
    e = p + n
    v1 = b[p:e].decode()
    p = e
    n = b[p]
    p += 1
    if n == 0:
        v2 = None
    elif n == 2:
        n = b[p]
        p += 1
        if n > 127:
            n, p = varint(b, p - 1)
        v3 = (n >> 1) ^ -(n & 1)
        v2 = v3
    else:
        raise ValueError
    if p != len(b):
        raise ValueError
    return {'id': v1, 'note': v2}
"""

    assert code is not None
    assert expected == code.text
