"""What stands in JSON for Avro's values, read back: the other side of `formats.avro_types`."""

from __future__ import annotations

import re
import struct
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from connector.formats.avro_types import base64_text, form_of
from connector.model import Json

Parse: TypeAlias = Callable[[Json], Any]
"""Gives the value that Avro holds, or raises ValueError."""


class Parser(NamedTuple):
    """How values of a type are read from JSON."""

    noun: str
    """What is to be written, as `a date, as "2026-11-22"`."""
    parse: Parse
    guesses: int = 0
    """0 where text of this form is hardly anything else; more where it may well be."""


def parser_of(kind: str, avro: Any) -> Parser:
    """Give the parser of a type that has its marks, and holds no other type.

    It may take text that the decoder would show in another way, and values that it would refuse.
    """
    form, beyond = form_of(avro)
    found = FORMS[form](kind, avro, beyond) if form else _PLAIN[kind]
    return found._replace(noun=f"{found.noun}, or null") if beyond == "null" else found


def _number_within(bits: int, value: Json) -> int:
    if type(value) is int and -(1 << bits - 1) <= value < 1 << bits - 1:
        return value
    raise ValueError


def _instance(kind: type, value: Json) -> Any:
    if isinstance(value, kind):
        return value
    raise ValueError


_PLAIN: Mapping[str, Parser] = {
    "null": Parser("null", partial(_instance, type(None))),
    "boolean": Parser("true or false", partial(_instance, bool)),
    "int": Parser("a whole number from -2^31 to 2^31 - 1", partial(_number_within, 32)),
    "long": Parser("a whole number from -2^63 to 2^63 - 1", partial(_number_within, 64)),
    "string": Parser("text", partial(_instance, str), 1),
}

_NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def _float(kind: str, _avro: Any, beyond: str) -> Parser:
    single = struct.Struct("<f")

    def parse(value: Json) -> float:
        if beyond == "null" and value is None:
            return float("nan")
        if beyond == "string" and value in _NOT_FINITE:
            return float(str(value))
        if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
            raise ValueError
        try:
            rounded: float = single.unpack(single.pack(value))[0] if kind == "float" else float(value)
        except (OverflowError, struct.error):
            raise ValueError from None
        return rounded

    named = f", or one of {', '.join(_NOT_FINITE)} as text" if beyond == "string" else ""
    return Parser(f"a number that a {kind} holds{named}", parse)


def _base64(kind: str, avro: Any, _beyond: str) -> Parser:
    size_bytes = avro["size"] if kind == "fixed" else None

    def parse(value: Json) -> bytes:
        raw = b64decode(_instance(str, value), validate=True)
        if size_bytes is not None and len(raw) != size_bytes:
            raise ValueError
        return raw

    return Parser("base64" if size_bytes is None else f"base64 of {size_bytes} bytes", parse, 2)


_DECIMAL = re.compile(r"(-?)([0-9]+)(?:[.]([0-9]+))?", re.ASCII)


def _decimal(kind: str, avro: Any, _beyond: str) -> Parser:
    """Of any number of digits, since the precision that a schema names is not kept to by all who write."""
    scale: int = avro["scale"]
    size_bytes = avro["size"] if kind == "fixed" else None

    def parse(value: Json) -> bytes:
        unscaled, digits = _unscaled(value)
        if digits > scale:
            raise ValueError
        return _signed(unscaled * 10 ** (scale - digits), size_bytes)

    places = f"at most {scale} digit{'s' * (scale > 1)}" if scale else "no digits"
    held = f" that {size_bytes} bytes hold," if kind == "fixed" else ""
    example = f"12.{'3'.ljust(scale, '0')}" if scale else "12"
    return Parser(f'a decimal{held} with {places} after the point, as "{example}"', parse)


def _unscaled(value: Json) -> tuple[int, int]:
    """A decimal's digits as one number, and how many of them stand behind the point."""
    found = _DECIMAL.fullmatch(_instance(str, value))
    if found is None:
        raise ValueError
    sign, whole, fraction = found.groups("")
    return int(sign + whole + fraction), len(fraction)


def _signed(number: int, size_bytes: int | None = None) -> bytes:
    try:
        return number.to_bytes(size_bytes or number.bit_length() // 8 + 1, "big", signed=True)
    except OverflowError:
        raise ValueError from None


def _scaled(_kind: str, _avro: Any, _beyond: str) -> Parser:
    def parse(value: Json) -> Json:
        unscaled, digits = _unscaled(value)
        return {"scale": digits, "value": base64_text(_signed(unscaled))}

    return Parser('a decimal, as "12.30"', parse)


def _uuid(kind: str, _avro: Any, _beyond: str) -> Parser:
    def parse(value: Json) -> str | bytes:
        text: str = _instance(str, value)
        return text if kind == "string" else _bytes_of_uuid(text)

    return Parser('a UUID, as "0b9a4e4e-6c1f-4a53-9d0c-1f9e1c9a3a55"', parse)


def _bytes_of_uuid(text: str) -> bytes:
    if len(text) != 36:  # it may have braces or no dashes
        raise ValueError
    return UUID(text).bytes


_DURATION = ("months", "days", "millis")


def _duration(_kind: str, _avro: Any, _beyond: str) -> Parser:
    def parse(value: Json) -> bytes:
        parts: dict[str, Json] = _instance(dict, value)
        if parts.keys() != set(_DURATION):
            raise ValueError
        try:
            return struct.pack("<III", *(_number_within(64, parts[part]) for part in _DURATION))
        except struct.error:
            raise ValueError from None

    return Parser("a mapping of months, days and millis to whole numbers from 0 to 2^32 - 1", parse)


_DAY = "([+-][0-9]{6,9}|[0-9]{4})-([0-9]{2})-([0-9]{2})"
_CLOCK = "([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.]([0-9]+))?"
_DATE, _TIME = re.compile(_DAY, re.ASCII), re.compile(_CLOCK, re.ASCII)
_TIMESTAMP = re.compile(f"{_DAY}T{_CLOCK}(Z?)", re.ASCII)
_DIGITS = {"millis": 3, "micros": 6, "nanos": 9}
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAYS_OF_400_YEARS = 146_097


def _matched(pattern: re.Pattern[str], value: Json) -> tuple[str, ...]:
    found = pattern.fullmatch(_instance(str, value))
    if found is None:
        raise ValueError
    return found.groups("")


def _days(year: str, month: str, day: str) -> int:
    """Days since 1970, also of years that Python's calendar does not have."""
    cycles, rest = divmod(int(year) - 1, 400)
    return date(rest + 1, int(month), int(day)).toordinal() - _EPOCH_DAY + cycles * _DAYS_OF_400_YEARS


def _ticks(digits: int, hours: str, minutes: str, seconds: str, fraction: str) -> int:
    """Ticks since midnight, `digits` of which stand behind the point."""
    kept = fraction.rstrip("0")
    if int(hours) > 23 or int(minutes) > 59 or int(seconds) > 59 or len(kept) > digits:
        raise ValueError
    whole = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    return int(f"{whole}{kept.ljust(digits, '0')}")


def _calendar(bits: int, beyond: str, parse: Callable[[Json], int], value: Json) -> int:
    """A date or timestamp, or what stands for one outside of the calendar."""
    end = 1 << bits - 1
    if beyond == "null" and value is None:
        return end - 1
    if beyond == "string" and value in {"infinity", "-infinity"}:
        return end - 1 if value == "infinity" else -end
    return _number_within(bits, parse(value))


def _date(_kind: str, _avro: Any, beyond: str) -> Parser:
    parse = partial(_calendar, 32, beyond, lambda value: _days(*_matched(_DATE, value)))
    return Parser('a date, as "2026-11-22"', parse)


def _time(unit: str, _kind: str, _avro: Any, _beyond: str) -> Parser:
    digits = _DIGITS[unit]
    noun = f'a time of day with at most {digits} digits after the point, as "10:00:00.{"0" * digits}"'
    return Parser(noun, lambda value: _ticks(digits, *_matched(_TIME, value)))


def _timestamp(unit: str, zone: str, _kind: str, _avro: Any, beyond: str) -> Parser:
    digits = _DIGITS[unit]
    ticks_a_day = 86_400 * int(10**digits)

    def ticks(value: Json) -> int:
        year, month, day, *clock, found = _matched(_TIMESTAMP, value)
        if found != zone:
            raise ValueError
        return _days(year, month, day) * ticks_a_day + _ticks(digits, *clock)

    where, example = ("in UTC", "Z") if zone else ("without zone", "")
    noun = f"a time {where} with at most {digits} digits after the point"
    return Parser(
        f'{noun}, as "2026-11-22T10:00:00.{"0" * digits}{example}"', partial(_calendar, 64, beyond, ticks)
    )


FORMS: Mapping[str, Callable[[str, Any, str], Parser]] = {
    "base64": _base64,
    "number": _float,
    "decimal": _decimal,
    "scaled": _scaled,
    "uuid": _uuid,
    "duration": _duration,
    "date": _date,
    **{f"time-{unit}": partial(_time, unit) for unit in _DIGITS},
    **{
        f"{local}timestamp-{unit}": partial(_timestamp, unit, zone)
        for local, zone in (("", "Z"), ("local-", ""))
        for unit in _DIGITS
    },
}
"""By the names of `avro_types.form_of`; each is given the kind of the type, the type, and what becomes of
values outside of its range."""
