"""Confluent framing: the schema of each record, and what is not framed."""

from __future__ import annotations

import struct

import pytest

from connector.formats import confluent
from tests.avro_bombs import logical
from tests.decoding import Registry, decode_with, refusal

# Bad and hostile bytes


def test_a_schema_that_cannot_be_used_is_tried_once() -> None:
    """Each of its records is refused with the same words."""
    registry = Registry({1: {"type": "arry"}})
    decode = decode_with(registry, format="avro")
    errors = [refusal(lambda: decode(b"\0\0\0\0\x01\x02")) for _ in range(3)]

    assert {("schema_invalid", str(errors[0]))} == {(error.code, str(error)) for error in errors}
    assert [1] == registry.asked


# Framing and the other formats


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
