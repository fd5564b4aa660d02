"""A decoder for a setting, with a registry that has its schemas, and the refusal of a decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from connector.config.settings import Format
from connector.errors import DecodeError
from connector.formats.decoder import decoder
from connector.formats.registries import Registries
from connector.formats.schema_registry import Schemas
from connector.model import Json


def refusal(attempt: Callable[[], object]) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        attempt()
    return caught.value


class Registry:
    """Schemas by id, at once: what the real one is once it has asked."""

    def __init__(self, schemas: dict[int, Any]) -> None:
        self.schemas = schemas
        self.asked: list[int] = []

    def get(self, schema_id: int) -> Schemas:
        self.asked.append(schema_id)
        return [orjson.dumps(self.schemas[schema_id])]


def decode_with(registry: Registry | None = None, /, **keys: Any) -> Callable[[bytes], Json]:
    return decoder(Format(**keys), Registries(registry), path="topics.t.value")  # type: ignore[arg-type]
