"""Keys and values written as producers write them: the other side of `formats.decoder`."""

from __future__ import annotations

import uuid
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import orjson

from connector import config
from connector.formats.avro_types import Forms
from connector.formats.schema_cache import NotFoundError, SchemaId, Schemas, SchemaVersion, Side
from connector.model import Json
from connector.workbench.encoding import UnfitError, encoder
from connector.workbench.framings import RegisteredSchema, framed


class WrittenContent(NamedTuple):
    """A key or value as it stands in a record."""

    content: bytes | None
    """None is a tombstone, or no key."""
    headers: Mapping[str, bytes]
    """That the framing adds to the record's."""


Write: TypeAlias = Callable[[Json], WrittenContent]
"""Writes what the decoder would give; raises `encoding.UnfitError`."""


class MemoryRegistry:
    """A schema registry in memory, to read what was written without one.

    `formats.registries.Registries({name: SchemaCache(it)})` gives it to a pipeline.
    """

    shown = "the schemas in memory"

    def __init__(self) -> None:
        self._known: list[tuple[RegisteredSchema, Schemas]] = []

    def register(self, schemas: Sequence[Any]) -> RegisteredSchema:
        """Add a schema, the last one, and what it refers to. The same again has the same number."""
        texts = [orjson.dumps(schema) for schema in schemas]
        for registered, known in self._known:
            if known.texts == texts:
                return registered
        number = len(self._known) + 1
        registered = RegisteredSchema(schemas[-1], number, str(uuid.UUID(int=number)))
        self._known.append((registered, Schemas(texts)))
        return registered

    def fetch(self, schema_id: SchemaId) -> Schemas:
        """Give a schema by any of its ids, see `Registry.fetch`."""
        for (_, number, guid), schemas in self._known:
            if schema_id.value in {number, guid}:
                return schemas
        raise NotFoundError(f"{schema_id} is not in {self.shown}")

    def versions(self, topic: str, side: Side, *, count: int) -> Sequence[SchemaVersion]:  # noqa: ARG002
        """It knows of no topics, see `Registry.versions`."""
        raise NotFoundError(f"the schemas of {topic}'s {side}s are not among {self.shown}")

    def check(self) -> None:
        """Answers always, see `Registry.check`."""


def writer(
    format: config.Format,  # noqa: A002
    schemas: Sequence[Any],
    registry: MemoryRegistry,
) -> Write:
    """Give the function that writes keys or values in a format, as a decoder with this registry reads them.

    The last of `schemas` is the value's, the others are what it refers to; without Avro there are none. A
    framing names the schema by what the registry calls it.

    Raises:
        DecodeError: `schema_invalid`.
    """
    encode = _encoder(format, schemas)
    registered = registry.register(schemas or [{}])

    def write(value: Json) -> WrittenContent:
        if value is None:
            return WrittenContent(None, {})
        return WrittenContent(*framed(format.framed, registered, encode(value)))

    return write


def _encoder(form: config.Format, schemas: Sequence[Any]) -> Callable[[Json], bytes]:
    match form.format:
        case "avro":
            return encoder(schemas, Forms.of(form))
        case "json":
            return _json
        case "string":
            return _text
        case "bytes":
            return _bytes


def _json(value: Json) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise UnfitError([((), "must be JSON, with whole numbers from -2^63 to 2^64 - 1")]) from None


def _text(value: Json) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
    except UnicodeEncodeError:  # a half of a surrogate pair
        pass
    raise UnfitError([((), "must be text, since the format is string")])


def _bytes(value: Json) -> bytes:
    try:
        return b64decode(value if isinstance(value, str) else "-", validate=True)
    except ValueError:
        raise UnfitError([((), "must be base64, since the format is bytes")]) from None
