"""What receipts say of each source."""

from __future__ import annotations

from connector.model import BILLED_BYTES, LastDelivery
from connector.receipts.format import DeliveredEvent, Receipt
from connector.receipts.totals import DeliveredTotal, delivered_totals

NOON_MS = 1_795_348_800_000


def receipt(
    at_ms: int, *sources: str, bridge: str = "orders", target: str = "default", size_bytes: int = 100
) -> Receipt:
    """One request with an event of this size for each of these sources."""
    events = [
        DeliveredEvent(f"{at_ms}/{n}", f"id-{at_ms}/{n}", source, "Order", "orders", 0, n, 1, size_bytes)
        for n, source in enumerate(sources)
    ]
    return Receipt(bridge, target, "eu-west-1", None, at_ms - 20, at_ms, events)


def test_every_event_counts_once_and_the_latest_is_the_last() -> None:
    """In whichever order the partitions of the topic give the receipts."""
    first, later = (
        receipt(NOON_MS, "acme", "blue", "acme"),
        receipt(NOON_MS + 5, "acme", size_bytes=BILLED_BYTES + 1),
    )
    expected = {
        ("default", "acme"): DeliveredTotal(
            events=3,
            size_bytes=200 + BILLED_BYTES + 1,
            billed_chunks=4,
            last=LastDelivery(NOON_MS + 5, f"{NOON_MS + 5}/0", f"id-{NOON_MS + 5}/0"),
        ),
        ("default", "blue"): DeliveredTotal(
            1, 100, 1, LastDelivery(NOON_MS, f"{NOON_MS}/1", f"id-{NOON_MS}/1")
        ),
    }

    assert expected == delivered_totals([[first], [], [later]], bridge="orders", since_ms=NOON_MS)
    assert expected == delivered_totals([[later, first]], bridge="orders", since_ms=NOON_MS)


def test_only_this_bridge_and_this_time_count() -> None:
    """Bridges may share a topic, and what is read begins a little before the time that was asked for."""
    batch = [
        receipt(NOON_MS - 1, "acme"),
        receipt(NOON_MS, "acme", bridge="payments"),
        receipt(NOON_MS, "acme", target="us"),
    ]

    assert [("us", "acme")] == list(delivered_totals([batch], bridge="orders", since_ms=NOON_MS))
