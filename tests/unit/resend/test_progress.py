"""How far a resend is: the note beside a committed offset, and what it leaves to do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connector import config
from connector.dead_letters.dry_run import steps
from connector.dead_letters.redelivery import MAX_UNRECORDED
from connector.dead_letters.redelivery_group import Committed
from connector.model import iso_second
from connector.pipeline import Pipeline
from connector.resend.progress import finished, finished_at, rest_of, sent_of, under_way, without
from connector.resend.selection import ResendDryRun, ResendSelection, ResentRecord
from tests.resend_rig import TOPIC, record

MAX_METADATA = 4_096
"""What brokers take by default: https://kafka.apache.org/documentation/#brokerconfigs_offset.metadata.max.bytes"""

offsets = st.integers(0, 2**62)


@given(offsets, st.sets(st.integers(-100, 100_000), max_size=50))
def test_what_was_sent_behind_the_offset_is_read_back(offset: int, sent: set[int]) -> None:
    """Each of them, and nothing else: one too many would be lost."""
    committed = under_way(offset, {offset + each for each in sent})

    assert offset == committed.offset
    assert {offset + each for each in sent if each >= 0} == sent_of(committed)


@given(offsets, st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_the_note_is_never_too_long_for_the_brokers(offset: int, distances: list[int]) -> None:
    """However many there are, and however far apart: those it has no room for may go twice."""
    sent = {offset + each + number * 1_000 for number in range(200) for each in distances}
    committed = under_way(offset, sent)

    assert len(committed.note) < MAX_METADATA
    assert sent_of(committed) <= sent


def test_it_has_room_for_all_that_may_be_unrecorded() -> None:
    """Also where one record in a hundred is selected."""
    sent = set(range(0, MAX_UNRECORDED * 100, 100))

    assert sent == sent_of(under_way(0, sent))


def test_the_last_partition_says_when_a_resend_was_finished() -> None:
    """As far as that is known."""
    times = [iso_second(1_790_000_000_000 + each) or "" for each in (0, 5_000, 2_000)]

    assert times[1] == finished_at(finished(7, each) for each in times)
    assert "a time that is not known" == finished_at([Committed(7)])


def test_a_foreign_note_says_nothing() -> None:
    """Such as that of a tool that moved the offset."""
    for note in ("", "kafka-consumer-groups", "sent:%", "finished:2026-01-01T00:00:00Z"):
        assert not sent_of(Committed(7, note))


def test_what_is_done_is_not_read_again(settings: config.Settings) -> None:
    """Neither what lies before the offset nor what the note names."""
    dry_run = ResendDryRun(Pipeline(settings, None), ResendSelection(TOPIC))
    batches = steps([ResentRecord(record(offset)) for offset in range(10, 20)], dry_run)
    committed = {0: under_way(12, [13, 15])}

    rest = rest_of({0: (10, 20), 1: (0, 5), 2: (3, 8)}, {**committed, 1: Committed(5), 2: Committed(1)})
    (left,) = without(batches, {0: sent_of(committed[0])})

    assert {0: (12, 20), 2: (3, 8)} == rest
    assert {13, 15} == {*range(10, 20)} - {each.item.id.offset for each in left.prepared}
