"""Which decoder a setting gets: framings, schema files, text and bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connector.config.settings import Format
from connector.errors import ConfigError
from connector.formats.decoder import decoder
from connector.formats.registries import Registries
from tests.decoding import decode_with, refusal


def test_framing_none_takes_the_schema_from_a_file(tmp_path: Path) -> None:
    """The whole value is Avro; a reader schema may come from a file as well."""
    (tmp_path / "w.avsc").write_text('{"type": "int"}')
    (tmp_path / "r.avsc").write_text('"double"')
    keys: dict[str, Any] = {"format": "avro", "framing": "none", "schema": tmp_path / "w.avsc"}

    assert 3 == decode_with(**keys)(b"\x06")
    value = decode_with(**keys, reader_schema=tmp_path / "r.avsc")(b"\x06")
    assert (3.0, float) == (value, type(value))


@pytest.mark.parametrize(
    ("schema", "reader_schema", "path", "why"),
    [
        (None, None, "topics.t.value.schema", "No such file"),
        ("{", None, "topics.t.value.schema", "not a usable Avro schema"),
        ('{"type": "arry"}', None, "topics.t.value.schema", "arry, which is not defined"),
        ('"int"', '"Missing"', "topics.t.value.reader_schema", "Missing"),
        ('"int"', '{"type": "record", "name": "R"}', "topics.t.value.reader_schema", "no name or list"),
    ],
)
def test_a_schema_file_that_is_none_is_a_problem_of_the_configuration(
    tmp_path: Path, schema: str | None, reader_schema: str | None, path: str, why: str
) -> None:
    """A file that is missing, broken, or does not fit is found at the start, with its place in the YAML."""
    keys: dict[str, Any] = {"format": "avro", "framing": "none", "schema": tmp_path / "w.avsc"}
    if schema is not None:
        (tmp_path / "w.avsc").write_text(schema)
    if reader_schema is not None:
        (tmp_path / "r.avsc").write_text(reader_schema)
        keys["reader_schema"] = tmp_path / "r.avsc"
    # Not validated: the configuration would already say that the file is missing.
    broken = Format.model_construct(
        schema_file=keys.pop("schema"), reader_schema=keys.pop("reader_schema", None), **keys
    )
    with pytest.raises(ConfigError) as caught:
        decoder(broken, Registries(), path="topics.t.value")

    (problem,) = caught.value.problems
    assert path == problem.path
    assert why in problem.message


def test_text_and_bytes_are_taken_as_they_are() -> None:
    """`string` is UTF-8, `bytes` is base64 text."""
    assert "Zürich" == decode_with(format="string")("Zürich".encode())
    assert "AP8=" == decode_with(format="bytes")(b"\x00\xff")
    error = refusal(lambda: decode_with(format="string")(b"secret\xff"))
    assert "text_invalid" == error.code
    assert "secret" not in str(error)
