"""The lookups of sources: whose turn it is, a few at a time, and what happens when there is no answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector import config
from connector.delivery.source_gate import UNANSWERED
from connector.errors import NotAuthorizedError, ThrottledError, UnavailableError
from connector.model import SourceStatus
from connector.sources.api import SourceError
from connector.sources.poller import PollSchedule, StatePoller
from connector.telemetry.log import LOGGER
from connector.telemetry.metrics import Telemetry
from tests.fakes import FakeClock

ACTIVE = SourceStatus("ACTIVE")


class FakeApi:
    """A control plane that answers from a table, or fails."""

    def __init__(self) -> None:
        self.states: dict[str, SourceStatus] = {}
        self.error: Exception | None = None
        self.errors: dict[str, Exception] = {}
        """Of single sources."""
        self.looked: list[str] = []
        self.created: list[tuple[str, str]] = []

    async def look_up(self, name: str) -> SourceStatus:
        self.looked.append(name)
        if error := self.error or self.errors.get(name):
            raise error
        return self.states.get(name, ACTIVE)

    async def create(self, name: str, account: str) -> None:
        self.created.append((name, account))
        self.states[name] = SourceStatus("PENDING", account=account)


def at_once(work: Coroutine[Any, Any, None]) -> None:
    """Runs what waits for nothing."""
    with pytest.raises(StopIteration):
        work.send(None)


class Rig:
    """A watch whose steps the test makes itself, on a clock of its own."""

    def __init__(self, accounts: Callable[[], dict[str, str]] = dict, **settings: float) -> None:
        self.clock = FakeClock()
        self.api = FakeApi()
        self.state_feed = StatePoller(
            "default",
            config.Sources(**settings),  # type: ignore[arg-type]
            api=self.api,
            start=at_once,
            telemetry=Telemetry(),
            accounts=accounts,
            clock_s=self.clock,
        )

    def follow(self, *names: str) -> None:
        for name in names:
            self.state_feed.follow(name)

    def run(self, seconds: float, *, is_down: bool = False) -> list[tuple[str, SourceStatus]]:
        """Let so much time pass; what was seen in it."""
        end_s = self.clock.now_s + seconds
        news = []
        while self.clock.now_s < end_s:
            if is_down:
                self.state_feed.postpone(self.clock.now_s)
            news += [(name, seen) for name, seen, _ in self.state_feed.step(self.clock.now_s)]
            self.clock.now_s += 0.01
        return news


def states(news: list[tuple[str, SourceStatus]]) -> list[tuple[str, str]]:
    return [(name, seen.state) for name, seen in news]


def test_each_source_is_looked_up_and_again_after_the_interval() -> None:
    rig = Rig(refresh_interval=60.0)
    rig.follow("a", "b")

    assert [("a", ACTIVE), ("b", ACTIVE)] == rig.run(59)
    assert [("a", ACTIVE), ("b", ACTIVE)] == rig.run(2)


def test_no_more_lookups_than_allowed() -> None:
    """The control plane is shared with everything else in the account: past the burst the rate holds."""
    rig = Rig(lookups_per_second=5.0)
    rig.follow(*map(str, range(1000)))
    rig.run(10)

    assert 70 <= len(rig.api.looked) <= 77


def test_fifty_sources_are_looked_up_burstat_a_start() -> None:
    """No event waits for seconds, and no more calls than EventBridge allows in a second come at once."""
    for per_second, burst in ((10.0, 50), (1.0, 5), (50.0, 50)):
        rig = Rig(lookups_per_second=per_second)
        rig.follow(*map(str, range(200)))
        rig.run(0.001)

        assert burst == len(rig.api.looked)


def test_a_burst_is_made_up_for_by_lookups_that_no_event_waits_for() -> None:
    """They come evenly, however many are due at once; and over a minute the rate holds, burst included."""
    rig = Rig(refresh_interval=10.0, lookups_per_second=10.0)
    rig.follow(*map(str, range(50)))
    rig.run(10)
    assert 50 == len(rig.api.looked)

    rig.run(1)
    assert 60 <= len(rig.api.looked) <= 63
    rig.run(49)
    assert 250 <= len(rig.api.looked) <= 310
    rig.follow(*map(str, range(1000, 1030)))  # the burst is there again for the next ones
    rig.run(0.001)
    assert {*map(str, range(1000, 1030))} <= {*rig.api.looked}


def test_a_throttle_ends_the_burst() -> None:
    """What is throttled once is not tried fifty times."""
    rig = Rig()
    rig.api.error = ThrottledError("Rate exceeded")
    rig.follow(*map(str, range(50)))
    rig.run(0.05)
    assert 1 == len(rig.api.looked)

    rig.api.error = None
    rig.run(1.0)
    assert len(rig.api.looked) <= 12


def test_throttled_lookups_slow_down_and_lose_nobody() -> None:
    rig = Rig(refresh_interval=60.0)
    rig.follow("a", "b")
    rig.api.error = ThrottledError("Rate exceeded")
    assert [] == rig.run(10)
    assert len(rig.api.looked) < 40

    rig.api.error = None
    assert {("a", ACTIVE), ("b", ACTIVE)} <= set(rig.run(50))


def test_without_permission_it_is_said_of_each_source_and_once_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What follows depends on what is known; a line for each source would drown the one that matters."""
    caplog.set_level(logging.WARNING, logger=LOGGER)
    rig = Rig()
    rig.api.error = NotAuthorizedError("may not")
    rig.follow("a", "b")

    news = rig.run(5)
    assert [("a", "UNKNOWN"), ("b", "UNKNOWN")] == states(news)
    assert all(seen.is_denied and seen.reason == "may not" for _, seen in news)
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert 1 == len(lines)


def test_while_no_lookup_is_answered_a_new_source_waits_so_long_and_no_longer() -> None:
    """A control plane that is down must not hold up events for ever."""
    rig = Rig(first_lookup_timeout=30.0, refresh_interval=60.0)
    rig.follow("old")
    rig.run(1)
    rig.api.error = UnavailableError("no answer")
    assert rig.state_feed.trouble is None
    rig.follow("new")

    assert [] == rig.run(28)
    assert rig.state_feed.trouble is not None
    assert "no answer" == rig.state_feed.trouble[1]
    (told,) = rig.run(60)
    assert ("new", "UNKNOWN", False) == (told[0], told[1].state, told[1].is_denied)

    rig.api.error = None
    assert {"new", "old"} == {name for name, seen in rig.run(120) if seen.state == "ACTIVE"}
    assert rig.state_feed.trouble is None


def test_a_lookup_in_flight_is_unanswered_since_it_began_or_another_was_answered() -> None:
    """Silence shows long before the time for an answer is over; one slow lookup among quick ones does not."""
    rig = Rig()
    lookups: list[Coroutine[Any, Any, None]] = []
    rig.state_feed._start = lookups.append
    rig.follow("slow", "quick")
    began_s = rig.clock.now_s
    rig.run(5)
    assert (began_s, UNANSWERED) == rig.state_feed.trouble

    answered_s = rig.clock.now_s
    at_once(lookups.pop())
    rig.run(5)
    assert (answered_s, UNANSWERED) == rig.state_feed.trouble

    at_once(lookups.pop())
    assert rig.state_feed.trouble is None


def test_patience_with_lookups_does_not_end_while_the_target_is_down() -> None:
    """Nothing can be sent then: waiting costs nothing, and both planes tend to come back together."""
    rig = Rig(first_lookup_timeout=30.0)
    rig.api.error = UnavailableError("no answer")
    rig.follow("a")

    assert [] == rig.run(120, is_down=True)
    assert [] == rig.run(29)
    assert [("a", "UNKNOWN")] == states(rig.run(10))


def test_lookups_go_on_soon_after_an_outage() -> None:
    """Events may wait for them: the pauses between two tries do not grow to minutes."""
    rig = Rig(refresh_interval=3600.0)
    rig.api.error = UnavailableError("no answer")
    rig.follow("a")
    rig.run(600, is_down=True)
    rig.api.error = None

    assert [("a", ACTIVE)] == rig.run(6)


@pytest.mark.parametrize(
    "error", [UnavailableError("InternalException"), SourceError("refused", code="NewException")]
)
def test_one_source_whose_lookups_fail_alone_neither_waits_for_ever_nor_stops_the_others(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Others are answered all the time, so it is not the control plane that is down; nor is the log full."""
    caplog.set_level(logging.INFO, logger=LOGGER)
    rig = Rig(first_lookup_timeout=30.0, refresh_interval=5.0)
    rig.api.errors["odd"] = error
    rig.follow("odd", *map(str, range(20)))

    news = rig.run(29)
    assert 60 <= len(news)
    assert "odd" not in dict(news)
    assert [("odd", "UNKNOWN")] == [each for each in states(rig.run(10)) if each[0] == "odd"]
    assert rig.api.looked.count("odd") < 25
    assert 2 >= len(caplog.records)


def test_a_source_that_is_waited_for_comes_before_those_that_are_not() -> None:
    """A thousand sources are due again; the one whose events wait is looked up first."""
    rig = Rig(refresh_interval=60.0, lookups_per_second=50.0)
    rig.follow(*map(str, range(1000)))
    rig.run(25)
    rig.clock.now_s += 60
    rig.api.looked.clear()
    rig.follow("700", "new")
    rig.run(0.2)

    assert ["700", "new"] == rig.api.looked[:2]


def test_a_listed_source_that_is_missing_is_created() -> None:
    """Only one that is listed, and for the account that the list says."""
    rig = Rig(accounts=lambda: {"listed": "111122223333"})
    rig.api.states = {"listed": SourceStatus("MISSING"), "other": SourceStatus("MISSING")}
    rig.follow("listed", "other")

    assert [("listed", "PENDING"), ("other", "MISSING")] == states(rig.run(5))
    assert [("listed", "111122223333")] == rig.api.created


class SlowApi(FakeApi):
    """One that answers a lookup when it is told to, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[asyncio.Future[SourceStatus]] = []

    async def look_up(self, name: str) -> SourceStatus:
        self.looked.append(name)
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]


class SlowRig(Rig):
    """A watch with such a control plane, on a loop that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.api: SlowApi = SlowApi()
        self.tasks: list[asyncio.Task[None]] = []
        self.state_feed = StatePoller(
            "default",
            config.Sources(),
            api=self.api,
            start=lambda work: self.tasks.append(asyncio.ensure_future(work)),
            telemetry=Telemetry(),
            clock_s=self.clock,
        )

    async def step(self, seconds: float) -> list[tuple[str, SourceStatus, float]]:
        """Let so much time pass, with a step at its end, and the loop do what it has."""
        self.clock.now_s += seconds
        news = self.state_feed.step(self.clock.now_s)
        for _ in range(5):
            await asyncio.sleep(0)
        return news


def test_there_is_never_a_second_lookup_of_a_source_beside_the_first() -> None:
    """A slow one would arrive after it, with what was true before."""

    async def run() -> None:
        rig = SlowRig()
        rig.follow("a")
        await rig.step(0)
        assert 1 == len(rig.api.answers)
        for _ in range(100):
            rig.follow("a")
            await rig.step(1)
        assert 1 == len(rig.api.answers)

        began_s = 0.0 + rig.clock.now_s - 100
        rig.api.answers[0].set_result(ACTIVE)
        await rig.step(0)
        assert [("a", ACTIVE, began_s)] == await rig.step(0)

    asyncio.run(run())


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_what_a_lookup_found_that_began_before_a_refusal_does_not_count(is_forgotten: bool) -> None:
    """Nor what one found of a source that was forgotten and met again since. The next follows at once."""

    async def run() -> None:
        rig = SlowRig()
        rig.follow("a")
        await rig.step(0)
        if is_forgotten:
            rig.state_feed.forget("a")
            rig.follow("a")
        else:
            rig.state_feed.follow("a", anew=True)
        assert [] == await rig.step(1)
        assert 1 == len(rig.api.answers)

        rig.api.answers[0].set_result(ACTIVE)
        await rig.step(0)
        assert [] == await rig.step(1)
        assert 2 == len(rig.api.answers)

        rig.api.answers[1].set_result(SourceStatus("PENDING"))
        await rig.step(0)
        assert [("a", "PENDING")] == [(name, seen.state) for name, seen, _ in await rig.step(1)]

    asyncio.run(run())


def test_sources_that_are_unseen_since_all_lookups_are_throttled_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Their events are sent from then on, so somebody has to hear of it."""
    caplog.set_level(logging.WARNING, logger=LOGGER)
    rig = Rig(first_lookup_timeout=30.0)
    rig.api.error = ThrottledError("Rate exceeded")
    rig.follow("a", "b")
    assert [] == rig.run(29)
    assert [] == caplog.records

    assert [("a", "UNKNOWN"), ("b", "UNKNOWN")] == states(rig.run(120))
    (line,) = caplog.records
    assert "sources_unseen" == line.msg
    assert "Rate exceeded" in str(vars(line)["fields"])


def schedule() -> PollSchedule:
    return PollSchedule(refresh_s=60, patience_s=30)


def test_a_source_that_was_never_looked_at_comes_before_those_that_are_looked_at_again() -> None:
    """Its records wait for the look; the others only want to be sure."""
    line = schedule()
    line.follow("old", 0)
    line.answered("old", 0)
    line.follow("new", 100)

    assert "new" == line.next(100)


def test_each_source_is_looked_at_again_after_the_interval() -> None:
    line = schedule()
    line.follow("a", 0)
    line.answered("a", 0)

    assert None is line.next(59.9)
    assert "a" == line.next(60)
    assert 60 == line.next_s()


def test_a_source_that_is_asked_for_again_is_looked_at_soon() -> None:
    """As when EventBridge refuses it: the last look may be a minute old."""
    line = schedule()
    line.follow("a", 0)
    line.answered("a", 0)
    line.follow("a", 10)

    assert "a" == line.next(10)


def test_a_source_that_is_not_followed_any_more_is_not_looked_at() -> None:
    line = schedule()
    line.follow("a", 0)
    line.forget("a")
    line.answered("a", 0)

    assert (None, None, 0) == (line.next(1000), line.next_s(), len(line))


def test_waiting_in_line_is_not_too_long_while_looks_are_answered() -> None:
    """A thousand customers take their time at the first look; none of them is sent unlooked for that."""
    line = schedule()
    line.follow("a", 0)
    line.follow("b", 0)
    line.answered("a", 29)

    assert [] == line.overdue(58)
    assert ["b"] == line.overdue(59)
    assert [] == line.overdue(60)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1), st.integers(1, 5))
def test_every_source_has_its_turn(asked: list[str], failing_every: int) -> None:
    """Whatever is asked for and fails, nobody is looked at twice before everybody was once."""
    line = PollSchedule(refresh_s=1000, patience_s=1000)
    for name in asked:
        line.follow(name, 0)
    looked: list[str | None] = []
    for now_s in range(len(set(asked))):
        following = line.next(now_s)
        looked.append(following)
        if following is not None:
            (line.failed if now_s % failing_every == 0 else line.answered)(following, now_s)

    assert set(asked) == set(looked)
