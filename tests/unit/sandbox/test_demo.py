"""The demo's orders are what they claim to be, and its account cannot be fooled."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from pathlib import Path

import fastavro
import pytest

from connector import config
from connector.sandbox import orders
from connector.sandbox.demo import Account, Place
from connector.sandbox.services import Sandbox


def account(**change: object) -> Account:
    """Three records: one delivered, one dead-lettered, one filtered."""
    fates: list[orders.Fate] = ["event", "template_null", "filtered"]
    balanced = Account(
        produced={Place(0, n): orders.Produced(b"", b"", fate, "") for n, fate in enumerate(fates)},
        delivered={Place(0, 0): {"id"}},
        events=1,
        letters={Place(0, 1): "template_null"},
        letter_count=1,
        filtered=1,
    )
    for name, value in change.items():
        setattr(balanced, name, value)
    return balanced


def test_a_balanced_account_is_one_line() -> None:
    """N = A + B + C, in exactly these words."""
    balanced = account()

    assert [] == balanced.problems()
    assert "produced 3 = delivered 1 + dead-lettered 1 + filtered 1" == str(balanced)
    assert (3, 0) == (balanced.settled(), balanced.duplicates())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"delivered": {}}, "lost"),
        ({"letters": {}}, "lost"),
        ({"filtered": 0}, "counts 0 filtered"),
        ({"filtered": 2}, "counts 2 filtered"),
        ({"delivered": {Place(0, 0): {"id"}, Place(0, 1): {"id2"}}}, "delivered and dead-lettered"),
        ({"delivered": {Place(0, 0): {"id", "other"}}}, "several ids"),
        ({"delivered": {Place(0, 0): {"id"}, Place(9, 9): {"id2"}}}, "never produced"),
    ],
)
def test_an_account_that_does_not_balance_says_why(change: dict[str, object], words: str) -> None:
    """Lost, counted wrongly, in two classes, under two ids, or out of nowhere."""
    assert words in " ".join(account(**change).problems())


def test_a_second_delivery_is_a_duplicate_and_no_fault() -> None:
    """At least once: the account balances, and says how many came twice."""
    twice = account(events=2)

    assert [] == twice.problems()
    assert 1 == twice.duplicates()


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


def test_the_configuration_of_the_sandbox_is_valid(tmp_path: Path) -> None:
    """What it prints can be given to the bridge as it is."""
    with Sandbox() as sandbox:
        file = tmp_path / "bridge.yaml"
        file.write_text(sandbox.config(http_port=8080), encoding="utf-8")

        settings = config.load(file, {})

        assert sandbox.eventbridge.url == settings.eventbridge.endpoint_url
        assert sandbox.broker.bootstrap == settings.kafka.options["bootstrap.servers"]
        assert orders.TOPIC in settings.topics
