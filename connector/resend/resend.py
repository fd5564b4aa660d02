"""Records sent again, and how far that is.

A resend commits in a group of its own. It commits the lowest offset that is not settled (in EventBridge, in
the dead-letter topic, or left out), and beside it which of those behind are sent. A kill makes go twice what
was in flight, and what was delivered since the last commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Protocol

from connector import config
from connector.dead_letters.dry_run import PreparedBatch, Report, Result
from connector.dead_letters.format import RESEND, Failure
from connector.dead_letters.redelivery import Limits, RedeliveredEntry, Redelivery, SendingParts
from connector.dead_letters.redelivery_group import Committed
from connector.dead_letters.settlement import Flood
from connector.errors import RecordError
from connector.ledger import OffsetTracker
from connector.model import Entry, Ranges, Record, iso_second, now_ms
from connector.pipeline import Pipeline
from connector.resend.plan import source_name
from connector.resend.progress import finished, rest_of, sent_of, under_way, without
from connector.resend.selection import ResentRecord

COMMIT_INTERVAL_S = 0.05
MAX_UNCOMMITTED = 50
"""The progress is committed so often, and once so many were answered since. No request begins while brokers
have not acknowledged so many: a kill makes them go twice."""


class ResendProgress(Protocol):
    """The committed offsets of a resend: `RedeliveryGroup`."""

    @property
    def acknowledged(self) -> Mapping[int, Committed]:
        """Partition → the commit that the brokers acknowledged last."""

    @property
    def is_committing(self) -> bool:
        """Whether a commit has no answer yet, so that the next one would be passed over."""

    def committed(self, partitions: Collection[int]) -> Mapping[int, Committed]:
        """Ask the brokers; raises UnavailableError where they do not answer."""

    def commit(self, offsets: Mapping[int, Committed]) -> None:
        """Commit soon; raises HaltError where they have refused for too long."""

    def commit_now(self, offsets: Mapping[int, Committed], *, timeout_s: float) -> None:
        """Commit, and wait until the brokers have it; raises HaltError where they have not."""


class Resend(Redelivery[ResentRecord]):
    """Sends the selected records of a topic again, and commits how far it is."""

    name = "resend"
    things = "events"
    flood = Flood(
        "records in a row failed",
        "Correct what is wrong, or narrow the selection, and read the plan before;",
    )

    def __init__(
        self,
        settings: config.Settings,
        parts: SendingParts,
        *,
        resend_id: str,
        topic: str,
        ranges: Ranges,
        prepared_batches: Callable[[Ranges], Iterator[PreparedBatch[ResentRecord]]],
        pipeline: Pipeline,
        limits: Limits,
        progress: ResendProgress,
        report: Report,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`prepared_batches` reads all of these ranges; what `progress` says is done is left out here, which
        is that of the resend with this id. The others are as in `Redelivery`.
        """
        super().__init__(
            settings,
            parts,
            topic=topic,
            ranges=ranges,
            prepared_batches=self._not_done,
            pipeline=pipeline,
            limits=limits,
            report=report,
            clock_s=clock_s,
        )
        self.sources: dict[str, int] = {}
        """Events delivered, by source."""
        self._id = resend_id
        self._all_batches = prepared_batches
        self._progress = progress
        self._commit_due_s = float("-inf")
        self._uncommitted = 0
        """Sent or dead-lettered since a commit was asked for."""
        self._unacknowledged = 0
        """The same since the last one that the brokers acknowledged."""
        self._asked: Mapping[int, Committed] = {}
        """The commit under way, and how many of the unacknowledged it tells of."""
        self._asked_for = 0
        self._sent: dict[int, set[int]] = {}
        """Partition → the offsets of what was sent or dead-lettered, from the committed one on."""

    def _kind(self, item: ResentRecord, result: Result) -> str | None:
        return item.record.partition.topic if isinstance(result, Entry) else None

    @property
    def _unrecorded(self) -> int:
        return sum(map(len, self._sent.values()))

    def _delivered(self, pending: RedeliveredEntry[ResentRecord], event_id: str) -> None:  # noqa: ARG002
        name = source_name(pending.entry.source, self.sources)
        self.sources[name] = self.sources.get(name, 0) + 1
        self._note(pending.item)

    def _dropped(self, item: ResentRecord, reason: str) -> None:
        pass  # dropped again after a kill, it disturbs no one

    def _dead_lettered(self, item: ResentRecord, code: str) -> None:  # noqa: ARG002
        self._note(item)

    def _dead_letter(
        self,
        item: ResentRecord,
        error: RecordError,
        *,
        pending: RedeliveredEntry[ResentRecord] | None,
        request_id: str | None,
    ) -> tuple[Record, Failure]:
        record = item.record
        failure = Failure.of(
            error, event_id=self._pipeline.event_id(record), pending=pending, request_id=request_id
        )
        return record._replace(headers=(*record.headers, (RESEND, self._id.encode()))), failure

    def _pump(self, timeout_s: float, *, send: bool = True) -> None:
        super()._pump(timeout_s, send=send)
        if self._progress.is_committing:
            return
        if self._asked and self._asked.items() <= self._progress.acknowledged.items():
            self._unacknowledged -= self._asked_for
        self._asked = {}
        if (now_s := self._clock_s()) >= self._commit_due_s or self._uncommitted >= MAX_UNCOMMITTED:
            self._commit_due_s = now_s + COMMIT_INTERVAL_S
            self._uncommitted = 0
            if news := self._news():
                self._flush_receipts()
            else:
                self._unacknowledged = 0
            self._asked, self._asked_for = news, self._unacknowledged
            self._progress.commit(news)

    @property
    def _may_send(self) -> bool:
        return super()._may_send and self._unacknowledged < MAX_UNCOMMITTED

    def _flush(self, timeout_s: float) -> None:
        self._progress.commit_now(self._news(), timeout_s=timeout_s)

    def _not_done(self, ranges: Ranges) -> Iterator[PreparedBatch[ResentRecord]]:
        """What no run has sent by now; to be asked for after an assignment."""
        committed = self._progress.committed(ranges)
        for number, each in committed.items():
            self._sent.setdefault(number, set()).update(sent_of(each))
        yield from without(self._all_batches(rest_of(ranges, committed)), self._sent)

    def _note(self, item: ResentRecord) -> None:
        partition, offset = item.id
        if partition in self._ledger.trackers:
            self._sent.setdefault(partition.number, set()).add(offset)
            self._uncommitted += 1
            self._unacknowledged += 1

    def _news(self) -> dict[int, Committed]:
        """How far it is where the brokers do not know yet."""
        news: dict[int, Committed] = {}
        for (_, number), tracker in self._ledger.trackers.items():
            done = self._progress.acknowledged.get(number)
            if done is not None and (sent := self._sent.get(number)):
                self._sent[number] = {offset for offset in sent if offset >= done.offset}
            offset = tracker.committable
            if offset is None:
                continue
            if offset >= self._ranges[number][1]:
                if done is None or done.offset != offset:
                    news[number] = finished(offset, str(iso_second(now_ms())))
            elif (now := under_way(offset, self._sent.get(number, ()))) != done:
                news[number] = now
        return news

    def _forget(self, trackers: Collection[OffsetTracker]) -> None:
        for tracker in trackers:
            self._sent.pop(tracker.partition.number, None)
        super()._forget(trackers)
