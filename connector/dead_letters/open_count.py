"""Counts the open dead letters by code while the bridge runs, for the metric `dead_letters_open`.

Off unless `dead_letter.count_open_every` is set. Every replica counts the same topic, so take the maximum
of them, and not the sum.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Mapping
from contextlib import closing

from connector import config, process
from connector.dead_letters.cases import Newest, case_of
from connector.dead_letters.format import CODE_CONNECT, UnreadableLetter, label
from connector.dead_letters.resolutions import DeadLetterState, PartitionStates, Resolution
from connector.dead_letters.selection import CODE_UNREADABLE
from connector.dead_letters.topics import DeadLetterTopic, ResolutionTopic
from connector.dead_letters.totals import OTHER
from connector.errors import CODES, ConnectorError
from connector.model import Position, Record
from connector.telemetry.metrics import Telemetry

MAX_LETTERS = 1_000_000
"""Letters kept count of, the newest of all partitions together; about forty bytes each."""

BREATH_S = 0.005
"""Pause after each batch of letters, so that the bridge goes on at nearly its full rate meanwhile."""

MIN_FORGOTTEN = 10_000

_CODES = ("", *sorted(CODES), CODE_CONNECT, CODE_UNREADABLE, OTHER)
_NUMBER = {code: number for number, code in enumerate(_CODES)}


class OpenCount:
    """Counts records whose newest letter has no resolution; each letter is read once, in bounded memory.

    Letters and resolutions may come in any order. Not for several threads.
    """

    def __init__(self, *, max_letters: int = MAX_LETTERS) -> None:
        self._max_letters = max_letters
        self._windows: dict[int, _Window] = {}
        self._newest = Newest()
        self._forgotten = 0
        """Letters forgotten since `_newest` was freed of them."""
        self._counts = [0] * len(_CODES)

    @property
    def counts(self) -> dict[str, int]:
        """Code → open letters, one of each record; every code, also those without any."""
        return dict(zip(_CODES[1:], self._counts[1:], strict=True))

    def unread(self, ranges: Mapping[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
        """The ranges to read next when the topic holds these; forgets letters outside them."""
        share = max(1, self._max_letters // max(1, len(ranges)))
        unread = {}
        is_made_anew = False
        for number, (low, high) in ranges.items():
            begin = max(low, high - share)
            window = self._windows.get(number)
            if window is None or high < window.next_offset:
                # New, or made anew and shorter.
                if window is not None:
                    self._forget(window, len(window))
                    is_made_anew = True  # other letters will come at the same places
                window = self._windows[number] = _Window(begin)
            self._forget(window, begin - window.base)
            window.next_offset = max(window.next_offset, begin)
            unread[number] = (window.next_offset, high)
            window.next_offset = high
        if is_made_anew or self._forgotten > max(MIN_FORGOTTEN, len(self._newest) // 2):
            self._newest.keep(self._has)
            self._forgotten = 0
        return unread

    def add(self, written: Record) -> None:
        """Count a record of the dead-letter topic."""
        try:
            code = label(written).code
        except UnreadableLetter:
            code = CODE_UNREADABLE
        place = self._place(written.partition.number, written.offset)
        if place is None:
            return
        window, at = place
        self._count(window, at, -1)
        window.written[at] = (written.timestamp_ms or 0) & 0xFFFFFFFF
        window.codes[at] = _NUMBER.get(code) or _NUMBER[OTHER]
        self._count(window, at, 1)
        if (case := case_of(written)) is not None:
            older = self._newest.add(
                case, written.timestamp_ms or 0, written.partition.number, written.offset
            )
            if older is not None:
                self._silence(*older)

    def _silence(self, number: int, offset: int) -> None:
        """Count a letter no more: a newer one of its record speaks."""
        if self._has(number, offset):
            window = self._windows[number]
            self._count(window, offset - window.base, -1)
            window.silent[offset - window.base] = 1

    def _has(self, number: int, offset: int) -> bool:
        window = self._windows.get(number)
        return window is not None and 0 <= offset - window.base < len(window)

    def note(self, letter: Position, resolution: Resolution | None) -> None:
        """Count the resolution of a letter."""
        place = self._place(letter.partition.number, letter.offset)
        if place is None:
            return
        window, at = place
        self._count(window, at, -1)
        window.note(letter.offset, resolution)
        self._count(window, at, 1)

    def _place(self, number: int, offset: int) -> tuple[_Window, int] | None:
        window = self._windows.get(number)
        if window is None or not 0 <= offset - window.base < 2 * self._max_letters:
            return None
        at = offset - window.base
        if at >= len(window):
            window.grow(max(at + 1 - len(window), len(window) // 8))
        return window, at

    def _count(self, window: _Window, at: int, step: int) -> None:
        if not window.codes[at] or window.silent[at]:
            return
        if window.state(window.base + at, window.written[at]) is DeadLetterState.OPEN:
            self._counts[window.codes[at]] += step

    def _forget(self, window: _Window, letters: int) -> None:
        """Forget the first letters of a window, which the topic holds no more."""
        if letters <= 0:
            return
        for at in range(min(letters, len(window))):
            self._count(window, at, -1)
        self._forgotten += letters
        window.forget(letters)


class _Window(PartitionStates):
    """The letters of one partition from `base` on, and their resolutions."""

    __slots__ = ("codes", "next_offset", "silent", "written")

    def __init__(self, base: int) -> None:
        super().__init__(base)
        self.next_offset = base
        self.codes = bytearray()
        """0 where no letter was read."""
        self.silent = bytearray()
        """1 where a newer letter of the record speaks."""
        self.written = array("I")

    def grow(self, letters: int) -> None:
        super().grow(letters)
        self.codes.extend(bytes(letters))
        self.silent.extend(bytes(letters))
        self.written.extend(array("I", bytes(4 * letters)))

    def forget(self, letters: int) -> None:
        super().forget(letters)
        del self.codes[:letters], self.silent[:letters], self.written[:letters]


class OpenCounter:
    """Counts open letters every so often, on a thread and with a Kafka consumer of its own."""

    def __init__(self, settings: config.Settings, *, every_s: float, telemetry: Telemetry) -> None:
        self._settings = settings
        self._every_s = every_s
        self._telemetry = telemetry
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="open-letters", daemon=True)

    def start(self) -> None:
        """Count now, and from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop counting; waits a moment for the thread, which holds nothing that matters."""
        self._stopping.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._count()
            except Exception as bug:  # noqa: BLE001 - a dead thread would leave its last number for ever
                process.report_crash(bug)
                self._telemetry.dead_letters_uncounted(f"a bug ({type(bug).__name__}); counted anew")
                self._stopping.wait(self._every_s)

    def _count(self) -> None:
        count = OpenCount()
        read_up_to: dict[int, int] = {}
        with (
            closing(DeadLetterTopic(self._settings)) as letters,
            closing(ResolutionTopic(self._settings)) as resolutions,
        ):
            while not self._stopping.is_set():
                try:
                    for records in letters.read(count.unread(letters.snapshot())):
                        for record in records:
                            count.add(record)
                        if self._stopping.wait(BREATH_S):
                            return
                    for letter, resolution in resolutions.follow(read_up_to=read_up_to):
                        count.note(letter, resolution)
                except ConnectorError as error:
                    self._telemetry.dead_letters_uncounted(str(error))
                    count, read_up_to = OpenCount(), {}
                else:
                    self._telemetry.dead_letters_open(count.counts)
                self._stopping.wait(self._every_s)
