"""Avro's types as JSON: exact text, which a rule can match by prefix.

fastavro calls a function of its table LOGICAL_READERS for each value whose type has a `logicalType`. The
functions here are in that table under names of our own, so that no other user of fastavro in the process
sees them; `marks` says which of them a type needs. They take the underlying value, the type as written,
and the type as wanted or None. A value outside its type's range raises DecodeError `value_out_of_range`.

https://avro.apache.org/docs/1.12.0/specification/#logical-types
https://fastavro.readthedocs.io/en/latest/logical_types.html#custom-logical-types
"""

from __future__ import annotations

import math
import re
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from struct import Struct
from typing import Any, TypeAlias

from fastavro.read import LOGICAL_READERS

from connector.config.settings import NonFinite
from connector.errors import DecodeError
from connector.model import Json

Convert: TypeAlias = Callable[[Any, Any, Any], Json]

MAX_PRECISION = 4300
"""The most digits of a decimal: what Python turns into text by default."""

_OURS = "partner-bridge-"

_DURATION = Struct("<III")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # the zone is part of the text, not of the arithmetic
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_DAY = date.min.toordinal() - _EPOCH_DAY
_LAST_DAY = date.max.toordinal() - _EPOCH_DAY
_DAY_S = 86_400
_MILLIS, _MICROS, _NANOS = 1_000, 1_000_000, 1_000_000_000


def marks(kind: str, schema: Mapping[str, Any], *, non_finite: NonFinite, resolved: bool) -> dict[str, Any]:
    """Give the keys that make fastavro convert a value of this type; none where it is right as it is.

    `resolved` says that there will be a reader schema. An unknown or invalid logical type is ignored, as
    the specification says: the underlying type counts.
    """
    name = schema.get("logicalType")
    convert = _LOGICAL.get(f"{kind}-{name}")
    size_bytes = schema["size"] if kind == "fixed" else None
    if convert is _decimal:
        precision, scale, most = schema.get("precision"), schema.get("scale", 0), MAX_PRECISION
        if size_bytes is not None:
            most = min(most, math.floor(math.log10(2) * (8 * min(size_bytes, most) - 1)))
        if isinstance(precision, int) and isinstance(scale, int):  # noqa: SIM102
            if 0 < precision <= most and 0 <= scale <= precision:
                return {"logicalType": _OURS + "decimal", "precision": precision, "scale": scale}
    elif convert is not None and size_bytes == _SIZE_BYTES.get(f"{kind}-{name}"):
        return {"logicalType": f"{_OURS}{name}"}
    match kind:
        case "bytes" | "fixed":
            return {"logicalType": _OURS + "base64"}
        case "float" | "double":
            return {"logicalType": _OURS + non_finite}
        case "string" if resolved:
            return {"logicalType": _OURS + "text"}
    return {}


def converted(kind: str, schema: Any, raw: Any) -> Json:
    """Give the JSON value for a value of a type that has its marks."""
    mark = schema.get("logicalType") if isinstance(schema, dict) else None
    value: Json = raw if mark is None else LOGICAL_READERS[f"{kind}-{mark}"](raw, schema, None)
    return value


def base64_text(raw: bytes) -> str:
    """Give the bytes as standard base64, with padding and without line ends."""
    return b2a_base64(raw, newline=False).decode("ascii")


def _out_of_range(rule: str) -> DecodeError:
    return DecodeError("value_out_of_range", rule)


# The schema resolution's two promotions that change what JSON holds: fastavro leaves them to us.
def _bytes(raw: bytes, _: Any, wanted: Any) -> str:
    return raw.decode() if _kind(wanted) == "string" else base64_text(raw)


def _text(text: str, _: Any, wanted: Any) -> str:
    return base64_text(text.encode()) if _kind(wanted) == "bytes" else text


def _kind(schema: Any) -> Any:
    return schema["type"] if isinstance(schema, dict) else schema


_power_of_ten = lru_cache(maxsize=256)(lambda digits: 10**digits)


def _decimal(raw: bytes, written: Any, _: Any) -> str:
    unscaled = int.from_bytes(raw, "big", signed=True)
    precision, scale = written["precision"], written["scale"]
    if abs(unscaled) >= _power_of_ten(precision):
        raise _out_of_range(f"a decimal has more digits than its schema's precision of {precision}")
    digits = str(abs(unscaled))
    if scale:
        digits = digits.zfill(scale + 1)
        digits = f"{digits[:-scale]}.{digits[-scale:]}"
    return f"-{digits}" if unscaled < 0 else digits


# Most records of a topic carry times that are near each other, so the calendar is asked once a minute.
@lru_cache(maxsize=4096)
def _minute(minutes: int) -> str:
    return (_EPOCH + timedelta(minutes=minutes)).isoformat()[:17]


def _timestamp(name: str, per_second: int, *, zone: str) -> Convert:
    per_minute = 60 * per_second
    first, end = _FIRST_DAY * _DAY_S * per_second, (_LAST_DAY + 1) * _DAY_S * per_second
    # "05678": the seconds in two digits, then their fraction.
    width = f"%0{len(str(per_second)) + 1}d"

    def convert(ticks: int, _written: Any, _wanted: Any) -> str:
        if not first <= ticks < end:
            raise _out_of_range(f"a {name} is outside the years 1 to 9999")
        minutes, rest = divmod(ticks, per_minute)
        seconds = width % rest
        return f"{_minute(minutes)}{seconds[:2]}.{seconds[2:]}{zone}"

    return convert


def _date(days: int, _written: Any, _wanted: Any) -> str:
    return _day(days)


@lru_cache(maxsize=4096)
def _day(days: int) -> str:
    if not _FIRST_DAY <= days <= _LAST_DAY:
        raise _out_of_range("a date is outside the years 1 to 9999")
    return date.fromordinal(days + _EPOCH_DAY).isoformat()


def _time(name: str, per_second: int) -> Convert:
    end = _DAY_S * per_second
    digits = len(str(per_second)) - 1

    def convert(ticks: int, _written: Any, _wanted: Any) -> str:
        if not 0 <= ticks < end:
            raise _out_of_range(f"a {name} is not within one day")
        seconds, fraction = divmod(ticks, per_second)
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:0{digits}d}"

    return convert


def _uuid(text: str, _written: Any, _wanted: Any) -> str:
    if _UUID.fullmatch(text) is None:
        raise _out_of_range("a uuid is not 32 hexadecimal digits grouped 8-4-4-4-12")
    return text


def _uuid_of_bytes(raw: bytes, _written: Any, _wanted: Any) -> str:
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _duration(raw: bytes, _written: Any, _wanted: Any) -> Json:
    months, days, millis = _DURATION.unpack(raw)
    return {"months": months, "days": days, "millis": millis}


# x - x is 0 for every finite x and NaN for the rest: one test, and no call.
def _null_if_not_finite(number: float, _written: Any, _wanted: Any) -> float | None:
    return number if number - number == 0.0 else None


def _text_if_not_finite(number: float, _written: Any, _wanted: Any) -> float | str:
    if number - number == 0.0:
        return number
    if number != number:  # noqa: PLR0124  # only NaN differs from itself
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def _error_if_not_finite(number: float, _written: Any, _wanted: Any) -> float:
    if number - number == 0.0:
        return number
    raise _out_of_range("a number is NaN or infinite, which JSON cannot hold, and `non_finite` is error")


_LOGICAL: dict[str, Convert] = {
    "int-date": _date,
    "int-time-millis": _time("time-millis", _MILLIS),
    "long-time-micros": _time("time-micros", _MICROS),
    "long-timestamp-millis": _timestamp("timestamp-millis", _MILLIS, zone="Z"),
    "long-timestamp-micros": _timestamp("timestamp-micros", _MICROS, zone="Z"),
    "long-timestamp-nanos": _timestamp("timestamp-nanos", _NANOS, zone="Z"),
    "long-local-timestamp-millis": _timestamp("local-timestamp-millis", _MILLIS, zone=""),
    "long-local-timestamp-micros": _timestamp("local-timestamp-micros", _MICROS, zone=""),
    "long-local-timestamp-nanos": _timestamp("local-timestamp-nanos", _NANOS, zone=""),
    "string-uuid": _uuid,
    "fixed-uuid": _uuid_of_bytes,
    "fixed-duration": _duration,
    "bytes-decimal": _decimal,
    "fixed-decimal": _decimal,
}
"""By `<type>-<logicalType>`, as in fastavro's table."""
_SIZE_BYTES = {"fixed-uuid": 16, "fixed-duration": 12}

_PLAIN: dict[str, Convert] = {
    "bytes-base64": _bytes,
    "fixed-base64": _bytes,
    "string-text": _text,
    **dict.fromkeys(("float-null", "double-null"), _null_if_not_finite),
    **dict.fromkeys(("float-string", "double-string"), _text_if_not_finite),
    **dict.fromkeys(("float-error", "double-error"), _error_if_not_finite),
}

for _key, _convert in (_LOGICAL | _PLAIN).items():
    LOGICAL_READERS[_key.replace("-", f"-{_OURS}", 1)] = _convert
