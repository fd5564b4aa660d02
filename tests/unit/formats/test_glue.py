"""AWS Glue's framing: what is read, unpacked, and refused."""

from __future__ import annotations

import json
import uuid
import zlib
from pathlib import Path

import pytest

from connector.formats import glue
from tests.decoding import Registry, decode_with, refusal

VERSION = uuid.UUID("b7b4a7f0-9c96-4e4a-a687-fb5de9ef0c63")
PLAIN, PACKED = b"\x03\x00" + VERSION.bytes, b"\x03\x05" + VERSION.bytes


def registry() -> Registry:
    return Registry({str(VERSION): "string"})


def test_the_uuid_names_the_schema_of_plain_and_packed_values() -> None:
    """Both are read, with one lookup for both."""
    known = registry()
    decode = decode_with(known, format="avro", framing="glue")

    assert "hi" == decode(PLAIN + b"\x04hi")
    assert "hi" == decode(PACKED + zlib.compress(b"\x04hi"))
    assert [str(VERSION)] == known.asked


def test_json_behind_the_prefix_is_json() -> None:
    """Glue's serializer of JSON Schema frames as that of Avro does."""
    decode = decode_with(format="json", framing="glue")

    assert {"a": 1} == decode(PLAIN + b'{"a": 1}')
    assert {"a": 1} == decode(PACKED + zlib.compress(b'{"a": 1}'))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"", "tombstone"),
        (b"\x03\x00abc", "5 bytes, expected a prefix of 18"),
        (b"\x03\x07" + VERSION.bytes, "compression 0x07"),
        (PACKED + b"\x04hi", "not zlib"),
        (PACKED + zlib.compress(b"\x04hi")[:-3], "ends too early"),
        (PACKED, "ends too early"),
        (b"\x00\x00\x00\x00\x01\x04hi", "framing: confluent"),
        (b"{}", "format: json"),
    ],
)
def test_what_is_not_glue_framing_is_named(value: bytes, found: str) -> None:
    """The message says what was found and which framing it looks like."""
    error = refusal(lambda: decode_with(registry(), format="avro", framing="glue")(value))

    assert "framing_invalid" == error.code
    assert found in str(error)


def test_what_grows_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes must not fill the memory when they are unpacked."""
    monkeypatch.setattr(glue, "MAX_UNPACKED_BYTES", 1000)
    decode = decode_with(registry(), format="avro", framing="glue")
    error = refusal(lambda: decode(PACKED + zlib.compress(bytes(10_000))))

    assert "more than 1,000 bytes" in str(error)


@pytest.mark.parametrize("compression", ["NONE", "ZLIB"])
def test_what_awss_serializer_writes_is_read(compression: str) -> None:
    """See tests/java, which frames "hi" with it."""
    of_java = json.loads((Path(__file__).parents[2] / "java" / "glue_of_java.json").read_text())
    decode = decode_with(registry(), format="avro", framing="glue")

    assert str(VERSION) == of_java["version"]
    assert "hi" == decode(bytes.fromhex(of_java[compression]))
