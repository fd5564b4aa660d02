"""The log: JSON or text lines, without payloads and without values that foreign exceptions carry."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from connector.process import redacted_traceback

LOGGER = "connector"
"""The standard library's logger all lines of the bridge go through."""

FOREIGN_LINES = 20
"""Lines of one library that are written each minute."""

MAX_TEXT = 1_000
"""Characters of one message in a log line."""


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


def bound_logger() -> structlog.stdlib.BoundLogger:
    made: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(LOGGER),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED_PROCESSORS,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
    )
    return made


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
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if format == "console" or (format == "auto" and is_terminal):
        renderer = structlog.dev.ConsoleRenderer(
            colors=is_terminal and not os.environ.get("NO_COLOR"),
            exception_formatter=structlog.dev.plain_traceback,
        )
    output = logging.StreamHandler(stream)
    output.addFilter(_Foreign(clock_s))
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_first_line, structlog.stdlib.add_logger_name, *_SHARED_PROCESSORS],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _traceback_without_values,
                _in_reading_order,
                renderer,
            ],
        )
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


def _first_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if suppressed := event["_record"].suppressed:
        event["suppressed_before"] = suppressed
    # asyncio puts the repr of a failed task on the second line, and with it values of the exception.
    event["event"] = capped(str(event["event"]).partition("\n")[0])
    return event


def _traceback_without_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    raised = event.pop("exc_info", None)
    if isinstance(raised, tuple):
        raised = raised[1]
    if isinstance(raised, BaseException):
        event["exception"] = redacted_traceback(raised)
    return event


def _in_reading_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: event.pop(name) for name in ("timestamp", "level", "event")} | dict(event)


def capped(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


_SHARED_PROCESSORS: list[structlog.typing.Processor] = [
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
