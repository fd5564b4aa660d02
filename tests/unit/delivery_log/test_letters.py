"""Which record a dead letter is about, and whether it is open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.dead_letters.format import REPLAY_COUNT, letter
from connector.dead_letters.resolutions import DeadLetterState
from connector.delivery_log.letters import letter_of
from connector.delivery_log.search import FoundRecord
from connector.model import Headers, Partition, Position, Record
from tests.failures import failed

AT = Position(Partition("orders", 2), 7)
ID = "c/orders/2/7/1000"
FOUND = FoundRecord(AT, ID, 1_000, None)


def stored(event_id: str | None = ID, *, offset: int = 7, headers: Headers = ()) -> Record:
    """A letter as it is in its topic."""
    origin = Record(AT.partition, offset, 1_000, b"key", b"value", headers)
    failure = replace(failed(at_ms=5_000, event_id="", message="found nothing"), event_id=event_id)
    written = letter(origin, failure, bridge_name="orders", version="0")
    return Record(Partition("orders.dlt", 0), 3, 5_100, written.key, written.value, written.headers)


def test_a_letter_is_of_the_record_that_it_names() -> None:
    position, found = letter_of(stored(), {AT: FOUND}, max_replays=5) or (None, None)

    assert AT == position
    assert found is not None
    assert (Position(Partition("orders.dlt", 0), 3), ID, "found nothing", 5_100) == (
        found.id,
        found.event_id,
        found.message,
        found.written_ms,
    )


@pytest.mark.parametrize(
    "other",
    [
        stored(offset=8),
        stored("c/orders/2/7/999"),
        Record(Partition("orders.dlt", 0), 3, 5_100, None, b"no letter", ()),
    ],
)
def test_a_letter_of_another_record_is_none(other: Record) -> None:
    """One at the same position had another time: its topic was made anew."""
    assert letter_of(other, {AT: FOUND}, max_replays=5) is None


def test_where_an_id_is_not_known_the_position_decides() -> None:
    assert letter_of(stored(None), {AT: FOUND}, max_replays=5) is not None
    assert letter_of(stored("x"), {AT: FOUND._replace(event_id=None)}, max_replays=5) is not None


@pytest.mark.parametrize(("replays", "state"), [(b"4", DeadLetterState.OPEN), (b"5", DeadLetterState.PARKED)])
def test_a_letter_that_was_replayed_as_often_as_allowed_is_parked(
    replays: bytes, state: DeadLetterState
) -> None:
    found = letter_of(stored(headers=((REPLAY_COUNT, replays),)), {AT: FOUND}, max_replays=5)

    assert found is not None
    assert state is found[1].state
