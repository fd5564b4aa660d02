"""Resolutions of dead letters: the records of their topic, and a compact table of states. Pure.

A resolution has the letter's id as its key and JSON as its value; `schemas/resolution.json` describes it.
The topic is compacted, so the last one of each letter stays.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple

from connector.dead_letters.format import letter_id, parse_id
from connector.errors import ConnectorError
from connector.model import Position, iso


class DeadLetterState(IntEnum):
    """The state of a dead letter; fits a byte."""

    OPEN = 0
    DELIVERED = 1
    DISCARDED = 2
    DEAD_LETTERED_AGAIN = 3
    """A replay failed; there is a newer letter of the same record."""
    PARKED = 4
    """Open, and replayed as often as allowed. Never written: it follows from the letter."""

    @property
    def label(self) -> str:
        """Its name in output and JSON, as `dead-lettered-again`."""
        return self.name.lower().replace("_", "-")


_LABELS = {
    state: state.label
    for state in (DeadLetterState.DELIVERED, DeadLetterState.DISCARDED, DeadLetterState.DEAD_LETTERED_AGAIN)
}
_BY_LABEL = {label: state for state, label in _LABELS.items()}


class UnreadableResolution(ConnectorError):  # noqa: N818 - it names what was found
    """A record in the resolutions topic that is none."""


class Resolution(NamedTuple):
    """The outcome of one letter, and when it came."""

    state: DeadLetterState
    """DELIVERED, DISCARDED or DEAD_LETTERED_AGAIN."""
    at_ms: int
    """Unix time in milliseconds."""
    written_ms: int
    """When the letter was written. A letter at the same position with another time is another letter,
    of a topic that was deleted and made anew, and this resolution is not about it."""
    event_id: str | None = None
    """DELIVERED: the EventId that EventBridge gave it."""
    reason: str | None = None
    """DISCARDED: why, in the words of who did it. DEAD_LETTERED_AGAIN: the code it failed with."""
    who: str | None = None


def encode(letter: Position, resolution: Resolution) -> tuple[bytes, bytes]:
    """Key and value of a record of the resolutions topic."""
    # Written by hand: a replay makes one for each letter, and nothing in the fixed parts needs escapes.
    # A text from the command line may hold half a surrogate pair, which UTF-8 cannot; JSON escapes it.
    value = (
        f'{{"state": "{_LABELS[resolution.state]}", "at": "{iso(resolution.at_ms)}", '
        f'"letter_written_ms": {resolution.written_ms}'
    )
    _, _, _, event_id, reason, who = resolution
    if event_id is not None:
        value += f', "event_id": {quoted(event_id)}'
    if reason is not None:
        value += f', "reason": {quoted(reason)}'
    if who is not None:
        value += f', "who": {quoted(who)}'
    return letter_id(letter).encode(), f"{value}}}".encode()


def decode(key: bytes | None, value: bytes | None) -> tuple[Position, Resolution | None]:
    """Whose resolution a record is and what it says; None for a tombstone, which makes it open again.

    Raises:
        UnreadableResolution: it is something else.
    """
    letter = parse_id((key or b"").decode("utf-8", "replace"))
    if letter is None:
        raise UnreadableResolution("its key is no letter's id")
    if value is None:
        return letter, None
    try:
        fields = json.loads(value)
        return letter, Resolution(
            state=_BY_LABEL[fields["state"]],
            at_ms=_ms(fields["at"]),
            written_ms=int(fields["letter_written_ms"]),
            event_id=fields.get("event_id"),
            reason=fields.get("reason"),
            who=fields.get("who"),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UnreadableResolution("its value is not the JSON of a resolution") from error


class PartitionStates:
    """The states of one partition's letters from the offset `base` on, in five bytes each."""

    __slots__ = ("_states", "_written", "base")

    def __init__(self, base: int, letters: int = 0) -> None:
        self.base = base
        self._states = bytearray(letters)
        self._written = array("I", bytes(4 * letters))

    def __len__(self) -> int:
        return len(self._states)

    def grow(self, letters: int) -> None:
        """Make room for so many more letters behind the last."""
        self._states.extend(bytes(letters))
        self._written.extend(array("I", bytes(4 * letters)))

    def forget(self, letters: int) -> None:
        """Forget so many of the first letters."""
        del self._states[:letters], self._written[:letters]
        self.base += letters

    def note(self, offset: int, resolution: Resolution | None) -> None:
        """Remember a resolution; the last one counts. None makes the letter open again."""
        place = offset - self.base
        if 0 <= place < len(self._states):
            self._states[place] = DeadLetterState.OPEN if resolution is None else resolution.state
            self._written[place] = 0 if resolution is None else resolution.written_ms & 0xFFFFFFFF

    def state(self, offset: int, written_ms: int) -> DeadLetterState:
        """The state of the letter that was written at that time; OPEN where nothing is known."""
        place = offset - self.base
        if not 0 <= place < len(self._states) or not self._states[place]:
            return DeadLetterState.OPEN
        # The same position with another time is another letter: the topic was made anew.
        is_same = self._written[place] == written_ms & 0xFFFFFFFF
        return DeadLetterState(self._states[place]) if is_same else DeadLetterState.OPEN


class ResolutionTable:
    """The state of every letter between two offsets of each partition.

    What lies outside is not remembered: letters that retention ate, or that were written later.
    """

    def __init__(self, topic: str, ranges: Mapping[int, tuple[int, int]]) -> None:
        """`ranges`: partition of the dead-letter topic → (first offset, one past the last)."""
        self.topic = topic
        self._partitions = {
            number: PartitionStates(low, high - low) for number, (low, high) in ranges.items()
        }

    def note(self, letter: Position, resolution: Resolution | None) -> None:
        """As `PartitionStates.note`; nothing for a letter of another topic."""
        (topic, number), offset = letter
        if number in self._partitions and topic == self.topic:
            self._partitions[number].note(offset, resolution)

    def state(self, letter: Position, written_ms: int) -> DeadLetterState:
        """As `PartitionStates.state`."""
        (_, number), offset = letter
        states = self._partitions.get(number)
        return DeadLetterState.OPEN if states is None else states.state(offset, written_ms)


def _ms(text: str) -> int:
    whole, _, ms = text.removesuffix("Z").partition(".")
    return _unix(whole) * 1000 + int(ms)


@lru_cache(maxsize=1024)
def _unix(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
