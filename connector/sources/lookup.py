"""Lookups of sources for callers that may wait: the plan of a replay, and `dead-letters show`."""

from __future__ import annotations

import time

from connector import config
from connector.eventbridge.client import publishers
from connector.eventbridge.requests import Requests
from connector.model import SourceStatus
from connector.sources.poller import NO_ANSWER, state_feeds
from connector.telemetry.metrics import Telemetry

WAIT_S = 0.05
MAX_CACHED = 10_000
NEXT_TIMEOUT_S = 2.0
"""Limit for a lookup after one that had no answer."""
MAX_UNANSWERED = 3
"""After this many lookups in a row without an answer, further ones are not waited for."""


class CachedStates:
    """Looks up sources as the bridge and a replay do, one at a time, and waits for each answer. Close it.

    Raises:
        ConfigError: as `Publisher`.
    """

    def __init__(self, settings: config.Settings) -> None:
        to_targets = publishers(settings)
        self._calls = Requests(to_targets)
        self._feeds = state_feeds(settings, to_targets, start=self._calls.start, telemetry=Telemetry())
        self._refresh_s = settings.sources.refresh_interval
        self._cache: dict[tuple[str, str], tuple[float, SourceStatus]] = {}
        self._unanswered: dict[str, int] = {}
        """Target → its lookups in a row that had no answer in time."""

    def __call__(self, target: str, source: str) -> SourceStatus:
        """Look up a source; its state is UNKNOWN where there is no answer, or not in time."""
        looked_up_s, status = self._cache.get((target, source), (float("-inf"), None))
        if status is None or time.monotonic() - looked_up_s > self._refresh_s:
            unanswered = self._unanswered.get(target, 0)
            timeout_s = float("inf")
            if unanswered:
                timeout_s = NEXT_TIMEOUT_S if unanswered < MAX_UNANSWERED else 0.0
            status = self._wait_for(target, source, timeout_s)
            has_answer = status.state != "UNKNOWN" or status.is_denied
            self._unanswered[target] = 0 if has_answer else unanswered + 1
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            self._cache[target, source] = (time.monotonic(), status)
        return status

    def close(self) -> None:
        self._calls.close()

    def _wait_for(self, target: str, source: str, timeout_s: float) -> SourceStatus:
        """Look up a source now; ends also after `sources.first_lookup_timeout`."""
        feed = self._feeds[target]
        until_s = time.monotonic() + timeout_s
        feed.follow(source)
        status = SourceStatus("UNKNOWN", reason=NO_ANSWER)
        is_found = False
        while not is_found and time.monotonic() <= until_s:
            for name, found, _ in feed.step(time.monotonic()):
                if name == source:
                    status, is_found = found, True
            if not is_found:
                self._calls.answers(WAIT_S)
        feed.forget(source)
        return status
