"""The benchmark's arithmetic: a figure nobody can trust is worse than none."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import records, targets
from tests.bench.machine import own_s
from tests.bench.report import markdown
from tests.bench.results import Results, load, save
from tests.bench.runs import Throughput, percentile
from tests.bench.targets import Row, rows


def throughput(
    program: str = "bridge", *, endpoint_cpu_us: float = 20.0, endpoint_cores: float = 0.2
) -> Throughput:
    return Throughput(
        program=program,
        cpu_us=50.0,
        events_per_s=10_000.0,
        events_per_request=20.0,
        cores=0.5,
        peak_rss_bytes=100_000_000,
        first_event_s=1.0,
        endpoint_cpu_us=endpoint_cpu_us,
        endpoint_cores=endpoint_cores,
        others=0.0,
        lost=0,
        repeated=0,
    )


def noted(figure: str, *rounds: tuple[float, float | None], others: float = 0.0) -> Results:
    """Results of one figure: in each round the bridge's and the other's."""
    results = Results("python -m tests.bench", {})
    for bridge, against in rounds:
        results.note(figure, bridge, against=against, others=others)
    return results


def only_row(results: Results) -> Row:
    (row,) = rows(results)
    return row


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


def test_a_ratio_is_the_median_of_the_rounds_and_shows_their_range() -> None:
    """A round that was disturbed shows in the range, and does not decide."""
    row = only_row(noted(targets.CPU, (60, 200), (50, 200), (190, 200)))

    assert ("60", "the loop: 200", "0.30 (0.25 to 0.95)") == (row.measured, row.beside, row.ratio)


@pytest.mark.parametrize(
    ("cpu_us", "met"), [(45, "no: 50% over"), (30, "yes"), (23, "yes"), (22, "yes, stretch too")]
)
def test_a_target_is_met_at_its_bound_and_a_miss_says_by_how_much(cpu_us: float, met: str) -> None:
    assert met == only_row(noted(targets.CPU, (cpu_us, 100))).met


@pytest.mark.parametrize(("per_s", "met"), [(2400.0, "no: 20% under"), (3000.0, "yes")])
def test_throughput_has_a_lower_bound(per_s: float, met: str) -> None:
    assert met == only_row(noted(targets.RATE, (per_s, 1000.0))).met


def test_a_row_without_comparison_is_judged_by_its_median() -> None:
    row = only_row(noted(targets.STOP, (0.1, None), (0.6, None), (0.4, None)))

    assert ("0.40 (0.10 to 0.60)", "≤ 0.5", "yes") == (row.measured, row.target, row.met)


def test_a_row_is_void_where_other_work_took_part_of_the_machine() -> None:
    """Whoever reads the table must not take the figure of a busy machine for the bridge's."""
    assert "" == only_row(noted(targets.P50, (20.0, 90.0), others=0.1)).void
    assert "other work took 11% of the machine" == only_row(noted(targets.P50, (20, 90), others=0.11)).void


def test_a_row_is_void_where_the_machine_changed_its_speed() -> None:
    """The endpoint does the same for every event, so its CPU is the measure of the machine."""
    results = noted(targets.CPU, (30, 100), (30, 100))
    results.runs = [throughput(endpoint_cpu_us=20), throughput(endpoint_cpu_us=25)]
    assert "" == only_row(results).void
    results.runs.append(throughput(endpoint_cpu_us=30))
    assert "the machine's speed changed: 20 to 30 µs in the endpoint" == only_row(results).void
    results.runs = [throughput(), throughput("loop", endpoint_cpu_us=30)]
    assert "" == only_row(results).void


def test_a_rate_is_void_where_the_endpoint_had_no_more_to_give() -> None:
    results = noted(targets.RATE, (3000, 1000))
    results.runs = [throughput(endpoint_cores=0.91)]

    assert "the endpoint was the bottleneck: 0.91 of a core" == only_row(results).void


def test_results_are_read_as_they_were_saved(tmp_path: Path) -> None:
    """The pages are made of the file, at any later time."""
    results = noted(targets.CPU, (30, 100))
    results.runs = [throughput()]
    save(results, tmp_path / "bench.json")

    assert results == load(tmp_path / "bench.json")
    assert markdown(results) == markdown(load(tmp_path / "bench.json"))


def test_what_went_wrong_is_in_the_report() -> None:
    """A run that lost events cannot pass for a good one."""
    results = noted(targets.CPU, (30, 100))
    results.faults.append("stop: 3 events lost")

    assert "- stop: 3 events lost" in markdown(results)


def test_the_work_of_children_is_our_own_also_when_they_have_ended() -> None:
    """Otherwise the programs under measurement would make every row void."""
    before_s = own_s()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)

    assert own_s() - before_s > 0.25


def test_every_target_is_in_what_is_published() -> None:
    """Where a figure is missing there, `make bench SAVE=1` was not run since it has a target."""
    assert {each.figure for each in targets.TARGETS} <= load().figures.keys()
