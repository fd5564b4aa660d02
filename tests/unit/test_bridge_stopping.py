"""The loop when it ends or gives partitions back: what is still sent, waited for and committed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from connector import config
from connector.errors import RefusedError, UnavailableError
from connector.model import Answer, Delivered, Partition, Retriable
from tests.fakes import accept
from tests.rig import P0, P1, Rig, each, error, failing, record, with_retry


def test_a_stop_while_a_rebalance_drains_has_no_second_deadline(settings: config.Settings) -> None:
    """Both together take `shutdown_timeout`, so that the pod is gone before it is killed."""
    rig = Rig(settings)
    rig.sink.silent = {"default"}
    rig.consumer.put(*(record(n) for n in range(5)), *(record(n, partition=P1) for n in range(5)))
    answers = rig.sink.answers
    began_s = 0.0

    def stopped_meanwhile(timeout_s: float) -> Sequence[tuple[str, int, Answer]]:
        if began_s and rig.clock.now_s > began_s + 1.5:
            rig.bridge.stop()
        return answers(timeout_s)

    def on_poll(polls: int) -> None:
        nonlocal began_s
        if polls == 20:
            began_s = rig.clock.now_s
            rig.bridge.on_revoked([P0])

    rig.sink.answers = stopped_meanwhile  # type: ignore[method-assign]
    rig.consumer.on_poll = on_poll
    rig.bridge.run(rig.consumer)

    assert rig.clock.now_s - began_s < 1.5 + 2.1, "shutdown_timeout is 2 s, and began with the stop"


def test_leaving_the_group_after_the_end_sends_and_waits_for_nothing(settings: config.Settings) -> None:
    """It happens on a thread of its own, on which no connection may be used; all was waited for before."""
    target = settings.eventbridge
    timeouts = target.timeouts.model_copy(update={"connect": 0.25, "read": 0.25})
    target = target.model_copy(update={"timeouts": timeouts})
    rig = Rig(settings.model_copy(update={"eventbridge": target}))
    rig.sink.silent = {"default"}
    rig.consumer.put(*(record(n) for n in range(5)))
    rig.run(lambda: rig.consumer.polls == 20)
    ended_s, committed = rig.clock.now_s, dict(rig.consumer.committed)

    def unusable(timeout_s: float) -> Sequence[tuple[str, int, Answer]]:
        pytest.fail("a connection was used")

    rig.sink.answers = unusable  # type: ignore[method-assign]
    rig.bridge.on_revoked([P0, P1])

    assert (ended_s, committed) == (rig.clock.now_s, rig.consumer.committed)


def test_a_revoked_partition_is_drained_and_committed(settings: config.Settings) -> None:
    """What is in flight is brought to an end; what was not sent is left to the next owner."""
    rig = Rig(settings)
    rig.sink.is_holding = True
    rig.consumer.put(*(record(n) for n in range(45)))

    def until() -> bool:
        if rig.consumer.polls == 10:
            rig.sink.is_holding = False
            rig.sink.answer_held()
            sent = max(rig.delivered_ids)
            rig.bridge.on_revoked([P0])
            assert {P0: sent + 1} == rig.consumer.committed
        return rig.consumer.polls == 20

    rig.run(until)

    assert len(set(rig.delivered_ids)) == len(rig.delivered_ids)


def test_a_partition_that_was_revoked_while_paused_is_read_when_it_comes_back(
    settings: config.Settings,
) -> None:
    """The client keeps it paused from one assignment to the next; unread it would be stuck for ever."""
    rig = Rig(settings)
    rig.sink.is_holding = True
    rig.consumer.put(*(record(n) for n in range(200)))

    def until() -> bool:
        if rig.consumer.polls == 50:
            assert P0 in rig.consumer.paused
            rig.sink.is_holding = False
            rig.sink.answer_held()
            rig.bridge.on_revoked([P0])
            rig.bridge.on_assigned([P0])
        return {P0: 200} == rig.consumer.committed

    rig.run(until)

    assert P0 not in rig.consumer.paused


def test_a_lost_partition_is_forgotten_without_a_commit(settings: config.Settings) -> None:
    """Somebody else reads it already: a commit now would move their position."""
    rig = Rig(settings)
    rig.sink.is_holding = True
    rig.consumer.put(*(record(n) for n in range(20)))

    def until() -> bool:
        if rig.consumer.polls == 10:
            rig.bridge.on_lost([P0])
            rig.sink.is_holding = False
            rig.sink.answer_held()
        return rig.consumer.polls == 20

    rig.run(until)

    assert {P0: 0} == rig.consumer.committed


def test_stopping_sends_what_holds_back_the_commit_and_no_more(settings: config.Settings) -> None:
    """A stop under load is quick and makes no duplicates: untouched records are left to the next reader."""
    rig = Rig(settings)
    rig.consumer.put(*(record(n) for n in range(500)))
    rig.run(lambda: len(rig.sink.requests) >= 3)

    sent = rig.delivered_ids
    assert len(sent) < 500
    assert {P0: max(sent) + 1} == rig.consumer.committed
    assert sorted(sent) == list(range(max(sent) + 1))


def test_stopping_during_an_outage_does_not_wait_for_its_end(settings: config.Settings) -> None:
    """A target that is down is not worth the grace period."""
    rig = Rig(settings, lambda _: error(UnavailableError("connection refused")))
    rig.consumer.put(*(record(n) for n in range(20)))
    rig.run(lambda: len(rig.sink.requests) > 10)

    assert {P0: 0} == rig.consumer.committed


def revoked(rig: Rig, at: Callable[[], bool], partition: Partition = P0) -> list[float]:
    """Has a partition taken away once something is so; returns how long that took, and stops after it."""
    took_s: list[float] = []

    def until() -> bool:
        if not took_s and at():
            began_s = rig.clock.now_s
            rig.bridge.on_revoked([partition])
            took_s.append(rig.clock.now_s - began_s)
        return bool(took_s)

    rig.run(until)
    return took_s


def test_a_rebalance_does_not_wait_for_what_waits_for_its_next_attempt(settings: config.Settings) -> None:
    """It is left to the next owner at once; what is above it and was not sent is not begun any more."""
    rig = Rig(
        with_retry(settings, initial_interval=30.0, max_interval=30.0),
        failing(3, Retriable("InternalFailure", "")),
    )
    rig.consumer.put(*(record(n, key="k" if n >= 3 else None) for n in range(50)))

    (took_s,) = revoked(rig, lambda: 3 in rig.delivered_ids and not rig.bridge._senders["default"].is_busy)

    assert took_s < 0.1
    assert {P0: 3} == rig.consumer.committed
    sent = len(rig.delivered_ids)
    assert rig.delivered_ids.count(3) == 1
    assert sent < 50


def test_a_stop_does_not_wait_for_what_waits_for_its_next_attempt(settings: config.Settings) -> None:
    """Nor for what fails again while it stops."""
    rig = Rig(
        with_retry(settings, initial_interval=30.0, max_interval=30.0),
        each(lambda n: Retriable("InternalFailure", "") if n % 2 else Delivered("id")),
    )
    rig.consumer.put(*(record(n) for n in range(40)))
    rig.run(lambda: 1 in rig.delivered_ids)

    assert rig.clock.now_s < 1_001
    assert {P0: 1} == rig.consumer.committed


@pytest.mark.parametrize("what", ["rebalance", "stop"])
def test_what_is_in_flight_is_waited_for_as_long_as_a_request_may_take(
    settings: config.Settings, what: str
) -> None:
    """`timeouts` are that, and they are less than `shutdown_timeout` here."""
    timeouts = settings.eventbridge.timeouts.model_copy(update={"connect": 0.3, "read": 0.5})
    delivery = settings.delivery.model_copy(update={"shutdown_timeout": 10.0})
    rig = Rig(
        settings.model_copy(
            update={
                "eventbridge": settings.eventbridge.model_copy(update={"timeouts": timeouts}),
                "delivery": delivery,
            }
        )
    )
    rig.sink.silent = {"default"}
    rig.consumer.put(*(record(n) for n in range(5)))
    if what == "rebalance":
        (took_s,) = revoked(rig, lambda: bool(rig.sink.requests))
    else:
        rig.run(lambda: bool(rig.sink.requests))
        took_s = rig.clock.now_s - 1_000

    assert 0.8 <= took_s < 1.0


def test_a_letter_is_waited_for_longer_than_a_request(settings: config.Settings) -> None:
    """As long as a stop may take: an acknowledged letter that is not committed would be written again."""
    timeouts = settings.eventbridge.timeouts.model_copy(update={"connect": 0.1, "read": 0.1})
    rig = Rig(
        settings.model_copy(
            update={"eventbridge": settings.eventbridge.model_copy(update={"timeouts": timeouts})}
        )
    )
    rig.dead_letters.is_down = True
    rig.consumer.put(record(0, type=None))
    acknowledged = rig.dead_letters.acknowledged

    def later() -> Sequence[object]:
        if began_s and rig.clock.now_s > began_s + 1.0:
            rig.dead_letters.is_down = False
        return acknowledged()

    began_s = 0.0
    rig.dead_letters.acknowledged = later  # type: ignore[method-assign, assignment]

    def until() -> bool:
        nonlocal began_s
        began_s = rig.clock.now_s if rig.dead_letters.letters else 0.0
        return bool(began_s)

    rig.run(until)

    assert {P0: 1} == rig.consumer.committed
    assert 1.0 < rig.clock.now_s - began_s < 1.5


def test_a_stop_after_an_acknowledged_letter_waits_for_nothing(settings: config.Settings) -> None:
    """It is not under way any more."""
    rig = Rig(settings)
    rig.consumer.put(record(0, type=None))
    rig.run(lambda: rig.consumer.committed.get(P0) == 1)

    assert rig.clock.now_s < 1_001


def test_what_is_ready_up_to_the_highest_offset_that_was_sent_still_goes(settings: config.Settings) -> None:
    """Left to the next owner, it would hold back the commit and have all above it delivered twice."""
    refusals = iter([error(RefusedError("request_refused", "ValidationException"))])
    rig = Rig(settings, lambda entries: next(refusals, None) or accept(entries))
    rig.consumer.put(*(record(n) for n in range(20)))
    revoked(rig, lambda: bool(rig.sink.requests))

    assert {P0: 20} == rig.consumer.committed
    assert set(range(20)) == set(rig.delivered_ids)


def test_a_stop_does_not_wait_for_what_was_given_up(settings: config.Settings) -> None:
    """A record below what was sent and settled is left, and owed no more."""
    rig = Rig(settings, failing(0, Retriable("InternalFailure", "")))
    rig.consumer.put(*(record(n, key="k") for n in range(5)), *(record(n) for n in range(5, 30)))
    rig.run(lambda: 29 in rig.delivered_ids)

    assert rig.clock.now_s < 1_000.5
    assert {P0: 0} == rig.consumer.committed


def test_letters_of_a_partition_that_was_lost_are_looked_after(settings: config.Settings) -> None:
    """The dead-letter producer is asked for news also when no letter of ours is under way."""
    rig = Rig(settings)
    rig.consumer.put(record(0, type=None))
    polled: list[float] = []
    acknowledged = rig.dead_letters.acknowledged

    def asked() -> Sequence[object]:
        polled.append(rig.clock.now_s)
        return acknowledged()

    rig.dead_letters.acknowledged = asked  # type: ignore[method-assign, assignment]

    def until() -> bool:
        if rig.dead_letters.letters and rig.consumer.polls == 50:
            rig.bridge.on_lost([P0])
            polled.clear()
        return rig.consumer.polls == 100

    rig.dead_letters.is_down = True
    rig.run(until)

    assert 20 < len(polled)
