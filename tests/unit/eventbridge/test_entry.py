"""Entries are checked against every limit that boto3 skips, and sized as EventBridge does."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import MappingError, OversizeError, RecordError
from connector.eventbridge.entry import entry
from connector.model import Entry, Event

SOURCE = "aws.partner/example.com/orders"
NO_LIMIT = 10**9


def make(
    *,
    source: str = SOURCE,
    detail_type: str = "Order PAID",
    time_s: float | None = 1704067200.123,
    resources: tuple[str, ...] = ("order/1",),
    detail: bytes = b'{"a":1}',
    max_event_bytes: int = NO_LIMIT,
) -> Entry:
    return entry(Event(source, detail_type, time_s, resources, detail), max_event_bytes=max_event_bytes)


def refusal(**event: object) -> RecordError:
    with pytest.raises(RecordError) as caught:
        make(**event)  # type: ignore[arg-type]
    return caught.value


def test_the_entry_is_written_once_with_the_detail_as_text() -> None:
    """The entry stands in the request as EventBridge's API wants it: detail is JSON inside a string."""
    made = make(detail='{"name":"Žofie \\"Z\\""}'.encode())

    assert {
        "Time": 1704067200.123,
        "Source": SOURCE,
        "Resources": ["order/1"],
        "DetailType": "Order PAID",
        "Detail": '{"name":"Žofie \\"Z\\""}',
    } == json.loads(made.json)


def test_what_an_event_does_not_have_is_left_out() -> None:
    """Without a time EventBridge takes that of the call, and an empty list says nothing."""
    members = json.loads(make(time_s=None, resources=()).json)

    assert {"Source", "DetailType", "Detail"} == members.keys()


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("aws.partner/example.com/" + "x" * 232, None),
        ("aws.partner/example.com/" + "x" * 233, "source_too_long"),
        ("aws.partner/a/b/c.d-e_F", None),
        ("aws.partner/example.com", "source_invalid"),
        ("aws.partner/example.com/", "source_invalid"),
        ("aws.partner//orders", "source_invalid"),
        ("aws.partner/example.com/ord ers", "source_invalid"),
        ("aws.partner/example.com/orders\n", "source_invalid"),
        ("aws.partner/example.com/Žofie", "source_invalid"),
        ("com.example/a/b", "source_invalid"),
        ("", "source_invalid"),
    ],
)
def test_the_source_is_a_name_of_a_partner_event_source(source: str, code: str | None) -> None:
    """A source has 1 to 256 characters: aws.partner/ and at least two segments."""
    got = None
    try:
        make(source=source)
    except MappingError as error:
        got = error.code

    assert code == got


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("detail_type_invalid", {"detail_type": ""}),
        ("detail_type_too_long", {"detail_type": "x" * 129}),
        ("detail_type_invalid", {"detail_type": "\ud800"}),
        ("resource_invalid", {"resources": ("order/1", "")}),
        ("resource_invalid", {"resources": ("\udc00",)}),
        ("resource_too_long", {"resources": ("order/1", "x" * 2049)}),
        ("detail_invalid", {"detail": b"[1]"}),
        ("detail_invalid", {"detail": b""}),
        ("detail_invalid", {"detail": b'{"a":"\xff"}'}),
        ("time_out_of_range", {"time_s": -0.001}),
        ("time_out_of_range", {"time_s": 253_402_300_800.0}),
        ("time_out_of_range", {"time_s": math.nan}),
        ("event_too_large", {"max_event_bytes": 10}),
    ],
)
def test_each_limit_has_its_own_code(code: str, event: dict[str, object]) -> None:
    """A record that breaks a limit is dead-lettered under the code of that limit."""
    assert code == refusal(**event).code


@pytest.mark.parametrize("event", [{"detail_type": "é" * 128}, {"resources": ("é" * 2048,)}])
def test_lengths_are_counted_in_characters(event: dict[str, object]) -> None:
    """A limit on characters lets through as many of them as it says, whatever bytes they take."""
    assert make(**event).size_bytes > 0  # type: ignore[arg-type]


def test_a_message_names_the_rule_the_length_and_the_limit() -> None:
    """Whoever reads a dead letter learns what to change, and nothing of the record's values."""
    message = str(refusal(detail_type="secret" * 30))

    assert "180 characters" in message
    assert "128" in message
    assert "event.detail_type" in message
    assert "secret" not in message


@given(
    detail_type=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128),
    time_s=st.none() | st.floats(0, 253_402_300_799),
    resources=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50), max_size=3
    ),
    value=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_the_size_is_what_eventbridge_counts(
    detail_type: str, time_s: float | None, resources: list[str], value: str
) -> None:
    """14 bytes for a time, and the UTF-8 bytes of source, detail type, detail and resources; JSON's
    escapes cost nothing. An event of exactly the limit passes, one byte more does not."""
    detail = json.dumps({"value": value}, ensure_ascii=False).encode()
    event = Event(SOURCE, detail_type, time_s, resources, detail)
    texts = [SOURCE, detail_type, *resources]
    expected = sum(len(t.encode()) for t in texts) + len(detail) + (0 if time_s is None else 14)

    assert expected == entry(event, max_event_bytes=expected).size_bytes
    with pytest.raises(OversizeError):
        entry(event, max_event_bytes=expected - 1)
