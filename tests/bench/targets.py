"""The targets, and whether a run met them; what makes a row void."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from tests.bench.results import Figure, Results

OTHER_WORK = 0.10
"""Where other work takes more of the machine, a round is disturbed."""
DRIFT = 0.30
"""The endpoint does the same for each event: where its CPU differs more between rounds, the machine did."""
FULL_CORE = 0.90
"""The endpoint has one thread. Busier than this, it is what limits the rate."""


@dataclass(frozen=True, slots=True)
class Target:
    """The bound of one figure: of its ratio to what it is compared with, or of its median."""

    figure: str
    at_most: float | None = None
    at_least: float | None = None
    stretch: float | None = None
    is_ratio: bool = False
    against: str = "the loop"
    digits: int = 0
    program: str = ""
    """Of the runs over a whole topic, those that it comes from, if any."""

    @property
    def bound(self) -> str:
        """As `≤ 0.3 × the loop, stretch 0.22`."""
        if self.at_most is None and self.at_least is None:
            return ""
        text = f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}"
        text += f" × {self.against}" * self.is_ratio
        return text + (f", stretch {self.stretch:g}" if self.stretch is not None else "")

    def met(self, value: float) -> str:
        """`yes`, or by how much it is not; empty where there is no bound."""
        if self.at_most is not None and value > self.at_most:
            return f"no: {value / self.at_most - 1:.0%} over"
        if self.at_least is not None and value < self.at_least:
            return f"no: {1 - value / self.at_least:.0%} under"
        if self.stretch is not None and value <= self.stretch:
            return "yes, stretch too"
        return "yes" if self.bound else ""


RECEIPTS = "CPU per event with receipts, µs"
CPU, CPU_TLS, RATE = "CPU per event, µs", "CPU per event over TLS, µs", "events/s"
RSS, RSS_BACKLOG = "peak RSS, MB", "peak RSS, a long backlog and an outage, MB"
P50, P99 = "record → EventId at 100/s, p50, ms", "record → EventId at 100/s, p99, ms"
START, START_50 = "start to first event, s", "start to an event of each of 50 sources, s"
STOP, HELP, IDLE = "SIGTERM under load to exit, s", "`--help`, s", "idle, % of a core"
IDLE_CUT_OFF = "idle, its endpoint cannot be reached, % of a core"
IDLE_FULL = "full, its endpoint cannot be reached, % of a core"
TWO = "events/s, two processes"
PAGE = "the page of 10,000 sources and 200 partitions, the slowest look, ms"
PAGE_P99 = "record → EventId at 100/s, p99, while somebody looks at the page, ms"
LISTED, REPLAYED, LETTERS_RSS = (
    "letters listed a second",
    "letters replayed a second",
    "peak RSS, letters, MB",
)

TARGETS = (
    Target(CPU, at_most=0.30, stretch=0.22, is_ratio=True, program="bridge"),
    Target(CPU_TLS, at_most=0.30, stretch=0.22, is_ratio=True, program="bridge over TLS"),
    Target(RECEIPTS, at_most=1.03, is_ratio=True, against="the bridge without", program="bridge"),
    Target(RATE, at_least=3.0, is_ratio=True, program="bridge"),
    Target(RSS, at_most=130, program="bridge"),
    Target(RSS_BACKLOG, at_most=130),
    Target(P50, at_most=30),
    Target(P99, at_most=60),
    Target(START, at_most=1.0, digits=2, program="bridge"),
    Target(START_50, at_most=2.0, digits=2),
    Target(PAGE, at_most=300),
    Target(PAGE_P99, at_most=1.1, is_ratio=True, against="while nobody looks"),
    Target(IDLE, at_most=1.0, digits=2),
    Target(STOP, at_most=0.5, digits=2),
    Target(HELP, at_most=0.4, digits=2),
    Target(TWO, is_ratio=True, against="one process"),
    Target(IDLE_CUT_OFF, at_most=1.0, digits=2),
    Target(IDLE_FULL, at_most=2.0, digits=2),
    Target(LISTED, at_least=30_000),
    Target(REPLAYED, at_least=0.8, is_ratio=True, against="the bridge"),
    Target(LETTERS_RSS, at_most=200),
)


class Row(NamedTuple):
    """One figure next to its target, as the table shows it."""

    figure: str
    target: str
    measured: str
    beside: str
    """What it is compared with."""
    ratio: str
    met: str
    void: str
    """Why it says nothing; empty where it does."""


def rows(results: Results) -> list[Row]:
    """The rows of everything that was measured, in the order of `TARGETS`."""
    return [
        _row(target, results.figures[target.figure], _void(target, results))
        for target in TARGETS
        if target.figure in results.figures
    ]


def _row(target: Target, figure: Figure, void: str) -> Row:
    measured = median(figure.bridge)
    beside, ratio, value = "", "", measured
    if figure.against:
        ratios = sorted(one / other for one, other in zip(figure.bridge, figure.against, strict=True))
        beside = f"{target.against}: {median(figure.against):,.{target.digits}f}"
        ratio = f"{median(ratios):.2f}" + _range(ratios, digits=2)
        value = median(ratios) if target.is_ratio else measured
    spread = "" if target.is_ratio else _range(sorted(figure.bridge), digits=target.digits)
    return Row(
        target.figure,
        target.bound,
        f"{measured:,.{target.digits}f}{spread}",
        beside,
        ratio,
        target.met(value),
        void,
    )


def _range(ordered: Sequence[float], *, digits: int) -> str:
    least, most = (f"{value:,.{digits}f}" for value in (ordered[0], ordered[-1]))
    return f" ({least} to {most})" if least != most else ""


def _void(target: Target, results: Results) -> str:
    """Why a row says nothing; empty where it does."""
    others = median(results.figures[target.figure].others)
    if others > OTHER_WORK:
        return f"other work took {others:.0%} of the machine"
    runs = [run for run in results.runs if run.program == target.program]
    if not runs:
        return ""
    spent_us = sorted(run.endpoint_cpu_us for run in runs)
    if spent_us[-1] / spent_us[0] > 1 + DRIFT:
        return f"the machine's speed changed: {spent_us[0]:.0f} to {spent_us[-1]:.0f} µs in the endpoint"
    busy = median(run.endpoint_cores for run in runs)
    if target.figure == RATE and busy > FULL_CORE:
        return f"the endpoint was the bottleneck: {busy:.2f} of a core"
    return ""
