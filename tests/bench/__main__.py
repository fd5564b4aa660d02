"""`python -m tests.bench`: runs the benchmark and prints it as Markdown. Talk goes to stderr.

The exit code is 0 whatever the figures are; 1 where a run lost events or did not come to its end.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from connector import process
from connector.sandbox.registry import FakeRegistry
from tests.bench import letters, machine, records, targets
from tests.bench.endpoint import Endpoint
from tests.bench.machine import OtherWork
from tests.bench.process import BenchError, say
from tests.bench.records import Shape
from tests.bench.report import markdown
from tests.bench.results import FILE, Results, save
from tests.bench.runs import COMPARED, Bench, Throughput, Variant
from tests.bench.stages import Stage, Stages
from tests.bridge_process import AWS_ENVIRON
from tests.services import MissingServiceError
from tests.services.kafka import shared

NAMES = (
    "throughput",
    "tls",
    "receipts",
    "start",
    "help",
    "latency",
    "stop",
    "idle",
    "two",
    "page",
    "memory",
    "outage",
    "letters",
    "stages",
)
LEFT_OUT = {"page", "memory", "outage", "letters"}
"""What `--quick` leaves out."""
FEWEST_RECORDS = 5000
LATENCY_MS = 20.0
LOOP_SHARE = 0.4
"""The loop is slow, so it gets this share of the topic."""
SOURCES = 50


def main() -> int:
    asked = _arguments()
    os.environ.update(AWS_ENVIRON)  # the stages run in this process
    process.tune_gc()
    try:
        results = _run(asked, set(asked.only or set(NAMES) - (LEFT_OUT if asked.quick else set())))
    except (BenchError, MissingServiceError) as error:
        print(error, file=sys.stderr)
        return 1
    print(markdown(results))
    for file in [asked.json] * bool(asked.json) + [FILE] * asked.save:
        save(results, file)
    return 1 if results.faults else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20,000 records, one round, no backlog")
    parser.add_argument("--records", type=int, metavar="N", help="records on the topic (100,000)")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each figure is measured (5)")
    parser.add_argument("--backlog", type=int, metavar="N", default=500_000, help="records waiting (500,000)")
    parser.add_argument("--letters", type=int, metavar="N", default=200_000, help="dead letters (200,000)")
    parser.add_argument("--only", action="append", choices=NAMES, help="only this; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there as well")
    parser.add_argument("--save", action="store_true", help=f"write them to {FILE.name} of the docs")
    asked = parser.parse_args()
    asked.records = asked.records or (20_000 if asked.quick else 100_000)
    if asked.records < FEWEST_RECORDS:
        parser.error(f"--records: fewer than {FEWEST_RECORDS:,} are over before they can be measured")
    asked.rounds = asked.rounds or (1 if asked.quick else 5)
    return asked


def _run(asked: argparse.Namespace, wanted: set[str]) -> Results:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        FakeRegistry() as registry,
        Endpoint(latency_ms=LATENCY_MS) as endpoint,
        Endpoint(latency_ms=LATENCY_MS, checks=False) as light,
        Endpoint(latency_ms=LATENCY_MS, checks=False, tls=True) as light_tls,
    ):
        schema_id = registry.register("bench-value", records.SCHEMA)
        kafka = shared()
        try:
            command = " ".join(["python -m tests.bench", *sys.argv[1:]])
            results = Results(command, machine.described(kafka.description))
            plain, full, tls = (
                Bench(
                    kafka.client,
                    registry_url=registry.url,
                    schema_id=schema_id,
                    endpoint=each,
                    folder=Path(folder),
                )
                for each in (endpoint, light, light_tls)
            )
            plain.warm_up()
            stages = partial(Stages, registry_url=registry.url, endpoint=endpoint, schema_id=schema_id)
            measured = Rounds(results, plain, full, tls, asked, stages=stages)
            for _ in range(asked.rounds):
                measured.round(wanted)
            measured.once(wanted)
            if "stages" in wanted:
                say("stages, in this process")
                results.stages = _all_stages(plain, stages)
        finally:
            kafka.close()
    return results


class Rounds:
    """Measures round by round, and notes it in the results."""

    def __init__(
        self,
        results: Results,
        plain: Bench,
        full: Bench,
        tls: Bench,
        asked: argparse.Namespace,
        *,
        stages: Callable[[Path], Stages],
    ) -> None:
        """`full` and `tls` are for runs at full speed, with endpoints that check nothing."""
        self._results = results
        self._plain, self._full, self._tls = plain, full, tls
        self._stages = stages
        self._records: int = asked.records
        self._backlog: int = asked.backlog
        self._letters: int = asked.letters
        self._latency_s = 5.0 if asked.quick else 10.0
        self._topics: dict[str, str] = {}

    def round(self, wanted: set[str]) -> None:
        """Measures once all that is measured in each round."""
        runs: dict[str, Callable[[], None]] = {
            "throughput": self._throughput,
            "tls": self._over_tls,
            "receipts": self._with_receipts,
            "start": self._start,
            "help": self._help,
            "latency": self._latency,
            "stop": self._stop,
            "idle": self._idle,
            "two": self._two,
        }
        for name, run in runs.items():
            if name in wanted:
                run()

    def once(self, wanted: set[str]) -> None:
        """Measures what takes long, and hardly differs between rounds."""
        if "page" in wanted:
            self._page()
        if "memory" in wanted:
            self._memory()
        if "outage" in wanted:
            self._outage()
        if "letters" in wanted:
            self._dead_letters()

    def _throughput(self) -> None:
        bridge, loop = self._compared(self._full, "")
        others = max(bridge.others, loop.others)
        note = self._results.note
        note(targets.CPU, bridge.cpu_us, against=loop.cpu_us, others=others)
        note(targets.RATE, bridge.events_per_s, against=loop.events_per_s, others=others)
        note(targets.RSS, bridge.peak_rss_bytes / 1e6, against=loop.peak_rss_bytes / 1e6)
        note(targets.START, bridge.first_event_s, against=loop.first_event_s, others=others)

    def _over_tls(self) -> None:
        bridge, loop = self._compared(self._tls, " over TLS")
        others = max(bridge.others, loop.others)
        self._results.note(targets.CPU_TLS, bridge.cpu_us, against=loop.cpu_us, others=others)

    def _with_receipts(self) -> None:
        """What receipts cost is measured by itself: between two runs, noise is several times as much."""
        run = self._full.throughput("bridge", self._topic("orders", self._records), self._records)
        self._results.runs.append(run)
        self._lost("bridge", run.lost)
        others = OtherWork()
        file = self._plain.settings("orders", variant=Variant(receipts=self._topic("receipts", 0)))
        with self._stages(file) as stages:
            cost = stages.receipts()
        self._results.note(
            targets.RECEIPTS,
            run.cpu_us + cost.cpu_us,
            against=run.cpu_us,
            others=max(run.others, others.share()),
        )

    def _compared(self, bench: Bench, how: str) -> list[Throughput]:
        topic = self._topic("orders", self._records)
        few = max(FEWEST_RECORDS, round(self._records * LOOP_SHARE))
        found = [
            bench.throughput("bridge", topic, self._records),
            bench.throughput("loop", topic, few, whole=few == self._records),
        ]
        self._results.runs += [replace(run, program=run.program + how) for run in found]
        self._lost(f"bridge{how}", found[0].lost)
        return found

    def _start(self) -> None:
        topic = self._topic("sources", SOURCES, Shape(sources=SOURCES))
        others = OtherWork()
        seconds = self._plain.start_s(topic, SOURCES)
        self._results.note(targets.START_50, seconds, others=others.share())

    def _help(self) -> None:
        others = OtherWork()
        self._results.note(targets.HELP, self._plain.help_s(), others=others.share())

    def _latency(self) -> None:
        others = OtherWork()
        bridge, loop = (self._plain.latency(program, self._latency_s) for program in COMPARED)
        share = others.share()
        self._results.note(targets.P50, bridge.p50_ms, against=loop.p50_ms, others=share)
        self._results.note(targets.P99, bridge.p99_ms, against=loop.p99_ms, others=share)
        self._lost("latency", bridge.lost + loop.lost)

    def _stop(self) -> None:
        count = self._records // 2
        others = OtherWork()
        stop = self._plain.stop(self._topic("stop", count), count)
        self._results.note(targets.STOP, stop.seconds, others=others.share())
        self._lost("stop", stop.lost)
        if stop.exit_code:
            self._results.faults.append(f"a bridge stopped with exit code {stop.exit_code}")

    def _idle(self) -> None:
        self._note_idle(targets.IDLE, self._topic("idle", 0))

    def _two(self) -> None:
        one, two = (self._full.together(self._records, processes=count) for count in (1, 2))
        others = max(one.others, two.others)
        self._results.note(targets.TWO, two.events_per_s, against=one.events_per_s, others=others)
        self._results.runs += [one, two]

    def _page(self) -> None:
        others = OtherWork()
        found = self._plain.page(turns=10, seconds=6.0)
        share = others.share()
        self._results.note(targets.PAGE, found.page_ms, others=share)
        self._results.note(targets.PAGE_P99, found.p99_ms, against=found.unseen_p99_ms, others=share)
        self._lost("page", found.lost)

    def _memory(self) -> None:
        memory = self._plain.memory(self._plain.topic("backlog", self._backlog), self._backlog)
        self._results.note(targets.RSS_BACKLOG, memory.peak_rss_bytes / 1e6)
        self._lost("memory", memory.lost)

    def _outage(self) -> None:
        self._note_idle(targets.IDLE_CUT_OFF, self._topic("idle", 0), is_reachable=False)
        # By then as much is pending as may be.
        full = self._plain.topic("full", 30_000)
        self._note_idle(targets.IDLE_FULL, full, after_s=90, is_reachable=False)

    def _dead_letters(self) -> None:
        others = OtherWork()
        found = letters.measure(self._full, count=self._letters, compared=self._records, rounds=3)
        share = others.share()
        self._results.note(targets.LISTED, found.listed_per_s, others=share)
        for each in found.rounds:
            self._results.note(targets.REPLAYED, each.replayed_per_s, against=each.bridge_per_s, others=share)
        rss_bytes = max(found.list_rss_bytes, found.replay_rss_bytes)
        self._results.note(targets.LETTERS_RSS, rss_bytes / 1e6)
        self._lost("letters", found.lost)

    def _note_idle(
        self, figure: str, topic: str, *, after_s: float = 10.0, is_reachable: bool = True
    ) -> None:
        others = OtherWork()
        share = self._plain.idle(topic, after_s=after_s, for_s=15.0, is_reachable=is_reachable)
        self._results.note(figure, share * 100, others=others.share())

    def _topic(self, name: str, count: int, shape: Shape = records.ORDERS) -> str:
        if name not in self._topics:
            self._topics[name] = self._plain.topic(name, count, shape)
        return self._topics[name]

    def _lost(self, run: str, count: int) -> None:
        if count:
            self._results.faults.append(f"{run}: {count} events lost")


def _all_stages(bench: Bench, stages_of: Callable[[Path], Stages]) -> list[Stage]:
    count = 50_000
    topic, receipts = bench.topic("stages", count), bench.topic("stages-receipts", 0)
    with stages_of(bench.settings(topic, variant=Variant(receipts=receipts))) as stages:
        poll = stages.poll(lambda: bench.settings(topic), count)
        return [poll, *stages.bridge(), stages.receipts(), *stages.loop()]


if __name__ == "__main__":
    sys.exit(main())
