"""`python -m tests.bench`: runs the benchmark and prints it as Markdown. Talk goes to stderr.

The exit code is 0 whatever the figures are; 1 where a run lost events or did not come to its end.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from connector.sandbox.registry import FakeRegistry
from tests.bench import letters, records
from tests.bench.endpoint import Endpoint
from tests.bench.process import BenchError
from tests.bench.report import Results, machine, markdown
from tests.bench.runs import COMPARED, Bench, Idle
from tests.bench.stages import Stage, Stages
from tests.bridge_process import AWS_ENVIRON
from tests.services import MissingServiceError
from tests.services.kafka import shared

NAMES = ("throughput", "stop", "latency", "memory", "letters", "stages", "idle")
FEWEST_RECORDS = 5000
LATENCY_MS = 20.0
LATENCY_RUN_S = 20.0
ONE_THREAD_SHARE = 0.1
"""The loop with one thread is so slow that it gets this share of the topic."""


def main() -> int:
    asked = _arguments()
    wanted = set(asked.only or NAMES)
    if asked.quick and not asked.only:
        wanted -= {"memory", "letters", "idle"}
    os.environ.update(AWS_ENVIRON)  # the stages run in this process
    try:
        results = _run(asked, wanted)
    except (BenchError, MissingServiceError) as error:
        print(error, file=sys.stderr)
        return 1
    print(markdown(results))
    if asked.json:
        asked.json.write_text(json.dumps(dataclasses.asdict(results), indent=2))
    return 1 if results.lost else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20,000 records, one round, no backlog")
    parser.add_argument("--records", type=int, metavar="N", help="records on the topic (100,000)")
    parser.add_argument("--rounds", type=int, metavar="N", help="bridge and loop in turn, so often (2)")
    parser.add_argument(
        "--backlog", type=int, metavar="N", default=500_000, help="records waiting (500,000; 0: none)"
    )
    parser.add_argument("--letters", type=int, metavar="N", default=200_000, help="dead letters (200,000)")
    parser.add_argument("--only", action="append", choices=NAMES, help="only this; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there as well")
    asked = parser.parse_args()
    asked.records = asked.records or (20_000 if asked.quick else 100_000)
    if asked.records < FEWEST_RECORDS:
        parser.error(f"--records: fewer than {FEWEST_RECORDS:,} are over before they can be measured")
    asked.rounds = asked.rounds or (1 if asked.quick else 2)
    return asked


def _run(asked: argparse.Namespace, wanted: set[str]) -> Results:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        FakeRegistry() as registry,
        Endpoint(latency_ms=LATENCY_MS) as endpoint,
    ):
        schema_id = registry.register("bench-value", records.SCHEMA)
        kafka = shared()
        try:
            results = Results(machine(kafka.description))
            bench = Bench(
                kafka.client,
                registry_url=registry.url,
                schema_id=schema_id,
                endpoint=endpoint,
                folder=Path(folder),
                say=_say,
            )
            bench.warm_up()
            _measure(bench, asked, wanted, results)
            if "stages" in wanted:
                _say("stages, in this process")
                results.stages = _stages(bench, endpoint, schema_id)
        finally:
            kafka.close()
    return results


def _measure(bench: Bench, asked: argparse.Namespace, wanted: set[str], results: Results) -> None:
    count: int = asked.records
    topic = bench.topic("orders", count) if wanted & {"throughput", "stop"} else ""
    if "throughput" in wanted:
        for _ in range(asked.rounds):
            results.throughput += [bench.throughput(program, topic, count) for program in COMPARED]
        few = max(1000, round(count * ONE_THREAD_SHARE))
        results.throughput.append(bench.throughput("loop, one thread", topic, few, whole=False))
    if "stop" in wanted:
        results.stop = [bench.stop(program, topic, count) for program in COMPARED]
    if "latency" in wanted:
        seconds = LATENCY_RUN_S / 4 if asked.quick else LATENCY_RUN_S
        results.latency = [bench.latency(program, seconds) for program in COMPARED]
    if "memory" in wanted and asked.backlog:
        results.memory = bench.memory(bench.topic("backlog", asked.backlog), asked.backlog)
    if "idle" in wanted:
        results.idle = _idle(bench)
    if "letters" in wanted:
        results.letters = letters.measure(bench, count=asked.letters, compared=count, rounds=3)


def _idle(bench: Bench) -> list[Idle]:
    return [
        bench.idle("idle", waiting=0, after_s=10, at_most=0.01),
        bench.idle(
            "idle, its endpoint cannot be reached", waiting=0, after_s=10, at_most=0.01, is_reachable=False
        ),
        # By then as much is pending as may be.
        bench.idle(
            "full, its endpoint cannot be reached",
            waiting=30_000,
            after_s=90,
            at_most=0.02,
            is_reachable=False,
        ),
    ]


def _stages(bench: Bench, endpoint: Endpoint, schema_id: int) -> list[Stage]:
    count = 50_000
    topic = bench.topic("stages", count)
    with Stages(bench.settings(topic), endpoint=endpoint, schema_id=schema_id) as stages:
        poll = stages.poll(lambda: bench.settings(topic), count)
        return [poll, *stages.bridge(), *stages.loop(bench.loop_arguments(topic, threads=16))]


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
