"""The runs: what is started, what is waited for, and which figures come out of it."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from tests.bench import records
from tests.bench.endpoint import Endpoint
from tests.bench.process import BenchError, Process
from tests.services.child import free_ports
from tests.topics import Topics

PARTITIONS = 6
LOOK_EVERY_S = 0.05
"""How often a run is looked at; a look costs the endpoint well under a millisecond."""
FIRST_LOOK_EVERY_S = 0.005
"""The same while the first event is waited for."""
PATIENCE_S = 60.0
"""How long a run may go without a new event before it is given up."""
LATENCY_PER_SECOND = 100
OUTAGE_S = 10.0

IDLE_S = 20.0
"""How long the CPU of a bridge with nothing to do is measured."""

Program: TypeAlias = Literal["bridge", "loop", "loop, one thread"]
COMPARED: tuple[Program, Program] = ("bridge", "loop")


@dataclass(frozen=True, slots=True)
class Throughput:
    """One run over a whole topic, or its first events."""

    program: Program
    events: int
    cpu_us: float
    """CPU of the program for each event, between the first and the last event."""
    events_per_s: float
    peak_rss_bytes: int
    first_event_s: float
    """From the start of the process to the first accepted event."""
    endpoint_cpu_us: float
    lost: int
    repeated: int


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop in the middle of a topic, and what a second process made of the rest."""

    program: Program
    seconds: float
    exit_code: int
    lost: int
    repeated: int


@dataclass(frozen=True, slots=True)
class Latency:
    """From sending a record to the endpoint's answer, at a steady rate."""

    program: Program
    p50_ms: float
    p99_ms: float
    max_ms: float
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


@dataclass(frozen=True, slots=True)
class Idle:
    """The CPU of a bridge that has nothing to do, or can do nothing."""

    what: str
    share: float
    """Of one core."""
    at_most: float
    """What it should be."""


class Look(NamedTuple):
    """What is seen of a run at one moment."""

    at_s: float
    accepted: int
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
        say: Callable[[str], None],
    ) -> None:
        self.client = client
        self._registry_url = registry_url
        self._schema_id = schema_id
        self._endpoint = endpoint
        self._folder = folder
        self._say = say
        self._topics = Topics(client)
        self._dead_letter_topic = f"bench.dlt.{uuid.uuid4().hex[:8]}"
        self._topics.create(self._dead_letter_topic)
        self._started = 0

    # The programs

    def settings(self, topic: str, group: str | None = None, *, endpoint_url: str | None = None) -> Path:
        """Writes a `bridge.yaml` for one topic, by default with a new group. Defaults but for addresses."""
        group = group or _group()
        (port,) = free_ports(1)
        settings = {
            "name": "bench",
            "kafka": {**self.client, "group.id": group},
            "schema_registry": {"url": self._registry_url},
            "eventbridge": {"region": records.REGION, "endpoint_url": endpoint_url or self._endpoint.url},
            "dead_letter": {"topic": self._dead_letter_topic},
            "http": {"host": "127.0.0.1", "port": port},
            "log": {"format": "json"},
            "topics": {topic: records.TOPIC_SETTINGS},
        }
        file = self._folder / f"{group}.yaml"
        file.write_text(json.dumps(settings, indent=2))  # JSON is YAML
        return file

    def loop_arguments(self, topic: str, group: str | None = None, *, threads: int) -> list[str]:
        """What `plain_loop.py` is told; without a group it gets a new one."""
        given = {
            "bootstrap": self.client["bootstrap.servers"],
            "topic": topic,
            "group": group or _group(),
            "registry": self._registry_url,
            "endpoint": self._endpoint.url,
            "region": records.REGION,
            "threads": threads,
        }
        return [f"--{name}={text}" for name, text in given.items()]

    def start(self, program: Program, topic: str, group: str) -> Process:
        """Starts a program as a new member of `group`."""
        self._started += 1
        if program == "bridge":
            arguments = ["-m", "connector", "run", "--config", str(self.settings(topic, group))]
        else:
            threads = 16 if program == "loop" else 1
            arguments = ["-m", "tests.bench.plain_loop", *self.loop_arguments(topic, group, threads=threads)]
        process = Process(program, arguments, log=self._folder / f"{self._started}.log")
        process.start()
        return process

    def warm_up(self) -> None:
        """Runs each program once, unmeasured.

        Otherwise the first of them would write the bytecode of its libraries, and wait for the broker to
        make the topic in which groups keep their offsets.
        """
        topic = self.topic("warm-up", 1000)
        for program in COMPARED:
            self._endpoint.reset()
            process = self.start(program, topic, _group())
            try:
                self._wait(process, 1000)
                process.terminate()
            finally:
                process.kill()

    # The runs

    def topic(self, name: str, count: int) -> str:
        """Creates a topic of its own and fills it."""
        topic = f"bench.{name}.{uuid.uuid4().hex[:8]}"
        self._topics.create(topic, partitions=PARTITIONS)
        if count:
            began_s = time.monotonic()
            size_bytes = records.fill(self.client, topic, count, self._schema_id)
            took_s = time.monotonic() - began_s
            self._say(
                f"{count:,} records of {size_bytes:.1f} bytes on {PARTITIONS} partitions, {took_s:.0f} s"
            )
        return topic

    def throughput(self, program: Program, topic: str, count: int, *, whole: bool = True) -> Throughput:
        """Runs a program with a new group until `count` events are accepted.

        `whole` says that the topic holds no more than these, so that none may be missing.
        """
        self._endpoint.reset()
        began_s = time.monotonic()
        process = self.start(program, topic, _group())
        try:
            first = self._wait(process, 1, every_s=FIRST_LOOK_EVERY_S)
            last = self._wait(process, count)
            rss_bytes = process.peak_rss_bytes()
            process.terminate()
        finally:
            process.kill()
        lost, repeated = self._account(count) if whole else (0, 0)
        events = last.accepted - first.accepted
        result = Throughput(
            program=program,
            events=events,
            cpu_us=(last.cpu_s - first.cpu_s) / events * 1e6,
            events_per_s=events / (last.at_s - first.at_s),
            peak_rss_bytes=rss_bytes,
            first_event_s=first.at_s - began_s,
            endpoint_cpu_us=(last.endpoint_cpu_s - first.endpoint_cpu_s) / events * 1e6,
            lost=lost,
            repeated=repeated,
        )
        self._say(
            f"{program}: {result.cpu_us:.0f} µs and {result.events_per_s:,.0f} events/s, "
            f"{rss_bytes / 1e6:.0f} MB, first event after {result.first_event_s:.2f} s"
        )
        return result

    def stop(self, program: Program, topic: str, count: int) -> Stop:
        """Stops a program with SIGTERM at a quarter of the topic, and lets a second one take the rest."""
        self._endpoint.reset()
        group = _group()
        process = self.start(program, topic, group)
        try:
            self._wait(process, count // 4)
            seconds, exit_code = process.terminate()
            process = self.start(program, topic, group)
            self._wait_distinct(process, count)
            process.terminate()
        finally:
            process.kill()
        lost, repeated = self._account(count)
        result = Stop(program, seconds, exit_code, lost, repeated)
        self._say(
            f"{program}: stopped in {seconds:.2f} s with exit code {exit_code}; {repeated} events repeated"
        )
        return result

    def latency(self, program: Program, seconds: float) -> Latency:
        """Sends records at a steady rate to a program that has nothing else to do."""
        self._endpoint.reset()
        topic = self.topic("latency", 0)
        sender = records.Sender(self.client, topic, linger_ms=0)

        def send(number: int) -> float:
            return sender.send(records.key(number), records.value(number, self._schema_id))

        process = self.start(program, topic, _group())
        try:
            # Every partition has had a record before the clock runs.
            warm_up = records.paced(send, first=0, count=100, per_second=LATENCY_PER_SECOND)
            self._wait(process, len(warm_up))
            count = round(seconds * LATENCY_PER_SECOND)
            sent = records.paced(send, first=len(warm_up), count=count, per_second=LATENCY_PER_SECOND)
            self._wait(process, len(warm_up) + len(sent))
            sender.flush()
            process.terminate()
        finally:
            process.kill()
        answered = self._endpoint.answered()
        took_ms = sorted(
            (answered[event.request] - sent[event.order_id]) * 1000
            for event in self._endpoint.events()
            if event.order_id in sent
        )
        result = Latency(
            program,
            p50_ms=percentile(took_ms, 50),
            p99_ms=percentile(took_ms, 99),
            max_ms=took_ms[-1],
            lost=self._account(len(warm_up) + len(sent))[0],
        )
        self._say(f"{program}: p50 {result.p50_ms:.0f} ms, p99 {result.p99_ms:.0f} ms")
        return result

    def memory(self, topic: str, count: int) -> Memory:
        """Starts the bridge on a backlog while the endpoint is down, then lets it deliver everything.

        The plain loop has no such run: an endpoint that is down ends it.
        """
        self._endpoint.reset()
        self._endpoint.script(down=True)
        process = self.start("bridge", topic, _group())
        try:
            ends_s = time.monotonic() + OUTAGE_S
            while time.monotonic() < ends_s:
                process.check()
                time.sleep(LOOK_EVERY_S)
            outage_rss_bytes = process.peak_rss_bytes()
            self._endpoint.script(down=False)
            self._wait(process, count)
            rss_bytes = process.peak_rss_bytes()
            process.terminate()
        finally:
            process.kill()
        lost, _ = self._account(count)
        self._say(f"bridge: {outage_rss_bytes / 1e6:.0f} MB in the outage, {rss_bytes / 1e6:.0f} MB at most")
        return Memory(count, outage_rss_bytes, rss_bytes, lost)

    def idle(
        self, what: str, *, waiting: int, after_s: float, at_most: float, is_reachable: bool = True
    ) -> Idle:
        """Measures a bridge with so many records, `after_s` it was started; where is no endpoint, there is
        nobody on its port."""
        self._endpoint.reset()
        topic = self.topic("idle", waiting)
        (nobody,) = free_ports(1)
        file = self.settings(topic, endpoint_url=None if is_reachable else f"http://127.0.0.1:{nobody}")
        self._started += 1
        arguments = ["-m", "connector", "run", "--config", str(file)]
        process = Process("bridge", arguments, log=self._folder / f"{self._started}.log")
        process.start()
        try:
            self._watch(process, after_s)
            cpu_s, began_s = process.cpu_s(), time.monotonic()
            self._watch(process, IDLE_S)
            share = (process.cpu_s() - cpu_s) / (time.monotonic() - began_s)
            process.terminate()
        finally:
            process.kill()
        self._say(f"bridge, {what}: {share:.2%} of a core")
        return Idle(what, share, at_most)

    def _watch(self, process: Process, seconds: float) -> None:
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            process.check()
            time.sleep(1.0)

    # What is seen of them

    def _look(self, process: Process) -> Look:
        accepted = self._endpoint.accepted()
        return Look(time.monotonic(), accepted, process.cpu_s(), self._endpoint.process.cpu_s())

    def _wait(self, process: Process, wanted: int, *, every_s: float = LOOK_EVERY_S) -> Look:
        """Answers what is seen as soon as `wanted` events are accepted."""
        seen = -1
        seen_s = time.monotonic()
        while True:
            look_up = self._look(process)
            if look_up.accepted >= wanted:
                return look_up
            if look_up.accepted > seen:
                seen, seen_s = look_up.accepted, look_up.at_s
            if look_up.at_s - seen_s > PATIENCE_S:
                raise BenchError(
                    f"{process.name} stands still at {seen} of {wanted} events:\n{process.tail()}"
                )
            time.sleep(every_s)

    def _wait_distinct(self, process: Process, wanted: int) -> None:
        """The same for different events; repeated ones make it more than `wanted` in all."""
        repeated = 0
        while True:
            self._wait(process, wanted + repeated)
            lost, now_repeated = self._account(wanted)
            if not lost or now_repeated == repeated:
                return
            repeated = now_repeated

    def _account(self, count: int) -> tuple[int, int]:
        """How many of the first `count` orders were never accepted, and how often one was once more."""
        seen = Counter(event.order_id for event in self._endpoint.events())
        wanted = {records.order_id(number) for number in range(count)}
        return len(wanted - seen.keys()), seen.total() - len(seen)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of the sorted values that at least `percent` of them do not exceed (nearest rank)."""
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]


def _group() -> str:
    return f"bench-{uuid.uuid4().hex[:8]}"
