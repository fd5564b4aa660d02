"""The results as people read them, in Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from statistics import median

from tests.bench.results import Results
from tests.bench.runs import Throughput
from tests.bench.stages import Stage
from tests.bench.targets import (
    CPU,
    CPU_TLS,
    DRIFT,
    FULL_CORE,
    OTHER_WORK,
    P99,
    RATE,
    RSS_BACKLOG,
    START,
    STOP,
    rows,
)

IN_SHORT = (CPU, CPU_TLS, RATE, RSS_BACKLOG, P99, START, STOP)
"""The figures that README shows."""
METHOD = (
    "Figures are taken from outside the programs: CPU and memory from `/proc`, events and times from the "
    "fake EventBridge. One is not: what receipts cost is the CPU of the benchmark's own process while it "
    "writes them, on top of what the bridge took; between two runs, noise is several times as much. Rounds "
    "are interleaved, bridge and loop in turn; a cell is the median of its rounds, with the least and the "
    "most, and a ratio is the median of the ratios of the rounds."
)
VOID = (
    f"A row is void where other work took more than {OTHER_WORK:.0%} of the machine in the median round; "
    f"where the endpoint's CPU for an event, which is always the same work, differs by more than {DRIFT:.0%} "
    f"between rounds; or, for a rate, where the endpoint's one thread was busy for over {FULL_CORE:.0%} of "
    "the time. A broker that the benchmark did not start counts as other work."
)


def markdown(results: Results) -> str:
    """All of it."""
    parts = [conditions(results), target_table(results), METHOD, VOID]
    parts += [run_table(results)] if results.runs else []
    parts += [stage_table(results.stages)] if results.stages else []
    parts += ["\n".join(f"- {fault}" for fault in results.faults)] if results.faults else []
    return "\n\n".join(parts)


def conditions(results: Results) -> str:
    """What was run, on what."""
    lines = {"command": f"`{results.command}`", **results.machine}
    return "\n".join(f"- {name}: {text}" for name, text in lines.items())


def target_table(results: Results, only: Collection[str] = ()) -> str:
    """Each figure next to its target, or `only` these."""
    header = ("figure", "target", "measured", "beside it", "ratio", "met", "void, because")
    return table(header, [row for row in rows(results) if not only or row.figure in only])


def run_table(results: Results) -> str:
    """The runs over a whole topic: medians of each program."""
    header = (
        "program",
        "CPU µs/event",
        "events/s",
        "cores",
        "RSS MB",
        "endpoint's CPU µs/event",
        "its cores",
    )
    programs = dict.fromkeys(run.program for run in results.runs)
    lines = []
    for program in programs:
        runs = [run for run in results.runs if run.program == program]

        def mid(name: str, runs: Sequence[Throughput] = runs) -> float:
            return float(median(getattr(run, name) for run in runs))

        cells = [f"{mid('cpu_us'):.0f}", f"{mid('events_per_s'):,.0f}", f"{mid('cores'):.2f}"]
        cells += [f"{mid('peak_rss_bytes') / 1e6:.0f}", f"{mid('endpoint_cpu_us'):.0f}"]
        lines.append([program, *cells, f"{mid('endpoint_cores'):.2f}"])
    return table(header, lines)


def stage_table(stages: Iterable[Stage]) -> str:
    """Where the microseconds go."""
    return table(
        ("program", "stage", "CPU µs/event"), [[s.program, s.name, f"{s.cpu_us:.1f}"] for s in stages]
    )


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *lines))
