"""Which records a resend is about: their range in a topic, and the event each must make."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import NamedTuple

from connector.dead_letters.dry_run import PassedOver, Prepared, Result
from connector.delivery.pauses import PauseFile
from connector.errors import ConnectorError, DecodeError, RecordError
from connector.formats.keys import key_test
from connector.kafka.reader import Reader
from connector.model import Entry, Position, Ranges, Record, iso
from connector.pipeline import Pipeline

LATE_MS = 60_000
"""Records that lie so far behind the end of a range are looked at as well: a topic is in the order of time
only nearly, where it has several producers."""

OUTSIDE = PassedOver("outside the range")
NOT_SELECTED = PassedOver("not selected")


class UnusableRange(ConnectorError):  # noqa: N818 - it names what was found
    """There is nothing to send in a range, or not any more; says why, and what there is."""


@dataclass(frozen=True, slots=True)
class ResendSelection:
    """The records of one topic that are sent again. What is None matches every record.

    There is a range: both times, or `partition` with `offsets`.
    """

    topic: str
    since_ms: int | None = None
    """The record's own timestamp is this one or later; Unix time in milliseconds."""
    until_ms: int | None = None
    """It is before this one."""
    partition: int | None = None
    offsets: tuple[int, int] | None = None
    """The first and the last."""
    key: str | None = None
    """The record's key as text, or the JSON of its decoded key."""
    source: str | None = None
    detail_type: str | None = None

    @property
    def id(self) -> str:
        """16 hexadecimal digits, the same for the same selection wherever and whenever it is made."""
        fields = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(fields.encode()).hexdigest()[:16]

    @property
    def is_backwards(self) -> bool:
        """Whether the range ends before it begins."""
        return self.since_ms is not None and self.until_ms is not None and self.since_ms >= self.until_ms

    @property
    def range_text(self) -> str:
        """The range in words, as "orders.v1 between … and …"."""
        where = self.topic if self.partition is None else f"{self.topic}[{self.partition}]"
        if self.offsets is not None:
            first, last = self.offsets
            where += f" at offset {first}" if first == last else f" from offset {first} to {last}"
        if self.since_ms is not None and self.until_ms is not None:
            where += f" between {iso(self.since_ms)} and {iso(self.until_ms)}"
        return where

    def holds(self, record: Record) -> bool:
        """Whether the record's own timestamp lies in the range."""
        if self.since_ms is None or self.until_ms is None:
            return True
        return record.timestamp_ms is not None and self.since_ms <= record.timestamp_ms < self.until_ms


class ResentRecord(NamedTuple):
    """A record that is sent again."""

    record: Record
    event_id: str | None = None
    only_if_active: bool = False
    is_value_omitted: bool = False

    @property
    def id(self) -> Position:
        return self.record.position


def ranges_of(reader: Reader, selection: ResendSelection) -> Ranges:
    """The offsets that hold the selection, as the topic is now; only partitions that have any.

    Raises:
        UnusableRange: there are none, or not any more.
        UnavailableError: no broker answered in time, or they refuse us.
    """
    topic = selection.topic
    partitions = reader.partitions(topic)
    if partitions is None:
        raise UnusableRange(
            f"the topic {topic} does not exist on these brokers: check kafka.bootstrap.servers"
        )
    if selection.partition is not None:
        if selection.partition not in partitions:
            has = "partition 0 alone" if len(partitions) == 1 else f"partitions 0 to {partitions[-1]}"
            raise UnusableRange(f"{topic} has no partition {selection.partition}: it has {has}")
        partitions = [selection.partition]
    retained: Ranges = reader.ends(topic, partitions)
    ranges = retained
    if selection.offsets is not None:
        ranges = {number: _asked(selection, number, *ends) for number, ends in retained.items()}
    if selection.since_ms is not None and selection.until_ms is not None:
        ranges = reader.between(topic, ranges, selection.since_ms, selection.until_ms + LATE_MS)
    ranges = {number: (low, high) for number, (low, high) in ranges.items() if low < high}
    if not ranges:
        raise UnusableRange(nothing_in(selection))
    return ranges


def nothing_in(selection: ResendSelection) -> str:
    """That a range is empty, in a sentence with what to do."""
    return (
        f"no record lies in {selection.range_text}. Widen the range; `kafka-get-offsets.sh --topic "
        f"{selection.topic}` shows what the topic holds"
    )


def _asked(selection: ResendSelection, number: int, low: int, high: int) -> tuple[int, int]:
    """The offsets that were asked for, where all of them are there."""
    assert selection.offsets is not None  # noqa: S101 - the caller's condition
    first, last = selection.offsets
    holds = f"{selection.topic}[{number}] holds {low} to {high - 1}" if low < high else "it is empty"
    if first < low:
        raise UnusableRange(f"offset {first} is gone: retention deleted it. {holds}")
    if last >= high:
        raise UnusableRange(f"there is no offset {last} yet: {holds}")
    return first, last + 1


class ResendDryRun:
    """Makes the entry of each selected record with the current configuration, as the bridge does."""

    def __init__(
        self, pipeline: Pipeline, selection: ResendSelection, pauses: PauseFile | None = None
    ) -> None:
        self._pipeline = pipeline
        self._pauses = pauses
        self._selection = selection
        self._is_key = (
            None if selection.key is None else key_test(selection.key, pipeline.route(selection.topic).key)
        )

    def __call__(self, item: ResentRecord) -> Prepared[ResentRecord]:
        """Try a record, whatever state its source is in.

        Raises:
            UnavailableError: its schema is not known yet; the same again later.
        """
        record, selection = item.record, self._selection
        if not selection.holds(record):
            return Prepared(item, OUTSIDE)
        if self._is_key is not None and not self._is_key(record):
            return Prepared(item, NOT_SELECTED)
        result: Result
        try:
            result = self._pipeline(record)
        except RecordError as error:
            is_wanted, result = self._may_be_wanted(record), error
        else:
            is_wanted = (
                self._is_wanted(result.source, result.detail_type)
                if isinstance(result, Entry)
                else self._may_be_wanted(record)
            )
        if not is_wanted:
            return Prepared(item, NOT_SELECTED)
        if self._pauses is not None and isinstance(result, Entry):
            reason = self._pauses.why_left_out(record.partition.topic, result)
            if reason is not None:
                return Prepared(item, PassedOver(reason))
        return Prepared(item, result)

    def _is_wanted(self, source: str | None, detail_type: str | None) -> bool:
        """Whether an event is selected; one of which something is not known may be."""
        selection = self._selection
        return (source is None or selection.source in {None, source}) and (
            detail_type is None or selection.detail_type in {None, detail_type}
        )

    def _may_be_wanted(self, record: Record) -> bool:
        """Whether a record that makes no event could be of the selected source and detail type.

        Where its templates still say that it is of another, a resend to one customer does not concern it.
        """
        if self._selection.source is None and self._selection.detail_type is None:
            return True
        try:
            source, detail_type = self._pipeline.route(record.partition.topic).names(record)
        except DecodeError:
            return True
        # One whose source has no name is of no customer.
        return self._is_wanted(source or "", detail_type)
