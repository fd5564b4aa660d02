"""Values that name the schema they were written with: taken apart, and read with that schema made ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

from connector.errors import DecodeError
from connector.formats.avro_code import Read
from connector.formats.avro_schema import Compiled
from connector.model import Decode, Headers, Json

MAX_SCHEMAS = 1_000
"""Schemas kept ready for one topic's keys or values; the oldest makes room. No topic has so many by design,
but a producer that registers one with every start, or every record, must not fill the memory."""

MAX_SCHEMAS_BYTES = 64 * 1024 * 1024
"""The memory they may take together, roughly: 250 of a hundred optional fields."""


class Framed(NamedTuple):
    """A value taken apart."""

    reference: bytes
    """What names the schema: the bytes that the framing has for it."""
    body: bytes
    """What holds the value."""
    start: int
    """Where in it the value begins."""


Split: TypeAlias = Callable[[bytes, Headers], Framed]
"""Takes a record's key or value apart, or raises DecodeError `framing_invalid`."""


class CompileReference(Protocol):
    """Makes the reader of the schema that a reference names."""

    def __call__(self, reference: bytes) -> Compiled:
        """Raises DecodeError, or UnavailableError while the schema is not at hand."""
        ...


def framed_decoder(split: Split, compiled: CompileReference, *, prefix_bytes: int = 0) -> Decode:
    """Give the function that decodes values of a framing. It is for one thread at a time.

    A reference that is `prefix_bytes` long is what a value without headers begins with, and the rest of the
    value is what was written.
    """
    readers: dict[bytes, Read] = {}
    sizes_bytes: dict[bytes, int] = {}

    def learn(reference: bytes) -> Read:
        try:
            read, size_bytes = compiled(reference)
        except DecodeError as error:
            if error.code == "schema_unknown":  # it may be known later
                raise
            read, size_bytes = _refuse(error), 0
        readers[reference], sizes_bytes[reference] = read, size_bytes
        while len(readers) > MAX_SCHEMAS or sum(sizes_bytes.values()) > MAX_SCHEMAS_BYTES:
            oldest = next(iter(readers))
            del readers[oldest], sizes_bytes[oldest]
        return read

    def decode(value: bytes, headers: Headers) -> Json:
        if not headers and (read := readers.get(value[:prefix_bytes])) is not None:
            return read(value, prefix_bytes)
        reference, body, start = split(value, headers)
        read = readers.get(reference) or learn(reference)
        return read(body, start)

    return decode


def _refuse(error: DecodeError) -> Read:
    """Refuse every record of a schema that cannot be used, without trying the schema again."""
    code, rule = error.code, str(error)

    def read(_value: bytes, _start: int) -> Json:
        raise DecodeError(code, rule)

    return read
