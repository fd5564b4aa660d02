"""What a resend would do, counted beforehand. Sends nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from connector.dead_letters.dry_run import (
    LookUp,
    PassedOver,
    Prepared,
    PreparedBatch,
    RedeliveryCounts,
    Report,
    why_left_open,
)
from connector.errors import RecordError
from connector.model import Entry
from connector.pipeline import Dropped, Pipeline
from connector.resend.selection import NOT_SELECTED, OUTSIDE, ResentRecord

PATIENCE_S = 15.0
"""How long a plan waits, in all, for schemas that cannot be had."""

SCHEMA_WAIT_S = 0.02

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
    patience_s = PATIENCE_S
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
    item, result = prepared
    counts = planned.counts
    planned.records += result is not OUTSIDE
    match result:
        case PassedOver():
            planned.not_selected += result is NOT_SELECTED
            if result not in {NOT_SELECTED, OUTSIDE}:
                counts.count(counts.left, str(result))
        case RecordError():
            counts.count(counts.failed, result.code)
            counts.messages.setdefault(result.code, str(result))
        case Dropped():
            counts.count(counts.dropped, result.reason)
        case Entry():
            name = source_name(result.source, planned.sources)
            source = planned.sources.setdefault(name, PlannedSource())
            source.events += 1
            if pipeline.route(item.record.partition.topic).policies[result.target] != "send":
                seen = look_up(result.target, result.source)
                if reason := why_left_open(seen, only_if_active=False):
                    source.left_out = reason
                    counts.count(counts.left, reason)
                    return
                if seen.is_denied:
                    counts.count(counts.unseen, str(seen.reason))
            counts.delivered += 1
