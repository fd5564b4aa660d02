"""The checker of all other tests must itself fail when something is wrong."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import Partition, Position, Record
from tests.accounting import Balance, Delivery, Letter, Sample, balance, deliveries, letters

ORDERS = Partition("orders", 0)
DEAD = Partition("orders.dlt", 0)


def at(offset: int, partition: Partition = ORDERS) -> Position:
    return Position(partition, offset)


def delivery(offset: int) -> Delivery:
    return Delivery(at(offset), f"id-{offset}")


def letter(offset: int, *, code: str = "avro_invalid", stands_at: int = 0) -> Letter:
    return Letter(at(offset), code, {}, Record(DEAD, stands_at, 0, None, b"", ()))


def produced(count: int, *, keys: int = 1) -> dict[Position, bytes | None]:
    return {at(offset): str(offset % keys).encode() for offset in range(count)}


def test_counts_everything_once() -> None:
    """Duplicates are counted apart and change nothing else."""
    result = balance(
        produced=produced(4),
        delivered=[delivery(0), delivery(1), delivery(0)],
        letters=[letter(2)],
        dead={at(2): "avro_invalid"},
        filtered=[at(3)],
    )

    assert Balance(produced=4, delivered=2, dead_lettered=1, filtered=1, duplicates=1) == result
    assert "produced 4 = delivered 2 + dead-lettered 1 + filtered 1, duplicates 1 (33.3%)" == str(result)


def test_a_loss_fails_and_is_named() -> None:
    """A position that reached nothing is lost."""
    with pytest.raises(AssertionError, match=r"1 lost: .*: orders\[0\]@1"):
        balance(produced=produced(3), delivered=[delivery(0), delivery(2)])


@pytest.mark.parametrize(
    ("message", "delivered", "dead_letters", "dead", "filtered"),
    [
        ("delivered, but a filter", [delivery(0)], [], {}, [at(0)]),
        ("dead-lettered, but a filter", [], [letter(0)], {}, [at(0)]),
        ("dead-lettered, but nothing is wrong", [], [letter(0)], {}, []),
        ("delivered, but it should have been dead", [delivery(0)], [], {at(0): "avro_invalid"}, []),
        ("another code than expected", [], [letter(0)], {at(0): "tombstone"}, []),
        ("settled, but never produced", [delivery(0), delivery(7)], [], {}, []),
        ("more than one id", [delivery(0), Delivery(at(0), "other")], [], {}, []),
    ],
)
def test_the_wrong_end_fails(
    message: str,
    delivered: list[Delivery],
    dead_letters: list[Letter],
    dead: dict[Position, str],
    filtered: list[Position],
) -> None:
    """Each position ends where it belongs and nowhere else."""
    with pytest.raises(AssertionError, match=message):
        balance(produced=produced(1), delivered=delivered, letters=dead_letters, dead=dead, filtered=filtered)


def test_what_was_sent_into_the_void_unseen_is_counted_apart() -> None:
    """EventBridge accepted and dropped it before the bridge could see that the source is not ACTIVE: that is
    no loss of the bridge's, and no delivery. What was delivered or dead-lettered as well counts as that."""
    result = balance(
        produced=produced(4),
        delivered=[delivery(0), delivery(1)],
        letters=[letter(2, code="source_inactive")],
        may_be_dead={at(2): "source_inactive", at(3): "source_inactive"},
        dropped=[delivery(1), delivery(2), delivery(3)],
    )

    assert Balance(produced=4, delivered=2, dead_lettered=1, filtered=0, duplicates=0, dropped=1) == result
    assert "+ filtered 0 + dropped while PENDING 1, duplicates" in str(result)


def test_what_was_sent_into_the_void_knowingly_fails() -> None:
    """Also where it was delivered later on: nobody may count on that."""
    with pytest.raises(AssertionError, match=r"1 sent to a source that was not ACTIVE and had been seen so"):
        balance(
            produced=produced(2),
            delivered=[delivery(0), delivery(1)],
            dropped=[delivery(1)],
            void=[delivery(1)],
        )


def test_a_letter_that_may_be_has_one_code_only() -> None:
    """A customer who is away excuses the letters that say so, and no others."""
    with pytest.raises(AssertionError, match=r"another code than expected \(retries_exhausted\)"):
        balance(
            produced=produced(1),
            delivered=[],
            letters=[letter(0, code="retries_exhausted")],
            may_be_dead={at(0): "source_inactive"},
        )


def test_what_is_dropped_settles_when_it_happened() -> None:
    """A commit before the event was accepted for nothing is too early, too."""
    for count, is_right in ((0, False), (1, True)):
        samples = [Sample({ORDERS: 1}, 0, {}, dropped=count)]
        if is_right:
            balance(produced=produced(1), delivered=[], dropped=[delivery(0)], samples=samples)
            continue
        with pytest.raises(AssertionError, match="sample 0"):
            balance(produced=produced(1), delivered=[], dropped=[delivery(0)], samples=samples)


def test_order_is_judged_by_first_deliveries() -> None:
    """A repetition of an old event breaks no order; a first delivery out of turn does."""
    repeated = [delivery(0), delivery(1), delivery(0), delivery(1), delivery(2)]
    swapped = [delivery(1), delivery(0), delivery(2)]

    assert 2 == balance(produced=produced(3), delivered=repeated, order="key").duplicates
    assert 0 == balance(produced=produced(3, keys=3), delivered=swapped, order="key").duplicates
    with pytest.raises(AssertionError, match=r"of the same key: orders\[0\]@0"):
        balance(produced=produced(3), delivered=swapped, order="key")
    with pytest.raises(AssertionError, match="of the same partition"):
        balance(produced=produced(3, keys=3), delivered=swapped, order="partition")


def test_a_commit_past_an_unsettled_position_fails() -> None:
    """What counts is the moment: settling a position later does not excuse the commit."""
    delivered = [delivery(0), delivery(2), delivery(1)]
    right = Sample({ORDERS: 1}, 2, {})
    wrong = Sample({ORDERS: 3}, 2, {})
    late = Sample({ORDERS: 3}, 3, {})

    assert 3 == balance(produced=produced(3), delivered=delivered, samples=[right, late]).delivered
    with pytest.raises(AssertionError, match=r"sample 1: orders\[0\] was committed at 3, past orders\[0\]@1"):
        balance(produced=produced(3), delivered=delivered, samples=[right, wrong, late])


def test_a_letter_settles_only_once_it_stands_in_its_topic() -> None:
    """A commit before the letter was acknowledged is too early."""
    dead = {at(0): "avro_invalid"}
    early = Sample({ORDERS: 1}, 0, {DEAD: 4})
    in_time = Sample({ORDERS: 1}, 0, {DEAD: 5})

    assert (
        1
        == balance(
            produced=produced(1), delivered=[], letters=[letter(0, stands_at=4)], dead=dead, samples=[in_time]
        ).produced
    )
    with pytest.raises(AssertionError, match="sample 0"):
        balance(
            produced=produced(1), delivered=[], letters=[letter(0, stands_at=4)], dead=dead, samples=[early]
        )


def test_holes_are_nothing_to_wait_for() -> None:
    """Offsets that were never produced (markers of transactions, compaction) do not hold a commit back."""
    line = {at(0): b"", at(5): b""}

    assert (
        2
        == balance(
            produced=line,
            delivered=[delivery(0), delivery(5)],
            samples=[Sample({ORDERS: 5}, 1, {}), Sample({ORDERS: 7}, 2, {})],
        ).delivered
    )


@given(count=st.integers(1, 40), seed=st.integers())
def test_agrees_with_the_definition(count: int, seed: int) -> None:
    """A sample fails exactly when some position below the commit is not among the settled ones."""
    chance = random.Random(seed)
    delivered = [delivery(offset) for offset in chance.sample(range(count), count)]
    samples = [
        Sample({ORDERS: chance.randrange(count + 1)}, known, {})
        for known in sorted(chance.choices(range(count + 1), k=3))
    ]
    too_high = any(
        not {at(offset) for offset in range(sample.committed[ORDERS])}
        <= {each.position for each in delivered[: sample.delivered]}
        for sample in samples
    )

    try:
        balance(produced=produced(count), delivered=delivered, samples=samples)
    except AssertionError:
        assert too_high
    else:
        assert not too_high


def test_reads_positions_from_details_and_headers() -> None:
    """Events carry their position in the detail's metadata, letters in Kafka Connect's headers."""
    headers = (
        ("trace", b"\xff"),
        ("__connect.errors.topic", b"orders"),
        ("__connect.errors.partition", b"0"),
        ("__connect.errors.offset", b"7"),
        ("partner-bridge.code", b"tombstone"),
    )
    (dead,) = letters([Record(DEAD, 0, 0, None, None, headers)])

    assert [Delivery(at(3), "a")] == deliveries(
        [{"_kafka": {"id": "a", "topic": "orders", "partition": 0, "offset": 3}}]
    )
    assert (at(7), "tombstone") == (dead.origin, dead.code)
