"""What Avro's logical types look like in JSON: text that is exact and that a rule can match by prefix.

Each function here makes a converter for one type: it takes the underlying value as read and gives the
JSON value. A value outside the type's range raises DecodeError `value_out_of_range`.

https://avro.apache.org/docs/1.12.0/specification/#logical-types
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import lru_cache
from struct import Struct
from typing import Any, Literal, TypeAlias

from connector.avro_schema import Fixed, Logical, Primitive
from connector.errors import DecodeError
from connector.model import Json

Convert: TypeAlias = Callable[[Any], Json]
NonFinite: TypeAlias = Literal["null", "string", "error"]

_DURATION = Struct("<III")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # the zone is part of the text, not of the arithmetic
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_DAY = date.min.toordinal() - _EPOCH_DAY
_LAST_DAY = date.max.toordinal() - _EPOCH_DAY
_DAY_S = 86_400
_TICKS_PER_SECOND = {"millis": 1_000, "micros": 1_000_000, "nanos": 1_000_000_000}


def converter(target: Primitive | Fixed, non_finite: NonFinite) -> Convert | None:
    """Give the way from the value as read to JSON, or None where they are the same.

    The values as read are int, float, bytes (also for fixed), str, bool and None.
    """
    if target.logical is not None:
        return _of_logical(target.logical, target)
    if isinstance(target, Fixed) or target.kind == "bytes":
        return base64_text
    if target.kind in ("float", "double"):
        return _FINITE[non_finite]
    return None


def base64_text(raw: bytes) -> str:
    """Give the bytes as standard base64, with padding and without line ends."""
    return b2a_base64(raw, newline=False).decode("ascii")


def out_of_range(rule: str) -> DecodeError:
    return DecodeError("value_out_of_range", rule)


def _of_logical(logical: Logical, target: Primitive | Fixed) -> Convert:
    kind, _, unit = logical.name.rpartition("-")
    match logical.name:
        case "decimal":
            return _decimal(logical.precision, logical.scale)
        case "date":
            return _date
        case "uuid":
            return _uuid_of_bytes if isinstance(target, Fixed) else _uuid
        case "duration":
            return _duration
        case "time-millis" | "time-micros":
            return _time(logical.name, _TICKS_PER_SECOND[unit])
        case _:
            return _timestamp(
                logical.name, _TICKS_PER_SECOND[unit], zone="" if kind == "local-timestamp" else "Z"
            )


def _decimal(precision: int, scale: int) -> Convert:
    limit = 10**precision

    def convert(raw: bytes) -> str:
        unscaled = int.from_bytes(raw, "big", signed=True)
        if not -limit < unscaled < limit:
            raise out_of_range(f"a decimal has more digits than its schema's precision of {precision}")
        digits = str(abs(unscaled))
        if scale:
            digits = digits.zfill(scale + 1)
            digits = f"{digits[:-scale]}.{digits[-scale:]}"
        return f"-{digits}" if unscaled < 0 else digits

    return convert


# Most records of a topic carry times that are near each other, so the calendar is asked once a minute.
@lru_cache(maxsize=4096)
def _minute(minutes: int) -> str:
    return (_EPOCH + timedelta(minutes=minutes)).isoformat()[:17]


def _timestamp(name: str, per_second: int, *, zone: str) -> Convert:
    per_minute = 60 * per_second
    first, end = _FIRST_DAY * _DAY_S * per_second, (_LAST_DAY + 1) * _DAY_S * per_second
    # "05678": the seconds in two digits, then their fraction.
    width = f"%0{len(str(per_second)) + 1}d"

    def convert(ticks: int) -> str:
        if not first <= ticks < end:
            raise out_of_range(f"a {name} is outside the years 1 to 9999")
        minutes, rest = divmod(ticks, per_minute)
        seconds = width % rest
        return f"{_minute(minutes)}{seconds[:2]}.{seconds[2:]}{zone}"

    return convert


@lru_cache(maxsize=4096)
def _date(days: int) -> str:
    if not _FIRST_DAY <= days <= _LAST_DAY:
        raise out_of_range("a date is outside the years 1 to 9999")
    return date.fromordinal(days + _EPOCH_DAY).isoformat()


def _time(name: str, per_second: int) -> Convert:
    end = _DAY_S * per_second
    digits = len(str(per_second)) - 1

    def convert(ticks: int) -> str:
        if not 0 <= ticks < end:
            raise out_of_range(f"a {name} is not within one day")
        seconds, fraction = divmod(ticks, per_second)
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:0{digits}d}"

    return convert


def _uuid(text: str) -> str:
    if _UUID.fullmatch(text) is None:
        raise out_of_range("a uuid is not 32 hexadecimal digits grouped 8-4-4-4-12")
    return text


def _uuid_of_bytes(raw: bytes) -> str:
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _duration(raw: bytes) -> Json:
    months, days, millis = _DURATION.unpack(raw)
    return {"months": months, "days": days, "millis": millis}


# x - x is 0 for every finite x and NaN for the rest: one test, and no call.
def _null_if_not_finite(number: float) -> float | None:
    return number if number - number == 0.0 else None


def _text_if_not_finite(number: float) -> float | str:
    if number - number == 0.0:
        return number
    if number != number:  # noqa: PLR0124  # only NaN differs from itself
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def _error_if_not_finite(number: float) -> float:
    if number - number == 0.0:
        return number
    raise out_of_range("a number is NaN or infinite, which JSON cannot hold, and `non_finite` is error")


_FINITE: dict[NonFinite, Convert] = {
    "null": _null_if_not_finite,
    "string": _text_if_not_finite,
    "error": _error_if_not_finite,
}
