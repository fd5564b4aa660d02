"""The plan of a resend: what it counts, and for whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from connector import config
from connector.dead_letters.dry_run import PreparedBatch, steps
from connector.errors import UnavailableError
from connector.model import Record, SourceStatus
from connector.pipeline import Pipeline
from connector.resend import plan as planning
from connector.resend.plan import ResendPlan, plan
from connector.resend.selection import ResendDryRun, ResendSelection, ResentRecord
from tests.replay_rig import BLUE, DENIED, ORDERS
from tests.resend_rig import BEGIN_MS, TOPIC, record

ACTIVE, PENDING = SourceStatus("ACTIVE"), SourceStatus("PENDING")


def planned(
    settings: config.Settings, records: Sequence[Record], *, states: dict[str, SourceStatus] | None = None
) -> ResendPlan:
    """The plan for the records of the first minute."""
    selection = ResendSelection(TOPIC, since_ms=BEGIN_MS, until_ms=BEGIN_MS + 60_000)
    pipeline = Pipeline(settings, None)
    dry_run = ResendDryRun(pipeline, selection)
    return plan(
        steps([ResentRecord(each) for each in records], dry_run),
        pipeline=pipeline,
        look_up=lambda _, source: (states or {}).get(source, ACTIVE),
        report=lambda *_: None,
    )


def test_it_says_what_becomes_of_each_record(settings: config.Settings) -> None:
    """What lies outside the range is not among them; the others add up."""
    records = [record(n, tenant="blue" if n % 2 else "orders") for n in range(100)]
    records[3], records[5] = record(3, draft=True), record(5, type=None)

    found = planned(settings, records, states={BLUE: PENDING})

    assert 60 == found.records
    assert {ORDERS: 30, BLUE: 28} == {name: source.events for name, source in found.sources.items()}
    assert ({"filter": 1}, {"template_null": 1}) == (found.counts.dropped, found.counts.failed)
    assert (30, [28]) == (found.counts.delivered, [*found.counts.left.values()])
    assert found.sources[ORDERS].left_out is None
    assert str(found.sources[BLUE].left_out).startswith("its source is PENDING")


def test_without_permission_to_look_up_they_would_be_sent_unseen(settings: config.Settings) -> None:
    """As the bridge sends them, and the plan says so."""
    found = planned(settings, [record(n) for n in range(5)], states={ORDERS: DENIED})

    assert (5, {"AccessDeniedException": 5}) == (found.counts.delivered, found.counts.unseen)


def test_many_sources_take_bounded_memory(settings: config.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those past the first ones are counted together, and none is lost."""
    monkeypatch.setattr(planning, "MAX_SOURCES", 3)

    found = planned(settings, [record(n, tenant=f"t{n}") for n in range(10)])

    assert (4, 7) == (len(found.sources), found.sources["other sources"].events)
    assert 10 == found.counts.delivered


def test_a_schema_that_does_not_come_ends_the_plan(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason, and without counting what is behind it."""
    monkeypatch.setattr(planning, "PLAN_PATIENCE_S", 0.05)

    def missing(_: object) -> None:
        raise UnavailableError("the registry does not answer")

    def batches() -> Iterator[PreparedBatch[ResentRecord]]:
        yield from steps([ResentRecord(record(0))], missing)  # type: ignore[arg-type]

    found = plan(
        batches(),
        pipeline=Pipeline(settings, None),
        look_up=lambda *_: ACTIVE,
        report=lambda *_: None,
    )

    assert "the registry does not answer" == found.is_unreadable
