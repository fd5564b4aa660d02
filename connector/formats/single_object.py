"""Avro's single-object encoding: two bytes, the fingerprint of the schema, and the value.

https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastavro.schema import fingerprint

from connector.errors import DecodeError
from connector.formats import diagnosis
from connector.formats.avro_schema import canonical_form
from connector.formats.framing import Framed
from connector.model import Headers

_MARKER = b"\xc3\x01"
_PREFIX_BYTES = 10


def single_object_framing(value: bytes, headers: Headers) -> Framed:
    """Take a key or value of this framing apart.

    Raises:
        DecodeError: `framing_invalid`.
    """
    if value[:2] != _MARKER:
        found = f"it begins with 0x{value[:2].hex()}, expected 0xc301" if value else "it is empty"
        raise _invalid(f"{found}. {diagnosis.guess(value, headers)}".rstrip())
    if len(value) < _PREFIX_BYTES:
        raise _invalid(f"{len(value)} bytes, expected a prefix of {_PREFIX_BYTES}. Was it cut off?")
    return Framed(value[2:_PREFIX_BYTES], value, _PREFIX_BYTES)


def fingerprint_of(schema: Any) -> bytes:
    """The CRC-64-AVRO fingerprint of a schema's parsing canonical form, as it stands in a value.

    https://avro.apache.org/docs/1.12.0/specification/#schema-fingerprints
    """
    return bytes.fromhex(fingerprint(canonical_form(schema), "CRC-64-AVRO"))


def unknown(reference: bytes, known: Iterable[bytes]) -> DecodeError:
    """The error for a fingerprint that none of the schema files has."""
    return DecodeError(
        "schema_unknown",
        f"no schema file has the fingerprint {reference.hex()}; add the file to `schema`, and restart. "
        f"Known: {', '.join(each.hex() for each in known)}",
    )


def _invalid(found: str) -> DecodeError:
    return DecodeError("framing_invalid", f"not Avro single-object encoding: {found}")
