"""What the page shows beyond `/readyz` and `/sources`, as the bridge thread hands it over."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from connector.errors import Code
from connector.model import Partition, Position, now_ms
from connector.telemetry.page.history import History, Sample, TargetTotals
from connector.telemetry.tally import Tally

MAX_ISSUES = 500
"""Issues that are kept; the one that was not seen for longest makes room."""

MUCH = 0.2
"""The share of entries sent again that is said in words, as from which throttling raises its alert."""

MIN_ANSWERED = 20
"""Of fewer entries, one that fails once would be a large share."""

SPLIT: frozenset[Code] = frozenset({"request_refused", "request_too_large"})
"""Codes of requests that are sent again in halves; most entries of such a request have no fault."""

MAX_TEXT = 300
"""Characters kept of a message."""


class PartitionReport(NamedTuple):
    """One assigned partition, for people."""

    partition: Partition
    lag: int | None
    """Records between what is settled and the end; None while that is not known."""
    behind_s: float
    """How old the oldest record is that it did not settle, as far as known without reading it."""
    behind_since_ms: int | None
    """Since when it is behind; Unix time in milliseconds, None where it is not."""
    oldest_unsettled_s: float
    """How long the record that holds back the commit has been here."""
    paused: tuple[str, str] | None
    """Why nothing is read: a word, and a sentence."""


class TargetReport(NamedTuple):
    """One target, for people."""

    name: str
    condition: str
    """up, throttled, down, or that it refuses us."""
    problem: str | None
    requests_in_flight: int
    waiting: int
    """Entries that wait to be sent, or for an answer."""
    held: int
    """Entries that wait for their source."""
    answered: int
    throttled: int
    """Since the start, as in `TargetTotals`."""


class Issue(NamedTuple):
    """Dead letters that have code, source and topic in common. Counts are of this process."""

    letters: int
    first_ms: int
    last_ms: int
    """Unix time in milliseconds, as is `first_ms`."""
    position: Position
    """Where the last of these records is in Kafka."""
    message: str
    """Of the last one."""


IssueKey = tuple[str, str | None, str]
"""Code, source where there was one, and topic."""


class _Behind(NamedTuple):
    since_ms: int
    read_ms: int | None
    """The timestamp of the record that was read last when it began."""


class Board:
    """The state of partitions and targets, the issues, and the last 15 minutes.

    The bridge thread writes and the HTTP server's thread reads, without a lock, as with `Health`: each write
    replaces one attribute or one item of a dict, each read copies the dict in one step.
    """

    def __init__(self, tally: Tally | None = None) -> None:
        self.partitions: Sequence[PartitionReport] = ()
        self.targets: Sequence[TargetReport] = ()
        self.percentiles: Mapping[str, tuple[float, float]] = {}
        """Median and 99th percentile of the last requests in seconds, by target."""
        self.history = History()
        self.sent_again: str | None = None
        """How much of what was sent in the last seconds must be sent again, where that is much."""
        self.is_throttled = False
        """Whether most of it was throttled."""
        self._tally = tally or Tally()
        self._issues: dict[IssueKey, Issue] = {}
        self._behind: dict[Partition, _Behind] = {}
        self._forgotten = 0

    @property
    def issues(self) -> dict[IssueKey, Issue]:
        """By code, source and topic; the one seen last comes last."""
        return self._issues.copy()

    @property
    def lately_dead_lettered(self) -> int:
        """Records dead-lettered in the time of the history, and since its last sample, as in the issues."""
        samples = self.history.samples
        return self._tally.dead_lettered - (samples[0].dead_lettered if samples else 0)

    @property
    def is_delivering(self) -> bool:
        """Whether an event was delivered in the last 5 to 10 seconds: since the last sample but one."""
        samples = self.history.samples[-2:]
        return bool(samples) and sum(self._tally.delivered.copy().values()) > samples[0].delivered

    @property
    def issues_forgotten(self) -> int:
        """Issues that were dropped for want of room."""
        return self._forgotten

    def report(
        self, now_s: float, *, partitions: Sequence[PartitionReport], targets: Sequence[TargetReport]
    ) -> None:
        """Show these, and remember the totals where that is due. To be called about once a second."""
        self.partitions, self.targets = partitions, targets
        if self.history.is_due(now_s):
            tally = self._tally
            self.percentiles = {
                each.name: found for each in targets if (found := tally.percentiles(each.name)) is not None
            }
            totals = {
                each.name: TargetTotals(tally.delivered.get(each.name, 0), each.answered, each.throttled)
                for each in targets
            }
            delivered = sum(tally.delivered.values())
            self.history.add(Sample(now_s, delivered, tally.dead_lettered, tally.retried.copy(), totals))
        self._compare(now_s, self.history.samples[-2:][0])

    def _compare(self, now_s: float, since: Sample) -> None:
        """Say how much failed since then, where that is much."""
        tally = self._tally
        failed = {
            code: entries - since.retried_by_code.get(code, 0)
            for code, entries in tally.retried.items()
            if code not in SPLIT
        }
        again = sum(failed.values())
        answered = again + sum(tally.delivered.values()) - since.delivered
        if answered < MIN_ANSWERED or again <= MUCH * answered:
            self.sent_again, self.is_throttled = None, False
            return
        code = max(failed, key=failed.__getitem__)
        why = code if failed[code] == again else f"mostly {code}"
        lately = f"{again:,} of the {answered:,} entries of the last {now_s - since.at_s:.0f} s"
        self.sent_again = f"{lately} failed ({why}) and are sent again"
        # Codes of throttling are many, and those who know them have counted.
        before = {name: totals.throttled for name, totals in since.targets.items()}
        throttled = sum(each.throttled - before.get(each.name, 0) for each in self.targets)
        self.is_throttled = 2 * throttled > again

    def behind(
        self, partition: Partition, lag: int | None, *, read_ms: int | None, waits_s: float
    ) -> tuple[float, int | None]:
        """For how many seconds a partition is behind, and since when; to be asked about once a second.

        `read_ms` is the timestamp of the record that was read last. Where nothing was read since the
        partition fell behind, that record was the last before a silence, and says nothing of those that wait.
        """
        if not lag:
            self._behind.pop(partition, None)
            return waits_s, None
        at_ms = now_ms()
        begun = self._behind.get(partition)
        if begun is None:
            begun = self._behind[partition] = _Behind(at_ms - int(waits_s * 1000), read_ms)
        oldest_ms = begun.since_ms if read_ms is None or read_ms == begun.read_ms else read_ms
        return max(waits_s, (at_ms - oldest_ms) / 1000, 0.0), begun.since_ms

    def forget(self, partitions: Collection[Partition]) -> None:
        """Partitions were taken away."""
        for partition in partitions:
            self._behind.pop(partition, None)

    def dead_lettered(self, position: Position, *, code: str, source: str | None, message: str) -> None:
        """A record is in the dead-letter topic."""
        key = (code, source, position.partition.topic)
        at_ms = now_ms()
        known = self._issues.pop(key, None)
        letters, first_ms = (known.letters, known.first_ms) if known else (0, at_ms)
        self._issues[key] = Issue(letters + 1, first_ms, at_ms, position, message[:MAX_TEXT])
        if len(self._issues) > MAX_ISSUES:
            del self._issues[next(iter(self._issues))]
            self._forgotten += 1
