"""Totals of letters: by every dimension, in bounded memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.dead_letters.format import letter
from connector.dead_letters.resolutions import DeadLetterState
from connector.dead_letters.selection import Selection
from connector.dead_letters.totals import (
    MAX_GROUPS,
    DeadLetteredTotal,
    Totals,
    TotalsRow,
    dead_lettered_totals,
)
from connector.model import LastError, Partition, Record
from tests.failures import failed
from tests.stored_letters import NOW_MS, foreign, table, written


def test_totals_count_by_everything_and_keep_oldest_and_newest() -> None:
    """The groups of a dimension add up to all letters that have it."""
    totals = Totals()
    match = Selection(state="all").matcher(max_replays=3)
    records = [
        written(0, at_ms=NOW_MS + 5),
        written(1, at_ms=NOW_MS, code="avro_invalid", source=None, detail_type=None),
        written(2, at_ms=NOW_MS + 3_600_000, code="avro_invalid"),
        foreign(3),
    ]
    for record in records:
        found = match(record, table(_1=DeadLetterState.DELIVERED))
        assert found is not None
        totals.add(found)

    assert 4 == totals.count
    assert {"template_null": 1, "avro_invalid": 2, "unreadable": 1} == counts(totals.by("code"))
    assert {"orders": 3} == counts(totals.by("topic"))
    assert {"aws.partner/example.com/acme": 2} == counts(totals.by("source"))
    assert {"Order PAID": 2} == counts(totals.by("detail_type"))
    assert {"2026-11-22T10:00Z": 3, "2026-11-22T11:00Z": 1} == counts(totals.by("hour"))
    assert {"open": 3, "delivered": 1} == counts(totals.by("state"))
    of_code = totals.by("code")["avro_invalid"]
    assert (NOW_MS, NOW_MS + 3_600_000) == (of_code.oldest_ms, of_code.newest_ms)
    (everything,) = totals.by("all").values()
    assert (NOW_MS, NOW_MS + 3_600_000) == (everything.oldest_ms, everything.newest_ms)


def test_totals_stay_small_whatever_the_letters_say() -> None:
    """Sources are made by the mapping, as many as there are customers; the sum stays right."""
    totals = Totals()
    match = Selection().matcher(max_replays=3)
    for number in range(MAX_GROUPS + 500):
        found = match(written(number, source=f"aws.partner/example.com/{number}"), table())
        assert found is not None
        totals.add(found)

    assert MAX_GROUPS + 1 == len(totals.by("source"))
    assert 500 == totals.by("source")["other"].count
    assert MAX_GROUPS + 500 == sum(counts(totals.by("source")).values())


@pytest.mark.parametrize("at_ms", [0, -5, 2**62])
def test_any_timestamp_can_be_counted(at_ms: int) -> None:
    """A producer may write any time, and Kafka keeps it."""
    totals = Totals()
    found = Selection().matcher(max_replays=3)(written(at_ms=at_ms), table())
    if found is not None:
        totals.add(found)

    assert (1 if at_ms >= 0 else 0) == totals.count


def counts(groups: dict[str, TotalsRow]) -> dict[str, int]:
    return {value: group.count for value, group in groups.items()}


def refused(
    at_ms: int, source: str | None, *, target: str | None = "default", bridge: str = "orders"
) -> Record:
    """A letter of an event that failed then."""
    failure = failed(at_ms=at_ms, event_id="id", source=source, message=f"no {at_ms}")
    origin = Record(Partition("orders", 0), 1, NOW_MS, b"key", b"value", ())
    made = letter(origin, replace(failure, target=target), bridge_name=bridge, version="1")
    return Record(Partition("orders.dlt", 0), 1, at_ms + 5, made.key, made.value, made.headers)


def test_what_was_dead_lettered_counts_for_its_source_and_the_latest_is_the_last() -> None:
    """Of this bridge and since then; records that failed before their source was known are of none."""
    batches = [
        [refused(NOW_MS + 9, "acme"), refused(NOW_MS, "acme"), refused(NOW_MS - 1, "acme"), foreign(3)],
        [refused(NOW_MS, "acme", target="us"), refused(NOW_MS, "blue"), refused(NOW_MS, None, target=None)],
        [refused(NOW_MS, "acme", bridge="payments")],
    ]
    latest = DeadLetteredTotal(2, LastError(NOW_MS + 9, "template_null", f"no {NOW_MS + 9}"))
    other = DeadLetteredTotal(1, LastError(NOW_MS, "template_null", f"no {NOW_MS}"))

    assert {("default", "acme"): latest, ("us", "acme"): other, ("default", "blue"): other} == (
        dead_lettered_totals(batches, bridge="orders", since_ms=NOW_MS)
    )
    assert {("default", "blue"): other} == (
        dead_lettered_totals(batches, bridge="orders", since_ms=NOW_MS, source="blue")
    )
