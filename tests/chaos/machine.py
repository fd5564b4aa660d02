"""Runs bridges against real brokers while a schedule of faults is played on them, and judges the account."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from confluent_kafka import ElectionType, KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions

from connector.model import Json, Partition
from connector.sandbox.eventbridge import SEEN_AFTER_S, DroppedEvent
from connector.sandbox.registry import FakeRegistry
from tests.accounting import Balance
from tests.bridge_process import BridgeProcess
from tests.chaos.load import Load, tenant_name
from tests.chaos.schedule import ENDPOINT, LANES, LENGTHS_S, LOOKUPS, ONE_CUSTOMER, Planned
from tests.container_credentials import ContainerCredentials
from tests.memory import rss_mb
from tests.services.child import Child, wait_until
from tests.services.kafka import KafkaCluster
from tests.services.reassignment import reassign
from tests.world import ORDERS, REGION, World

T = TypeVar("T")

MEMBERS = 3
POLICIES = ("dead_letter", "hold")
"""What becomes of records of a customer who is away: one topic for each."""
PARTITIONS = 4
MAX_PARTITIONS = 8
"""Of each topic."""
LETTERS_BROKER = 2
"""The dead-letter topic lies on this broker alone, so that it alone can be down."""
FLAKY = 0.5
"""Share of requests that a fault strikes, where it does not strike all: a brown-out, in which half of what is
sent succeeds. That is nobody's fault, so a good record in the dead-letter topic is always a finding."""
TRIES, TRY_AGAIN_S = 3, 2.0
"""How often and after what time Kafka is asked again for what it did not do."""
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


def asked_of_kafka(ask: Callable[[], T], pause: Callable[[float], object] = time.sleep) -> T | None:
    """What Kafka answers to the machine itself; None where it does not, however often it is asked.

    While brokers are away there are many ways not to answer. None of them says anything about a bridge; and
    nothing else is excused, so only what the machine asks Kafka belongs into `ask`.
    """
    for _ in range(TRIES):
        try:
            return ask()
        except (KafkaException, OSError):
            pause(TRY_AGAIN_S)
    return None


@dataclass(slots=True)
class Result:
    """What a run came to."""

    balance: Balance
    faults: Counter[str]
    """Those that changed something: what found nothing to do, or what Kafka refused, is not counted."""
    moved_leaders: int
    """Partitions that another broker led after an election."""
    struck: Counter[str]
    """Single requests and entries of EventBridge that were struck, by the sandbox's names."""
    samples: int
    max_rss_mb: float
    problems: list[str] = field(default_factory=list)


def source(tenant: int) -> str:
    return f"aws.partner/example.com/{tenant_name(tenant)}"


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
        leavers: int = 5,
        watches_first: bool = False,
        lookups_per_second: float = 10.0,
        refresh_interval: str = "2s",
    ) -> None:
        self.faults: Counter[str] = Counter()
        self.problems: list[str] = []
        """What was seen to be wrong on the way."""
        self.max_rss_mb = 0.0
        self.moved_leaders = 0
        self.partitions: list[Partition] = []
        """Of all topics; more while it runs."""
        self.group = GROUPS[seed % len(GROUPS)]
        self._folder = folder
        self._seed = seed
        self._per_second = per_second
        self._keys = keys
        self._tenants = tenants
        self._leavers = [source(number) for number in range(tenants - leavers, tenants)]
        self._scripted: dict[str, Mapping[str, Any]] = {}
        """The faults of EventBridge that last at this moment, by kind."""
        self._scripting = threading.Lock()
        self._spells: dict[str, list[tuple[float, float]]] = {}
        """From when to when a process stood still, by who it is to EventBridge."""
        self._lookups_per_second = lookups_per_second
        self._refresh_interval = refresh_interval
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
            self.topics = {f"{self.world.name}.{policy}": policy for policy in POLICIES}
            for topic in self.topics:
                self.partitions += self.world.topics.create(
                    topic, partitions=PARTITIONS, copies=3, config={"min.insync.replicas": "2"}
                )
            self.load = Load(
                self.cluster.client,
                list(self.topics),
                self.registry,
                per_second=self._per_second,
                seed=self._seed,
                keys=self._keys,
                tenants=self._tenants,
                leavers=len(self._leavers),
            )
            self.credentials.on_caller = self._tell_credentials
            self._tell_credentials()
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
            {topic: ORDERS | {"on_inactive_source": policy} for topic, policy in self.topics.items()},
            kafka=self.group,
            schema_registry={"url": self.registry.url, "timeout": "1s"},
            eventbridge={
                "timeouts": {"connect": "500ms", "read": "1s"},
                "max_in_flight": 8,
                "retry": {"initial_interval": "20ms", "max_interval": "500ms"},
            },
            delivery={"commit_interval": "200ms", "max_pending_records": 2000, "shutdown_timeout": "10s"},
            dead_letter={"topic": self.world.dead_letter_topic, "max_consecutive": 100_000},
            sources={
                "lookups_per_second": self._lookups_per_second,
                "refresh_interval": self._refresh_interval,
            },
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
        for name in self._leavers:
            self.world.aws.set_source(REGION, name, "ACTIVE")
        self.cluster.start()
        for topic in self.topics:  # what Kafka had not done when it was last asked may be done by now
            asked_of_kafka(partial(self._note_partitions, topic), self._over.wait)
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
        struck, dropped = self.world.aws.counts().faults, self.world.aws.dropped()
        self.load.read_back(self.world.topics)
        balance = self.world.balance(
            self.load.produced,
            filtered=self.load.filtered,
            dead=self.load.dead,
            may_be_dead=self.load.may_be_dead,
            dropped=dropped,
            void=[event for event in dropped if self._was_seen(event)],
            samples=samples,
        )
        assert not self.problems, "\n".join(self.problems)
        return Result(balance, self.faults, self.moved_leaders, struck, len(samples), self.max_rss_mb)

    def _was_seen(self, event: DroppedEvent) -> bool:
        """Whether the bridge that sent it had been told, and had the time to act on it while it did not stand
        still."""
        if event.seen_s is None:
            return False
        seen_s, received_s = event.seen_s, event.received_s
        stood_still_s = sum(
            max(0.0, min(until_s, received_s) - max(from_s, seen_s))
            for from_s, until_s in self._spells.get(event.caller, ())
        )
        return received_s - seen_s - stood_still_s > SEEN_AFTER_S

    def _play(self, faults: Sequence[Planned], began_s: float, ends_s: float, done: threading.Event) -> None:
        for fault in faults:
            self._over.wait(max(0.0, began_s + fault.at_s - time.monotonic()))
            if self._over.is_set() or time.monotonic() >= ends_s:
                break
            try:
                with self.fault(fault.kind, fault.draw):
                    self._over.wait(fault.seconds)
            except Exception as error:  # noqa: BLE001 - also a mistake of the machine ends the run, and shows
                self.problems.append(f"{fault}: {type(error).__name__}: {error}")
                self._over.set()
        done.set()
        # Linux ends the children of a thread with it: those that were started here are still needed.
        self._closed.wait()

    def _watch(self) -> None:
        """Nobody ends by itself, is silent or not live, or takes more and more memory."""
        heard_s: dict[Child, float] = {}
        while not self._over.wait(0.5):
            for bridge in list(self.bridges):
                if problem := self._asked(bridge, heard_s, time.monotonic()):
                    self.problems.append(problem)
                    self._over.set()
                    return

    def _asked(self, bridge: BridgeProcess, heard_s: dict[Child, float], now_s: float) -> str | None:
        """What is wrong with a bridge, if anything is. `heard_s` says when each process answered last, which
        a process that was started again on the same port did not do yet."""
        if bridge.has_failed:
            return bridge.failure()
        child = bridge.child
        if not bridge.running or bridge in self._stopped:
            heard_s.pop(child, None)
            return None
        try:
            if not bridge.live() and bridge not in self._stopped:
                return f"/livez is not 200:\n{bridge.log()}"
            heard_s[child] = now_s
            self.max_rss_mb = max(self.max_rss_mb, rss_mb(child.pid))
        except (urllib3.exceptions.HTTPError, OSError):
            if now_s - heard_s.setdefault(child, now_s) > SILENT_S:
                return f"HTTP is silent for {SILENT_S:.0f} s:\n{bridge.log()}"
        return None

    # The faults

    @contextlib.contextmanager
    def fault(self, kind: str, draw: float) -> Iterator[None]:
        """One fault, for as long as the context lasts; counted where it changed anything."""
        if kind in self._of_eventbridge:
            struck = self._struck(kind)
            with self._of_eventbridge[kind](kind, draw):
                yield
            self.faults[kind] += self._struck(kind) > struck or not ENDPOINT.get(kind, True)
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
            "a customer leaves": lambda draw: self._away(self._leavers[int(draw * len(self._leavers)) :][:1]),
            "customers leave": lambda _: self._away(self._leavers),
        }
        with faults[kind](draw) as changed:
            self.faults[kind] += changed
            yield

    @property
    def _of_eventbridge(self) -> dict[str, Callable[[str, float], contextlib.AbstractContextManager[None]]]:
        return {
            **dict.fromkeys(ENDPOINT, self._endpoint),
            **dict.fromkeys(LOOKUPS, self._lookups),
            **dict.fromkeys(ONE_CUSTOMER, self._one_customer),
        }

    def _struck(self, kind: str) -> int:
        """How many requests and entries this fault of EventBridge has struck."""
        return self.world.aws.counts().faults[kind]

    def _endpoint(self, kind: str, draw: float) -> contextlib.AbstractContextManager[None]:
        """Half of the time all requests are struck, else some; half of the lost ones were accepted."""
        fault = ENDPOINT[kind]
        if not fault:
            return self._unreachable()
        more: dict[str, Any] = {"probability": 1.0 if draw < 0.5 else FLAKY, "accept": draw % 0.5 < 0.25}
        if fault["kind"] == "slow_drip":
            more["seconds"] = 5
        return self._script(kind, {**fault, **more})

    def _lookups(self, kind: str, draw: float) -> contextlib.AbstractContextManager[None]:
        """Half of the time all lookups are struck, else some."""
        return self._script(kind, {**LOOKUPS[kind], "probability": 1.0 if draw < 0.5 else FLAKY})

    def _one_customer(self, kind: str, draw: float) -> contextlib.AbstractContextManager[None]:
        """All entries of one source are struck, whoever it is; also of one that comes and goes."""
        return self._script(kind, {**ONE_CUSTOMER[kind], "source": source(int(draw * self._tenants))})

    @contextlib.contextmanager
    def _script(self, kind: str, fault: Mapping[str, Any]) -> Iterator[None]:
        """One fault of EventBridge, beside those of other lanes."""
        self._change_script(kind, {**fault, "name": kind})
        try:
            yield
        finally:
            self._change_script(kind, None)

    def _change_script(self, kind: str, fault: Mapping[str, Any] | None) -> None:
        with self._scripting:
            self._scripted.pop(kind, None)
            if fault is not None:
                self._scripted[kind] = fault
            self.world.aws.script({"faults": list(self._scripted.values())})

    @contextlib.contextmanager
    def _unreachable(self) -> Iterator[None]:
        self.world.aws.script({"down": True})
        try:
            yield
        finally:
            self.world.aws.script({"down": False})

    @contextlib.contextmanager
    def _away(self, sources: Sequence[str]) -> Iterator[bool]:
        """These customers have deleted their bus, and make it anew at the end."""
        for name in sources:
            self.world.aws.set_source(REGION, name, "PENDING")
        yield bool(sources)
        for name in sources:
            self.world.aws.set_source(REGION, name, "ACTIVE")

    def _tell_credentials(self) -> None:
        self.world.aws.set_credentials(self.credentials.known())

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
        began_s = time.monotonic()
        victim.signal(signal.SIGSTOP)
        yield True
        victim.signal(signal.SIGCONT)
        self._spells.setdefault(victim.caller, []).append((began_s, time.monotonic()))
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
        moved = asked_of_kafka(self._elected, self._over.wait)
        self.moved_leaders += moved or 0
        yield bool(moved)

    def _elected(self) -> int:
        """How many partitions another broker leads now."""
        admin = AdminClient({**self.cluster.client, "log_level": "0"})
        others: dict[Partition, Sequence[int]] = {}
        for topic, description in admin.list_topics(timeout=10).topics.items():
            for number, found in description.partitions.items():
                if len(found.isrs) > 1:
                    others[Partition(topic, number)] = sorted(
                        found.replicas, key=lambda broker: broker == found.leader
                    )
        reassign(self.cluster.addresses[LETTERS_BROKER], others)
        answers = admin.elect_leaders(ElectionType.PREFERRED, None).result(15)
        # An error is one of a partition alone: it has the leader it prefers, or that one is not in sync.
        return sum(error is None for error in answers.values())

    @contextlib.contextmanager
    def _more_partitions(self, draw: float) -> Iterator[bool]:
        topic = list(self.topics)[int(draw * len(self.topics))]
        before = self._count(topic)
        if before < MAX_PARTITIONS:
            asked_of_kafka(lambda: self._widened(topic, before + 1), self._over.wait)
        yield self._count(topic) > before

    def _widened(self, topic: str, count: int) -> None:
        """The topic has so many partitions, whoever of us asked for them."""
        # It may have been done although there was no answer.
        if self._note_partitions(topic) < count:
            admin = AdminClient({**self.cluster.client, "log_level": "0"})
            admin.create_partitions([NewPartitions(topic, count)], request_timeout=10)[topic].result(15)
            if self._note_partitions(topic) < count:
                raise TimeoutError(f"the brokers do not show {count} partitions of {topic} yet")

    def _count(self, topic: str) -> int:
        return sum(partition.topic == topic for partition in self.partitions)

    def _note_partitions(self, topic: str) -> int:
        """Notes the partitions that this topic has by now, and answers how many they are."""
        there = self.world.topics.partitions(topic)
        self.partitions += [partition for partition in there if partition not in self.partitions]
        return len(there)

    @contextlib.contextmanager
    def _registry(self, script: Mapping[str, Any]) -> Iterator[bool]:
        self.registry.script(script)
        yield True
        self.registry.script({})

    @contextlib.contextmanager
    def _expired(self, _: float) -> Iterator[bool]:
        self.credentials.number += 1
        self._tell_credentials()
        yield True

    @contextlib.contextmanager
    def _clock(self, skew_s: int) -> Iterator[bool]:
        self.world.aws.script({"clock_skew_s": skew_s})
        yield True
        self.world.aws.script({"clock_skew_s": 0})
