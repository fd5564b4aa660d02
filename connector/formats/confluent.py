"""Confluent's framing: the schema's id or GUID, in a header or before the value.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from connector.errors import DecodeError
from connector.formats import diagnosis
from connector.formats.framing import Framed, Split
from connector.formats.schema_cache import SchemaId
from connector.model import Headers

_ID, _GUID = 0, 1
"""The first byte: what follows is an id of 4 bytes, or a GUID of 16."""
CONFLUENT_ID_BYTES, _GUID_BYTES = 5, 17
"""With the first byte."""
_MAX_ID = 2**31 - 1


def confluent_framing(side: Literal["key", "value"]) -> Split:
    """Give the function that takes keys or values of this framing apart.

    As in Confluent's deserializers, the last header of the name counts, then what stands before the value.
    A header holds the same bytes as would stand there.
    """
    header = diagnosis.CONFLUENT_HEADERS[side]

    def split(value: bytes, headers: Headers) -> Framed:
        if headers:
            for name, content in reversed(headers):
                if name == header and content is not None:
                    if not _is_reference(content):
                        raise _invalid(
                            f"the header {header} holds {len(content)} bytes that are no schema's id"
                        )
                    return Framed(content, value, 0)
            if diagnosis.framing_of_headers(headers) == "apicurio":
                raise _invalid(f"it is Apicurio's. {diagnosis.guess(value, headers)}")
        if value[:1] == b"\0" and len(value) >= CONFLUENT_ID_BYTES:
            return Framed(value[:CONFLUENT_ID_BYTES], value, CONFLUENT_ID_BYTES)
        if value[:1] == b"\1" and len(value) >= _GUID_BYTES:
            return Framed(value[:_GUID_BYTES], value, _GUID_BYTES)
        raise _not_confluent(value)

    return split


def confluent_schema_id(reference: bytes) -> SchemaId:
    """The id or GUID in a reference of this framing.

    Raises:
        DecodeError: `schema_unknown`, no registry gives out such an id.
    """
    if reference[0] == _GUID:
        return SchemaId("guid", str(UUID(bytes=reference[1:])))
    number = int.from_bytes(reference[1:], "big")
    if number > _MAX_ID:
        raise DecodeError("schema_unknown", f"schema id {number:,} is beyond what a registry gives out")
    return SchemaId("id", number)


def _is_reference(content: bytes) -> bool:
    return (len(content), content[:1]) in {(CONFLUENT_ID_BYTES, b"\0"), (_GUID_BYTES, b"\1")}


def _not_confluent(value: bytes) -> DecodeError:
    if not value:
        found = "it is empty"
    elif value[0] in {_ID, _GUID}:
        return _invalid(f"{len(value)} bytes are too few for a schema's id. Was it cut off?")
    else:
        found = f"first byte 0x{value[0]:02x}, expected 0x00"
    guess = diagnosis.guess(value) or "Is the producer using no schema registry? Then set `framing: none`."
    return _invalid(f"{found}. {guess}")


def _invalid(found: str) -> DecodeError:
    return DecodeError("framing_invalid", f"not Confluent framing: {found}")
