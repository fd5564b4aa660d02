"""make fuzz INPUTS=… SEED=…: damages good records and their schemas, and looks what becomes of each.

Every input must end as an event or as a dead letter, within a second, in bounded memory, and without ending
the process. Runs the pipeline of the bridge itself, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import secrets
import struct
import subprocess
import sys
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson

from connector import config
from connector.errors import CODES, DecodeError, RecordError
from connector.formats.avro_schema import reader_schema
from connector.formats.avro_types import Forms
from connector.formats.registries import Registries
from connector.formats.schema_cache import SchemaCache, SchemaId, Schemas
from connector.formats.single_object import fingerprint_of
from connector.model import Entry, Headers, Json, Partition, Record
from connector.pipeline import Dropped, Pipeline
from tests.avro_bombs import NODE, WIDE, encoded, fixed, logical, record_of
from tests.memory import peak_rss_kb

MEMORY_BYTES = 2_000_000_000
MAX_SECONDS = 1.0
MAX_MESSAGE_CHARACTERS = 500
LARGE_BYTES = 1_000_000
LARGE_SHARE = 1 / 500
DAMAGED_SHARE = 1 / 10
ROUND = 20_000
"""Inputs of one child process; a crash costs only these, and says which."""

TREE: Json = {
    "type": "record",
    "name": "T",
    "fields": [{"name": "v", "type": "long"}, {"name": "l", "type": {"type": "array", "items": "T"}}],
}
RICH = record_of(
    {"name": "tenant", "type": "string"},
    {"name": "note", "type": ["null", "string", "long"]},
    {"name": "tags", "type": {"type": "map", "values": {"type": "array", "items": "string"}}},
    {"name": "amount", "type": logical("bytes", "decimal", precision=10, scale=2)},
    {"name": "at", "type": logical("long", "timestamp-micros")},
    {"name": "day", "type": logical("int", "date")},
    {"name": "id", "type": logical("string", "uuid")},
    {"name": "lasts", "type": fixed(12, "duration")},
    {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["A", "B"]}},
    {"name": "ratio", "type": "double"},
)
RICH_VALUE = {
    "tenant": "acme",
    "note": "a note",
    "tags": {"colours": ["red", "green"], "sizes": []},
    "amount": b"\x04\xd2",
    "at": 1_790_000_000_000_000,
    "day": 20_000,
    "id": "0b8c9e7a-6b51-4c7c-9c0e-2f6f1d3f8a55",
    "lasts": b"\x01\0\0\0\x02\0\0\0\x03\0\0\0",
    "kind": "B",
    "ratio": 0.5,
}
SCHEMAS: Sequence[Any] = (RICH, NODE, TREE, WIDE, {"type": "array", "items": "null"})
"""By id, from 1."""
DAMAGED = 1_000_000
"""From this id on each is a schema that was damaged, by the chance of its id."""
READER = record_of(
    {"name": "who", "type": "bytes", "aliases": ["tenant"]},
    {"name": "note", "type": ["string", "double", "null"]},
    {"name": "tags", "type": {"type": "map", "values": {"type": "array", "items": "bytes"}}},
    {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["B"], "default": "B"}},
    {"name": "added", "type": [logical("int", "date"), "null"], "default": 1},
)

SETTINGS = """
kafka: {bootstrap.servers: "localhost:1", group.id: fuzz}
schema_registry: {url: "http://localhost:1"}
schema_registries:
  glue: {type: glue}
  apicurio: {type: apicurio, url: "http://localhost:1/apis/registry/v3"}
eventbridge: {region: eu-central-1}
dead_letter: {topic: letters}
topics:
  avro: &avro
    event: {source: "aws.partner/example.com/${value.tenant || headers.tenant || 'none'}", detail_type: Made}
  read:
    <<: *avro
    value: {format: avro, reader_schema: reader.avsc, non_finite: string}
  strict:
    <<: *avro
    value: {format: avro, non_finite: error}
  file:
    <<: *avro
    value: {format: avro, framing: none, schema: writer.avsc}
  glue:
    <<: *avro
    value: {format: avro, framing: glue, registry: glue, out_of_range: string}
  apicurio:
    <<: *avro
    value: {format: avro, framing: apicurio, registry: apicurio, out_of_range: "null", connect_types: raw}
  single:
    <<: *avro
    value: {format: avro, framing: single-object, schema: writer.avsc}
  framed_json:
    <<: *avro
    value: {format: json, framing: confluent}
  raw:
    value: {format: bytes}
    key: {format: bytes}
    event:
      source: "aws.partner/example.com/acme"
      detail_type: Raw
      detail: {raw: "${value}", of: "${key}"}
  json:
    value: {format: json}
    key: {format: json}
    filter: "value.draft != `true`"
    event:
      source: "aws.partner/example.com/${value.tenant}"
      detail_type: "${value.kind} ${key}"
      time: "${value.time}"
      resources: ["${value.resource}"]
      detail: {all: "${value}", trace: "${headers.trace}", first: "${value.items[0].name}"}
  text:
    value: {format: string}
    event: {source: "aws.partner/example.com/acme", detail_type: "Line", detail: {line: "${value}"}}
"""
JSON_VALUE = {
    "tenant": "acme",
    "kind": "Changed",
    "time": "2026-11-22T10:00:00Z",
    "resource": "card/1",
    "items": [{"name": "a", "n": 1.5e300}, {"name": "\u00e9", "n": -1}],
    "draft": False,
}
TELLING = (
    b"\x00",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff" * 9 + b"\x01",
    b"\xed\xa0\x80",
    b"[",
    b'{"',
    b'"',
    b"\\ud800",
)


JUNK: Sequence[Any] = (
    *(None, True, -1, 0, 5, 2**31, 2**64 - 1, 1e308, "", "x", "a.b", ".a", "\x00", "n" * 100_000),
    *("int", "null", "bytes", "record", "array", "R", "T", "N", [], {}, ["int"], ["null", "null"], [[]]),
    *(["R"], [None], ["A", 1], ["int"] * 60_000, {"type": "int"}, {"type": None}, {"type": {}}),
    {"type": "array", "items": "null"},
    {"type": "map", "values": "R"},
    {"type": "fixed", "name": "Z", "size": 2**62},
    {"type": "enum", "name": "L", "symbols": ["s" * 100_000]},
    {"type": "bytes", "logicalType": "decimal", "precision": 4300, "scale": 4300},
)
"""What stands in a damaged schema."""


class Registered:
    """A registry that has all it will ever have."""

    def get(self, schema_id: SchemaId) -> Schemas:
        number = schema_id.value
        if schema_id.kind in {"guid", "version id"}:
            number = uuid.UUID(str(number)).int
        if isinstance(number, int) and 0 < number <= len(SCHEMAS):
            return Schemas([orjson.dumps(SCHEMAS[number - 1])])
        if isinstance(number, int) and DAMAGED <= number < 2 * DAMAGED:
            return Schemas([orjson.dumps(damaged_schema(number))])
        raise DecodeError("schema_unknown", "no such schema")


class Good(NamedTuple):
    """A record to be damaged, and how many of its first bytes rather stay."""

    topic: str
    value: bytes
    key: bytes | None
    spared: int
    headers: Headers = ()


def good_records() -> list[Good]:
    rich = encoded(RICH, RICH_VALUE)
    values = [
        (1, rich),
        (2, encoded(NODE, {"next": {"next": {"next": None}}})),
        (3, encoded(TREE, {"v": 1, "l": [{"v": 2, "l": []}, {"v": 3, "l": [{"v": 4, "l": []}]}]})),
        (4, b"\x01"),
        (5, b"\x06\x00"),
    ]
    avro = [Good("avro", framed(number, value), None, 5) for number, value in values]
    text = "Gr\u00fc\u00dfe an alle \U0001f600".encode()
    return [
        *avro,
        *(Good(topic, framed(1, rich), None, 5) for topic in CONFLUENT),
        *(Good("avro", value, None, 0, header_id(number)) for number, value in values),
        *(Good("avro", value, None, 0, header_guid(number)) for number, value in values),
        *(Good("glue", glue(number, value), None, 18) for number, value in values),
        *(Good("glue", glue(number, value, is_packed=True), None, 18) for number, value in values),
        *(Good("apicurio", struct.pack(">bq", 0, number) + value, None, 9) for number, value in values),
        *(Good("apicurio", struct.pack(">bi", 0, number) + value, None, 5) for number, value in values),
        *(Good("apicurio", value, None, 0, apicurio_id(number)) for number, value in values),
        Good("single", b"\xc3\x01" + fingerprint_of(RICH) + rich, None, 10),
        Good("framed_json", framed(1, orjson.dumps(JSON_VALUE)), None, 5),
        Good("file", rich, None, 0),
        Good("json", orjson.dumps(JSON_VALUE), b'"k"', 0),
        Good("text", text, b"k", 0),
        Good("raw", text, b"k", 0),
    ]


def large_records(size_bytes: int) -> list[Good]:
    """Good records that are large, each in the way that makes most of its bytes."""
    nodes = size_bytes // 8
    tags = {f"t{number}": ["x"] for number in range(size_bytes // 10)}
    avro = [
        (1, encoded(RICH, RICH_VALUE | {"tags": tags})),
        (1, encoded(RICH, RICH_VALUE | {"note": "n" * size_bytes})),
        (1, encoded(RICH, RICH_VALUE | {"amount": b"\x01" * size_bytes})),
        (3, b"\x02" + encoded("long", nodes) + b"\x02\x00" * nodes + b"\x00"),
        (5, encoded("long", size_bytes // 100) + b"\x00"),
    ]
    made = [Good(topic, framed(number, value), None, 5) for number, value in avro for topic in CONFLUENT]
    for item in (b"0", b"[0.5]", b'{"":0}', b'"\xc3\xa9"', b"1234567890123456789"):
        items = b",".join([item] * (size_bytes // (len(item) + 1)))
        made.append(Good("json", orjson.dumps(JSON_VALUE)[:-1] + b',"more":[' + items + b"]}", b'"k"', 0))
    return [*made, Good("text", b"t" * size_bytes, b"k", 0), Good("raw", b"\xff" * size_bytes, b"k", 0)]


def header_id(schema_id: int) -> Headers:
    return (("__value_schema_id", struct.pack(">bI", 0, schema_id)),)


def header_guid(schema_id: int) -> Headers:
    return (("__value_schema_id", b"\x01" + schema_id.to_bytes(16, "big")),)


def apicurio_id(schema_id: int) -> Headers:
    return (("apicurio.value.globalId", struct.pack(">q", schema_id)),)


def glue(schema_id: int, value: bytes, *, is_packed: bool = False) -> bytes:
    prefix = bytes([3, 5 if is_packed else 0]) + schema_id.to_bytes(16, "big")
    return prefix + (zlib.compress(value) if is_packed else value)


CONFLUENT = ("avro", "read", "strict")
"""Topics whose records name their schema."""


def framed(schema_id: int, value: bytes) -> bytes:
    return struct.pack(">bI", 0, schema_id) + value


def damaged_schema(schema_id: int) -> Json:
    """A good schema with one to three of its parts left out, or replaced by junk or another part."""
    chance = random.Random(schema_id)
    base: Any = chance.choice((RICH, TREE, NODE, READER))
    schema = _copied({**base, "namespace": "n", "aliases": ["old"]})
    for _ in range(chance.randint(1, 3)):
        places = list(_places(schema))
        holder, key = chance.choice(places)
        match chance.randrange(4):
            case 0:
                del holder[key]
            case 1:
                other, other_key = chance.choice(places)
                holder[key] = _copied(other[other_key])
            case _:
                holder[key] = _copied(chance.choice(JUNK))
    damaged: Json = schema
    return damaged


def _copied(schema: Any) -> Any:
    return orjson.loads(orjson.dumps(schema))


def _places(schema: Any) -> Iterator[tuple[Any, Any]]:
    """Where a part of a schema stands, each as an object or list and the key in it."""
    keys = schema if isinstance(schema, dict) else range(len(schema)) if isinstance(schema, list) else ()
    for key in list(keys)[:100]:
        yield schema, key
        yield from _places(schema[key])


def damage(chance: random.Random, value: bytes, spared: int) -> bytes:
    """Flips, cuts, repeats, inserts, and overwrites with bytes that tell, a few times over."""
    changed = bytearray(value)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        size = len(changed)
        start = spared if size > spared and chance.random() < 0.98 else 0
        at = chance.randrange(start, size) if size > start else start
        match chance.randrange(6):
            case 0 if size > at:
                changed[at] ^= 1 << chance.randrange(8)
            case 1 if size > at:
                changed[at] = chance.randrange(256)
            case 2:
                del changed[at:]
            case 3:
                changed[at:at] = chance.choice(TELLING)
            case 4:
                changed[at : at + 4] = chance.choice(TELLING)
            case _:
                part = changed[at : at + chance.randrange(1, 64)]
                changed[at:at] = part * chance.choice((1, 2, 100))
    return bytes(changed)


def pipeline(folder: Path) -> Pipeline:
    (folder / "reader.avsc").write_bytes(orjson.dumps(READER))
    (folder / "writer.avsc").write_bytes(orjson.dumps(RICH))
    file = folder / "fuzz.yaml"
    file.write_text(SETTINGS)
    registered = cast(SchemaCache, Registered())
    names = (config.DEFAULT_REGISTRY, "glue", "apicurio")
    return Pipeline(config.load(file, {}), Registries(dict.fromkeys(names, registered)))


def settle(convert: Callable[[Record], Entry | Dropped], record: Record) -> str:
    """What becomes of a record, as a word. Anything that is no verdict is raised."""
    try:
        made = convert(record)
    except RecordError as error:
        return _code(error)
    if isinstance(made, Dropped):
        return made.reason
    orjson.loads(orjson.loads(made.json)["Detail"])
    return "delivered"


def wanted(schema: Json) -> None:
    """Takes a schema for the reader's, or says what is wrong with it. Anything else is raised."""
    code = "schema_invalid"
    try:
        reader_schema(schema, forms=Forms())
    except DecodeError as error:
        code = _code(error)
    assert "schema_invalid" == code


def _code(error: RecordError) -> str:
    assert len(str(error)) < MAX_MESSAGE_CHARACTERS
    return error.code


def play(seed: int, start: int, count: int, folder: Path, *, only: str = "") -> dict[str, Any]:
    """Inputs `start` to `start + count` of a seed, here; answers what became of them.

    `only` names a topic of `SETTINGS` whose records alone are taken; empty for all.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    convert = pipeline(folder)
    verdicts: Counter[str] = Counter()
    slowest_s = 0.0
    for record, schema in inputs(seed, start, count, only=only):
        shown = f"input {record.offset} of seed {seed}, in {record.partition.topic}: "
        shown += repr((record.value or b"")[:1000])
        began_s = time.process_time()
        try:
            verdict = settle(convert, record)
            if schema is not None:
                wanted(schema)
        except Exception as error:
            raise AssertionError(shown) from error
        assert verdict in CODES | {"delivered", "filter", "tombstone"}
        verdicts[verdict] += 1
        took_s = time.process_time() - began_s
        slowest_s = max(slowest_s, took_s)
        assert took_s < MAX_SECONDS, f"{took_s:.1f} s for {shown}"
    peak_kb = peak_rss_kb(Path("/proc/self/status").read_text())
    assert peak_kb is not None
    return {"verdicts": verdicts, "slowest_s": slowest_s, "rss_mb": peak_kb / 1000}


def inputs(seed: int, start: int, count: int, *, only: str = "") -> Iterator[tuple[Record, Json]]:
    """The records of these inputs, each with the damaged schema that it was written with, or None."""
    records, large = (
        [good for good in every if only in {"", good.topic}]
        for every in (good_records(), large_records(LARGE_BYTES))
    )
    for number in range(start, start + count):
        chance = random.Random(seed * 1_000_003 + number)
        is_large = bool(large) and chance.random() < LARGE_SHARE
        good = chance.choice(large if is_large else records)
        value = good.value if is_large and chance.random() < 0.5 else damage(chance, good.value, good.spared)
        schema = None
        if good.topic in CONFLUENT and chance.random() < DAMAGED_SHARE:
            schema_id = DAMAGED + chance.randrange(DAMAGED)
            value, schema = framed(schema_id, value[5:]), damaged_schema(schema_id)
        key = damage(chance, good.key, 0) if good.key and chance.random() < 0.3 else good.key
        headers = tuple(
            (name, damage(chance, content or b"", 0) if chance.random() < DAMAGED_SHARE else content)
            for name, content in good.headers
        )
        if chance.random() < 0.3:
            headers += (("trace", damage(chance, b"00-abc-01", 0)),)
        yield Record(Partition(good.topic, 0), number, 1_790_000_000_000, key, value, headers), schema


class Result(NamedTuple):
    inputs: int
    verdicts: Counter[str]
    slowest_s: float
    rss_mb: float

    def __str__(self) -> str:
        verdicts = ", ".join(f"{name} {count:,}" for name, count in self.verdicts.most_common())
        return (
            f"{self.inputs:,} inputs, all settled: {verdicts}\n"
            f"slowest {self.slowest_s * 1000:.0f} ms, largest process {self.rss_mb:.0f} MB"
        )


def run(inputs: int, seed: int, folder: Path, *, only: str = "") -> Result:
    """Plays so many inputs in child processes; raises AssertionError for the first that is not settled."""
    verdicts: Counter[str] = Counter()
    slowest_s = rss_mb = 0.0
    for start in range(0, inputs, ROUND):
        count = min(ROUND, inputs - start)
        command = [sys.executable, "-X", "faulthandler", "-m", "tests.chaos.fuzz"]
        command += ["--seed", str(seed), "--start", str(start), "--inputs", str(count), "--here", str(folder)]
        command += ["--only", only]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"inputs {start} to {start + count} of seed {seed}:\n{done.stderr}"
        found = json.loads(done.stdout)
        verdicts.update(found["verdicts"])
        slowest_s, rss_mb = max(slowest_s, found["slowest_s"]), max(rss_mb, found["rss_mb"])
    assert inputs == verdicts.total()
    return Result(inputs, verdicts, slowest_s, rss_mb)


def main() -> None:
    import tempfile  # noqa: PLC0415 - not in the child, which starts often

    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0, help="0 for one by chance")
    parser.add_argument("--only", default="", help="the records of one topic alone, such as glue")
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        print(json.dumps(play(asked.seed, asked.start, asked.inputs, asked.here, only=asked.only)))
        return
    seed = asked.seed or secrets.randbits(31)
    print(f"seed {seed}; play it again with: make fuzz SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        print(run(asked.inputs, seed, Path(folder), only=asked.only))


if __name__ == "__main__":
    main()
