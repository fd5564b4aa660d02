"""Times on the command line: a moment in ISO 8601, or how long ago that is."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import typer

from connector.config.units import show_moment
from connector.model import now_ms

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_AGO = re.compile(r"([0-9]{1,6})([smhd])")


def time_ms(text: str) -> int:
    """Convert `2h`, for two hours ago, or a time such as 2026-11-22T10:00Z to Unix time in milliseconds.

    A time without a zone is UTC.
    """
    moment = _moment(text)
    return moment if isinstance(moment, int) else _unix_ms(moment if moment.tzinfo else _utc(moment))


def zoned_time_ms(text: str, option: str) -> int:
    """The same, for an `option` of which much depends: a time without a zone is refused."""
    moment = _moment(text)
    if isinstance(moment, int):
        return moment
    if moment.tzinfo is None:
        raise typer.BadParameter(
            f"{text} names no zone. Write {show_moment(moment)} if it is UTC{_or_here(moment)}",
            param_hint=option,
        )
    return _unix_ms(moment)


def is_ago(text: str | None) -> bool:
    """Whether a text is how long ago, which is another moment each time it is typed."""
    return text is not None and _AGO.fullmatch(text) is not None


def _moment(text: str) -> datetime | int:
    """A moment as it was written; Unix milliseconds where that is how long ago."""
    if found := _AGO.fullmatch(text):
        return max(0, now_ms() - int(found[1]) * _UNIT_MS[found[2]])
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text} is neither how long ago, as 30m, 2h or 3d, nor a time, as 2026-11-22T10:00Z"
        ) from None


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def _unix_ms(moment: datetime) -> int:
    return max(0, int(moment.timestamp() * 1000))  # below 0 are names for the first and the last record


def _or_here(moment: datetime) -> str:
    """What to write if a moment is of this machine; nothing for one that no other zone can name."""
    try:
        here = moment.astimezone()
        return f", or {show_moment(here)} if it is the time of this machine ({here.tzname()})"
    except (ValueError, OverflowError):  # beside the first or the last year that there is
        return ""
