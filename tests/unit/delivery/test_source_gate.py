"""Sources that are not ACTIVE, targets that are down, and everybody else, who must not notice."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from connector import config
from connector.bridge import POLL_RECORDS
from connector.delivery import queue
from connector.errors import NotAuthorizedError, RefusedError, UnavailableError
from connector.model import Answer, Delivered, Entry, Outcome, Retriable, SourceState, SourceStatus
from connector.telemetry.log import LOGGER
from tests.fakes import accept, outcomes
from tests.rig import P0, P1, Rig, error, number_of, record

SETTINGS = """
name: test
kafka: {bootstrap.servers: localhost:1, group.id: test}
eventbridge:
  region: eu-central-1
  max_in_flight: 4
  retry: {initial_interval: 1ms, max_interval: 4ms, max_attempts: 3}
targets:
  far: {region: us-east-1, max_in_flight: 4, retry: {initial_interval: 1ms, max_interval: 4ms}}
dead_letter: {topic: orders.dlt, max_consecutive: 10}
delivery: {max_pending_records: 200, commit_interval: 100ms, shutdown_timeout: 2s}
sources: {max_held_records: 30}
topics:
  ^orders:
    value: {format: json}
    target: "${value.target || 'default'}"
    event:
      source: "aws.partner/example.com/${value.tenant || 'acme'}"
      detail_type: "Order ${value.type}"
      metadata: null
"""
ACME, BLUE, CORP = (f"aws.partner/example.com/{name}" for name in ("acme", "blue", "corp"))
UNKNOWN_SOURCE = Retriable("source_unknown", "Event Bus Not Found.")


def written(folder: Path, *changes: tuple[str, str]) -> config.Settings:
    text = SETTINGS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / "bridge.yaml"
    file.write_text(text)
    return config.load(file, {})


@pytest.fixture
def settings(tmp_path: Path) -> config.Settings:
    """A topic of many customers, with the default for such: dead letters."""
    return written(tmp_path)


@pytest.fixture
def holding(tmp_path: Path) -> config.Settings:
    """The same, holding what is for a source that is not ACTIVE."""
    return written(tmp_path, ("    target:", "    on_inactive_source: hold\n    target:"))


def of(rig: Rig, source: str) -> list[int]:
    """What was sent to a source, in order."""
    return [number_of(entry) for entries in rig.sink.requests for entry in entries if entry.source == source]


def metric(rig: Rig, name: str, **labels: str) -> float:
    text = rig.telemetry.render()[0].decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"partner_bridge_{name}" and labels.items() <= sample.labels.items()
    )


def at(poll: int, action: Callable[[], None], rig: Rig, until: Callable[[], bool]) -> Callable[[], bool]:
    """Does something once, at a poll, on the way to a condition."""

    def condition() -> bool:
        if rig.consumer.polls == poll:
            action()
        return rig.consumer.polls > poll and until()

    return condition


def unknown(source: str) -> Callable[[Sequence[Entry]], Answer]:
    """EventBridge that does not know one source."""
    return lambda entries: outcomes(
        [UNKNOWN_SOURCE if entry.source == source else Delivered("id") for entry in entries]
    )


def test_the_first_records_of_a_source_wait_until_it_was_looked_at(settings: config.Settings) -> None:
    """Nothing is sent to where it might be dropped, not even at the very start."""
    rig = Rig(settings)
    rig.state_feed.is_blind = True
    rig.consumer.put(*(record(n) for n in range(5)))

    def seen() -> None:
        assert [] == rig.sink.requests
        assert {ACME} == rig.state_feed.followed
        rig.state_feed.is_blind = False

    rig.run(at(20, seen, rig, lambda: rig.consumer.committed.get(P0) == 5))

    assert list(range(5)) == rig.delivered_ids


@pytest.mark.parametrize("waiting", [0, 1])
def test_the_bridge_is_quick_while_events_wait_for_a_lookup(settings: config.Settings, waiting: int) -> None:
    """Then it looks for the answer every few ms. One that nobody waits for must not cost that CPU."""
    rig = Rig(settings)
    rig.state_feed.is_blind = rig.state_feed.is_looking_up = True
    rig.consumer.put(*(record(n) for n in range(waiting)))
    began_s = rig.clock.now_s
    rig.run(lambda: rig.consumer.polls == 100)

    assert (rig.clock.now_s - began_s < 2) == bool(waiting)


def test_looks_that_come_to_nothing_while_events_wait_show(settings: config.Settings) -> None:
    """A bridge that sends nothing because it cannot look must not seem well."""
    rig = Rig(settings)
    rig.state_feed.is_blind = True
    rig.state_feed.trouble = (rig.clock(), "no answer from EventBridge")
    rig.consumer.put(*(record(n) for n in range(5)))
    shown: list[str] = []

    def until() -> bool:
        if rig.consumer.polls == 20:
            rig.clock.now_s += 5
        if rig.consumer.polls == 30:
            shown.append(str(rig.health.ready()[1]["targets_down"]))
            rig.state_feed.is_blind, rig.state_feed.trouble = False, None
        return rig.consumer.committed.get(P0) == 5

    rig.run(until)

    assert "no answer from EventBridge" in shown[0]
    assert list(range(5)) == rig.delivered_ids


def test_a_start_says_how_many_sources_are_looked_up_first(
    settings: config.Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent meanwhile, and the bridge is ready all the same: it does its work."""
    caplog.set_level(logging.INFO, logger=LOGGER)
    rig = Rig(settings)
    rig.state_feed.is_blind = True
    rig.consumer.put(*(record(n, tenant=f"t{n}") for n in range(50)))
    shown: list[tuple[bool, object]] = []

    def until() -> bool:
        rig.clock.now_s += 0.05
        if rig.consumer.polls in {30, 80}:
            is_ready, details = rig.health.ready()
            shown.append((is_ready, details["first_lookups"]))
        if rig.consumer.polls == 30:
            rig.state_feed.is_blind = False
        return rig.consumer.polls > 80

    rig.run(until)

    first = {"default": "looking up 50 sources first; their events wait"}
    assert [(True, first), (True, {})] == shown
    (line,) = [line for line in caplog.records if line.msg == "first_lookups"]
    assert "looking up 50 sources first" in str(vars(line)["fields"])


def test_records_of_a_pending_source_wait_and_follow_in_order(holding: config.Settings) -> None:
    """The others go on meanwhile, and nothing is dead-lettered."""
    rig = Rig(holding)
    rig.state_feed.states[BLUE] = "PENDING"
    rig.consumer.put(*(record(n, key="k", tenant="blue" if n % 2 else "acme") for n in range(40)))

    def active() -> None:
        assert list(range(0, 40, 2)) == rig.delivered_ids
        assert 20 == metric(rig, "held_records", target="default")
        rig.state_feed.change(BLUE, "ACTIVE")

    rig.run(at(500, active, rig, lambda: rig.consumer.committed.get(P0) == 40))

    assert list(range(1, 40, 2)) == of(rig, BLUE)
    assert [] == rig.dead_letters.codes


@pytest.mark.parametrize(
    ("state", "code"),
    [("PENDING", "source_inactive"), ("MISSING", "source_unknown"), ("DELETED", "source_unknown")],
)
def test_many_customers_in_one_topic_dead_letter_by_default_and_never_halt(
    settings: config.Settings, state: SourceState, code: str
) -> None:
    """However many letters in a row: that a customer did not accept is no broken mapping."""
    rig = Rig(settings)
    rig.state_feed.states[BLUE] = state
    rig.consumer.put(*(record(n, tenant="blue") for n in range(100)), record(100))
    rig.run_to_the_end()

    assert [code] * 100 == rig.dead_letters.codes
    assert [100] == rig.delivered_ids
    failure = rig.dead_letters.letters[0][1]
    assert (BLUE, "default", state in failure.message) == (failure.source, failure.target, True)


def test_one_source_for_a_topic_holds_by_default_and_is_looked_at_before_its_first_record(
    tmp_path: Path,
) -> None:
    """It delays nobody else."""
    rig = Rig(
        written(
            tmp_path,
            ("${value.tenant || 'acme'}", "acme"),
            ("target: \"${value.target || 'default'}\"", "target: default"),
        )
    )
    rig.state_feed.states[ACME] = "PENDING"

    assert {ACME} == rig.state_feed.followed

    rig.consumer.put(*(record(n) for n in range(10)))
    rig.run(
        at(
            50,
            lambda: rig.state_feed.change(ACME, "ACTIVE"),
            rig,
            lambda: rig.consumer.committed.get(P0) == 10,
        )
    )

    assert list(range(10)) == rig.delivered_ids
    assert [] == rig.dead_letters.codes


def test_what_waits_when_a_source_becomes_pending_is_held_and_what_may_be_lost_is_told(
    holding: config.Settings,
) -> None:
    """EventBridge says nothing when it begins to drop; between two looks nobody can know."""
    rig = Rig(holding)
    rig.consumer.put(*(record(n) for n in range(10)))

    def pending() -> None:
        rig.sink.is_holding = True
        rig.state_feed.change(ACME, "PENDING")
        rig.consumer.put(*(record(n) for n in range(10, 30)))

    rig.run(at(50, pending, rig, lambda: rig.consumer.polls > 60))

    assert list(range(10)) == rig.delivered_ids
    assert 10 == metric(rig, "events_maybe_dropped_total", target="default")


@pytest.mark.parametrize("when", ["dead_letter", "pause"])
@pytest.mark.long
def test_a_held_source_that_is_full(tmp_path: Path, when: str) -> None:
    """Its further records are dead letters, or its partition waits; other partitions go on either way."""
    rig = Rig(
        written(
            tmp_path,
            ("    target:", "    on_inactive_source: hold\n    target:"),
            ("max_held_records: 30", f"max_held_records: 30, when_held_is_full: {when}"),
        )
    )
    rig.state_feed.states[BLUE] = "PENDING"
    rig.consumer.put(*(record(n, tenant="blue") for n in range(100)))
    rig.consumer.put(*(record(1000 + n, partition=P1) for n in range(100)))

    def active() -> None:
        assert 1100 == rig.consumer.committed[P1]
        assert 30 == metric(rig, "held_records", target="default")
        assert (when == "pause") == (P0 in rig.consumer.paused)
        assert P1 not in rig.consumer.paused
        rig.state_feed.change(BLUE, "ACTIVE")

    rig.run(at(1000, active, rig, lambda: rig.consumer.committed.get(P0) == 100))

    sent, dead = of(rig, BLUE), [letter.offset for letter, _ in rig.dead_letters.letters]
    assert list(range(100)) == sorted(sent + dead)
    assert (dead == []) == (when == "pause")
    assert list(range(len(sent))) == sent
    assert {"source_inactive"} >= set(rig.dead_letters.codes)


def test_held_sources_together_leave_half_of_the_room_to_the_others(holding: config.Settings) -> None:
    """Twenty customers who did not accept must not fill what one who did needs."""
    rig = Rig(holding)
    records = []
    for n in range(20):
        rig.state_feed.states[f"aws.partner/example.com/late-{n}"] = "PENDING"
        records += [record(n * 30 + i, tenant=f"late-{n}") for i in range(30)]
    rig.consumer.put(*records)
    rig.consumer.put(*(record(5000 + n, partition=P1) for n in range(300)))
    rig.run(lambda: rig.consumer.committed.get(P1) == 5300)

    assert metric(rig, "held_records", target="default") <= 50  # two targets share 200: half of a half


def test_a_refused_source_is_held_until_a_look_says_what_is_true(holding: config.Settings) -> None:
    """Deleted since the last look: what comes is held, nothing is dead-lettered, nobody else waits."""
    rig = Rig(holding, unknown(BLUE))
    rig.state_feed.states[BLUE] = "ACTIVE"
    rig.consumer.put(*(record(n, tenant="blue" if n % 2 else "acme") for n in range(40)))

    def active() -> None:
        assert set(range(0, 40, 2)) == {n for n in rig.delivered_ids if n % 2 == 0}
        rig.sink.judge = accept
        rig.state_feed.change(BLUE, "ACTIVE")

    rig.run(at(600, active, rig, lambda: rig.consumer.committed.get(P0) == 40))

    assert [] == rig.dead_letters.codes
    assert set(range(1, 40, 2)) <= set(of(rig, BLUE))


@pytest.mark.long
def test_a_refused_source_that_cannot_be_looked_at_is_tried_now_and_then(holding: config.Settings) -> None:
    """Without permission to look, what EventBridge answers is all there is to go by."""
    rig = Rig(holding, unknown(BLUE))
    rig.state_feed.states[BLUE] = "UNKNOWN"
    rig.consumer.put(record(0, tenant="blue"), record(1))

    def comes() -> None:
        assert 1 < len(of(rig, BLUE)) < 20
        rig.sink.judge = accept

    rig.run(at(2_000, comes, rig, lambda: rig.consumer.committed.get(P0) == 2), max_polls=20_000)

    assert [] == rig.dead_letters.codes


DENIED = SourceStatus("UNKNOWN", reason="AccessDeniedException", is_denied=True)
NO_ANSWER = SourceStatus("UNKNOWN", reason="no lookup of it was answered in time")


@pytest.mark.parametrize("news", [DENIED, NO_ANSWER], ids=["denied", "no answer"])
@pytest.mark.parametrize("state", ["PENDING", "MISSING", "DELETED", "OTHER"])
@pytest.mark.long
def test_no_failed_lookup_opens_a_source_that_was_seen_closed(
    holding: config.Settings, state: SourceState, news: SourceStatus
) -> None:
    """Whatever keeps the bridge from looking: only a lookup that says ACTIVE opens it."""
    rig = Rig(holding)
    rig.state_feed.states[BLUE] = state
    rig.consumer.put(*(record(n, tenant="blue" if n % 2 else "acme") for n in range(40)))

    def until() -> bool:
        if rig.consumer.polls in {100, 200, 300}:
            rig.state_feed.say(BLUE, news)
        if rig.consumer.polls == 400:
            assert [] == of(rig, BLUE)
            assert 1 == metric(rig, "source_state", source=BLUE, state=state)
            rig.state_feed.change(BLUE, "ACTIVE")
        return rig.consumer.polls > 400 and rig.consumer.committed.get(P0) == 40

    rig.run(until)

    assert list(range(1, 40, 2)) == of(rig, BLUE)
    assert 0 == metric(rig, "events_maybe_dropped_total")


def test_a_source_that_was_forgotten_while_closed_is_not_opened_by_a_failed_lookup(
    holding: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of customers later nobody remembers its queue; that it was closed is remembered."""
    monkeypatch.setattr(queue, "MAX_SOURCES", 10)
    rig = Rig(holding)
    rig.state_feed.states[BLUE] = "PENDING"
    rig.bridge._senders["default"].expect(BLUE, "hold")

    def until() -> bool:
        if rig.consumer.polls == 50:
            rig.consumer.put(*(record(n, tenant=f"other-{n}") for n in range(40)))
        if rig.consumer.polls == 300:
            assert BLUE not in rig.state_feed.followed
            rig.state_feed.is_blind = True
            rig.consumer.put(record(40, tenant="blue"))
        if rig.consumer.polls == 350:
            rig.state_feed.say(BLUE, DENIED)
        return rig.consumer.polls > 450

    rig.run(until)

    assert [] == of(rig, BLUE)


def test_what_was_seen_closed_is_known_after_it_was_forgotten_twice(
    holding: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it was not looked up between."""
    monkeypatch.setattr(queue, "MAX_SOURCES", 2)
    rig = Rig(holding)
    sender = rig.bridge._senders["default"]
    rig.state_feed.states[BLUE] = "PENDING"
    sender.expect(BLUE, "hold")
    sender.step(1.0)
    rig.state_feed.is_blind = True
    for n in range(2):
        for other in range(6):
            sender.expect(f"aws.partner/example.com/{n}-{other}", "hold")
        assert BLUE not in rig.state_feed.followed
        sender.expect(BLUE, "hold")
    rig.state_feed.say(BLUE, DENIED)
    sender.step(2.0)

    assert "PENDING" == sender.source_gate.seen(BLUE).state


def test_after_a_refusal_only_a_lookup_that_begins_then_counts(settings: config.Settings) -> None:
    """One that was in flight may show what was true before."""
    rig = Rig(settings)
    rig.sink.judge = lambda entries: outcomes([UNKNOWN_SOURCE] * len(entries))
    rig.consumer.put(record(0, tenant="blue"))
    rig.run(lambda: bool(rig.sink.requests) and rig.consumer.polls > 50)

    assert BLUE in rig.state_feed.asked_anew


def test_what_is_known_of_a_source_is_as_old_as_the_beginning_of_its_lookup(
    holding: config.Settings,
) -> None:
    """It speaks of that moment, however late it is answered: after an outage another comes first."""
    rig = Rig(holding)
    rig.state_feed.max_age_s = 10.0
    source_gate = rig.bridge._senders["default"].source_gate
    rig.bridge._senders["default"].expect(BLUE, "hold")
    rig.state_feed.began_s = 100.0
    source_gate.step(109.0)
    source_gate.step(109.5, is_down=True)
    assert not source_gate.is_awaited

    source_gate.step(110.5, is_down=True)
    assert source_gate.is_awaited


def test_a_state_that_aws_adds_later_is_closed_and_named(settings: config.Settings) -> None:
    """Nobody knows what becomes of events for such a source, so none is sent to find out."""
    rig = Rig(settings)
    rig.state_feed.is_blind = True
    rig.consumer.put(record(0, tenant="blue"), record(1))

    def until() -> bool:
        if rig.consumer.polls == 50:
            rig.state_feed.say(BLUE, SourceStatus("OTHER", reason="EventBridge calls it SLEEPING"))
            rig.state_feed.is_blind = False
            rig.state_feed.change(ACME, "ACTIVE")
            rig.state_feed.states[BLUE] = "OTHER"
        return rig.consumer.committed.get(P0) == 2

    rig.run(until)

    assert [1] == rig.delivered_ids
    assert ["source_inactive"] == rig.dead_letters.codes
    assert "EventBridge calls it SLEEPING" in rig.dead_letters.letters[0][1].message


@pytest.mark.parametrize("policy", ["hold", "dead_letter"])
def test_a_source_that_eventbridge_refuses_is_closed_though_it_cannot_be_looked_up(
    settings: config.Settings, holding: config.Settings, policy: str
) -> None:
    """It was ACTIVE when it was last seen. No failed lookup sends anything to it again."""
    rig = Rig(holding if policy == "hold" else settings)
    rig.consumer.put(record(0, tenant="blue"))

    def until() -> bool:
        if rig.consumer.polls == 50:
            rig.state_feed.is_blind = True
            rig.sink.judge = unknown(BLUE)
            rig.consumer.put(*(record(n, tenant="blue") for n in range(1, 10)))
        if rig.consumer.polls == 100:
            rig.state_feed.say(BLUE, DENIED)
        if rig.consumer.polls == 150:
            rig.state_feed.say(BLUE, NO_ANSWER)
        if rig.consumer.polls == 200:
            rig.sink.judge = accept
            assert 1 == metric(rig, "source_state", source=BLUE, state="MISSING")
        if rig.consumer.polls == 600:
            rig.state_feed.is_blind = False
            rig.state_feed.change(BLUE, "ACTIVE")
        return rig.consumer.polls > 700

    rig.run(until)

    dead = set(rig.dead_letters.codes)
    assert (set() if policy == "hold" else {"source_unknown"}) == dead
    again = [n for entries in rig.sink.requests[2:] for entry in entries if (n := number_of(entry))]
    assert (9 if policy == "hold" else 0) == len(again)


def test_what_was_sent_unseen_counts_as_maybe_dropped(holding: config.Settings) -> None:
    """Without a lookup nobody knew; the first one that comes says that it may all be lost."""
    rig = Rig(holding)
    rig.state_feed.is_blind = True
    rig.consumer.put(*(record(n) for n in range(10)))

    def until() -> bool:
        if rig.consumer.polls == 50:
            rig.state_feed.say(ACME, NO_ANSWER)
        if rig.consumer.polls == 150:
            assert list(range(10)) == rig.delivered_ids
            rig.state_feed.say(ACME, SourceStatus("PENDING"))
        return rig.consumer.polls > 200

    rig.run(until)

    assert 10 == metric(rig, "events_maybe_dropped_total", target="default")


class Outage:
    """A bridge that delivered to acme and blue, and whose target and lookups went away together."""

    def __init__(self, settings: config.Settings) -> None:
        self.rig = rig = Rig(settings)
        rig.state_feed.max_age_s = 5.0
        rig.consumer.put(record(0), record(1, tenant="blue"))
        self.steps: dict[int, Callable[[], None]] = {50: self._begin, 300: self._end}

    def _begin(self) -> None:
        assert {0, 1} == set(self.rig.delivered_ids)
        self.rig.state_feed.is_blind = True
        self.rig.sink.judge = lambda _: error(UnavailableError("down"))
        self.rig.consumer.put(*(record(n, tenant="blue" if n % 2 else "acme") for n in range(2, 40)))

    def _end(self) -> None:
        self.rig.clock.now_s += 10
        self.rig.sink.judge = self.back

    def back(self, entries: Sequence[Entry]) -> Answer:
        self.accepted = [*self.accepted, *map(number_of, entries)]
        return accept(entries) if entries else error(RefusedError("request_refused", "no entries"))

    accepted: Sequence[int] = ()

    def run(self, steps: dict[int, Callable[[], None]], *, polls: int) -> None:
        self.steps |= steps

        def until() -> bool:
            self.steps.get(self.rig.consumer.polls, lambda: None)()
            return self.rig.consumer.polls > polls

        self.rig.run(until)

    def waits(self) -> None:
        """The target takes events again, and gets none."""
        assert [] == [*self.accepted]
        assert 0 == metric(self.rig, "target_state", target="default")
        assert {ACME, BLUE} <= set(self.rig.state_feed.asked)


def test_after_an_outage_of_both_planes_nothing_is_sent_before_it_was_looked_up_again(
    holding: config.Settings,
) -> None:
    """A customer may have left meanwhile. The target is tried without an event; lookups come first."""
    outage = Outage(holding)
    state_feed = outage.rig.state_feed

    def answered() -> None:
        outage.waits()
        state_feed.states[BLUE] = "PENDING"
        state_feed.is_blind = False

    outage.run({800: answered}, polls=900)

    assert list(range(2, 40, 2)) == [*outage.accepted]
    assert 19 == metric(outage.rig, "held_records", target="default")


def test_after_an_outage_lookups_that_stay_away_hold_up_nothing_for_ever(holding: config.Settings) -> None:
    """The target answers again, and the source was ACTIVE when it was last seen: it goes on, in time."""
    outage = Outage(holding)
    state_feed = outage.rig.state_feed

    def overdue() -> None:
        outage.waits()
        assert 0 < state_feed.postponed
        state_feed.say(ACME, DENIED)
        state_feed.say(BLUE, NO_ANSWER)

    outage.run({800: overdue}, polls=900)

    assert list(range(3, 40, 2)) == [*outage.accepted]


def test_a_short_outage_makes_nobody_wait_for_lookups(holding: config.Settings) -> None:
    """What is known is no older than it may be without an outage."""
    outage = Outage(holding)
    outage.rig.state_feed.max_age_s = 60.0
    outage.run({}, polls=900)

    assert set(range(2, 40)) == set(outage.accepted)


def test_a_source_that_alone_is_throttled_rests_and_does_not_slow_the_target(
    settings: config.Settings,
) -> None:
    """One customer's throttle is not everybody's: the rate of the target stays as it is."""

    def judge(entries: Sequence[Entry]) -> Answer:
        slow = Retriable("ThrottlingException", "slow", throttled=True)
        results: list[Outcome] = [slow if entry.source == BLUE else Delivered("id") for entry in entries]
        return outcomes(results)

    rig = Rig(settings, judge)
    rig.consumer.put(*(record(n, tenant="blue") for n in range(20)))
    rig.consumer.put(*(record(5000 + n, partition=P1) for n in range(2_000)))

    def recover() -> None:
        assert 7000 == rig.consumer.committed[P1]
        assert None is rig.bridge._senders["default"]._rate_control.rate
        rig.sink.judge = accept

    rig.run(at(1_500, recover, rig, lambda: rig.consumer.committed.get(P0) == 20))

    assert [] == rig.dead_letters.codes


# Targets


def test_a_dead_target_stops_only_its_own_records(settings: config.Settings) -> None:
    """Within its share nothing waits for it; past it, only the partitions that have more for it do."""
    rig = Rig(settings)
    rig.sink.silent.add("far")
    rig.consumer.put(*(record(n, target="far") for n in range(60)))
    rig.consumer.put(
        *(record(5000 + n, partition=P1, target="far" if n % 10 == 0 else "default") for n in range(300))
    )

    def delivered(count: int) -> bool:
        return count == len([n for n in rig.delivered_ids if n >= 5000 and n % 10])

    def more() -> None:
        assert delivered(270)
        assert set() == rig.consumer.paused
        rig.consumer.put(*(record(60 + n, target="far") for n in range(300)))
        rig.consumer.put(*(record(5300 + n, partition=P1, target="default") for n in range(500)))

    rig.run(at(300, more, rig, lambda: delivered(720)))

    assert {P0} == rig.consumer.paused
    assert [] == rig.dead_letters.codes
    assert rig.bridge._ledger.pending_records <= 200 + 2 * POLL_RECORDS


def test_a_dead_target_never_fills_the_share_of_the_others(settings: config.Settings) -> None:
    """A partition without its records is read on, for as long as the outage lasts."""
    rig = Rig(settings)
    rig.sink.silent.add("far")
    rig.consumer.put(*(record(n, target="far") for n in range(1_000)))
    rig.consumer.put(*(record(5000 + n, partition=P1) for n in range(1_000)))
    rig.run(lambda: rig.consumer.committed.get(P1) == 6_000)

    assert [] == rig.dead_letters.codes


def test_a_target_that_a_template_made_up_is_a_dead_letter(settings: config.Settings) -> None:
    """It names the targets there are, and not what the record said."""
    rig = Rig(settings)
    rig.consumer.put(record(0, target="mars"), record(1))
    rig.run_to_the_end()

    assert ["target_unknown"] == rig.dead_letters.codes
    message = rig.dead_letters.letters[0][1].message
    assert "default, far" in message
    assert "mars" not in message


def test_one_target_that_refuses_us_is_down_alone_and_all_together_halt(settings: config.Settings) -> None:
    """A role that is wrong in one Region must not stop the customers of the other."""
    rig = Rig(settings)
    refusals = {"far"}

    def judge(entries: Sequence[Entry]) -> Answer:
        refused = entries and entries[0].target in refusals
        return error(NotAuthorizedError("AccessDeniedException")) if refused else accept(entries)

    rig.sink.judge = judge
    rig.consumer.put(record(0, target="far"), record(1, target="far"))
    rig.consumer.put(*(record(5000 + n, partition=P1) for n in range(100)))

    def all_refuse() -> None:
        assert 5100 == rig.consumer.committed[P1]
        refusals.add("default")
        rig.consumer.put(record(5100, partition=P1))

    with pytest.raises(NotAuthorizedError):
        rig.run(at(500, all_refuse, rig, lambda: False))

    assert [] == rig.dead_letters.codes


# Stopping


def test_a_stop_does_not_wait_for_what_is_held(holding: config.Settings) -> None:
    """It is left to the next reader, and so is the commit: the lowest offset that is not settled."""
    rig = Rig(holding)
    rig.state_feed.states[BLUE] = "PENDING"
    rig.consumer.put(*(record(n, tenant="blue" if n == 3 else "acme") for n in range(20)))
    rig.run(lambda: len(rig.delivered_ids) == 19)
    began_s = rig.clock.now_s

    assert {P0: 3} == rig.consumer.committed
    assert rig.clock.now_s - began_s < 1


@hypothesis_settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    policy=st.sampled_from(["hold", "dead_letter"]),
    when_full=st.sampled_from(["pause", "dead_letter"]),
)
@pytest.mark.long
def test_whatever_becomes_of_sources_nothing_is_sent_into_the_void(
    tmp_path_factory: pytest.TempPathFactory, seed: int, policy: str, when_full: str
) -> None:
    """Under random changes of state every record is delivered or dead-lettered, each key in its order, and
    no event leaves for a source that is PENDING."""
    draw = random.Random(seed)
    rig = Rig(
        written(
            tmp_path_factory.mktemp("settings"),
            ("    target:", f"    on_inactive_source: {policy}\n    target:"),
            ("max_held_records: 30", f"max_held_records: 10, when_held_is_full: {when_full}"),
        )
    )
    tenants = ["acme", "blue", "corp"]
    sent_to_pending: list[str] = []
    delivered: list[int] = []

    def judge(entries: Sequence[Entry]) -> Answer:
        results: list[Outcome] = []
        for entry in entries:
            state = rig.state_feed.states.get(entry.source, "ACTIVE")
            if state == "PENDING":
                sent_to_pending.append(entry.source)
            if state in {"MISSING", "DELETED"}:
                results.append(UNKNOWN_SOURCE)
            else:
                results.append(Delivered("id"))
                delivered.append(number_of(entry))
        return outcomes(results)

    rig.sink.judge = judge
    tenant_of = [draw.choice(tenants) for _ in range(150)]
    records = [record(n, key=tenant, tenant=tenant) for n, tenant in enumerate(tenant_of)]
    rig.consumer.put(*records[:75])

    def until() -> bool:
        polls = rig.consumer.polls
        if polls < 300 and polls % 20 == 0:
            source = f"aws.partner/example.com/{draw.choice(tenants)}"
            states: list[SourceState] = ["ACTIVE", "PENDING", "DELETED", "MISSING"]
            rig.state_feed.change(source, draw.choice(states))
            if polls == 140:
                rig.consumer.put(*records[75:])
        if polls == 300:
            for tenant in tenants:
                rig.state_feed.change(f"aws.partner/example.com/{tenant}", "ACTIVE")
        return rig.consumer.committed.get(P0) == 150

    rig.run(until)

    dead = [letter.offset for letter, _ in rig.dead_letters.letters]
    assert [] == sent_to_pending
    assert list(range(150)) == sorted(delivered + dead)
    assert {"source_inactive", "source_unknown"} >= set(rig.dead_letters.codes)
    for tenant in tenants:
        own = [n for n in delivered if tenant_of[n] == tenant]
        assert own == sorted(own)
    assert (0, 0) == (rig.bridge._ledger.pending_records, rig.bridge._senders["default"].held)
