"""`python -m tests.bench.traces`: what spans cost an event: off, sampled at 1 %, and all of them.

It is the worst case for links: every record names a trace. What is timed is all CPU of this process for
answered requests, with the thread that sends their spans; the collector is another process. In turn with it
a bridge without spans runs over a topic, which says what an event costs. `--save` writes the figures of the
docs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from statistics import median
from unittest.mock import patch

from pydantic import TypeAdapter

from connector import process
from connector.model import Answer, Delivered, Partition, Record
from connector.telemetry.metrics import Telemetry
from connector.telemetry.traces import FLUSH_S, start_traces
from tests.bench import machine, records
from tests.bench.process import BenchError, say
from tests.bench.report import table
from tests.bench.results import FOLDER
from tests.bench.runs import lone_bench
from tests.bench.stages import BATCH
from tests.services import MissingServiceError
from tests.services.collector import collecting

FILE = FOLDER / "traces.json"
LATENCY_MS = 20.0
EVENTS = 40_000
"""Of the bridge, in each round."""
SAMPLED: Mapping[str, float | None] = {"off": None, "sampled at 1 %": 0.01, "all sampled": 1.0}
REQUESTS = 20_000
"""In each round; 200 of them are sampled at 1 %."""
FEWER_REQUESTS = 1_000
"""Where all are sampled: the SDK's queue has room for no more, and drops the rest."""
ANSWER = Answer([Delivered("id")] * BATCH, None, "request", 0.02)
RECORDS = [
    Record(
        Partition("orders", 0),
        number,
        None,
        None,
        None,
        (("traceparent", b"00-%032x-00f067aa0ba902b7-01" % (number + 1)),),
    )
    for number in range(BATCH)
]


@dataclass(frozen=True, slots=True)
class TraceCosts:
    """What the rounds measured, in µs of CPU for an event, in order."""

    command: str
    machine: Mapping[str, str]
    event_us: Sequence[float]
    """All that an event costs the bridge, without spans."""
    spans_us: Mapping[str, Sequence[float]]
    """What spans add to it, by how much is sampled."""


_JSON = TypeAdapter(TraceCosts)


def load() -> TraceCosts:
    """The figures of the docs."""
    return _JSON.validate_json(FILE.read_bytes())


def markdown(costs: TraceCosts) -> str:
    """What was run, and a table."""
    conditions = {"command": f"`{costs.command}`", **costs.machine}
    event_us = median(costs.event_us)
    lines = []
    for sampled, spans_us in costs.spans_us.items():
        # Of each round by itself, since the machine's speed changes between them.
        share = median(spans / event for spans, event in zip(spans_us, costs.event_us, strict=True))
        lines.append([sampled, f"{median(spans_us):.2f}", f"{share:.1%}"])
    return "\n\n".join(
        [
            "\n".join(f"- {name}: {text}" for name, text in conditions.items()),
            table(("spans", "CPU µs/event", f"of an event's {event_us:.0f} µs"), lines),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.traces", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="how often (9)")
    parser.add_argument("--save", action="store_true", help=f"write {FILE.name} of the docs")
    asked = parser.parse_args()
    process.tune_gc()  # as the bridge does
    try:
        costs = _run(asked.rounds)
    except (BenchError, MissingServiceError) as error:
        print(error, file=sys.stderr)
        return 1
    print(markdown(costs))
    if asked.save:
        FILE.write_bytes(_JSON.dump_json(costs, indent=2) + b"\n")
    return 0


def _run(rounds: int) -> TraceCosts:
    event_us: list[float] = []
    spans_us: dict[str, list[float]] = {sampled: [] for sampled in SAMPLED}
    with _collector() as url, lone_bench(LATENCY_MS) as (bench, kafka):
        telemetries = {sampled: _telemetry(url, ratio) for sampled, ratio in SAMPLED.items()}
        command = " ".join(["python -m tests.bench.traces", *sys.argv[1:]])
        about = machine.described(kafka)
        topic = bench.topic("traces", EVENTS)
        process.freeze_gc()
        for _ in range(rounds):
            event_us.append(bench.throughput("bridge", topic, EVENTS, whole=False).cpu_us)
            for sampled, telemetry in telemetries.items():
                requests = FEWER_REQUESTS if SAMPLED[sampled] == 1 else REQUESTS
                spans_us[sampled].append(_spans_s(telemetry, requests) / (requests * BATCH) * 1e6)
                say(f"spans, {sampled}: {spans_us[sampled][-1]:.2f} µs an event")
    about |= {"opentelemetry-sdk": version("opentelemetry-sdk")}
    return TraceCosts(command, about, event_us, spans_us)


def _telemetry(url: str, ratio: float | None) -> Telemetry:
    """One that samples so much, or sends no spans."""
    telemetry = Telemetry()
    if ratio is not None:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": str(ratio),
        }
        with patch.dict(os.environ, variables):
            telemetry.traces = start_traces(
                name="bench",
                command="run",
                destinations={"default": (records.REGION, "https://localhost")},
                environ=os.environ,
            )
    return telemetry


def _spans_s(telemetry: Telemetry, requests: int) -> float:
    """The CPU time, in seconds, of so many answered requests, until their spans are sent."""
    began_s = time.process_time()
    for _ in range(requests):
        with telemetry.handling("default", ANSWER, iter(RECORDS), entries=BATCH):
            pass
    if telemetry.traces is not None:
        telemetry.traces.close(FLUSH_S)
    return time.process_time() - began_s


@contextmanager
def _collector() -> Iterator[str]:
    """The address of a collector in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    other = context.Process(target=_collect, args=(theirs,), daemon=True)
    other.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        other.join()


def _collect(pipe: Connection) -> None:
    with collecting() as collector:
        pipe.send(collector.url)
        pipe.recv()


if __name__ == "__main__":
    sys.exit(main())
