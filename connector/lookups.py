"""The states of sources for whoever may wait for them: what a plan says, and `show`."""

from __future__ import annotations

import time

from connector import config
from connector.calls import Calls
from connector.eventbridge import publishers
from connector.source_watch import watches
from connector.sources import Sighting
from connector.telemetry import Telemetry

WAIT_S = 0.05
MAX_REMEMBERED = 10_000


class Lookups:
    """Looks up sources as the bridge and a replay do, one after the other, and waits for each. Close it.

    Raises:
        ConfigError: as `Publisher`.
    """

    def __init__(self, settings: config.Settings) -> None:
        to_targets = publishers(settings)
        self._calls = Calls(to_targets)
        self._watches = watches(settings, to_targets, start=self._calls.start, telemetry=Telemetry())
        self._refresh_s = settings.sources.refresh_interval
        self._seen: dict[tuple[str, str], tuple[float, Sighting]] = {}
        self._silent: dict[str, tuple[float, Sighting]] = {}
        """Targets that came to no answer in time: the next source does not wait as long once more."""

    def __call__(self, target: str, source: str) -> Sighting:
        """What state a source is in; UNKNOWN where that cannot be had, or not in time."""
        for known in (self._seen.get((target, source)), self._silent.get(target)):
            if known is not None and time.monotonic() - known[0] < self._refresh_s:
                return known[1]
        seen = self._wait_for(target, source)
        if len(self._seen) >= MAX_REMEMBERED:
            self._seen.clear()
        at_s = time.monotonic()
        if seen.state == "UNKNOWN" and not seen.is_denied:
            self._silent[target] = (at_s, seen)
        else:
            self._seen[target, source] = (at_s, seen)
        return seen

    def close(self) -> None:
        """Close every connection."""
        self._calls.close()

    def _wait_for(self, target: str, source: str) -> Sighting:
        watch = self._watches[target]
        watch.follow(source)
        while True:
            for name, seen in watch.step(time.monotonic()):
                if name == source:
                    watch.forget(source)
                    return seen
            self._calls.answers(WAIT_S)
