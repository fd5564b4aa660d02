"""Avro without framing: what the bytes look like that are not of the file's schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.model import Headers
from tests.decoding import Decoding, decode_with, refusal

RECORD = '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}'


@pytest.fixture
def decode(tmp_path: Path) -> Decoding:
    (tmp_path / "r.avsc").write_text(RECORD)
    return decode_with(format="avro", framing="none", schema=tmp_path / "r.avsc")


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (b"\0\0\0\0\x01\x04hi", "`framing: confluent`"),
        (b"\0\0\0\0\0\0\0\0\x01\x04hi", "`framing: apicurio`"),
        (b"\x01" + b"g" * 16 + b"\x04hi", "`framing: confluent`"),
        (b"\x03\x00" + b"g" * 16 + b"\x04hi", "`framing: glue`"),
        (b"\xc3\x01" + b"g" * 8 + b"\x04hi", "`framing: single-object`"),
        (b"Obj\x01" + b"g" * 8, "container file"),
        (b'{"a": "hi"}', "`format: json`"),
    ],
)
def test_a_framing_that_is_there_is_named(decode: Decoding, value: bytes, advice: str) -> None:
    """Whoever configured no framing learns which one it is, and what to write."""
    error = refusal(lambda: decode(value))

    assert "avro_invalid" == error.code
    assert advice in str(error)


@pytest.mark.parametrize(
    ("headers", "advice"),
    [
        ((("__value_schema_id", b"\0\0\0\0\x01"),), "`framing: confluent`"),
        ((("apicurio.value.globalId", bytes(8)),), "`framing: apicurio`"),
    ],
)
def test_headers_that_name_a_schema_are_refused(decode: Decoding, headers: Headers, advice: str) -> None:
    """It need not be the file's, which would read the bytes as other values."""
    error = refusal(lambda: decode(b"\x04hi", headers))

    assert "framing_invalid" == error.code
    assert advice in str(error)
    assert {"a": "hi"} == decode(b"\x04hi", (("trace", b"1"),))
