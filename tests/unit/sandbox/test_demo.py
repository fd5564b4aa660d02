"""The demo's account cannot be fooled."""

from __future__ import annotations

import pytest

from connector.sandbox import orders
from connector.sandbox.demo import Account, Place


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


def test_an_account_with_nothing_delivered_is_a_failure() -> None:
    """Also one that balances: every record in the dead-letter topic, or none at all."""
    letters = {Place(0, n): "template_null" for n in range(2)}

    assert "no event was delivered" in account(delivered={}, events=0, letters=letters).problems()
    assert ["no event was delivered"] == Account().problems()


def test_a_second_delivery_is_a_duplicate_and_no_fault() -> None:
    """At least once: the account balances, and says how many came twice."""
    twice = account(events=2)

    assert [] == twice.problems()
    assert 1 == twice.duplicates()
