"""Durations, sizes and moments, as people write them and as they are shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

DURATION = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
SIZE = r"^[0-9]+(\.[0-9]+)?(B|KB|MB|GB|KiB|MiB|GiB)?$"
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_BYTES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "GB": 10**9, "MB": 10**6, "KB": 10**3, "B": 1, "": 1}


def seconds(written: object) -> object:
    """`100ms`, `5s`, `2m` or `1h` as seconds; numbers made in code pass through.

    Raises ValueError for text without a unit, because 5 may be seconds or milliseconds.
    """
    if not isinstance(written, str):
        return written
    if re.fullmatch(r"[0-9.]+", written):
        raise ValueError("a duration needs a unit: write 100ms, 5s, 2m or 1h")
    if not (found := re.match(DURATION, written)):
        raise ValueError("is not a duration: write 100ms, 5s, 2m or 1h")
    unit = found[2]
    return float(Decimal(written.removesuffix(unit)) * _SECONDS[unit])


def size_bytes(written: object) -> object:
    """`64MiB`, `256KB` or a plain number as bytes; numbers made in code pass through."""
    if not isinstance(written, str):
        return written
    if not (found := re.match(SIZE, written)):
        raise ValueError("is not a size: write 64MiB, 256KB or a number of bytes")
    unit = found[2] or ""
    return int(Decimal(written.removesuffix(unit)) * _BYTES[unit])


def moment(written: object) -> object:
    """A moment in ISO 8601, as `2026-11-30T06:00Z`; one made in code passes through.

    Raises ValueError for text without a zone, because 06:00 is another moment in each.
    """
    if not isinstance(written, str):
        return written
    try:
        found = datetime.fromisoformat(written)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a moment: write date, time and zone, as 2026-11-30T06:00Z") from None
    raise ValueError(f"names no zone: write {show_moment(found)} if it is UTC")


def show_moment(value: datetime) -> str:
    """A moment as it would be written in UTC, as `2026-11-30T06:00Z`; without a zone it is taken for UTC."""
    utc = value if value.tzinfo is None else value.astimezone(UTC)
    precision = "seconds" if utc.second else "minutes"
    return f"{utc.replace(tzinfo=None).isoformat(timespec=precision)}Z"


def show_seconds(value: float) -> str:
    """A duration as it would be written: `0.05` as `50ms`, `120` as `2m`."""
    exact = Decimal(str(value))
    unit = next((unit for unit in ("h", "m", "s") if exact and exact % _SECONDS[unit] == 0), "ms")
    return f"{(exact / _SECONDS[unit]).normalize():f}{unit}"


def show_bytes(value: int) -> str:
    """A size as it would be written: `262144` as `256KiB`, `1000000` as `1MB`, `1001` as `1001B`."""
    unit = next((unit for unit, factor in _BYTES.items() if value and value % factor == 0), "B")
    return f"{value // _BYTES[unit]}{unit}"
