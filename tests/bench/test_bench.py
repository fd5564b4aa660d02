"""The benchmark's arithmetic: a figure nobody can trust is worse than none."""

from __future__ import annotations

import json
import statistics

import pytest

from tests.bench import records
from tests.bench.report import Results, markdown
from tests.bench.runs import Latency, Memory, Program, Stop, Throughput, percentile


def throughput(program: Program, *, cpu_us: float, events_per_s: float = 1000.0, lost: int = 0) -> Throughput:
    return Throughput(
        program=program,
        events=1000,
        cpu_us=cpu_us,
        events_per_s=events_per_s,
        peak_rss_bytes=100_000_000,
        first_event_s=1.0,
        endpoint_cpu_us=20.0,
        lost=lost,
        repeated=0,
    )


def row(results: Results, figure: str) -> list[str]:
    """The cells of the line about one figure, without the figure."""
    (line,) = (line for line in markdown(results).splitlines() if line.startswith(f"| {figure} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@pytest.mark.parametrize(("percent", "expected"), [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)])
def test_a_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    """p99 of a hundred values is the 99th of them, not an average of neighbours."""
    assert expected == percentile([float(number) for number in range(1, 101)], percent)


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert 7.0 == percentile([7.0], 99)


def test_records_are_as_rich_and_as_large_as_the_targets_assume() -> None:
    """The targets hold for 13 fields in 76 bytes; other records would make them meaningless."""
    sizes = [len(records.value(number, 1)) for number in range(1000)]

    assert 13 == len(json.loads(json.dumps(records.SCHEMA))["fields"])
    assert 76 == pytest.approx(statistics.mean(sizes), abs=0.5)


def test_a_ratio_is_that_of_the_means_and_shows_its_rounds() -> None:
    """A run that was disturbed shows in the spread, and does not decide alone."""
    results = Results(
        {},
        throughput=[
            throughput("bridge", cpu_us=80),
            throughput("loop", cpu_us=200),
            throughput("bridge", cpu_us=120),
            throughput("loop", cpu_us=200),
            throughput("loop, one thread", cpu_us=900),
        ],
    )

    assert ["100", "200", "0.50 (0.40 to 0.60)", "ratio ≤ 0.45, later ≤ 0.3", "no"] == row(
        results, "CPU per event, µs"
    )


@pytest.mark.parametrize(("cpu_us", "met"), [(46, "no"), (45, "yes"), (31, "yes"), (30, "yes, both")])
def test_a_target_is_met_at_its_bound(cpu_us: float, met: str) -> None:
    results = Results({}, throughput=[throughput("bridge", cpu_us=cpu_us), throughput("loop", cpu_us=100)])

    assert met == row(results, "CPU per event, µs")[-1]


@pytest.mark.parametrize(("events_per_s", "met"), [(2999.0, "no"), (3000.0, "yes")])
def test_throughput_has_a_lower_bound(events_per_s: float, met: str) -> None:
    results = Results(
        {},
        throughput=[
            throughput("bridge", cpu_us=1, events_per_s=events_per_s),
            throughput("loop", cpu_us=1, events_per_s=1000.0),
        ],
    )

    assert met == row(results, "events/s")[-1]


def test_a_stop_with_another_exit_code_misses_its_target_however_quick() -> None:
    results = Results({}, stop=[Stop("bridge", 0.1, exit_code=1, lost=0, repeated=0)])

    assert ["0.10, exit code 1", "", "", "≤ 2.02", "no"] == row(results, "SIGTERM under load to exit, s")


def test_lost_events_of_every_run_are_counted() -> None:
    """They decide the exit code, so no kind of run may be forgotten."""
    results = Results(
        {},
        throughput=[throughput("bridge", cpu_us=1, lost=1)],
        stop=[Stop("bridge", 0.1, exit_code=0, lost=20, repeated=0)],
        latency=[Latency("bridge", p50_ms=1, p99_ms=1, max_ms=1, lost=300)],
        memory=Memory(backlog=10_000, outage_rss_bytes=1, peak_rss_bytes=1, lost=4000),
    )

    assert 4321 == results.lost
