"""Which entries may leave next, and together."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.delivery import queue
from connector.delivery.queue import Door, Outbox, Pending
from connector.ledger import Track
from connector.model import Entry, Partition, Record

P0 = Partition("orders", 0)
NO_TIME = 0.0


def pending(offset: int, *, size_bytes: int = 1, track: Track | None = None, source: str = "s") -> Pending:
    record = Record(P0, offset, None, None, None, ())
    return Pending(record, track or Track(P0), Entry(source, "d", b"{}", size_bytes), NO_TIME)


def outbox_with(*keys: str | None, max_count: int = 20, max_bytes: int = 1000) -> Outbox:
    """An outbox that holds one entry for each key, at offsets 0, 1, 2, …"""
    outbox = Outbox(max_count=max_count, max_bytes=max_bytes)
    for offset, key in enumerate(keys):
        outbox.add(pending(offset), key)
    return outbox


def offsets(batch: list[Pending]) -> list[int]:
    return [p.record.offset for p in batch]


def test_a_request_holds_no_more_than_the_count() -> None:
    """EventBridge takes 20 entries in a request."""
    outbox = outbox_with(*[None] * 25)

    assert [20, 5] == [len(outbox.next_batch()), len(outbox.next_batch())]


def test_a_request_holds_no_more_than_the_bytes() -> None:
    """The sum of the entry sizes is limited; a single larger one still leaves, alone."""
    outbox = Outbox(max_count=20, max_bytes=100)
    for offset, size in enumerate([60, 40, 1, 500, 1]):
        outbox.add(pending(offset, size_bytes=size), None)

    assert [[0, 1], [2], [3], [4]] == [offsets(outbox.next_batch()) for _ in range(4)]


def test_records_of_one_key_share_a_request_in_order() -> None:
    """Several of a key may leave together."""
    outbox = outbox_with("a", "b", "a", "a")

    assert [0, 2, 3, 1] == offsets(outbox.next_batch())


def test_a_later_request_of_a_key_waits_for_the_earlier_one() -> None:
    """Two requests with the same key in flight could arrive in either order."""
    outbox = outbox_with("a", "a", "a", max_count=2)
    first = outbox.next_batch()

    assert [] == outbox.next_batch()

    outbox.release(first, again=())

    assert [2] == offsets(outbox.next_batch())


def test_an_entry_to_send_again_goes_before_what_waits_behind_it() -> None:
    """A partial failure keeps the order of the key for what is still to be sent."""
    outbox = outbox_with("a", "a", "a", max_count=2)
    first = outbox.next_batch()
    outbox.release(first, again=first[1:])

    assert [1, 2] == offsets(outbox.next_batch())


def test_a_delay_holds_the_key_and_nobody_else() -> None:
    """Other keys go on while one waits out its backoff."""
    outbox = outbox_with("a", "a", "b", max_count=1)
    first = outbox.next_batch()
    outbox.release(first, again=first, not_before_s=10.0)
    assert [2] == offsets(outbox.next_batch())

    outbox.wake(9.9)
    assert [] == outbox.next_batch()

    outbox.wake(10.0)
    assert [0] == offsets(outbox.next_batch())


def test_entries_of_a_refused_request_leave_in_smaller_ones_by_themselves() -> None:
    """Bisecting: a suspect entry must not pull fresh ones into its refusal."""
    outbox = outbox_with(None, None, None, None, max_count=4)
    refused = outbox.next_batch()
    for p in refused:
        p.batch_limit = 2
    outbox.release(refused, again=refused)
    outbox.add(pending(9), None)

    assert [[0, 1], [2, 3], [9]] == [offsets(outbox.next_batch()) for _ in range(3)]


def test_entries_of_a_partition_that_was_taken_away_do_not_come_back() -> None:
    """A retry after the partition was revoked would send what somebody else sends."""
    outbox = Outbox(max_count=20, max_bytes=1000)
    track = Track(P0)
    outbox.add(pending(0, track=track), "a")
    batch = outbox.next_batch()
    track.is_open = False
    outbox.release(batch, again=batch)

    assert [] == outbox.next_batch()
    assert 0 == outbox.unsent


def test_discarded_entries_never_leave() -> None:
    """Ready, waiting and delayed ones alike."""
    outbox = outbox_with("a", "a", "b", None, max_count=1)
    first = outbox.next_batch()
    outbox.release(first, again=first, not_before_s=5.0)
    outbox.discard(lambda p: p.record.offset >= 1)
    outbox.wake(5.0)

    assert [[0], []] == [offsets(outbox.next_batch()) for _ in range(2)]
    assert 0 == outbox.unsent


def test_a_source_with_something_on_its_way_makes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its entry may come back while the source is held, and leaves once the source is open again."""
    monkeypatch.setattr(queue, "MAX_SOURCES", 3)
    outbox = Outbox(max_count=20, max_bytes=1000)
    blue = outbox.meet("blue", "dead_letter")
    outbox.add(pending(0, source="blue"), None, "dead_letter")
    batch = outbox.next_batch()
    outbox.set_door(blue, Door.HELD)
    outbox.release(batch, again=batch, not_before_s=1.0)
    for number in range(10):
        outbox.meet(f"other-{number}", "dead_letter")

    assert [blue] == outbox.queues_of("blue")
    outbox.set_door(blue, Door.OPEN)
    outbox.wake(2.0)
    assert [0] == offsets(outbox.next_batch())


def test_who_waits_for_a_source_that_made_room_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The partition that waits for it goes on, and the source is met anew."""
    monkeypatch.setattr(queue, "MAX_SOURCES", 3)
    outbox = Outbox(max_count=20, max_bytes=1000, max_held_in_all=1)
    full, other = outbox.meet("full", "hold"), outbox.meet("other", "hold")
    outbox.set_door(full, Door.HELD)
    outbox.set_door(other, Door.HELD)
    outbox.add(pending(0, source="full"), None, "hold")
    assert other is outbox.add(pending(1, source="other"), None, "hold")
    assert not outbox.may_come(other)
    for number in range(10):
        outbox.meet(f"more-{number}", "hold")

    assert outbox.may_come(other)
    assert outbox.add(pending(1, source="other"), None, "hold") is None


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
    outbox = Outbox(max_count=max_count, max_bytes=10)
    for offset, key in enumerate(keys):
        outbox.add(pending(offset, size_bytes=draw.randint(1, 4)), key)
    in_flight: list[list[Pending]] = []
    delivered: list[int] = []
    now_s = 0.0

    while len(delivered) < len(keys):
        now_s += 1.0
        outbox.wake(now_s)
        if batch := outbox.next_batch():
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
            outbox.release(answered, again=answered[kept:], not_before_s=delay)

    assert list(range(len(keys))) == sorted(delivered)
    for key in ("a", "b", "c"):
        of_key = [offset for offset in delivered if keys[offset] == key]
        assert sorted(of_key) == of_key
    assert 0 == outbox.unsent
    assert [] == outbox.next_batch()


@given(
    backlogs=st.lists(st.integers(0, 60), min_size=1, max_size=60),
    keyed=st.booleans(),
    taken_before=st.integers(0, 10),
)
def test_nobody_waits_for_the_backlog_of_another_source(
    backlogs: list[int], keyed: bool, taken_before: int
) -> None:
    """Whatever the others have waiting, at most S + 40 of their entries leave before a source's first."""
    outbox = Outbox(max_count=20, max_bytes=1_000_000)
    offset = 0
    for number, count in enumerate(backlogs):
        for _ in range(count):
            outbox.add(pending(offset, source=f"source-{number}"), ("key", number) if keyed else None)
            offset += 1
    for _ in range(taken_before):
        batch = outbox.next_batch()
        outbox.release(batch, again=())
    outbox.add(pending(offset, source="late"), None)
    sources = sum(count > 0 for count in backlogs) + 1
    before = 0
    while batch := outbox.next_batch():
        leaving = [p.entry.source for p in batch]
        if "late" in leaving:
            before += leaving.index("late")
            break
        before += len(batch)
        outbox.release(batch, again=())
    else:
        raise AssertionError("it never left")

    assert before <= sources + 40


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["add", "hold", "refuse", "open", "rest", "send"])))
)
def test_whatever_doors_do_nothing_is_lost_doubled_or_miscounted(steps: list[tuple[int, str]]) -> None:
    """Held, refused, resting and open sources in any sequence: the counts are those of what is there."""
    outbox = Outbox(max_count=5, max_bytes=1_000, max_held=10, max_held_in_all=15)
    offset = 0
    here: set[int] = set()
    for now_s, (number, step) in enumerate(steps):
        queue = outbox.meet(f"source-{number}", "hold")
        match step:
            case "add":
                if outbox.add(pending(offset, source=queue.source), offset % 3, "hold") is None:
                    here.add(offset)
                offset += 1
            case "hold":
                outbox.set_door(queue, Door.HELD)
            case "refuse":
                here -= {p.record.offset for p in outbox.set_door(queue, Door.REFUSED)}
            case "open":
                outbox.set_door(queue, Door.OPEN)
            case "rest":
                outbox.rest(queue, now_s + 3)
            case "send":
                batch = outbox.next_batch()
                assert not [p for p in batch if p.lane.queue.is_shut]
                here -= set(offsets(batch))
                outbox.release(batch, again=())
        outbox.wake(now_s)
        shut = [q for q in (outbox.meet(f"source-{n}", "hold") for n in range(4)) if q.is_shut]
        assert len(here) == outbox.unsent
        assert sum(map(outbox.held, shut)) == outbox.held_in_all <= 15

    for number in range(4):
        outbox.set_door(outbox.meet(f"source-{number}", "hold"), Door.OPEN)
    outbox.wake(len(steps) + 3)
    while batch := outbox.next_batch():
        here -= set(offsets(batch))
        outbox.release(batch, again=())

    assert (set(), 0, 0, 0) == (here, outbox.unsent, outbox.ready_lanes, outbox.held_in_all)


def test_what_is_discarded_of_held_entries_makes_room_for_others() -> None:
    """Their bytes too are given back, so that the source may hold as much again."""
    track = Track(P0)
    outbox = Outbox(max_count=20, max_bytes=1000, max_held_bytes=10, max_held_bytes_in_all=10)
    queue = outbox.meet("s", "hold")
    outbox.set_door(queue, Door.HELD)
    held = [pending(offset, track=track) for offset in range(9)]
    taken = [each for each in held if outbox.add(each, None, "hold") is None]
    assert 0 < len(taken) < len(held)
    assert sum(each.size_bytes for each in taken) == outbox.held_bytes_in_all

    assert len(taken) == len(outbox.discard_waiting({track}))

    assert (0, 0) == (outbox.held_in_all, outbox.held_bytes_in_all)
    assert taken == [each for each in held if outbox.add(each, None, "hold") is None]


def test_all_sources_together_hold_no_more_bytes_than_is_allowed() -> None:
    """Each is within its own limit."""
    outbox = Outbox(max_count=20, max_bytes=1000, max_held_bytes=100, max_held_bytes_in_all=10)
    for number in range(20):
        queue = outbox.meet(f"s-{number}", "hold")
        outbox.set_door(queue, Door.HELD)
        outbox.add(pending(number, source=queue.source), None, "hold")

    assert 10 <= outbox.held_bytes_in_all <= 10 + pending(0).size_bytes


def test_what_is_held_leaves_the_others_their_room() -> None:
    """Also where more than half became held at once: who waits for room comes once half of what is left for
    them is free."""
    outbox = Outbox(max_count=20, max_bytes=1000, max_records=20, max_held_in_all=10)
    for offset in range(12):
        outbox.add(pending(offset, source="held"), None, "hold")
    outbox.set_door(outbox.meet("held", "hold"), Door.HELD)
    assert 12 == outbox.held_in_all
    others = [outbox.add(pending(100 + n, source="other"), None, "hold") for n in range(12)]
    assert [None] * 9 + [outbox] * 3 == others
    assert not outbox.has_room

    outbox.release(outbox.next_batch(), again=())

    assert outbox.has_room


def test_what_waits_for_its_next_attempt_can_be_discarded_alone() -> None:
    """And what is behind it in its lane, but not what could leave now."""
    track = Track(P0)
    outbox = Outbox(max_count=1, max_bytes=1000)
    for offset, key in enumerate(["a", "a", "b"]):
        outbox.add(pending(offset, track=track), key)
    first = outbox.next_batch()
    outbox.release(first, again=first, not_before_s=5.0)

    assert [0, 1] == sorted(offsets(outbox.discard_waiting({track})))
    assert [2] == offsets(outbox.next_batch())
