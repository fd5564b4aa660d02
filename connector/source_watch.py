"""Looks at the states of one target's sources in the background, on a thread of its own.

Names go in and sightings come out on queues, so the bridge thread never waits. One call at a time, no
more than `sources.lookups_per_second`, fewer when EventBridge asks for that, since the 50 calls a second
that AWS allows for its control plane are shared by everything in the account and Region.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal, Protocol, TypeAlias

from connector import config
from connector.errors import ConnectorError, ThrottledError, UnavailableError
from connector.pace import Pace
from connector.sources import Schedule, Sighting
from connector.telemetry import Telemetry

IDLE_WAIT_S = 5.0
"""How long the thread sleeps when nothing is due; a new name wakes it."""

Ask: TypeAlias = "tuple[Literal['follow', 'forget', 'stop'], str]"


class Looker(Protocol):
    """What the watch needs of the control plane."""

    def look(self, name: str) -> Sighting: ...
    def create(self, name: str, account: str) -> None: ...


class SourceWatch:
    """Follows sources and tells what it sees of them, and what keeps it from seeing.

    `follow`, `forget` and `news` are for the bridge thread and never block.
    """

    def __init__(
        self,
        target: str,
        settings: config.Sources,
        *,
        api: Looker,
        telemetry: Telemetry,
        accounts: Callable[[], Mapping[str, str]] = dict,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`accounts` says to whose account each source belongs that is to be created when it is missing."""
        self._target = target
        self._api = api
        self._telemetry = telemetry
        self._accounts = accounts
        self._clock_s = clock_s
        self.trouble: tuple[float, str] | None = None
        """Since when looks come to no answer, and why. Replaced as a whole, for the bridge thread to read."""
        self._asked: queue.SimpleQueue[Ask] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[tuple[str, Sighting]] = queue.SimpleQueue()
        self._schedule = Schedule(refresh_s=settings.refresh_interval, patience_s=settings.first_look_timeout)
        self._pace = Pace(
            max_per_second=settings.lookups_per_second,
            initial_interval_s=0.5,
            max_interval_s=settings.refresh_interval,
        )
        self._thread = threading.Thread(target=self._run, name=f"sources-{target}", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Does not wait for a call under way, which holds nothing that matters."""
        self._asked.put(("stop", ""))

    def follow(self, name: str) -> None:
        """Look at this source soon, and again every `sources.refresh_interval`."""
        self._asked.put(("follow", name))

    def forget(self, name: str) -> None:
        """Look at this source no more."""
        self._asked.put(("forget", name))

    def news(self) -> list[tuple[str, Sighting]]:
        """What was seen since the last call, in order."""
        found = []
        while not self._news.empty():
            found.append(self._news.get_nowait())
        return found

    def _run(self) -> None:
        followed: set[str] = set()
        try:
            while self._take(followed):
                self.step()
        except Exception as bug:  # noqa: BLE001 - without it sources would wait for a look for ever
            self._telemetry.source_watch_failed(self._target, bug)
            reason = "looking at sources ended with a bug; the log says where"
            while True:
                for name in followed:
                    self._news.put((name, Sighting("UNKNOWN", reason=reason)))
                followed.clear()
                kind, name = self._asked.get()
                if kind == "stop":
                    return
                if kind == "follow":
                    followed.add(name)

    def _take(self, followed: set[str]) -> bool:
        """Take in what was asked for; waits until something is, or is due. False to end."""
        wait_s = self._wait_s()
        while True:
            try:
                kind, name = self._asked.get(wait_s > 0, wait_s)
            except queue.Empty:
                return True
            wait_s = 0.0
            match kind:
                case "follow":
                    followed.add(name)
                    self._schedule.follow(name, self._clock_s())
                case "forget":
                    followed.discard(name)
                    self._schedule.forget(name)
                case "stop":
                    return False

    def _wait_s(self) -> float:
        now_s = self._clock_s()
        due_s = [now_s + IDLE_WAIT_S]
        if (next_s := self._schedule.next_s) is not None:
            due_s.append(max(next_s, self._pace.next_s(now_s)))
        if (overdue_s := self._schedule.overdue_s) is not None:
            due_s.append(overdue_s)
        return max(0.0, min(due_s) - now_s)

    def step(self) -> None:
        """Make the look that is due, if any; then say which sources waited too long for theirs."""
        now_s = self._clock_s()
        name = self._schedule.next(now_s)
        if name is not None and self._pace.may_send(now_s):
            self._pace.sent(now_s)
            self._look(name)
        for overdue in self._schedule.overdue(self._clock_s()):
            reason = "no look at sources was answered in time"
            self._news.put((overdue, Sighting("UNKNOWN", reason=reason)))

    def _look(self, name: str) -> None:
        began_s = self._clock_s()
        try:
            sighting = self._api.look(name)
            if sighting.state == "MISSING" and (account := self._accounts().get(name)):
                sighting = self._create(name, account) or sighting
        except ThrottledError as error:
            self._pace.throttled(self._clock_s(), entries=1, retry_after_s=None)
            self._failed(name, "throttled", error, began_s)
        except UnavailableError as error:
            self._pace.failed(self._clock_s())
            self._failed(name, "unavailable", error, began_s)
        except ConnectorError as error:
            # Not for us to see. The data plane decides whether the bridge may go on at all.
            self._answered(name, Sighting("UNKNOWN", reason=str(error)))
            self._telemetry.source_looked(self._target, "denied", reason=str(error))
        else:
            self._answered(name, sighting)
            self._telemetry.source_looked(self._target, "ok")

    def _create(self, name: str, account: str) -> Sighting | None:
        try:
            self._api.create(name, account)
        except ConnectorError as error:
            self._telemetry.source_not_created(self._target, name, str(error))
            return None
        self._telemetry.source_created(self._target, name)
        return self._api.look(name)

    def _answered(self, name: str, sighting: Sighting) -> None:
        now_s = self._clock_s()
        self.trouble = None
        self._pace.answered(now_s, entries=1, accepted=1, throttled=0)
        self._schedule.answered(name, now_s)
        self._news.put((name, sighting))

    def _failed(
        self, name: str, outcome: Literal["throttled", "unavailable"], error: ConnectorError, began_s: float
    ) -> None:
        self.trouble = (self.trouble[0] if self.trouble else began_s, str(error))
        self._schedule.failed(name, self._clock_s())
        self._telemetry.source_looked(self._target, outcome, reason=str(error))
