"""Where the microseconds go: each stage by itself, in this process, over the benchmark's own records.

A stage is timed in CPU time of everything it runs on, in turn with the others, and its best round counts.
What it makes is thrown away at once, as the bridge does. The sum is what one event costs without the loop
around the stages.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

from connector import config, process
from connector.bridge import POLL_RECORDS
from connector.delivery.pending import PendingEntry
from connector.delivery.sender import TargetSender
from connector.errors import UnavailableError
from connector.eventbridge.client import Publisher
from connector.eventbridge.entry import entry
from connector.eventbridge.requests import Requests
from connector.formats.decoder import decoder
from connector.formats.registries import Registries
from connector.formats.schema_cache import SchemaId
from connector.kafka.consumer import KafkaConsumer
from connector.ledger import Ledger, OffsetTracker
from connector.mapping.event import Mapping as TopicMapping
from connector.model import Answer, Delivered, Entry, Partition, Record
from connector.pipeline import Pipeline
from connector.receipts.format import encoded
from connector.receipts.writer import KafkaReceipts
from connector.telemetry.metrics import Telemetry
from tests.bench import plain_loop, records
from tests.bench.endpoint import Endpoint
from tests.bench.process import BenchError
from tests.bench.runs import PARTITIONS
from tests.fakes import FakeStateFeed
from tests.services.child import wait_until

ROUNDS = 5
RECEIPT_ROUNDS = 20
"""So often the receipts of all records are made at a time: once is too short to be compared with anything."""
FEW = 1_000
"""Records that the bridge deals with at about the same time."""
RECORDS = 20_000
CALLS = 16
"""Requests at once, as the bridge and the loop have."""
BATCH = 20
T = TypeVar("T")


class Stage(NamedTuple):
    """What one stage costs for each event."""

    program: str
    name: str
    cpu_us: float


class Stages:
    """Times the stages of the bridge and of the plain loop, over `count` records; use as a context."""

    def __init__(
        self,
        settings_file: Path,
        *,
        registry_url: str,
        endpoint: Endpoint,
        schema_id: int,
        count: int = RECORDS,
    ) -> None:
        self._settings = config.load(settings_file, environ={})
        ((name, self._topic),) = self._settings.topics.items()
        self._endpoint = endpoint
        self._telemetry = Telemetry()
        self._registries = Registries.of(self._settings)
        self._partitions = [Partition(name, number) for number in range(PARTITIONS)]
        self._records = [_record(number, schema_id, name) for number in range(count)]
        wait_until(lambda: self._knows(schema_id), what="the registry answers", timeout_s=10)
        self._pipeline = Pipeline(self._settings, self._registries)
        entries = [made for made in map(self._pipeline, self._records) if isinstance(made, Entry)]
        self._entries, self._both = entries, list(zip(self._records, entries, strict=True))
        self._calls = Requests({"default": Publisher(self._settings.eventbridge)})
        self._orders = plain_loop.Orders(registry_url)
        self._loop_calls = plain_loop.Calls(endpoint.url, records.REGION, threads=CALLS)
        theirs = [self._orders.entry(record.value or b"") for record in self._records]
        self._loop_batches = [theirs[start : start + BATCH] for start in range(0, count, BATCH)]

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.close()
        self._registries.close()

    def bridge(self) -> list[Stage]:
        """The stages of the bridge, in the order in which a record passes them."""
        decode_value = decoder(self._topic.value, self._registries, path="")
        decode_key = decoder(self._topic.key, self._registries, path="")
        mapping = TopicMapping(self._topic, path="")
        max_event_bytes = self._settings.eventbridge.max_event_bytes
        decoded = [
            (
                record,
                decode_key(record.key or b"", record.headers),
                decode_value(record.value or b"", record.headers),
                "cluster/topic/0/0",
            )
            for record in self._records
        ]
        events = [mapping.event(*each) for each in decoded]
        process.freeze_gc()  # as the bridge does; otherwise it would walk these lists again and again
        return self._timed(
            "bridge",
            {
                "decode": lambda: _each(lambda r: decode_value(r.value or b"", r.headers), self._records),
                "map": lambda: _each(lambda each: mapping.event(*each), decoded),
                "entry": lambda: _each(lambda e: e and entry(e, max_event_bytes=max_event_bytes), events),
                "(decode, map and entry together)": self.pipeline_s,
                "ledger: begin, settle": self.ledger_s,
                "outlet: add, pack, judge": self.outlet_s,
                "publish: sign, send, read": self.calls_s,
                "receipts, where they are on: the JSON": self.receipts_s,
            },
        )

    def receipts(self) -> Stage:
        """What it costs to make receipts and write them to their topic, librdkafka's threads included."""
        requests = self._requests()
        process.freeze_gc()
        rounds = [self._written(requests) for _ in range(ROUNDS)]
        return Stage("bridge", "receipts, where they are on: all", median(rounds) * 1e6)

    def poll(self, settings_file: Callable[[], Path], count: int) -> Stage:
        """What it costs to get `count` records out of Kafka, librdkafka's threads included.

        Each round needs a configuration with a group of its own.
        """
        rounds = [_poll(config.load(settings_file(), environ={}), count) for _ in range(ROUNDS)]
        return Stage("bridge", "poll", min(rounds) * 1e6)

    def loop(self) -> list[Stage]:
        """The stages of the plain loop."""
        decode = self._orders.decode
        process.freeze_gc()
        return self._timed(
            "loop",
            {
                "decode": lambda: _each(lambda record: decode(record.value or b""), self._records),
                "entry with decode": self.loop_entries_s,
                f"put_partner_events, {CALLS} threads": lambda: self.loop_calls_s(threads=CALLS),
            },
        )

    # One round of a stage over all records, in seconds of CPU time

    def pipeline_s(self) -> float:
        """Decode, map and entry together."""
        return _each(self._pipeline, self._records)

    def ledger_s(self) -> float:
        """The ledger's begin and settle."""
        ledger = Ledger()
        ledger.assign(self._partitions)
        began_s = time.process_time()
        for start in range(0, len(self._records), POLL_RECORDS):
            trackers = [
                (
                    ledger.begin(record.partition, record.offset, size_bytes=record.size_bytes, now_s=0.0),
                    record,
                )
                for record in self._records[start : start + POLL_RECORDS]
            ]
            for tracker, record in trackers:
                assert tracker is not None
                ledger.settle(tracker, record.offset)
        return time.process_time() - began_s

    def outlet_s(self) -> float:
        """The sender's add, pack and judge."""
        sink = _Sink()
        sender = TargetSender(
            "default",
            self._settings.eventbridge,
            sink=sink,
            telemetry=self._telemetry,
            state_feed=FakeStateFeed(),
        )
        ledger = Ledger()
        ledger.assign(self._partitions)
        lane = self._pipeline.ordering
        trackers = ledger.trackers
        began_s = time.process_time()
        now_s = time.monotonic()
        for start in range(0, len(self._records), POLL_RECORDS):
            for record, made in self._both[start : start + POLL_RECORDS]:
                sender.add(PendingEntry(record, trackers[record.partition], made, now_s), lane(record))
            sender.send(now_s)
            while sink.sent:
                batch_id, count = sink.sent.pop()
                sender.handle_answer(batch_id, _accepted(count))
                sender.send(now_s)
        return time.process_time() - began_s

    def receipts_s(self) -> float:
        """The JSON of each request's receipt, as warm caches make it; the producer's work comes on top."""
        requests = self._requests()
        began_s = time.process_time()
        for _ in range(RECEIPT_ROUNDS):
            for batch, answer in requests:
                encoded(batch, answer, bridge="bench", target="default", region=records.REGION, now_s=began_s)
        return (time.process_time() - began_s) / RECEIPT_ROUNDS

    def _requests(self) -> list[tuple[list[PendingEntry], Answer]]:
        """Delivered requests of twenty records each, as many as records.

        They are those of few records, again and again: the bridge has just dealt with what it makes a receipt
        of, so that all of it is in the CPU's caches.
        """
        place = OffsetTracker(self._partitions[0])
        few = [PendingEntry(r, place, made, 0.0, self._pipeline.event_id(r)) for r, made in self._both[:FEW]]
        pending = few * max(1, len(self._both) // len(few))
        batches = [pending[start : start + BATCH] for start in range(0, len(pending), BATCH)]
        return [
            (batch, Answer([Delivered(str(uuid.uuid4())) for _ in batch], None, str(uuid.uuid4()), 0.02))
            for batch in batches
        ]

    def _written(self, requests: Sequence[tuple[Sequence[PendingEntry], Answer]]) -> float:
        """The CPU time, in seconds, that the receipts of these requests take for each event."""
        assert self._settings.receipts is not None
        topic = self._settings.receipts.topic
        receipts = KafkaReceipts(self._settings, topic, telemetry=self._telemetry)
        (batch, answer), *others = requests
        receipts.write("default", answer, batch)
        receipts.flush()  # by then it is connected
        began_s = time.process_time()
        for _ in range(ROUNDS):
            for batch, answer in others:
                receipts.write("default", answer, batch)
            wait_until(
                lambda: not receipts.unacknowledged, what="receipts are written"
            )  # they fill the queue
        spent_s = (time.process_time() - began_s) / ROUNDS
        receipts.close()
        if receipts.lost:
            raise BenchError(f"{receipts.lost} receipts were lost: {receipts.why_lost}")
        return spent_s / sum(len(batch) for batch, _ in others)

    def calls_s(self) -> float:
        """Sign, send, read: requests to the endpoint, as many at once as the bridge has."""
        entries, calls = self._entries, self._calls
        began_s = time.process_time()
        answered = sent = 0
        while answered < len(entries):
            while sent < len(entries) and sent - answered < CALLS * BATCH:
                calls.send("default", sent, entries[sent : sent + BATCH])
                sent += BATCH
            for _, _, answer in calls.answers(1.0):
                if answer.error is not None:
                    raise BenchError(f"the endpoint refused a request: {answer.error}")
                answered += len(answer.outcomes)
        return time.process_time() - began_s

    def loop_entries_s(self) -> float:
        """The loop's decode and entry."""
        return _each(lambda record: self._orders.entry(record.value or b""), self._records)

    def loop_calls_s(self, *, threads: int) -> float:
        """The loop's calls, on so many threads."""
        began_s = time.process_time()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self._loop_calls.put, self._loop_batches))
        return time.process_time() - began_s

    def _knows(self, schema_id: int) -> bool:
        try:
            self._registries.caches[config.DEFAULT_REGISTRY].get(SchemaId("id", schema_id))
        except UnavailableError:
            return False
        return True

    def _timed(self, program: str, stages: Mapping[str, Callable[[], float]]) -> list[Stage]:
        """Times the stages in turn, several rounds of each, and takes the best."""
        best_s = dict.fromkeys(stages, float("inf"))
        for _ in range(ROUNDS):
            for name, run in stages.items():
                self._endpoint.reset(latency_ms=0)
                best_s[name] = min(best_s[name], run())
        return [Stage(program, name, spent_s / len(self._records) * 1e6) for name, spent_s in best_s.items()]


def _poll(settings: config.Settings, count: int) -> float:
    source = KafkaConsumer(settings)
    source.report_to(Telemetry())
    try:
        source.subscribe(_Listener())
        polled = 0
        while not polled:
            polled = len(source.poll(1, 1.0))
        began_s = time.process_time()
        while polled < count:
            polled += len(source.poll(POLL_RECORDS, 1.0))
        return (time.process_time() - began_s) / (count - 1)
    finally:
        source.close()


def _each(function: Callable[[T], object], items: Sequence[T]) -> float:
    """The CPU time, in seconds, of a call with each item."""
    began_s = time.thread_time()
    for item in items:
        function(item)
    return time.thread_time() - began_s


def _record(number: int, schema_id: int, topic: str) -> Record:
    return Record(
        Partition(topic, number % PARTITIONS),
        number // PARTITIONS,
        1_790_000_000_000 + number,
        records.key(number),
        records.value(number, schema_id),
        (),
    )


class _Listener:
    """Takes note of nothing."""

    def on_assigned(self, partitions: Sequence[Partition]) -> None: ...
    def on_revoked(self, partitions: Sequence[Partition]) -> None: ...
    def on_lost(self, partitions: Sequence[Partition]) -> None: ...
    def on_committed(self, offsets: Mapping[Partition, int], error: str | None) -> None: ...


class _Sink:
    """Keeps what was sent, to be answered by the stage itself."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []
        """batch id, how many entries"""

    def send(self, target: str, batch_id: int, entries: Sequence[Entry]) -> None:
        self.sent.append((batch_id, len(entries)))

    def answers(self, timeout_s: float) -> Sequence[tuple[str, int, Answer]]:
        return ()

    def waits_for(self, target: str) -> str | None:
        return None


def _accepted(count: int) -> Answer:
    return Answer([Delivered("id")] * count, None, "request", 0.02)
