"""What a resend would do, counted beforehand. Sends nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from connector.dead_letters.dry_run import (
    PLAN_PATIENCE_S,
    SCHEMA_WAIT_S,
    LookUp,
    PassedOver,
    Prepared,
    PreparedBatch,
    RedeliveryCounts,
    Report,
    expected,
)
from connector.model import Entry
from connector.pipeline import Pipeline
from connector.resend.selection import NOT_SELECTED, OUTSIDE, ResentRecord

MAX_SOURCES = 10_000
"""Sources that are counted by name; what goes to further ones is counted together."""

OTHERS = "other sources"


@dataclass(slots=True)
class PlannedSource:
    """What a resend would do for one source."""

    events: int = 0
    left_out: str | None = None
    """Why nothing is sent to it: its state."""


@dataclass(slots=True)
class ResendPlan:
    """What a resend would do with what lies in its range."""

    records: int = 0
    """In the range, whatever they become."""
    not_selected: int = 0
    sources: dict[str, PlannedSource] = field(default_factory=dict)
    counts: RedeliveryCounts = field(default_factory=RedeliveryCounts)
    is_unreadable: str | None = None
    """Why it ends here: a schema that cannot be had."""


def plan(
    batches: Iterable[PreparedBatch[ResentRecord]],
    *,
    pipeline: Pipeline,
    look_up: LookUp,
    report: Report,
) -> ResendPlan:
    """Count what a resend of these would do; `look_up` is asked once for each event."""
    planned = ResendPlan()
    patience_s = PLAN_PATIENCE_S
    for batch in batches:
        report(planned.counts, batch.problem)
        for prepared in batch.prepared:
            _expect(planned, prepared, pipeline, look_up)
        if batch.problem is not None:
            if patience_s <= 0:
                planned.is_unreadable = batch.problem
                return planned
            patience_s -= SCHEMA_WAIT_S
            time.sleep(SCHEMA_WAIT_S)  # the schema is on its way, on another thread
    return planned


def source_name(source: str, counted: Collection[str]) -> str:
    """The name that events of a source are counted under, among those counted already."""
    return source if source in counted or len(counted) < MAX_SOURCES else OTHERS


def _expect(
    planned: ResendPlan, prepared: Prepared[ResentRecord], pipeline: Pipeline, look_up: LookUp
) -> None:
    planned.records += prepared.result is not OUTSIDE
    planned.not_selected += prepared.result is NOT_SELECTED
    if prepared.result is OUTSIDE or prepared.result is NOT_SELECTED:
        return
    (_, result), seen = expected(prepared, pipeline, look_up)
    planned.counts.expect(result, seen)
    if isinstance(entry := prepared.result, Entry):
        name = source_name(entry.source, planned.sources)
        source = planned.sources.setdefault(name, PlannedSource())
        source.events += 1
        if isinstance(result, PassedOver):
            source.left_out = str(result)
