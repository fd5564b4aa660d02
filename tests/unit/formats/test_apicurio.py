"""Apicurio's framing: ids in headers and before the value, global or of content."""

from __future__ import annotations

import pytest

from connector.model import Headers
from tests.decoding import Registry, decode_with, refusal


def id_header(name: str, number: int) -> Headers:
    return ((f"apicurio.value.{name}", number.to_bytes(8, "big")),)


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"\x04hi", id_header("globalId", 7)),
        (b"\x04hi", id_header("contentId", 7)),
        (b"\0" + (7).to_bytes(8, "big") + b"\x04hi", ()),
        (b"\0" + (7).to_bytes(4, "big") + b"\x04hi", ()),
        (b"\0" + (7).to_bytes(4, "big") + b"\x04hi", id_header("version", 9)),
    ],
)
def test_an_id_is_found_wherever_a_serializer_writes_it(value: bytes, headers: Headers) -> None:
    """In a header of the value's own, or in 8 or 4 bytes before it."""
    decode = decode_with(Registry({7: "string"}), format="avro", framing="apicurio")

    assert "hi" == decode(value, headers)


def test_json_with_an_id_in_a_header_is_json() -> None:
    """The schema of JSON is not asked for."""
    decode = decode_with(format="json", framing="apicurio")

    assert {} == decode(b"{}", (*id_header("globalId", 1), ("apicurio.value.encoding", b"JSON")))
    assert {} == decode(b"\0\0\0\0\x01{}")


@pytest.mark.parametrize(
    ("value", "headers", "found"),
    [
        (b"", (), "tombstone"),
        (b"\0\0\0", (), "3 bytes are too few"),
        (b"\0\0\0\0\0\x01", (), "6 bytes are too few"),
        (b"{}", (), "format: json"),
        (b"\x04hi", (("apicurio.value.globalId", b"7"),), "holds 1 bytes"),
        (b"\x04hi", (("apicurio.value.contentHash", b"7"),), "use-id"),
        (b"{}", (*id_header("globalId", 1), ("apicurio.value.encoding", b"JSON")), "format: json"),
        (b"\x04hi", (("__value_schema_id", b"\0\0\0\0\x01"),), "framing: confluent"),
    ],
)
def test_what_is_not_apicurio_framing_is_named(value: bytes, headers: Headers, found: str) -> None:
    """The message says what was found and which framing it looks like."""
    decode = decode_with(Registry({1: "string"}), format="avro", framing="apicurio")
    error = refusal(lambda: decode(value, headers))

    assert "framing_invalid" == error.code
    assert found in str(error)


def test_an_id_beyond_what_a_registry_gives_out_is_not_asked_for() -> None:
    """Ids are positive."""
    registry = Registry({})
    decode = decode_with(registry, format="avro", framing="apicurio")

    assert "schema_unknown" == refusal(lambda: decode(b"\x04hi", id_header("globalId", 2**64 - 1))).code
    assert [] == registry.asked
