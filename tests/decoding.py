"""A decoder for a setting, with a registry that has its schemas, and the refusal of a decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import orjson
import pytest

from connector import config
from connector.config.settings import Format
from connector.errors import DecodeError
from connector.formats.decoder import decoder
from connector.formats.registries import Registries
from connector.formats.schema_cache import SchemaCache, SchemaId, Schemas
from connector.model import Headers, Json


def refusal(attempt: Callable[[], object]) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        attempt()
    return caught.value


class Registry:
    """Schemas by what names them, at once: what the real one is once it has asked."""

    def __init__(self, schemas: dict[Any, Any], *, encrypted_by: str | None = None) -> None:
        self.schemas = schemas
        self.encrypted_by = encrypted_by
        self.asked: list[int | str] = []

    def get(self, schema_id: SchemaId) -> Schemas:
        self.asked.append(schema_id.value)
        return Schemas([orjson.dumps(self.schemas[schema_id.value])], self.encrypted_by)


class Decoding(Protocol):
    """A decoder for values with or without headers."""

    def __call__(self, value: bytes, headers: Headers = ()) -> Json: ...


def registries_of(registry: object) -> Registries:
    """Registries of which this one is the default."""
    return Registries({config.DEFAULT_REGISTRY: cast(SchemaCache, registry)})


def decode_with(
    registry: Registry | None = None, /, *, path: str = "topics.t.value", **keys: Any
) -> Decoding:
    decode = decoder(Format(**keys), registries_of(registry) if registry else Registries(), path=path)
    return lambda value, headers=(): decode(value, headers)
