"""The numbers that the page is made of."""

from __future__ import annotations

from connector.telemetry.metrics import Telemetry
from connector.telemetry.tally import RECENT_REQUESTS, Tally


def test_telemetry_counts_in_it() -> None:
    """What is a metric is in the page, too."""
    telemetry = Telemetry()
    telemetry.events_delivered("orders", "eu", [0.1, 0.2], billed_chunks=2)
    telemetry.events_delivered("notes", "eu", [0.1], billed_chunks=1)
    telemetry.entries_retried("eu", "InternalFailure", 4)
    telemetry.request_finished("eu", outcome="ok", seconds=0.25, entries=3, size_bytes=99)

    tally = telemetry.tally
    assert ({"eu": 3}, {"InternalFailure": 4}, 0) == (tally.delivered, tally.retried, tally.dead_lettered)
    assert (0.25, 0.25) == tally.percentiles("eu")


def test_percentiles_are_those_of_the_last_requests() -> None:
    """An outage of an hour ago must not colour them, and memory is bounded."""
    tally = Tally()

    assert tally.percentiles("eu") is None

    for _ in range(RECENT_REQUESTS):
        tally.time_request("eu", 30.0)
    for hundredths in range(RECENT_REQUESTS):
        tally.time_request("eu", hundredths / RECENT_REQUESTS)

    assert (0.5, 0.99) == tally.percentiles("eu")
    assert RECENT_REQUESTS == len(tally.request_seconds["eu"])
