"""The looks at sources: one at a time, within limits, and what happens when there is no answer."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from connector import config
from connector.errors import ConnectorError, NotAuthorizedError, ThrottledError, UnavailableError
from connector.source_watch import SourceWatch
from connector.sources import Sighting
from connector.telemetry import LOGGER, Telemetry
from tests.fakes import FakeClock

ACTIVE = Sighting("ACTIVE")


class FakeApi:
    """A control plane that answers from a table, or fails."""

    def __init__(self) -> None:
        self.states: dict[str, Sighting] = {}
        self.error: Exception | None = None
        self.looked: list[str] = []
        self.created: list[tuple[str, str]] = []

    def look(self, name: str) -> Sighting:
        self.looked.append(name)
        if self.error is not None:
            raise self.error
        return self.states.get(name, ACTIVE)

    def create(self, name: str, account: str) -> None:
        self.created.append((name, account))
        self.states[name] = Sighting("PENDING", account=account)


class Rig:
    """A watch whose steps the test makes itself, on a clock of its own."""

    def __init__(self, accounts: Callable[[], dict[str, str]] = dict, **settings: float) -> None:
        self.clock = FakeClock()
        self.api = FakeApi()
        self.watch = SourceWatch(
            "default",
            config.Sources(**settings),  # type: ignore[arg-type]
            api=self.api,
            telemetry=Telemetry(),
            accounts=accounts,
            clock_s=self.clock,
        )
        self._followed: set[str] = set()

    def follow(self, *names: str) -> None:
        for name in names:
            self.watch.follow(name)

    def run(self, seconds: float) -> list[tuple[str, Sighting]]:
        """Let so much time pass; what was seen in it."""
        end_s = self.clock.now_s + seconds
        while self.clock.now_s < end_s:
            while not self.watch._asked.empty():
                kind, name = self.watch._asked.get()
                assert kind == "follow"
                self.watch._schedule.follow(name, self.clock.now_s)
            self.watch.step()
            self.clock.now_s += 0.01
        return self.watch.news()


def test_each_source_is_looked_at_and_again_after_the_interval() -> None:
    rig = Rig(refresh_interval=60.0)
    rig.follow("a", "b")

    assert [("a", ACTIVE), ("b", ACTIVE)] == rig.run(59)
    assert [("a", ACTIVE), ("b", ACTIVE)] == rig.run(2)


def test_no_more_looks_than_allowed() -> None:
    """The control plane is shared with everything else in the account."""
    rig = Rig(lookups_per_second=5.0)
    rig.follow(*map(str, range(1000)))
    rig.run(10)

    assert 45 <= len(rig.api.looked) <= 52


def test_throttled_looks_slow_down_and_lose_nobody() -> None:
    rig = Rig(refresh_interval=60.0)
    rig.follow("a", "b")
    rig.api.error = ThrottledError("Rate exceeded")
    assert [] == rig.run(10)
    assert len(rig.api.looked) < 40

    rig.api.error = None
    assert {("a", ACTIVE), ("b", ACTIVE)} <= set(rig.run(50))


def test_without_permission_sources_are_unknown_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Their records are sent; a line for each source would drown the one that matters."""
    caplog.set_level(logging.WARNING, logger=LOGGER)
    rig = Rig()
    rig.api.error = NotAuthorizedError("may not")
    rig.follow("a", "b")

    assert [("a", "UNKNOWN"), ("b", "UNKNOWN")] == [(name, seen.state) for name, seen in rig.run(5)]
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert 1 == len(lines)


def test_while_no_look_is_answered_a_new_source_waits_so_long_and_no_longer() -> None:
    """A control plane that is down must not hold up events for ever; what was seen before stays."""
    rig = Rig(first_look_timeout=30.0, refresh_interval=60.0)
    rig.follow("old")
    rig.run(1)
    rig.api.error = UnavailableError("no answer")
    assert rig.watch.trouble is None
    rig.follow("new")

    assert [] == rig.run(28)
    assert rig.watch.trouble is not None
    assert "no answer" == rig.watch.trouble[1]
    assert [("new", "UNKNOWN")] == [(name, seen.state) for name, seen in rig.run(60)]

    rig.api.error = None
    assert {"new", "old"} == {name for name, seen in rig.run(120) if seen.state == "ACTIVE"}
    assert rig.watch.trouble is None


def test_a_listed_source_that_is_missing_is_created() -> None:
    """Only one that is listed, and for the account that the list says."""
    rig = Rig(accounts=lambda: {"listed": "111122223333"})
    rig.api.states = {"listed": Sighting("MISSING"), "other": Sighting("MISSING")}
    rig.follow("listed", "other")

    assert [("listed", "PENDING"), ("other", "MISSING")] == [(n, seen.state) for n, seen in rig.run(5)]
    assert [("listed", "111122223333")] == rig.api.created


def test_a_bug_in_looking_does_not_hold_up_events() -> None:
    """The thread lives on, and calls everything unknown."""
    rig = Rig()
    rig.api.error = ValueError("a bug")
    rig.watch.start()
    rig.follow("a")
    rig.watch._thread.join(0.2)
    rig.follow("b")
    seen: dict[str, str] = {}
    for _ in range(500):
        seen |= {name: sighting.state for name, sighting in rig.watch.news()}
        if len(seen) == 2:
            break
        rig.watch._thread.join(0.01)
    rig.watch.stop()

    assert {"a": "UNKNOWN", "b": "UNKNOWN"} == seen
    assert not isinstance(rig.api.error, ConnectorError)
