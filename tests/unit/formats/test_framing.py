"""Readers of the schemas that records name: made once each, kept within bounds."""

from __future__ import annotations

import struct

import pytest

from connector.formats import framing
from tests.decoding import Registry, decode_with, refusal


def test_a_schema_that_cannot_be_used_is_tried_once() -> None:
    """Each of its records is refused with the same words."""
    registry = Registry({1: {"type": "arry"}})
    decode = decode_with(registry, format="avro")
    errors = [refusal(lambda: decode(b"\0\0\0\0\x01\x02")) for _ in range(3)]

    assert {("schema_invalid", str(errors[0]))} == {(error.code, str(error)) for error in errors}
    assert [1] == registry.asked


@pytest.mark.parametrize(("bound", "most"), [("MAX_SCHEMAS", 2), ("MAX_SCHEMAS_BYTES", 5_000)])
def test_schemas_beyond_the_bound_make_room_for_each_other(
    monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    """A topic with a new schema in every record is decoded like any other, in bounded memory."""
    monkeypatch.setattr(framing, bound, most)
    registry = Registry(dict.fromkeys((1, 2, 3), "string"))
    decode = decode_with(registry, format="avro")

    for schema_id in (1, 2, 3, 3, 2, 1):
        assert "hi" == decode(struct.pack(">bI", 0, schema_id) + b"\x04hi")
    assert [1, 2, 3, 1] == registry.asked
