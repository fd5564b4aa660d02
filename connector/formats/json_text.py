"""JSON and plain text, without losing digits: a number that a double cannot hold is refused."""

from __future__ import annotations

import json
import re
from itertools import islice

import orjson

from connector.errors import DecodeError
from connector.formats.avro_limits import MAX_VALUES
from connector.formats.diagnosis import guess
from connector.model import Headers, Json

_MIN_LONG, _MAX_LONG = -(2**63), 2**63 - 1
_ALL_DIGITS_0 = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * 19

_SEPARATORS = b",[{"
_VALUE = re.compile(rb'[^",\[{]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?+[^",\[{]*+)*+(?:[,\[{]|\Z)', re.DOTALL)
"""Up to the next separator that is not within text."""


def decode_string(value: bytes) -> str:
    """Decode UTF-8.

    Raises:
        DecodeError: `text_invalid`.
    """
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(
            "text_invalid",
            f"not UTF-8 text: an invalid byte at {error.start} of {len(value)}. "
            "Is it binary? Then set `format: bytes`.",
        ) from None


def decode_json(value: bytes, headers: Headers = ()) -> Json:
    """Decode JSON; the headers only help to say what it is that is not.

    Raises:
        DecodeError: `json_invalid`.
    """
    if len(value) > MAX_VALUES:  # fewer bytes cannot hold more values
        _check_values(value)
    try:
        decoded: Json = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        found = (
            f"not JSON: {error.msg}, at {error.pos} of {len(value)}. {guess(value, headers, wants_json=True)}"
        )
        raise DecodeError("json_invalid", found.rstrip()) from None
    # orjson makes a float of an integer that is too long for it, and digits are lost in silence.
    # Searching for 19 digits first costs a tenth of what a regular expression does.
    if _LONG_NUMBER not in value.translate(_ALL_DIGITS_0):
        return decoded
    del decoded  # two at once would take twice the memory
    try:
        decoded = json.loads(value, parse_int=_int)
    except RecursionError:
        raise DecodeError("json_invalid", "not usable JSON: it is nested too deeply.") from None
    return decoded


def _check_values(value: bytes) -> None:
    """Refuse JSON with more values than an event could hold: each may take forty times its bytes in memory.

    A value has a separator before it; an empty list or object counts as two. Most large JSON has few
    separators, in and outside of text, and only what has many is checked more closely.
    """
    if len(value) - len(value.translate(None, _SEPARATORS)) <= MAX_VALUES:
        return
    if sum(1 for _ in islice(_VALUE.finditer(value), MAX_VALUES + 1)) > MAX_VALUES:
        raise DecodeError("json_invalid", f"not usable JSON: it holds more than {MAX_VALUES:,} values.")


def _int(digits: str) -> int:
    if len(digits) > 20 or not _MIN_LONG <= (number := int(digits)) <= _MAX_LONG:
        raise DecodeError(
            "value_out_of_range",
            "an integer is not between -2^63 and 2^63 - 1, and EventBridge takes no other. "
            "Let the producer write it as a string.",
        )
    return number
