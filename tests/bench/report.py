"""The result as people and machines read it."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from tests.bench.letters import Letters
from tests.bench.runs import Idle, Latency, Memory, Program, Stop, Throughput
from tests.bench.stages import Stage

LIBRARIES = ("confluent-kafka", "fastavro", "orjson", "boto3", "botocore", "aiohttp")


@dataclass(slots=True)
class Results:
    """Everything that was measured; what was left out is empty."""

    machine: dict[str, str]
    throughput: list[Throughput] = field(default_factory=list)
    stop: list[Stop] = field(default_factory=list)
    latency: list[Latency] = field(default_factory=list)
    memory: Memory | None = None
    letters: Letters | None = None
    idle: list[Idle] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Records that no event was ever accepted for, over all runs."""
        runs: list[Throughput | Stop | Latency | Memory] = [*self.throughput, *self.stop, *self.latency]
        return sum(run.lost for run in runs) + sum(run.lost for run in (self.memory, self.letters) if run)


class Row(NamedTuple):
    """One figure of the table."""

    figure: str
    bridge: str
    loop: str
    ratio: str
    target: str
    met: str


def machine(kafka: str) -> dict[str, str]:
    """What the figures were taken on, and with which versions."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "machine": f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "commit": _commit(),
        "Kafka": kafka,
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in LIBRARIES)]
        ),
    }


def markdown(results: Results) -> str:
    """All tables."""
    lines = [f"- {name}: {text}" for name, text in results.machine.items()]
    if rows := [
        *_throughput_rows(results),
        *_latency_rows(results),
        *_stop_rows(results),
        *[
            _row(f"{run.what}, % of a core", run.share * 100, None, at_most=run.at_most * 100, digits=2)
            for run in results.idle
        ],
        *_letter_rows(results),
    ]:
        lines += ["", *_table(Row._fields, rows)]
    if rounds := results.throughput:
        header = ("run", "CPU µs/event", "events/s", "RSS MB", "first event s", "endpoint's CPU µs/event")
        lines += ["", *_table(header, map(_run, rounds))]
        lines += ["", "The endpoint does the same for each event, so its CPU says how fast the machine was."]
    if results.stages:
        lines += ["", *_table(("program", "stage", "CPU µs/event"), map(_stage, results.stages))]
    lines += ["", f"Lost: {results.lost}."]
    return "\n".join(lines)


def _throughput_rows(results: Results) -> list[Row]:
    bridge, loop = _of(results, "bridge"), _of(results, "loop")
    rows = []
    if bridge and loop:
        cpu_us = [run.cpu_us for run in bridge], [run.cpu_us for run in loop]
        per_s = [run.events_per_s for run in bridge], [run.events_per_s for run in loop]
        first_s = [run.first_event_s for run in bridge], [run.first_event_s for run in loop]
        rss_mb = [run.peak_rss_bytes / 1e6 for run in bridge], [run.peak_rss_bytes / 1e6 for run in loop]
        rows += [
            _ratio_row("CPU per event, µs", *cpu_us, at_most=0.45, goal=0.30),
            _ratio_row("events/s", *per_s, at_least=3.0),
            _row("start to first event, s", max(first_s[0]), max(first_s[1]), at_most=3.0, digits=2),
            _row("peak RSS, MB", max(rss_mb[0]), max(rss_mb[1]), at_most=200.0, goal=150.0),
        ]
    if (memory := results.memory) is not None:
        figure = f"peak RSS, {memory.backlog:,} records waiting and an outage, MB"
        rows.append(_row(figure, memory.peak_rss_bytes / 1e6, None, at_most=200.0, goal=150.0))
    return rows


def _latency_rows(results: Results) -> list[Row]:
    of = {each.program: each for each in results.latency}
    if "bridge" not in of:
        return []
    bridge, loop = of["bridge"], of.get("loop")
    return [
        _row(
            "record → EventId at 100/s, p50, ms", bridge.p50_ms, loop.p50_ms if loop else None, at_most=40.0
        ),
        _row(
            "record → EventId at 100/s, p99, ms", bridge.p99_ms, loop.p99_ms if loop else None, at_most=120.0
        ),
    ]


def _stop_rows(results: Results) -> list[Row]:
    of = {each.program: each for each in results.stop}
    if "bridge" not in of:
        return []
    bridge, loop = of["bridge"], of.get("loop")
    row = _row(
        "SIGTERM under load to exit, s",
        bridge.seconds,
        loop.seconds if loop else None,
        at_most=2.02,
        digits=2,
    )
    if bridge.exit_code != 0:
        row = row._replace(bridge=f"{row.bridge}, exit code {bridge.exit_code}", met="no")
    return [row]


def _letter_rows(results: Results) -> list[Row]:
    if (letters := results.letters) is None:
        return []
    ratio, met = _target(letters.ratio, at_least=0.8)
    listed, listed_met = _target(letters.listed_per_s, at_least=30_000)
    rss_mb = max(letters.list_rss_bytes, letters.replay_rss_bytes) / 1e6
    replayed = ", ".join(f"{each.replayed_per_s:,.0f}" for each in letters.rounds)
    bridged = ", ".join(f"{each.bridge_per_s:,.0f}" for each in letters.rounds)
    return [
        Row("letters listed a second", f"{letters.listed_per_s:,.0f}", "", "", listed, listed_met),
        Row(
            "letters replayed a second, by round",
            replayed,
            f"bridge: {bridged}",
            f"{letters.ratio:.2f} (median)",
            f"ratio {ratio}",
            met,
        ),
        _row(f"peak RSS with {letters.letters:,} letters, MB", rss_mb, None, at_most=200.0),
    ]


def _ratio_row(
    figure: str,
    bridge: Sequence[float],
    loop: Sequence[float],
    *,
    at_most: float | None = None,
    goal: float | None = None,
    at_least: float | None = None,
) -> Row:
    """A figure whose target is a ratio; each round gives one, and their spread is shown."""
    ratio = statistics.mean(bridge) / statistics.mean(loop)
    rounds = sorted(one / other for one, other in zip(bridge, loop, strict=False))
    target, met = _target(ratio, at_most=at_most, goal=goal, at_least=at_least)
    return Row(
        figure,
        f"{statistics.mean(bridge):,.0f}",
        f"{statistics.mean(loop):,.0f}",
        f"{ratio:.2f} ({rounds[0]:.2f} to {rounds[-1]:.2f})",
        f"ratio {target}",
        met,
    )


def _row(
    figure: str,
    bridge: float,
    loop: float | None,
    *,
    at_most: float,
    goal: float | None = None,
    digits: int = 0,
) -> Row:
    """A figure whose target is absolute."""
    target, met = _target(bridge, at_most=at_most, goal=goal)
    return Row(
        figure,
        f"{bridge:.{digits}f}",
        "" if loop is None else f"{loop:.{digits}f}",
        "" if loop is None else f"{bridge / loop:.2f}",
        target,
        met,
    )


def _target(
    value: float, *, at_most: float | None = None, goal: float | None = None, at_least: float | None = None
) -> tuple[str, str]:
    if at_least is not None:
        return f"≥ {at_least:g}", "yes" if value >= at_least else "no"
    assert at_most is not None
    met = "yes" if value <= at_most else "no"
    if goal is None:
        return f"≤ {at_most:g}", met
    return f"≤ {at_most:g}, later ≤ {goal:g}", "yes, both" if value <= goal else met


def _of(results: Results, program: Program) -> list[Throughput]:
    return [run for run in results.throughput if run.program == program]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def _run(run: Throughput) -> list[str]:
    figures = [f"{run.cpu_us:.0f}", f"{run.events_per_s:,.0f}"]
    figures += [f"{run.peak_rss_bytes / 1e6:.0f}", f"{run.first_event_s:.2f}", f"{run.endpoint_cpu_us:.0f}"]
    return [run.program, *figures]


def _stage(stage: Stage) -> list[str]:
    return [stage.program, stage.name, f"{stage.cpu_us:.1f}"]


def _commit() -> str:
    """The commit, with a + where the files are not what it holds."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "--short", "HEAD")
    if commit is None:
        return "none"
    return f"{commit}+" if git("status", "--porcelain") else commit
