"""Dead letters: how fast a topic of them is listed and replayed, and in how much memory."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from confluent_kafka import Producer

from connector.dead_letters.format import DeadLetterRecord, letter
from connector.model import Partition, Record
from tests.bench import records
from tests.bench.process import BenchError, Process, say
from tests.bench.runs import PARTITIONS, Bench
from tests.failures import failed

PATIENCE_S = 60.0
WRITTEN_MS = 1_790_000_000_000


@dataclass(frozen=True, slots=True)
class Round:
    """A part of the letters, replayed right after the bridge took as many records."""

    bridge_per_s: float
    bridge_cpu_us: float
    replayed_per_s: float
    """From the first tenth of its events to the last, when all its sources are looked up."""
    replay_cpu_us: float
    """Of the process that sends; the one that reads for it is not in it."""
    rss_bytes: int
    """The most memory that its two processes had, added up."""
    lost: int
    repeated: int

    @property
    def ratio(self) -> float:
        return self.replayed_per_s / self.bridge_per_s


@dataclass(frozen=True, slots=True)
class Letters:
    """What listing and replaying one topic of open letters took."""

    letters: int
    listed_per_s: float
    """From the start of the process to its end, so start and connection are in it."""
    list_rss_bytes: int
    rounds: list[Round]
    """The last one is of all that was left."""

    @property
    def ratio(self) -> float:
        return median(each.ratio for each in self.rounds)

    @property
    def replay_rss_bytes(self) -> int:
        return max(each.rss_bytes for each in self.rounds)

    @property
    def lost(self) -> int:
        return sum(each.lost for each in self.rounds)


def measure(bench: Bench, *, count: int, compared: int, rounds: int) -> Letters:
    """Lists `count` letters and replays them, uncapped, in turn with the bridge on `compared` records.

    Raises:
        BenchError: a command failed.
    """
    topic = bench.topic("letters", compared)
    file = _settings(bench, topic)
    dead_letter_topic = json.loads(file.read_text())["dead_letter"]["topic"]
    _fill(bench.client, dead_letter_topic, Partition(topic, 0), count, bench._schema_id)
    say(f"{count:,} letters")

    began_s = time.monotonic()
    listing = _command("list", file)
    list_rss_bytes = _watch(listing)
    listed_per_s = count / (time.monotonic() - began_s)
    say(f"letters: listed {listed_per_s:,.0f}/s in {list_rss_bytes / 1e6:.0f} MB")

    part = min(compared, count // rounds)
    parts = [part] * (rounds - 1) + [count - part * (rounds - 1)]
    return Letters(
        letters=count,
        listed_per_s=listed_per_s,
        list_rss_bytes=list_rss_bytes,
        rounds=[_round(bench, topic, file, letters=letters, records=compared) for letters in parts],
    )


def _round(bench: Bench, topic: str, file: Path, *, letters: int, records: int) -> Round:
    bridge = bench.throughput("bridge", topic, records)
    bench._endpoint.reset()
    process = _command("replay", file, "--execute", "--rate", "0", "--max", str(letters))
    try:
        first = bench._wait(letters // 10, process)  # before that it looks up its sources
        last = bench._wait(letters * 9 // 10, process)  # the process that reads ends with its work
        rss_bytes = process.peak_rss_bytes(with_children=True)
        _finished(process)
    finally:
        process.kill()
    seen = Counter(event.order_id for event in bench._endpoint.events())
    events = last.accepted - first.accepted
    result = Round(
        bridge_per_s=bridge.events_per_s,
        bridge_cpu_us=bridge.cpu_us,
        replayed_per_s=events / (last.at_s - first.at_s),
        replay_cpu_us=(last.cpu_s - first.cpu_s) / events * 1e6,
        rss_bytes=rss_bytes,
        lost=letters - len(seen),
        repeated=seen.total() - len(seen),
    )
    say(
        f"letters: replayed {result.replayed_per_s:,.0f}/s in {result.rss_bytes / 1e6:.0f} MB, "
        f"{result.replay_cpu_us:.0f} µs of CPU for each, {result.ratio:.2f} × the bridge"
    )
    return result


def _settings(bench: Bench, topic: str) -> Path:
    settings = json.loads(bench.settings(topic).read_text())
    dead_letter_topic = f"bench.letters.dlt.{uuid.uuid4().hex[:8]}"
    settings["dead_letter"] = {"topic": dead_letter_topic, "create": True, "replication_factor": 1}
    bench._topics.create(dead_letter_topic, partitions=PARTITIONS)
    file = bench._folder / f"{dead_letter_topic}.yaml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    return file


def _command(name: str, file: Path, *arguments: str) -> Process:
    command = ["-m", "connector", "dead-letters", name, "--config", str(file), *arguments]
    process = Process(f"dead-letters {name}", command, log=file.with_suffix(f".{name}.log"))
    process.start()
    return process


def _watch(process: Process) -> int:
    """The most memory a command had resident, as of a moment before its end."""
    rss_bytes = 0
    with contextlib.suppress(BenchError):  # it has ended
        while True:
            rss_bytes = process.peak_rss_bytes()
            time.sleep(0.01)
    _finished(process)
    return rss_bytes


def _finished(process: Process) -> None:
    """Waits for its end, which must be a good one."""
    if process._child.wait(timeout_s=PATIENCE_S) != 0:
        process.check()


def _fill(client: Mapping[str, str], topic: str, origin: Partition, count: int, schema_id: int) -> None:
    """Writes the letters of `count` orders, such as a mapping that found nothing leaves behind."""
    producer = Producer(
        {
            **client,
            "compression.type": "lz4",  # as the bridge does
            "linger.ms": 20,
            "queue.buffering.max.messages": 200_000,
            "log_level": 0,
        }
    )
    for number, (key, value) in enumerate(records.values(count, schema_id)):
        written = _letter(Record(origin, number, WRITTEN_MS + number, key, value, ()))
        while True:
            try:
                producer.produce(topic, written.value, written.key, headers=list(written.headers))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if producer.flush(records.FLUSH_TIMEOUT_S):
        raise BenchError("the broker did not take all letters")


def _letter(record: Record) -> DeadLetterRecord:
    failure = failed(
        at_ms=WRITTEN_MS,
        event_id=f"VwPxYzQ1RmeQbtt7Vq5uCA/{record.partition.topic}/0/{record.offset}",
        message="topics.orders.v1.event.source: ${value.tenant_id} found nothing.",
    )
    return letter(record, failure, bridge_name="bench", version="0")
