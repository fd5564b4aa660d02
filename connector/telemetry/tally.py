"""What the bridge did since it started, in a few numbers: for its own page, which no Prometheus scrapes."""

from __future__ import annotations

from collections import deque

RECENT_REQUESTS = 500
"""Requests of one target whose duration is kept."""


class Tally:
    """Running totals. The bridge thread counts, once for each request; any thread reads the numbers."""

    __slots__ = ("dead_lettered", "delivered", "request_seconds", "retried")

    def __init__(self) -> None:
        self.delivered: dict[str, int] = {}
        """Events that EventBridge accepted, by target."""
        self.dead_lettered = 0
        self.retried: dict[str, int] = {}
        """Entries that are sent again, by the code of their failure."""
        self.request_seconds: dict[str, deque[float]] = {}
        """How long the last requests took, by target. For the bridge thread alone."""

    def deliver(self, target: str, events: int) -> None:
        """Count events that a target accepted."""
        self.delivered[target] = self.delivered.get(target, 0) + events

    def retry(self, code: str, entries: int) -> None:
        """Count entries that are sent again. Codes must be from a bounded set."""
        self.retried[code] = self.retried.get(code, 0) + entries

    def time_request(self, target: str, seconds: float) -> None:
        """Keep how long a request took."""
        recent = self.request_seconds.get(target)
        if recent is None:
            recent = self.request_seconds[target] = deque(maxlen=RECENT_REQUESTS)
        recent.append(seconds)

    def percentiles(self, target: str) -> tuple[float, float] | None:
        """The median, and what 99 in 100 of the last requests stayed below; None before the first."""
        if not (recent := sorted(self.request_seconds.get(target, ()))):
            return None
        return recent[len(recent) // 2], recent[min(len(recent) - 1, len(recent) * 99 // 100)]
