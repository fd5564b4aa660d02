"""Which offset may be committed when records finish out of order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import InvariantError
from connector.ledger import Ledger, OffsetTracker
from connector.model import Partition

P0 = Partition("orders", 0)
P1 = Partition("orders", 1)


def begin(ledger: Ledger, offset: int, partition: Partition = P0) -> OffsetTracker:
    tracker = ledger.begin(partition, offset, size_bytes=10, now_s=float(offset))
    assert tracker is not None
    return tracker


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.assign([P0, P1])
    return ledger


def test_nothing_polled_commits_nothing(ledger: Ledger) -> None:
    """A partition from which nothing was read has nothing to commit."""
    assert {} == ledger.committable()


def test_an_unsettled_record_holds_the_commit(ledger: Ledger) -> None:
    """Later records may settle first; the commit waits at the lowest unsettled one."""
    tracker = begin(ledger, 5)
    begin(ledger, 6)
    ledger.settle(tracker, 6)

    assert {P0: 5} == ledger.committable()


def test_everything_settled_commits_the_next_offset(ledger: Ledger) -> None:
    """With nothing pending the next offset to poll is committed, across holes in the log."""
    tracker = begin(ledger, 5)
    begin(ledger, 9)
    ledger.settle(tracker, 5)
    ledger.settle(tracker, 9)

    assert {P0: 10} == ledger.committable()


def test_what_the_broker_has_is_not_committed_again(ledger: Ledger) -> None:
    """Only news is committed, and a failed commit stays news."""
    tracker = begin(ledger, 5)
    ledger.settle(tracker, 5)
    ledger.committed({P0: 6})

    assert {} == ledger.committable()


def test_settling_what_is_not_pending_is_a_bug(ledger: Ledger) -> None:
    """Settling twice would hide a record that was never settled, so it stops the bridge."""
    tracker = begin(ledger, 5)
    ledger.settle(tracker, 5)

    with pytest.raises(InvariantError, match=r"orders\[0\]@5"):
        ledger.settle(tracker, 5)


def test_a_late_outcome_for_a_revoked_partition_changes_nothing(ledger: Ledger) -> None:
    """The partition came back meanwhile: the old outcome must not settle the new read."""
    old = begin(ledger, 5)
    ledger.drop([P0])
    ledger.assign([P0])
    begin(ledger, 5)
    ledger.settle(old, 5)

    assert {P0: 5} == ledger.committable()
    assert 1 == ledger.pending_records


def test_a_record_with_the_offset_of_another_is_not_taken_for_it(ledger: Ledger) -> None:
    """The topic was made anew while a record of the old one waits: the new one holds the commit, too."""
    old, new = begin(ledger, 5), begin(ledger, 5)
    begin(ledger, 6)
    ledger.settle(old, 5)

    assert {P0: 5} == ledger.committable()
    assert 2 == ledger.pending_records
    ledger.settle(new, 5)

    assert {P0: 6} == ledger.committable()


def test_what_was_polled_before_offsets_began_anew_goes_with_its_partition(ledger: Ledger) -> None:
    """Its outcome comes too late then, as any other."""
    old = begin(ledger, 5)
    begin(ledger, 0)
    ledger.drop([P0])
    ledger.settle(old, 5)

    assert (0, 0) == (ledger.pending_records, ledger.pending_bytes)


def test_a_record_of_a_partition_that_was_taken_away_is_ignored(ledger: Ledger) -> None:
    """It was fetched before the partition was revoked, and is somebody else's now."""
    ledger.drop([P0])

    assert ledger.begin(P0, 5, size_bytes=10, now_s=0.0) is None
    assert {} == ledger.committable()


def test_a_topic_that_starts_over_never_commits_an_old_offset(ledger: Ledger) -> None:
    """After a reset to the start, offsets of the old topic are above anything that may be committed."""
    begin(ledger, 900)
    ledger.settle(begin(ledger, 0), 0)

    assert {P0: 1} == ledger.committable()


def test_what_was_made_of_a_record_counts_until_it_is_settled(ledger: Ledger) -> None:
    """A record of a few bytes may make an event of many, and both are in memory."""
    tracker = begin(ledger, 1)
    begin(ledger, 2)
    ledger.grow(tracker, 1, 500)
    assert 520 == ledger.pending_bytes
    ledger.settle(tracker, 1)

    assert 10 == ledger.pending_bytes


def test_dropping_gives_back_what_was_pending(ledger: Ledger) -> None:
    """Forgotten records no longer count against the limits."""
    begin(ledger, 1)
    begin(ledger, 2, P1)
    ledger.drop([P0])

    assert (1, 10) == (ledger.pending_records, ledger.pending_bytes)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
def test_the_commit_is_always_the_lowest_unsettled(steps: list[int], draw: object) -> None:
    """In whatever order records settle, the commit equals the model's lowest unsettled offset."""
    ledger = Ledger()
    ledger.assign([P0])
    offsets = [sum(steps[: i + 1]) for i in range(len(steps))]
    tracker = None
    for offset in offsets:
        tracker = begin(ledger, offset)
    assert tracker is not None
    left = list(offsets)
    draw.shuffle(left)  # type: ignore[attr-defined]

    while left:
        ledger.settle(tracker, left.pop())
        assert min(left, default=offsets[-1] + 1) == ledger.committable()[P0]
        assert len(left) * 10 == ledger.pending_bytes


def test_a_client_that_goes_back_above_what_is_unsettled_commits_nothing_past_it(ledger: Ledger) -> None:
    """Back to 90 with 5 unsettled: 5 is not read again, so its first reading still holds the commit."""
    first = begin(ledger, 5)
    for offset in range(6, 100):
        ledger.settle(begin(ledger, offset), offset)
    ledger.settle(begin(ledger, 90), 90)

    assert {P0: 5} == ledger.committable()
    ledger.settle(first, 5)
    assert {P0: 91} == ledger.committable()


def test_the_age_shown_is_that_of_the_record_which_holds_the_commit(ledger: Ledger) -> None:
    """Also where it was polled before the client went back."""
    first = begin(ledger, 5)
    begin(ledger, 99)
    last = begin(ledger, 90)

    assert 5.0 == last.oldest_polled_s
    ledger.settle(first, 5)
    assert 90.0 == last.oldest_polled_s


def test_a_client_that_goes_back_twice_waits_for_each_reading(ledger: Ledger) -> None:
    """What lies below the beginning of every later reading is read no more; the rest will be."""
    first = begin(ledger, 3)
    begin(ledger, 60)
    begin(ledger, 99)
    second = begin(ledger, 50)
    begin(ledger, 80)
    third = begin(ledger, 70)

    assert {P0: 3} == ledger.committable()
    ledger.settle(first, 3)
    assert {P0: 50} == ledger.committable()  # 60 of the first reading came again in the second
    ledger.settle(second, 50)
    assert {P0: 70} == ledger.committable()  # and 80 of the second comes again in the third
    ledger.settle(third, 70)
    assert {P0: 71} == ledger.committable()


def test_dropping_a_partition_closes_every_reading_of_it(ledger: Ledger) -> None:
    """However often the client went back: nothing of it counts, and no late outcome changes anything."""
    trackers = [begin(ledger, offset) for offset in (5, 3, 0)]
    assert (3, 30) == (ledger.pending_records, ledger.pending_bytes)
    ledger.drop([P0])

    assert (0, 0) == (ledger.pending_records, ledger.pending_bytes)
    assert [False] * 3 == [tracker.is_open for tracker in trackers]


def test_what_was_given_up_is_not_owed(ledger: Ledger) -> None:
    """Whoever reads the partition next has it; what was sent above it and is settled makes no difference."""
    tracker = begin(ledger, 5)
    begin(ledger, 6)
    tracker.sent_offset = 6
    ledger.settle(tracker, 6)
    assert tracker.blocks_commit

    tracker.abandoned.add(5)
    assert not tracker.blocks_commit


def test_what_will_be_read_again_is_not_owed(ledger: Ledger) -> None:
    """After the client went back, the later reading has it."""
    first = begin(ledger, 95)
    first.sent_offset = 95
    assert (first.blocks_commit, first.finish_to) == (True, 95)

    begin(ledger, 90)
    assert (first.blocks_commit, first.finish_to) == (False, 89)


@given(
    st.sets(st.integers(0, 30), min_size=1),
    st.lists(st.one_of(st.integers(0, 30), st.sampled_from(["poll", "settle"])), max_size=80),
    st.randoms(use_true_random=False),
)
def test_however_often_the_client_goes_back_nothing_unsettled_is_passed(
    log: set[int], steps: list[int | str], draw: object
) -> None:
    """The commit never exceeds the offset of a record whose last reading is not settled."""
    ledger = Ledger()
    ledger.assign([P0])
    pending: list[tuple[OffsetTracker, int]] = []
    last: dict[int, tuple[OffsetTracker, int]] = {}
    place = 0
    for step in [*steps, *["settle"] * 80]:
        if isinstance(step, int):
            place = min(place, step)
        elif step == "poll":
            if polled := [offset for offset in sorted(log) if offset >= place][:1]:
                (offset,) = polled
                place = offset + 1
                last[offset] = (begin(ledger, offset), offset)
                pending.append(last[offset])
        elif pending:
            ledger.settle(*pending.pop(draw.randrange(len(pending))))  # type: ignore[attr-defined]
        unsettled = [offset for offset, ack in last.items() if ack in pending]
        commit = ledger.committable().get(P0, 0)
        assert commit <= min(unsettled, default=commit)
        assert (len(pending), 10 * len(pending)) == (ledger.pending_records, ledger.pending_bytes)
    if last:
        assert ledger.trackers[P0].next_offset == ledger.committable()[P0]


def test_what_lies_at_the_offset_that_was_gone_back_to_is_read_again(ledger: Ledger) -> None:
    """The later reading has that very record, so no commit waits for the earlier one's."""
    begin(ledger, 5)
    later = begin(ledger, 5)
    ledger.settle(later, 5)

    assert {P0: 6} == ledger.committable()


def test_a_rebalance_drains_the_partitions_it_takes_and_no_others(ledger: Ledger) -> None:
    """What waits of the others stays ours to send."""
    taken, kept = begin(ledger, 1), begin(ledger, 1, P1)

    assert {taken} == ledger.readings([P0])
    assert {taken, kept} == ledger.readings()
    assert {P0: 1} == ledger.committable([P0])


def test_settled_records_are_counted(ledger: Ledger) -> None:
    """By this it is told that a paused partition makes progress."""
    tracker = begin(ledger, 1)
    begin(ledger, 2)
    ledger.settle(tracker, 1)
    ledger.settle(tracker, 2)

    assert 2 == ledger.settled_records


def test_what_was_never_sent_is_not_owed(ledger: Ledger) -> None:
    """Also not the record at the very beginning of its partition."""
    assert not begin(ledger, 0).blocks_commit
