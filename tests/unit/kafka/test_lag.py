"""The lag of each partition, by what librdkafka and the brokers tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.kafka.lag import Lag
from connector.model import Partition

P0, P1 = Partition("orders", 0), Partition("orders", 1)

UNKNOWN = -1001
NEVER_FETCHED = dict.fromkeys(
    ("app_offset", "committed_offset", "next_offset", "lo_offset", "hi_offset"), UNKNOWN
)


class Told:
    """A `Lag` that is told of statistics, and brokers that answer what a test says."""

    def __init__(self) -> None:
        self.answers: dict[Partition, int] = {}
        self.asked: frozenset[Partition] = frozenset()
        self.paused: set[Partition] = set()
        self.lag = Lag(self._ask)

    def _ask(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        self.asked = partitions
        return self.answers

    def note(self, *shown: dict[str, int]) -> None:
        """Statistics that show P0 and P1, or P0 alone, both of which are assigned."""
        partitions = {str(number): NEVER_FETCHED | each for number, each in enumerate(shown)}
        topics: dict[str, Any] = {"orders": {"partitions": partitions}}
        self.lag.note(topics, assigned={P0, P1}, paused=self.paused)

    def of(self, partition: Partition, committable: int | None = None) -> int | None:
        """The lag where all is settled, or where this is not."""
        return self.lag.records(partition, committable, is_all_settled=committable is None)


def test_fetches_tell_the_end_of_what_is_read() -> None:
    """The brokers are not asked; before the first fetch, the lag is not known."""
    told = Told()
    told.note({}, {"app_offset": 7})
    assert [None, None] == [told.of(P0), told.of(P1)]
    told.note({"app_offset": 7, "hi_offset": 10}, {"app_offset": 7, "hi_offset": 7})
    told.note({"app_offset": 7, "hi_offset": 10}, {"app_offset": 7, "hi_offset": 7})

    assert [3, 0] == [told.of(P0), told.of(P1)]
    assert not told.asked


def test_brokers_tell_the_end_of_what_is_paused() -> None:
    """They are asked about what was paused for two statistics, and no more once it is read again."""
    told = Told()
    read = {"app_offset": 10, "hi_offset": 10}
    told.note(read, read)
    told.paused = {P0}
    told.note(read, read)
    assert not told.asked, "most pauses are shorter"
    told.note(read, read)
    assert {P0} == told.asked
    told.answers = {P0: 5_000}
    told.note(read, read)
    assert [4_990, 0] == [told.of(P0), told.of(P1)]
    told.paused = set()
    told.note(read, read)
    assert not told.asked
    assert 4_990 == told.of(P0), "librdkafka tells the end before the pause until it has fetched again"
    told.note({"app_offset": 20, "hi_offset": 4_000}, read)
    assert 3_980 == told.of(P0), "as after the topic was made anew"


def test_an_answer_about_what_is_paused_counts_as_it_is() -> None:
    """The topic may have been made anew, or be shorter after an election. Of what is read, fetches tell."""
    told = Told()
    told.paused = {P0}
    read = {"app_offset": 10, "hi_offset": 100}
    for _ in range(2):
        told.note(read, read)
    told.answers = {P0: 50, P1: 70}
    told.note(read, read)

    assert [40, 90] == [told.of(P0), told.of(P1)]


def test_brokers_are_asked_about_what_no_fetch_tells() -> None:
    """A partition whose leader does not answer fetches, and one that comes back after another had it."""
    told = Told()
    shown = {"app_offset": 10, "hi_offset": 10}
    told.note(shown, {"next_offset": 3})
    told.note(shown, {"next_offset": 3})
    assert {P1} == told.asked
    told.lag.forget([P0])
    for _ in range(2):
        told.note(shown | {"app_offset": UNKNOWN, "committed_offset": 400}, {"next_offset": 3})
    assert told.of(P0) is None, "its end is that of the earlier assignment"
    assert {P0, P1} == told.asked
    told.answers = {P0: 500}
    told.note(shown | {"app_offset": UNKNOWN, "committed_offset": 400}, {"next_offset": 3})
    assert 100 == told.of(P0)


def test_where_the_lag_begins() -> None:
    """At what is not settled; else past holes, at the group's offset, the first, or what retention left."""
    told = Told()
    told.note({"app_offset": 8, "hi_offset": 10}, {"committed_offset": 2, "next_offset": 5, "hi_offset": 10})
    assert [6, 2, 8] == [told.of(P0, 4), told.of(P0), told.of(P1)]
    assert 1 == told.lag.records(P0, 9, is_all_settled=True), "the statistics are of two seconds ago"
    told.note({"next_offset": 5, "hi_offset": 10}, {"committed_offset": 2, "lo_offset": 9, "hi_offset": 10})
    assert [5, 1] == [told.of(P0), told.of(P1)]
