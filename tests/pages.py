"""The page's contents, with something in every place."""

from __future__ import annotations

from collections.abc import Sequence

from connector.model import FailingSource, Partition, Position, SourceReport, SourceState, now_ms
from connector.telemetry.health import Health
from connector.telemetry.page import Board, PartitionReport, TargetReport
from connector.telemetry.page.contents import Contents

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\ud800"


def source(name: str, state: SourceState = "ACTIVE", *, held: int = 0) -> SourceReport:
    return SourceReport(name, state, now_ms(), "111122223333", None, None, held, delivered=1, billed_chunks=1)


def contents(
    sources: Sequence[SourceReport] = (),
    *,
    text: str = "orders",
    open_letters: dict[str, int] | None = None,
    runbook_url: str | None = None,
) -> Contents:
    """A page with something in every place; `text` is each name in it."""
    health, board = Health(), Board()
    health.assigned(1)
    health.sources(text, sources)
    health.sources_failing(text, [FailingSource(text, now_ms(), text, 1)])
    health.targets_down({text: text})
    partition = PartitionReport(Partition(text, 3), 5, 90.0, now_ms(), 2.0, ("target", text))
    for at_s in (0.0, 5.0):
        target = TargetReport(text, "down", text, 1, 1, 0, 0, 0)
        board.report(at_s, partitions=[partition], targets=[target])
    board.dead_lettered(Position(Partition(text, 3), 1042), code=text, source=text, message=text)
    return Contents(
        name="orders-bridge",
        board=board,
        health=health,
        versions={"version": "1.0"},
        letters_open=lambda: open_letters,
        configuration=lambda: f"name: {text}",
        runbook_url=runbook_url,
    )
