"""The ceiling of a configuration: which limit decides at which latency, and what partitions add."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.cli.ceiling import describe_ceiling, describe_partitions
from tests.configuration import EVENT, Written, with_settings, with_topic


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


@pytest.mark.parametrize(
    ("eventbridge", "lowest"),
    [
        (
            {"max_in_flight": 10, "batch": {"count": 5}},
            "requests at once: 2,500 events/s where an answer takes 20ms, 500 where it takes 100ms",
        ),
        ({"max_requests_per_second": 100}, "requests a second: 2,000 events/s"),
        (
            {"max_in_flight": 16, "max_requests_per_second": 400},
            "requests a second, then requests at once: 8,000 events/s where an answer takes 20ms, "
            "3,200 where it takes 100ms",
        ),
        (
            {"max_in_flight": 16, "max_requests_per_second": 800},
            "requests at once: 16,000 events/s where an answer takes 20ms, 3,200 where it takes 100ms",
        ),
    ],
)
def test_the_lowest_limit_is_named_for_each_latency(
    written: Written, eventbridge: dict[str, object], lowest: str
) -> None:
    """Whoever needs more events knows which setting to raise first, and that it may depend on the latency."""
    settings = written.load(with_settings(eventbridge=eventbridge))

    assert lowest == describe_ceiling(settings.eventbridge)["lowest"]


def test_without_a_cap_the_quota_is_the_limit_of_all_processes(written: Written) -> None:
    """More processes do not raise it."""
    settings = written.load(with_settings(eventbridge={}))

    assert (
        "no cap, but all processes share the quota of account and Region"
        == (describe_ceiling(settings.eventbridge)["requests a second"])
    )


def test_more_processes_than_partitions_are_idle(written: Written) -> None:
    """The partitions of all topics count."""
    settings = written.load(with_settings(topics={"orders.v1": {"event": EVENT}, "notes": {"event": EVENT}}))

    assert "9 in all; a group of more processes than that leaves some idle" == (
        describe_partitions(settings, {"orders.v1": 6, "notes": 3})
    )


def test_order_by_partition_is_a_ceiling_that_no_process_raises(written: Written) -> None:
    """A partition has one request of a source on its way at a time, whichever process has it."""
    settings = written.load(with_topic(ordering="partition"))

    assert describe_partitions(settings, {"orders.v1": 6}).endswith(
        "all processes together send one source at most 6,000 events/s where an answer takes 20ms, "
        "1,200 where it takes 100ms"
    )
