"""Picks how a record's key or value becomes a JSON-able value: one function for each format and framing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson

from connector import config
from connector.errors import ConfigError, DecodeError, Problem
from connector.formats import single_object
from connector.formats.apicurio import apicurio_framing, apicurio_schema_id
from connector.formats.avro_code import Read
from connector.formats.avro_schema import Compiled, compile_reader, reader_schema, without_comments
from connector.formats.avro_types import Forms, base64_text
from connector.formats.confluent import CONFLUENT_ID_BYTES, confluent_framing, confluent_schema_id
from connector.formats.framing import Split, framed_decoder
from connector.formats.glue import glue_framing, glue_schema_id
from connector.formats.json_text import decode_json, decode_string
from connector.formats.registries import Registries
from connector.formats.schema_cache import SchemaCache, SchemaId, Side
from connector.formats.unframed import unframed_decoder
from connector.model import Decode, Headers, Json

T = TypeVar("T")


def decoder(format: config.Format, registries: Registries, *, path: str) -> Decode:  # noqa: A002
    """Give the function that decodes what `format` describes. It is for one thread at a time.

    `path` is where the format stands in the configuration, as `topics.orders.value`: it ends in `key` or
    `value`. Avro with a framing that names schemas of a registry needs that registry.

    Raises:
        ConfigError: a schema file cannot be read or is not a schema, or the registry is missing.
    """
    side: Side = "key" if path.endswith("key") else "value"
    match format.format:
        case "json":
            return _json(format, side)
        case "string":
            return lambda value, _: decode_string(value)
        case "bytes":
            return lambda value, _: base64_text(value)
        case "avro":
            return _Avro(format, registries, path, side).decoder()


def _json(format: config.Format, side: Side) -> Decode:  # noqa: A002
    """JSON, behind the framing of a serializer of JSON Schema, which is not asked for."""
    if format.framed == "none":
        return decode_json
    split = _split(format, side)

    def decode(value: bytes, headers: Headers) -> Json:
        _, body, start = split(value, headers)
        return decode_json(body[start:])

    return decode


def _split(format: config.Format, side: Side) -> Split:  # noqa: A002
    match format.framed:
        case "glue":
            return glue_framing
        case "apicurio":
            return apicurio_framing(side, is_avro=format.format == "avro")
        case "single-object":
            return single_object.single_object_framing
    return confluent_framing(side)


class _Avro:
    """The decoder of one Avro format, and what is wrong with its settings."""

    def __init__(self, form: config.Format, registries: Registries, path: str, side: Side) -> None:
        self._format = form
        self._registries = registries
        self._path = path
        self._side = side
        self._problems: list[Problem] = []

    def decoder(self) -> Decode:
        form = self._format
        forms = Forms.of(form)
        reader = self._of_file(form.reader_schema, "reader_schema", partial(reader_schema, forms=forms))
        self._compiled = partial(compile_reader, reader=reader, forms=forms)
        match form.framed:
            case "none":
                made = self._unframed()
            case "single-object":
                made = self._single_object()
            case _:
                made = self._registered()
        if self._problems or made is None:
            raise ConfigError(self._problems)
        return made

    def _unframed(self) -> Decode | None:
        found = self._of_schema_file(self._format.schema_file)
        return None if found is None else unframed_decoder(found[1].read)

    def _of_schema_file(self, file: Path | None) -> tuple[Json, Compiled] | None:
        def compiled(schema: Json) -> tuple[Json, Compiled]:
            return schema, self._compiled([schema], name=f"schema {file.name if file else ''}")

        return self._of_file(file, "schema", compiled)

    def _single_object(self) -> Decode:
        file = self._format.schema_file
        files = sorted(file.glob("*.avsc")) if file is not None and file.is_dir() else [file]
        if not files:
            self._problems.append(Problem(f"{self._path}.schema", f"{file} holds no .avsc file"))
        found = filter(None, map(self._of_schema_file, files))
        compiled = {single_object.fingerprint_of(schema): reader for schema, reader in found}

        def of(reference: bytes) -> Compiled:
            if reference not in compiled:
                raise single_object.unknown(reference, compiled)
            return compiled[reference]

        return framed_decoder(single_object.single_object_framing, of)

    def _registered(self) -> Decode | None:
        form = self._format
        registry = self._registries.caches.get(form.registry or config.DEFAULT_REGISTRY)
        if registry is None:
            named = f"`schema_registries.{form.registry}`" if form.registry else "`schema_registry`"
            text = f"Avro with framing `{form.framed}` needs {named}, or framing `none` and a schema"
            self._problems.append(Problem(self._path, text))
            return None
        schema_id_of = _SCHEMA_IDS[form.framed]

        def of(reference: bytes) -> Compiled:
            return self._of_registry(registry, schema_id_of(reference))

        prefix_bytes = CONFLUENT_ID_BYTES if form.framed == "confluent" else 0
        return framed_decoder(_split(form, self._side), of, prefix_bytes=prefix_bytes)

    def _of_registry(self, registry: SchemaCache, schema_id: SchemaId) -> Compiled:
        schemas = registry.get(schema_id)
        if schemas.encrypted_by is not None and self._format.encrypted == "refuse":
            raise DecodeError(
                "schema_encrypted",
                f"{schema_id} has its producers encrypt fields (rule {schemas.encrypted_by}), so customers "
                "would get ciphertext. Let the producer write what they may read in the clear, to a topic of "
                f"its own, or set `{self._path}.encrypted: send`",
            )
        texts = [orjson.loads(text) for text in schemas.texts]
        read, size_bytes = self._compiled(texts, name=str(schema_id))
        if self._format.framed == "confluent" and self._format.reader_schema is None and _is_bytes(texts[-1]):
            read = _with_bare_bytes(read)
        return Compiled(read, size_bytes + schemas.size_bytes)

    def _of_file(self, file: Path | None, key: str, use: Callable[[Json], T]) -> T | None:
        try:
            return None if file is None else use(orjson.loads(without_comments(file.read_text())))
        except (OSError, ValueError, DecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._problems.append(
                Problem(f"{self._path}.{key}", f"{file} is not a usable Avro schema: {reason}")
            )
            return None


_SCHEMA_IDS: dict[str, Callable[[bytes], SchemaId]] = {
    "confluent": confluent_schema_id,
    "glue": glue_schema_id,
    "apicurio": apicurio_schema_id,
}


def _is_bytes(schema: Any) -> bool:
    return schema == "bytes" or (
        isinstance(schema, dict) and schema.get("type") == "bytes" and "logicalType" not in schema
    )


def _with_bare_bytes(read: Read) -> Read:
    """Take all that follows the id for the value, unless it begins with its length as Avro's bytes do.

    Confluent's serializer for Java writes an array of bytes as it is:
    https://github.com/confluentinc/schema-registry/blob/master/avro-serializer/src/main/java/io/confluent/kafka/serializers/AbstractKafkaAvroSerializer.java
    """

    def read_bare(buffer: bytes, start: int) -> Json:
        try:
            return read(buffer, start)
        except DecodeError:
            return base64_text(buffer[start:])

    return read_bare
