"""Keys of records as people type them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

from connector.errors import DecodeError
from connector.formats.json_text import decode_json
from connector.model import Decode, Headers, Json, Record

KEYS_REMEMBERED = 10_000
"""Keys that were decoded last: most topics have few keys, or many records of each."""


def key_test(wanted: str, decode: Decode) -> Callable[[Record], bool]:
    """A function that says whether a record's key is this text, or decodes to it, or to the JSON that it is.

    A key that cannot be decoded is its bytes alone. What else `decode` raises the function raises, too.
    """
    raw = wanted.encode("utf-8", "surrogateescape")
    texts: list[Json] = [wanted]
    with suppress(DecodeError):
        texts.append(decode_json(raw))

    @lru_cache(maxsize=KEYS_REMEMBERED)
    def decodes(key: bytes, headers: Headers) -> bool:
        try:
            found = decode(key, headers)
        except DecodeError:
            return False
        return any(_is_same(found, text) for text in texts)

    return lambda record: (
        record.key is not None and (record.key == raw or decodes(record.key, record.headers))
    )


def _is_same(one: Json, other: Json) -> bool:
    """Whether two values are the same JSON. Python takes true for 1, at any depth."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(_is_same(one[name], other[name]) for name in one)
        case list(), list():
            return len(one) == len(other) and all(map(_is_same, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)
