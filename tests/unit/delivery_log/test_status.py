"""The status that a record gets, from what is known of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from connector.dead_letters.resolutions import DeadLetterState, Resolution
from connector.delivery_log.bridges import BridgeEvidence, Readiness
from connector.delivery_log.search import FoundRecord, Mapped
from connector.delivery_log.status import DeliveryStatus, Evidence, FoundDelivery, FoundLetter, found_event
from connector.model import Partition, Position

SCHEMAS = Path(__file__).parents[3] / "schemas"
ACME = "aws.partner/example.com/acme"
AT = Position(Partition("orders", 0), 10)
NOTE = Mapped(ACME, "Note", "default")
RECORD = FoundRecord(AT, "c/orders/0/10/1000", 1_000, NOTE)
GONE = RECORD._replace(mapped=None, missing="retention deleted it; orders[0] holds 20 to 30")
SETTLED = Evidence(
    committed=11,
    no_receipts=None,
    oldest_receipt_ms=500,
    holds_inactive=True,
    topic_names={"orders"},
    bridges=BridgeEvidence(),
)
UNSETTLED = replace(SETTLED, committed=7)
DELIVERY = FoundDelivery(
    "c/orders/0/10/1000", "aws-1", "request-1", 2_000, 1, "default", "eu-central-1", ACME, "Note"
)
LETTER = FoundLetter(
    Position(Partition("orders.dlt", 0), 3),
    "c/orders/0/10/1000",
    "template_null",
    "topics.orders.event.source: found nothing",
    3_000,
    None,
    None,
    DeadLetterState.OPEN,
)
REPLAYED = LETTER._replace(
    state=DeadLetterState.DELIVERED, resolution=Resolution(DeadLetterState.DELIVERED, 4_000, 3_000, "aws-2")
)
PENDING = BridgeEvidence(
    sources=[{"source": ACME, "target": "default", "state": "PENDING", "since": "2026-11-22T10:00:00Z"}]
)


@pytest.mark.parametrize(
    ("record", "deliveries", "letter", "evidence", "expected"),
    [
        (RECORD, [DELIVERY], None, SETTLED, "delivered"),
        (GONE, [DELIVERY], None, SETTLED, "delivered"),
        (RECORD, [DELIVERY], None, UNSETTLED, "delivered"),
        (RECORD, [], REPLAYED, SETTLED, "delivered"),
        (RECORD, [DELIVERY], LETTER, SETTLED, "delivered"),
        (RECORD, [], LETTER, SETTLED, "dead-lettered"),
        (GONE, [], LETTER, SETTLED, "dead-lettered"),
        (GONE, [], None, SETTLED, "gone"),
        (RECORD._replace(mapped=NOTE._replace(rule="filter")), [], None, SETTLED, "filtered"),
        (RECORD, [], None, UNSETTLED, "waiting"),
        (RECORD, [], None, replace(SETTLED, committed=10), "waiting"),
        (RECORD, [], None, replace(SETTLED, committed=None), "waiting"),
        (RECORD, [], None, replace(UNSETTLED, bridges=PENDING), "held"),
        (RECORD, [], None, replace(UNSETTLED, bridges=PENDING, holds_inactive=False), "waiting"),
        (RECORD, [], None, SETTLED, "unknown"),
        (RECORD, [], None, replace(SETTLED, bridges=PENDING), "unknown"),
    ],
)
def test_each_status(
    record: FoundRecord,
    deliveries: list[FoundDelivery],
    letter: FoundLetter | None,
    evidence: Evidence,
    expected: DeliveryStatus,
) -> None:
    """Receipts say most, then letters, then the record itself, then what the group has committed."""
    assert expected == found_event(record, deliveries, letter, evidence).status


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (replace(SETTLED, no_receipts="receipts are off"), "since receipts are off"),
        (replace(SETTLED, oldest_receipt_ms=None), "there are no receipts yet"),
        (replace(SETTLED, oldest_receipt_ms=1_001), "older than the oldest receipt"),
        (SETTLED, "receipts_lost_total"),
        (replace(SETTLED, are_letters_known=False), "dead letters cannot be read"),
    ],
)
def test_why_a_settled_record_is_unknown(evidence: Evidence, expected: str) -> None:
    assert expected in (found_event(RECORD, [], None, evidence).why or "")


def test_why_a_record_waits() -> None:
    """How far the group is from it, what bridges say, and that it would fail."""
    says = {"targets_down": {"default": "it answers 503"}, "reasons": {"kafka": "away"}}
    ready = Readiness.model_validate({"first_lookups": {}, "sources_failing": [], **says})
    down = BridgeEvidence(ready=[ready])
    failing = RECORD._replace(mapped=NOTE._replace(error="template_null"))

    assert (
        "it answers 503; away; it would be dead-lettered now: template_null; "
        "the group has committed orders[0] up to 7, 3 before it"
    ) == found_event(failing, [], None, replace(UNSETTLED, bridges=down)).why
    first = found_event(RECORD, [], None, replace(SETTLED, committed=10))
    assert "it is the first record of orders[0] that is not settled" == first.why


def test_deliveries_are_listed_the_newest_first() -> None:
    later = DELIVERY._replace(eventbridge_id="aws-2", answered_ms=9_000)

    assert [later, DELIVERY] == found_event(RECORD, [DELIVERY, later], None, SETTLED).deliveries


def test_the_json_is_what_its_schema_says() -> None:
    """Of every status, with and without deliveries and letters."""
    schema = Draft202012Validator(json.loads((SCHEMAS / "found-events.json").read_text()))
    unnamed = GONE._replace(event_id=None, timestamp_ms=None)
    events = [
        found_event(RECORD, [DELIVERY], REPLAYED, SETTLED),
        found_event(RECORD, [], LETTER, SETTLED),
        found_event(unnamed, [], None, SETTLED),
        found_event(RECORD, [], None, UNSETTLED),
    ]
    shown = {"events": [each.as_json() for each in events], "problems": ["receipts are off"], "more": 3}

    assert [] == [error.message for error in schema.iter_errors(shown)]
    assert not schema.is_valid({**shown, "events": [{**events[0].as_json(), "status": "lost"}]})
