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
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache, partial
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

from fastavro.read import LOGICAL_READERS

from connector.config.settings import ConnectTypes, Format, NonFinite, OutOfRange
from connector.errors import DecodeError
from connector.model import Json

Convert: TypeAlias = Callable[[Any, Any, Any], Json]

MAX_PRECISION = 4300
"""The most digits of a decimal: what Python turns into text by default."""

_MAX_DECIMAL_BYTES = math.floor(MAX_PRECISION / math.log10(2) / 8)
MAX_SCALE = 1000
"""Of a decimal whose scale is not in the schema."""

_OURS = "partner-bridge-"

_DURATION = Struct("<III")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # the zone is part of the text, not of the arithmetic
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_DAY = date.min.toordinal() - _EPOCH_DAY
_LAST_DAY = date.max.toordinal() - _EPOCH_DAY
_DAY_S = 86_400
_MILLIS, _MICROS, _NANOS = 1_000, 1_000_000, 1_000_000_000


class Forms(NamedTuple):
    """Choices of the configuration: the JSON form of values that have more than one."""

    non_finite: NonFinite = "null"
    out_of_range: OutOfRange = "error"
    connect_types: ConnectTypes = "readable"

    @classmethod
    def of(cls, form: Format) -> Forms:
        """Those that the settings of a topic's values or keys choose."""
        return cls(form.non_finite, form.out_of_range, form.connect_types)


def marks(kind: str, schema: Mapping[str, Any], forms: Forms, *, resolved: bool) -> dict[str, Any]:
    """Give the keys that make fastavro convert a value of this type; none where it is right as it is.

    `resolved` says that there will be a reader schema. An unknown or invalid logical type is ignored, as
    the specification says: the underlying type counts.
    """
    found = _logical(kind, schema.get("logicalType"), schema, forms)
    if found is None and forms.connect_types == "readable" and "connect.name" in schema:
        found = _connect(kind, schema, forms)
    if found is not None:
        return found
    match kind:
        case "bytes" | "fixed":
            return {"logicalType": _OURS + "base64"}
        case "float" | "double":
            return {"logicalType": _OURS + forms.non_finite}
        case "string" if resolved:
            return {"logicalType": _OURS + "text"}
    return {}


def _logical(kind: str, name: Any, schema: Mapping[str, Any], forms: Forms) -> dict[str, Any] | None:
    key = f"{kind}-{name}"
    size_bytes = schema["size"] if kind == "fixed" else None
    if name == "decimal" and kind in {"bytes", "fixed"}:
        precision, scale, most = schema.get("precision"), schema.get("scale", 0), MAX_PRECISION
        if size_bytes is not None:
            most = min(most, math.floor(math.log10(2) * (8 * min(size_bytes, most) - 1)))
        if isinstance(precision, int) and isinstance(scale, int):  # noqa: SIM102
            if 0 < precision <= most and 0 <= scale <= precision:
                return {"logicalType": _OURS + "decimal", "precision": precision, "scale": scale}
    elif key in _TIMES:
        return {"logicalType": f"{_OURS}{name}-{forms.out_of_range}"}
    elif key in _LOGICAL and size_bytes == _SIZE_BYTES.get(key):
        return {"logicalType": f"{_OURS}{name}"}
    return None


def _connect(kind: str, schema: Mapping[str, Any], forms: Forms) -> dict[str, Any] | None:
    """Types of Kafka Connect and Debezium, which Avro has no logical type for, or which lack it."""
    match kind, schema["connect.name"]:
        case "bytes", "org.apache.kafka.connect.data.Decimal":
            match schema.get("connect.parameters"):
                case {"scale": str(scale)} if re.fullmatch(r"[0-9]{1,3}", scale):
                    parts = {"precision": int(scale) + 1, "scale": int(scale)}
                    return {"logicalType": _OURS + "decimal", **parts}
        case "record", "io.debezium.data.VariableScaleDecimal":
            return {"logicalType": _OURS + "scaled"}
        case _, str(name) if (kind, name) in _CONNECT:
            logical = _CONNECT[kind, name]
            suffix = f"-{forms.out_of_range}" if f"{kind}-{logical}" in _TIMES else ""
            return {"logicalType": f"{_OURS}{logical}{suffix}"}
    return None


def form_of(schema: Any) -> tuple[str, str]:
    """Give the JSON form of a type that has its marks, and what becomes of a value outside of its range.

    The form is `base64`, `number`, a logical type, or empty where the value is as Avro has it; the second is
    one of the choices of `Forms`, or empty where there is none.
    """
    mark = schema.get("logicalType", "") if isinstance(schema, dict) else ""
    name = mark.removeprefix(_OURS)
    if name in _BEYOND:
        return "number", name
    form, _, choice = name.rpartition("-")
    return (form, choice) if choice in _BEYOND else (name, "")


def conversion(kind: str, schema: Any) -> Convert | None:
    """Give the function that converts values of a type with its marks; None where they stay as they are."""
    mark = schema.get("logicalType") if isinstance(schema, dict) else None
    return None if mark is None else LOGICAL_READERS[f"{kind}-{mark}"]


def converted(kind: str, schema: Any, raw: Any) -> Json:
    """Give the JSON value for a value of a type that has its marks."""
    convert = conversion(kind, schema)
    value: Json = raw if convert is None else convert(raw, schema, None)
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


def _decimal(raw: bytes, written: Any, _: Any) -> str:
    return _decimal_text(raw, written["scale"])


def _decimal_text(raw: bytes, scale: int) -> str:
    # One of more digits than its precision is shown as well: Java, which writes most, does not check.
    if len(raw) > _MAX_DECIMAL_BYTES:
        raise _out_of_range(f"a decimal has more than {MAX_PRECISION} digits")
    unscaled = int.from_bytes(raw, "big", signed=True)
    digits = str(abs(unscaled))
    if scale:
        digits = digits.zfill(scale + 1)
        digits = f"{digits[:-scale]}.{digits[-scale:]}"
    return f"-{digits}" if unscaled < 0 else digits


# Most records of a topic carry times that are near each other, so the calendar is asked once a minute.
@lru_cache(maxsize=4096)
def _minute(minutes: int) -> str:
    return (_EPOCH + timedelta(minutes=minutes)).isoformat()[:17]


Beyond: TypeAlias = Callable[[int, str, int, str], Json]
"""What becomes of a time outside the years 1 to 9999: its ticks, type, ticks a second, and zone."""


def _timestamp(name: str, per_second: int, zone: str, beyond: Beyond) -> Convert:
    per_minute = 60 * per_second
    first, end = _FIRST_DAY * _DAY_S * per_second, (_LAST_DAY + 1) * _DAY_S * per_second
    # "05678": the seconds in two digits, then their fraction.
    width = f"%0{len(str(per_second)) + 1}d"

    def convert(ticks: int, _written: Any, _wanted: Any) -> Json:
        if not first <= ticks < end:
            return beyond(ticks, name, per_second, zone)
        minutes, rest = divmod(ticks, per_minute)
        seconds = width % rest
        return f"{_minute(minutes)}{seconds[:2]}.{seconds[2:]}{zone}"

    return convert


def _date(beyond: Beyond) -> Convert:
    def convert(days: int, _written: Any, _wanted: Any) -> Json:
        if not _FIRST_DAY <= days <= _LAST_DAY:
            return beyond(days, "date", 0, "")
        return _day(days)

    return convert


@lru_cache(maxsize=4096)
def _day(days: int) -> str:
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


def _error(_ticks: int, name: str, _per_second: int, _zone: str) -> Json:
    raise _out_of_range(
        f"a {name} is outside the years 1 to 9999, and `out_of_range` is error; it may be null or string"
    )


def _null(_ticks: int, _name: str, _per_second: int, _zone: str) -> Json:
    return None


_INFINITIES = {
    # What Debezium writes for Postgres' own two:
    # https://github.com/pgjdbc/pgjdbc/blob/master/pgjdbc/src/main/java/org/postgresql/PGStatement.java
    9223372036825200000: "infinity",
    -9223372036832400000: "-infinity",
    2**63 - 1: "infinity",
    -(2**63): "-infinity",
    2**31 - 1: "infinity",
    -(2**31): "-infinity",
}
_DAYS_OF_400_YEARS = 146_097


def _expanded(ticks: int, _name: str, per_second: int, zone: str) -> Json:
    """The time in ISO 8601, with a sign and six digits or more for the year; Postgres' infinities by name."""
    if ticks in _INFINITIES and bool(per_second) == (abs(ticks) > 2**32):
        return _INFINITIES[ticks]
    days, rest = divmod(ticks, _DAY_S * per_second) if per_second else (ticks, 0)
    cycles, day = divmod(days + _EPOCH_DAY - 1, _DAYS_OF_400_YEARS)
    like = date.fromordinal(day + 1)
    text = f"{like.year + 400 * cycles:+07d}-{like.month:02d}-{like.day:02d}"
    if not per_second:
        return text
    seconds, fraction = divmod(rest, per_second)
    digits = len(str(per_second)) - 1
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:0{digits}d}"
    return f"{text}T{clock}{zone}"


_BEYOND: Mapping[str, Beyond] = {"error": _error, "null": _null, "string": _expanded}


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


def _scaled(value: Any, _written: Any, _wanted: Any) -> Json:
    """Debezium's decimal that has its scale beside it, in a record of two fields."""
    match value:
        case {"scale": int(scale), "value": str(text)} if abs(scale) <= MAX_SCALE:
            if scale < 0:
                return _decimal_text(a2b_base64(text), 0) + "0" * -scale
            return _decimal_text(a2b_base64(text), scale)
    raise _out_of_range("a decimal has no value, or no scale between -1,000 and 1,000")


_LOGICAL: dict[str, Convert] = {
    "int-time-millis": _time("time-millis", _MILLIS),
    "long-time-micros": _time("time-micros", _MICROS),
    "string-uuid": _uuid,
    "fixed-uuid": _uuid_of_bytes,
    "fixed-duration": _duration,
    "bytes-decimal": _decimal,
    "fixed-decimal": _decimal,
}
"""By `<type>-<logicalType>`, as in fastavro's table."""

_TIMES: dict[str, Callable[[Beyond], Convert]] = {
    "int-date": _date,
    **{
        f"long-{local}timestamp-{unit}": partial(_timestamp, f"{local}timestamp-{unit}", per_second, zone)
        for local, zone in (("", "Z"), ("local-", ""))
        for unit, per_second in (("millis", _MILLIS), ("micros", _MICROS), ("nanos", _NANOS))
    },
}
"""The same for times of the calendar; their names end in what becomes of those outside of it."""

_CONNECT = {
    ("int", "io.debezium.time.Date"): "date",
    ("int", "io.debezium.time.Time"): "time-millis",
    ("long", "io.debezium.time.MicroTime"): "time-micros",
    ("long", "io.debezium.time.NanoTime"): "time-nanos",
    ("long", "io.debezium.time.Timestamp"): "local-timestamp-millis",
    ("long", "io.debezium.time.MicroTimestamp"): "local-timestamp-micros",
    ("long", "io.debezium.time.NanoTimestamp"): "local-timestamp-nanos",
    ("int", "org.apache.kafka.connect.data.Date"): "date",
    ("int", "org.apache.kafka.connect.data.Time"): "time-millis",
    ("long", "org.apache.kafka.connect.data.Timestamp"): "timestamp-millis",
}
"""Type and `connect.name` → the logical type that says the same. Debezium's timestamps have no zone:
https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-temporal-types"""
_OF_CONNECT: dict[str, Convert] = {
    "long-time-nanos": _time("time-nanos", _NANOS),
    "record-scaled": _scaled,
}
"""What Avro has no logical type for."""

_SIZE_BYTES = {"fixed-uuid": 16, "fixed-duration": 12}

_PLAIN: dict[str, Convert] = {
    "bytes-base64": _bytes,
    "fixed-base64": _bytes,
    "string-text": _text,
    **dict.fromkeys(("float-null", "double-null"), _null_if_not_finite),
    **dict.fromkeys(("float-string", "double-string"), _text_if_not_finite),
    **dict.fromkeys(("float-error", "double-error"), _error_if_not_finite),
}

_DATED: dict[str, Convert] = {
    f"{key}-{choice}": make(beyond) for key, make in _TIMES.items() for choice, beyond in _BEYOND.items()
}

for _key, _convert in (_LOGICAL | _DATED | _OF_CONNECT | _PLAIN).items():
    LOGICAL_READERS[_key.replace("-", f"-{_OURS}", 1)] = _convert
