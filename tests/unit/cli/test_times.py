"""Times on the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import typer

from connector.cli.times import time_ms, zoned_time_ms
from connector.model import now_ms

TEN_MS = 1_795_341_600_000


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's own time is that of Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("text", ["2026-11-22T10:00Z", "2026-11-22T11:00+01:00", "2026-11-22 10:00:00.000Z"])
def test_one_moment_may_be_written_in_every_zone(text: str) -> None:
    """It is the same moment, and a selection with it the same selection."""
    assert TEN_MS == time_ms(text) == zoned_time_ms(text, "--since")


def test_how_long_ago_needs_no_zone() -> None:
    """It is counted back from now."""
    assert abs(now_ms() - 2 * 3_600_000 - zoned_time_ms("2h", "--since")) < 5_000


def test_a_time_without_a_zone_is_refused_with_what_to_write(in_berlin: None) -> None:
    """Both things that may be meant, in UTC."""
    with pytest.raises(typer.BadParameter) as refused:
        zoned_time_ms("2026-11-22T11:00", "--since")

    text = str(refused.value)
    assert "--since" == refused.value.param_hint
    assert "2026-11-22T11:00Z if it is UTC" in text
    assert "2026-11-22T10:00Z if it is the time of this machine (CET)" in text


def test_where_little_depends_on_it_such_a_time_is_utc() -> None:
    """The filters of dead letters."""
    assert TEN_MS == time_ms("2026-11-22T10:00")


@pytest.mark.parametrize("text", ["yesterday", "2w", "", "2026-13-01T00:00Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """With what is one."""
    with pytest.raises(typer.BadParameter, match="nor a time, as 2026-11-22T10:00Z"):
        zoned_time_ms(text, "--since")


@pytest.mark.parametrize("text", ["0001-01-01T00:00", "9999-12-31T23:59:59"])
def test_a_time_that_other_zones_cannot_write_is_refused_like_any_without_zone(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first and the last hours of the calendar are over, or not there yet, elsewhere."""
    for zone in ("Pacific/Auckland", "America/Los_Angeles"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        with pytest.raises(typer.BadParameter, match="names no zone"):
            zoned_time_ms(text, "--since")
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("text", ["1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.998Z", "999999d"])
def test_what_lies_before_all_times_of_kafka_is_the_first_of_them(text: str) -> None:
    """Asked for a time of -1, a broker would answer with the end of the topic."""
    assert 0 == time_ms(text) == zoned_time_ms(text, "--since")
