"""The queue of one target by itself: requests, order, room, gates and rests."""

from __future__ import annotations

import pytest

from connector import config
from connector.delivery import queue as queue_module
from connector.delivery.pending import Gate, PendingEntry, SourceQueue
from connector.delivery.queue import EntryQueue, TargetLimits, room_beside
from connector.ledger import OffsetTracker
from connector.model import Entry, Partition, Record

P0 = Partition("orders", 0)


def pending(
    offset: int,
    *,
    source: str = "blue",
    size_bytes: int = 1,
    record_bytes: int = 0,
    tracker: OffsetTracker | None = None,
    added_s: float = 0.0,
) -> PendingEntry:
    """An entry whose event is two bytes long, made of a record of `record_bytes`."""
    record = Record(P0, offset, None, None, b"x" * record_bytes, ())
    entry = Entry(source, "d", b"{}", size_bytes)
    return PendingEntry(record, tracker or OffsetTracker(P0), entry, added_s)


def offsets(batch: list[PendingEntry]) -> list[int]:
    return [each.record.offset for each in batch]


def filled(queue: EntryQueue, *counts: int) -> EntryQueue:
    """A source for each count, with that many entries, numbered from 0, 100, 200, …"""
    for number, count in enumerate(counts):
        for offset in range(count):
            assert queue.add(pending(100 * number + offset, source=f"s-{number}"), None) is None
    return queue


def hold(queue: EntryQueue, source: str = "blue", gate: Gate = Gate.HELD) -> SourceQueue:
    met = queue.meet(source, "hold")
    queue.set_gate(met, gate)
    return met


def put(queue: EntryQueue, offset: int, source: str = "blue", *, key: str | None = None) -> object:
    """Add an entry of a topic that holds; returns its obstacle."""
    return queue.add(pending(offset, source=source), key, "hold")


# Requests


def test_sources_share_a_request_in_equal_parts() -> None:
    """Each gives its share in its turn; one that has less leaves its place to the others."""
    queue = filled(EntryQueue(max_count=10, max_bytes=1000), 20, 20, 1)

    assert [0, 1, 2, 3, 100, 101, 102, 103, 200, 4] == offsets(queue.next_batch())
    assert [104, 105, 106, 107, 108, 5, 6, 7, 8, 9] == offsets(queue.next_batch())


def test_a_source_whose_entry_does_not_fit_is_first_in_the_next_request() -> None:
    """It loses no turn by that."""
    queue = EntryQueue(max_count=10, max_bytes=100)
    queue.add(pending(0, source="a", size_bytes=60), None)
    queue.add(pending(1, source="a", size_bytes=10), None)
    queue.add(pending(2, source="b", size_bytes=40), None)
    queue.add(pending(3, source="c", size_bytes=60), None)

    assert [[0, 1], [2, 3]] == [offsets(queue.next_batch()) for _ in range(2)]


def test_a_source_that_gave_something_goes_to_the_end() -> None:
    """Also when the request was full before its share was."""
    queue = filled(EntryQueue(max_count=2, max_bytes=1000), 3, 3, 3)

    assert [0, 100, 200, 1, 101, 201, 2, 102, 202] == [
        offset for _ in range(5) for offset in offsets(queue.next_batch())
    ]


def test_an_entry_that_does_not_fit_ends_the_request() -> None:
    """A smaller one behind it does not pass it: a large entry must not wait for ever."""
    queue = EntryQueue(max_count=10, max_bytes=100)
    for offset, size_bytes in enumerate([50, 51, 1, 49, 1]):
        queue.add(pending(offset, size_bytes=size_bytes), None)

    assert [[0], [1, 2], [3, 4]] == [offsets(queue.next_batch()) for _ in range(3)]


def test_the_rest_of_a_lane_that_did_not_fit_waits_for_the_answer() -> None:
    """A key in two requests could arrive in either order."""
    queue = EntryQueue(max_count=10, max_bytes=100)
    for offset, size_bytes in enumerate([60, 60]):
        queue.add(pending(offset, size_bytes=size_bytes), "key")
    queue.add(pending(2), "other")
    first = queue.next_batch()
    assert [0] == offsets(first)
    assert [2] == offsets(queue.next_batch())
    queue.release(first, again=())

    assert [1] == offsets(queue.next_batch())


def test_an_entry_that_is_sent_in_small_requests_keeps_the_others_out() -> None:
    """Until the culprit is found only those share a request that were refused together."""
    queue = EntryQueue(max_count=10, max_bytes=1000)
    limits = [2, 2, 2, None, None, 1, None]
    for offset, limit in enumerate(limits):
        each = pending(offset)
        each.batch_limit = limit
        queue.add(each, None)

    assert [[0, 1], [2], [3, 4], [5], [6]] == [offsets(queue.next_batch()) for _ in range(5)]


def test_a_limit_of_the_entries_holds_within_a_lane_and_across_lanes_and_sources() -> None:
    """Wherever the refused ones are."""
    queue = EntryQueue(max_count=10, max_bytes=1000)
    for offset in range(6):
        each = pending(offset, source="a" if offset < 4 else "b")
        each.batch_limit = 3
        queue.add(each, "key" if offset < 2 else None)
    batches = [queue.next_batch() for _ in range(2)]

    assert [3, 3] == [len(batch) for batch in batches]
    assert {*range(6)} == {offset for batch in batches for offset in offsets(batch)}


def test_a_full_request_is_ready_when_more_would_not_make_it_fuller() -> None:
    """By lanes, or by one lane that fills it alone."""
    queue = EntryQueue(max_count=3, max_bytes=1000)
    assert not queue.has_full_batch()
    for offset, is_full in enumerate([False, False, True]):
        queue.add(pending(offset), None)
        assert is_full == queue.has_full_batch()
    queue.next_batch()
    assert not queue.has_full_batch()
    for offset, is_full in enumerate([False, False, True]):
        queue.add(pending(offset), "key")
        assert is_full == queue.has_full_batch()


def test_the_age_of_the_entry_that_leaves_next_is_known() -> None:
    """It tells how long a request may still fill up."""
    queue = EntryQueue(max_count=1, max_bytes=1000)
    assert queue.ready_since_s is None
    queue.add(pending(0, added_s=3.0), "key")
    queue.add(pending(1, added_s=5.0), None)
    assert 3.0 == queue.ready_since_s
    queue.next_batch()
    assert 5.0 == queue.ready_since_s
    queue.next_batch()
    assert queue.ready_since_s is None


def test_unsent_and_ready_are_counted() -> None:
    """Entries in flight are neither; they are inside."""
    queue = EntryQueue(max_count=2, max_bytes=1000)
    blue = queue.meet("blue", "send")
    for offset, key in enumerate([None, "key", "key", None]):
        queue.add(pending(offset), key)
    assert (4, 3, (4, 0), 4) == (queue.unsent, queue.ready_lanes, queue.inside, blue.inside)
    batch = queue.next_batch()
    assert [0, 1] == offsets(batch)
    assert (2, 1, (4, 0), 4) == (queue.unsent, queue.ready_lanes, queue.inside, blue.inside)
    queue.release(batch, again=batch[1:])
    assert (3, 2, (3, 0), 3) == (queue.unsent, queue.ready_lanes, queue.inside, blue.inside)


# Answers


def test_lanes_that_come_back_go_before_the_rest_in_their_order() -> None:
    """Their entries are older."""
    queue = EntryQueue(max_count=3, max_bytes=1000)
    for offset, key in enumerate(["a", "b", "c", "d", "a", "b", "c"]):
        queue.add(pending(offset), key)
    batch = queue.next_batch()
    assert [0, 4, 1] == offsets(batch)
    queue.release(batch, again=batch)

    assert [[0, 4, 1], [2, 6, 3]] == [offsets(queue.next_batch()) for _ in range(2)]


def test_a_lane_without_delay_goes_on_at_once_beside_one_that_waits() -> None:
    """Only entries that are sent again wait."""
    queue = EntryQueue(max_count=2, max_bytes=1000)
    for offset, key in enumerate(["a", "b"]):
        queue.add(pending(offset), key)
    batch = queue.next_batch()
    for offset, key in enumerate(["a", "b"], start=2):
        queue.add(pending(offset), key)
    queue.release(batch, again=batch[1:], not_before_s=5.0)

    assert [2] == offsets(queue.next_batch())
    assert 5.0 == queue.next_wake_s
    queue.wake(5.0)
    assert [1, 3] == offsets(queue.next_batch())
    assert queue.next_wake_s is None


def test_each_delay_ends_in_its_time() -> None:
    """The earliest end comes first, not the earliest beginning."""
    queue = EntryQueue(max_count=1, max_bytes=1000)
    for offset in range(3):
        queue.add(pending(offset), None)
    for not_before_s in (7.0, 5.0, 6.0):
        batch = queue.next_batch()
        queue.release(batch, again=batch, not_before_s=not_before_s)
    woken = []
    while (next_s := queue.next_wake_s) is not None:
        queue.wake(next_s - 0.001)
        assert [] == queue.next_batch()
        queue.wake(next_s)
        woken.append((next_s, offsets(queue.next_batch())))

    assert [(5.0, [1]), (6.0, [2]), (7.0, [0])] == woken


def test_a_key_is_forgotten_once_nothing_of_it_waits() -> None:
    """Memory must not grow with every key there ever was; one that comes again has a lane of its own."""
    queue = EntryQueue(max_count=10, max_bytes=1000)
    blue = queue.meet("blue", "send")
    for offset, key in enumerate(["a", "b", None]):
        queue.add(pending(offset), key)
    assert {"a", "b"} == {*blue.lanes}
    batch = queue.next_batch()
    assert {"a", "b"} == {*blue.lanes}
    queue.release(batch, again=batch[:1])
    assert {"a"} == {*blue.lanes}
    queue.add(pending(3), "a")
    assert [0, 3] == offsets(queue.next_batch())


def test_entries_that_come_back_to_a_source_that_was_closed_meanwhile_are_held() -> None:
    """With their bytes, and they leave in order once the source is open."""
    queue = EntryQueue(max_count=2, max_bytes=1000)
    for offset in range(3):
        put(queue, offset, key="key")
    batch = queue.next_batch()
    blue = hold(queue)
    assert (1, 1) == (queue.held_in_all, queue.held(blue))
    queue.release(batch, again=batch)

    assert (3, 6, 3, 3) == (queue.held_in_all, queue.held_bytes_in_all, queue.held(blue), queue.unsent)
    assert [] == queue.next_batch()
    queue.set_gate(blue, Gate.OPEN)
    assert (0, 0, 0) == (queue.held_in_all, queue.held_bytes_in_all, queue.held(blue))
    assert [0, 1] == offsets(queue.next_batch())


# Room


@pytest.mark.parametrize(
    ("held", "limit", "room"),
    [
        (0, 100, 100),
        (40, 100, 60),
        (50, 100, 50),
        (80, 100, 31.25),
        (100, 100, 25),
        (200, 100, 12.5),
        (3, 4, 4 / 3),
    ],
)
def test_held_entries_leave_at_least_a_quarter_of_the_room(held: float, limit: float, room: float) -> None:
    """As long as they are within the limit; beyond it the room shrinks on, and never to nothing."""
    assert room == pytest.approx(room_beside(held, limit))


def test_each_target_has_an_equal_part_of_the_limits_and_its_held_entries_half_of_that() -> None:
    """One that is down leaves the others theirs. A single one is limited by the ledger."""
    delivery = config.Delivery(max_pending_records=103, max_pending_bytes=4 * 1024**2 + 3)
    alone, four, many = (TargetLimits.share(delivery, targets=targets) for targets in (1, 4, 1000))

    assert TargetLimits(held_records=51, held_bytes=2 * 1024**2 + 1) == alone
    assert TargetLimits(25, 1024**2, 12, 512 * 1024) == four
    assert (1, 1) == (many.records, many.held_records)


def test_an_entry_that_does_not_fit_by_count_may_come_once_half_is_free() -> None:
    """Resuming at the first free place would pause again with the next record."""
    queue = EntryQueue(max_count=1, max_bytes=1000, max_records=4)
    for offset in range(4):
        assert queue.has_room == (offset <= 2)
        assert queue.add(pending(offset), None) is None
    assert queue is queue.add(pending(9), None)
    assert (4, (4, 0)) == (queue.unsent, queue.inside)
    rooms = []
    while batch := queue.next_batch():
        queue.release(batch, again=())
        rooms.append(queue.has_room)

    assert [False, True, True, True] == rooms


def test_an_entry_that_does_not_fit_by_bytes_may_come_once_half_is_free() -> None:
    """Bytes of the records and of the events made of them; one record may pass the limit, none after it."""
    queue = EntryQueue(max_count=1, max_bytes=1000, max_record_bytes=100)
    for offset in range(4):
        assert queue.add(pending(offset, record_bytes=30), None) is None
    assert (4, 128) == queue.inside
    assert queue is queue.add(pending(9), None)
    rooms = []
    while batch := queue.next_batch():
        queue.release(batch, again=())
        rooms.append((queue.inside[1], queue.has_room))

    assert [(96, False), (64, False), (32, True), (0, True)] == rooms


def test_where_both_are_limited_the_scarcer_one_decides() -> None:
    """Few large records, or many small ones."""
    many = EntryQueue(max_count=1, max_bytes=1000, max_records=2, max_record_bytes=1000)
    large = EntryQueue(max_count=1, max_bytes=1000, max_records=100, max_record_bytes=10)
    assert [None, None, many] == [many.add(pending(offset), None) for offset in range(3)]
    assert [None, large] == [large.add(pending(offset, record_bytes=8), None) for offset in range(2)]


def test_held_bytes_leave_the_rest_of_the_limit_to_the_others() -> None:
    """They are counted apart."""
    queue = EntryQueue(max_count=1, max_bytes=1000, max_record_bytes=100)
    hold(queue)
    for offset in range(4):
        assert queue.add(pending(offset, record_bytes=8), None, "hold") is None
    assert 40 == queue.held_bytes_in_all
    taken = [queue.add(pending(10 + n, source="other", record_bytes=8), None) for n in range(7)]

    assert [None] * 6 + [queue] == taken


def test_held_entries_leave_the_rest_of_the_limit_to_the_others() -> None:
    """They are counted apart."""
    queue = EntryQueue(max_count=1, max_bytes=1000, max_records=8)
    hold(queue)
    assert [None] * 2 == [put(queue, offset) for offset in range(2)]
    taken = [queue.add(pending(10 + n, source="other"), None) for n in range(7)]

    assert [None] * 6 + [queue] == taken
    assert (8, 2) == (queue.unsent, queue.held_in_all)


def test_the_entries_that_a_closed_source_holds_are_limited() -> None:
    """The source is the obstacle, and takes entries again once half of its room is free."""
    queue = EntryQueue(max_count=1, max_bytes=1000, max_held=4)
    blue, acme = hold(queue, "blue"), hold(queue, "acme")
    for offset in range(4):
        assert queue.may_come(blue) == (offset < 2)
        assert put(queue, offset) is None
    assert blue is put(queue, 4)
    assert put(queue, 5, "acme") is None
    assert queue.may_come(acme)
    assert not queue.may_come(blue)
    queue.take_out(blue, lambda each: each.record.offset > 1)
    assert not queue.may_come(blue)
    queue.take_out(blue, lambda each: each.record.offset > 0)
    assert queue.may_come(blue)
    queue.set_gate(blue, Gate.OPEN)
    assert queue.may_come(blue)
    assert put(queue, 6) is None


def test_the_bytes_that_a_closed_source_holds_are_limited() -> None:
    """Those of its records and events."""
    queue = EntryQueue(max_count=1, max_bytes=1000, max_held_bytes=20)
    blue = hold(queue)
    sizes = [queue.add(pending(offset, record_bytes=8), None, "hold") for offset in range(3)]
    assert [None, None, blue] == sizes
    assert 20 == queue.held_bytes_in_all
    assert not queue.may_come(blue)
    queue.take_out(blue, lambda each: each.record.offset == 0)
    assert not queue.may_come(blue)
    queue.take_out(blue, lambda _: True)
    assert queue.may_come(blue)


def test_the_entries_that_all_closed_sources_hold_are_limited() -> None:
    """Each takes entries again once half of that is free."""
    queue = EntryQueue(max_count=1, max_bytes=1000, max_held_in_all=4)
    sources = [hold(queue, name) for name in ("blue", "acme", "corp")]
    for offset in range(4):
        assert put(queue, offset, ("blue", "acme")[offset % 2]) is None
    assert sources[2] is put(queue, 9, "corp")
    queue.take_out(sources[0], lambda each: each.record.offset == 0)
    assert not queue.may_come(sources[2])
    queue.take_out(sources[0], lambda _: True)
    assert not queue.may_come(sources[2])
    queue.take_out(sources[1], lambda each: each.record.offset == 1)
    assert queue.may_come(sources[2])


def test_the_bytes_that_all_closed_sources_hold_are_limited() -> None:
    """Each takes entries again once half of that is free."""
    queue = EntryQueue(max_count=1, max_bytes=1000, max_held_bytes_in_all=8)
    blue, acme = hold(queue, "blue"), hold(queue, "acme")
    assert [None] * 4 == [put(queue, offset) for offset in range(4)]
    assert acme is put(queue, 9, "acme")
    queue.take_out(blue, lambda each: each.record.offset >= 2)
    assert not queue.may_come(acme)
    queue.take_out(blue, lambda each: each.record.offset >= 1)
    assert queue.may_come(acme)


def test_a_refused_source_takes_nothing_and_pauses_no_partition() -> None:
    """Its entries may come at any time, to be dead-lettered."""
    queue = EntryQueue(max_count=1, max_bytes=1000)
    blue = hold(queue, gate=Gate.REFUSED)

    assert blue is put(queue, 0)
    assert queue.may_come(blue)
    assert (0, 0) == (queue.unsent, queue.held_in_all)


def test_a_source_that_rests_has_the_room_of_all_and_no_limit_of_its_own() -> None:
    """None of its records is dead-lettered for that it rests."""
    queue = EntryQueue(max_count=1, max_bytes=1000, max_held=1, max_held_bytes=1, max_held_in_all=3)
    blue = queue.meet("blue", "hold")
    queue.rest(blue, 10.0)

    assert [None, None, None, blue] == [put(queue, offset) for offset in range(4)]
    assert 3 == queue.held(blue)


# Gates and rests


def test_a_gate_that_closes_takes_the_turns_and_holds_all_that_waits() -> None:
    """Ready, behind a request of its key, or for its next attempt."""
    queue = EntryQueue(max_count=1, max_bytes=1000)
    for offset, key in enumerate(["late", "busy", "busy", None, "late"]):
        put(queue, offset, key=key)
    put(queue, 9, "acme")
    late = queue.next_batch()
    assert [9] == offsets(queue.next_batch())
    busy = queue.next_batch()
    queue.release(late, again=late, not_before_s=5.0)
    blue = hold(queue)

    assert ([0], [1]) == (offsets(late), offsets(busy))
    assert (4, 8) == (queue.held(blue), queue.held_bytes_in_all)
    assert (0, []) == (queue.ready_lanes, queue.next_batch())
    queue.wake(5.0)
    queue.release(busy, again=())
    assert (0, []) == (queue.ready_lanes, queue.next_batch())
    queue.set_gate(blue, Gate.OPEN)
    assert (0, 0) == (queue.held_in_all, queue.held_bytes_in_all)
    assert 3 == queue.ready_lanes
    sent = []
    while batch := queue.next_batch():
        sent += offsets(batch)
        queue.release(batch, again=())
    assert {0, 2, 3, 4} == {*sent}
    assert sent.index(0) < sent.index(4)


def test_a_gate_that_refuses_gives_the_waiting_entries_back_by_offset() -> None:
    """The dead letters are written in that order. Entries in flight are not touched."""
    queue = EntryQueue(max_count=1, max_bytes=1000, max_record_bytes=1000)
    for offset, key in enumerate(["a", "b", "a", None, "b"]):
        put(queue, offset, key=key)
    batch = queue.next_batch()
    blue = queue.meet("blue", "hold")
    queue.set_gate(blue, Gate.HELD)

    assert [1, 2, 3, 4] == offsets(queue.set_gate(blue, Gate.REFUSED))
    assert (0, 0, 0, (1, 2)) == (queue.unsent, queue.held_in_all, queue.held_bytes_in_all, queue.inside)
    queue.release(batch, again=())
    assert (0, 0) == queue.inside
    assert [] == queue.set_gate(blue, Gate.REFUSED)
    assert [] == queue.set_gate(blue, Gate.OPEN)
    assert [] == queue.next_batch()


def test_a_gate_that_holds_or_opens_gives_nothing_back() -> None:
    """Only one that refuses does."""
    queue = EntryQueue(max_count=1, max_bytes=1000)
    put(queue, 0)
    blue = queue.meet("blue", "hold")

    assert [[], []] == [queue.set_gate(blue, gate) for gate in (Gate.HELD, Gate.OPEN)]
    assert 1 == queue.unsent


def test_a_source_that_rests_sits_out_its_turns_until_then() -> None:
    """The others go on, and it has its turns again after."""
    queue = filled(EntryQueue(max_count=10, max_bytes=1000), 2, 2)
    resting = queue.meet("s-0", "send")
    queue.rest(resting, 5.0)

    assert [100, 101] == offsets(queue.next_batch())
    assert (5.0, 2) == (queue.next_wake_s, queue.held_in_all)
    queue.wake(4.999)
    assert [] == queue.next_batch()
    queue.wake(5.0)
    assert [0, 1] == offsets(queue.next_batch())
    assert (None, 0, 1) == (queue.next_wake_s, queue.held_in_all, resting.rests)


def test_rests_end_each_in_its_time_and_a_later_one_replaces_the_earlier() -> None:
    """Also beside delays, of which the earliest end is the next."""
    queue = filled(EntryQueue(max_count=10, max_bytes=1000), 1, 1, 1)
    late, early, _ = (queue.meet(f"s-{number}", "send") for number in range(3))
    batch = queue.next_batch()
    queue.release(batch, again=batch, not_before_s=3.0)
    queue.rest(late, 4.0)
    queue.rest(early, 2.0)
    queue.rest(late, 6.0)
    assert 2.0 == queue.next_wake_s
    queue.wake(2.0)
    assert 3.0 == queue.next_wake_s
    queue.wake(3.0)
    assert {100, 200} == {*offsets(queue.next_batch())}
    queue.wake(4.0)
    assert [] == queue.next_batch()
    assert 2 == late.rests
    queue.wake(6.0)
    assert [0] == offsets(queue.next_batch())


def test_a_rest_that_is_ended_is_as_if_there_had_been_none() -> None:
    """The source has its turns at once, and the end that was planned does nothing."""
    queue = filled(EntryQueue(max_count=10, max_bytes=1000), 1)
    resting = queue.meet("s-0", "send")
    queue.rest(resting, 5.0)
    queue.end_rest(resting)

    assert (0, 0) == (resting.rests, queue.held_in_all)
    assert [0] == offsets(queue.next_batch())
    queue.rest(resting, 9.0)
    queue.wake(5.0)
    assert resting.is_shut


def test_a_source_that_rests_behind_its_gate_stays_closed_until_both_are_over() -> None:
    """In either order."""
    queue = filled(EntryQueue(max_count=10, max_bytes=1000), 1)
    source = queue.meet("s-0", "send")
    queue.rest(source, 5.0)
    queue.set_gate(source, Gate.HELD)
    queue.wake(5.0)
    assert [] == queue.next_batch()
    queue.rest(source, 9.0)
    queue.set_gate(source, Gate.OPEN)
    assert [] == queue.next_batch()
    assert 1 == queue.held_in_all
    queue.wake(9.0)
    assert [0] == offsets(queue.next_batch())


def test_entries_behind_gates_are_distinguished_from_entries_that_rest() -> None:
    """A rest ends by itself; a gate waits for a customer."""
    queue = EntryQueue(max_count=10, max_bytes=1000)
    assert (True, False) == (queue.is_behind_gates, queue.has_closed_gates)
    blue = hold(queue)
    assert (True, False) == (queue.is_behind_gates, queue.has_closed_gates)
    put(queue, 0)
    assert (True, True) == (queue.is_behind_gates, queue.has_closed_gates)
    put(queue, 1, "acme")
    assert (False, True) == (queue.is_behind_gates, queue.has_closed_gates)
    acme = queue.meet("acme", "hold")
    queue.rest(acme, 5.0)
    assert (False, True) == (queue.is_behind_gates, queue.has_closed_gates)
    queue.take_out(blue, lambda _: True)
    assert (False, False) == (queue.is_behind_gates, queue.has_closed_gates)
    queue.set_gate(acme, Gate.HELD)
    assert (True, True) == (queue.is_behind_gates, queue.has_closed_gates)
    queue.rest(queue.meet("corp", "hold"), 9.0)
    assert (True, True) == (queue.is_behind_gates, queue.has_closed_gates)
    queue.set_gate(acme, Gate.OPEN)
    queue.wake(5.0)
    assert (False, False) == (queue.is_behind_gates, queue.has_closed_gates)


def test_there_is_much_once_that_many_full_requests_are_ready() -> None:
    """Reading on would not make sending any faster."""
    queue = EntryQueue(max_count=2, max_bytes=1000)
    much = []
    for offset in range(6):
        much.append(queue.has_much(3))
        queue.add(pending(offset), None)

    assert [False] * 6 == much
    assert queue.has_much(3)


def test_where_there_are_several_sources_much_is_all_that_is_read_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that have much must not keep the others from being read."""
    monkeypatch.setattr(queue_module, "MAX_READ_AHEAD", 8)
    queue = EntryQueue(max_count=2, max_bytes=1000, has_many_sources=True)
    much = []
    for offset in range(8):
        queue.add(pending(offset), None)
        much.append(queue.has_much(1))

    assert [False] * 7 + [True] == much
    assert not queue.has_much(5)


# Leaving


def test_entries_are_taken_out_wherever_they_are_in_their_lane() -> None:
    """The others keep their order, and other sources everything."""
    queue = EntryQueue(max_count=20, max_bytes=1000)
    for offset in range(6):
        put(queue, offset, key="key" if offset < 4 else None)
    put(queue, 9, "acme")
    blue = queue.meet("blue", "hold")
    taken = queue.take_out(blue, lambda each: each.record.offset in {0, 2, 5})

    assert {0, 2, 5} == {*offsets(taken)}
    assert (4, 3, 3) == (queue.unsent, queue.ready_lanes, blue.inside)
    sent = offsets(queue.next_batch())
    assert {1, 3, 4, 9} == {*sent}
    assert sent.index(1) < sent.index(3)


def test_entries_taken_out_while_their_key_is_in_flight_leave_the_key_usable() -> None:
    """The answer finds its lane, and later entries follow."""
    queue = EntryQueue(max_count=1, max_bytes=1000)
    put(queue, 0, key="key")
    batch = queue.next_batch()
    put(queue, 1, key="key")
    blue = queue.meet("blue", "hold")
    assert [1] == offsets(queue.take_out(blue, lambda _: True))
    put(queue, 2, key="key")
    assert [] == queue.next_batch()
    queue.release(batch, again=batch)

    batch = queue.next_batch()
    assert [0] == offsets(batch)
    queue.release(batch, again=())
    assert [2] == offsets(queue.next_batch())


def test_discarded_entries_are_given_back_and_count_no_more() -> None:
    """Of all policies and sources, ready, delayed, held; the rest stays in its turns."""
    lost, kept = OffsetTracker(P0), OffsetTracker(P0)
    queue = EntryQueue(max_count=1, max_bytes=1000, max_record_bytes=1000)
    queue.add(pending(0, tracker=lost), None, "send")
    late = queue.next_batch()
    queue.release(late, again=late, not_before_s=5.0)
    hold(queue)
    queue.add(pending(1, tracker=lost), "key", "hold")
    queue.add(pending(2, tracker=lost), "key", "dead_letter")
    queue.add(pending(3, tracker=kept), None, "dead_letter")
    queue.add(pending(4, tracker=kept), None, "hold")
    discarded = queue.discard(lambda each: each.tracker is lost)

    assert {0, 1, 2} == {*offsets(discarded)}
    assert (2, 1, 1, 2) == (queue.unsent, queue.held_in_all, queue.ready_lanes, queue.held_bytes_in_all)
    assert (2, 4) == queue.inside
    assert queue.next_wake_s is None
    assert {3, 4} == {*offsets([*queue.entries()])}
    assert [3] == offsets(queue.next_batch())


def test_a_discarded_key_may_come_again() -> None:
    """After a rebalance that gave the partition back."""
    queue = EntryQueue(max_count=5, max_bytes=1000)
    for offset in range(3):
        put(queue, offset, key="key")
    queue.discard(lambda _: True)
    assert (0, 0) == (queue.unsent, queue.ready_lanes)
    put(queue, 7, key="key")

    assert [7] == offsets(queue.next_batch())


def test_only_the_partitions_that_were_taken_away_lose_their_waiting_entries() -> None:
    """Those that are held or wait for their next attempt; the others still leave."""
    lost, kept = OffsetTracker(P0), OffsetTracker(P0)
    queue = EntryQueue(max_count=1, max_bytes=1000)
    for offset, tracker in enumerate([lost, kept]):
        queue.add(pending(offset, tracker=tracker), None)
        batch = queue.next_batch()
        queue.release(batch, again=batch, not_before_s=5.0)
    hold(queue)
    for offset, tracker in enumerate([lost, kept, lost], start=2):
        queue.add(pending(offset, tracker=tracker), None, "hold")
    queue.add(pending(5, source="acme", tracker=lost), None)
    discarded = queue.discard_waiting({lost})

    assert {0, 2, 4} == {*offsets(discarded)}
    assert (1, 3) == (queue.held_in_all, queue.unsent)
    assert [5] == offsets(queue.next_batch())
    queue.wake(5.0)
    assert [1] == offsets(queue.next_batch())


def test_delays_go_on_in_their_order_after_some_were_discarded() -> None:
    """The next one to end is the earliest of those that are left."""
    queue = EntryQueue(max_count=1, max_bytes=1000)
    for offset, not_before_s in enumerate([1.0, 9.0, 2.0, 8.0, 3.0, 4.0]):
        queue.add(pending(offset), None)
        batch = queue.next_batch()
        queue.release(batch, again=batch, not_before_s=not_before_s)
    queue.discard(lambda each: each.record.offset in {0, 2})
    woken = []
    while (next_s := queue.next_wake_s) is not None:
        queue.wake(next_s)
        woken += offsets(queue.next_batch())

    assert [4, 5, 3, 1] == woken


def test_all_entries_that_are_here_can_be_seen() -> None:
    """Those in flight are not here."""
    queue = EntryQueue(max_count=1, max_bytes=1000)
    for offset, key in enumerate(["key", "key", None]):
        put(queue, offset, key=key)
    hold(queue, "acme")
    put(queue, 3, "acme")
    assert {0, 1, 2, 3} == {*offsets([*queue.entries()])}
    queue.next_batch()

    assert {1, 2, 3} == {*offsets([*queue.entries()])}


# Sources


def test_a_source_has_a_queue_for_each_policy_that_met_it() -> None:
    """Each is announced once."""
    met: list[SourceQueue] = []
    queue = EntryQueue(max_count=1, max_bytes=1000, on_new_source=met.append)
    hold_queue, send_queue = queue.meet("blue", "hold"), queue.meet("blue", "send")
    queue.meet("blue", "hold")
    queue.meet("acme", "hold")

    assert [hold_queue, send_queue] == queue.queues_of("blue")
    assert [("blue", "hold"), ("blue", "send"), ("acme", "hold")] == [(q.source, q.policy) for q in met]
    assert [] == queue.queues_of("corp")


def test_half_of_the_idle_sources_that_were_met_first_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with entries here, or that rest, stay. Each that goes is announced, and holds nothing more."""
    monkeypatch.setattr(queue_module, "MAX_SOURCES", 6)
    forgotten: list[SourceQueue] = []
    queue = EntryQueue(max_count=10, max_bytes=1000, on_source_forgotten=forgotten.append)
    for name in ("busy", "a", "resting", "b", "c", "d"):
        queue.meet(name, "hold")
    put(queue, 0, "busy")
    queue.next_batch()
    queue.rest(queue.meet("resting", "hold"), 5.0)
    queue.set_gate(queue.meet("a", "hold"), Gate.HELD)
    assert [] == forgotten
    queue.meet("e", "hold")

    assert ["a", "b", "c"] == [each.source for each in forgotten]
    assert [[], [], []] == [queue.queues_of(name) for name in ("a", "b", "c")]
    assert ["busy", "resting", "d", "e"] == [
        name for name in ("busy", "resting", "a", "b", "c", "d", "e") if queue.queues_of(name)
    ]
    assert 0 == queue.held_in_all
    assert ["resting"] == [each.source for each in queue._held]


def test_where_no_source_is_idle_one_more_is_met_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that waits is ever forgotten for the limit."""
    monkeypatch.setattr(queue_module, "MAX_SOURCES", 2)
    queue = EntryQueue(max_count=10, max_bytes=1000)
    for number in range(4):
        put(queue, number, f"s-{number}")

    assert [0, 1, 2, 3] == offsets(queue.next_batch())


def test_sources_of_another_policy_make_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each policy has the limit for itself."""
    monkeypatch.setattr(queue_module, "MAX_SOURCES", 2)
    queue = EntryQueue(max_count=10, max_bytes=1000)
    kept = queue.meet("blue", "send")
    for number in range(5):
        queue.meet(f"s-{number}", "hold")

    assert [kept] == queue.queues_of("blue")


def test_an_entry_that_was_taken_in_knows_its_size_and_nothing_else_yet() -> None:
    """Nothing failed."""
    each = pending(0, record_bytes=5, added_s=7.0)

    assert 7 == each.size_bytes
    assert (0, 0, None, None, None, None) == (
        each.attempts,
        each.tries,
        each.failing_from_s,
        each.batch_limit,
        each.first_failure_ms,
        each.failed_at,
    )
