"""`time`: text and numbers become the event's time, or an error that says what would be one."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connector.config.settings import TimeUnit
from connector.errors import MappingError
from connector.mapping.times import time_reader
from connector.model import Json
from tests.mapping import PATH, TIMESTAMP_MS, decoded, detail, mapped, refused

NEW_YEAR_S = 1_767_225_600
"""The beginning of 2026 in UTC."""


# --- what is a time -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "found", "expected"),
    [
        # text, whatever the unit
        ("auto", "2026-01-01T00:00:00Z", NEW_YEAR_S),
        ("ns", "2026-01-01T02:00:00.5+02:00", NEW_YEAR_S + 0.5),
        ("s", "2026-01-01 00:00:00.123456789+00:00", NEW_YEAR_S + 0.123456),
        ("auto", "20260101T000000Z", NEW_YEAR_S),
        ("auto", "1970-01-01T00:00:00Z", 0),
        ("auto", "9999-12-31T23:59:59Z", 253_402_300_799),
        # numbers
        ("auto", NEW_YEAR_S * 1000, NEW_YEAR_S),
        ("auto", NEW_YEAR_S * 1000 + 0.5, NEW_YEAR_S + 0.0005),
        ("auto", 946_684_800_000, 946_684_800),  # the first of 2000
        ("auto", 4_133_980_799_999, 4_133_980_799.999),  # the last of 2100
        ("s", NEW_YEAR_S, NEW_YEAR_S),
        ("s", NEW_YEAR_S + 0.25, NEW_YEAR_S + 0.25),
        ("ms", NEW_YEAR_S * 1000 + 1, NEW_YEAR_S + 0.001),
        ("us", NEW_YEAR_S * 10**6 + 1_001, NEW_YEAR_S + 0.001001),
        ("ns", NEW_YEAR_S * 10**9 + 999_000_000, NEW_YEAR_S + 0.999),
        ("ns", 4_102_444_799_999_999_999, 4_102_444_800.0),
        ("s", 0, 0),
        ("ms", 1_500, 1.5),
        ("s", 253_402_300_799, 253_402_300_799),
        # digits, as JSON has large integers and Avro has decimals
        ("auto", "1767225600000", NEW_YEAR_S),
        ("auto", "1712121212345", 1_712_121_212.345),  # which Python's dates read as 1712-12-12T23:45
        ("s", "1767225600", NEW_YEAR_S),
        ("s", "1767225600.25", NEW_YEAR_S + 0.25),
        ("s", "1.7672256E9", NEW_YEAR_S),
        ("us", "1767225600000001", NEW_YEAR_S + 0.000001),
        ("ns", "1767225600999000000", NEW_YEAR_S + 0.999),
        ("s", "20260101", 20_260_101),  # said to be seconds
    ],
)
def test_a_time_is_iso_text_or_a_number_in_its_unit(unit: TimeUnit, found: Json, expected: float) -> None:
    """`time` reads ISO 8601 with a zone, and numbers and digits as `time_unit` says."""
    assert expected == mapped(decoded({"t": found}), time="${value.t}", time_unit=unit).time_s


@hypothesis_settings(deadline=None)
@given(
    moment=st.datetimes(
        min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
        max_value=datetime(2100, 12, 31),  # noqa: DTZ001 - likewise
        timezones=st.just(UTC),
    )
)
def test_one_moment_is_the_same_to_the_millisecond_in_every_form(moment: datetime) -> None:
    """Whichever way a producer writes a moment, as a number or in digits, customers see the same one."""
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    us = (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds
    ms = us // 1000
    forms: list[tuple[TimeUnit, str | int | float]] = [
        ("auto", moment.isoformat()),
        ("auto", ms),
        ("auto", us / 1000),
        ("s", us / 10**6),
        ("s", f"{us // 10**6}.{us % 10**6:06}"),
        ("ms", ms),
        ("us", us),
        ("ns", us * 1000 + 999),
    ]
    for unit, found in forms:
        for written in (found, str(found)):
            time_s = time_reader(unit, shown="${value.t}", path=PATH)(written)
            assert abs(time_s - us / 10**6) <= 0.001, (unit, written)


def test_text_and_expressions_join_to_a_time() -> None:
    """A date and a time of two fields, a zone, or the zeros of a finer unit can be written around them."""
    record = decoded({"date": "2026-01-01", "time": "00:00:00", "s": NEW_YEAR_S})

    assert NEW_YEAR_S == mapped(record, time="${value.date}T${value.time}Z").time_s
    assert NEW_YEAR_S == mapped(record, time="${value.s}000").time_s


@pytest.mark.parametrize("unit", ["auto", "s", "ns"])
@pytest.mark.parametrize("timestamp_ms", [None, 0, TIMESTAMP_MS])
def test_time_defaults_to_the_records_timestamp(timestamp_ms: int | None, unit: str) -> None:
    """Without `time`, the event has the record's timestamp, always in milliseconds and however old."""
    expected = None if timestamp_ms is None else timestamp_ms / 1000

    assert expected == mapped(decoded({}, timestamp_ms=timestamp_ms), time_unit=unit).time_s


# --- what is none -------------------------------------------------------------------------------

ADVICE: list[tuple[TimeUnit, Json, str, str]] = [
    # a number in another unit
    ("auto", NEW_YEAR_S, "time_out_of_range", "read as seconds it is. Set `time_unit: s`."),
    ("auto", NEW_YEAR_S + 0.25, "time_out_of_range", "Set `time_unit: s`."),
    ("auto", NEW_YEAR_S * 10**6, "time_out_of_range", "read as microseconds it is. Set `time_unit: us`."),
    ("auto", NEW_YEAR_S * 10**9, "time_out_of_range", "read as nanoseconds it is. Set `time_unit: ns`."),
    ("auto", str(NEW_YEAR_S), "time_out_of_range", "Set `time_unit: s`."),
    ("auto", "1767225600.25", "time_out_of_range", "Set `time_unit: s`."),
    ("s", NEW_YEAR_S * 1000, "time_out_of_range", "Set `time_unit: ms`."),
    ("ms", NEW_YEAR_S * 10**6, "time_out_of_range", "Set `time_unit: us`."),
    # a number in no unit
    ("auto", 0, "time_out_of_range", "nor is it in any other unit. If it is right, say with `time_unit`"),
    ("auto", 946_684_799_999, "time_out_of_range", "is not between the years 2000 and 2100"),
    ("auto", 4_133_980_800_000, "time_out_of_range", "is not between the years 2000 and 2100"),
    ("auto", -1, "time_out_of_range", "read as milliseconds since 1970, is not between the years 2000"),
    ("auto", "-1", "time_out_of_range", "is not between the years 2000 and 2100"),
    ("auto", 1e300, "time_out_of_range", "is not between the years 2000 and 2100"),
    ("auto", "9" * 5000, "time_out_of_range", "is not between the years 2000 and 2100"),
    ("auto", "1e999", "time_out_of_range", "is not between the years 2000 and 2100"),
    ("ms", 253_402_300_800_000, "time_out_of_range", "is not between the years 1970 and 9999. Correct"),
    ("s", -1, "time_out_of_range", "read as seconds since 1970, is not between the years 1970 and 9999"),
    # a date in digits
    ("auto", 20_260_131, "time_out_of_range", "Its digits look like a date, as 20260131 for 2026-01-31."),
    ("auto", "20260101", "time_out_of_range", "Its digits look like a date"),
    ("auto", "20260101100000", "time_out_of_range", "Its digits look like a date"),
    # dates and times that lack something
    ("auto", "2026-01-01", "template_type", "is a date without a time. Add the time after the expression"),
    ("auto", "2026-W01-1", "template_type", "is a date without a time."),
    ("auto", "2026-01-01 10:00:00", "template_type", "has no time zone. If it is UTC, write a Z after"),
    ("auto", "20260101T100000", "template_type", "has no time zone."),
    ("auto", "10:00:00", "template_type", "is a time without a date. If the date is in another field, join"),
    ("auto", "2026-01", "template_type", "is a month without a day."),
    # other forms
    ("auto", "01/02/2026", "template_type", "does not say for certain what is the day and what the month"),
    ("auto", "2026/01/02 10:00:00", "template_type", "is a date with slashes or dots"),
    ("auto", "31.01.2026", "template_type", "is a date with slashes or dots"),
    (
        "auto",
        "Thu, 01 Jan 2026 10:00:00 GMT",
        "template_type",
        "writes the month as a word, as e-mail and HTTP",
    ),
    ("auto", "Thu Jan  1 10:00:00 2026", "template_type", "writes the month as a word"),
    ("auto", "January 1, 2026", "template_type", "writes the month as a word"),
    (
        "auto",
        "2026-01-01 10:00:00 CET",
        "template_type",
        "something other than Z or an offset such as +01:00",
    ),
    ("auto", "2026-01-01T10:00+01:00[Europe/Berlin]", "template_type", "something other than Z or an offset"),
    ("auto", "2026-02-30T10:00:00Z", "template_type", "is no moment that exists, or"),
    ("auto", " 2026-01-01T10:00:00Z", "template_type", "has white space at an end"),
    ("auto", "", "template_type", "is text that stands for nothing. Drop such records with `filter`"),
    ("auto", "null", "template_type", "is text that stands for nothing."),
    (
        "auto",
        "secret",
        "template_type",
        "is not a date and time in ISO 8601, as 2026-01-31T12:00:00Z, and not a",
    ),
    # text outside the calendar
    ("auto", "1969-12-31T23:59:59Z", "time_out_of_range", "is not between the years 1970 and 9999."),
    ("auto", "9999-12-31T23:59:59-01:00", "time_out_of_range", "is not between the years 1970 and 9999."),
    ("auto", "0001-01-01T00:00:00+23:00", "time_out_of_range", "is not between the years 1970 and 9999."),
    # no text and no number
    ("auto", None, "template_null", "is null or missing. Give a default with `||`"),
    ("auto", True, "template_type", "is a boolean, and must be ISO 8601 text or a number of milliseconds"),
    ("us", ["secret"], "template_type", "is an array, and must be ISO 8601 text or a number of microseconds"),
]


@pytest.mark.parametrize(("unit", "found", "code", "advice"), ADVICE)
def test_what_is_no_time_is_told_what_would_be(unit: TimeUnit, found: Json, code: str, advice: str) -> None:
    """The error names the template, and what to write for a value of this form, without the value."""
    error = refused(decoded({"t": found}), time="${value.t}", time_unit=unit)

    assert code == error.code
    assert str(error).startswith(f"{PATH}.event.time: ${{value.t}}")
    assert advice in str(error)
    kept = str(error).replace("2026-01-31T12:00:00Z", "").replace("20260131 for 2026-01-31", "")
    assert str(found) not in kept or found in {"", "null", None, True, 0, -1, "-1"}
    assert error.__cause__ is None
    assert error.__context__ is None


def test_a_joined_time_that_is_none_shows_the_whole_template() -> None:
    """With text around expressions, any part of it may be to blame."""
    message = str(refused(decoded({"t": "2026-01-01"}), time="${value.t}T00:00:00"))

    assert message.startswith(f"{PATH}.event.time: ${{value.t}}T00:00:00 has no time zone.")


def test_a_broken_record_timestamp_is_refused_only_where_it_is_used() -> None:
    """A timestamp no calendar holds is an error for the default time, and null in the metadata."""
    record = decoded({"t": "2026-01-01T00:00:00Z"}, timestamp_ms=2**62)

    made = detail(record, time="${value.t}", metadata="m")

    assert refused(record).code == "time_out_of_range"
    assert isinstance(made, dict)
    assert isinstance(made["m"], dict)
    assert made["m"]["timestamp"] is None


@hypothesis_settings(deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"[0-9TZ:.+/ -]{0,30}", fullmatch=True))
def test_any_text_is_a_time_or_a_mapping_error(text: str) -> None:
    """Nothing else is raised, whatever a producer writes."""
    read = time_reader("auto", shown="${value.t}", path=PATH)
    with contextlib.suppress(MappingError):
        assert 0 <= read(text) < 253_402_300_800
