"""What a receipt looks like to those who read it, and which of its events a search finds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from connector.delivery.pending import PendingEntry
from connector.ledger import OffsetTracker
from connector.model import Answer, Delivered, Entry, Outcome, Partition, Position, Record, Retriable, iso
from connector.receipts.format import DeliveredEvent, Receipt, UnreadableReceipt, Wanted, decoded, encoded

SCHEMAS = Path(__file__).parents[3] / "schemas"
SCHEMA = Draft202012Validator(json.loads((SCHEMAS / "receipt.json").read_text()))
EXAMPLE = (SCHEMAS / "receipt.example.json").read_bytes()
NOW_S = 1_795_341_600.143

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
events = st.builds(
    DeliveredEvent,
    event_id=texts,
    eventbridge_id=texts,
    source=texts,
    detail_type=texts,
    topic=st.sampled_from(["orders", "notes.v1"]),
    partition=st.integers(0, 10),
    offset=st.integers(0, 2**63 - 1),
    attempt=st.integers(1, 100),
    size_bytes=st.integers(1, 1_048_576),
)


def pending(event: DeliveredEvent) -> PendingEntry:
    """The entry that became this event."""
    record = Record(Partition(event.topic, event.partition), event.offset, 1, b"key", b"value", ())
    entry = Entry(event.source, event.detail_type, b"{}", event.size_bytes)
    made = PendingEntry(record, OffsetTracker(record.partition), entry, 0.0, event.event_id)
    made.tries = event.attempt - 1
    return made


def written(events: Sequence[DeliveredEvent], outcomes: Sequence[Outcome] | None = None) -> bytes:
    """The receipt of a request that took 23 ms."""
    outcomes = outcomes or [Delivered(event.eventbridge_id) for event in events]
    answer = Answer(outcomes, None, "request-1", seconds=0.023)
    return encoded(
        [pending(event) for event in events],
        answer,
        bridge="orders-bridge",
        target="us",
        region="us-east-1",
        now_s=NOW_S,
    )


def event(offset: int = 1042, **more: Any) -> DeliveredEvent:
    given = DeliveredEvent(f"id/{offset}", f"aws/{offset}", "acme", "Order", "orders", 3, offset, 1, 650)
    return given._replace(**more)


@given(st.lists(events, min_size=1, max_size=20))
def test_what_is_written_fits_the_schema_and_is_read_as_it_was(delivered: list[DeliveredEvent]) -> None:
    """Whatever customers call their sources: others read this topic with nothing but the schema."""
    value = written(delivered)
    receipt = decoded(value)

    assert [] == [error.message for error in SCHEMA.iter_errors(json.loads(value))]
    assert receipt is not None
    assert delivered == receipt.events
    assert ("orders-bridge", "us", "us-east-1", "request-1") == receipt[:4]
    assert 23 == receipt.answered_ms - receipt.sent_ms
    assert round(NOW_S * 1000) - receipt.answered_ms in {0, 1}


def test_the_example_is_what_is_written() -> None:
    """Who reads the page sees the form that is written, and this version reads it."""
    example = json.loads(EXAMPLE)
    receipt = decoded(EXAMPLE)

    assert [] == [error.message for error in SCHEMA.iter_errors(example)]
    assert receipt is not None
    assert json.loads(written([event()])).keys() == example.keys()
    assert example["answered"] == iso(receipt.answered_ms)
    assert Position(Partition("orders.v1", 3), 1042) == receipt.events[0].position


def test_each_event_has_the_id_that_its_own_result_carried() -> None:
    """Of a request that was accepted in part, the refused entries between them shift nothing."""
    refused = Retriable("InternalFailure", "")
    outcomes: list[Outcome] = [refused, Delivered("aws/1"), refused, Delivered("aws/3")]

    receipt = decoded(written([event(1), event(3)], outcomes))

    assert receipt is not None
    assert ["aws/1", "aws/3"] == [each.eventbridge_id for each in receipt.events]


WANTED = {
    "a position": Wanted(positions=frozenset({("orders", 3, 2)})),
    "our id": Wanted(ids=frozenset({"id/2"})),
    "EventBridge's id": Wanted(ids=frozenset({"aws/2"})),
    "one of many ids": Wanted(ids=frozenset({"id/2", *map(str, range(100))})),
    "a source": Wanted(sources=frozenset({"blue"})),
}


@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
def test_a_search_finds_just_what_it_names(wanted: Wanted) -> None:
    """Neither the neighbours in its request, nor the same offset elsewhere."""
    value = written([event(1), event(2, source="blue"), event(22), event(3, partition=2)])
    other = written([event(12, topic="notes"), event(3, partition=2)])

    found = decoded(value, wanted)

    assert found is not None
    assert [event(2, source="blue")] == found.events
    assert None is decoded(other, wanted)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"no JSON",
        b"[]",
        b"3",
        b'{"version": 1}',
        EXAMPLE.replace(b'"version": 1', b'"version": 2'),
        EXAMPLE.replace(b"1042,", b""),
        EXAMPLE.replace(b"2026", b"year"),
    ],
)
@pytest.mark.parametrize("wanted", [None, Wanted(positions=frozenset({("orders.v1", 3, 1042)}))])
def test_what_is_no_receipt_is_said_to_be_none(value: bytes | None, wanted: Wanted | None) -> None:
    """Of another version, or of another program that writes to this topic."""
    with pytest.raises(UnreadableReceipt):
        decoded(value, wanted)


@given(
    st.binary(max_size=60) | st.text().map(lambda text: json.dumps({"version": 1, "events": text}).encode())
)
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    """Nothing that someone puts into the topic ends a search."""
    try:
        found: Receipt | None = decoded(value, WANTED["a position"])
    except UnreadableReceipt:
        found = None

    assert found is None
