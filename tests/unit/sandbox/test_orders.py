"""The demo's orders are what they claim to be."""

from __future__ import annotations

from collections import Counter
from io import BytesIO

import fastavro
import pytest
import yaml

from connector.sandbox import orders
from connector.sandbox.configuration import for_sandbox


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


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:9477", False),
        ("http://localhost:9477", False),
        ("http://sandbox:9477", True),
        ("https://sandbox:9477", False),
    ],
)
def test_a_bridge_elsewhere_is_told_that_it_may_send_without_tls(url: str, allowed: bool) -> None:
    """It would refuse to start otherwise; and nothing is allowed that need not be."""
    addresses = {
        "kafka": {"bootstrap.servers": "b:1"},
        "schema_registry": "http://r",
        "eventbridge": url,
    }

    given = yaml.safe_load(orders.config(addresses, http_port=8080))["eventbridge"]
    turned = for_sandbox({"eventbridge": {"region": "eu-central-1"}}, addresses, http={})["eventbridge"]

    assert allowed == given.get("allow_insecure", False) == turned.get("allow_insecure", False)
