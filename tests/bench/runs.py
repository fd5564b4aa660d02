"""The runs: what is started, what is waited for, and which figures come out of it."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import urllib3

from connector.sandbox.registry import FakeRegistry
from tests.bench import records
from tests.bench.endpoint import Endpoint
from tests.bench.machine import OtherWork
from tests.bench.process import ENVIRON, BenchError, Process, say
from tests.bench.records import ORDERS, Shape
from tests.services.child import free_ports, wait_until
from tests.services.kafka import shared
from tests.topics import Topics

PARTITIONS = 6
LOOK_EVERY_S = 0.05
"""How often a run is looked at; a look costs the endpoint about a millisecond."""
PATIENCE_S = 60.0
"""How long a run may go without a new event before it is given up."""
LATENCY_PER_SECOND = 100
OUTAGE_S = 10.0
PAGE_SOURCES, PAGE_PARTITIONS = 10_000, 200
LOOK_AT_PAGE_EVERY_S = 1.0
"""As five people do: a browser brings the page up to date every five seconds."""
THREADS = 16
"""Of the plain loop: as many requests at once as the bridge has by default."""

Program: TypeAlias = Literal["bridge", "loop"]
COMPARED: tuple[Program, Program] = ("bridge", "loop")


@dataclass(frozen=True, slots=True)
class Variant:
    """In what a bridge's settings differ from the defaults; addresses aside."""

    eventbridge: Mapping[str, object] = field(default_factory=dict)
    topic: Mapping[str, object] = field(default_factory=dict)
    receipts: str | None = None
    """Their topic, where they are on."""


DEFAULTS = Variant()
# Its sources are not waited for: a bridge looks up 10,000 of them in a quarter of an hour.
UNSEEN = Variant(eventbridge={"on_inactive_source": "send"})


@dataclass(frozen=True, slots=True)
class Throughput:
    """One run over a topic. Its rates are those between the first and the last event."""

    program: str
    cpu_us: float
    """CPU of the program for each event; of several processes, of all."""
    events_per_s: float
    events_per_request: float
    cores: float
    """How many cores the program kept busy."""
    peak_rss_bytes: int
    """Of several processes, of the largest."""
    first_event_s: float
    """From the start of the process to the answer to the first event."""
    endpoint_cpu_us: float
    endpoint_cores: float
    others: float
    """The share of the machine that other work took."""
    lost: int
    repeated: int


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop in the middle of a topic, and what a second process made of the rest."""

    seconds: float
    exit_code: int
    lost: int
    repeated: int


@dataclass(frozen=True, slots=True)
class Latency:
    """From sending a record to the endpoint's answer, at a steady rate."""

    p50_ms: float
    p99_ms: float
    lost: int


@dataclass(frozen=True, slots=True)
class Looked:
    """What looks at the bridge's page take, and do to the events meanwhile."""

    page_ms: float
    """The slowest answer of them."""
    p99_ms: float
    """From sending a record to the endpoint's answer, while somebody looks."""
    unseen_p99_ms: float
    """The same while nobody does."""
    lost: int


@dataclass(frozen=True, slots=True)
class Memory:
    """The most memory the bridge had resident with a long backlog."""

    backlog: int
    """How many records were waiting at the start."""
    outage_rss_bytes: int
    """While the endpoint was down."""
    peak_rss_bytes: int
    """By the end of the backlog."""
    lost: int


class Look(NamedTuple):
    """What is seen of a run at one moment."""

    at_s: float
    accepted: int
    requests: int
    cpu_s: float
    endpoint_cpu_s: float


class Bench:
    """Everything around the programs under measurement, and the runs."""

    def __init__(
        self,
        client: Mapping[str, str],
        *,
        registry_url: str,
        schema_id: int,
        endpoint: Endpoint,
        folder: Path,
    ) -> None:
        self.client = client
        self._registry_url = registry_url
        self._schema_id = schema_id
        self._endpoint = endpoint
        self._folder = folder
        self._topics = Topics(client)
        self._dead_letter_topic = f"bench.dlt.{uuid.uuid4().hex[:8]}"
        self._topics.create(self._dead_letter_topic)

    # The programs

    def settings(
        self, topic: str, group: str | None = None, *, variant: Variant = DEFAULTS, http_port: int = 0
    ) -> Path:
        """Writes a `bridge.yaml` for one topic, by default with a new group."""
        group = group or _group()
        ca_file = self._endpoint.ca_file
        settings = {
            "name": "bench",
            "kafka": {**self.client, "group.id": group},
            "schema_registry": {"url": self._registry_url},
            "eventbridge": {
                "region": records.REGION,
                "endpoint_url": self._endpoint.url,
                "ca_bundle": str(ca_file) if ca_file else None,
                **variant.eventbridge,
            },
            "dead_letter": {"topic": self._dead_letter_topic},
            "receipts": {"topic": variant.receipts} if variant.receipts else None,
            "http": {"host": "127.0.0.1", "port": http_port},
            "log": {"format": "json"},
            "topics": {topic: {**records.TOPIC_SETTINGS, **variant.topic}},
        }
        file = self._folder / f"{uuid.uuid4().hex}.yaml"
        file.write_text(json.dumps(settings, indent=2))  # JSON is YAML
        return file

    def loop_arguments(self, topic: str, group: str | None = None) -> list[str]:
        """What `plain_loop.py` is told; without a group it gets a new one."""
        given = {
            "bootstrap": self.client["bootstrap.servers"],
            "topic": topic,
            "group": group or _group(),
            "registry": self._registry_url,
            "endpoint": self._endpoint.url,
            "region": records.REGION,
            "threads": THREADS,
        }
        ca_file = self._endpoint.ca_file
        return [f"--{name}={text}" for name, text in given.items()] + [f"--ca={ca_file}"] * bool(ca_file)

    @contextmanager
    def running(
        self,
        program: Program,
        topic: str,
        group: str | None = None,
        *,
        variant: Variant = DEFAULTS,
        http_port: int = 0,
    ) -> Iterator[Process]:
        """A program as a member of a group, by default of a new one; killed if it still runs at the end."""
        if program == "bridge":
            file = self.settings(topic, group, variant=variant, http_port=http_port)
            arguments = ["-m", "connector", "run", "--config", str(file)]
        else:
            arguments = ["-m", "tests.bench.plain_loop", *self.loop_arguments(topic, group)]
        process = Process(program, arguments, log=self._folder / f"{uuid.uuid4().hex}.log")
        process.start()
        try:
            yield process
        finally:
            process.kill()

    def warm_up(self) -> None:
        """Runs each program once, unmeasured.

        Otherwise the first of them would write the bytecode of its libraries, and wait for the broker to
        make the topic in which groups keep their offsets.
        """
        topic = self.topic("warm-up", 1000)
        for program in COMPARED:
            self._endpoint.reset()
            with self.running(program, topic) as process:
                self._wait(1000, process)
                process.terminate()

    # The runs

    def topic(self, name: str, count: int, shape: Shape = ORDERS, *, partitions: int = PARTITIONS) -> str:
        """Creates a topic of its own and fills it."""
        topic = f"bench.{name}.{uuid.uuid4().hex[:8]}"
        self._topics.create(topic, partitions=partitions)
        if count:
            self._fill(topic, count, shape)
        return topic

    def throughput(
        self,
        program: Program,
        topic: str,
        count: int,
        *,
        whole: bool = True,
        variant: Variant = DEFAULTS,
        latency_ms: float | None = None,
    ) -> Throughput:
        """Runs a program with a new group until `count` events are accepted.

        `whole` says that the topic holds no more than these, so that none may be missing.
        """
        self._endpoint.reset(latency_ms=latency_ms)
        others, began_s = OtherWork(), time.time()
        with self.running(program, topic, variant=variant) as process:
            first, last = self._wait(1, process), self._wait(count, process)
            result = self._between(first, last, [process], name=program, others=others, began_s=began_s)
            process.terminate()
        if whole:
            lost, repeated = self._account(count)
            result = replace(result, lost=lost, repeated=repeated)
        say(f"{program}: {_in_words(result)}, first event after {result.first_event_s:.2f} s")
        return result

    def together(self, count: int, *, processes: int) -> Throughput:
        """Runs bridges of one group on a topic that is filled once each of them has its partitions."""
        self._endpoint.reset()
        topic, group = self.topic("shared", 0), _group()
        ports = free_ports(processes)
        others, began_s = OtherWork(), time.time()
        with ExitStack() as stack:
            members = [
                stack.enter_context(self.running("bridge", topic, group, http_port=port)) for port in ports
            ]
            share = PARTITIONS // processes
            wait_until(
                lambda: all(_partitions_assigned(port) == share for port in ports),
                what=f"{processes} bridges have {share} partitions each",
            )
            self._fill(topic, count, Shape(distinct=10_000))
            first, last = self._wait(1, *members), self._wait(count, *members)
            name = f"{processes} bridge{'s' * (processes > 1)}"
            result = self._between(first, last, members, name=name, others=others, began_s=began_s)
            for each in members:
                each.terminate()
        say(f"{name}: {_in_words(result)}")
        return result

    def start_s(self, topic: str, count: int) -> float:
        """Seconds from the start of a bridge until all of a small topic is accepted."""
        self._endpoint.reset()
        began_s = time.time()
        with self.running("bridge", topic) as process:
            self._wait(count, process)
            process.terminate()
        seconds = max(self._endpoint.answered()[event.request] for event in self._endpoint.events()) - began_s
        say(f"bridge: {count} events {seconds:.2f} s after the start")
        return seconds

    def help_s(self) -> float:
        """Seconds that `partner-bridge --help` takes."""
        began_s = time.monotonic()
        command = [sys.executable, "-m", "connector", "--help"]
        subprocess.run(command, env=ENVIRON, stdout=subprocess.DEVNULL, check=True)
        return time.monotonic() - began_s

    def stop(self, topic: str, count: int) -> Stop:
        """Stops a bridge with SIGTERM at a quarter of the topic, and lets a second one take the rest."""
        self._endpoint.reset()
        group = _group()
        with self.running("bridge", topic, group) as process:
            self._wait(count // 4, process)
            seconds, exit_code = process.terminate()
        with self.running("bridge", topic, group) as process:
            self._wait_distinct(count, process)
            process.terminate()
        result = Stop(seconds, exit_code, *self._account(count))
        say(f"bridge: stopped in {seconds:.2f} s with exit code {exit_code}; {result.repeated} repeated")
        return result

    def latency(self, program: Program, seconds: float) -> Latency:
        """Sends records at a steady rate to a program that has nothing else to do."""
        self._endpoint.reset()
        topic = self.topic("latency", 0)
        count = round(seconds * LATENCY_PER_SECOND)
        with self.running(program, topic) as process, self._steady(topic) as send:
            # Every partition has had a record before the clock runs.
            warm_up = send(LATENCY_PER_SECOND)
            self._wait(len(warm_up), process)
            sent = send(count)
            self._wait(len(warm_up) + len(sent), process)
            process.terminate()
        took_ms = self._took_ms(sent)
        lost, _ = self._account(len(warm_up) + len(sent))
        result = Latency(percentile(took_ms, 50), percentile(took_ms, 99), lost)
        say(f"{program}: p50 {result.p50_ms:.0f} ms, p99 {result.p99_ms:.0f} ms")
        return result

    def page(self, *, turns: int, seconds: float) -> Looked:
        """Sends records at a steady rate, while nobody and while somebody looks at the page, in turn.

        The bridge has delivered to `PAGE_SOURCES` sources, from `PAGE_PARTITIONS` partitions.
        """
        self._endpoint.reset()
        shape = Shape(sources=PAGE_SOURCES, distinct=PAGE_SOURCES)
        topic = self.topic("page", PAGE_SOURCES, shape, partitions=PAGE_PARTITIONS)
        (port,) = free_ports(1)
        count = round(seconds * LATENCY_PER_SECOND)
        sent: dict[bool, dict[str, float]] = {True: {}, False: {}}
        pages_ms: list[float] = []
        with (
            self.running("bridge", topic, variant=UNSEEN, http_port=port) as process,
            self._steady(topic, first=PAGE_SOURCES) as send,
        ):
            total = PAGE_SOURCES + len(send(LATENCY_PER_SECOND))
            self._wait(total, process)
            for turn in range(2 * turns):
                with _looking(port, pages_ms) if turn % 2 else nullcontext():
                    sent[bool(turn % 2)] |= send(count)
                    total += count
                    self._wait(total, process)
            process.terminate()
        looked, unseen = (percentile(self._took_ms(sent[how]), 99) for how in (True, False))
        lost, _ = self._account(total)
        result = Looked(max(pages_ms), looked, unseen, lost)
        say(f"{len(pages_ms)} pages, {result.page_ms:.0f} ms at most; p99 {looked:.0f} and {unseen:.0f} ms")
        return result

    @contextmanager
    def _steady(self, topic: str, *, first: int = 0) -> Iterator[Callable[[int], dict[str, float]]]:
        """Sends so many more records at a steady rate, and answers when each was sent, by order id."""
        sender = records.Sender(self.client, topic, linger_ms=0)

        def one(number: int) -> float:
            return sender.send(records.key(number), records.value(number, self._schema_id))

        def many(count: int) -> dict[str, float]:
            nonlocal first
            first += count
            return records.paced(one, first=first - count, count=count, per_second=LATENCY_PER_SECOND)

        yield many
        sender.flush()

    def _took_ms(self, sent: Mapping[str, float]) -> list[float]:
        """From sending each of these records to the endpoint's answer, the quickest first."""
        answered = self._endpoint.answered()
        return sorted(
            (answered[event.request] - sent[event.order_id]) * 1000
            for event in self._endpoint.events()
            if event.order_id in sent
        )

    def memory(self, topic: str, count: int) -> Memory:
        """Starts the bridge on a backlog while the endpoint is down, then lets it deliver everything.

        The plain loop has no such run: an endpoint that is down ends it.
        """
        self._endpoint.reset()
        self._endpoint.script(down=True)
        with self.running("bridge", topic) as process:
            self._watch(process, OUTAGE_S)
            outage_rss_bytes = process.peak_rss_bytes()
            self._endpoint.script(down=False)
            self._wait(count, process)
            rss_bytes = process.peak_rss_bytes()
            process.terminate()
        lost, _ = self._account(count)
        say(f"bridge: {outage_rss_bytes / 1e6:.0f} MB in the outage, {rss_bytes / 1e6:.0f} MB at most")
        return Memory(count, outage_rss_bytes, rss_bytes, lost)

    def idle(self, topic: str, *, after_s: float, for_s: float, is_reachable: bool = True) -> float:
        """The share of a core that a bridge takes, `after_s` it was started on a topic.

        Where its endpoint is not reachable, nothing listens on the endpoint's port.
        """
        self._endpoint.reset()
        (closed,) = free_ports(1)
        variant = DEFAULTS if is_reachable else Variant({"endpoint_url": f"http://127.0.0.1:{closed}"})
        with self.running("bridge", topic, variant=variant) as process:
            self._watch(process, after_s)
            cpu_s, began_s = process.cpu_s(), time.monotonic()
            self._watch(process, for_s)
            share = (process.cpu_s() - cpu_s) / (time.monotonic() - began_s)
            process.terminate()
        say(f"bridge, idle: {share:.2%} of a core")
        return share

    def _fill(self, topic: str, count: int, shape: Shape) -> None:
        began_s = time.monotonic()
        size_bytes = records.fill(self.client, topic, count, self._schema_id, shape)
        say(f"{count:,} records of {size_bytes:.1f} bytes, {time.monotonic() - began_s:.0f} s")

    def _watch(self, process: Process, seconds: float) -> None:
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            process.check()
            time.sleep(0.5)

    # What is seen of them

    def _look(self, *processes: Process) -> Look:
        accepted, requests = self._endpoint.counts()
        cpu_s = sum(process.cpu_s() for process in processes)
        return Look(time.monotonic(), accepted, requests, cpu_s, self._endpoint.process.cpu_s())

    def _wait(self, wanted: int, *processes: Process) -> Look:
        """Answers what is seen as soon as `wanted` events are accepted."""
        seen = -1
        seen_s = time.monotonic()
        while True:
            look = self._look(*processes)
            if look.accepted >= wanted:
                return look
            if look.accepted > seen:
                seen, seen_s = look.accepted, look.at_s
            if look.at_s - seen_s > PATIENCE_S:
                logs = "\n".join(process.tail() for process in processes)
                raise BenchError(f"{processes[0].name} stands still at {seen} of {wanted} events:\n{logs}")
            time.sleep(LOOK_EVERY_S)

    def _wait_distinct(self, wanted: int, process: Process) -> None:
        """The same for different events; repeated ones make it more than `wanted` in all."""
        repeated = 0
        while True:
            self._wait(wanted + repeated, process)
            lost, now_repeated = self._account(wanted)
            if not lost or now_repeated == repeated:
                return
            repeated = now_repeated

    def _between(
        self,
        first: Look,
        last: Look,
        processes: Sequence[Process],
        *,
        name: str,
        others: OtherWork,
        began_s: float,
    ) -> Throughput:
        events, seconds = last.accepted - first.accepted, last.at_s - first.at_s
        cpu_s, endpoint_cpu_s = last.cpu_s - first.cpu_s, last.endpoint_cpu_s - first.endpoint_cpu_s
        return Throughput(
            program=name,
            cpu_us=cpu_s / events * 1e6,
            events_per_s=events / seconds,
            events_per_request=events / (last.requests - first.requests),
            cores=cpu_s / seconds,
            peak_rss_bytes=max(process.peak_rss_bytes() for process in processes),
            first_event_s=self._endpoint.first_answer_s() - began_s,
            endpoint_cpu_us=endpoint_cpu_s / events * 1e6,
            endpoint_cores=endpoint_cpu_s / seconds,
            others=others.share(),
            lost=0,
            repeated=0,
        )

    def _account(self, count: int) -> tuple[int, int]:
        """How many of the first `count` orders were never accepted, and how often one was once more."""
        seen = Counter(event.order_id for event in self._endpoint.events())
        wanted = {records.order_id(number) for number in range(count)}
        return len(wanted - seen.keys()), seen.total() - len(seen)


@contextmanager
def lone_bench(latency_ms: float) -> Iterator[tuple[Bench, str]]:
    """A bench with an endpoint that checks and keeps nothing, warmed up; and which Kafka it has."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        FakeRegistry() as registry,
        Endpoint(latency_ms=latency_ms, checks=False, keeps_events=False) as endpoint,
    ):
        schema_id = registry.register("bench-value", records.SCHEMA)
        kafka = shared()
        try:
            bench = Bench(
                kafka.client,
                registry_url=registry.url,
                schema_id=schema_id,
                endpoint=endpoint,
                folder=Path(folder),
            )
            bench.warm_up()
            yield bench, kafka.description
        finally:
            kafka.close()


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of the sorted values that at least `percent` of them do not exceed (nearest rank)."""
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]


@contextmanager
def _looking(port: int, took_ms: list[float]) -> Iterator[None]:
    """Looks at the page of a bridge every second, and notes how long each look takes."""
    is_over = threading.Event()

    def look() -> None:
        due_s = time.monotonic() + LOOK_AT_PAGE_EVERY_S
        while not is_over.wait(due_s - time.monotonic()):
            began_s = time.monotonic()
            answer = urllib3.request("GET", f"http://127.0.0.1:{port}/", retries=False, timeout=10)
            took_ms.append((time.monotonic() - began_s) * 1000)
            assert HTTPStatus.OK == answer.status
            due_s += LOOK_AT_PAGE_EVERY_S

    with ThreadPoolExecutor(1) as pool:
        looks = pool.submit(look)
        try:
            yield
        finally:
            is_over.set()
        looks.result()


def _in_words(run: Throughput) -> str:
    text = f"{run.cpu_us:.0f} µs and {run.events_per_s:,.0f} events/s, {run.peak_rss_bytes / 1e6:.0f} MB"
    return text + f", other work {run.others:.0%}" * (run.others > 0.05)


def _partitions_assigned(port: int) -> int:
    """How many partitions the bridge with this HTTP port has; 0 while it does not answer."""
    try:
        metrics = urllib3.request("GET", f"http://127.0.0.1:{port}/metrics", retries=False, timeout=5)
    except urllib3.exceptions.HTTPError:
        return 0
    found = re.search(r"^partner_bridge_partitions_assigned (\d+)", metrics.data.decode(), re.MULTILINE)
    return int(found[1]) if found else 0


def _group() -> str:
    return f"bench-{uuid.uuid4().hex[:8]}"
