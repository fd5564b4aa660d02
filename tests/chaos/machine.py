"""Runs bridges against real brokers while a schedule of faults is played on them, and judges the account."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
from confluent_kafka import ElectionType, KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions

from connector.model import Json, Partition
from connector.sandbox.registry import FakeRegistry
from tests.accounting import Balance
from tests.bridge_process import BridgeProcess
from tests.chaos.load import Load
from tests.chaos.schedule import ENDPOINT, LANES, LENGTHS_S, Planned
from tests.container_credentials import ContainerCredentials
from tests.memory import rss_mb
from tests.services.child import wait_until
from tests.services.kafka import KafkaCluster
from tests.services.reassignment import reassign
from tests.world import ORDERS, World

MEMBERS = 3
PARTITIONS = 6
MAX_PARTITIONS = 12
LETTERS_BROKER = 2
"""The dead-letter topic lies on this broker alone, so that it alone can be down."""
FLAKY = 0.5
"""Share of requests that a fault strikes, where it does not strike all: a brown-out, in which half of what is
sent succeeds. That is nobody's fault, so a good record in the dead-letter topic is always a finding."""
SETTLE_TIMEOUT_S = 180.0
SILENT_S = 30.0
"""After so long without an answer of its HTTP server a bridge is not only slow."""
FIRST_LOOKS_TIMEOUT_S = 900.0
"""For the first looks at 10,000 sources; at 50 a second they take 200 s."""

PROPERTIES = {
    "auto.leader.rebalance.enable": "false",
    "min.insync.replicas": "1",
    "unclean.leader.election.enable": "false",
    "replica.lag.time.max.ms": "5000",
}
GROUPS: Sequence[dict[str, Json]] = (
    {"session.timeout.ms": 4000, "max.poll.interval.ms": 6000},
    {"group.protocol": "consumer", "max.poll.interval.ms": 6000},
)


@dataclass(slots=True)
class Result:
    """What a run came to."""

    balance: Balance
    faults: Counter[str]
    """Those that changed something: what found nothing to do is not counted."""
    moved_leaders: int
    """Partitions that another broker led after an election."""
    struck: Counter[str]
    """Single requests and entries of EventBridge that were struck, by the sandbox's names."""
    samples: int
    max_rss_mb: float
    problems: list[str] = field(default_factory=list)


class Machine:
    """Three brokers, a registry, EventBridge and bridges, and a hand for every fault. Use as a context."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        per_second: int = 300,
        keys: int = 200,
        tenants: int = 10,
        watches_first: bool = False,
        lookups_per_second: float = 10.0,
    ) -> None:
        self.faults: Counter[str] = Counter()
        self.problems: list[str] = []
        """What was seen to be wrong on the way."""
        self.max_rss_mb = 0.0
        self.moved_leaders = 0
        self.group = GROUPS[seed % len(GROUPS)]
        self._folder = folder
        self._seed = seed
        self._per_second = per_second
        self._keys = keys
        self._tenants = tenants
        self._lookups_per_second = lookups_per_second
        self._watches_first = watches_first
        """Whether there is one to watch for long: the first bridge is alone until it has met every source,
        and faults of processes leave it alone."""
        self.began = threading.Event()
        """All bridges run, and faults may begin."""
        self._over = threading.Event()
        self._closed = threading.Event()
        self._stopped: set[BridgeProcess] = set()
        self._names = 0
        self._http = urllib3.PoolManager(timeout=5, retries=False)

    def __enter__(self) -> Machine:
        with contextlib.ExitStack() as stack:
            self.cluster = KafkaCluster(brokers=3, properties=PROPERTIES)
            stack.callback(self.cluster.close)
            self.cluster.start()
            self.world = stack.enter_context(
                World(self.cluster.client, folder=self._folder, dead_letters_on=LETTERS_BROKER)
            )
            self.registry = stack.enter_context(FakeRegistry())
            self.credentials = stack.enter_context(ContainerCredentials())
            self.topic = f"{self.world.name}.orders"
            self.partitions: list[Partition] = self.world.topics.create(
                self.topic, partitions=PARTITIONS, copies=3, config={"min.insync.replicas": "2"}
            )
            self.load = Load(
                self.cluster.client,
                self.topic,
                self.registry,
                per_second=self._per_second,
                seed=self._seed,
                keys=self._keys,
                tenants=self._tenants,
            )
            self.world.aws.set_credentials(self.credentials.known())
            self.world.aws.script({"latency_ms": 20, "seed": self._seed})
            self._settings = self._all_settings()
            self.bridges = [self._new_bridge() for _ in range(MEMBERS)]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exit: object) -> None:  # noqa: A002
        self._over.set()
        self.load.give_up()
        self._stack.close()
        self._closed.set()

    def _all_settings(self) -> dict[str, Any]:
        return self.world.settings(
            {self.topic: ORDERS},
            kafka=self.group,
            schema_registry={"url": self.registry.url, "timeout": "1s"},
            eventbridge={
                "timeouts": {"connect": "500ms", "read": "1s"},
                "max_in_flight": 8,
                "retry": {"initial_interval": "20ms", "max_interval": "500ms"},
            },
            delivery={"commit_interval": "200ms", "max_pending_records": 2000, "shutdown_timeout": "10s"},
            dead_letter={"topic": self.world.dead_letter_topic, "max_consecutive": 100_000},
            sources={"lookups_per_second": self._lookups_per_second},
        )

    def _new_bridge(self) -> BridgeProcess:
        self._names += 1
        bridge = self.world.bridge(self._settings, name=f"bridge-{self._names}")
        bridge.environ |= self.credentials.environ
        return bridge

    # A run

    def run(self, faults: Sequence[Planned], seconds: float) -> Result:
        """Plays the faults for so many seconds, lets everything recover, and judges.

        Raises AssertionError with everything that is wrong.
        """
        with self.world.sampler(self.partitions) as sampler:
            self.start()
            began_s = time.monotonic()
            played = []
            for lane in LANES:
                done = threading.Event()
                mine = [each for each in faults if each.lane == lane]
                arguments = (mine, began_s, began_s + seconds, done)
                threading.Thread(target=self._play, args=arguments, name=lane, daemon=True).start()
                played.append(done)
            for done in played:
                done.wait()
            self.recover()
            self.finish()
        return self.judge(sampler.samples)

    def each(self, kinds: Sequence[str]) -> tuple[dict[str, float], Result]:
        """One fault after the other, each alone; answers after how many seconds all was settled again."""
        recovered_s: dict[str, float] = {}
        with self.world.sampler(self.partitions) as sampler:
            self.start()
            for kind in kinds:
                with self.fault(kind, 0.0):
                    self._over.wait(LENGTHS_S.get(kind, (3.0, 3.0))[1])
                began_s = time.monotonic()
                ends = self.world.topics.ends(self.partitions)
                wait_until(
                    lambda ends=ends: self._reached(ends),  # type: ignore[misc]
                    what=lambda kind=kind: f"all settled after {kind}\n{self.world.log()}",  # type: ignore[misc]
                    timeout_s=SETTLE_TIMEOUT_S,
                )
                recovered_s[kind] = time.monotonic() - began_s
            self.recover()
            self.finish()
        return recovered_s, self.judge(sampler.samples)

    def _reached(self, ends: Mapping[Partition, int]) -> bool:
        assert not self.problems, "\n".join(self.problems)
        committed = self.world.topics.committed(self.world.name, list(ends))
        return all(committed.get(partition, 0) >= end for partition, end in ends.items())

    def start(self) -> None:
        """Bridges and load run, and somebody looks after them."""
        if self._watches_first:
            first = self.bridges[0].start()
            self.load.start()
            first.wait_metric("sources", self._tenants, state="ACTIVE", timeout_s=FIRST_LOOKS_TIMEOUT_S)
        for bridge in self.bridges[self._watches_first :]:
            bridge.start(ready=False)
        for bridge in self.bridges:
            bridge.wait_ready()
        if not self._watches_first:
            self.load.start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        self.began.set()

    def recover(self) -> None:
        """Every fault is over, everything runs, nothing more is produced, and all of it is settled."""
        self.world.aws.script({"faults": [], "down": False, "clock_skew_s": 0})
        self.cluster.start()
        for bridge in self.bridges:
            if not bridge.running:
                bridge.start(ready=False)
        self.load.stop()
        self.world.wait_settled(self.partitions, timeout_s=SETTLE_TIMEOUT_S)

    def finish(self) -> None:
        """Every bridge ends in order."""
        self._over.set()
        for bridge in self.bridges:
            bridge.wait_started()
            bridge.sigterm()

    def judge(self, samples: Sequence[Any]) -> Result:
        struck = self.world.aws.counts().faults
        self.load.read_back(self.world.topics)
        balance = self.world.balance(
            self.load.produced, filtered=self.load.filtered, dead=self.load.dead, samples=samples
        )
        assert not self.problems, "\n".join(self.problems)
        return Result(balance, self.faults, self.moved_leaders, struck, len(samples), self.max_rss_mb)

    def _play(self, faults: Sequence[Planned], began_s: float, ends_s: float, done: threading.Event) -> None:
        for fault in faults:
            self._over.wait(max(0.0, began_s + fault.at_s - time.monotonic()))
            if self._over.is_set() or time.monotonic() >= ends_s:
                break
            try:
                with self.fault(fault.kind, fault.draw):
                    self._over.wait(fault.seconds)
            except (AssertionError, OSError, KafkaException) as error:
                self.problems.append(f"{fault}: {error}")
                self._over.set()
        done.set()
        # Linux ends the children of a thread with it: those that were started here are still needed.
        self._closed.wait()

    def _watch(self) -> None:
        """Nobody ends by itself, is silent or not live, or takes more and more memory."""
        heard_s: dict[str, float] = {}
        """By the address, which is another one after each start."""
        while not self._over.wait(0.5):
            for bridge in list(self.bridges):
                if bridge.has_failed:
                    self.problems.append(bridge.failure())
                    self._over.set()
                    return
                if not bridge.running or bridge in self._stopped:
                    heard_s.pop(bridge.url, None)
                    continue
                url, now_s = bridge.url, time.monotonic()
                try:
                    if not bridge.live() and bridge not in self._stopped:
                        self.problems.append(f"/livez is not 200:\n{bridge.log()}")
                    heard_s[url] = now_s
                    self.max_rss_mb = max(self.max_rss_mb, rss_mb(bridge.child.pid))
                except (urllib3.exceptions.HTTPError, OSError):
                    if now_s - heard_s.setdefault(url, now_s) > SILENT_S:
                        self.problems.append(f"HTTP is silent for {SILENT_S:.0f} s:\n{bridge.log()}")
                        self._over.set()
                        return

    # The faults

    @contextlib.contextmanager
    def fault(self, kind: str, draw: float) -> Iterator[None]:
        """One fault, for as long as the context lasts; counted where it changed anything."""
        if kind in ENDPOINT:
            struck = self._struck(kind)
            with self._endpoint(ENDPOINT[kind], draw):
                yield
            self.faults[kind] += self._struck(kind) > struck or not ENDPOINT[kind]
            return
        faults: dict[str, Callable[[float], contextlib.AbstractContextManager[bool]]] = {
            "SIGKILL": self._killed,
            "SIGSTOP": self._paused,
            "SIGTERM": self._terminated,
            "member joins": self._joined,
            "member leaves": self._left,
            "broker stopped": lambda draw: self._broker_down(int(draw * 2), self.cluster.stop),
            "broker killed": lambda draw: self._broker_down(int(draw * 2), self.cluster.kill),
            "broker frozen": lambda draw: self._broker_frozen(int(draw * 3)),
            "dead-letter topic down": lambda _: self._broker_down(LETTERS_BROKER, self.cluster.kill),
            "leader election": self._election,
            "more partitions": self._more_partitions,
            "registry down": lambda _: self._registry({"down": True}),
            "registry garbage": lambda _: self._registry({"garbage": True}),
            "credentials expire": self._expired,
            "clock 20 min ahead": lambda _: self._clock(1200),
            "clock 20 min behind": lambda _: self._clock(-1200),
        }
        with faults[kind](draw) as changed:
            self.faults[kind] += changed
            yield

    def _struck(self, kind: str) -> int:
        """How many requests and entries this fault of EventBridge has struck."""
        return self.world.aws.counts().faults[ENDPOINT[kind].get("kind", "")]

    @contextlib.contextmanager
    def _endpoint(self, fault: Mapping[str, Any], draw: float) -> Iterator[None]:
        """Half of the time all requests are struck, else some; half of the lost ones were accepted."""
        aws = self.world.aws
        if not fault:
            aws.script({"down": True})
        else:
            probability = 1.0 if draw < 0.5 else FLAKY
            more: dict[str, Any] = {"probability": probability, "accept": draw % 0.5 < 0.25}
            if fault["kind"] == "slow_drip":
                more["seconds"] = 5
            aws.script({"faults": [{**fault, **more}]})
        try:
            yield
        finally:
            aws.script({"faults": [], "down": False})

    def _victim(self, draw: float) -> BridgeProcess:
        running = [bridge for bridge in self.bridges[self._watches_first :] if bridge.running]
        return running[int(draw * len(running))]

    @contextlib.contextmanager
    def _killed(self, draw: float) -> Iterator[bool]:
        victim = self._victim(draw)
        victim.kill()
        yield True
        victim.start(ready=False)

    @contextlib.contextmanager
    def _paused(self, draw: float) -> Iterator[bool]:
        victim = self._victim(draw)
        self._stopped.add(victim)
        victim.signal(signal.SIGSTOP)
        yield True
        victim.signal(signal.SIGCONT)
        self._over.wait(1)  # its heart beats again once it came round
        self._stopped.discard(victim)

    @contextlib.contextmanager
    def _terminated(self, draw: float) -> Iterator[bool]:
        victim = self._victim(draw)
        victim.wait_started()
        victim.sigterm()
        yield True
        victim.start(ready=False)

    @contextlib.contextmanager
    def _joined(self, _: float) -> Iterator[bool]:
        self.bridges.append(self._new_bridge().start(ready=False))
        yield True

    @contextlib.contextmanager
    def _left(self, draw: float) -> Iterator[bool]:
        others_stay = len(self.bridges) > 1 + self._watches_first
        if others_stay:
            victim = self._victim(draw)
            victim.wait_started()
            victim.sigterm()
            self.bridges.remove(victim)
        yield others_stay

    @contextlib.contextmanager
    def _broker_down(self, broker: int, end: Callable[[int], None]) -> Iterator[bool]:
        end(broker)
        yield True
        self.cluster.start()

    @contextlib.contextmanager
    def _broker_frozen(self, broker: int) -> Iterator[bool]:
        self.cluster.freeze(broker)
        try:
            yield True
        finally:
            self.cluster.thaw(broker)

    @contextlib.contextmanager
    def _election(self, _: float) -> Iterator[bool]:
        """Every partition that has a choice prefers another leader, and gets it; the group's offsets too."""
        admin = AdminClient({**self.cluster.client, "log_level": "0"})
        others: dict[Partition, Sequence[int]] = {}
        for topic, description in admin.list_topics(timeout=10).topics.items():
            for number, found in description.partitions.items():
                if len(found.isrs) > 1:
                    others[Partition(topic, number)] = sorted(
                        found.replicas, key=lambda broker: broker == found.leader
                    )
        reassign(self.cluster.addresses[LETTERS_BROKER], others)
        answers = admin.elect_leaders(ElectionType.PREFERRED, None).result(30)
        # An error is one of a partition alone: it has the leader it prefers, or that one is not in sync.
        moved = [partition for partition, error in answers.items() if error is None]
        self.moved_leaders += len(moved)
        yield bool(moved)

    @contextlib.contextmanager
    def _more_partitions(self, _: float) -> Iterator[bool]:
        count = len(self.partitions) + 1
        has_room = count <= MAX_PARTITIONS
        if has_room:
            admin = AdminClient({**self.cluster.client, "log_level": "0"})
            admin.create_partitions([NewPartitions(self.topic, count)])[self.topic].result(30)
            self.partitions.append(Partition(self.topic, count - 1))
        yield has_room

    @contextlib.contextmanager
    def _registry(self, script: Mapping[str, Any]) -> Iterator[bool]:
        self.registry.script(script)
        yield True
        self.registry.script({})

    @contextlib.contextmanager
    def _expired(self, _: float) -> Iterator[bool]:
        self.credentials.number += 1
        self.world.aws.set_credentials(self.credentials.known())
        yield True

    @contextlib.contextmanager
    def _clock(self, skew_s: int) -> Iterator[bool]:
        self.world.aws.script({"clock_skew_s": skew_s})
        yield True
        self.world.aws.script({"clock_skew_s": 0})
