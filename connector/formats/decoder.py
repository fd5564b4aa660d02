"""Picks how a record's key or value becomes a JSON-able value: one function for each format and framing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import orjson

from connector import config
from connector.errors import ConfigError, DecodeError, Problem
from connector.formats.avro_schema import compile_reader, reader_schema
from connector.formats.avro_types import base64_text
from connector.formats.confluent import confluent_decoder
from connector.formats.json_text import decode_json, decode_string
from connector.formats.registries import Registries
from connector.model import Decode, Json

T = TypeVar("T")


def decoder(format: config.Format, registries: Registries, *, path: str) -> Decode:  # noqa: A002
    """Give the function that decodes what `format` describes. It is for one thread at a time.

    `path` is where the format stands in the configuration, as `topics.orders.value`. Avro with
    framing `confluent` needs the registry of that kind.

    Raises:
        ConfigError: a schema file cannot be read or is not a schema, or the registry is missing.
    """
    match format.format:
        case "json":
            return decode_json
        case "string":
            return decode_string
        case "bytes":
            return base64_text
        case "avro":
            return _avro(format, registries, path)


def _avro(format: config.Format, registries: Registries, path: str) -> Decode:  # noqa: A002
    problems: list[Problem] = []
    registry = registries.confluent

    def of_file(file: Path | None, key: str, use: Callable[[Json], T]) -> T | None:
        try:
            return None if file is None else use(orjson.loads(file.read_bytes()))
        except (OSError, ValueError, DecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            problems.append(Problem(f"{path}.{key}", f"{file} is not a usable Avro schema: {reason}"))
            return None

    reader = of_file(
        format.reader_schema,
        "reader_schema",
        lambda schema: reader_schema(schema, non_finite=format.non_finite),
    )
    compiled = partial(compile_reader, reader=reader, non_finite=format.non_finite)
    if format.schema_file is not None:
        name = f"schema {format.schema_file.name}"
        found = of_file(format.schema_file, "schema", lambda schema: compiled([schema], name=name))
        if found is not None and not problems:
            read = found.read
            return lambda value: read(value, 0)
    elif registry is None:
        problems.append(Problem(path, "Avro needs `schema_registry`, or framing `none` and a schema"))
    if problems or registry is None:
        raise ConfigError(problems)
    return confluent_decoder(registry, lambda schemas, name: compiled(schemas, name=name))
