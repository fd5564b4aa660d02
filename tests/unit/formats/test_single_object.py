"""Avro's single-object encoding: schemas of files, found by their fingerprint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.errors import ConfigError
from connector.formats.single_object import fingerprint_of
from tests.decoding import decode_with, refusal


@pytest.mark.parametrize(
    ("schema", "fingerprint"),
    [("null", 0x63DD24E7CC258F8A), ("int", 0x7275D51A3F395C8F), ("string", 0x8F014872634503C7)],
)
def test_fingerprints_are_those_of_the_specification(schema: str, fingerprint: int) -> None:
    """https://github.com/apache/avro/blob/main/share/test/data/schema-tests.txt, in little-endian order."""
    assert fingerprint.to_bytes(8, "little") == fingerprint_of(schema)
    assert fingerprint_of(schema) == fingerprint_of({"type": schema, "doc": "what it is"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two schemas in a folder, beside a file that is none."""
    for name, schema in (("a", "string"), ("b", {"type": "int", "logicalType": "date"})):
        (tmp_path / f"{name}.avsc").write_text(json.dumps(schema))
    (tmp_path / "README").write_text("schemas")
    return tmp_path


def framed(schema: str, body: bytes) -> bytes:
    return b"\xc3\x01" + fingerprint_of(schema) + body


def test_the_fingerprint_picks_the_file(folder: Path) -> None:
    """A topic may hold records of every schema in the folder, or of the one file."""
    decode = decode_with(format="avro", framing="single-object", schema=folder)

    assert "hi" == decode(framed("string", b"\x04hi"))
    assert "1970-01-02" == decode(framed("int", b"\x02"))
    one = decode_with(format="avro", framing="single-object", schema=folder / "a.avsc")
    assert "hi" == one(framed("string", b"\x04hi"))


@pytest.mark.parametrize(
    ("value", "code", "found"),
    [
        (framed("long", b"\x02"), "schema_unknown", "no schema file has the fingerprint"),
        (b"\xc3\x01abc", "framing_invalid", "5 bytes, expected a prefix of 10"),
        (b"\xc3\x02" + b"g" * 9, "framing_invalid", "0xc302"),
        (b"", "framing_invalid", "tombstone"),
        (b"\0\0\0\0\x01\x04hi", "framing_invalid", "framing: confluent"),
        (b"Obj\x01" + b"g" * 9, "framing_invalid", "container file"),
    ],
)
def test_what_no_file_has_is_refused(folder: Path, value: bytes, code: str, found: str) -> None:
    """The message says what was found, and what to do."""
    error = refusal(lambda: decode_with(format="avro", framing="single-object", schema=folder)(value))

    assert code == error.code
    assert found in str(error)


def test_files_that_are_no_schemas_are_found_at_the_start(folder: Path, tmp_path: Path) -> None:
    """Every one of them, each with its name; a folder without a schema is a mistake as well."""
    (folder / "c.avsc").write_text("{")
    (folder / "d.avsc").write_text('{"type": "arry"}')
    with pytest.raises(ConfigError) as caught:
        decode_with(format="avro", framing="single-object", schema=folder)
    assert ["c.avsc", "d.avsc"] == [
        Path(problem.message.partition(" ")[0]).name for problem in caught.value.problems
    ]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=r"holds no \.avsc file"):
        decode_with(format="avro", framing="single-object", schema=empty)


# As Java writes it: see tests/java

OF_JAVA = json.loads((Path(__file__).parents[2] / "java" / "avro_of_java.json").read_text())["cases"]


@pytest.mark.parametrize("case", OF_JAVA, ids=[case["name"] for case in OF_JAVA])
def test_what_java_encodes_is_found(tmp_path: Path, case: dict[str, Any]) -> None:
    """Fingerprints are Apache Avro's, of every kind of schema that it takes."""
    (tmp_path / "a.avsc").write_text(json.dumps(case["schema"]))
    decode = decode_with(format="avro", framing="single-object", schema=tmp_path)
    bare = decode_with(format="avro", framing="none", schema=tmp_path / "a.avsc")

    assert bare(bytes.fromhex(case["bytes"])) == decode(bytes.fromhex(case["single_object"]))
