"""The dry run: it says of each letter what a replay would do, and sends nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector import config
from connector.dead_letters.dry_run import RedeliveryCounts, plan, prepared_batches
from connector.errors import Code
from connector.model import SourceStatus
from tests.replay_rig import DENIED, NO_ANSWER, ORDERS, Rig, record


@pytest.mark.parametrize(
    ("seen", "code", "reason"),
    [
        (SourceStatus("ACTIVE"), "template_null", None),
        (SourceStatus("PENDING"), "template_null", "its source is PENDING: its customer has not"),
        (
            SourceStatus("OTHER", reason="called SLEEPING"),
            "template_null",
            "its source is OTHER: called SLEEPING",
        ),
        (NO_ANSWER, "template_null", "its source is UNKNOWN: no lookup of it was answered"),
        (DENIED, "template_null", None),
        (DENIED, "source_inactive", "its source was not ACTIVE when it was written"),
    ],
)
def test_a_plan_says_what_a_replay_does(
    settings: config.Settings, seen: SourceStatus, code: Code, reason: str | None
) -> None:
    """Of each letter, whatever was seen of its source."""
    rig = Rig([record(0, code=code)], settings=settings)
    rig.state_feed.is_blind = True
    rig.at(poll_50=lambda: rig.state_feed.say(ORDERS, seen))
    expected = plan(
        rig.scan(rig.ranges),
        dry_run=rig.dry_run,
        look_up=lambda *_: seen,
        max_letters=None,
        report=lambda *_: None,
    )
    replayed = rig.run()
    replayed.elsewhere = ()  # a plan has no group

    assert expected == replayed
    assert (reason is None) == (replayed.left == {})
    assert all(text.startswith(reason or "") for text in replayed.left)


def test_a_plan_says_how_much_goes_to_s3(settings: config.Settings) -> None:
    """As the replay counts it then; events that are small enough are not among them."""
    check = config.ClaimCheckSettings.model_validate({"bucket": "large", "above": 1024, "path": "$.detail.x"})
    target = settings.eventbridge.model_copy(update={"claim_check": check})
    settings = settings.model_copy(update={"eventbridge": target})
    rig = Rig([record(0), record(1, x="1" * 2_000), record(2, x="1" * 3_000)], settings=settings)

    planned = plan(
        rig.scan(rig.ranges),
        dry_run=rig.dry_run,
        look_up=lambda *_: SourceStatus("ACTIVE"),
        max_letters=None,
        report=lambda *_: None,
    )
    replayed = rig.run()

    assert (3, 2, 5_004) == (planned.delivered, planned.claim_checks, planned.claim_check_bytes)
    assert (3, 2, 5_004) == (replayed.delivered, replayed.claim_checks, replayed.claim_check_bytes)


def test_a_plan_says_what_would_become_of_each_and_sends_nothing(settings: config.Settings) -> None:
    """By the code they have, and by the code they would get."""
    gone = record(3)
    headers = tuple((n, b"gone" if n == "__connect.errors.topic" else v) for n, v in gone.headers)
    rig = Rig(
        [record(0), record(1, type=None), record(2, draft=True), gone._replace(headers=headers)],
        settings=settings,
    )

    counts = plan(
        rig.scan(rig.ranges),
        dry_run=rig.dry_run,
        look_up=lambda *_: SourceStatus("ACTIVE"),
        max_letters=None,
        report=lambda *_: None,
    )

    assert {"template_null": 3} == counts.tried
    assert (1, {"template_null": 1}, {"filter": 1}) == (counts.delivered, counts.failed, counts.dropped)
    assert {"its origin is gone: no entry under `topics` matches it": 1} == counts.left
    assert "is null or missing" in counts.messages["template_null"]
    assert [] == rig.sent


@pytest.mark.parametrize("rule", [f"sources: ['{ORDERS[:-2]}*']", "targets: [default]", "topics: [orders]"])
def test_what_is_paused_is_left_open_and_goes_when_it_is_resumed(
    settings: config.Settings, tmp_path: Path, rule: str
) -> None:
    """Neither a plan nor a replay waits for the end of a pause: nobody knows when that is."""
    file = tmp_path / "pauses.yaml"
    file.write_text(f"{rule}\nuntil: 2999-11-30T06:00Z\n")
    settings = settings.model_copy(update={"pauses": file})
    rig = Rig([record(0)], settings=settings)
    reason = f"its {rule.partition('s:')[0]} is paused until 2999-11-30T06:00:00Z"
    expected = plan(
        rig.scan(rig.ranges),
        dry_run=rig.dry_run,
        look_up=lambda *_: SourceStatus("ACTIVE"),
        max_letters=None,
        report=lambda *_: None,
    )

    assert {reason: 1} == expected.left == rig.run().left
    assert ([], {}) == (rig.sent, rig.resolutions.states)

    file.write_text("")

    assert 1 == Rig([record(0)], settings=settings).run().delivered


def test_large_letters_are_tried_a_few_at_a_time(settings: config.Settings) -> None:
    """A hundred at once would not fit into memory. Each is tried once, and what is left open is told once."""
    rig = Rig([record(n, text="x" * 400_000) for n in range(10)], settings=settings)
    (batch,) = rig.scan(rig.ranges)
    steps = list(prepared_batches([batch._replace(parked=3, left={"why": 2})], rig.dry_run))

    assert [3, 3, 3, 1] == [len(step.prepared) for step in steps]
    assert list(range(10)) == [tried.item.id.offset for step in steps for tried in step.prepared]
    assert ([3, 0, 0, 0], {"why": 2}) == ([step.parked for step in steps], steps[0].left)
    assert not any(step.left for step in steps[1:])


def test_reasons_are_counted_in_bounded_memory() -> None:
    """However many different ones there are."""
    counts = RedeliveryCounts()
    for number in range(1_000):
        counts.count(counts.left, f"reason {number}")

    assert len(counts.left) <= 21
    assert 1_000 == sum(counts.left.values())
