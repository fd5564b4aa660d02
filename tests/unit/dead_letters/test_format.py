"""What a dead letter looks like to those who read it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from connector.dead_letters.format import (
    NAMES,
    DeadLetterRecord,
    Failure,
    UnreadableLetter,
    label,
    letter,
    smaller,
    without_value,
)
from connector.errors import CODES
from connector.model import Headers, Partition, Position, Record

SCHEMAS = Path(__file__).parents[3] / "schemas"
SCHEMA = json.loads((SCHEMAS / "dead-letter.json").read_text())

RECORD = Record(
    partition=Partition("orders", 3),
    offset=1042,
    timestamp_ms=1_700_000_000_123,
    key=b"\x00key\xff",
    value=b"\x00value\xff",
    headers=(("trace", b"1"), ("trace", None), ("binary", b"\xff\x00"), ("trace", b"1")),
)
FAILURE = Failure(
    code="retries_exhausted",
    stage="TASK_PUT",
    message="8 attempts failed while other events were accepted",
    exception_class="RefusedError",
    attempts=8,
    first_failure_ms=1_700_000_001_000,
    last_failure_ms=1_700_000_009_000,
    request_id="0ef3a1b2-0000-0000-0000-000000000000",
    target="default",
    source="aws.partner/example.com/acme",
    detail_type="Order PAID",
    event_id="3f2a/orders/3/1042",
)

header_lists = st.lists(
    st.tuples(
        st.sampled_from(["a", "", "partner-bridge.", *sorted(NAMES)]), st.none() | st.binary(max_size=8)
    ),
    max_size=8,
).map(tuple)


def write(record: Record = RECORD, failure: Failure = FAILURE) -> DeadLetterRecord:
    return letter(record, failure, bridge_name="orders-bridge", version="1.2.3")


def origin(headers: Headers) -> Position | None:
    """Where the headers say that the record came from; None where they do not."""
    try:
        found = label(RECORD._replace(headers=headers))
    except UnreadableLetter:
        return None
    return Position(Partition(found.topic, found.partition), found.offset)


def texts(headers: Headers) -> dict[str, str]:
    """Our headers of a letter as text; each occurs once."""
    ours = [(name, value.decode()) for name, value in headers if name in NAMES and value is not None]
    assert len(dict(ours)) == len(ours)
    return dict(ours)


def test_a_letter_is_the_record_as_it_arrived_with_our_headers_behind() -> None:
    """Key, value and headers byte for byte and in order, then why it failed."""
    written = write()

    assert (RECORD.key, RECORD.value) == (written.key, written.value)
    assert RECORD.headers == written.headers[: len(RECORD.headers)]
    assert {
        "__connect.errors.topic": "orders",
        "__connect.errors.partition": "3",
        "__connect.errors.offset": "1042",
        "__connect.errors.connector.name": "orders-bridge",
        "__connect.errors.task.id": "0",
        "__connect.errors.stage": "TASK_PUT",
        "__connect.errors.class.name": "connector.eventbridge",
        "__connect.errors.exception.class.name": "RefusedError",
        "__connect.errors.exception.message": "8 attempts failed while other events were accepted",
        "partner-bridge.code": "retries_exhausted",
        "partner-bridge.attempts": "8",
        "partner-bridge.timestamp": "1700000000123",
        "partner-bridge.first-failure": "1700000001000",
        "partner-bridge.last-failure": "1700000009000",
        "partner-bridge.request-id": "0ef3a1b2-0000-0000-0000-000000000000",
        "partner-bridge.target": "default",
        "partner-bridge.source": "aws.partner/example.com/acme",
        "partner-bridge.detail-type": "Order PAID",
        "partner-bridge.event-id": "3f2a/orders/3/1042",
        "partner-bridge.version": "1.2.3",
        "partner-bridge.replay-count": "0",
    } == texts(written.headers)


def test_what_is_not_known_is_left_out() -> None:
    """A record that could not be decoded has no source, and an empty one would be a lie."""
    early = replace(FAILURE, request_id=None, target=None, source=None, detail_type=None, event_id=None)
    absent = {"request-id", "target", "source", "detail-type", "event-id", "timestamp"}
    written = write(RECORD._replace(timestamp_ms=None, key=None, value=None), early)

    assert set() == {f"partner-bridge.{name}" for name in absent} & set(texts(written.headers))
    assert (None, None) == (written.key, written.value)


@settings(max_examples=50)
@given(header_lists)
def test_our_headers_are_replaced_and_others_kept(headers: Headers) -> None:
    """Each of ours is there once, however often a record came back; others keep place and bytes."""
    written = write(RECORD._replace(headers=headers))
    others = tuple(header for header in headers if header[0] not in NAMES)

    assert others == written.headers[: len(others)]
    assert texts(write().headers).keys() == texts(written.headers).keys()
    assert len(others) + len(texts(written.headers)) == len(written.headers)


def test_a_letter_of_a_letter_differs_only_in_what_is_new() -> None:
    """Headers do not pile up."""
    first = write()
    again = write(RECORD._replace(headers=first.headers), replace(FAILURE, attempts=9))
    differences = {name for name, text in texts(again.headers).items() if texts(first.headers)[name] != text}

    assert {"partner-bridge.attempts"} == differences
    assert len(first.headers) == len(again.headers)


@pytest.mark.parametrize(
    ("arrived", "expected"),
    [(b"3", "3"), (b"007", "7"), (b"x", "0"), (b"-1", "0"), (b"9" * 40, "0"), (None, "0")],
)
def test_the_replay_count_is_kept(arrived: bytes | None, expected: str) -> None:
    """It is the one header of ours that belongs to the record's history; nonsense counts as none."""
    written = write(RECORD._replace(headers=(("partner-bridge.replay-count", arrived),)))

    assert expected == texts(written.headers)["partner-bridge.replay-count"]


@pytest.mark.parametrize(
    ("arrived", "expected"), [(b"0123456789abcdef", "0123456789abcdef"), (b"x" * 16, None), (None, None)]
)
def test_the_id_of_a_resend_is_kept(arrived: bytes | None, expected: str | None) -> None:
    """It is given as a header, as the replay count is; what is no id is left out."""
    written = write(RECORD._replace(headers=(("partner-bridge.resend", arrived),)))

    assert expected == texts(written.headers).get("partner-bridge.resend")


def test_texts_are_capped() -> None:
    """Brokers limit the size of a record, and a server's answer may be a page of HTML."""
    long = replace(FAILURE, message="m" * 5000, source="s" * 5000, detail_type="d" * 5000)
    written = texts(write(failure=long).headers)

    assert "m" * 999 + "…" == written["__connect.errors.exception.message"]
    assert "s" * 255 + "…" == written["partner-bridge.source"]
    assert "d" * 127 + "…" == written["partner-bridge.detail-type"]


def test_a_text_that_utf_8_cannot_hold_makes_a_letter_all_the_same() -> None:
    """JSON can spell half a surrogate pair; that record is to be dead-lettered, not to stop us."""
    assert "a?b" == texts(write(failure=replace(FAILURE, source="a\ud800b")).headers)["partner-bridge.source"]


def test_a_value_that_is_left_out_is_described() -> None:
    """The letter must not block its partition; the value is still at its origin."""
    omitted = f"size=7;sha256={hashlib.sha256(b'v' * 7).hexdigest()}"
    record = RECORD._replace(value=b"v" * 7)
    written = without_value(write(record))

    assert None is written.value
    assert record.key == written.key
    assert omitted == texts(written.headers)["partner-bridge.value-omitted"]
    assert written == without_value(written)


def test_a_letter_gets_smaller_until_only_our_headers_are_left() -> None:
    """A broker that takes no letter of that size gets a smaller one, for a known number of times."""
    steps = [write()]
    while (step := smaller(steps[-1])) is not None:
        steps.append(step)

    assert [
        (RECORD.key, RECORD.value, True),
        (RECORD.key, None, True),
        (None, None, False),
    ] == [(s.key, s.value, ("binary", b"\xff\x00") in s.headers) for s in steps]
    assert "count=4" == texts(steps[-1].headers)["partner-bridge.headers-omitted"]
    assert texts(steps[-1].headers)["partner-bridge.key-omitted"].startswith("size=5;sha256=")
    assert RECORD.position == origin(steps[-1].headers)


@settings(max_examples=50)
@given(
    topic=st.text("abc.-_9é", min_size=1, max_size=20),
    number=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
)
def test_the_origin_can_be_read_back(topic: str, number: int, offset: int) -> None:
    """Replay finds the record by it."""
    record = RECORD._replace(partition=Partition(topic, number), offset=offset)

    assert Position(Partition(topic, number), offset) == origin(write(record).headers)


@settings(max_examples=50)
@given(header_lists)
def test_reading_the_origin_of_anything_is_safe(headers: Headers) -> None:
    """Anybody may write to the topic."""
    position = origin(headers)

    assert None is position or position.offset >= 0


# Schema


def ours_as_object(written: DeadLetterRecord) -> dict[str, Any]:
    return dict(texts(written.headers))


def test_the_schema_is_sound_and_knows_every_header_and_code() -> None:
    """Who reads letters by the schema misses nothing."""
    Draft202012Validator.check_schema(SCHEMA)

    assert sorted(CODES) == SCHEMA["properties"]["partner-bridge.code"]["enum"]
    assert NAMES == SCHEMA["properties"].keys()


@pytest.mark.parametrize("size", ["whole", "without value", "smallest"])
def test_letters_are_valid_by_the_schema(size: str) -> None:
    """The schema describes what is really written."""
    written = write()
    if size != "whole":
        written = without_value(written)
    if size == "smallest":
        written = smaller(written) or written

    assert [] == list(Draft202012Validator(SCHEMA).iter_errors(ours_as_object(written)))


def test_a_letter_of_little_knowledge_is_valid_by_the_schema() -> None:
    """Required is only what every letter has."""
    early = replace(FAILURE, request_id=None, target=None, source=None, detail_type=None, event_id=None)
    written = write(RECORD._replace(timestamp_ms=None), early)

    assert [] == list(Draft202012Validator(SCHEMA).iter_errors(ours_as_object(written)))
    assert ours_as_object(written).keys() == set(SCHEMA["required"])


def test_the_example_is_valid_by_the_schema() -> None:
    """An example that lies is worse than none."""
    example = json.loads((SCHEMAS / "dead-letter.example.json").read_text())

    assert [] == list(Draft202012Validator(SCHEMA).iter_errors(example))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("partner-bridge.code", "Avro_Invalid"),
        ("partner-bridge.attempts", "-1"),
        ("partner-bridge.value-omitted", "size=1"),
        ("partner-bridge.unheard-of", "1"),
        ("__connect.errors.stage", "HEADER_CONVERTER"),
        ("__connect.errors.exception.message", "m" * 1001),
    ],
)
def test_the_schema_refuses_what_is_no_letter(name: str, text: str) -> None:
    """Otherwise the tests above would prove nothing."""
    wrong = ours_as_object(write()) | {name: text}

    assert not Draft202012Validator(SCHEMA).is_valid(wrong)
