"""The charts' points."""

from __future__ import annotations

from connector.telemetry.page.charts import HEIGHT, WIDTH, charts
from connector.telemetry.page.history import History, Sample


def test_a_chart_is_an_area_over_time() -> None:
    """The right edge is now, the left one 15 minutes ago; the highest value reaches the top."""
    history = History()
    for at_s, total in ((0.0, 0), (450.0, 900), (900.0, 1350)):
        history.add(Sample(at_s, total, 2, {}, {}))
    delivered, dead_lettered, retried = charts(history)

    assert (120.0, 60.0, 1350) == (delivered.most, delivered.last, delivered.total)
    corners = [tuple(map(float, corner.split(","))) for corner in delivered.points.split()]
    assert [(150, HEIGHT), (150, 2), (WIDTH, 31), (WIDTH, HEIGHT)] == corners
    assert (0.0, 0) == (dead_lettered.most, dead_lettered.total)
    assert f"{WIDTH:.1f},{HEIGHT:.1f}" in retried.points


def test_there_is_a_chart_before_anything_is_known() -> None:
    """The page is looked at in the first second, too."""
    assert ["", "", ""] == [chart.points for chart in charts(History())]
