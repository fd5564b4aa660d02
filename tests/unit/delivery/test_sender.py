"""When requests leave, what happens while a target is down, and which entries have to wait outside."""

from __future__ import annotations

import pytest

from connector import config
from connector.delivery.queue import Backpressure, TargetLimits
from connector.delivery.rate import FAILURES_TO_OPEN, BreakerState
from connector.errors import RefusedError, UnavailableError
from connector.model import Json
from tests.sender_rig import INTERNAL, THROTTLED, UNKNOWN_SOURCE, YES, SenderRig, State, condition, delivered
from tests.target_rig import ACTIVE, DENIED, NO_ANSWER, PENDING, START_S

# When requests leave


def test_an_idle_target_gets_a_request_at_once_and_a_busy_one_once_it_is_full_or_old() -> None:
    """Idle is a target with less than an eighth of its requests in flight."""
    rig = SenderRig(max_in_flight=16)
    rig.add(0)
    assert [[0]] == rig.send()
    rig.add(1)
    assert [[1]] == rig.send()
    rig.add(2, 3, 4)
    assert [] == rig.send()
    assert [] == rig.send(wait_s=0.499)
    assert [[2, 3, 4]] == rig.send(wait_s=0.001)
    rig.add(*range(5, 10))
    assert [[5, 6, 7, 8]] == rig.send()


def test_a_target_with_few_requests_at_once_is_idle_with_none() -> None:
    """An eighth of up to fifteen is still one."""
    for max_in_flight in (2, 15):
        rig = SenderRig(max_in_flight=max_in_flight)
        rig.add(0)
        assert [[0]] == rig.send()
        rig.add(1)
        assert [] == rig.send()


def test_no_more_requests_are_in_flight_than_may_be() -> None:
    """The next leaves with the next answer."""
    rig = SenderRig(max_in_flight=2)
    rig.add(*range(12))
    assert [[0, 1, 2, 3], [4, 5, 6, 7]] == rig.send()
    assert [] == rig.send(wait_s=60)
    assert [0, 1, 2, 3] == delivered(rig.answer(YES, YES, YES, YES, request=0))
    assert [[8, 9, 10, 11]] == rig.send()


def test_each_request_has_the_name_of_its_target_and_a_number_of_its_own() -> None:
    """By that its answer finds it."""
    rig = SenderRig()
    rig.add(*range(8))
    rig.send()
    numbers = [batch_id for _, batch_id, _ in rig.sink.sent]

    assert ["far", "far"] == [target for target, _, _ in rig.sink.sent]
    assert len({*numbers}) == len(numbers)
    assert [4, 5, 6, 7] == delivered(rig.answer(YES, YES, YES, YES))
    assert [0, 1, 2, 3] == delivered(rig.answer(YES, YES, YES, YES, request=0))


def test_the_highest_offset_that_was_sent_is_remembered() -> None:
    """A stop leaves only records that were never sent."""
    rig = SenderRig()
    rig.add(7, 3, 5)
    assert -1 == rig.tracker.sent_offset
    rig.send()
    assert 7 == rig.tracker.sent_offset
    rig.add(4)
    rig.send(wait_s=1)
    assert 7 == rig.tracker.sent_offset


def test_the_rate_that_the_settings_cap_holds_requests_back() -> None:
    """And it is known when the next may leave."""
    rig = SenderRig(max_requests_per_second=2)
    rig.add(*range(8))
    assert [[0, 1, 2, 3]] == rig.send()
    assert START_S + 0.5 == rig.sender.next_s(rig.now_s)
    assert rig.sender.is_backing_off
    assert rig.sender.is_held_up(rig.now_s)
    assert [] == rig.send(wait_s=0.375)
    assert [[4, 5, 6, 7]] == rig.send(wait_s=0.125)


def test_a_rate_that_lets_the_next_request_leave_soon_is_no_backing_off() -> None:
    """A rebalance waits for that; still it explains why something waits."""
    rig = SenderRig(max_requests_per_second=20)
    rig.add(*range(8))
    while rig.send():
        pass
    assert not rig.sender.is_backing_off
    rig.add(8)
    assert rig.sender.is_held_up(rig.now_s)
    assert not rig.sender.is_held_up(rig.now_s + 1)


def test_where_nothing_waits_no_rate_holds_it_up() -> None:
    """There is nothing to explain."""
    rig = SenderRig(max_requests_per_second=20)
    rig.add(0)
    assert [[0]] == rig.send()

    assert not rig.sender.is_held_up(rig.now_s)
    assert not SenderRig().sender.is_held_up(START_S)


def test_the_next_moment_with_something_to_do_is_known() -> None:
    """The end of a pause, a request that may leave, or a lookup: the first of them."""
    rig = SenderRig()
    assert rig.sender.next_s(rig.now_s) is None
    rig.add(0)
    assert rig.now_s == rig.sender.next_s(rig.now_s)
    rig.send()
    rig.answer(INTERNAL)
    wake_s = rig.sender.next_s(rig.now_s)
    assert wake_s is not None
    assert 0.1 <= round(wake_s - rig.now_s, 6) <= 1.0
    rig.state_feed.next_lookup_s = {rig.now_s: rig.now_s + 0.05}
    assert rig.now_s + 0.05 == rig.sender.next_s(rig.now_s)
    rig.state_feed.next_lookup_s = {rig.now_s: rig.now_s + 50}
    assert wake_s == rig.sender.next_s(rig.now_s)


# Targets that are down


def test_after_five_failures_in_a_row_one_request_at_a_time_probes_the_target() -> None:
    """Until one is answered; then all leave again."""
    rig = SenderRig()
    rig.add(*range(12))
    rig.send()
    for _ in range(FAILURES_TO_OPEN):
        for request in range(-len(rig.sender._in_flight), 0):
            rig.fail(UnavailableError("no answer"), request=request)
        rig.send(wait_s=8.0)
    assert rig.sender.is_down
    assert 1 == len(rig.sender._in_flight)
    assert [] == rig.send(wait_s=1)
    assert rig.sender.is_backing_off
    rig.answer(YES, YES, YES, YES)

    assert not rig.sender.is_down
    assert 2 == len(rig.send())


def test_a_target_that_goes_down_and_comes_back_is_reported() -> None:
    """Its state, since when and why, and when the next try is."""
    rig = SenderRig()
    assert [State("far", BreakerState.OK, "up", "starting", 0.0)] == rig.telemetry.states
    rig.add(0)
    rig.go_down()

    assert ["up"] * FAILURES_TO_OPEN + ["down"] == [each.condition for each in rig.telemetry.states]
    state = rig.telemetry.states[-1]
    assert (BreakerState.OPEN, "no answer") == (state.state, state.reason)
    assert 0.1 <= round(state.next_try_s, 6) <= 1.0
    rig.now_s += 10
    rig.send()
    rig.answer(THROTTLED)
    assert ("throttled", BreakerState.OK) == (condition(rig), rig.telemetry.states[-1].state)
    rig.send(wait_s=100)
    rig.answer(INTERNAL)
    assert "throttled" == condition(rig)
    rig.send(wait_s=100)
    rig.answer(YES)
    assert "up" == condition(rig)
    assert rig.telemetry.states[-1].next_try_s == 0.0


def test_a_target_that_is_down_is_asked_without_an_event_where_all_that_waits_is_held() -> None:
    """It reaches no customer. Any answer shows that the target is up."""
    rig = SenderRig()
    rig.expect("blue")
    rig.add(0)
    rig.go_down()
    rig.sender.discard(lambda _: True)
    assert [] == rig.send(wait_s=8.0)
    rig.expect("blue", seen=PENDING)
    rig.add(1, policy="hold")

    assert [[]] == rig.send(wait_s=8.0)
    assert [] == rig.send(wait_s=8.0)
    result = rig.fail(UnavailableError("no answer"))
    assert ([], []) == (result.delivered, result.failed)
    assert [[]] == rig.send(wait_s=100)
    rig.fail(RefusedError("request_refused", "no entries"))
    assert not rig.sender.is_down
    assert [] == rig.send(wait_s=100)
    assert 1 == rig.sender.held


def test_a_target_that_is_down_is_asked_without_an_event_while_lookups_are_waited_for() -> None:
    """They may wait for the same outage."""
    rig = SenderRig(max_requests_per_second=1000)
    rig.add(0)
    rig.go_down()
    rig.sender.discard(lambda _: True)
    rig.sender.expect("acme", "hold")
    rig.add(1, source="acme", policy="hold")
    assert [[]] == rig.send(wait_s=8.0)
    rig.answer()
    assert not rig.sender.is_down
    assert 0 == rig.sender.settled


def test_a_target_that_is_down_is_probed_with_an_entry_that_may_leave() -> None:
    """And nothing at all before its time, or where nothing waits but for its next attempt."""
    rig = SenderRig()
    rig.add(0)
    rig.go_down()
    assert [] == rig.send()
    assert [[0]] == rig.send(wait_s=8.0)
    rig.fail(UnavailableError("no answer"))
    wake_s = rig.sender._entry_queue.next_wake_s
    assert wake_s is not None
    assert [] == rig.send(wait_s=min(0.0, wake_s - rig.now_s - 0.001))


def test_while_a_target_is_down_the_states_of_its_sources_grow_old() -> None:
    """The gate learns of it."""
    rig = SenderRig()
    rig.state_feed.max_age_s = 10.0
    rig.expect("blue")
    rig.add(0)
    rig.sender.step(rig.now_s + 11)
    assert not rig.sender.source_gate.is_awaited
    rig.go_down()
    rig.sender.step(rig.now_s)

    assert rig.sender.source_gate.is_awaited
    assert [rig.now_s] == rig.state_feed.postponed_s


def test_of_a_target_that_is_down_enough_is_read_once_all_requests_could_be_full() -> None:
    """Also where there are many sources."""
    rig = SenderRig(max_in_flight=2)
    rig.add(0)
    rig.go_down()
    rig.send(wait_s=8.0)
    enough = []
    for offset in range(1, 10):
        enough.append(rig.sender.has_enough)
        rig.add(offset)

    assert [False] * 8 + [True] == enough


def test_enough_is_read_where_no_request_may_leave_and_the_next_ones_are_full() -> None:
    """While one may leave, reading on makes sending faster."""
    rig = SenderRig(has_many_sources=False, max_in_flight=2)
    rig.add(*range(15))
    rig.send()
    assert not rig.sender.has_enough
    rig.add(15)
    assert rig.sender.has_enough
    rig.answer(YES, YES, YES, YES)
    assert not rig.sender.has_enough


def test_of_many_sources_more_is_read_than_the_next_requests_hold() -> None:
    """Those with much waiting must not keep the others from being read."""
    rig = SenderRig(max_in_flight=2)
    rig.add(*range(16))
    rig.send()

    assert not rig.sender.has_enough


def test_of_many_sources_each_rests_that_fails_while_nothing_is_accepted() -> None:
    """Their entries count as held until then, and leave room for those of others. A single one is sent on."""
    for has_many_sources, held in ((True, 2), (False, 0)):
        rig = SenderRig(has_many_sources=has_many_sources)
        rig.add(0)
        rig.add(1, source="acme")
        rig.send()
        rig.answer(INTERNAL, INTERNAL)
        assert held == rig.sender.held


# Backpressure


def test_an_entry_that_has_to_wait_for_its_target_may_come_once_there_is_room() -> None:
    """Once half of the room is free."""
    rig = SenderRig(limits=TargetLimits(records=4))
    *taken, late = rig.add(*range(5))
    assert [None] * 4 == taken
    assert isinstance(late, Backpressure)
    assert ("target", False) == (late.reason, late.has_room())
    assert (4, 0) == rig.sender.inside
    rig.send()
    rig.answer(YES, YES, YES, INTERNAL)
    assert late.has_room()


def test_the_limits_of_a_target_hold_for_bytes_and_for_held_entries() -> None:
    """Each of them by itself."""
    rig = SenderRig(limits=TargetLimits(record_bytes=6))
    assert [None] * 3 == rig.add(0, 1, 2)
    assert isinstance(rig.add(3)[0], Backpressure)
    assert (3, 6) == rig.sender.inside
    for limits in (TargetLimits(held_records=3), TargetLimits(held_bytes=5)):
        rig = SenderRig(limits=limits)
        rig.expect("blue", seen=PENDING)
        assert [None] * 3 == rig.add(0, 1, 2, policy="hold")
        assert isinstance(rig.add(3, policy="hold")[0], RefusedError)
        assert (3, 6) == (rig.sender.held, rig.sender.held_bytes)


@pytest.mark.parametrize("limit", [{"max_held_records": 3}, {"max_held_bytes": 1024}])
def test_the_limits_of_a_source_are_those_of_the_settings(limit: dict[str, Json]) -> None:
    """By count, and by bytes."""
    rig = SenderRig(sources=config.Sources.model_validate(limit))
    rig.expect("blue", seen=PENDING)
    results = rig.add(*range(600), policy="hold")

    held = 3 if "max_held_records" in limit else 512
    assert [None] * held == results[:held]
    assert all(isinstance(each, RefusedError) for each in results[held:])


def test_an_entry_of_a_source_that_was_found_closed_is_refused_with_the_reason() -> None:
    """Its dead letter names the state."""
    rig = SenderRig()
    rig.expect("blue", policy="dead_letter", seen=PENDING)
    [refused] = rig.add(0, policy="dead_letter")

    assert isinstance(refused, RefusedError)
    assert "source_inactive" == refused.code
    assert "PENDING" in str(refused)


@pytest.mark.parametrize(("when", "is_refused"), [("dead_letter", True), ("pause", False)])
def test_entries_that_a_held_source_has_no_room_for_are_refused_or_wait_by_the_settings(
    when: str, is_refused: bool
) -> None:
    """With `pause` it may come once half of it is free, or once the source is open."""
    rig = SenderRig(sources=config.Sources.model_validate({"max_held_records": 2, "when_held_is_full": when}))
    rig.expect("blue", seen=PENDING)
    *_, late = rig.add(0, 1, 2, policy="hold")

    assert isinstance(late, RefusedError if is_refused else Backpressure)
    if isinstance(late, Backpressure):
        assert ("source", False) == (late.reason, late.has_room())
        rig.expect("blue")
        assert late.has_room()


def test_entries_that_a_source_without_a_lookup_has_no_room_for_wait_outside() -> None:
    """Nothing shows that it is closed: its partition waits, and goes on with any answer."""
    for seen in (ACTIVE, PENDING, NO_ANSWER):
        rig = SenderRig(sources=config.Sources.model_validate({"max_held_records": 2}))
        rig.sender.expect("blue", "hold")
        *_, late = rig.add(0, 1, 2, policy="hold")
        assert isinstance(late, Backpressure)
        assert ("source", False) == (late.reason, late.has_room())
        rig.expect("blue", seen=seen)
        assert late.has_room()


def test_entries_that_a_resting_source_has_no_room_for_wait_outside() -> None:
    """They are not dead-lettered for a failure of EventBridge's own."""
    rig = SenderRig(limits=TargetLimits(held_records=2))
    rig.add(0, 1)
    rig.add(2, source="acme")
    rig.send()
    rig.answer(INTERNAL, INTERNAL, YES)
    [late] = rig.add(3)

    assert 2 == rig.sender.held
    assert isinstance(late, Backpressure)
    assert "source" == late.reason
    rig.send(wait_s=8.0)
    rig.answer(YES, YES)
    assert late.has_room()


# Replay


@pytest.mark.parametrize(("sends_unseen", "is_given_up"), [(True, False), (False, True)])
def test_only_a_replay_gives_up_entries_of_a_source_that_is_refused_and_active(
    sends_unseen: bool, is_given_up: bool
) -> None:
    """After `retry.max_attempts` refusals in a row."""
    rig = SenderRig(sends_unseen=sends_unseen)
    rig.expect("blue")
    rig.add(0, policy="hold")
    away = []
    for _ in range(3):
        assert [[0]] == rig.send(wait_s=60.0)
        rig.answer(UNKNOWN_SOURCE)
        rig.state_feed.news.append(("blue", ACTIVE, rig.now_s))
        away += rig.sender.step(rig.now_s)
        rig.sender.step(rig.now_s + 60.0)

    assert is_given_up == bool(away)


@pytest.mark.parametrize("seen", [DENIED, NO_ANSWER], ids=["denied", "no answer"])
def test_a_replay_sends_unseen_only_where_lookups_are_denied(seen: object) -> None:
    """The bridge sends either way."""
    for sends_unseen in (True, False):
        rig = SenderRig(sends_unseen=sends_unseen)
        rig.expect("blue", seen=seen)
        rig.add(0, policy="hold")

        assert (sends_unseen or seen is DENIED) == bool(rig.send())
