"""Whatever the bytes, a record ends as an event or as a dead letter."""

from __future__ import annotations

import json
import secrets
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import CODES, RecordError
from connector.formats.avro_schema import compile_reader
from connector.model import Partition, Record
from connector.pipeline import Pipeline
from tests.chaos import fuzz

INPUTS = 12_000
COMPARED = 3_000
HEADERS = st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=20)), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def convert(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return fuzz.pipeline(tmp_path_factory.mktemp("fuzz"))


def test_damaged_records_are_settled(tmp_path: Path) -> None:
    """Good records with bytes flipped, cut, repeated and overwritten, up to a megabyte, and damaged schemas:
    no crash, no hang, bounded memory."""
    seed = secrets.randbits(31)
    print(f"seed {seed}; play it again with: make fuzz SEED={seed}")
    result = fuzz.run(INPUTS, seed, tmp_path)
    print(result)

    assert INPUTS == result.verdicts.total()
    assert result.verdicts["delivered"] > INPUTS / 20
    assert result.verdicts["schema_invalid"] > INPUTS / 100
    assert result.rss_mb < 200


def test_the_code_written_for_schemas_makes_the_same_of_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, and every refusal in the same words, as where fastavro alone reads."""
    seed = secrets.randbits(31)
    print(f"seed {seed}")
    results = []
    for written_after in (0, 1):
        reads = partial(compile_reader, written_after=written_after)
        monkeypatch.setattr("connector.formats.decoder.compile_reader", reads)
        convert = fuzz.pipeline(tmp_path)
        results.append([_outcome(convert, record) for record, _ in fuzz.inputs(seed, 0, COMPARED)])

    for number, (plain, written) in enumerate(zip(*results, strict=True)):
        assert plain == written, f"input {number} of seed {seed}"
    assert sum(text.startswith("Entry") for text in results[0]) > COMPARED / 20


def _outcome(convert: Pipeline, record: Record) -> str:
    try:
        return repr(convert(record))
    except RecordError as error:
        return f"{error.code}: {error}"


@given(
    topic=st.sampled_from(["avro", "read", "strict", "file", "json", "text", "raw"]),
    value=st.binary(),
    key=st.none() | st.binary(),
    headers=HEADERS,
)
def test_any_bytes_are_settled(
    convert: Pipeline, topic: str, value: bytes, key: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    """Also those that nobody would think of."""
    record = Record(Partition(topic, 0), 0, 1_790_000_000_000, key, value, tuple(headers))

    assert fuzz.settle(convert, record) in CODES | {"delivered", "filter"}


@given(
    fields=st.fixed_dictionaries(
        dict.fromkeys(("tenant", "kind", "time", "resource", "items", "draft"), JSON)
    )
)
def test_any_json_is_settled(convert: Pipeline, fields: dict[str, object]) -> None:
    """Every field that a template looks at may hold anything."""
    value = json.dumps(fields).encode()
    record = Record(Partition("json", 0), 0, 1_790_000_000_000, b'"k"', value, ())

    assert fuzz.settle(convert, record) in CODES | {"delivered", "filter"}
