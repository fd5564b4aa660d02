"""Which dead letters a command is about: filters, ids, and the scan that finds them."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from connector.dead_letters.cases import Newest, case_of
from connector.dead_letters.format import (
    DeadLetter,
    DeadLetterInfo,
    UnreadableLetter,
    label,
    letter_id,
    parse_id,
    read,
)
from connector.dead_letters.resolutions import DeadLetterState, ResolutionTable
from connector.model import Partition, Position, Ranges, Record

Wanted: TypeAlias = Literal["open", "delivered", "discarded", "parked", "all"]
"""The values of `--state`. `open` includes the parked ones, `all` also those that were dead-lettered again
and whose newer letter is gone."""

CODE_UNREADABLE = "unreadable"
"""The code of what is in the topic and is no letter."""

MAX_CASE_LETTERS = 2_000_000
"""Letters that are brought together by their records, the newest of the topic; about 32 bytes each meanwhile.
Each older one is a case of its own: its record may be counted and sent twice then, and is not lost."""

MAX_STAND_INS = 10
"""Ids that were asked for and are not those of the newest letters, named one by one."""

IDLE_BATCHES = 50
"""A caller with a loop of its own gets to run it after so many batches, while nothing is found yet."""

_STATES: dict[Wanted, frozenset[DeadLetterState]] = {
    "open": frozenset({DeadLetterState.OPEN, DeadLetterState.PARKED}),
    "delivered": frozenset({DeadLetterState.DELIVERED}),
    "discarded": frozenset({DeadLetterState.DISCARDED}),
    "parked": frozenset({DeadLetterState.PARKED}),
    "all": frozenset(DeadLetterState),
}


def states_of(wanted: Wanted) -> frozenset[DeadLetterState]:
    """The states that a value of `--state` stands for."""
    return _STATES[wanted]


class StoredDeadLetter(NamedTuple):
    """One record of the dead-letter topic, and what became of it."""

    id: Position
    state: DeadLetterState
    label: DeadLetterInfo | None
    """None where its headers do not say where it came from."""
    problem: str | None
    """Why it cannot be read, where it cannot."""
    record: Record
    """As it is in the dead-letter topic."""

    @property
    def written_ms(self) -> int:
        """When it was written, Unix time in milliseconds; 0 where the topic keeps no timestamps."""
        return self.record.timestamp_ms or 0

    @property
    def letter(self) -> DeadLetter | None:
        """The whole letter, read anew each time; None where it cannot be read."""
        return None if self.label is None else read(self.record, self.label)


class Ids:
    """The ids of letters that were asked for, and which of them were seen; nine bytes each."""

    def __init__(self, topic: str, offsets: Mapping[int, Iterable[int]]) -> None:
        self.topic = topic
        self._offsets = {number: array("q", sorted(set(given))) for number, given in offsets.items()}
        self._seen = {number: bytearray(len(given)) for number, given in self._offsets.items()}

    def __len__(self) -> int:
        return sum(map(len, self._offsets.values()))

    def __iter__(self) -> Iterator[Position]:
        for number, offsets in sorted(self._offsets.items()):
            partition = Partition(self.topic, number)
            for offset in offsets:
                yield Position(partition, offset)

    def take(self, letter: Position) -> bool:
        """Whether this letter was asked for; from now on it counts as seen."""
        (_, number), offset = letter
        offsets = self._offsets.get(number)
        if offsets is None:
            return False
        place = bisect_left(offsets, offset)
        if place == len(offsets) or offsets[place] != offset:
            return False
        self._seen[number][place] = 1
        return True

    def unseen(self) -> Iterator[Position]:
        """The ids that were asked for and not seen."""
        for number, seen in sorted(self._seen.items()):
            place = seen.find(0)
            while place >= 0:
                yield Position(Partition(self.topic, number), self._offsets[number][place])
                place = seen.find(0, place + 1)

    def spans(self, ranges: Ranges) -> dict[int, tuple[int, int]]:
        """The parts of these ranges from the first of the ids to the last, in each partition that has any."""
        spans: dict[int, tuple[int, int]] = {}
        for number in self._offsets.keys() & ranges.keys():
            offsets, (low, high) = self._offsets[number], ranges[number]
            first, end = bisect_left(offsets, low), bisect_left(offsets, high)
            if first < end:
                spans[number] = offsets[first], offsets[end - 1] + 1
        return spans


def parse_ids(lines: Iterable[str], topic: str) -> Ids:
    """The ids in lines of text, or in the lines that `list --json` writes.

    Raises:
        ValueError: a line is neither, or names a letter of another topic; says which line.
    """
    offsets: dict[int, array[int]] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        if found := _ID_IN_JSON.match(text):
            text = found[1]
        position = parse_id(text)
        if position is None:
            raise ValueError(f"line {number} is no id of a dead letter, such as {topic}/0/1042")
        if position.partition.topic != topic:
            raise ValueError(
                f"line {number}: {text[:300]} is not in {topic}, the dead-letter topic configured"
            )
        offsets.setdefault(position.partition.number, array("q")).append(position.offset)
    return Ids(topic, offsets)


_ID_IN_JSON = re.compile(r'\{"id": ?"([^"\\]+)"[,}]')
"""The beginning of what `list --json` writes; parsing a million such lines whole would take longer."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters a command is about. What is left empty matches every letter.

    `topics`, `partitions`, `offsets` and `keys` are those of the record at its origin. In `codes`,
    `topics`, `sources` and `detail_types` a `*` stands for any text.
    """

    codes: Sequence[str] = ()
    topics: Sequence[str] = ()
    partitions: Collection[int] = ()
    offsets: Collection[int] = ()
    keys: Collection[bytes] = ()
    sources: Sequence[str] = ()
    detail_types: Sequence[str] = ()
    since_ms: int | None = None
    """Written at this time or later."""
    until_ms: int | None = None
    """Written before this time."""
    min_attempts: int = 0
    state: Wanted = "open"
    ids: Ids | None = None

    def matcher(self, *, max_replays: int) -> Callable[[Record, ResolutionTable], StoredDeadLetter | None]:
        """A function that says what a record of the dead-letter topic is, or None where it is not selected.

        It reads the headers only when position, time and state do not rule the letter out.
        """
        states, ids, keys = _STATES[self.state], self.ids, frozenset(self.keys)
        # Whether an open letter is parked shows in its headers.
        worth_reading = states | {DeadLetterState.OPEN} if DeadLetterState.PARKED in states else states
        since_ms = self.since_ms if self.since_ms is not None else -1
        until_ms = self.until_ms if self.until_ms is not None else float("inf")
        tests = list(self._tests())
        is_code = is_in(self.codes)
        # Of what cannot be read nothing is known but that.
        takes_unreadable = not (tests or keys) and is_code(CODE_UNREADABLE)
        if self.codes:
            tests.insert(0, lambda found: is_code(found.code))

        def match(record: Record, resolved: ResolutionTable) -> StoredDeadLetter | None:
            written_ms = record.timestamp_ms or 0
            if not since_ms <= written_ms < until_ms:
                return None
            position = Position(record.partition, record.offset)
            if ids is not None and not ids.take(position):
                return None
            state = resolved.state(position, written_ms)
            if state not in worth_reading:
                return None
            if keys and record.key not in keys:
                return None
            try:
                found = label(record)
            except UnreadableLetter as error:
                if not takes_unreadable or state not in states:
                    return None
                return StoredDeadLetter(position, state, None, str(error), record)
            if state is DeadLetterState.OPEN and found.replay_count >= max_replays:
                state = DeadLetterState.PARKED
            if state not in states:
                return None
            for test in tests:
                if not test(found):
                    return None
            return StoredDeadLetter(position, state, found, None, record)

        return match

    def _tests(self) -> Iterator[Callable[[DeadLetterInfo], bool]]:
        """One test for each filter of the content but `keys` and `codes`, the cheap ones first."""
        if self.partitions:
            yield _where("partition", frozenset(self.partitions).__contains__)
        if self.offsets:
            yield _where("offset", frozenset(self.offsets).__contains__)
        if self.min_attempts:
            yield _where("attempts", self.min_attempts.__le__)
        for field, texts in (
            ("topic", self.topics),
            ("source", self.sources),
            ("detail_type", self.detail_types),
        ):
            if texts:
                yield _where(field, is_in(texts))


def _where(field: str, matches: Callable[[Any], bool]) -> Callable[[DeadLetterInfo], bool]:
    value_of = attrgetter(field)
    return lambda label: matches(value_of(label))


def is_in(wanted: Sequence[str]) -> Callable[[str | None], bool]:
    """Whether a text is one of those wanted, in which `*` stands for any text; anything is, of none."""
    if not wanted:
        return lambda _: True
    exact = frozenset(text for text in wanted if "*" not in text)
    patterns = ["".join(".*" if c == "*" else re.escape(c) for c in text) for text in wanted if "*" in text]
    if not patterns:
        return exact.__contains__
    pattern = re.compile("|".join(patterns), re.DOTALL)
    return lambda text: text is not None and (text in exact or pattern.fullmatch(text) is not None)


class DeadLetterReader(Protocol):
    """Where letters are read from: `DeadLetterTopic`."""

    def read(
        self, ranges: Ranges, *, since_ms: int | None, limit: int, timeout_s: float
    ) -> Iterator[Sequence[Record]]: ...


class Cases:
    """Which letters of the topic speak for their record, and which one does for each id that was asked for.

    It reads the letters before anything else is done with them, and keeps a byte for each then. What was
    written before all that is asked for cannot be newer, and is not read.
    """

    def __init__(self, topic: str, ranges: Ranges, selection: Selection) -> None:
        """`ranges` are those of the whole topic: letters of one record may lie in several partitions."""
        self._topic = topic
        self._selection = selection
        self._ranges = ranges
        share = max(1, MAX_CASE_LETTERS // max(1, len(ranges)))
        self._newest_of = {number: (max(low, high - share), high) for number, (low, high) in ranges.items()}
        self._is_read = False
        self._begin()

    def _begin(self) -> None:
        self.passed_over = 0
        """Letters that do not speak."""
        self.ids = self._selection.ids
        """The letters that speak for those that were asked for; None where none were."""
        self.stand_ins: list[tuple[Position, Position]] = []
        """Those that were asked for and do not speak, with the one that does; the first few."""
        self._newest = Newest()
        self._silent: dict[int, bytearray] = {}
        """Partition → 1 for each letter that does not speak. Only where there is one."""

    @property
    def is_whole(self) -> bool:
        """Whether `read` brings all of the topic, but for what the selection rules out by its time."""
        return self._selection.ids is None and self._newest_of == dict(self._ranges)

    def read(
        self, letters: DeadLetterReader, *, limit: int = 100, timeout_s: float = 0.1
    ) -> Iterator[Sequence[Record]]:
        """Read what is needed, and bring it in batches, some of them empty; nothing once it is known.

        Given up midway, it begins anew the next time.
        """
        if self._is_read:
            return
        self._begin()
        since_ms, asked = self._selection.since_ms, _Asked()
        if self._selection.ids is not None:
            spans = self._selection.ids.spans(self._ranges)
            for records in letters.read(spans, since_ms=None, limit=limit, timeout_s=timeout_s):
                asked.add(records, self._selection.ids)
                yield ()
            since_ms = asked.since_ms
        if self._selection.ids is None or asked:
            for records in letters.read(self._newest_of, since_ms=since_ms, limit=limit, timeout_s=timeout_s):
                self._add(records)
                yield records
        if self._selection.ids is not None:
            self._stand_in(asked)
        self._newest = Newest()  # the memory is needed elsewhere
        self._is_read = True

    def speaks(self, record: Record) -> bool:
        """Whether a letter is the newest of its record, as far as that is known."""
        silent = self._silent.get(record.partition.number)
        return silent is None or not silent[record.offset - self._ranges[record.partition.number][0]]

    def _add(self, records: Sequence[Record]) -> None:
        add = self._newest.add
        for record in records:
            case = case_of(record)
            if case is None:
                continue
            place = add(case, record.timestamp_ms or 0, record.partition.number, record.offset)
            if place is not None:
                self._pass_over(*place)

    def _pass_over(self, number: int, offset: int) -> None:
        low, high = self._ranges[number]
        silent = self._silent.get(number)
        if silent is None:
            silent = self._silent[number] = bytearray(high - low)
        if not silent[offset - low]:
            silent[offset - low] = 1
            self.passed_over += 1

    def _stand_in(self, asked: _Asked) -> None:
        """Put in place of each letter that was asked for the one that speaks."""
        offsets: dict[int, array[int]] = {}
        for (number, offset), case in asked:
            place = (case and self._newest.newest(case)) or (number, offset)
            offsets.setdefault(place[0], array("q")).append(place[1])
            if place != (number, offset) and len(self.stand_ins) < MAX_STAND_INS:
                self.stand_ins.append((self._position(number, offset), self._position(*place)))
        self.ids = Ids(self._topic, offsets)

    def _position(self, number: int, offset: int) -> Position:
        return Position(Partition(self._topic, number), offset)


class _Asked:
    """Letters that were asked for and found; twenty bytes each."""

    def __init__(self) -> None:
        self.since_ms: int | None = None
        """When the first of them was written."""
        self._numbers, self._offsets, self._cases = array("i"), array("q"), array("Q")

    def __len__(self) -> int:
        return len(self._cases)

    def __iter__(self) -> Iterator[tuple[tuple[int, int], int]]:
        """Partition and offset of each, and its case; 0 where it is unknown."""
        return zip(zip(self._numbers, self._offsets, strict=True), self._cases, strict=True)

    def add(self, records: Sequence[Record], ids: Ids) -> None:
        for record in records:
            if ids.take(record.position):
                self._numbers.append(record.partition.number)
                self._offsets.append(record.offset)
                self._cases.append(case_of(record) or 0)
                written_ms = record.timestamp_ms or 0
                self.since_ms = written_ms if self.since_ms is None else min(self.since_ms, written_ms)


def scan(
    letters: DeadLetterReader,
    resolved: ResolutionTable,
    selection: Selection,
    ranges: Ranges,
    *,
    max_replays: int,
    cases: Cases | None = None,
    on_read: Callable[[int], None] = lambda _: None,
    limit: int = 100,
    timeout_s: float = 0.1,
) -> Iterator[Sequence[StoredDeadLetter]]:
    """The selected letters among these ranges, in batches; some are empty, see `DeadLetterTopic.read`.

    One of each record, its newest, in offset order within a partition; the selection is asked of that one
    alone. `cases` knows which they are, or finds out first; by default from these ranges only. What
    cannot be read is among them where the selection asks for nothing that only a readable letter has.
    `on_read` gets the number of records that were read.
    """
    if cases is None:
        cases = Cases(resolved.topic, ranges, selection)
    for batch, records in enumerate(cases.read(letters, limit=limit, timeout_s=timeout_s), start=1):
        if not records or not batch % IDLE_BATCHES:
            yield ()
    speaks = cases.speaks if cases.passed_over else _any
    ids = cases.ids
    match = replace(selection, ids=ids).matcher(max_replays=max_replays)
    spans = ranges if ids is None else ids.spans(ranges)
    for records in letters.read(spans, since_ms=selection.since_ms, limit=limit, timeout_s=timeout_s):
        yield [
            found for record in records if speaks(record) and (found := match(record, resolved)) is not None
        ]
        on_read(len(records))


def _any(_: Record) -> bool:
    return True


class ReplayBatch(NamedTuple):
    """The letters of a batch that a replay tries, and what it leaves open."""

    letters: Sequence[DeadLetter]
    parked: int
    left: Mapping[str, int]
    """Those that cannot be read, by reason."""


def replay_batch(batch: Sequence[StoredDeadLetter]) -> ReplayBatch:
    """The letters of a batch that a replay tries; it passes over those that are resolved."""
    letters: list[DeadLetter] = []
    parked = 0
    left: dict[str, int] = {}
    for found in batch:
        if found.label is None:
            reason = found.problem or "it cannot be read"
            left[reason] = left.get(reason, 0) + 1
        elif found.state is DeadLetterState.PARKED:
            parked += 1
        elif found.state is DeadLetterState.OPEN:
            letters.append(read(found.record, found.label))
    return ReplayBatch(letters, parked, left)


def missing_text(letter: Position, ranges: Ranges) -> str:
    """Why a letter that was asked for is not there, in a sentence."""
    (topic, number), offset = letter
    name = letter_id(letter)
    if number not in ranges:
        return f"{name} does not exist: {topic} has no partition {number}"
    low, high = ranges[number]
    if offset >= high:
        end = f"ends before {high}" if high else "is empty"
        return f"{name} does not exist: partition {number} {end}"
    if offset < low:
        return f"{name} is gone: retention deleted it, partition {number} begins at {low}"
    return f"{name} does not exist: there is no record at this offset"
