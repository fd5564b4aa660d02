"""What is paused at this moment, by the file of `pauses`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from pathlib import Path
from typing import TYPE_CHECKING

from connector import config
from connector.config.pauses import doubts, is_of, parse_pauses
from connector.errors import ConfigError, why_failed
from connector.model import Entry, Pause, PauseKind, now_ms

if TYPE_CHECKING:
    from connector.telemetry.metrics import Telemetry


class PauseFile:
    """Follows the file of `pauses`: what is in it, without what is over by now.

    The file may be missing at first: then nothing is paused until it comes. Once it was read, a file that is
    missing, or wrong in any line, leaves in force what it said before.
    """

    def __init__(
        self,
        settings: config.Settings,
        *,
        telemetry: Telemetry,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        self.problem: str | None = None
        """Why the file cannot be read as it is now, in a sentence."""
        self.in_force: tuple[Pause, ...] = ()
        self._file = settings.pauses
        self._settings = settings
        self._telemetry = telemetry
        self._clock_ms = clock_ms
        self._seen: object = ""
        """The state of the file when it was read."""
        self._written: list[Pause] | None = None
        """All that is in the file; None before it was read."""
        self._exact: dict[tuple[PauseKind, str], list[Pause]] = {}
        self._globs: list[tuple[re.Pattern[str], Pause]] = []

    def follow(self) -> bool:
        """Look at file and time; returns whether anything else is paused now. To be asked every second.

        A look takes some microseconds where the file is as it was.
        """
        if self._file is None:
            return False
        if (seen := _state(self._file)) != self._seen:
            self._seen = seen
            self._read(self._file)
        now = self._clock_ms()
        in_force = tuple(pause for pause in self._written or () if pause.lasts(now))
        if in_force == self.in_force:
            return False
        self.in_force = in_force
        self._exact, self._globs = {}, []
        for pause in in_force:
            if pause.kind == "source" and re.search(r"[*?\[]", pause.name):
                self._globs.append((re.compile(translate(pause.name)), pause))
            else:
                self._exact.setdefault((pause.kind, pause.name), []).append(pause)
        self._telemetry.pauses(in_force)
        return True

    def of_source(self, source: str, target: str) -> Pause | None:
        """The pause of a source or of its target, the one that ends last; None where neither is paused."""
        found = [*self._exact.get(("target", target), ()), *self._exact.get(("source", source), ())]
        found += [pause for glob, pause in self._globs if glob.match(source)]
        return _last_to_end(found)

    def of_topic(self, topic: str) -> Pause | None:
        """The pause of a topic, or of its pattern, the one that ends last; None where neither is paused."""
        keys = [topic, *(key for key in self._settings.topics if key != topic and is_of(topic, key))]
        return _last_to_end(pause for key in keys for pause in self._exact.get(("topic", key), ()))

    def why_left_out(self, topic: str, entry: Entry) -> str | None:
        """Why the event of a record of this topic is not sent again by now; None where nothing is paused."""
        self.follow()
        if not self.in_force:
            return None
        pause = self.of_topic(topic) or self.of_source(entry.source, entry.target)
        return f"its {pause.kind} is {pause}" if pause else None

    def _read(self, file: Path) -> None:
        try:
            self._written = parse_pauses(file.read_bytes(), name="YAML")
        except FileNotFoundError:
            if self._written is None:
                self._note(None)
                self._telemetry.pauses_awaited(str(file))
            else:
                self._fail("it is gone; write an empty one to resume everything")
        except OSError as error:
            self._fail(why_failed(error))
        except ConfigError as error:
            self._fail("; ".join(map(str, error.problems)))
        else:
            self._note(None)
            self._telemetry.doubted(doubts(self._written, self._settings))

    def _fail(self, reason: str) -> None:
        self._note(f"{self._file} cannot be used, and what was in force stays so: {reason}")

    def _note(self, problem: str | None) -> None:
        self.problem = problem
        self._telemetry.pauses_readable(problem)


def _last_to_end(pauses: Iterable[Pause]) -> Pause | None:
    return max(
        pauses, key=lambda pause: float("inf") if pause.until_ms is None else pause.until_ms, default=None
    )


def _state(file: Path) -> object:
    """What tells one state of a file from the next: None where it is missing."""
    try:
        status = file.stat()  # of what a link leads to, which Kubernetes swaps
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror
    return status.st_mtime_ns, status.st_size, status.st_ino
