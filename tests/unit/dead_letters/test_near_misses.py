"""A selection that matches nothing says what it looked for, and what there is instead."""

from __future__ import annotations

import pytest

from connector.dead_letters.near_misses import NearMisses, looked_for
from connector.dead_letters.resolutions import DeadLetterState, ResolutionTable
from connector.dead_letters.selection import Ids, Selection
from connector.model import Record
from tests.stored_letters import NOW_MS, TOPIC, table, written

ACME = "aws.partner/example.com/acme"


def said(selection: Selection, *records: Record, resolved: ResolutionTable | None = None) -> list[str]:
    misses = NearMisses(selection, max_replays=3)
    misses.add(records, resolved or table())
    return list(misses.sentences())


def test_what_was_looked_for_is_said_as_it_is_typed() -> None:
    selection = Selection(
        codes=["template_*", "tombstone"],
        offsets=[7],
        keys=[b"a", b"\x00\xff"],
        sources=["acme"],
        detail_types=["Order PAID"],
        since_ms=NOW_MS,
        min_attempts=2,
    )

    assert (
        "--code template_* --code tombstone --offset 7 --key a --key hex:00ff --source acme "
        "--detail-type Order PAID --since 2026-11-22T10:15:02Z --min-attempts 2"
    ) == looked_for(selection)
    assert "" == looked_for(Selection(state="parked"))


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        (Selection(sources=["acme"]), f"Did you mean --source {ACME}?"),
        (Selection(sources=["ACME"]), f"Did you mean --source {ACME}?"),
        (Selection(sources=["aws.partner/example.com/acne"]), f"Did you mean --source {ACME}?"),
        (
            Selection(sources=["example.com"]),
            f"Did you mean --source {ACME} or aws.partner/example.com/globex?",
        ),
        (Selection(codes=["template"]), "Did you mean --code template_null?"),
        (Selection(codes=["avro_*"]), "No letter there has the code avro_*; there are template_null."),
        (Selection(topics=["order"]), "Did you mean --topic orders?"),
        (Selection(detail_types=["order paid"]), "Did you mean --detail-type Order PAID?"),
    ],
)
def test_the_value_that_was_meant_is_offered(selection: Selection, sentence: str) -> None:
    """The whole name for a part of it, and the right spelling for a wrong one; nothing that is far."""
    letters = [written(0), written(1), written(2, source="aws.partner/example.com/globex")]

    assert [sentence] == said(selection, *letters)


def test_each_filter_that_no_letter_meets_is_named() -> None:
    selection = Selection(codes=["template_nul"], topics=["orders"], sources=["acme"])

    assert ["Did you mean --code template_null?", f"Did you mean --source {ACME}?"] == said(
        selection, written()
    )


def test_letters_that_have_no_source_say_so() -> None:
    """They failed before there was one, so no spelling of it would find them."""
    sentence = "No letter there has a source: it failed before it had one."

    assert [sentence] == said(Selection(sources=["acme"]), written(source=None))


def test_letters_in_another_state_are_counted() -> None:
    resolved = table(_0=DeadLetterState.DELIVERED, _1=DeadLetterState.DELIVERED, _2=DeadLetterState.DISCARDED)
    letters = [written(offset) for offset in range(3)]

    sentence = "With another --state it matches 2 delivered and 1 discarded."
    assert [sentence] == said(Selection(sources=[ACME]), *letters, resolved=resolved)
    asked = Ids(TOPIC, {0: [1]})
    one = "With another --state it matches 1 delivered."
    assert [one] == said(Selection(ids=asked), *letters, resolved=resolved)


def test_older_letters_are_named_as_such() -> None:
    """A newer letter of the same record has another code: it alone is selected."""
    older, newer = written(0, event_id="c/orders/0/0"), written(1, code="tombstone", event_id="c/orders/0/0")

    assert ["It matches 1 that a newer letter of the same record stands for."] == said(
        Selection(codes=["template_null"]), older, newer
    )


def test_where_every_value_is_there_the_times_are_said() -> None:
    """It is their combination that no letter has, or the time."""
    (sentence,) = said(Selection(sources=[ACME], since_ms=NOW_MS + 1), written())

    assert "Letters there were written 2026-11-22T10:15:02Z to 2026-11-22T10:15:02Z" in sentence
    assert [] == said(Selection(sources=["acme"]))
