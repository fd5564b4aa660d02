"""The states of sources for whoever may wait for them: what a plan says, and `show`."""

from __future__ import annotations

import time

from connector import config
from connector.eventbridge.client import publishers
from connector.eventbridge.requests import Requests
from connector.model import SourceStatus
from connector.sources.poller import NO_ANSWER, state_feeds
from connector.telemetry.metrics import Telemetry

WAIT_S = 0.05
MAX_REMEMBERED = 10_000
NEXT_PATIENCE_S = 2.0
"""How long a source waits after one before it came to no answer."""
MAX_SILENT = 3
"""So many sources without an answer in a row, and no further one is waited for."""


class CachedStates:
    """Looks up sources as the bridge and a replay do, one after the other, and waits for each. Close it.

    Raises:
        ConfigError: as `Publisher`.
    """

    def __init__(self, settings: config.Settings) -> None:
        to_targets = publishers(settings)
        self._calls = Requests(to_targets)
        self._watches = state_feeds(settings, to_targets, start=self._calls.start, telemetry=Telemetry())
        self._refresh_s = settings.sources.refresh_interval
        self._seen: dict[tuple[str, str], tuple[float, SourceStatus]] = {}
        self._silent: dict[str, int] = {}
        """Target → its sources in a row that came to no answer in time: not every one waits as long."""

    def __call__(self, target: str, source: str) -> SourceStatus:
        """What state a source is in; UNKNOWN where that cannot be had, or not in time."""
        looked_up_s, seen = self._seen.get((target, source), (float("-inf"), None))
        if seen is None or time.monotonic() - looked_up_s > self._refresh_s:
            silent = self._silent.get(target, 0)
            patience_s = float("inf") if not silent else NEXT_PATIENCE_S if silent < MAX_SILENT else 0.0
            seen = self._wait_for(target, source, patience_s)
            is_silent = seen.state == "UNKNOWN" and not seen.is_denied
            self._silent[target] = silent + 1 if is_silent else 0
            if len(self._seen) >= MAX_REMEMBERED:
                self._seen.clear()
            self._seen[target, source] = (time.monotonic(), seen)
        return seen

    def close(self) -> None:
        """Close every connection."""
        self._calls.close()

    def _wait_for(self, target: str, source: str, patience_s: float) -> SourceStatus:
        """What a lookup finds; ends also after `sources.first_lookup_timeout`."""
        watch = self._watches[target]
        until_s = time.monotonic() + patience_s
        watch.follow(source)
        seen = SourceStatus("UNKNOWN", reason=NO_ANSWER)
        is_found = False
        while not is_found and time.monotonic() <= until_s:
            for name, found, _ in watch.step(time.monotonic()):
                if name == source:
                    seen, is_found = found, True
            if not is_found:
                self._calls.answers(WAIT_S)
        watch.forget(source)
        return seen
