"""Looks up the states of partner event sources: when which one is due, and how fast.

EventBridge allows 50 calls a second to an account and Region, of which the bridge takes no more than
`sources.lookups_per_second`, and fewer when EventBridge asks for that. Only lookups that events wait for come
in bursts, as at a start; they are made up for afterwards.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Literal, Protocol

from connector import config
from connector.delivery.rate import RateControl
from connector.delivery.source_gate import UNANSWERED
from connector.errors import ConnectorError, NotAuthorizedError, ThrottledError, UnavailableError
from connector.eventbridge.client import CONTROL_CALLS, Publisher
from connector.model import SourceStatus
from connector.sources.api import SourceApi
from connector.telemetry.metrics import Telemetry

RETRY_INITIAL_S = 0.2
RETRY_MAX_S = 5.0
"""Pauses between two lookups of one source that fail, doubled each time."""

BURST_S = 5.0
MAX_BURST = 50.0
"""Lookups that events wait for go as fast as they are answered until as many are made as otherwise in
`BURST_S`, and no more than EventBridge allows in a second."""
CATCH_UP_S = 0.1
"""The others catch up with so much, so that a loop which is late by some ms keeps the rate."""


class PollSchedule:
    """Says which source to look up next: one whose events wait for it first, then by age of the last lookup.

    Every source is looked up again after `refresh_s`; where there are more than the allowed rate can
    cover in that time, each has its turn, later.
    """

    def __init__(self, *, refresh_s: float, patience_s: float) -> None:
        self._refresh_s = refresh_s
        self._patience_s = patience_s
        self._urgent: list[tuple[float, int, str]] = []
        """(due, order of asking, source); outdated entries are skipped, here and in `_usual`."""
        self._usual: list[tuple[float, int, str]] = []
        self._due: dict[str, tuple[float, int]] = {}
        """The entry of each source in `_urgent` or `_usual` that is not outdated."""
        self._asked_s: dict[str, float] = {}
        """Sources whose lookup is waited for, and since when; oldest first."""
        self._failing: dict[str, tuple[float, int]] = {}
        """Of these: since when their own lookups fail, and how often they did; oldest first."""
        self._in_flight: set[str] = set()
        """Sources with a lookup on its way: there is never a second one beside it."""
        self._outdated: set[str] = set()
        """Of these: what the lookup finds does not count, since something happened after it began."""
        self._never_answered: set[str] = set()
        self._answered_s = float("-inf")
        self._down_s = float("-inf")
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._due)

    def follow(self, name: str, now_s: float, *, anew: bool = False) -> None:
        """Look up this source before those that no event waits for, and then again and again.

        A lookup of it that is in flight will do; not `anew`: then another one follows it at once.
        """
        if anew and name in self._in_flight:
            self._outdated.add(name)
        if name in self._asked_s:
            return
        if name not in self._due:
            self._never_answered.add(name)
        self._asked_s[name] = now_s
        if name in self._in_flight:
            self.started(name)
        else:
            self._put(self._urgent, name, now_s)

    def forget(self, name: str) -> None:
        """Look up this source no more."""
        if name in self._in_flight:
            self._outdated.add(name)
        self._due.pop(name, None)
        self._never_answered.discard(name)
        self._asked_s.pop(name, None)
        self._failing.pop(name, None)

    def next(self, now_s: float, *, usual_s: float = float("-inf")) -> str | None:
        """The source to look up now; None when none is due.

        One that no event waits for is not due before `usual_s`.
        """
        for line, from_s in ((self._urgent, float("-inf")), (self._usual, usual_s)):
            self._drop_stale(line)
            if line and max(line[0][0], from_s) <= now_s:
                return line[0][2]
        return None

    def next_s(self, *, usual_s: float = float("-inf")) -> float | None:
        """When the next lookup is due; None when nothing is followed."""
        for line in (self._urgent, self._usual):
            self._drop_stale(line)
        due_s = [line[0][0] for line in (self._urgent,) if line]
        due_s += [max(line[0][0], usual_s) for line in (self._usual,) if line]
        return min(due_s, default=None)

    def started(self, name: str) -> None:
        """A lookup of this source began; the next one is due once it has ended."""
        self._in_flight.add(name)
        self._due[name] = (float("inf"), next(self._order))

    def answered(self, name: str, now_s: float) -> bool:
        """A lookup of this source came to an answer; returns whether that counts."""
        self._answered_s = now_s
        if self._was_outdated(name, now_s):
            return False
        self._never_answered.discard(name)
        self._asked_s.pop(name, None)
        self._failing.pop(name, None)
        if name in self._due:
            self._put(self._usual, name, now_s + self._refresh_s)
        return True

    def denied(self, name: str, now_s: float) -> bool:
        """We may not look up this source. That settles a first lookup; what was seen before is worth more.

        Returns whether that counts.
        """
        self._answered_s = now_s
        if self._was_outdated(name, now_s):
            return False
        if name in self._never_answered or name not in self._asked_s:
            self.answered(name, now_s)
        else:
            self.failed(name, now_s)
        return True

    def failed(self, name: str, now_s: float, *, is_its_own: bool = True) -> None:
        """A lookup came to no answer: the others have their turn first.

        It is not its own where all would fail as well.
        """
        if self._was_outdated(name, now_s) or name not in self._due:
            return
        if name not in self._asked_s:
            self._put(self._usual, name, now_s + (min(RETRY_MAX_S, self._refresh_s) if is_its_own else 0.0))
        elif not is_its_own:
            self._put(self._urgent, name, now_s)
        else:
            since_s, times = self._failing.get(name, (now_s, 0))
            self._failing[name] = (since_s, times + 1)
            self._put(self._urgent, name, now_s + min(RETRY_INITIAL_S * 2.0 ** min(times, 10), RETRY_MAX_S))

    def ended(self, name: str) -> None:
        """The lookup of this source is not in flight any more, whatever it came to."""
        self._in_flight.discard(name)
        self._outdated.discard(name)

    def postpone(self, now_s: float) -> None:
        """No event waits for lookups at this moment, since nothing could be sent anyway."""
        self._down_s = now_s

    def overdue(self, now_s: float) -> list[str]:
        """Sources that waited too long for a lookup, told once each.

        Waiting in line is not too long while lookups are answered: only when none was, for `patience_s`, or
        when those of this source failed for so long.
        """
        limit_s = now_s - self._patience_s
        if self._down_s > limit_s:
            return []
        failing, asked_s = self._failing, self._asked_s
        names = list(itertools.takewhile(lambda name: failing[name][0] <= limit_s, failing))
        if self._answered_s <= limit_s:
            names += itertools.takewhile(lambda name: asked_s[name] <= limit_s, asked_s)
        for name in names:
            self._asked_s.pop(name, None)
            self._failing.pop(name, None)
        return list(dict.fromkeys(names))

    def _was_outdated(self, name: str, now_s: float) -> bool:
        """End the lookup of this source; whether another one has to follow it, or none."""
        is_outdated = name in self._outdated
        self.ended(name)
        if is_outdated and name in self._due:
            self._put(self._urgent if name in self._asked_s else self._usual, name, now_s)
        return is_outdated

    def _put(self, line: list[tuple[float, int, str]], name: str, due_s: float) -> None:
        self._due[name] = place = (due_s, next(self._order))
        heapq.heappush(line, (*place, name))

    def _drop_stale(self, line: list[tuple[float, int, str]]) -> None:
        while line and self._due.get(line[0][2]) != line[0][:2]:
            heapq.heappop(line)


MAX_PAUSE_S = 5.0
"""Between two lookups while none is answered: events may wait for the first one that is."""

NO_ANSWER = "no lookup of it was answered in time"


class StateReader(Protocol):
    """The calls of the control plane that the poller makes."""

    async def look_up(self, name: str) -> SourceStatus: ...
    async def create(self, name: str, account: str) -> None: ...


Start = Callable[[Coroutine[Any, Any, None]], None]
"""Runs a coroutine beside the calls; never blocks."""


class StatePoller:
    """Looks up the states of one target's sources; its `StateFeed`."""

    def __init__(
        self,
        target: str,
        settings: config.Sources,
        *,
        api: StateReader,
        start: Start,
        telemetry: Telemetry,
        accounts: Callable[[], Mapping[str, str]] = dict,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`accounts` says to whose account each source belongs that is to be created when it is missing."""
        self._target = target
        self._api = api
        self._start = start
        self._telemetry = telemetry
        self._accounts = accounts
        self._clock_s = clock_s
        self._refresh_s = settings.refresh_interval
        self._per_second = settings.lookups_per_second
        self._failure: tuple[float, str] | None = None
        """Since when lookups fail, and why the last one did."""
        self._answered_s = float("-inf")
        self._in_flight: dict[str, float] = {}
        """When each lookup began that is in flight; the oldest first."""
        self._news: list[tuple[str, SourceStatus, float]] = []
        self._schedule = PollSchedule(
            refresh_s=settings.refresh_interval, patience_s=settings.first_lookup_timeout
        )
        self._pace = RateControl(
            max_per_second=settings.lookups_per_second,
            initial_interval_s=0.5,
            max_interval_s=min(settings.refresh_interval, MAX_PAUSE_S),
            burst=min(settings.lookups_per_second * BURST_S, MAX_BURST),
        )
        self._usual_s = float("-inf")
        """When a lookup may start that no event waits for: as if all came at an even rate."""

    def follow(self, name: str, *, anew: bool = False) -> None:
        self._schedule.follow(name, self._clock_s(), anew=anew)

    def forget(self, name: str) -> None:
        self._schedule.forget(name)

    def step(self, now_s: float) -> list[tuple[str, SourceStatus, float]]:
        while (
            len(self._in_flight) < CONTROL_CALLS
            and (name := self._schedule.next(now_s, usual_s=self._usual_s)) is not None
            and self._pace.may_send(now_s, len(self._in_flight))
        ):
            self._pace.sent(now_s)
            rate = self._pace.rate or self._per_second
            self._usual_s = max(self._usual_s, now_s - CATCH_UP_S) + 1 / rate
            self._schedule.started(name)
            self._in_flight[name] = now_s
            self._start(self._look_up(name))
        for name in self._schedule.overdue(now_s):
            reason = f"{NO_ANSWER} ({self._failure[1]})" if self._failure else NO_ANSWER
            self._news.append((name, SourceStatus("UNKNOWN", reason=reason), now_s))
            self._telemetry.source_not_seen(self._target, reason)
        news, self._news = self._news, []
        return news

    def postpone(self, now_s: float) -> None:
        self._schedule.postpone(now_s)

    def next_s(self, now_s: float) -> float | None:
        due_s = self._schedule.next_s(usual_s=self._usual_s)
        if due_s is None or len(self._in_flight) >= CONTROL_CALLS:
            return None
        return max(due_s, self._pace.next_s(now_s))

    @property
    def is_looking_up(self) -> bool:
        return bool(self._in_flight)

    @property
    def trouble(self) -> tuple[float, str] | None:
        if self._failure is not None or not self._in_flight:
            return self._failure
        return max(next(iter(self._in_flight.values())), self._answered_s), UNANSWERED

    @property
    def max_age_s(self) -> float:
        return max(self._refresh_s, len(self._schedule) / self._per_second) + 1.0

    async def _look_up(self, name: str) -> None:
        began_s = self._clock_s()
        try:
            seen = await self._api.look_up(name)
            if seen.state == "MISSING" and (account := self._accounts().get(name)):
                seen = await self._create(name, account) or seen
        except ThrottledError as error:
            self._pace.throttled(self._clock_s(), entries=1, retry_after_s=None)
            self._failed(name, "throttled", error, began_s)
        except UnavailableError as error:
            self._pace.failed(self._clock_s())
            self._failed(name, "unavailable", error, began_s)
        except NotAuthorizedError as error:
            # Not for us to see. The data plane decides whether the bridge may go on at all.
            self._answered()
            if self._schedule.denied(name, self._clock_s()):
                denied = SourceStatus("UNKNOWN", reason=str(error), is_denied=True)
                self._news.append((name, denied, began_s))
            self._telemetry.source_looked_up(self._target, "denied", reason=str(error))
        except ConnectorError as error:
            # An answer, though none about the state. Of this source alone, as far as anybody knows.
            self._answered()
            self._schedule.failed(name, self._clock_s())
            self._telemetry.source_looked_up(self._target, "unavailable", reason=str(error))
        else:
            self._answered()
            if self._schedule.answered(name, self._clock_s()):
                self._news.append((name, seen, began_s))
            self._telemetry.source_looked_up(self._target, "ok")
        finally:
            self._schedule.ended(name)
            del self._in_flight[name]

    async def _create(self, name: str, account: str) -> SourceStatus | None:
        try:
            await self._api.create(name, account)
        except ConnectorError as error:
            self._telemetry.source_not_created(self._target, name, str(error))
            return None
        self._telemetry.source_created(self._target, name)
        return await self._api.look_up(name)

    def _answered(self) -> None:
        self._failure = None
        self._answered_s = self._clock_s()
        self._pace.answered(self._answered_s, entries=1, accepted=1, throttled=0)

    def _failed(
        self, name: str, outcome: Literal["throttled", "unavailable"], error: ConnectorError, began_s: float
    ) -> None:
        self._failure = (self._failure[0] if self._failure else began_s, str(error))
        self._schedule.failed(name, self._clock_s(), is_its_own=outcome == "unavailable")
        self._telemetry.source_looked_up(self._target, outcome, reason=str(error))


def state_feeds(
    settings: config.Settings,
    publishers: Mapping[str, Publisher],
    *,
    start: Start,
    telemetry: Telemetry,
    accounts: Callable[[str], Mapping[str, str]] = lambda _: {},
) -> dict[str, StatePoller]:
    """A poller for each target, by its name; `accounts` says for each what to create when it is missing."""
    return {
        name: StatePoller(
            name,
            settings.sources,
            api=SourceApi(publisher),
            start=start,
            telemetry=telemetry,
            accounts=partial(accounts, name),
        )
        for name, publisher in publishers.items()
    }
