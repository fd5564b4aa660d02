"""Bytes made to kill, hang or fill a bridge become dead letters, and their neighbours are delivered."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest
import yaml

from connector.model import Json, Position
from connector.sandbox.registry import FakeRegistry
from tests.avro_bombs import BOMBS, NODE, encoded, record_of
from tests.memory import peak_rss_kb
from tests.services import raw_headers
from tests.services.kafka import Kafka
from tests.topics import Sent
from tests.world import NOTES, TEXT_KEY, World, note, positions

MB = 1_000_000
VALUES = Path(__file__).parents[2] / "helm" / "values.yaml"

BYTES: dict[str, Json] = {
    "value": {"format": "avro"},
    "key": TEXT_KEY,
    "event": {"source": "aws.partner/example.com/acme", "detail_type": "Any"},
}


NOT_AVRO_INVALID = {
    "a decimal of a megabyte": "value_out_of_range",
    "a decimal of ten megabytes, with as many places as may be": "value_out_of_range",
}


@pytest.fixture
def roomy(kafka: Kafka, tmp_path: Path) -> World:
    """A world whose producers may write records of 10 MB."""
    return World({**kafka.client, "message.max.bytes": "20000000"}, folder=tmp_path)


def test_avro_bombs(roomy: World) -> None:
    """The recursive schema of 5 KB, the array of zero-width items, and every other bomb there is."""
    with roomy as world, FakeRegistry() as registry:
        (partition,) = world.topics.create(f"{world.name}.avro", config={"max.message.bytes": "20000000"})
        flat = registry.register("flat", record_of({"name": "n", "type": "long"}))
        wide_fields: list[dict[str, object]] = [{"name": f"f{n}", "type": "int"} for n in range(5_000)]
        wide = registry.register("wide", record_of(*wide_fields, name="Wide"))
        node = registry.register("node", NODE)
        zero = registry.register("zero", {"type": "array", "items": "null"})
        longs = registry.register("longs", {"type": "array", "items": "long"})
        good = framed(flat, encoded(record_of({"name": "n", "type": "long"}), {"n": 1}))
        bombs = {
            "node": framed(node, b"\x02" * 5_000),
            "zero": framed(zero, encoded("long", 2**62) + b"\x00"),
            "longs": framed(longs, encoded("long", 2**40)),
            "fewest": framed(longs, encoded("long", -(2**63)) + b"\x02"),
            "block": framed(longs, b"\x01\x01" + b"\x00"),
            "count": framed(longs, b"\xff" * 20),
            "noise": framed(flat, random.Random(1).randbytes(10 * MB)),
            "wide": framed(wide, b"\x02" * 4_999),
        }
        for name, (schema, buffer, reader) in BOMBS.items():
            if reader is None:
                subject = name.replace(" ", "-").replace(",", "")
                bombs[name] = framed(registry.register(subject, schema), buffer)
        codes = dict.fromkeys(bombs, "avro_invalid") | NOT_AVRO_INVALID
        fine = framed(wide, b"\x02" * 5_000)
        lines = [each for bomb in bombs.values() for each in (good, bomb, good)] + [fine]
        produced = world.produce([Sent(partition.topic, line, b"k") for line in lines])
        bridge = world.bridge(world.settings({partition.topic: BYTES}, schema_registry={"url": registry.url}))
        bridge.start()
        world.wait_settled([partition], timeout_s=120)
        assert peak_bytes(bridge.child.pid) < chart_limit_bytes()
        bridge.sigterm()

        places = dict(zip(bombs, positions(produced, range(1, 3 * len(bombs), 3)), strict=True))
        letters = {letter.origin: letter.code for letter in world.letters()}
        assert codes == {name: letters.get(place) for name, place in places.items()}
        assert len(lines) - len(bombs) == world.balance(produced, dead=letters, order="key").delivered


def chart_limit_bytes() -> int:
    """What the pod of the chart may take."""
    limit = yaml.safe_load(VALUES.read_text())["resources"]["limits"]["memory"]
    return int(limit.removesuffix("Mi")) * 1024 * 1024


def peak_bytes(pid: int) -> int:
    kb = peak_rss_kb(Path(f"/proc/{pid}/status").read_text())
    assert kb is not None
    return kb * 1024


HOSTILE_JSON: dict[str, tuple[bytes, str | None]] = {
    "deep": (b"[" * 100_000, "json_invalid"),
    "deep and whole": (b'{"tenant":"acme","a":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "json_invalid"),
    "no UTF-8": (b'{"tenant":"\xff\xfe"}', "json_invalid"),
    "a lone surrogate": (b'{"tenant":"acme","a":"\\ud800"}', "json_invalid"),
    "10 MB of one text": (note(1, text="x" * 10 * MB), "event_too_large"),
    "10 MB of zeros, which compress to nothing": (b"\0" * 10 * MB, "json_invalid"),
    "10 MB of commas": (note(1, text="," * 10 * MB), "event_too_large"),
    "10 MB of numbers": (note(1, many=[0] * (5 * MB)), "json_invalid"),
    "10 MB of objects": (b"[" + b'{"":0},' * (10 * MB // 7) + b"0]", "json_invalid"),
    "10 MB of lists, and a long number": (
        b"[" + b"[[]]," * (2 * MB) + b"1234567890123456789]",
        "json_invalid",
    ),
    "as many objects as there may be, and a long number": (
        b"[" + b'{"":0},' * 249_000 + b"1234567890123456789]",
        "template_null",
    ),
    "as many keys as there may be": (
        b'{"tenant":"acme"' + b"".join(b',"%015d":0' % n for n in range(499_000)) + b"}",
        "event_too_large",
    ),
    "a huge number": (b'{"tenant":"acme","a":1' + b"0" * 5_000 + b"}", "json_invalid"),
    "100,000 keys": (
        json.dumps({"tenant": "acme"} | {f"k{n}": 1 for n in range(100_000)}).encode(),
        "event_too_large",
    ),
    "nothing": (b"", "json_invalid"),
}


def test_json_and_headers(roomy: World) -> None:
    """Depth, size, surrogates; a thousand headers, and header names that are no text."""
    with roomy as world:
        (partition,) = world.topics.create(f"{world.name}.json", config={"max.message.bytes": "20000000"})
        many = tuple((f"header-{n}", b"v" * 50) for n in range(1_000))
        lines = [Sent(partition.topic, note(0), b"k", many), Sent(partition.topic, b"{", b"k", many)]
        expected: list[str | None] = [None, "json_invalid"]
        for value, code in HOSTILE_JSON.values():
            lines += [Sent(partition.topic, each, b"k") for each in (note(1), value, note(2))]
            expected += [None, code, None]
        produced = world.produce(lines)
        end = len(lines)
        raw_headers.produce(world.topics.client, partition.topic, note(3), [b"nul\0name"])
        raw_headers.produce(world.topics.client, partition.topic, note(4), [b"\xff\xfe", b"fine"])
        produced |= {Position(partition, end): None, Position(partition, end + 1): None}
        expected += [None, "text_invalid"]
        produced |= world.produce([Sent(partition.topic, note(5), b"k")])
        bridge = world.bridge(world.settings({partition.topic: NOTES}))
        bridge.start()
        world.wait_settled([partition], timeout_s=120)
        assert peak_bytes(bridge.child.pid) < chart_limit_bytes()
        bridge.sigterm()

        dead = {
            position: code
            for position, code in zip(produced, [*expected, None], strict=True)
            if code is not None
        }
        assert len(produced) - len(dead) == world.balance(produced, dead=dead, order="key").delivered


def framed(schema_id: int, content: bytes) -> bytes:
    """Confluent's framing."""
    return struct.pack(">bI", 0, schema_id) + content
