"""The page's contents, with something in every place; and its first sentence, as it is read."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connector.model import FailingSource, Partition, Position, SourceReport, SourceState, now_ms
from connector.telemetry.health import Health
from connector.telemetry.page import Board, PartitionReport, TargetReport
from connector.telemetry.page.contents import Contents

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\ud800"


def first_sentence(page: str) -> str:
    """The sentence at the top of a page."""
    found = re.search(r"<h1[^>]*>(.*?)</h1>", page, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def words_of(readyz: Mapping[str, Any]) -> Iterator[str]:
    """What `/readyz` says of troubles, as it must be in the first sentence; without numbers, which go on."""
    said = list(readyz["reasons"].values())
    if "eventbridge" not in readyz["reasons"]:
        said += readyz["targets_down"].values()
    for key in ("first_lookups", "lookups"):
        said += [text for target, text in readyz[key].items() if target not in readyz["targets_down"]]
    said += [
        readyz["receipts"],
        readyz["pauses_problem"],
        readyz["loop"] if "loop" not in readyz["reasons"] else None,
    ]
    return (without_numbers(text).rstrip(".") for text in said if text)


def without_numbers(text: str) -> str:
    return re.sub(r"\d[\d,.]*\d|\d", "0", text)


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
