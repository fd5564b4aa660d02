"""A bad record becomes a dead letter with its own code, and costs its neighbours nothing."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from hashlib import sha256

import connector
from connector.errors import CODES
from connector.model import Headers, Json
from tests.accounting import Letter
from tests.services.child import wait_until
from tests.services.registry import Registry
from tests.topics import Sent
from tests.world import NOTES, TEXT_KEY, World, note, positions, spread

SECRET = "4111-1111-1111-1111"
"""In every record; nowhere else."""

ORDER: Json = {
    "type": "record",
    "name": "BadOrder",
    "fields": [
        {"name": "tenant", "type": "string"},
        {"name": "card", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
ORDERS: Json = {
    "value": {"format": "avro"},
    "key": TEXT_KEY,
    "event": {"source": "aws.partner/example.com/${value.tenant}", "detail_type": "Order"},
}
EVENTS: Json = {
    "value": {"format": "json"},
    "key": TEXT_KEY,
    "tombstones": "dead_letter",
    "event": {
        "source": "${value.source}",
        "detail_type": "${value.kind}",
        "time": "${value.time}",
        "resources": ["${value.resource}"],
        "detail": "${value.detail}",
    },
}


def _varint(number: int) -> bytes:
    zigzag, out = number << 1, bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


def _order(schema_id: int, *, at_ms: int = 1_790_000_000_000) -> bytes:
    texts = b"".join(_varint(len(text)) + text.encode() for text in ("acme", SECRET))
    return b"\x00" + schema_id.to_bytes(4, "big") + texts + _varint(at_ms)


BAD_ORDERS: dict[str, Callable[[int], bytes]] = {
    "framing_invalid": lambda schema_id: b"\x02" + _order(schema_id)[1:],
    "schema_unknown": lambda schema_id: _order(schema_id + 1_000_000),
    "avro_invalid": lambda schema_id: _order(schema_id)[:-8],
    "value_out_of_range": lambda schema_id: _order(schema_id, at_ms=400_000_000_000_000),
}
"""By the code each gets: wrong magic byte, no such schema, truncated, year 14645."""


def _event(**changes: Json) -> bytes:
    whole: dict[str, Json] = {
        "source": "aws.partner/example.com/acme",
        "kind": "Changed",
        "time": "2026-11-22T10:00:00Z",
        "resource": "card/1",
        "detail": {"card": SECRET},
    }
    return json.dumps(whole | changes).encode()


def _deep(levels: int) -> bytes:
    """An event with a detail of so many levels, which Python's own JSON writer cannot write."""
    nested = b'{"a":' * levels + json.dumps(SECRET).encode() + b"}" * levels
    return _event(detail="DEEP").replace(b'"DEEP"', nested)


BAD_EVENTS: dict[str, tuple[str, bytes | None]] = {
    "no JSON": ("json_invalid", b'{"card": "' + SECRET.encode()),
    "no value": ("tombstone", None),
    "an object for a text": ("template_type", _event(kind={"card": SECRET})),
    "null source": ("template_null", _event(source=None)),
    "257 characters of source": ("source_too_long", _event(source="aws.partner/example.com/" + "a" * 233)),
    "a source that is no partner source": ("source_invalid", _event(source="example.com")),
    "129 characters of detail type": ("detail_type_too_long", _event(kind="k" * 129)),
    "an empty detail type": ("detail_type_invalid", _event(kind="")),
    "a resource over 2,048": ("resource_too_long", _event(resource="r" * 2049)),
    "a detail over the limit": ("event_too_large", _event(detail={"card": SECRET, "fill": "f" * 262_144})),
    "a detail too deep": ("detail_too_deep", _deep(1_001)),
    "the year 10000": ("time_out_of_range", _event(time=253_402_300_800_000)),
    "a time that is none": ("template_type", _event(time="yesterday")),
}
NEIGHBOURS = 19


def check_letter(letter: Letter, sent: Sent, world: World, *, sent_ms: tuple[int, int]) -> None:
    """What every letter holds: the record byte for byte, what failed and where, nothing of its content."""
    assert (sent.key, sent.value) == (letter.record.key, letter.record.value)
    added = set(letter.headers)
    assert sent.headers == tuple(header for header in letter.record.headers if header[0] not in added)
    assert letter.record.timestamp_ms is not None
    assert letter.record.timestamp_ms > sent.timestamp_ms, "the letter has the time of now"
    headers = letter.headers
    assert letter.code in CODES
    assert headers["__connect.errors.connector.name"] == world.name
    assert headers["__connect.errors.task.id"] == "0"
    assert headers["__connect.errors.stage"] in {
        "KEY_CONVERTER",
        "VALUE_CONVERTER",
        "TRANSFORMATION",
        "TASK_PUT",
    }
    assert headers["__connect.errors.class.name"].startswith("connector.")
    assert headers["__connect.errors.exception.class.name"].endswith("Error")
    assert headers["__connect.errors.exception.message"]
    assert headers["partner-bridge.attempts"] == "0"
    assert headers["partner-bridge.timestamp"] == str(sent.timestamp_ms)
    for name in ("first-failure", "last-failure"):
        assert sent_ms[0] <= int(headers[f"partner-bridge.{name}"]) <= sent_ms[1]
    (topic, number), offset = letter.origin
    assert headers["partner-bridge.event-id"].rpartition("/")[0].endswith(f"/{topic}/{number}/{offset}")
    assert headers["partner-bridge.version"] == connector.__version__
    assert headers["partner-bridge.replay-count"] == "0"
    assert not any(SECRET in text for text in headers.values())


def run(
    world: World, topic: str, mapping: Json, bad: list[tuple[str, bytes | None]], good: bytes
) -> list[Letter]:
    """Sends each bad record among 19 good ones, judges the account and the letters, and answers them."""
    (partition,) = world.topic(topic)
    arrived: Headers = (("trace", b"\xff\x00"), ("trace", b"again"), ("empty", b""), ("none", None))
    began_ms = int(time.time() * 1000)
    lines: list[Sent] = []
    dead: dict[int, str] = {}
    for code, value in bad:
        dead[len(lines) + 9] = code
        batch = [good] * 9 + [value] + [good] * (NEIGHBOURS - 9)
        lines += [
            Sent(partition.topic, each, b"key\xfe", arrived, timestamp_ms=1_700_000_000_000) for each in batch
        ]
    produced = world.produce(lines)
    bridge = world.bridge(world.settings({partition.topic: mapping}))
    with world.sampler([partition]) as sampler:
        bridge.start()
        world.wait_settled([partition])
        for code in set(dead.values()):
            expected = sum(each == code for each in dead.values())
            assert expected == bridge.metric("records_dead_lettered_total", topic=partition.topic, code=code)
        assert bridge.ready()[0] == 200
        bridge.sigterm()

    codes = dict(zip(positions(produced, dead), dead.values(), strict=True))
    balance = world.balance(produced, dead=codes, order="key", samples=sampler.samples)
    assert len(bad) * NEIGHBOURS == balance.delivered
    letters = world.letters()
    sent_at = dict(zip(produced, lines, strict=True))
    for letter in letters:
        check_letter(letter, sent_at[letter.origin], world, sent_ms=(began_ms, int(time.time() * 1000)))
    assert SECRET not in "\n".join(map(str, bridge.lines()))
    return letters


def test_bad_avro(avro_world: World, registry: Registry) -> None:
    """Bytes that are not what the topic's format says."""
    schema_id = registry.register(f"{avro_world.name}-value", ORDER)
    bad: list[tuple[str, bytes | None]] = [(code, make(schema_id)) for code, make in BAD_ORDERS.items()]
    letters = run(avro_world, "orders", ORDERS, bad, _order(schema_id))

    assert {"VALUE_CONVERTER"} == {letter.headers["__connect.errors.stage"] for letter in letters}


def test_bad_events(world: World) -> None:
    """Values that the mapping or EventBridge's limits refuse."""
    letters = run(world, "events", EVENTS, list(BAD_EVENTS.values()), _event())

    assert len(BAD_EVENTS) == len(letters)


def test_bad_text(world: World) -> None:
    """Text that is not UTF-8."""
    mapping: Json = {
        "value": {"format": "string"},
        "event": {
            "source": "aws.partner/example.com/acme",
            "detail_type": "Line",
            "detail": {"line": "${value}"},
        },
    }
    run(world, "lines", mapping, [("text_invalid", b"\xff" + SECRET.encode())], SECRET.encode())


def test_a_detail_that_is_no_object_is_wrapped(world: World) -> None:
    """EventBridge takes objects only, so anything else arrives as `{"value": …}`."""
    (partition,) = world.topic("events")
    details: list[Json] = ["text", 7, None, True, [1, 2]]
    produced = world.produce([Sent(partition.topic, _event(detail=detail), b"k") for detail in details])
    bridge = world.bridge(world.settings({partition.topic: EVENTS}))
    bridge.start()
    world.wait_settled([partition])
    bridge.sigterm()

    world.balance(produced, order="key")
    assert details == [detail["value"] for detail in world.details()]


def test_a_letter_too_large_for_its_topic_goes_without_its_value(world: World) -> None:
    """A letter that its topic refuses does not block: it says what was left out. The others that were written
    at the same moment, and refused with it, are whole."""
    (partition,) = world.topic("notes")
    world.topics.alter(world.dead_letter_topic, max_message_bytes="4000")
    large = b"{" + random.Random(1).randbytes(20_000)  # which no compression makes smaller
    values = {5: large, 15: large} | {n: b"{" + random.Random(n).randbytes(900) for n in range(6, 14)}
    produced = world.produce(
        [Sent(partition.topic, values.get(n, note(n)), b"key", (("h", b"1"),)) for n in range(20)]
    )
    bridge = world.bridge(world.settings({partition.topic: NOTES}))
    with world.sampler([partition]) as sampler:
        bridge.start()
        world.wait_settled([partition])
        bridge.sigterm()

    dead = dict.fromkeys(positions(produced, values), "json_invalid")
    assert 10 == world.balance(produced, dead=dead, order="key", samples=sampler.samples).delivered
    omitted = f"size=20001;sha256={sha256(large).hexdigest()}"
    for letter in world.letters():
        value = values[letter.origin.offset]
        assert ("h", b"1") in letter.record.headers
        assert b"key" == letter.record.key
        assert (None if value is large else value) == letter.record.value
        assert (omitted if value is large else None) == letter.headers.get("partner-bridge.value-omitted")


def test_a_batch_that_unpacks_to_too_much_is_named_and_holds_its_partition_alone(world: World) -> None:
    """Half a kilobyte on the wire may be megabytes of records; librdkafka then gives none of them."""
    packed, plain = world.topic("notes", partitions=2)
    one_batch: dict[str, str | int] = {
        "compression.type": "zstd",
        "batch.size": 10_000_000,
        "message.max.bytes": 10_000_000,
    }
    large = [Sent(packed.topic, note(n, text="0" * 200_000), b"k", partition=0) for n in range(10)]
    produced = world.produce(large, {**one_batch, "linger.ms": 1_000})
    produced |= world.produce([Sent(plain.topic, note(n), b"k", partition=1) for n in range(100)])
    limits = {"fetch.max.bytes": 1_000_000, "receive.message.max.bytes": 1_100_000}
    bridge = world.bridge(world.settings({packed.topic: NOTES}, kafka=limits))
    bridge.start(ready=False)
    world.wait_settled([plain])
    bridge.wait_unready("kafka")
    reason = bridge.ready()[1]["reasons"]["kafka"]
    bridge.sigterm()

    assert f"{packed.topic}[0]" in reason
    assert "receive.message.max.bytes" in reason
    assert 0 == world.topics.committed(world.name, [packed]).get(packed, 0)

    world.bridge(world.settings({packed.topic: NOTES}), name="with more room").start()
    world.wait_settled([packed, plain])

    assert 110 == world.balance(produced, order="key").delivered


def test_a_pattern_never_reads_the_dead_letter_topic(world: World) -> None:
    """A pattern that matches the dead-letter topic reads all else it matches, also topics made later."""
    (first,) = world.topic("a")
    bad, good = b"{", note(1)
    produced = world.produce([Sent(first.topic, bad if n % 10 == 0 else good, b"k") for n in range(100)])
    dead = positions(produced, range(0, 100, 10))
    bridge = world.bridge(world.settings({f"^{world.name}[.].*": NOTES}))
    bridge.start()
    world.wait_settled([first])
    (second,) = world.topic("b")
    more = world.produce([Sent(second.topic, bad if n % 10 == 0 else good, b"k") for n in range(100)])
    dead += positions(more, range(0, 100, 10))
    world.wait_settled([second])
    consumed = {
        topic: bridge.metric("records_consumed_total", topic=topic) for topic in (first.topic, second.topic)
    }
    assert {first.topic: 100, second.topic: 100} == consumed
    assert 0 == bridge.metric("records_consumed_total", topic=world.dead_letter_topic)
    bridge.sigterm()

    assert 180 == world.balance(produced | more, dead=dict.fromkeys(dead, "json_invalid")).delivered
    letters = world.topics.partitions(world.dead_letter_topic)
    assert {} == world.topics.committed(world.name, letters)


def test_a_topic_in_two_patterns_is_named_and_not_read(world: World) -> None:
    """Two patterns for one topic are no mapping: it is left alone, the log names both, others go on."""
    (both,), (one,) = world.topic("ab"), world.topic("a")
    world.produce([Sent(both.topic, note(n), b"k") for n in range(10)])
    produced = world.produce([Sent(one.topic, note(n), key) for n, key in spread(100)])
    patterns = [f"^{world.name}[.]a", f"^{world.name}[.].*b$"]
    bridge = world.bridge(world.settings(dict.fromkeys(patterns, NOTES)))
    bridge.start()
    world.wait_settled([one])
    wait_until(
        lambda: any(all(pattern in str(line) for pattern in patterns) for line in bridge.lines()),
        what=lambda: f"a log line names both patterns\n{bridge.log()}",
    )
    bridge.sigterm()

    assert 100 == world.balance(produced, order="key").delivered
    assert {} == world.topics.committed(world.name, [both])
