"""The bridge's page for people: `GET /`.

What it shows: `board`, which the bridge thread fills, over `history`. The first sentence: `words`. The HTML:
`render`, `page.html` and the files beside it. `render` is imported with the first look at the page.
"""

from connector.telemetry.page.board import Board, PartitionReport, TargetReport

__all__ = ["Board", "PartitionReport", "TargetReport"]
