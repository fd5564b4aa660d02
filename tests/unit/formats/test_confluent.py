"""Confluent framing: the schema of each record, and what is not framed."""

from __future__ import annotations

import base64
import uuid

import pytest

from tests.avro_bombs import logical
from tests.decoding import Registry, decode_with, refusal


def test_confluent_framing_names_the_schema_in_each_record() -> None:
    """The header's id picks the schema, and each is asked for once."""
    registry = Registry({1: "string", 258: logical("int", "date")})
    decode = decode_with(registry, format="avro")

    assert "hi" == decode(b"\0\0\0\0\x01" + b"\x04hi")
    assert "1970-01-02" == decode(b"\0\0\0\x01\x02" + b"\x02")
    assert "ho" == decode(b"\0\0\0\0\x01" + b"\x04ho")
    assert [1, 258] == registry.asked


@pytest.mark.parametrize(
    ("value", "found", "guess"),
    [
        (b'{"secret": 1}', "first byte 0x7b, expected 0x00", "format: json"),
        (b"[1]", "first byte 0x5b", "format: json"),
        (b"\x03\x00" + b"g" * 20, "first byte 0x03", "framing: glue"),
        (b"\xc3\x01" + b"g" * 20, "first byte 0xc3", "framing: single-object"),
        (b"Obj\x01" + b"g" * 20, "first byte 0x4f", "container file"),
        (b"secret", "first byte 0x73", "no schema registry"),
        (b"\x00\x00\x00", "3 bytes are too few", "cut off"),
        (b"\x01\x00\x00", "3 bytes are too few", "cut off"),
        (b"", "empty", "tombstone"),
    ],
)
def test_what_is_not_confluent_framing_is_named_with_a_guess(value: bytes, found: str, guess: str) -> None:
    """The message says what was found, what was expected and the likely cause, and shows no more."""
    error = refusal(lambda: decode_with(Registry({}), format="avro")(value))

    assert "framing_invalid" == error.code
    assert found in str(error)
    assert guess in str(error)
    assert "secret" not in str(error)


# Headers

VALUE_HEADER, KEY_HEADER = "__value_schema_id", "__key_schema_id"
GUID = uuid.UUID("89791762-2336-4186-9674-299b90a802e2")
BY_GUID = b"\x01" + GUID.bytes
BY_ID = b"\x00\x00\x00\x00\x07"


@pytest.mark.parametrize("reference", [BY_ID, BY_GUID])
def test_a_header_names_the_schema_before_what_the_value_begins_with(reference: bytes) -> None:
    """What looks like an id is then part of the text: nothing is read with another subject's schema."""
    registry = Registry({2: "bytes", 7: "string", str(GUID): "string"})
    text = b"\0\0\0\0\x02 the real text"
    decode = decode_with(registry, format="avro")

    assert text.decode() == decode(bytes([2 * len(text)]) + text, ((VALUE_HEADER, reference),))
    assert 2 not in registry.asked


def test_each_side_has_its_own_header() -> None:
    """A key's header says nothing about the value, and the last one of a name counts."""
    registry = Registry({1: "int", 7: "string"})
    value = decode_with(registry, format="avro")
    key = decode_with(registry, format="avro", path="topics.t.key")

    assert -3 == value(b"\0\0\0\0\x01\x05", ((KEY_HEADER, BY_ID),))
    assert "hi" == key(b"\x04hi", ((KEY_HEADER, BY_GUID), (VALUE_HEADER, BY_GUID), (KEY_HEADER, BY_ID)))


def test_a_guid_may_stand_before_the_value() -> None:
    """Framing version 1: 16 bytes instead of 4."""
    assert "hi" == decode_with(Registry({str(GUID): "string"}), format="avro")(BY_GUID + b"\x04hi")


@pytest.mark.parametrize("content", [b"", b"\x00\x00", b"\x02" + b"g" * 16, b"\x01" + b"g" * 4])
def test_a_header_that_holds_no_id_is_refused(content: bytes) -> None:
    """The value might be read with another schema otherwise."""
    decode = decode_with(Registry({1: "string"}), format="avro")
    error = refusal(lambda: decode(b"\0\0\0\0\x01\x04hi", ((VALUE_HEADER, content),)))

    assert "framing_invalid" == error.code
    assert VALUE_HEADER in str(error)


def test_apicurios_headers_are_refused_by_name() -> None:
    """Its values are bare, and might look as if they began with an id."""
    decode = decode_with(Registry({1: "string"}), format="avro")
    error = refusal(lambda: decode(b"\0\0\0\0\x01\x04hi", (("apicurio.value.globalId", b"\0" * 8),)))

    assert "framing_invalid" == error.code
    assert "set `framing: apicurio`" in str(error)


# What Java writes, and what nobody may read


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"\x06abc", b"abc"),
        (b"\x08abc", b"\x08abc"),
        (b"abc", b"abc"),
        (b"", b""),
        (b"\x06abcd", b"\x06abcd"),
    ],
)
def test_bytes_may_come_without_their_length(written: bytes, shown: bytes) -> None:
    """Confluent's Java serializer writes an array of bytes as it is; where the length fits, it is one."""
    decode = decode_with(Registry({1: "bytes"}), format="avro")

    assert base64.b64encode(shown).decode() == decode(b"\0\0\0\0\x01" + written)


def test_encrypted_fields_are_refused_unless_they_may_be_sent() -> None:
    """A customer would get ciphertext for a value."""
    registry = Registry({1: "string"}, encrypted_by="hide")
    value = b"\0\0\0\0\x01\x04hi"
    error = refusal(lambda: decode_with(registry, format="avro")(value))

    assert "schema_encrypted" == error.code
    assert "rule hide" in str(error)
    assert "topics.t.value.encrypted: send" in str(error)
    assert "hi" == decode_with(registry, format="avro", encrypted="send")(value)


def test_json_behind_an_id_is_json() -> None:
    """A serializer of JSON Schema frames as the others do; its schema is not asked for."""
    decode = decode_with(format="json", framing="confluent")

    assert {"a": 1} == decode(BY_ID + b'{"a": 1}')
    assert {"a": 1} == decode(b'{"a": 1}', ((VALUE_HEADER, BY_GUID),))
    assert "framing_invalid" == refusal(lambda: decode(b'{"a": 1}')).code


def test_an_id_that_no_registry_gives_out_is_not_asked_for() -> None:
    """Four bytes can hold more than a registry's ids: such a record is refused at once."""
    registry = Registry({})

    assert "schema_unknown" == refusal(lambda: decode_with(registry, format="avro")(b"\0\xff\0\0\0\x01")).code
    assert [] == registry.asked
