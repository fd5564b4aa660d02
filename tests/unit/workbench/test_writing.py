"""What is written in a topic's format is read by its decoder as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.config.settings import Format
from connector.errors import DecodeError
from connector.formats.decoder import decoder
from connector.formats.registries import Registries
from connector.formats.schema_cache import NotFoundError, SchemaCache, SchemaId, with_schema
from connector.model import Json
from connector.workbench.encoding import UnfitError
from connector.workbench.writing import MemoryRegistry, writer

SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}],
}
LINES = {"type": "array", "items": "Order"}
AT: Json = {"at": "2026-11-22T10:00:00.000Z"}


def there_and_back(value: Json, schemas: list[Any], **keys: Any) -> Json:
    registry = MemoryRegistry()
    registry.register(["string"])  # so that numbers are not all 1
    form = Format(**keys)
    content, headers = writer(form, schemas, registry)(value)
    assert content is not None
    cache = SchemaCache(registry)
    decode = decoder(form, Registries({"default": cache, "other": cache}), path="topics.t.value")
    try:
        return with_schema(lambda: decode(content, tuple(headers.items())))
    finally:
        cache.close()


@pytest.mark.parametrize("framing", ["confluent", "glue", "apicurio", "single-object", "none"])
def test_avro_of_every_framing_is_read(framing: str, tmp_path: Path) -> None:
    """By what the registry in memory calls the schema, or by its file; also with another registry's name."""
    file = tmp_path / "order.avsc"
    file.write_text(json.dumps(SCHEMA))
    keys: dict[str, Any] = {"schema": file} if framing in {"single-object", "none"} else {"registry": "other"}

    assert AT == there_and_back(AT, [SCHEMA], framing=framing, **keys)


@pytest.mark.parametrize("framing", ["confluent", "glue", "apicurio"])
def test_a_schema_that_refers_to_others_is_read(framing: str) -> None:
    """The registry gives them as well."""
    assert [AT] == there_and_back([AT], [SCHEMA, LINES], framing=framing)


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ({"a": [1, None]}, {"format": "json"}),
        ({"a": [1, None]}, {"format": "json", "framing": "confluent"}),
        ("text ß", {"format": "string"}),
        ("AP8=", {"format": "bytes"}),
        ({"at": None}, {"out_of_range": "null"}),
    ],
)
def test_every_format_is_read(value: Json, keys: dict[str, Any]) -> None:
    """Without a schema, unless it is Avro, whose forms are the settings' choice."""
    assert value == there_and_back(value, [] if "format" in keys else [SCHEMA], **keys)


def test_nothing_is_a_tombstone() -> None:
    """In each format, whatever a schema says of null."""
    for form, schemas in ((Format(format="json"), []), (Format(), ["null"]), (Format(format="string"), [])):
        assert (None, {}) == writer(form, schemas, MemoryRegistry())(None)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (Format(format="string"), 5),
        (Format(format="string"), "\ud800"),
        (Format(format="bytes"), "no base64"),
        (Format(format="bytes"), 5),
        (Format(format="json"), 2**70),
    ],
)
def test_a_value_that_the_format_has_no_place_for_is_refused(form: Format, value: Json) -> None:
    """Without being shown."""
    with pytest.raises(UnfitError, match="must be") as caught:
        writer(form, [], MemoryRegistry())(value)

    assert str(value) not in str(caught.value)


def test_a_schema_has_one_number_and_another_schema_another() -> None:
    """And what is not there is not found."""
    registry = MemoryRegistry()
    first, second = registry.register([SCHEMA]), registry.register([SCHEMA, LINES])

    assert (first, second) == (registry.register([SCHEMA]), registry.register([SCHEMA, LINES]))
    assert first.number != second.number
    assert first.guid != second.guid
    with pytest.raises(NotFoundError, match="schema 3 is not in"):
        registry.fetch(SchemaId("id", 3))


def test_a_schema_that_is_none_is_refused_at_once() -> None:
    """Before a value is written."""
    with pytest.raises(DecodeError, match="recrod"):
        writer(Format(), [{"type": "recrod"}], MemoryRegistry())
