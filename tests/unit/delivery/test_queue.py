"""Which entries may leave next, and together."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.delivery import queue
from connector.delivery.pending import Gate, PendingEntry
from connector.delivery.queue import EntryQueue
from connector.ledger import OffsetTracker
from connector.model import Entry, Partition, Record

P0 = Partition("orders", 0)
NO_TIME = 0.0


def pending(
    offset: int, *, size_bytes: int = 1, tracker: OffsetTracker | None = None, source: str = "s"
) -> PendingEntry:
    record = Record(P0, offset, None, None, None, ())
    return PendingEntry(record, tracker or OffsetTracker(P0), Entry(source, "d", b"{}", size_bytes), NO_TIME)


def outbox_with(*keys: str | None, max_count: int = 20, max_bytes: int = 1000) -> EntryQueue:
    """An outbox that holds one entry for each key, at offsets 0, 1, 2, …"""
    entry_queue = EntryQueue(max_count=max_count, max_bytes=max_bytes)
    for offset, key in enumerate(keys):
        entry_queue.add(pending(offset), key)
    return entry_queue


def offsets(batch: list[PendingEntry]) -> list[int]:
    return [p.record.offset for p in batch]


def test_a_request_holds_no_more_than_the_count() -> None:
    """EventBridge takes 20 entries in a request."""
    entry_queue = outbox_with(*[None] * 25)

    assert [20, 5] == [len(entry_queue.next_batch()), len(entry_queue.next_batch())]


def test_a_request_holds_no_more_than_the_bytes() -> None:
    """The sum of the entry sizes is limited; a single larger one still leaves, alone."""
    entry_queue = EntryQueue(max_count=20, max_bytes=100)
    for offset, size in enumerate([60, 40, 1, 500, 1]):
        entry_queue.add(pending(offset, size_bytes=size), None)

    assert [[0, 1], [2], [3], [4]] == [offsets(entry_queue.next_batch()) for _ in range(4)]


def test_records_of_one_key_share_a_request_in_order() -> None:
    """Several of a key may leave together."""
    entry_queue = outbox_with("a", "b", "a", "a")

    assert [0, 2, 3, 1] == offsets(entry_queue.next_batch())


def test_a_later_request_of_a_key_waits_for_the_earlier_one() -> None:
    """Two requests with the same key in flight could arrive in either order."""
    entry_queue = outbox_with("a", "a", "a", max_count=2)
    first = entry_queue.next_batch()

    assert [] == entry_queue.next_batch()

    entry_queue.release(first, again=())

    assert [2] == offsets(entry_queue.next_batch())


def test_an_entry_to_send_again_goes_before_what_waits_behind_it() -> None:
    """A partial failure keeps the order of the key for what is still to be sent."""
    entry_queue = outbox_with("a", "a", "a", max_count=2)
    first = entry_queue.next_batch()
    entry_queue.release(first, again=first[1:])

    assert [1, 2] == offsets(entry_queue.next_batch())


@given(
    keys=st.lists(st.sampled_from(["a", "b", None]), max_size=12),
    taken=st.integers(0, 6),
    again=st.booleans(),
    delay=st.none() | st.just(1.0),
)
def test_the_heads_of_the_lanes_are_the_oldest_that_wait(
    keys: list[str | None], taken: int, again: bool, delay: float | None
) -> None:
    """Wherever a lane is: ready, waiting out a delay, or behind a request of its own."""
    entry_queue = outbox_with(*keys, max_count=max(1, taken))
    batch = entry_queue.next_batch() if taken else []
    if again:
        entry_queue.release(batch, again=batch, not_before_s=delay)
    heads = {head.record.offset for head in entry_queue.heads()}
    waiting: dict[object, int] = {}
    for entry in entry_queue.entries():
        lane, offset = entry.lane, entry.record.offset
        waiting[lane] = min(offset, waiting.get(lane, offset))

    assert set(waiting.values()) == heads


def test_a_delay_holds_the_key_and_nobody_else() -> None:
    """Other keys go on while one waits out its backoff."""
    entry_queue = outbox_with("a", "a", "b", max_count=1)
    first = entry_queue.next_batch()
    entry_queue.release(first, again=first, not_before_s=10.0)
    assert [2] == offsets(entry_queue.next_batch())

    entry_queue.wake(9.9)
    assert [] == entry_queue.next_batch()

    entry_queue.wake(10.0)
    assert [0] == offsets(entry_queue.next_batch())


def test_entries_of_a_refused_request_leave_in_smaller_ones_by_themselves() -> None:
    """Bisecting: a suspect entry must not pull fresh ones into its refusal."""
    entry_queue = outbox_with(None, None, None, None, max_count=4)
    refused = entry_queue.next_batch()
    for p in refused:
        p.batch_limit = 2
    entry_queue.release(refused, again=refused)
    entry_queue.add(pending(9), None)

    assert [[0, 1], [2, 3], [9]] == [offsets(entry_queue.next_batch()) for _ in range(3)]


def test_entries_of_a_partition_that_was_taken_away_do_not_come_back() -> None:
    """A retry after the partition was revoked would send what somebody else sends."""
    entry_queue = EntryQueue(max_count=20, max_bytes=1000)
    tracker = OffsetTracker(P0)
    entry_queue.add(pending(0, tracker=tracker), "a")
    batch = entry_queue.next_batch()
    tracker.is_open = False
    entry_queue.release(batch, again=batch)

    assert [] == entry_queue.next_batch()
    assert 0 == entry_queue.unsent


def test_discarded_entries_never_leave() -> None:
    """Ready, waiting and delayed ones alike."""
    entry_queue = outbox_with("a", "a", "b", None, max_count=1)
    first = entry_queue.next_batch()
    entry_queue.release(first, again=first, not_before_s=5.0)
    entry_queue.discard(lambda p: p.record.offset >= 1)
    entry_queue.wake(5.0)

    assert [[0], []] == [offsets(entry_queue.next_batch()) for _ in range(2)]
    assert 0 == entry_queue.unsent


def test_a_source_with_something_on_its_way_makes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its entry may come back while the source is held, and leaves once the source is open again."""
    monkeypatch.setattr(queue, "MAX_SOURCES", 3)
    entry_queue = EntryQueue(max_count=20, max_bytes=1000)
    blue = entry_queue.meet("blue", "dead_letter")
    entry_queue.add(pending(0, source="blue"), None, "dead_letter")
    batch = entry_queue.next_batch()
    entry_queue.set_gate(blue, Gate.HELD)
    entry_queue.release(batch, again=batch, not_before_s=1.0)
    for number in range(10):
        entry_queue.meet(f"other-{number}", "dead_letter")

    assert [blue] == entry_queue.queues_of("blue")
    entry_queue.set_gate(blue, Gate.OPEN)
    entry_queue.wake(2.0)
    assert [0] == offsets(entry_queue.next_batch())


def test_who_waits_for_a_source_that_made_room_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The partition that waits for it goes on, and the source is met anew."""
    monkeypatch.setattr(queue, "MAX_SOURCES", 3)
    entry_queue = EntryQueue(max_count=20, max_bytes=1000, max_held_in_all=1)
    full, other = entry_queue.meet("full", "hold"), entry_queue.meet("other", "hold")
    entry_queue.set_gate(full, Gate.HELD)
    entry_queue.set_gate(other, Gate.HELD)
    entry_queue.add(pending(0, source="full"), None, "hold")
    assert other is entry_queue.add(pending(1, source="other"), None, "hold")
    assert not entry_queue.may_come(other)
    for number in range(10):
        entry_queue.meet(f"more-{number}", "hold")

    assert entry_queue.may_come(other)
    assert entry_queue.add(pending(1, source="other"), None, "hold") is None


@given(
    keys=st.lists(st.sampled_from(["a", "b", "c", None]), max_size=60),
    max_count=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_whatever_fails_each_key_is_delivered_once_in_order(
    keys: list[str | None], max_count: int, seed: int
) -> None:
    """Under random answers, retries and delays nothing is lost, doubled, or out of its key's order.

    Within a request entries count as delivered in order; after a partial failure a later entry of
    the *same* request may be in already, which is the one exception the README names.
    """
    draw = random.Random(seed)
    entry_queue = EntryQueue(max_count=max_count, max_bytes=10)
    for offset, key in enumerate(keys):
        entry_queue.add(pending(offset, size_bytes=draw.randint(1, 4)), key)
    in_flight: list[list[PendingEntry]] = []
    delivered: list[int] = []
    now_s = 0.0

    while len(delivered) < len(keys):
        now_s += 1.0
        entry_queue.wake(now_s)
        if batch := entry_queue.next_batch():
            assert len(batch) <= max_count
            assert sum(p.entry.size_bytes for p in batch) <= 10
            busy = {keys[p.record.offset] for other in in_flight for p in other} - {None}
            assert not busy & {keys[p.record.offset] for p in batch}
            in_flight.append(batch)
        if in_flight and (not batch or draw.random() < 0.5):
            answered = in_flight.pop(draw.randrange(len(in_flight)))
            # All of it fails, or a tail: then order must hold without exception.
            kept = draw.randint(0, len(answered))
            delivered.extend(offsets(answered[:kept]))
            delay = now_s + draw.randint(1, 5) if draw.random() < 0.5 else None
            entry_queue.release(answered, again=answered[kept:], not_before_s=delay)

    assert list(range(len(keys))) == sorted(delivered)
    for key in ("a", "b", "c"):
        of_key = [offset for offset in delivered if keys[offset] == key]
        assert sorted(of_key) == of_key
    assert 0 == entry_queue.unsent
    assert [] == entry_queue.next_batch()


@given(
    backlogs=st.lists(st.integers(0, 60), min_size=1, max_size=60),
    keyed=st.booleans(),
    taken_before=st.integers(0, 10),
)
def test_nobody_waits_for_the_backlog_of_another_source(
    backlogs: list[int], keyed: bool, taken_before: int
) -> None:
    """Whatever the others have waiting, at most S + 40 of their entries leave before a source's first."""
    entry_queue = EntryQueue(max_count=20, max_bytes=1_000_000)
    offset = 0
    for number, count in enumerate(backlogs):
        for _ in range(count):
            entry_queue.add(pending(offset, source=f"source-{number}"), ("key", number) if keyed else None)
            offset += 1
    for _ in range(taken_before):
        batch = entry_queue.next_batch()
        entry_queue.release(batch, again=())
    entry_queue.add(pending(offset, source="late"), None)
    sources = sum(count > 0 for count in backlogs) + 1
    before = 0
    while batch := entry_queue.next_batch():
        leaving = [p.entry.source for p in batch]
        if "late" in leaving:
            before += leaving.index("late")
            break
        before += len(batch)
        entry_queue.release(batch, again=())
    else:
        raise AssertionError("it never left")

    assert before <= sources + 40


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["add", "hold", "refuse", "open", "rest", "send"])))
)
def test_whatever_doors_do_nothing_is_lost_doubled_or_miscounted(steps: list[tuple[int, str]]) -> None:
    """Held, refused, resting and open sources in any sequence: the counts are those of what is there."""
    entry_queue = EntryQueue(max_count=5, max_bytes=1_000, max_held=10, max_held_in_all=15)
    offset = 0
    here: set[int] = set()
    for now_s, (number, step) in enumerate(steps):
        queue = entry_queue.meet(f"source-{number}", "hold")
        match step:
            case "add":
                if entry_queue.add(pending(offset, source=queue.source), offset % 3, "hold") is None:
                    here.add(offset)
                offset += 1
            case "hold":
                entry_queue.set_gate(queue, Gate.HELD)
            case "refuse":
                here -= {p.record.offset for p in entry_queue.set_gate(queue, Gate.REFUSED)}
            case "open":
                entry_queue.set_gate(queue, Gate.OPEN)
            case "rest":
                entry_queue.rest(queue, now_s + 3)
            case "send":
                batch = entry_queue.next_batch()
                assert not [p for p in batch if p.lane.queue.is_shut]
                here -= set(offsets(batch))
                entry_queue.release(batch, again=())
        entry_queue.wake(now_s)
        shut = [q for q in (entry_queue.meet(f"source-{n}", "hold") for n in range(4)) if q.is_shut]
        assert len(here) == entry_queue.unsent
        assert sum(map(entry_queue.held, shut)) == entry_queue.held_in_all <= 15

    for number in range(4):
        entry_queue.set_gate(entry_queue.meet(f"source-{number}", "hold"), Gate.OPEN)
    entry_queue.wake(len(steps) + 3)
    while batch := entry_queue.next_batch():
        here -= set(offsets(batch))
        entry_queue.release(batch, again=())

    assert (set(), 0, 0, 0) == (here, entry_queue.unsent, entry_queue.ready_lanes, entry_queue.held_in_all)


def test_what_is_discarded_of_held_entries_makes_room_for_others() -> None:
    """Their bytes too are given back, so that the source may hold as much again."""
    tracker = OffsetTracker(P0)
    entry_queue = EntryQueue(max_count=20, max_bytes=1000, max_held_bytes=10, max_held_bytes_in_all=10)
    queue = entry_queue.meet("s", "hold")
    entry_queue.set_gate(queue, Gate.HELD)
    held = [pending(offset, tracker=tracker) for offset in range(9)]
    taken = [each for each in held if entry_queue.add(each, None, "hold") is None]
    assert 0 < len(taken) < len(held)
    assert sum(each.size_bytes for each in taken) == entry_queue.held_bytes_in_all

    assert len(taken) == len(entry_queue.discard_waiting({tracker}))

    assert (0, 0) == (entry_queue.held_in_all, entry_queue.held_bytes_in_all)
    assert taken == [each for each in held if entry_queue.add(each, None, "hold") is None]


def test_all_sources_together_hold_no_more_bytes_than_is_allowed() -> None:
    """Each is within its own limit."""
    entry_queue = EntryQueue(max_count=20, max_bytes=1000, max_held_bytes=100, max_held_bytes_in_all=10)
    for number in range(20):
        queue = entry_queue.meet(f"s-{number}", "hold")
        entry_queue.set_gate(queue, Gate.HELD)
        entry_queue.add(pending(number, source=queue.source), None, "hold")

    assert 10 <= entry_queue.held_bytes_in_all <= 10 + pending(0).size_bytes


def test_what_is_held_leaves_the_others_their_room() -> None:
    """Also where more than half became held at once: who waits for room comes once half of what is left for
    them is free."""
    entry_queue = EntryQueue(max_count=20, max_bytes=1000, max_records=20, max_held_in_all=10)
    for offset in range(12):
        entry_queue.add(pending(offset, source="held"), None, "hold")
    entry_queue.set_gate(entry_queue.meet("held", "hold"), Gate.HELD)
    assert 12 == entry_queue.held_in_all
    others = [entry_queue.add(pending(100 + n, source="other"), None, "hold") for n in range(12)]
    assert [None] * 9 + [entry_queue] * 3 == others
    assert not entry_queue.has_room

    entry_queue.release(entry_queue.next_batch(), again=())

    assert entry_queue.has_room


def test_what_waits_for_its_next_attempt_can_be_discarded_alone() -> None:
    """And what is behind it in its lane, but not what could leave now."""
    tracker = OffsetTracker(P0)
    entry_queue = EntryQueue(max_count=1, max_bytes=1000)
    for offset, key in enumerate(["a", "a", "b"]):
        entry_queue.add(pending(offset, tracker=tracker), key)
    first = entry_queue.next_batch()
    entry_queue.release(first, again=first, not_before_s=5.0)

    assert [0, 1] == sorted(offsets(entry_queue.discard_waiting({tracker})))
    assert [2] == offsets(entry_queue.next_batch())
