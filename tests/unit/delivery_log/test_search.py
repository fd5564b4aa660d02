"""What a search names, and what the current configuration makes of a record."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector import config
from connector.delivery_log.search import (
    FoundRecord,
    Latest,
    Mapped,
    OwnEventId,
    Search,
    mapped,
    parse_event_id,
)
from connector.model import Json, Partition, Position, Record
from connector.pipeline import Pipeline

PREFIX = "aws.partner/example.com/"
ORDERS = Partition("orders", 0)


def pipeline(**topic: Json) -> Pipeline:
    """One for notes in JSON, with a mapping by tenant."""
    event = {"source": f"{PREFIX}${{value.tenant}}", "detail_type": "${value.kind}"}
    topics = {"orders": {"value": {"format": "json"}, "event": event, **topic}}
    given = {
        "KAFKA__BOOTSTRAP_SERVERS": "localhost:1",
        "KAFKA__GROUP_ID": "orders",
        "EVENTBRIDGE__REGION": "eu-central-1",
        "DEAD_LETTER__TOPIC": "orders.dlt",
        "TOPICS": json.dumps(topics),
    }
    return Pipeline(config.load(None, {f"BRIDGE_{name}": value for name, value in given.items()}), None)


def record(value: bytes | None) -> Record:
    return Record(ORDERS, 7, 1_000, None, value, ())


NOTES = pipeline()


@given(st.integers(0, 10**9), st.integers(0, 10**18), st.none() | st.integers(0, 10**14))
def test_an_id_that_a_bridge_made_is_read_back(number: int, offset: int, timestamp_ms: int | None) -> None:
    made = NOTES.event_id(Record(Partition("orders.v1", number), offset, timestamp_ms, None, None, ()))

    assert OwnEventId("unknown", Position(Partition("orders.v1", number), offset), timestamp_ms) == (
        parse_event_id(made)
    )


@pytest.mark.parametrize("text", ["", "orders/1/2", "c/orders/x/2", "c/orders/1/2/3/4", "7f3b6a52-94c1"])
def test_what_is_no_id_of_ours_is_none(text: str) -> None:
    assert parse_event_id(text) is None


def test_a_range_begins_at_its_first_moment_and_ends_before_its_last() -> None:
    search = Search(since_ms=10, until_ms=20)

    assert [False, True, True, False] == [search.holds(each) for each in (9, 10, 19, 20)]
    assert search.holds(None)
    assert Search().holds(0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"tenant": "acme", "kind": "Note"}', Mapped(PREFIX + "acme", "Note", "default")),
        (
            b'{"tenant": "acme", "kind": "DRAFT"}',
            Mapped(PREFIX + "acme", "DRAFT", "default", rule="topics.orders.filter: value.kind != 'DRAFT'"),
        ),
        (None, Mapped(None, None, "default", rule="topics.orders.tombstones: skip")),
        (b'{"tenant": "acme"}', Mapped(PREFIX + "acme", None, "default", error="template_null")),
        (b"{", Mapped(None, None, "default", error="json_invalid")),
        (
            b'{"tenant": 1.5, "kind": "DRAFT"}',
            Mapped(PREFIX + "1.5", "DRAFT", "default", rule="topics.orders.filter: value.kind != 'DRAFT'"),
        ),
    ],
)
def test_a_record_is_of_its_source_whatever_becomes_of_it(value: bytes | None, expected: Mapped) -> None:
    """A filtered record, and one that would be dead-lettered, is found by the source its template makes."""
    assert expected == mapped(pipeline(filter="value.kind != 'DRAFT'"), record(value))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), unique_by=lambda each: each[1]))
def test_the_newest_are_kept_and_the_others_counted(added: list[tuple[int, int]]) -> None:
    """Whatever the order they come in; one that is kept already counts once."""
    latest = Latest(5)
    for timestamp_ms, offset in added:
        found = FoundRecord(Position(ORDERS, offset), None, timestamp_ms, None)
        latest.add(found)
        if found in latest.records():
            latest.add(found)

    newest = sorted(added, reverse=True)[:5]
    assert newest == [(each.timestamp_ms, each.position.offset) for each in latest.records()]
    assert len(added) == latest.count
