"""When an event happened: ISO 8601 text, or a number in the unit that the configuration names.

Messages describe the form of a value, never the value: they get into logs and dead letters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from connector.config.settings import TimeUnit
from connector.errors import MappingError
from connector.model import END_OF_TIME_S, Json

ReadTime: TypeAlias = "Callable[[str | int | float], float]"

PER_SECOND: dict[TimeUnit, int] = {"auto": 1000, "s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
COUNTED: dict[TimeUnit, str] = {
    "auto": "milliseconds",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}
YEAR_2000_S, YEAR_2101_S = 946_684_800, 4_133_980_800
"""Unix times between which `auto` believes a number. At most one unit puts a number there."""

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_EXACT_DIGITS = 20
"""Longer integers are no time in any unit; Python refuses to read those of over 4,300 digits."""
_LONGEST = 100
"""Characters that decide the advice."""


def time_reader(unit: TimeUnit, *, shown: str, path: str) -> ReadTime:
    """Make the function from what a template found to Unix time in seconds.

    Text is ISO 8601 with a zone, or a number in digits. A number counts `unit`s since 1970; with `auto`,
    milliseconds, and it must lie in the years 2000 to 2100, which no other unit's present day does.
    `shown` is the template, and `path` its place in the configuration, for messages.

    The function raises MappingError: template_type, time_out_of_range.
    """
    per_second = PER_SECOND[unit]
    earliest_s, end_s = (YEAR_2000_S, YEAR_2101_S) if unit == "auto" else (0, END_OF_TIME_S)

    def read(found: str | int | float) -> float:
        if isinstance(found, str):
            try:
                time = datetime.fromisoformat(found)
            except ValueError:
                time = None
            if time is not None and time.tzinfo is not None:
                return _in_calendar_s(time.timestamp(), shown, path)
            # Python reads some digits as a date without dashes, but never with a zone.
            if not _NUMBER.fullmatch(found):
                raise MappingError("template_type", f"{path}: {shown} {_advice(found, time)}")
            found = _number(found)
        # Integers are divided exactly and rounded once, so that nanoseconds keep their milliseconds.
        time_s = found / per_second
        if earliest_s <= time_s < end_s:  # false for infinity
            return time_s
        raise MappingError("time_out_of_range", f"{path}: {shown}{_advice_on_number(found, unit)}")

    return read


def unit_of(number: float) -> TimeUnit | None:
    """The unit in which a number is a time of the years 2000 to 2100, if it is one."""
    for unit, per_second in PER_SECOND.items():
        if unit != "auto" and YEAR_2000_S * per_second <= number < YEAR_2101_S * per_second:
            return unit
    return None


def record_time_s(timestamp_ms: Json, *, path: str) -> float | None:
    """Unix time in seconds of a record's own timestamp, whatever `time_unit` says; None where it has none.

    Raises:
        MappingError: time_out_of_range.
    """
    if not isinstance(timestamp_ms, int):
        return None
    return _in_calendar_s(timestamp_ms / 1000, "the record's timestamp", path)


def _in_calendar_s(time_s: float, shown: str, path: str) -> float:
    if not 0 <= time_s < END_OF_TIME_S:
        message = f"{path}: {shown} is not between the years 1970 and 9999. `time` may read another field."
        raise MappingError("time_out_of_range", message)
    return time_s


def _number(digits: str) -> int | float:
    return int(digits) if digits.lstrip("+-").isdigit() and len(digits) <= _EXACT_DIGITS else float(digits)


# --- advice -------------------------------------------------------------------------------------

_OR_ELSE = "let `time` read another field, or leave it out for the record's timestamp"
_DATE_IN_DIGITS = re.compile(
    r"(19|20|21)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])([0-9]{4}|[0-9]{6}|[0-9]{9})?"
)
_SHAPES = [
    (
        r"\s*|(?i:null|none|nil|nan|-)",
        f"is text that stands for nothing. Drop such records with `filter`, {_OR_ELSE}.",
    ),
    (r"\s.*|.*\s", f"has white space at an end, which ISO 8601 does not have; {_OR_ELSE}."),
    (
        r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?.*",
        "is a time without a date. If the date is in another field, join them: "
        '"${value.date}T${value.time}Z", where Z stands for UTC.',
    ),
    (
        r"[0-9]{1,4}[/.][0-9]{1,2}[/.][0-9]{1,4}.*",
        "is a date with slashes or dots, which does not say for certain what is the day and what the month. "
        f"`time` takes ISO 8601, as 2026-01-31T12:00:00Z; {_OR_ELSE}.",
    ),
    (
        r".*(?i:\b(jan|feb|mar|apr|may|june?|july?|aug|sep|oct|nov|dec)[a-z]*\b).*",
        "writes the month as a word, as e-mail and HTTP do (RFC 2822). "
        f"`time` takes ISO 8601, as 2026-01-31T12:00:00Z; {_OR_ELSE}.",
    ),
    (
        r"[0-9]{4}-[0-9]{2}",
        f"is a month without a day. `time` takes ISO 8601, as 2026-01-31T12:00:00Z; {_OR_ELSE}.",
    ),
]


def _advice(text: str, local: datetime | None) -> str:
    """What to do about text that is no time; `local` is the time it is without its zone."""
    if local is not None and re.fullmatch(r"[0-9]{4}-?([0-9]{2}-?[0-9]{2}|W[0-9]{2}(-?[0-9])?)", text):
        return (
            "is a date without a time. Add the time after the expression, with its zone: T00:00:00Z for "
            "midnight in UTC."
        )
    if local is not None:
        return (
            "has no time zone. If it is UTC, write a Z after the expression; otherwise its offset, as +01:00."
        )
    for shape, advice in _SHAPES:
        if re.fullmatch(shape, text[:_LONGEST], re.DOTALL):
            return advice
    if re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}", text):
        return (
            "begins like ISO 8601, but is no moment that exists, or goes on with something other than Z or "
            f"an offset such as +01:00; {_OR_ELSE}."
        )
    return f"is not a date and time in ISO 8601, as 2026-01-31T12:00:00Z, and not a number; {_OR_ELSE}."


def _advice_on_number(found: int | float, unit: TimeUnit) -> str:
    years = "2000 and 2100" if unit == "auto" else "1970 and 9999"
    problem = f", read as {COUNTED[unit]} since 1970, is not between the years {years}"
    if other := unit_of(found):
        return f"{problem}; read as {COUNTED[other]} it is. Set `time_unit: {other}`."
    if _DATE_IN_DIGITS.fullmatch(str(found)):
        return (
            f"{problem}. Its digits look like a date, as 20260131 for 2026-01-31. `time` takes ISO 8601, as "
            f"2026-01-31T12:00:00Z; {_OR_ELSE}."
        )
    if unit == "auto":
        return (
            f"{problem}, nor is it in any other unit. If it is right, say with `time_unit` what it counts: "
            f"s, ms, us or ns, which take the years 1970 to 9999. Otherwise {_OR_ELSE}."
        )
    return f"{problem}. Correct `time_unit`, or {_OR_ELSE}."
