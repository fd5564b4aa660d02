"""The first sentence, in each situation."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from connector.model import Partition, Pause
from connector.telemetry.health import Health
from connector.telemetry.page import PartitionReport
from connector.telemetry.page.words import RUNBOOK, Situation, duration, sentence
from tests.fakes import FakeClock

ROOT = Path(__file__).parents[4]


def situation(health: Health, **changed: Any) -> Situation:
    """Of a bridge at work, with what differs."""
    given: dict[str, Any] = {
        "ready": health.ready()[1],
        "per_minute": 4210.4,
        "is_delivering": False,
        "targets": 3,
        "partitions": [partition(0, 0.0)],
        "waiting": 0,
        "source_states": {"ACTIVE": 9},
        "sources_failing": 0,
        "dead_lettered": 0,
        "is_throttled": False,
    }
    return Situation(**(given | changed))


def partition(number: int, behind_s: float, lag: int = 0) -> PartitionReport:
    since_ms = 1_700_000_000_000 if behind_s else None
    return PartitionReport(Partition("orders.v1", number), lag, behind_s, since_ms, 0.0, None)


def test_all_is_well(running: Health) -> None:
    """It says so, and that nothing stands in the way."""
    said = sentence(situation(running))

    assert "Delivering 4,210 events a minute to 3 targets; nothing stands in the way." == said.text
    assert ("good", []) == (said.level, said.obstacles)


@pytest.mark.parametrize(
    ("changed", "begin"),
    [
        ({"per_minute": 0.2}, "Idle: every record is settled; nothing"),
        ({"per_minute": 0, "waiting": 1}, "Delivering nothing, and 1 record waits; "),
        ({"per_minute": 0, "waiting": 1200}, "Delivering nothing, and 1,200 records wait; "),
        ({"per_minute": 0, "partitions": []}, "Idle, ready to take over: this process has no partition; "),
        ({"per_minute": 1, "targets": 1}, "Delivering 1 event a minute to 1 target; "),
    ],
)
def test_it_says_what_the_bridge_is_doing(running: Health, changed: dict[str, Any], begin: str) -> None:
    assert sentence(situation(running, **changed)).text.startswith(begin)


def test_the_example_of_the_issue(running: Health) -> None:
    """Several things at once, the worst partition by name."""
    said = sentence(
        situation(
            running,
            partitions=[partition(3, 722.0, 99), partition(1, 61.0, 9), partition(0, 59.0, 1)],
            source_states={"ACTIVE": 9, "PENDING": 2},
            dead_lettered=17,
        )
    )

    assert (
        "Delivering 4,210 events a minute to 3 targets; 2 customers have not accepted their source; "
        "partition orders.v1[3] is 12 minutes behind, since 2023-11-14T22:13:20Z, and 1 more partition too; "
        "17 records were dead-lettered in the last 15 minutes."
    ) == said.text
    assert "warning" == said.level


@pytest.mark.parametrize(
    "key", ["kafka", "dead_letter", "eventbridge", "schema_registry", "paused", "halted"]
)
def test_a_reason_of_readyz_is_said_word_for_word(running: Health, key: str) -> None:
    """Whoever has the one has the other, and the entry of the runbook."""
    running.report(key, "orders.dlt cannot be written: no leader.")
    said = sentence(situation(running))

    assert "Not ready: orders.dlt cannot be written: no leader." == said.text
    assert ("bad", RUNBOOK[key]) == (said.level, said.obstacles[0].runbook)


@pytest.mark.parametrize("key", ["kafka", "dead_letter", "schema_registry", "paused"])
def test_what_goes_on_beside_a_reason_is_said(running: Health, key: str) -> None:
    """A registry that is down for one topic holds up no other."""
    running.report(key, "schema 7 does not come")

    def said(**changed: Any) -> str:
        return sentence(situation(running, **changed)).text

    doing = "Not ready, and delivering 4,210 events a minute to 3 targets"
    assert f"{doing}: schema 7 does not come." == said(is_delivering=True)
    assert "Not ready: schema 7 does not come." == said(is_delivering=False)
    assert "Not ready: schema 7 does not come." == said(is_delivering=True, per_minute=0.4)


@pytest.mark.parametrize("key", ["eventbridge", "halted"])
def test_nothing_goes_on_beside_a_standstill(running: Health, key: str) -> None:
    """What was delivered a moment ago is no comfort, and contradicts the reason."""
    running.report(key, "nothing was accepted for 3 s")

    said = sentence(situation(running, is_delivering=True)).text
    assert "Not ready: nothing was accepted for 3 s." == said


def test_a_question_ends_the_sentence_as_it_is(running: Health) -> None:
    running.report("schema_registry", "it is not JSON. Is a proxy answering?")

    assert "Not ready: it is not JSON. Is a proxy answering?" == sentence(situation(running)).text


def test_a_start_and_a_stop_are_no_trouble_by_name() -> None:
    health = Health()

    assert sentence(situation(health)).text.startswith("Starting: the consumer group has not said yet")

    health.assigned(1)
    health.stopping()

    assert sentence(situation(health)).text.startswith("Stopping: told to stop")


class Case(NamedTuple):
    """What stands in the way while the bridge is ready, and how that is said."""

    happen: Callable[[Health], None]
    changed: dict[str, Any]
    text: str
    runbook: str | None


OBSTACLES = [
    Case(
        lambda h: h.targets_down({"eu": "for 3 s no"}),
        {},
        "target eu takes nothing: for 3 s no",
        "PartnerBridgeTargetDown",
    ),
    Case(
        lambda h: h.first_lookups("eu", 2),
        {},
        "target eu is looking up 2 sources first; their events wait",
        None,
    ),
    Case(
        lambda h: h.lookups("eu", "no lookup has succeeded"),
        {},
        "target eu: no lookup has succeeded",
        "PartnerBridgeLookupsFailing",
    ),
    Case(lambda h: h.sent_again("7 of 9 failed"), {}, "7 of 9 failed", "PartnerBridgeTargetDown"),
    Case(
        lambda h: h.sent_again("7 of 9 failed (SlowDown)"),
        {"is_throttled": True},
        "7 of 9 failed (SlowDown)",
        "PartnerBridgeThrottled",
    ),
    Case(
        lambda h: h.receipts("no topic"), {}, "receipts are being lost: no topic", "PartnerBridgeReceiptsLost"
    ),
    Case(
        lambda h: h.pauses([Pause("topic", "orders", None)], None),
        {},
        "1 pause is in force",
        "PartnerBridgePausedLong",
    ),
    Case(
        lambda h: h.pauses([], "pauses.yaml, line 3: bad"),
        {},
        "pauses.yaml, line 3: bad",
        "PartnerBridgePausesUnreadable",
    ),
    Case(
        lambda _: None,
        {"source_states": {"MISSING": 1}},
        "1 source is missing",
        "PartnerBridgeSourceInactive",
    ),
    Case(
        lambda _: None,
        {"source_states": {"UNKNOWN": 1}},
        "1 source cannot be looked up, and may drop what it is sent",
        "PartnerBridgeEventsMaybeDropped",
    ),
    Case(
        lambda _: None,
        {"source_states": {"UNKNOWN": 2}},
        "2 sources cannot be looked up, and may drop what they are sent",
        "PartnerBridgeEventsMaybeDropped",
    ),
    Case(
        lambda _: None,
        {"sources_failing": 2},
        "2 sources take nothing while others do",
        "PartnerBridgeStuck",
    ),
    Case(
        lambda _: None,
        {"partitions": [partition(3, 722.0, 99)]},
        "partition orders.v1[3] is 12 minutes behind, since 2023-11-14T22:13:20Z",
        "PartnerBridgeFallingBehind",
    ),
    Case(
        lambda _: None,
        {"dead_lettered": 1},
        "1 record was dead-lettered in the last 15 minutes",
        "PartnerBridgeDeadLetters",
    ),
]

WITHOUT_RUNBOOK = {
    "target eu is looking up 2 sources first; their events wait": "each start does, and each new customer; "
    "what keeps it from an end is said beside it, with an entry",
    "starting": "it passes; what keeps it from an end is another reason, with an entry",
    "stopping": "it was told to",
}


@pytest.mark.parametrize("case", OBSTACLES, ids=[case.text for case in OBSTACLES])
def test_what_stands_in_the_way_without_making_it_unready(running: Health, case: Case) -> None:
    """All that `/readyz` shows beside its reasons; each with its entry of the runbook."""
    case.happen(running)
    said = sentence(situation(running, **case.changed))

    assert f"Delivering 4,210 events a minute to 3 targets; {case.text}." == said.text
    assert ("warning", [(case.text, case.runbook)]) == (said.level, said.obstacles)


def test_what_has_no_entry_of_the_runbook_has_a_reason() -> None:
    """Whoever reads of an obstacle at night is told what to do."""
    source = "".join(path.read_text() for path in (ROOT / "connector").rglob("*.py"))
    reasons = {
        *re.findall(r'health\.report\(\s*"(\w+)"', source),
        *re.findall(r'reasons\["(\w+)"\] =', source),
    }

    assert {"kafka", "loop", "starting"} < reasons
    without = {case.text for case in OBSTACLES if case.runbook is None} | (reasons - RUNBOOK.keys())
    assert without == WITHOUT_RUNBOOK.keys()


def test_every_entry_of_the_runbook_that_the_page_names_is_there() -> None:
    """The page links to its heading."""
    folder = ROOT / "connector" / "telemetry" / "page"
    named = {
        entry
        for name in ("words.py", "page.html")
        for entry in re.findall(r"\bPartnerBridge\w+", (folder / name).read_text())
    }
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)

    assert {*RUNBOOK.values(), *(case.runbook for case in OBSTACLES if case.runbook)} <= named
    assert set() == named - set(headings)


def test_targets_that_are_all_down_are_said_once(running: Health) -> None:
    """They are the reason."""
    running.targets_down({"default": "for 3 s nothing was accepted"})
    running.report("eventbridge", "for 3 s nothing was accepted")

    assert "Not ready: for 3 s nothing was accepted." == sentence(situation(running)).text


def test_a_target_that_is_down_says_why_all_else_fails(running: Health) -> None:
    """Its lookups, and what it is sent again."""
    running.targets_down({"eu": "for 3 s no"})
    running.first_lookups("eu", 2)
    running.lookups("eu", "no lookup has succeeded")
    running.sent_again("7 of 9 failed")

    assert [each.text for each in sentence(situation(running)).obstacles] == [
        "target eu takes nothing: for 3 s no"
    ]


def test_a_loop_that_stands_still_is_said_long_before_it_counts_as_dead(clock: FakeClock) -> None:
    """All figures are as old, and none of them says so."""
    health = Health(clock_s=clock)
    health.assigned(1)
    clock.now_s += 5
    assert "loop" not in sentence(situation(health)).text
    clock.now_s += 1
    said = "the poll loop has not come round for 6.0 s, and nothing here is newer"

    assert f"Delivering 4,210 events a minute to 3 targets; {said}." == sentence(situation(health)).text
    assert said == health.ready()[1]["loop"]
    clock.now_s += 60
    assert sentence(situation(health, is_delivering=True)).text.startswith(
        "Not ready: the poll loop has not come round for 66.0 s"
    )
    assert 1 == sentence(situation(health)).text.count("loop")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0304, "30 ms"),
        (1, "1 second"),
        (59.4, "59 seconds"),
        (60, "1 minute"),
        (722, "12 minutes"),
        (5400, "90 minutes"),
        (7300, "2 hours"),
        (172_800, "2 days"),
    ],
)
def test_durations_are_words(seconds: float, words: str) -> None:
    assert words == duration(seconds)
