"""Letters of one record are one case, and the newest of them speaks for it. Pure.

A bridge that is killed while it dead-letters reads some records again and writes their letters again, and
a replay that fails writes a newer letter. Such a record must be counted and sent once.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from typing import TypeAlias

from connector.dead_letters.format import EVENT_ID, TIMESTAMP, UnreadableLetter, label
from connector.model import Record

Place: TypeAlias = "tuple[int, int]"
"""Partition and offset of a letter in the dead-letter topic."""

_SALT = os.urandom(8)
"""Two records that meet in one hash, one pair in 40 million topics of a million letters, do so in one process
only: the letter that is passed over there stays open, and the next process finds it."""

_OFFSET_BITS = 40
_OFFSETS = 1 << _OFFSET_BITS
_FIRST_SLOTS = 1 << 10


def case_of(written: Record) -> int | None:
    """Which record a letter is about, as a hash of 64 bits; None where its headers do not say.

    Letters are of one record where they have the same event id and the same time of the record: a topic that
    was made anew repeats positions. Those of Kafka Connect have no event id; there it is the position of
    the origin.
    """
    event_id = timestamp = None
    # The last of a name counts, and both are near the end: that is a fifth of the work of making a dict.
    for name, content in reversed(written.headers):
        if name == EVENT_ID:
            event_id = event_id or content
            if timestamp is not None:
                break
        elif name == TIMESTAMP:
            timestamp = timestamp or content
            if event_id is not None:
                break
    if event_id:
        return hash(b"%b%b\0%b" % (_SALT, event_id, timestamp or b"")) & 0xFFFFFFFFFFFFFFFF
    try:
        _, topic, partition, offset, *_ = label(written)
    except UnreadableLetter:
        return None
    origin = f"{topic}\0{partition}\0{offset}\0{written.timestamp_ms}".encode("utf-8", "replace")
    return hash(_SALT + origin) & 0xFFFFFFFFFFFFFFFF


class Newest:
    """The newest letter of each record, in about 32 bytes for each.

    Newest is the last one of the partition that has the letter written last; of equal times, of the higher
    partition. So within a partition no clock decides. It follows from the letters alone, and not from the
    order in which partitions are read: processes that read the same letters agree.
    """

    def __init__(self) -> None:
        # A hash table with open addressing. A dict of a million takes five times the memory.
        self._slots = array("I", bytes(4 * _FIRST_SLOTS))
        """Place in the arrays below; 0 where a slot is free, and so is place 0."""
        self._cases = array("Q", [0])
        self._written = array("q", [0])
        self._places = array("Q", [0])

    def __len__(self) -> int:
        return len(self._cases) - 1

    def add(self, case: int, written_ms: int, number: int, offset: int) -> Place | None:
        """Add a letter; returns the older one of two of its record, which may be this one."""
        slots, cases = self._slots, self._cases
        mask = len(slots) - 1
        slot = case & mask
        while at := slots[slot]:
            if cases[at] == case:
                return self._compare(at, written_ms, number, offset)
            slot = (slot + 1) & mask
        if offset >= _OFFSETS:
            return None
        slots[slot] = len(cases)
        cases.append(case)
        self._written.append(written_ms)
        self._places.append(number << _OFFSET_BITS | offset)
        if 3 * len(cases) > 2 * len(slots):
            self._fill(2 * len(slots))
        return None

    def newest(self, case: int) -> Place | None:
        """The newest letter of a record; None where none was added."""
        mask = len(self._slots) - 1
        slot = case & mask
        while at := self._slots[slot]:
            if self._cases[at] == case:
                return _place(self._places[at])
            slot = (slot + 1) & mask
        return None

    def keep(self, is_there: Callable[[int, int], bool]) -> None:
        """Forget records whose newest letter is not there any more."""
        kept = 1
        for at in range(1, len(self._cases)):
            if is_there(*_place(self._places[at])):
                for values in (self._cases, self._written, self._places):
                    values[kept] = values[at]
                kept += 1
        for values in (self._cases, self._written, self._places):
            del values[kept:]
        self._fill(len(self._slots))

    def _compare(self, at: int, written_ms: int, number: int, offset: int) -> Place | None:
        held = _place(self._places[at])
        held_ms = self._written[at]
        if held == (number, offset):
            return None
        is_newer = offset > held[1] if number == held[0] else (written_ms, number) > (held_ms, held[0])
        if not is_newer or offset >= _OFFSETS:
            return number, offset
        self._places[at] = number << _OFFSET_BITS | offset
        self._written[at] = max(written_ms, held_ms)
        return held

    def _fill(self, size: int) -> None:
        slots = self._slots = array("I", bytes(4 * size))
        mask = size - 1
        for at in range(1, len(self._cases)):
            slot = self._cases[at] & mask
            while slots[slot]:
                slot = (slot + 1) & mask
            slots[slot] = at


def _place(packed: int) -> Place:
    return packed >> _OFFSET_BITS, packed & (_OFFSETS - 1)
