"""The lag of each partition: by librdkafka's statistics, and by the brokers where these stand still."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from connector.model import Partition

POSITIONS = ("app_offset", "committed_offset", "next_offset")
"""Where the reading of a partition is, in librdkafka's statistics, the best first: past what was polled and
the holes after it; before the first record, where the group left off; for a new group, where it begins."""


def statistics_of(partition: Partition, topics: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the topics in librdkafka's statistics say of a partition; None where they do not name it."""
    found: Mapping[str, Any] | None = (
        topics.get(partition.topic, {}).get("partitions", {}).get(str(partition.number))
    )
    return found


class Lag:
    """Knows how far each assigned partition is from its end.

    librdkafka learns an end from the answers to its fetches, and a paused partition is not fetched: in a long
    outage of the target, that end is as old as the outage. Ends count up to the high watermark, whatever
    `isolation.level` is: what lies behind an open transaction waits, too.
    """

    def __init__(self, ask: Callable[[frozenset[Partition]], Mapping[Partition, int]]) -> None:
        """`ask` is `EndsOfPartitions.ask`."""
        self._ask = ask
        self._fetched: dict[Partition, int] = {}
        """The end in the last statistics. librdkafka keeps it through pauses, and from one assignment to the
        next, so that it says something only when it changes."""
        self._ends: dict[Partition, int] = {}
        self._positions: dict[Partition, int] = {}
        self._unfetched: frozenset[Partition] = frozenset()
        """Those whose end no fetch told, in the last statistics."""

    def note(
        self, topics: Mapping[str, Any], *, assigned: Collection[Partition], paused: Collection[Partition]
    ) -> None:
        """Evaluate the topics in librdkafka's statistics, which come about every 2 s.

        The brokers are asked about partitions that were not fetched for two statistics, as most pauses are
        shorter.
        """
        unfetched = set()
        for partition in assigned:
            shown = statistics_of(partition, topics)
            if shown is None:
                continue
            end = shown["hi_offset"]
            if end >= 0 and end != self._fetched.get(partition):
                self._fetched[partition] = self._ends[partition] = end
            position = next((shown[name] for name in POSITIONS if shown[name] >= 0), None)
            if position is not None:
                # Of what retention deleted nothing waits.
                self._positions[partition] = max(position, shown["lo_offset"])
            if partition in paused or partition not in self._ends:
                unfetched.add(partition)
        before, self._unfetched = self._unfetched, frozenset(unfetched)
        wanted = self._unfetched & before
        for partition, end in self._ask(wanted).items():
            if partition in wanted:  # of others a fetch may have told more meanwhile
                self._ends[partition] = end

    def forget(self, partitions: Collection[Partition]) -> None:
        """Partitions were taken away; what is known of them may be wrong when they come back."""
        for partition in partitions:
            self._ends.pop(partition, None)
            self._positions.pop(partition, None)

    def records(self, partition: Partition, committable: int | None, *, is_all_settled: bool) -> int | None:
        """As `Consumer.lag`."""
        starts = [committable, self._positions.get(partition) if is_all_settled else None]
        start = max((each for each in starts if each is not None), default=None)
        end = self._ends.get(partition)
        return None if start is None or end is None else max(0, end - start)
