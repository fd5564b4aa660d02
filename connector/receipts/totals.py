"""What each source got, by receipts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from connector.model import LastDelivery, billed_chunks
from connector.receipts.format import Receipt


class DeliveredTotal(NamedTuple):
    """Deliveries to one source; an event that was sent again counts again."""

    events: int
    size_bytes: int
    """As EventBridge counts it."""
    billed_chunks: int
    last: LastDelivery


def delivered_totals(
    batches: Iterable[Sequence[Receipt]], *, bridge: str, since_ms: int
) -> dict[tuple[str, str], DeliveredTotal]:
    """By target and source what all replicas of a bridge delivered since then, by receipts in any order."""
    totals: dict[tuple[str, str], DeliveredTotal] = {}
    for receipts in batches:
        for receipt in receipts:
            at_ms = receipt.answered_ms
            if receipt.bridge != bridge or at_ms < since_ms:
                continue
            for event in receipt.events:
                key = (receipt.target, event.source)
                events, size_bytes, chunks, last = totals.get(key, (0, 0, 0, None))
                if last is None or at_ms >= last.at_ms:
                    last = LastDelivery(at_ms, event.event_id, event.eventbridge_id)
                totals[key] = DeliveredTotal(
                    events + 1, size_bytes + event.size_bytes, chunks + billed_chunks(event.size_bytes), last
                )
    return totals
