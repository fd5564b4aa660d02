"""The demo's orders are what they claim to be."""

from __future__ import annotations

from collections import Counter
from io import BytesIO

import fastavro

from connector.sandbox import orders


def test_orders_are_the_same_for_the_same_seed() -> None:
    """Who runs the demo twice sees the same numbers."""
    assert list(orders.records(200, 1)) == list(orders.records(200, 1))
    assert list(orders.records(200, 1)) != list(orders.records(200, 1, seed=2))


def test_orders_are_broken_in_at_least_six_ways() -> None:
    """Each kind occurs, and most records are good."""
    fates = Counter(record.becomes for record in orders.records(2000, 1))

    assert len(fates.keys() - {"event", "filtered"}) >= 6
    assert fates["filtered"] > 0
    assert fates["event"] > 0.9 * 2000


def test_a_good_order_reads_back() -> None:
    """Five bytes of framing, then Avro of the example's schema."""
    (record,) = orders.records(1, 7)
    assert record.value

    order = fastavro.schemaless_reader(BytesIO(record.value[5:]), fastavro.parse_schema(orders.SCHEMA), None)

    assert b"\x00\x00\x00\x00\x07" == record.value[:5]
    assert isinstance(order, dict)
    assert record.key.decode() == str(order["order_id"])
    assert order["total"] == sum(line["quantity"] * line["price"] for line in order["lines"])
