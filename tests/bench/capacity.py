"""The model of `docs/capacity.md`: events a second of one process, and processes for a flow of events.

Its inputs are the measured curves and the default settings; nothing here is a guess but `HEADROOM`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from connector.cli.ceiling import ASSUMED_LATENCIES_S
from connector.config.settings import Target
from tests.bench.curves import Curves, Measured, load
from tests.bench.report import table
from tests.bench.results import Results
from tests.bench.results import load as results_of_docs
from tests.bench.targets import TWO

HEADROOM = 0.7
"""The part of a ceiling that is planned for; the rest is for catching up, and for pods that are away."""
OLD_QUOTA = 1400
"""Requests a second of an account in a Region, as AWS documented it until 2023."""
_DEFAULTS = Target(region="eu-central-1")


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one process can send, in events a second, by what limits it."""

    core: float
    in_flight: float

    @property
    def lowest(self) -> float:
        return min(self.core, self.in_flight)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a flow of events needs."""

    processes: int
    requests_per_s: float


def ceiling(record: Measured, latency_s: float, *, max_in_flight: int = _DEFAULTS.max_in_flight) -> Ceiling:
    """What one process can send of a record like this, where an answer takes so long."""
    return Ceiling(1e6 / record.cpu_us, max_in_flight * record.events_per_request / latency_s)


def plan(events_per_s: float, record: Measured, latency_s: float) -> Plan:
    """How many processes a flow needs, with headroom, and how many requests a second it makes."""
    each = ceiling(record, latency_s).lowest * HEADROOM
    return Plan(math.ceil(events_per_s / each), events_per_s / record.events_per_request)


def records(curves: Curves) -> Sequence[Measured]:
    """The measured sizes of records."""
    return curves.points["record-size"]


def process_table(curves: Curves | None = None) -> str:
    """What one process can send, by size of the record."""
    near_s, far_s = ASSUMED_LATENCIES_S
    header = (
        "record",
        "CPU µs/event",
        "events in a request",
        "a core",
        f"requests at once, {near_s * 1000:.0f} ms",
        f"requests at once, {far_s * 1000:.0f} ms",
        "quota of 1,400 requests/s",
    )
    lines = []
    for record in records(curves or load()):
        near, far = (ceiling(record, latency_s) for latency_s in ASSUMED_LATENCIES_S)
        rates = (near.core, near.in_flight, far.in_flight, OLD_QUOTA * record.events_per_request)
        cells = [
            f"{record.cpu_us:.0f}",
            f"{record.events_per_request:.1f}",
            *(f"{rate:,.0f}" for rate in rates),
        ]
        lines.append([record.label, *cells])
    return table(header, lines)


def example(events_per_s: int = 20_000, curves: Curves | None = None) -> str:
    """A worked example, in sentences."""
    record = next(each for each in records(curves or load()) if each.label == "1 KB")
    latency_s = ASSUMED_LATENCIES_S[0]
    one, needed = ceiling(record, latency_s), plan(events_per_s, record, latency_s)
    what = "core" if one.core < one.in_flight else "requests at once"
    fits = "fits into" if needed.requests_per_s <= OLD_QUOTA else "does not fit into"
    each, count, at_once = one.lowest * HEADROOM, needed.processes, _DEFAULTS.max_in_flight
    share = f"{HEADROOM:.0%} of that is {each:,.0f}"
    steps = {
        "Quota": f"{events_per_s:,} ÷ {record.events_per_request:.1f} events in a request = "
        f"{needed.requests_per_s:,.0f} requests a second, which {fits} {OLD_QUOTA:,}.",
        "One process": f"Its core gives {one.core:,.0f} events a second, {at_once} requests at once give "
        f"{one.in_flight:,.0f}. The lower limit: {what}; {share}.",
        "Processes": f"{events_per_s:,} ÷ {each:,.0f}, rounded up: {count}.",
        "Partitions": f"At least {count}. With {count * 3} there is room for more, and each has three.",
        "Memory": f"{count} × {record.rss_mb:.0f} MB.",
    }
    head = f"{events_per_s:,} events a second of 1 KB, answered in {latency_s * 1000:.0f} ms:"
    lines = [f"{number}. **{name}.** {text}" for number, (name, text) in enumerate(steps.items(), 1)]
    return "\n".join([head, "", *lines])


def gain(results: Results | None = None) -> str:
    """What a second process adds, in a sentence."""
    figure = (results or results_of_docs()).figures[TWO]
    times = median(two / one for two, one in zip(figure.bridge, figure.against, strict=True))
    return (
        f"Two processes sent {times:.2f} times the events of one, on two cores shared with broker and "
        "endpoint: see [`make bench`](performance.md#targets)."
    )
