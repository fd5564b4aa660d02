"""Where the page finds what it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connector.telemetry.health import Health
from connector.telemetry.page.board import Board


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything on the page, asked for when somebody looks at it."""

    name: str
    """Of the bridge."""
    board: Board
    health: Health
    versions: Mapping[str, str]
    letters_open: Callable[[], Mapping[str, int] | None] = lambda: None
    """Open letters of the whole topic by code; None where they are not counted."""
    configuration: Callable[[], str] = str
    """In force, as YAML, with secrets masked."""
    config_file: str | None = None
    """For the commands that it shows; None where they find it without."""
    runbook_url: str | None = None
    """Where docs/runbook.md is published."""
