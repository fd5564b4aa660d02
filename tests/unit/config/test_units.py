"""Durations, sizes and moments: which are read, and how they are shown."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.config import units
from tests.configuration import MINIMAL, Written


@pytest.mark.parametrize(
    ("duration", "seconds"), [("100ms", 0.1), ("5s", 5), ("2m", 120), ("1h", 3600), ("1.5s", 1.5), ("0ms", 0)]
)
def test_durations_have_units(duration: str, seconds: float) -> None:
    """A duration is a number and a unit."""
    assert seconds == units.seconds(duration)


@pytest.mark.parametrize(
    ("size", "size_bytes"),
    [("64MiB", 64 * 1024**2), ("256KB", 256_000), ("1GiB", 1024**3), ("262144", 262144), ("1.5KiB", 1536)],
)
def test_sizes_may_have_units(size: str, size_bytes: int) -> None:
    """A size is a number of bytes, or a number and a unit, decimal or binary."""
    assert size_bytes == units.size_bytes(size)


@given(st.integers(min_value=0, max_value=10**10))
def test_a_duration_is_shown_as_it_could_be_written(milliseconds: int) -> None:
    """Reading what is shown gives the same duration."""
    seconds = milliseconds / 1000

    assert seconds == units.seconds(units.show_seconds(seconds))


@given(st.integers(min_value=0, max_value=10**13))
def test_a_size_is_shown_as_it_could_be_written(size: int) -> None:
    """Reading what is shown gives the same size."""
    assert size == units.size_bytes(units.show_bytes(size))


@pytest.mark.parametrize("duration", ["5", "0.5", "5 s", "5sec", "-1s", "1d", "fast"])
def test_a_duration_without_its_unit_is_refused(written: Written, duration: str) -> None:
    """Nobody can tell 5 seconds from 5 milliseconds, so the bridge does not guess."""
    text = MINIMAL.replace("region: eu-central-1", f"region: eu-central-1, timeouts: {{read: {duration}}}")
    (problem,) = written.problems(text)

    assert problem.startswith("eventbridge.timeouts.read: ")
    assert "write 100ms, 5s, 2m or 1h (line 6)" in problem


@given(unix_s=st.integers(0, 10**11), offset_min=st.integers(-720, 840))
def test_a_moment_is_read_as_it_is_shown(unix_s: int, offset_min: int) -> None:
    """In UTC, to the second, in whatever zone it was written."""
    value = datetime.fromtimestamp(unix_s, timezone(timedelta(minutes=offset_min)))

    assert value == units.moment(value.isoformat())
    assert value == units.moment(units.show_moment(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-11-30T06:00", "names no zone: write 2026-11-30T06:00Z if it is UTC"),
        ("2026-11-30T06:00:01", "names no zone: write 2026-11-30T06:00:01Z if it is UTC"),
        ("2026-11-30", "names no zone: write 2026-11-30T00:00Z if it is UTC"),
        ("tomorrow", "is not a moment: write date, time and zone, as 2026-11-30T06:00Z"),
        ("9999-12-31T23:00-10:00", "is not a moment: write date, time and zone, as 2026-11-30T06:00Z"),
    ],
)
def test_a_moment_without_a_zone_is_refused_with_the_form_to_write(text: str, message: str) -> None:
    """06:00 is another moment in each zone."""
    with pytest.raises(ValueError, match=re.escape(message)):
        units.moment(text)
