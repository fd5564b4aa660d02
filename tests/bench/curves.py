"""`python -m tests.bench.curves`: how the cost of an event depends on what users differ in.

Each curve changes one thing and leaves the rest as the benchmark has it. Its points are measured in turn, in
several rounds; a figure is the median of its rounds. `--save` writes figures and plots for the docs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter

from tests.bench import machine
from tests.bench.plots import plot
from tests.bench.process import BenchError, say
from tests.bench.records import Shape
from tests.bench.report import table
from tests.bench.results import FOLDER
from tests.bench.runs import DEFAULTS, PARTITIONS, UNSEEN, Bench, Throughput, Variant, lone_bench
from tests.bench.targets import OTHER_WORK
from tests.services import MissingServiceError

FILE = FOLDER / "curves.json"
FLAT = 1.15
"""Where the dearest point is no dearer than so many times the cheapest, a curve is flat."""
UNEXPLAINED = "It should be flat."
LATENCY_MS = 20.0
MILLION = 1_000_000
ORDERS = Shape(distinct=10_000)


@dataclass(frozen=True, slots=True)
class Point:
    """What one point of a curve has; by default as the benchmark."""

    label: str
    shape: Shape = ORDERS
    count: int = 20_000
    """Events that are measured."""
    waiting: int = 0
    """Records on the topic, where they are more."""
    partitions: int = PARTITIONS
    variant: Variant = DEFAULTS
    latency_ms: float = LATENCY_MS
    once: bool = False
    """It takes so long that one round must do."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One thing that users differ in."""

    name: str
    """Also of the plot's file."""
    title: str
    points: Sequence[Point]
    why: str
    """Why it is as it is, where it is not flat."""


CURVES = (
    Curve(
        "record-size",
        "Size of a record",
        [
            Point("76 B"),
            Point("1 KB", Shape(padding_bytes=950, distinct=5_000)),
            Point("20 KB", Shape(padding_bytes=20_000, distinct=500), count=5_000),
        ],
        "Every byte is decoded, written as JSON, hashed for the signature and sent, and only "
        "`batch.byte_size` bytes fit in a request, 12 events of 20 KB. What waits in the bridge takes up to "
        "`delivery.max_pending_bytes`, 64 MiB.",
    ),
    Curve(
        "partitions",
        "Partitions of the topic",
        [Point(f"{count}", partitions=count) for count in (1, 6, 100)],
        "librdkafka fetches and hands over each partition by itself.",
    ),
    Curve(
        "keys",
        "Keys",
        [
            Point("1, of one source", Shape(keys=1, sources=1, distinct=10_000), count=5_000),
            Point("10", Shape(keys=10, distinct=10_000), count=10_000),
            Point("10⁶", Shape(keys=MILLION, distinct=10_000), count=MILLION, once=True),
        ],
        "Records of one key go one request at a time, so few keys leave few requests in flight, and the loop "
        "deals with fewer answers in a turn.",
    ),
    Curve(
        "sources",
        "Partner event sources",
        [
            Point("1", Shape(sources=1, distinct=10_000), count=30_000, variant=UNSEEN),
            Point("10,000", Shape(sources=10_000, distinct=10_000), count=30_000, variant=UNSEEN),
        ],
        "Each source has a queue, a state and counts of its own, and is looked up every minute.",
    ),
    Curve(
        "backlog",
        "Records that wait",
        [Point("10⁵", count=50_000, waiting=100_000), Point("10⁶", count=50_000, waiting=MILLION)],
        "",
    ),
    Curve(
        "latency",
        "Latency of the endpoint",
        [Point(f"{ms} ms", latency_ms=ms) for ms in (0, 20, 100)],
        "The longer a request takes, the fewer answers the loop finds in a turn.",
    ),
    Curve(
        "ordering",
        "`ordering`",
        [
            Point(name, variant=Variant(topic={"ordering": name}))
            for name in ("key", "partition", "unordered")
        ],
        "Order by partition leaves each partition and source one request at a time: fewer are in flight, and "
        "more records wait in the bridge.",
    ),
    Curve(
        "in-flight",
        "`max_in_flight`, at a latency of 100 ms",
        [
            Point(f"{count}", variant=Variant({"max_in_flight": count}), latency_ms=100)
            for count in (16, 32, 64)
        ],
        "The more requests are in flight, the more answers the loop deals with in a turn.",
    ),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one point costs."""

    label: str
    cpu_us: float
    rss_mb: float
    events_per_s: float
    events_per_request: float
    others: float
    """The share of the machine that other work took."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Everything that was measured, by the name of the curve."""

    command: str
    machine: Mapping[str, str]
    points: Mapping[str, Sequence[Measured]]


_JSON = TypeAdapter(Curves)


def load(file: Path = FILE) -> Curves:
    """The figures of the docs."""
    return _JSON.validate_json(file.read_bytes())


def main() -> int:
    asked = _arguments()
    try:
        curves = _run([curve for curve in CURVES if curve.name in asked.only], asked.rounds)
    except (BenchError, MissingServiceError) as error:
        print(error, file=sys.stderr)
        return 1
    print(markdown(curves))
    if asked.save:
        FILE.write_bytes(_JSON.dump_json(curves, indent=2) + b"\n")
        for name, points in curves.points.items():
            cpu = [(point.label, point.cpu_us) for point in points]
            rss = [(point.label, point.rss_mb) for point in points]
            plot({"CPU µs/event": cpu, "RSS MB": rss}, FOLDER / f"{name}.svg")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.curves", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each point (3)")
    names = [curve.name for curve in CURVES]
    parser.add_argument("--only", action="append", choices=names, help="only this; may be repeated")
    parser.add_argument("--save", action="store_true", help=f"write {FILE.name} and the plots of the docs")
    asked = parser.parse_args()
    if asked.only and asked.save:
        parser.error("--save: the docs show all curves of one run")
    asked.only = asked.only or names
    return asked


def _run(curves: Sequence[Curve], rounds: int) -> Curves:
    with lone_bench(LATENCY_MS) as (bench, kafka):
        command = " ".join(["python -m tests.bench.curves", *sys.argv[1:]])
        topics: dict[tuple[Shape, int, int], str] = {}
        return Curves(
            command,
            machine.described(kafka),
            {curve.name: _measured(bench, curve, rounds, topics) for curve in curves},
        )


def _measured(
    bench: Bench, curve: Curve, rounds: int, topics: dict[tuple[Shape, int, int], str]
) -> list[Measured]:
    runs: dict[str, list[Throughput]] = {point.label: [] for point in curve.points}
    for number in range(rounds):
        for point in curve.points:
            if number and point.once:
                continue
            waiting = max(point.count, point.waiting)
            like = (point.shape, waiting, point.partitions)
            if like not in topics:
                topics[like] = bench.topic(curve.name, waiting, point.shape, partitions=point.partitions)
            say(f"{curve.name}, {point.label}")
            runs[point.label].append(
                bench.throughput(
                    "bridge",
                    topics[like],
                    point.count,
                    whole=False,
                    variant=point.variant,
                    latency_ms=point.latency_ms,
                )
            )
    return [
        Measured(
            label,
            cpu_us=median(run.cpu_us for run in found),
            rss_mb=median(run.peak_rss_bytes for run in found) / 1e6,
            events_per_s=median(run.events_per_s for run in found),
            events_per_request=median(run.events_per_request for run in found),
            others=median(run.others for run in found),
        )
        for label, found in runs.items()
    ]


def markdown(curves: Curves, *, plots: str = "") -> str:
    """Each curve as a table and a sentence; `plots` is the folder of the plots, seen from the page."""
    parts = [
        "\n".join(
            f"- {name}: {text}" for name, text in {"command": f"`{curves.command}`", **curves.machine}.items()
        )
    ]
    for curve in CURVES:
        if points := curves.points.get(curve.name):
            parts += [f"### {curve.title}", *([f"![{curve.title}]({plots}/{curve.name}.svg)"] * bool(plots))]
            parts += [table(_HEADER, map(_cells, points)), verdict(curve, points)]
    return "\n\n".join(parts)


def verdict(curve: Curve, points: Sequence[Measured]) -> str:
    """Whether it is flat; where it is not, why."""
    cpu, rss = (_spread([getattr(point, name) for point in points]) for name in ("cpu_us", "rss_mb"))
    text = f"CPU for an event {_in_words(cpu)}, memory {_in_words(rss)}."
    if max(cpu, rss) > FLAT:
        text += f" {curve.why or UNEXPLAINED}"
    others = max(point.others for point in points)
    return (
        text if others <= OTHER_WORK else f"Void: other work took up to {others:.0%} of the machine. {text}"
    )


_HEADER = ("", "CPU µs/event", "RSS MB", "events/s", "events in a request", "other work")


def _cells(point: Measured) -> list[str]:
    return [
        point.label,
        f"{point.cpu_us:.0f}",
        f"{point.rss_mb:.0f}",
        f"{point.events_per_s:,.0f}",
        f"{point.events_per_request:.1f}",
        f"{point.others:.0%}",
    ]


def _spread(figures: Sequence[float]) -> float:
    return max(figures) / min(figures)


def _in_words(spread: float) -> str:
    return f"is flat (within {spread - 1:.0%})" if spread <= FLAT else f"differs by a factor of {spread:.2f}"


if __name__ == "__main__":
    sys.exit(main())
