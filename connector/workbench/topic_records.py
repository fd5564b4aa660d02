"""Records of a topic, read without a group: the one at a position, or the last ones."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from connector.kafka.client import record_of
from connector.kafka.reader import Reader
from connector.model import Position, Record


class GoneError(LookupError):
    """There is no such record; the message says what there is instead."""


def record_at(reader: Reader, position: Position) -> Record:
    """Read the record at one position.

    Raises:
        GoneError: there is none.
        UnavailableError: Kafka does not answer.
    """
    message = reader.at(position)
    if message is None:
        raise GoneError(_why_gone(reader, position))
    return record_of(message)


def last_records(reader: Reader, topic: str, count: int, *, on_read: Callable[[int], None]) -> list[Record]:
    """Read the last records of all partitions by their timestamps, the oldest of them first.

    `on_read` is told how many were read, of all partitions together.

    Raises:
        GoneError: there is no such topic, or it is empty.
        UnavailableError: Kafka does not answer.
    """
    partitions = reader.partitions(topic)
    if partitions is None:
        raise GoneError(_no_topic(topic))
    ends = reader.ends(topic, partitions)
    newest: list[Record] = []
    unread, span = ends, count
    while unread:
        # Compaction and transactions leave holes, and then fewer records are found than there are offsets.
        ranges = {number: (max(low, high - span), high) for number, (low, high) in unread.items()}
        found = dict.fromkeys(ranges, 0)
        for messages in reader.read(topic, ranges):
            on_read(len(messages))
            records = [record_of(message) for message in messages]
            for record in records:
                found[record.partition.number] += 1
            newest = heapq.nlargest(count, [*newest, *records], key=_age)
        unread = {
            number: (low, ranges[number][0])
            for number, (low, _) in unread.items()
            if found[number] < count and low < ranges[number][0]
        }
        span *= 4
    if not newest:
        raise GoneError(f"{topic} holds no records")
    return sorted(newest, key=_age)


def _age(record: Record) -> tuple[int, int, int]:
    return record.timestamp_ms or 0, record.offset, record.partition.number


def _why_gone(reader: Reader, position: Position) -> str:
    (topic, number), offset = position
    partitions = reader.partitions(topic)
    if partitions is None:
        return _no_topic(topic)
    if number not in partitions:
        return f"{position}: {topic} has the partitions 0 to {partitions[-1]}"
    low, high = reader.ends(topic, [number])[number]
    if low == high:
        return f"{position} is not there: the partition is empty, and its next offset is {high}"
    retained = f"the partition has offsets {low} to {high - 1} now"
    if offset < low:
        return f"{position} is gone: {retained}"
    if offset >= high:
        return f"{position} is not there yet: {retained}"
    return f"{position} is no record, but a place that compaction or a transaction left: {retained}"


def _no_topic(topic: str) -> str:
    return f"{topic} does not exist in this Kafka cluster; create it, or correct its name"
