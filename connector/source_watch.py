"""Looks up the states of one target's sources, again and again, on the loop of the calls.

A state machine that its user steps; it has no thread, waits for nothing, and cannot die alone. There are no
more lookups than `sources.lookups_per_second`, fewer when EventBridge asks for that, since the 50 calls a
second that AWS allows for its control plane are shared by everything in the account and Region.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Literal, Protocol

from connector import config
from connector.errors import ConnectorError, NotAuthorizedError, ThrottledError, UnavailableError
from connector.eventbridge.client import CONTROL_CALLS, Publisher
from connector.pace import Pace
from connector.source_api import SourceApi
from connector.sources import Schedule, Sighting
from connector.telemetry import Telemetry

MAX_PAUSE_S = 5.0
"""Between two lookups while none is answered: events may wait for the first one that is."""

NO_ANSWER = "no lookup of it was answered in time"


class Looker(Protocol):
    """What the watch needs of the control plane."""

    async def look(self, name: str) -> Sighting: ...
    async def create(self, name: str, account: str) -> None: ...


Start = Callable[[Coroutine[Any, Any, None]], None]
"""Runs a coroutine beside the calls; never blocks."""


class SourceWatch:
    """Follows sources and says what is seen of them, and what keeps it from seeing."""

    def __init__(
        self,
        target: str,
        settings: config.Sources,
        *,
        api: Looker,
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
        self.trouble: tuple[float, str] | None = None
        """Since when lookups come to no answer, and why."""
        self._in_flight = 0
        self._news: list[tuple[str, Sighting, float]] = []
        self._schedule = Schedule(refresh_s=settings.refresh_interval, patience_s=settings.first_look_timeout)
        self._pace = Pace(
            max_per_second=settings.lookups_per_second,
            initial_interval_s=0.5,
            max_interval_s=min(settings.refresh_interval, MAX_PAUSE_S),
        )

    def follow(self, name: str, *, anew: bool = False) -> None:
        """Look up this source soon, and again every `sources.refresh_interval`.

        With `anew` by a lookup that begins after this.
        """
        self._schedule.follow(name, self._clock_s(), anew=anew)

    def forget(self, name: str) -> None:
        """Look up this source no more."""
        self._schedule.forget(name)

    def step(self, now_s: float) -> list[tuple[str, Sighting, float]]:
        """Start the lookups that are due; returns what was seen since the last call, in order.

        With each comes when its lookup began: that is the moment of which it speaks.
        UNKNOWN says that a source could not be looked up, and nothing else about it.
        """
        while (
            self._in_flight < CONTROL_CALLS
            and (name := self._schedule.next(now_s)) is not None
            and self._pace.may_send(now_s, self._in_flight)
        ):
            self._pace.sent(now_s)
            self._schedule.started(name)
            self._in_flight += 1
            self._start(self._look(name))
        for name in self._schedule.overdue(now_s):
            reason = f"{NO_ANSWER} ({self.trouble[1]})" if self.trouble else NO_ANSWER
            self._news.append((name, Sighting("UNKNOWN", reason=reason), now_s))
            self._telemetry.source_not_seen(self._target, reason)
        news, self._news = self._news, []
        return news

    def postpone(self, now_s: float) -> None:
        """The target is down, so that nobody's patience with lookups ends at this moment."""
        self._schedule.postpone(now_s)

    def next_s(self, now_s: float) -> float | None:
        """When there will be a lookup to start; None for never."""
        due_s = self._schedule.next_s
        if due_s is None or self._in_flight >= CONTROL_CALLS:
            return None
        return max(due_s, self._pace.next_s(now_s))

    @property
    def is_looking(self) -> bool:
        """Whether a lookup is in flight."""
        return self._in_flight > 0

    @property
    def max_age_s(self) -> float:
        """How old the last lookup of a source may be while all goes well."""
        return max(self._refresh_s, len(self._schedule) / self._per_second) + 1.0

    async def _look(self, name: str) -> None:
        began_s = self._clock_s()
        try:
            seen = await self._api.look(name)
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
                denied = Sighting("UNKNOWN", reason=str(error), is_denied=True)
                self._news.append((name, denied, began_s))
            self._telemetry.source_looked(self._target, "denied", reason=str(error))
        except ConnectorError as error:
            # An answer, though none about the state. Of this source alone, as far as anybody knows.
            self._answered()
            self._schedule.failed(name, self._clock_s())
            self._telemetry.source_looked(self._target, "unavailable", reason=str(error))
        else:
            self._answered()
            if self._schedule.answered(name, self._clock_s()):
                self._news.append((name, seen, began_s))
            self._telemetry.source_looked(self._target, "ok")
        finally:
            self._schedule.ended(name)
            self._in_flight -= 1

    async def _create(self, name: str, account: str) -> Sighting | None:
        try:
            await self._api.create(name, account)
        except ConnectorError as error:
            self._telemetry.source_not_created(self._target, name, str(error))
            return None
        self._telemetry.source_created(self._target, name)
        return await self._api.look(name)

    def _answered(self) -> None:
        self.trouble = None
        self._pace.answered(self._clock_s(), entries=1, accepted=1, throttled=0)

    def _failed(
        self, name: str, outcome: Literal["throttled", "unavailable"], error: ConnectorError, began_s: float
    ) -> None:
        self.trouble = (self.trouble[0] if self.trouble else began_s, str(error))
        self._schedule.failed(name, self._clock_s(), is_its_own=outcome == "unavailable")
        self._telemetry.source_looked(self._target, outcome, reason=str(error))


def watches(
    settings: config.Settings,
    publishers: Mapping[str, Publisher],
    *,
    start: Start,
    telemetry: Telemetry,
    accounts: Callable[[str], Mapping[str, str]] = lambda _: {},
) -> dict[str, SourceWatch]:
    """A watch for each target, by its name; `accounts` says for each what to create when it is missing."""
    return {
        name: SourceWatch(
            name,
            settings.sources,
            api=SourceApi(publisher),
            start=start,
            telemetry=telemetry,
            accounts=partial(accounts, name),
        )
        for name, publisher in publishers.items()
    }
