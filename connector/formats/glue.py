"""AWS Glue's framing: a version, a compression, and the UUID of a schema's version before the value.

https://github.com/awslabs/aws-glue-schema-registry/blob/master/common/src/main/java/com/amazonaws/services/schemaregistry/utils/AWSSchemaRegistryConstants.java
"""

from __future__ import annotations

import zlib
from uuid import UUID

from connector.errors import DecodeError
from connector.formats import diagnosis
from connector.formats.framing import Framed
from connector.formats.schema_cache import SchemaId
from connector.model import Headers

_VERSION = 3
_PREFIX_BYTES = 18

MAX_UNPACKED_BYTES = 8 * 1024 * 1024
"""What a compressed value may become; no event is larger than 1 MB, in which JSON is longer than Avro."""


def glue_framing(value: bytes, headers: Headers) -> Framed:
    """Take a key or value of this framing apart, and unpack it where it is compressed.

    Raises:
        DecodeError: `framing_invalid`.
    """
    if len(value) < _PREFIX_BYTES or value[0] != _VERSION:
        found = f"first byte 0x{value[0]:02x}, expected 0x03" if value else "it is empty"
        if value[:1] == b"\3":
            raise _invalid(f"{len(value)} bytes, expected a prefix of {_PREFIX_BYTES}. Was it cut off?")
        raise _invalid(f"{found}. {diagnosis.guess(value, headers)}".rstrip())
    match value[1]:
        case 0:
            return Framed(value[2:_PREFIX_BYTES], value, _PREFIX_BYTES)
        case 5:
            return Framed(value[2:_PREFIX_BYTES], _unpacked(value), 0)
    raise _invalid(f"compression 0x{value[1]:02x}, expected 0x00 for none or 0x05 for zlib")


def glue_schema_id(reference: bytes) -> SchemaId:
    """The UUID in a reference of this framing."""
    return SchemaId("version id", str(UUID(bytes=reference)))


def _unpacked(value: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(memoryview(value)[_PREFIX_BYTES:], MAX_UNPACKED_BYTES)
    except zlib.error:
        raise _invalid("what follows the prefix is not zlib. Was it cut off?") from None
    if unpacking.unconsumed_tail:
        raise _invalid(f"it becomes more than {MAX_UNPACKED_BYTES:,} bytes, uncompressed")
    if not unpacking.eof:
        raise _invalid("the compressed value ends too early. Was it cut off?")
    return unpacked


def _invalid(found: str) -> DecodeError:
    return DecodeError("framing_invalid", f"not AWS Glue framing: {found}")
