"""How records name their schema, written: the other side of the framings that the bridge reads."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

WrittenFraming: TypeAlias = Literal[
    "confluent",
    "confluent-header",
    "glue",
    "glue-zlib",
    "apicurio",
    "apicurio-header",
    "single-object",
    "none",
]
"""A framing, and where it has several forms, which."""


class RegisteredSchema(NamedTuple):
    """What a registry calls a schema."""

    document: Any
    number: int
    guid: str


def framed(
    framing: WrittenFraming, schema: RegisteredSchema, body: bytes
) -> tuple[bytes, Mapping[str, bytes]]:
    """Frame a value written in Avro; gives the value and the headers of its record."""
    number, guid = schema.number, UUID(schema.guid).bytes
    match framing:
        case "confluent":
            return b"\x00" + number.to_bytes(4, "big") + body, {}
        case "confluent-header":
            return body, {"__value_schema_id": b"\x01" + guid}
        case "glue":
            return b"\x03\x00" + guid + body, {}
        case "glue-zlib":
            return b"\x03\x05" + guid + zlib.compress(body), {}
        case "apicurio":
            return b"\x00" + number.to_bytes(8, "big") + body, {}
        case "apicurio-header":
            return body, {"apicurio.value.globalId": number.to_bytes(8, "big")}
        case "single-object":
            # Here, since the command line imports this file for the names alone.
            from connector.formats.single_object import fingerprint_of  # noqa: PLC0415

            return b"\xc3\x01" + fingerprint_of(schema.document) + body, {}
        case "none":
            return body, {}
