"""Hostile bytes: which records are walked through before they are read, and where each limit lies."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import DecodeError
from connector.formats.avro_limits import MAX_DEPTH, MAX_VALUES
from tests.avro_bombs import BOMBS, NODE, chain, decoded, encoded, fixed, record_of
from tests.avro_cases import ORDER, Case, cases, named_once
from tests.decoding import refusal

# Bad and hostile bytes


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


@pytest.mark.long
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


# Properties


def _walked(schema: Any) -> Any:
    """The same in a record that could hold itself, which is reason enough to look before it is read."""
    return record_of({"name": "again", "type": ["null", "R"]}, {"name": "v", "type": schema})


@settings(max_examples=100, deadline=None)
@given(cases().filter(lambda case: named_once(case[0])))
def test_looking_first_changes_nothing_about_a_good_record(case: Case) -> None:
    """Records of schemas that could do harm come out as all others."""
    schema, value, expected = case
    buffer = encoded(_walked(schema), {"again": {"again": None, "v": value}, "v": value})

    assert {"again": {"again": None, "v": expected}, "v": expected} == decoded(_walked(schema), buffer)


@settings(max_examples=100, deadline=None)
@given(cases().filter(lambda case: named_once(case[0])), st.data())
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
