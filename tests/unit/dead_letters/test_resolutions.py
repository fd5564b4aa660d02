"""What the resolutions topic says, and the table of what became of each letter."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from connector.dead_letters.format import letter_id, parse_id
from connector.dead_letters.resolutions import (
    DeadLetterState,
    Resolution,
    ResolutionTable,
    UnreadableResolution,
    decode,
    encode,
)
from connector.model import Partition, Position

SCHEMAS = Path(__file__).parents[3] / "schemas"
SCHEMA = json.loads((SCHEMAS / "resolution.json").read_text())

TOPIC = "orders.dlt"
WRITTEN_MS = 1_795_342_502_000

RESOLVED = (DeadLetterState.DELIVERED, DeadLetterState.DISCARDED, DeadLetterState.DEAD_LETTERED_AGAIN)

positions = st.builds(
    lambda number, offset: Position(Partition(TOPIC, number), offset),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
)
times_ms = st.integers(0, 253_402_300_799_999)
resolutions = st.builds(
    Resolution,
    state=st.sampled_from(RESOLVED),
    at_ms=times_ms,
    written_ms=times_ms,
    event_id=st.none() | st.text(),
    reason=st.none() | st.text(),
    who=st.none() | st.text(),
)


def at(offset: int, number: int = 0) -> Position:
    return Position(Partition(TOPIC, number), offset)


def resolution(
    state: DeadLetterState = DeadLetterState.DELIVERED, *, written_ms: int = WRITTEN_MS
) -> Resolution:
    return Resolution(state=state, at_ms=WRITTEN_MS + 60_000, written_ms=written_ms)


@given(letter=positions, written=resolutions)
def test_a_resolution_reads_back_as_it_was_written(letter: Position, written: Resolution) -> None:
    """Every field survives the topic."""
    key, value = encode(letter, written)

    assert (letter, written) == decode(key, value)


@given(letter=positions, written=resolutions)
def test_every_resolution_is_as_its_schema_says(letter: Position, written: Resolution) -> None:
    """Other tools may rely on `schemas/resolution.json`."""
    _, value = encode(letter, written)

    assert [] == list(Draft202012Validator(SCHEMA).iter_errors(json.loads(value)))


def test_the_example_of_the_schema_is_a_resolution() -> None:
    """What is in `schemas/` can be read."""
    example = (SCHEMAS / "resolution.example.json").read_bytes()

    _, found = decode(letter_id(at(1042)).encode(), example)

    assert found is not None
    assert (DeadLetterState.DELIVERED, "7f6b8a52-3a0e-4d5c-9a53-6a4f4a0c1c11") == (
        found.state,
        found.event_id,
    )


def test_a_tombstone_makes_a_letter_open_again() -> None:
    """That is how a mistaken discard is taken back, with any Kafka tool."""
    assert (at(7), None) == decode(b"orders.dlt/0/7", None)


@given(key=st.none() | st.binary(max_size=30), value=st.none() | st.binary(max_size=30))
def test_foreign_records_are_refused_and_never_crash(key: bytes | None, value: bytes | None) -> None:
    """Whatever somebody wrote into the topic."""
    with suppress(UnreadableResolution):
        decode(key, value)


@pytest.mark.parametrize(
    "value",
    [
        b"[]",
        b"{}",
        b'{"state": "parked", "at": "2026-11-22T10:15:02.417Z", "letter_written_ms": 1}',
        b'{"state": "delivered", "at": "yesterday", "letter_written_ms": 1}',
        b'{"state": "delivered", "at": 5, "letter_written_ms": 1}',
        b'{"state": "delivered", "at": "2026-11-22T10:15:02.417Z", "letter_written_ms": null}',
        b'{"state": "delivered", "at": "2026-11-22T10:15:02.417Z", "letter_written_ms": 1e400}',
    ],
)
def test_json_that_is_no_resolution_is_refused(value: bytes) -> None:
    """A letter must not count as delivered by accident."""
    with pytest.raises(UnreadableResolution):
        decode(b"orders.dlt/0/7", value)


@given(letter=positions)
def test_an_id_names_one_letter(letter: Position) -> None:
    """The text form of a letter's position reads back as the same position."""
    assert letter == parse_id(letter_id(letter))


@pytest.mark.parametrize(
    "text",
    ["", "orders.dlt", "orders.dlt/0", "orders.dlt/0/", "/0/1", "a/-1/1", "a/1/1/1", "a/1/²", "a/ 1/1"],
)
def test_other_text_is_no_id(text: str) -> None:
    """Nothing else is taken for a letter."""
    assert parse_id(text) is None


@given(
    notes=st.lists(st.tuples(st.integers(0, 20), st.none() | st.sampled_from(RESOLVED)), max_size=40),
    low=st.integers(0, 10),
    count=st.integers(0, 10),
)
def test_the_table_says_what_the_last_resolution_said(
    notes: list[tuple[int, DeadLetterState | None]], low: int, count: int
) -> None:
    """For every letter between the two ends; outside, and where nothing was said, a letter is open."""
    table = ResolutionTable(TOPIC, {0: (low, low + count)})
    last: dict[int, DeadLetterState] = {}

    for offset, state in notes:
        table.note(at(offset), None if state is None else resolution(state))
        last[offset] = state or DeadLetterState.OPEN

    for offset in range(22):
        expected = (
            last.get(offset, DeadLetterState.OPEN) if low <= offset < low + count else DeadLetterState.OPEN
        )
        assert expected is table.state(at(offset), WRITTEN_MS)


def test_a_letter_of_a_topic_made_anew_is_open() -> None:
    """The resolution at its position is about the letter that was there before."""
    table = ResolutionTable(TOPIC, {0: (0, 10)})
    table.note(at(3), resolution(DeadLetterState.DELIVERED, written_ms=WRITTEN_MS - 1))

    assert DeadLetterState.OPEN is table.state(at(3), WRITTEN_MS)


@pytest.mark.parametrize("low_bits", [0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_letter_may_be_written_at_any_millisecond(low_bits: int) -> None:
    """The table keeps the low half of the time alone."""
    written_ms = (WRITTEN_MS & ~0xFFFFFFFF) | low_bits
    table = ResolutionTable(TOPIC, {0: (0, 10)})
    table.note(at(3), resolution(DeadLetterState.DELIVERED, written_ms=written_ms))

    assert DeadLetterState.DELIVERED is table.state(at(3), written_ms)


def test_other_topics_and_partitions_change_nothing() -> None:
    """One resolutions topic may serve several dead-letter topics."""
    table = ResolutionTable(TOPIC, {0: (0, 10)})
    table.note(Position(Partition("other.dlt", 0), 3), resolution())
    table.note(at(3, number=7), resolution())

    assert DeadLetterState.OPEN is table.state(at(3), WRITTEN_MS)
    assert DeadLetterState.OPEN is table.state(at(3, number=7), WRITTEN_MS)


def test_a_million_letters_take_five_megabytes() -> None:
    """So that a million are looked at in the memory of a thousand."""
    table = ResolutionTable(TOPIC, {0: (5, 1_000_005)})

    (states,) = table._partitions.values()
    assert 5_000_000 >= len(states._states) + len(states._written) * states._written.itemsize
