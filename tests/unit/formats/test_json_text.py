"""JSON as a format: taken as it is, or refused where something would be lost."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest

from connector.model import Json
from tests.decoding import decode_with, refusal


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b'"12345678901234567890123"', "12345678901234567890123"),
        (b"0.1234567890123456789012", 0.1234567890123456789012),
    ],
)
def test_json_is_taken_as_it_is(value: bytes, expected: Json) -> None:
    """JSON keeps its types; integers of 64 bit with a sign keep every digit."""
    assert expected == decode_with(format="json")(value)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"", "json_invalid"),
        (b"{secret", "json_invalid"),
        (b"NaN", "json_invalid"),
        (b"[Infinity]", "json_invalid"),
        (b'"\xff"', "json_invalid"),
        (b'"\\ud800"', "json_invalid"),
        (b"[" * 100_000, "json_invalid"),
        (b"\0\0\0\0\1\2", "json_invalid"),
        (b'{"a": 9223372036854775808}', "value_out_of_range"),
        (b"18446744073709551615", "value_out_of_range"),
        (b"18446744073709551616", "value_out_of_range"),
        (b"-9223372036854775809", "value_out_of_range"),
        (b"1" * 10_000, "json_invalid"),
        (b"[1, 1111111111111111111111111]", "value_out_of_range"),
    ],
)
def test_what_is_not_json_or_not_exact_is_refused(value: bytes, code: str) -> None:
    """Not JSON, or an integer whose digits would be lost."""
    error = refusal(lambda: decode_with(format="json")(value))

    assert code == error.code
    assert "secret" not in str(error)


@pytest.mark.parametrize("long_number", [b"", b",1234567890123456789"])
@pytest.mark.parametrize("item", [b"0", b"[[]]", b'{"":0}', b'"\\",["', b'""'])
@pytest.mark.long
def test_json_of_more_values_than_an_event_could_hold_is_refused(item: bytes, long_number: bytes) -> None:
    """Ten megabytes could be half a gigabyte of values: they are counted first, within a second."""
    value = b"[" + (item + b",") * 500_000 + item + long_number + b"]"
    began_s = time.process_time()
    error = refusal(lambda: decode_with(format="json")(value))

    assert time.process_time() - began_s < 1.0
    assert "json_invalid" == error.code
    assert "more than 500,000 values" in str(error)


@pytest.mark.parametrize("text", ["a,[{", '",\\\n', "é,", "1"])
@pytest.mark.long
def test_json_of_few_large_texts_is_read(text: str) -> None:
    """What looks like a separator within text is none: a megabyte of commas is one value."""
    value = {"texts": [text * (1_000_000 // len(text))] * 2, "numbers": [0] * 400_000}

    assert value == decode_with(format="json")(json.dumps(value, ensure_ascii=False).encode())


def test_json_with_long_numbers_is_in_memory_once() -> None:
    """A second look at digits does not take the memory twice."""
    value = b"[1234567890123456789" + b',{"":0}' * 20_000 + b"]"
    decode = decode_with(format="json")
    tracemalloc.start()
    decoded_value = decode(value)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 1234567890123456789 == decoded_value[0]  # type: ignore[index]
    assert peak < 1.5 * kept


def test_avro_where_json_is_expected_is_guessed() -> None:
    """The other mix-up has a guess as well, and JSON behind an id is told from it."""
    decode = decode_with(format="json")

    assert "set `format: avro`" in str(refusal(lambda: decode(b"\0\0\0\0\1\2")))
    assert "set `framing: confluent`" in str(refusal(lambda: decode(b"\0\0\0\0\1{}")))
