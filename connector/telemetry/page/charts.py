"""Small charts of the last 15 minutes, as the points of an SVG that the page draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from connector.telemetry.page.history import SPAN_S, History, Rates

WIDTH, HEIGHT = 300, 60


class Chart(NamedTuple):
    """One line over time, and what it says in numbers."""

    title: str
    points: str
    """Of a polygon in a box of `WIDTH` by `HEIGHT`, the area below the line; empty where nothing is known."""
    most: float
    """The highest rate, each a minute."""
    last: float
    total: int


def charts(history: History) -> list[Chart]:
    """What was delivered, dead-lettered and retried."""
    rates = list(history.rates())
    first, last = (history.samples[0], history.samples[-1]) if history.samples else (None, None)
    found = []
    for title, name in (
        ("Events delivered", "delivered"),
        ("Records dead-lettered", "dead_lettered"),
        ("Entries retried", "retried"),
    ):
        series = [(age_s, _rate(rate, name)) for age_s, rate in rates]
        total = getattr(last, name) - getattr(first, name) if last and first else 0
        most = max((value for _, value in series), default=0.0)
        now = series[-1][1] if series else 0.0
        found.append(Chart(title, _area(series, most), most, now, total))
    return found


def _rate(rates: Rates, name: str) -> float:
    return float(getattr(rates, name))


def _area(series: Sequence[tuple[float, float]], most: float) -> str:
    if not series:
        return ""
    line = [
        (WIDTH * (1 - min(age_s / SPAN_S, 1)), HEIGHT - (HEIGHT - 2) * (value / most if most else 0))
        for age_s, value in series
    ]
    corners = [(line[0][0], HEIGHT), *line, (line[-1][0], HEIGHT)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
