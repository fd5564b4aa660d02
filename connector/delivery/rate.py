"""When the next request to a target may leave: rate limit, backoff, circuit breaker. Pure."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable

FAILURES_TO_OPEN = 5
"""Requests that must fail in a row, none answered between them, before a target counts as down."""

WINDOW_S = 0.25
"""How often the allowed rate is adapted; longer than the round trip of a usual request, so that one
overload is answered with one cut rather than with one for each request in flight."""

RECOVERY_PER_SECOND = 0.05
"""Share of the rate before the first cut that comes back each second without throttling."""

MIN_RATE = 1.0
"""Requests per second below which throttling never pushes: something must probe for recovery."""


class BreakerState(enum.IntEnum):
    """What is known of a target; the values are those of the metric `target_state`."""

    OK = 0
    PROBING = 1
    OPEN = 2


def full_jitter(
    tries: int, *, initial_s: float, max_s: float, draw: Callable[[], float] = random.random
) -> float:
    """A random wait before the next try, in seconds: up to `initial_s` doubled with each try.

    Full jitter spreads clients that failed together, see
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/. A tenth of the range
    is the least, so that no draw makes a retry immediate.
    """
    ceiling = min(max_s, initial_s * 2.0 ** min(tries - 1, 60))
    return float(ceiling * (0.1 + 0.9 * draw()))


class RateControl:
    """Says when the next request to one target may leave.

    Three things hold a request back. The *rate*: throttles cut it, time without throttles restores
    it. The *backoff* after a throttled request. And the *breaker*: after `FAILURES_TO_OPEN` failed
    requests in a row the target is taken to be down, and one request at a time probes it until one
    is answered.

    The cut is in proportion to the share of entries throttled in the last window, as in DCTCP
    (RFC 8257): all of them halve the rate, one in a hundred lowers it by half a percent. Cutting by
    half for any throttle would let a target that refuses a steady 1 % stop the bridge.
    """

    def __init__(
        self,
        *,
        max_per_second: float | None,
        initial_interval_s: float = 0.0,
        max_interval_s: float = 0.0,
        burst: float = 0.0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """A `burst` of so many requests may leave at once: at first, and again once none left for a while."""
        self.state = BreakerState.OK
        self.rate = max_per_second
        """Requests per second allowed now; None for no limit."""
        self._max_rate = max_per_second
        self._initial_interval_s = initial_interval_s
        self._max_interval_s = max_interval_s
        self._draw = draw
        self._burst = burst
        self._tokens = max(1.0, burst)
        self._refilled_s: float | None = None
        self._not_before_s = float("-inf")
        self._failures = 0
        self._throttles = 0
        self._window_start_s: float | None = None
        self._window_requests = 0
        self._window_entries = 0
        self._window_throttled = 0
        self._ceiling: float | None = max_per_second
        self.entries = self.throttled_entries = 0
        """Entries of answered requests since the start, and those of them that were throttled."""

    def may_send(self, now_s: float, in_flight: int = 0) -> bool:
        """Whether a request may leave at this moment."""
        if now_s < self._not_before_s:
            return False
        if self.state is not BreakerState.OK:
            return in_flight == 0
        if self.rate is None:
            return True
        self._refill(now_s)
        return self._tokens >= 1.0

    def next_s(self, now_s: float) -> float:
        """The earliest moment at which `may_send` can become true by the passing of time."""
        wait_s = 0.0
        if self.rate is not None:
            self._refill(now_s)
            wait_s = max(0.0, (1.0 - self._tokens) / self.rate)
        return max(now_s + wait_s, self._not_before_s)

    def sent(self, now_s: float) -> None:
        """Count a request that was sent."""
        if self.state is BreakerState.OPEN:
            self.state = BreakerState.PROBING
        if self.rate is not None:
            self._refill(now_s)
            # A probe of a target that is down waits for no token, and must leave no debt behind.
            self._tokens = max(0.0, self._tokens - 1.0)
        self._window_requests += 1

    def answered(self, now_s: float, *, entries: int, accepted: int, throttled: int) -> None:
        """Adapt the rate to an answer that has a result for each entry."""
        self.state = BreakerState.OK
        self._failures = 0
        if accepted:
            self._throttles = 0
        self._adapt(now_s, entries, throttled)

    def throttled(self, now_s: float, *, entries: int, retry_after_s: float | None) -> None:
        """Slow down, and wait: a request was throttled as a whole."""
        self._throttles += 1
        self._failures = 0
        self._tokens = min(self._tokens, 1.0)  # the rest of a burst would be throttled, too
        self.state = BreakerState.OK
        self._wait(now_s, retry_after_s or self._backoff_s(self._throttles))
        self._adapt(now_s, entries, entries)

    def failed(self, now_s: float) -> None:
        """Back off after a request without a usable answer; enough of them in a row open the breaker."""
        self._failures += 1
        if self.state is not BreakerState.OK or self._failures >= FAILURES_TO_OPEN:
            self.state = BreakerState.OPEN
            self._wait(now_s, self._backoff_s(self._failures - FAILURES_TO_OPEN + 1))

    def is_backing_off(self, now_s: float) -> bool:
        """Whether the target is down, or a throttle is being waited out."""
        return self.state is not BreakerState.OK or now_s < self._not_before_s

    def _backoff_s(self, tries: int) -> float:
        return full_jitter(
            max(tries, 1), initial_s=self._initial_interval_s, max_s=self._max_interval_s, draw=self._draw
        )

    def _wait(self, now_s: float, wait_s: float) -> None:
        self._not_before_s = max(self._not_before_s, now_s + wait_s)

    def _refill(self, now_s: float) -> None:
        assert self.rate is not None  # noqa: S101 - callers checked
        since_s = now_s - self._refilled_s if self._refilled_s is not None else 0.0
        # A tenth of a second may be saved up, so that a loop that polls every few ms keeps the rate.
        self._tokens = min(max(1.0, self.rate / 10, self._burst), self._tokens + since_s * self.rate)
        self._refilled_s = now_s

    def _adapt(self, now_s: float, entries: int, throttled: int) -> None:
        self.entries += entries
        self.throttled_entries += throttled
        if self._window_start_s is None:
            self._window_start_s = now_s
        self._window_entries += entries
        self._window_throttled += throttled
        elapsed_s = now_s - self._window_start_s
        if elapsed_s < WINDOW_S or not self._window_entries:
            return
        share = self._window_throttled / self._window_entries
        if self.rate is None and share > 0:
            # Refused requests say what was too much, so this is the first guess.
            self.rate = self._ceiling = self._window_requests / elapsed_s
        if self.rate is not None and self._ceiling is not None:
            recovery = self._ceiling * RECOVERY_PER_SECOND * min(elapsed_s, 1.0)
            self.rate = max(MIN_RATE, self.rate * (1 - share / 2) + recovery * (1 - share))
            if self._max_rate is not None:
                self.rate = min(self.rate, self._max_rate)
            elif self.rate > 2 * self._ceiling:
                self.rate = None
        self._window_start_s = now_s
        self._window_requests = self._window_entries = self._window_throttled = 0
