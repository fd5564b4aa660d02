"""How far a resend is, as its group has committed it: an offset for each partition, and a note beside it.

Records of different keys finish out of order. So the note names those behind the offset that are sent or
dead-lettered, and a resend that was killed repeats only what was in flight. Of a partition that is finished
it says when.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Iterator, Mapping

from connector.dead_letters.dry_run import PreparedBatch
from connector.dead_letters.redelivery_group import Committed
from connector.model import Ranges
from connector.resend.selection import ResentRecord

MAX_NOTE_BYTES = 2_400
"""Base64 makes 3,200 of it. Brokers take 4,096, see `offset.metadata.max.bytes`."""

SENT = "sent:"
FINISHED = "finished:"


def under_way(offset: int, sent: Iterable[int]) -> Committed:
    """Everything before `offset` is done, and of what lies behind it these; the first ones, if many."""
    note = bytearray()
    before = offset
    for each in sorted(sent):
        if each < offset:
            continue
        if len(note) > MAX_NOTE_BYTES - 10:
            break
        distance, before = each - before, each
        while distance > 0x7F:
            note.append(distance & 0x7F | 0x80)
            distance >>= 7
        note.append(distance)
    return Committed(offset, SENT + base64.b64encode(note).decode() if note else "")


def finished(offset: int, at: str) -> Committed:
    """Everything is done, since this time."""
    return Committed(offset, FINISHED + at)


def sent_of(committed: Committed) -> frozenset[int]:
    """What is done behind the offset; nothing where the note is another program's."""
    if not committed.note.startswith(SENT):
        return frozenset()
    try:
        note = base64.b64decode(committed.note.removeprefix(SENT), validate=True)
    except binascii.Error:
        return frozenset()
    sent: list[int] = []
    offset, distance, shift = committed.offset, 0, 0
    for byte in note:
        distance |= (byte & 0x7F) << shift
        shift += 7
        if byte <= 0x7F:
            offset += distance
            sent.append(offset)
            distance = shift = 0
    return frozenset(sent)


def finished_at(committed: Iterable[Committed]) -> str:
    """When the last of some finished partitions was, as ISO 8601."""
    notes = [each.note.removeprefix(FINISHED) for each in committed if each.note.startswith(FINISHED)]
    return max(notes, default="a time that is not known")


def rest_of(ranges: Ranges, committed: Mapping[int, Committed]) -> dict[int, tuple[int, int]]:
    """The parts of these ranges behind what is committed; only partitions that have any."""
    rest = {
        number: (max(low, committed[number].offset) if number in committed else low, high)
        for number, (low, high) in ranges.items()
    }
    return {number: (low, high) for number, (low, high) in rest.items() if low < high}


def without(
    batches: Iterable[PreparedBatch[ResentRecord]], sent: Mapping[int, Collection[int]]
) -> Iterator[PreparedBatch[ResentRecord]]:
    """The batches without these offsets of partitions."""
    for batch in batches:
        if not any(sent.values()):
            yield batch
            continue
        left = [
            each
            for each in batch.prepared
            if each.item.record.offset not in sent.get(each.item.record.partition.number, ())
        ]
        yield batch._replace(prepared=left)
