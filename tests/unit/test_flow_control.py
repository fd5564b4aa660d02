"""Which partitions are paused, and which stay so although nothing explains it."""

from __future__ import annotations

from connector.flow_control import STUCK_S, Pauses
from connector.model import Partition
from connector.telemetry.metrics import PauseReason

P0, P1 = Partition("orders", 0), Partition("orders", 1)


def paused(*partitions: Partition, reason: PauseReason = "pending") -> Pauses:
    pauses = Pauses()
    pauses.change(dict.fromkeys(partitions, reason), ())
    return pauses


def test_only_what_changes_is_paused_and_resumed() -> None:
    """And of a partition that was assigned anew nobody knows whether it is paused."""
    pauses = paused(P0)

    assert ({P1}, {P0}) == pauses.change({P1: "slow"}, ())
    assert (set(), {P0}) == pauses.change({P1: "slow"}, {P0})
    assert {"slow": 1} == pauses.counts()


def test_a_partition_that_waits_for_what_does_not_move_is_named_with_reason_and_time() -> None:
    """After 30 s, and with how many more there are."""
    pauses = paused(P0, P1)

    assert [None] * 2 == [pauses.problem(at_s, lambda *_: 7) for at_s in (0.0, STUCK_S)]
    problem = pauses.problem(STUCK_S + 5, lambda *_: 7)

    assert problem is not None
    assert "orders[0] has been paused for 35 s (pending), and 1 more" in problem


def test_a_partition_that_waits_for_what_moves_is_not_stuck() -> None:
    """As behind a backlog that a rate limit drains for an hour."""
    pauses = paused(P0)

    assert {None} == {pauses.problem(at_s * 20.0, lambda *_, n=at_s: n) for at_s in range(180)}


def test_a_pause_that_something_outside_explains_is_none_and_its_time_counts_anew_after_it() -> None:
    """A target that was down for an hour leaves 30 s to get going."""
    pauses = paused(P0)
    for at_s in range(3_600):
        assert pauses.problem(float(at_s), lambda *_: None) is None
    for at_s in range(3_600, 3_630):
        assert pauses.problem(float(at_s), lambda *_: 7) is None

    assert pauses.problem(3_631.0, lambda *_: 7)


def test_a_partition_that_resumed_or_was_taken_away_is_not_stuck() -> None:
    """A pause that ends begins from nothing the next time."""
    pauses = paused(P0, P1)
    pauses.problem(0.0, lambda *_: 7)
    pauses.forget(P1)
    pauses.change({}, ())
    pauses.problem(10.0, lambda *_: 7)
    pauses.change({P0: "pending", P1: "pending"}, ())

    assert [None] * 2 == [pauses.problem(at_s, lambda *_: 7) for at_s in (20.0, 45.0)]
