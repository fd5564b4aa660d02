"""The log: JSON or text lines, without payloads and without values that foreign exceptions carry."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partialmethod
from typing import Any, Literal, TextIO

from connector.process import redacted_traceback

LOGGER = "connector"
"""The standard library's logger all lines of the bridge go through."""

FOREIGN_LINES = 20
"""Lines of one library that are written each minute."""

MAX_TEXT = 1_000
"""Characters of one message in a log line."""


_BOLD, _DIM, _MAGENTA, _CYAN = "1", "2", "35", "36"
_COLOURS = {"debug": "32", "info": "32", "warning": "33", "error": "31", "critical": "31"}
"""What a terminal is told before a text."""


class Allowance:
    """Limits the lines of one event and code each minute, and counts the others."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._minutes: dict[tuple[str, str], tuple[float, int]] = {}
        """event and code → (end of their minute, how many lines are over the allowance)"""

    def take(self, event: str, code: str, *, per_minute: int) -> bool:
        """Whether a line may be written now."""
        now_s = self._clock_s()
        ends_s, over = self._minutes.get((event, code), (now_s, 0))
        if now_s >= ends_s:
            ends_s, over = now_s + 60, -per_minute
        self._minutes[event, code] = (ends_s, over + 1)
        return over < 0

    def ended(self, *, everything: bool) -> list[tuple[tuple[str, str], int]]:
        """The events whose minute ended with lines held back, and how many. Reported once."""
        now_s = self._clock_s()
        ended = [key for key, (ends_s, _) in self._minutes.items() if everything or now_s >= ends_s]
        held_back = [(key, self._minutes.pop(key)[1]) for key in ended]
        return [(key, over) for key, over in held_back if over > 0]


# Logging


class EventLog:
    """Writes lines of the bridge: an event, and fields that say more of it."""

    trace_id: str | None = None
    """Of the request whose answer is being handled, where its span is sampled."""

    def log(
        self,
        level: int,
        event: str,
        *,
        exc_info: BaseException | None = None,
        trace_id: str | None = None,
        **fields: object,
    ) -> None:
        """Write a line at a level of `logging`; `exc_info` is shown by its traceback, without values.

        `trace_id` is for what is said only after the answer was handled.
        """
        if (trace_id := trace_id or self.trace_id) is not None:
            fields["trace_id"] = trace_id
        logging.getLogger(LOGGER).log(level, event, exc_info=exc_info, extra={"fields": fields})

    info = partialmethod(log, logging.INFO)
    warning = partialmethod(log, logging.WARNING)
    error = partialmethod(log, logging.ERROR)


def configure_logging(
    level: str,
    format: Literal["auto", "json", "console"],  # noqa: A002 - the setting has this name
    *,
    stream: TextIO | None = None,
    clock_s: Callable[[], float] = time.monotonic,
) -> None:
    """Send all log lines of the process to `stream` (default: stderr), as JSON or for a terminal.

    `level` (debug, info, warning, error) is that of the bridge's own lines. Libraries are heard from
    WARNING on, whatever they or other code set: below it botocore, urllib3 and aiohttp write
    payloads and signatures. What one of them repeats is counted in the next line of it that is written.
    """
    stream = stream or sys.stderr
    is_terminal = stream.isatty()
    is_for_people = format == "console" or (format == "auto" and is_terminal)
    output = logging.StreamHandler(stream)
    output.addFilter(_Foreign(clock_s))
    output.setFormatter(
        _Console(has_colours=is_terminal and not os.environ.get("NO_COLOR")) if is_for_people else _Json()
    )
    logging.basicConfig(level=logging.WARNING, handlers=[output], force=True)
    logging.getLogger(LOGGER).setLevel(level.upper())
    logging.captureWarnings(capture=True)


class _Foreign(logging.Filter):
    """Lets lines of libraries through from WARNING on, and of each `FOREIGN_LINES` a minute."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        super().__init__()
        self._allowance = Allowance(clock_s)
        self._suppressed: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == LOGGER or record.levelno < logging.WARNING:
            return record.name == LOGGER
        may_log = self._allowance.take(record.name, "", per_minute=FOREIGN_LINES)
        before = self._suppressed.get(record.name, 0)
        self._suppressed[record.name] = 0 if may_log else before + 1
        record.suppressed = before
        return may_log


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a line in reading order: time, level, event, and what more there is to say."""
    # asyncio puts the repr of a failed task on the second line, and with it values of the exception.
    event = capped(record.getMessage().partition("\n")[0])
    time = f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    fields: dict[str, Any] = {"timestamp": time, "level": record.levelname.lower(), "event": event}
    if record.name == LOGGER:
        fields |= getattr(record, "fields", {})
    else:
        fields["logger"] = record.name
        if suppressed := getattr(record, "suppressed", 0):
            fields["suppressed_before"] = suppressed
    if record.exc_info and record.exc_info[1] is not None:
        fields["exception"] = redacted_traceback(record.exc_info[1])
    return fields


class _Json(logging.Formatter):
    """Lines for machines."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_fields_of(record), default=repr)


class _Console(logging.Formatter):
    """Lines for people, with colours or without. A traceback follows its line."""

    def __init__(self, *, has_colours: bool) -> None:
        super().__init__()
        self._has_colours = has_colours

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields_of(record)
        time, level, event = fields.pop("timestamp"), fields.pop("level"), fields.pop("event")
        exception = fields.pop("exception", None)
        columns = [
            self._in(_DIM, time),
            f"[{self._in(_COLOURS.get(level, _BOLD), f'{level:<9}')}]",
            self._in(_BOLD, f"{event:<30}"),
            *(
                f"{self._in(_CYAN, name)}={self._in(_MAGENTA, _shown(value))}"
                for name, value in fields.items()
            ),
        ]
        return " ".join(columns).rstrip() + (f"\n{exception}" if exception else "")

    def _in(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._has_colours else text


def _shown(value: object) -> str:
    """A value as it is where that is one word, else quoted."""
    is_word = isinstance(value, str) and value.isprintable() and not set(value) & {" ", "=", '"', "'"}
    return str(value) if is_word else repr(value)


def capped(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
