"""A resend with scripted neighbours: records and committed offsets in memory, a clock, and what was sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice

from connector import config
from connector.dead_letters.dry_run import PreparedBatch, RedeliveryCounts, steps
from connector.dead_letters.redelivery import Limits, SendingParts
from connector.dead_letters.redelivery_group import Committed
from connector.errors import HaltError
from connector.model import Partition, Ranges, Record
from connector.pipeline import Pipeline
from connector.resend.resend import Resend
from connector.resend.selection import ResendDryRun, ResendSelection, ResentRecord
from connector.telemetry.metrics import Telemetry
from tests.fakes import FakeClock, FakeDeadLetters, FakeSink, FakeStateFeed
from tests.replay_rig import number_of

TOPIC = "orders"
BEGIN_MS = 1_700_000_000_000
POLL_S = 0.01


def record(
    offset: int,
    *,
    partition: int = 0,
    key: bytes | None = None,
    **value: object,
) -> Record:
    """The order that has this offset as its number; each is a second younger than the one before."""
    body = json.dumps({"n": offset, "type": "Made"} | value).encode()
    return Record(Partition(TOPIC, partition), offset, BEGIN_MS + 1_000 * offset, key, body, ())


class FakeProgress:
    """Committed offsets in memory, which the brokers acknowledge at once, when told to, or never."""

    def __init__(self, committed: Mapping[int, Committed] | None = None) -> None:
        self.offsets = dict(committed or {})
        self.acknowledged: dict[int, Committed] = {}
        self.is_silent = False
        self.is_slow = False
        """While set, a commit waits for `answer`."""
        self._waiting: Mapping[int, Committed] = {}

    @property
    def is_committing(self) -> bool:
        return bool(self._waiting)

    def answer(self) -> None:
        self._acknowledge(self._waiting)
        self._waiting = {}

    def committed(self, partitions: Collection[int]) -> dict[int, Committed]:
        return {number: each for number, each in self.offsets.items() if number in partitions}

    def commit(self, offsets: Mapping[int, Committed]) -> None:
        assert not self.is_committing, "it would be passed over"
        if self.is_slow:
            self._waiting = offsets
        elif not self.is_silent:
            self._acknowledge(offsets)

    def commit_now(self, offsets: Mapping[int, Committed], *, timeout_s: float) -> None:
        if self.is_silent:
            raise HaltError("the group cannot commit")
        self._acknowledge(offsets)

    def _acknowledge(self, offsets: Mapping[int, Committed]) -> None:
        self.offsets.update(offsets)
        self.acknowledged.update(offsets)


class Killed(BaseException):
    """`kill -9`."""


class ResendRig:
    """A resend with its scripted neighbours; it is given all partitions at its first poll."""

    def __init__(
        self,
        records: Sequence[Record],
        *,
        settings: config.Settings,
        selection: ResendSelection | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        committed: Mapping[int, Committed] | None = None,
    ) -> None:
        selection = selection or ResendSelection(TOPIC, offsets=(0, 1_000_000), partition=0)
        self.clock = FakeClock()
        self.sink = FakeSink(self.clock)
        self.dead_letters = FakeDeadLetters()
        self.progress = FakeProgress(committed)
        self.state_feed = FakeStateFeed()
        self.polls = 0
        self.on_poll: Callable[[int], None] = lambda _: None
        self.records = records
        self.ranges: dict[int, tuple[int, int]] = {}
        for each in records:
            low, high = self.ranges.get(each.partition.number, (each.offset, 0))
            self.ranges[each.partition.number] = low, max(high, each.offset + 1)
        self.dry_run = ResendDryRun(pipeline := Pipeline(settings, None), selection)
        state_feeds = dict.fromkeys(settings.all_targets, self.state_feed)
        self.resend = Resend(
            settings,
            SendingParts(self.sink, state_feeds, self.dead_letters, None, Telemetry()),
            resend_id=selection.id,
            topic=TOPIC,
            ranges=self.ranges,
            prepared_batches=self.read,
            pipeline=pipeline,
            limits=limits,
            progress=self.progress,
            report=lambda *_: None,
            clock_s=self.clock,
        )

    def read(self, ranges: Ranges) -> Iterator[PreparedBatch[ResentRecord]]:
        """All there is, in batches of 10."""
        left = (
            each for each in self.records if each.offset in range(*ranges.get(each.partition.number, (0, 0)))
        )
        while batch := list(islice(left, 10)):
            yield from steps([ResentRecord(each) for each in batch], self.dry_run)

    def poll(self, timeout_s: float) -> None:
        self.polls += 1
        assert self.polls < 20_000, "it does not come to an end"
        if self.polls == 1:
            self.resend.on_assigned(list(self.ranges))
        self.on_poll(self.polls)

    def run(self) -> RedeliveryCounts:
        return self.resend.run(self)

    @property
    def sent(self) -> list[int]:
        return [number_of(entry) for entries in self.sink.requests for entry in entries]
