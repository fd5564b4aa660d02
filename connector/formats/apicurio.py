"""Apicurio's framing: a global or content id, in headers or before the value.

https://www.apicur.io/registry/docs/apicurio-registry/3.0.x/getting-started/assembly-configuring-kafka-client-serdes.html
"""

from __future__ import annotations

from typing import Literal

from connector.errors import DecodeError
from connector.formats import diagnosis
from connector.formats.framing import Framed, Split
from connector.formats.schema_cache import SchemaId
from connector.model import Headers

_SHORT_BYTES, _LONG_BYTES = 5, 9
"""The prefix of an id of 4 bytes and of 8, with the first byte, which is 0."""
_MAX_ID = 2**63 - 1

Kind = Literal["global id", "content id"]


def apicurio_framing(side: Literal["key", "value"], *, is_avro: bool) -> Split:
    """Give the function that takes keys or values of this framing apart.

    Headers count first. In the value, an id of 8 bytes is a global id, as Apicurio 2 writes by default, and
    one of 4 bytes a content id, as Apicurio 3 does. They can be told apart, since no id is 0, and none
    is beyond 4 bytes in practice.
    """
    ids = {f"apicurio.{side}.globalId": b"g", f"apicurio.{side}.contentId": b"c"}
    content_hash, encoding = f"apicurio.{side}.contentHash", (f"apicurio.{side}.encoding", b"JSON")

    def of_headers(value: bytes, headers: Headers) -> Framed | None:
        for name, content in reversed(headers):
            if name in ids and content is not None:
                if len(content) != 8:
                    raise _invalid(f"the header {name} holds {len(content)} bytes, expected 8")
                return Framed(ids[name] + content, value, 0)
        if any(name == content_hash for name, _ in headers):
            raise _invalid(
                f"the header {content_hash} names the schema by a hash. Let the producer set "
                "`apicurio.registry.use-id` to globalId or contentId"
            )
        return None

    def split(value: bytes, headers: Headers) -> Framed:
        if headers:
            if is_avro and encoding in headers:
                raise _invalid("its header says that it is Avro written as JSON; set `format: json`")
            if framed := of_headers(value, headers):
                return framed
            if diagnosis.framing_of_headers(headers):
                raise _invalid(diagnosis.guess(value, headers))
        if value[:1] != b"\0" or len(value) < _SHORT_BYTES:
            raise _not_apicurio(value)
        if value[1:_SHORT_BYTES] != b"\0\0\0\0":
            return Framed(b"c" + value[1:_SHORT_BYTES], value, _SHORT_BYTES)
        if len(value) < _LONG_BYTES:
            raise _not_apicurio(value)
        return Framed(b"g" + value[1:_LONG_BYTES], value, _LONG_BYTES)

    return split


def apicurio_schema_id(reference: bytes) -> SchemaId:
    """The id in a reference of this framing.

    Raises:
        DecodeError: `schema_unknown`, no registry gives out such an id.
    """
    number = int.from_bytes(reference[1:], "big")
    if number > _MAX_ID:
        raise DecodeError("schema_unknown", f"schema id {number:,} is beyond what a registry gives out")
    return SchemaId("global id" if reference[:1] == b"g" else "content id", number)


def _not_apicurio(value: bytes) -> DecodeError:
    if value[:1] == b"\0":
        return _invalid(f"{len(value)} bytes are too few for a schema's id. Was it cut off?")
    found = f"first byte 0x{value[0]:02x}, expected 0x00" if value else "it is empty"
    return _invalid(f"{found}. {diagnosis.guess(value)}".rstrip())


def _invalid(found: str) -> DecodeError:
    return DecodeError("framing_invalid", f"not Apicurio framing: {found}")
