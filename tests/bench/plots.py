"""A plot of the docs, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import leather

SIZE = (900, 260)
COLOUR = "#377eb8"
ROOM = 1.1
"""Up to the highest column, and a little more."""


def plot(charts: Mapping[str, Sequence[tuple[str, float]]], file: Path) -> None:
    """Draws charts side by side: columns with their labels, from zero, under the chart's title."""
    grid = leather.Grid()
    for title, columns in charts.items():
        chart = leather.Chart(title)
        chart.add_columns(columns, fill_color=COLOUR)
        chart.add_y_scale(0, max(height for _, height in columns) * ROOM)
        grid.add_one(chart)
    grid.to_svg(str(file), *SIZE)
