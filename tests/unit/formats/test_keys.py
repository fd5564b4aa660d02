"""Which keys are meant by what people type."""

from __future__ import annotations

import base64

import pytest

from connector.formats.json_text import decode_json, decode_string
from connector.formats.keys import key_test
from connector.model import Decode, Headers, Json, Partition, Record


def decode_bytes(key: bytes, _: Headers) -> Json:
    return base64.b64encode(key).decode()


def record(key: bytes | None) -> Record:
    return Record(Partition("orders", 0), 7, 1_000, key, b"{}", ())


@pytest.mark.parametrize(
    ("decode", "key", "wanted"),
    [
        (lambda key, _: decode_string(key), b"4711", "4711"),
        (decode_json, b"4711", "4711"),
        (decode_json, b"4711 ", "4711"),
        (decode_json, b"4711.0", "4711"),
        (decode_json, b'"4711"', "4711"),
        (decode_json, b'{"id": 4711}', '{ "id":4711 }'),
        (decode_json, b'{"id":4711,"of":"x"}', '{"of": "x", "id": 4711}'),
        (decode_json, b"not json", "not json"),
        (decode_json, b"[" * 2_000, "[" * 2_000),
        (decode_bytes, b"\xff", "\udcff"),
    ],
)
def test_a_key_is_its_text_or_what_it_decodes_to(decode: Decode, key: bytes, wanted: str) -> None:
    """However its JSON is written; a key that cannot be decoded is its bytes alone."""
    is_key = key_test(wanted, decode)

    assert is_key(record(key))
    assert not is_key(record(b"4712"))
    assert not is_key(record(None))


@pytest.mark.parametrize(
    ("wanted", "key"), [("1", b"true"), ("[1]", b"[true]"), ('{"a": false}', b'{"a": 0}'), ("true", b"1")]
)
def test_true_is_not_the_key_1(wanted: str, key: bytes) -> None:
    """They are equal in Python, at any depth."""
    assert not key_test(wanted, decode_json)(record(key))
