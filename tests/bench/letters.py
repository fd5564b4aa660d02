"""Dead letters: how fast a topic of them is listed and replayed, and in how much memory."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer

from connector.letters import Failure, Letter, letter
from connector.model import Partition, Record
from tests.bench import records
from tests.bench.process import BenchError, Process
from tests.bench.runs import PARTITIONS, Bench

PATIENCE_S = 60.0
WRITTEN_MS = 1_790_000_000_000


@dataclass(frozen=True, slots=True)
class Letters:
    """What listing and replaying one topic of open letters took."""

    letters: int
    listed_per_s: float
    """From the start of the process to its end, so start and connection are in it."""
    list_rss_bytes: int
    replayed_per_s: float
    """Between the first and the last event."""
    replay_cpu_us: float
    replay_rss_bytes: int
    bridge_per_s: float
    """The bridge on as many records, in the same run."""
    lost: int
    repeated: int

    @property
    def ratio(self) -> float:
        return self.replayed_per_s / self.bridge_per_s


def measure(bench: Bench, *, count: int, compared: int) -> Letters:
    """Runs the bridge over `compared` records, then lists and replays `count` letters, uncapped.

    Raises:
        BenchError: a command failed.
    """
    topic = bench.topic("letters", compared)
    bridge = bench.throughput("bridge", topic, compared)
    file = _settings(bench, topic)
    dead_letter_topic = json.loads(file.read_text())["dead_letter"]["topic"]
    _fill(bench.client, dead_letter_topic, Partition(topic, 0), count, bench._schema_id)
    bench._say(f"{count:,} letters")

    began_s = time.monotonic()
    listing = _command("list", file)
    list_rss_bytes = _watch(listing)
    listed_per_s = count / (time.monotonic() - began_s)

    bench._endpoint.reset()
    replaying = _command("replay", file, "--execute", "--rate", "0")
    try:
        first = bench._wait(replaying, 1)
        last = bench._wait(replaying, count)
        replay_rss_bytes = replaying.peak_rss_bytes()
        _finished(replaying)
    finally:
        replaying.kill()
    lost, repeated = bench._account(count)
    result = Letters(
        letters=count,
        listed_per_s=listed_per_s,
        list_rss_bytes=list_rss_bytes,
        replayed_per_s=(last.accepted - first.accepted) / (last.at_s - first.at_s),
        replay_cpu_us=(last.cpu_s - first.cpu_s) / (last.accepted - first.accepted) * 1e6,
        replay_rss_bytes=replay_rss_bytes,
        bridge_per_s=bridge.events_per_s,
        lost=lost,
        repeated=repeated,
    )
    bench._say(
        f"letters: listed {result.listed_per_s:,.0f}/s in {list_rss_bytes / 1e6:.0f} MB, replayed "
        f"{result.replayed_per_s:,.0f}/s in {replay_rss_bytes / 1e6:.0f} MB, {result.replay_cpu_us:.0f} µs "
        f"of CPU for each, {result.ratio:.2f} × the bridge"
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
    producer = Producer({**client, "linger.ms": 20, "queue.buffering.max.messages": 200_000, "log_level": 0})
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


def _letter(record: Record) -> Letter:
    failure = Failure(
        code="template_null",
        stage="TRANSFORMATION",
        message="topics.orders.v1.event.source: ${value.tenant_id} found nothing.",
        exception_class="MappingError",
        attempts=0,
        first_failure_ms=WRITTEN_MS,
        last_failure_ms=WRITTEN_MS,
        request_id=None,
        target=None,
        source=None,
        detail_type=None,
        event_id=f"VwPxYzQ1RmeQbtt7Vq5uCA/{record.partition.topic}/0/{record.offset}",
    )
    return letter(record, failure, bridge_name="bench", version="0")
