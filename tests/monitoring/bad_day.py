"""Every query of dashboard and alerts is answered when its condition holds; alerts are silent when none does.

One bridge goes through a bad day on a real Kafka. Windows are 20 and 60 s here (`queries.hurried`); that each
alert waits as long as it should is what tests/chart/alerts_test.yaml shows. It takes minutes, so that only
`make monitoring` runs it.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from connector.model import Partition
from connector.sandbox.registry import FakeRegistry
from tests.bridge_process import BridgeProcess
from tests.chart import tools
from tests.conftest import PARTS, started
from tests.monitoring import queries
from tests.monitoring.prometheus import Prometheus
from tests.services.child import free_ports, wait_until
from tests.services.kafka import KafkaCluster
from tests.services.s3 import BUCKET, S3, serving_s3
from tests.topics import Sent
from tests.world import NOTES, ORDER, ORDERS, REGION, World, note, order

PATIENCE_S = 120
SOURCE = "aws.partner/example.com/acme"
"""The customer of all orders, and of the notes."""
OTHER = "aws.partner/example.com/blue"
"""A customer of a few notes."""
NOTES_ON = (1, 2)
"""The brokers that have a topic of notes each; the orders are on 0."""
LETTERS_ON = 2
"""The broker of the dead-letter topic, which is killed while the others go on."""


class Day:
    """A bridge under load, the Prometheus that watches it, and what can happen to it."""

    def __init__(
        self,
        world: World,
        kafka: KafkaCluster,
        registry: FakeRegistry,
        watch: Prometheus,
        *,
        s3: S3,
        folder: Path,
    ) -> None:
        self.world, self.kafka, self.registry, self.watch = world, kafka, registry, watch
        self.topic = Partition(world.topic("orders", partitions=2, broker=0)[0].topic, 0)
        self._notes = {on: world.topic(f"notes-{on}", broker=on)[0] for on in NOTES_ON}
        self.schema_id = registry.register("orders", ORDER)
        self._pauses = folder / "pauses.yaml"
        settings = world.settings(
            {self.topic.topic: ORDERS, **{each.topic: NOTES for each in self._notes.values()}},
            dead_letter={"count_open_every": "1s", "create": True, "replication_factor": 1},
            delivery={"commit_interval": "500ms"},
            eventbridge={"claim_check": {"bucket": BUCKET, "endpoint_url": s3.url}},
            sources={"refresh_interval": "1s"},
        )
        self.bridge: BridgeProcess = world.bridge({**settings, "pauses": str(self._pauses)})
        self._shown: dict[tuple[str, str], float] = {}
        """Title and query of each panel that has shown something, and what."""
        self._produced = itertools.count()
        self._loading = threading.Event()
        self._over = threading.Event()
        self._producing = threading.Lock()
        self._producer = threading.Thread(target=self._produce, daemon=True)
        self._producer.start()

    def start_bridge(self, *, ready: bool = True) -> None:
        self.bridge.start(ready=False)
        self.watch.scrape(self.bridge.port)
        if ready:
            self.bridge.wait_ready(timeout_s=PATIENCE_S)

    def load(self, *, on: bool) -> None:
        """A few hundred orders a second, of which every tenth is filtered; off once it returns."""
        if on:
            self._loading.set()
        else:
            with self._producing:
                self._loading.clear()

    def send(self, value: bytes) -> None:
        self.world.topics.produce([Sent(self.topic.topic, value, key=b"key", partition=0)])

    def notes(self) -> tuple[int, Partition]:
        """A topic of notes and its broker, which is not the one that coordinates the group."""
        admin = AdminClient(dict(self.kafka.client))  # kept: one that is collected takes its futures with it
        group = admin.describe_consumer_groups([self.world.name])
        coordinator = group[self.world.name].result(30).coordinator.id
        return next((on, each) for on, each in self._notes.items() if on != coordinator)

    def send_notes(self, topic: str, count: int, *, tenant: str = "acme") -> None:
        self.world.topics.produce([Sent(topic, note(n, tenant=tenant)) for n in range(count)])

    def pause(self, text: str) -> None:
        """What the file of pauses says from now on."""
        new = self._pauses.with_suffix(".new")
        new.write_text(text)
        new.replace(self._pauses)

    def discard_letters(self) -> None:
        command = [
            "dead-letters",
            "discard",
            "--config",
            str(self.bridge.file),
            "--reason",
            "seen",
            "--execute",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "connector", *command],
            env={**os.environ, **self.bridge.environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def evict(self, *, times: int) -> None:
        """Lets the bridge stand still until the group goes on without it, and then go on, so many times."""
        admin = AdminClient(dict(self.kafka.client))
        name = self.world.name

        def is_empty() -> bool:
            return not admin.describe_consumer_groups([name])[name].result(30).members

        for time_ in range(1, times + 1):
            self.bridge.signal(signal.SIGSTOP)
            wait_until(is_empty, what="the group is empty", timeout_s=30, every_s=0.2)
            self.bridge.signal(signal.SIGCONT)
            self.bridge.wait_metric("rebalances_total", time_, kind="lost")
            self.bridge.wait_ready()

    def end(self) -> None:
        self._over.set()
        self._loading.set()
        self._producer.join(timeout=30)

    def _produce(self) -> None:
        while True:
            self._loading.wait()
            if self._over.is_set():
                return
            with self._producing:
                if self._loading.is_set():
                    self._produce_some()
            self._over.wait(0.1)

    def _produce_some(self) -> None:
        orders = [
            Sent(
                self.topic.topic,
                order(self.schema_id, n, status="DRAFT" if n % 10 == 0 else "NEW"),
                key=str(n).encode(),
                partition=n % 2,
            )
            for n in itertools.islice(self._produced, 50)
        ]
        try:
            self.world.topics.produce(orders)
        except Exception:  # noqa: BLE001  # the broker is down for a while, on purpose
            self._over.wait(0.5)

    # Looking

    def wait_fires(self, *names: str, during: Callable[[], None] = lambda: None) -> None:
        """Waits until the queries of these alerts have answers; `during` goes on meanwhile."""
        expressions = queries.alerts()
        seen: dict[str, float] = {}

        def all_seen() -> bool:
            during()
            self._look()
            for name in names:
                if name not in seen and (found := self.watch.ask(queries.hurried(expressions[name]))):
                    seen[name] = max(value for _, value in found)
                    print(f"  alert      {name:<40}{seen[name]:>12.4g}")
            return seen.keys() == set(names)

        wait_until(
            all_seen,
            what=lambda: f"{set(names) - seen.keys()} fire\n{self.world.log()}",
            timeout_s=PATIENCE_S,
            every_s=0.2,
        )

    def firing(self) -> set[str]:
        return {
            name
            for name, expression in queries.alerts().items()
            if self.watch.ask(queries.hurried(expression))
        }

    def wait_silent(self) -> None:
        wait_until(
            lambda: not self.firing(),
            what=lambda: f"{self.firing()} are silent\n{self.world.log()}",
            timeout_s=PATIENCE_S,
        )

    def _look(self) -> list[tuple[str, str]]:
        """Notes which panels of the dashboard have something to show now; answers those that never had."""
        unseen = [each for each in queries.panels() if each not in self._shown]
        for title, query in unseen:
            if found := self.watch.ask(queries.hurried(query)):
                self._shown[title, query] = max(value for _, value in found)
                print(f"  dashboard  {title:<40}{self._shown[title, query]:>12.4g}")
        return [each for each in unseen if each not in self._shown]

    def wait_shown(self, *titles: str) -> None:
        """Waits until every query of these panels, or of all, has had something to show."""
        wait_until(
            lambda: not [title for title, _ in self._look() if not titles or title in titles],
            what=lambda: f"shown: {self._look()}",
            timeout_s=PATIENCE_S,
            every_s=0.5,
        )


@pytest.fixture
def day(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Day]:
    started(pytestconfig, "Prometheus", tools.prometheus)
    pytestconfig.stash[PARTS]["Prometheus"] = f"{tools.prometheus()}/prometheus"
    kafka = started(pytestconfig, "Kafka", lambda: KafkaCluster(brokers=3).start())
    pytestconfig.stash[PARTS].setdefault("Kafka", kafka.description)
    with (
        closing(kafka),
        FakeRegistry() as registry,
        serving_s3() as s3,
        World(kafka.client, folder=tmp_path, registry_url=registry.url, dead_letters_on=LETTERS_ON) as world,
        Prometheus(tmp_path) as watch,
    ):
        day = Day(world, kafka, registry, watch, s3=s3, folder=tmp_path)
        yield day
        day.end()


@pytest.mark.timeout(1800)
def test_a_bad_day(day: Day) -> None:
    """Each condition is brought about, and the queries that should see it do."""
    began_s = time.monotonic()

    def chapter(text: str) -> None:
        print(f"{time.monotonic() - began_s:6.1f} s  {text}")

    chapter("nothing is there yet")
    day.wait_fires("PartnerBridgeAbsent")

    chapter("a bridge under load, and all is well")
    day.world.aws.script({"latency_ms": 20})
    day.start_bridge()
    day.load(on=True)
    wait_until(
        lambda: bool(day.watch.ask("rate(partner_bridge_events_delivered_total[10s]) > 0")),
        what=lambda: f"events are delivered\n{day.world.log()}",
    )
    day.wait_silent()

    chapter("a second pod never answers")
    day.watch.scrape(day.bridge.port, *free_ports(1))
    day.wait_fires("PartnerBridgePodDown")
    day.watch.scrape(day.bridge.port)

    chapter("a note that is too large for EventBridge")
    _, notes = day.notes()
    day.world.topics.produce([Sent(notes.topic, note(1, text="x" * 300_000))])
    day.wait_shown("Events by reference")

    chapter("a record that is no Avro, and a few throttled entries")
    day.send(b"no avro")
    throttles = {"kind": "entry_error", "code": "ThrottlingException", "probability": 0.05}
    day.world.aws.script({"latency_ms": 20, "faults": [throttles]})
    day.wait_fires("PartnerBridgeDeadLetters", "PartnerBridgeDeadLettersOpen")
    day.discard_letters()

    chapter("EventBridge takes nothing for one customer")
    fails = {"kind": "entry_error", "code": "InternalFailure", "source": OTHER}
    day.world.aws.script({"latency_ms": 20, "faults": [fails]})
    notes_on, notes = day.notes()
    day.send_notes(notes.topic, 3, tenant="blue")
    day.wait_shown("Lookups of sources")
    day.world.aws.script({"latency_ms": 20, "faults": []})
    day.world.wait_settled([notes])

    chapter("events flow, and no lookup of a source is answered")
    unanswered = {"kind": "internal_error", "operation": "ListPartnerEventSourceAccounts"}
    day.world.aws.script({"latency_ms": 20, "faults": [unanswered]})
    day.wait_fires("PartnerBridgeLookupsFailing")
    day.world.aws.script({"latency_ms": 20, "faults": []})

    chapter("a topic is paused, and then the file of pauses has a mistake")
    day.pause(f"- topics: [{notes.topic}]")
    day.bridge.wait_metric("partitions_paused", 1, reason="pauses")
    day.wait_fires("PartnerBridgePausedLong")
    day.pause("- nonsense")
    day.wait_fires("PartnerBridgePausesUnreadable")

    day.pause("[]")

    chapter("one topic's broker is gone before all of its records were read")
    day.world.aws.script({"latency_ms": 2000})
    day.send_notes(notes.topic, 30_000)
    wait_until(
        lambda: day.bridge.metric("partitions_paused", reason="pending") > 0,
        what=lambda: f"the bridge is full\n{day.world.log()}",
    )
    day.kafka.kill(notes_on)
    day.world.aws.script({"latency_ms": 20})
    day.wait_fires("PartnerBridgeTopicStandsStill")
    day.kafka.start()

    chapter("EventBridge throttles every other request")
    day.world.aws.script({"latency_ms": 20, "faults": [{"kind": "throttle", "probability": 0.5}]})
    day.wait_fires("PartnerBridgeThrottled")

    chapter("EventBridge is down")
    day.world.aws.script({"down": True})
    day.wait_fires(
        "PartnerBridgeTargetDown",
        "PartnerBridgeStuck",
        "PartnerBridgeNotDelivering",
        "PartnerBridgeFallingBehind",
        "PartnerBridgeBacklog",
    )

    chapter("all is well again, but for what comes late")
    day.world.aws.calm()
    day.wait_fires("PartnerBridgeDeliveryBudgetBurnsFast", "PartnerBridgeDeliveryBudgetBurns")
    day.wait_silent()

    chapter("the bridge stands still three times, each for longer than the group waits for it")
    day.evict(times=3)
    day.wait_fires("PartnerBridgeEvicted")

    chapter("the customer takes the source back, and accepts it again")
    day.world.aws.set_source(REGION, SOURCE, "PENDING")
    day.wait_fires(
        "PartnerBridgeSourceInactive", "PartnerBridgeSourceExpires", "PartnerBridgeEventsMaybeDropped"
    )
    day.world.aws.set_source(REGION, SOURCE, "ACTIVE")
    day.discard_letters()  # those of what was too much to hold
    day.wait_silent()

    chapter("the registry is down, and a new schema comes")
    newer = day.registry.register("orders", {**ORDER, "doc": "newer"})
    day.registry.stop()
    day.send(order(newer, 1))
    day.wait_fires("PartnerBridgeSchemaRegistryUnavailable")
    day.registry.start()

    chapter("the dead-letter topic takes nothing")
    day.kafka.kill(LETTERS_ON)
    day.send(b"no avro either")
    day.wait_fires("PartnerBridgeDeadLetterTopicUnwritable")
    day.kafka.start()

    chapter("Kafka deletes what was not read yet")
    day.load(on=False)
    day.world.wait_settled([day.topic])
    day.bridge.sigterm()
    for number in range(30):
        day.send(order(day.schema_id, number))
    (end,) = day.world.topics.ends([day.topic]).values()
    place = TopicPartition(day.topic.topic, day.topic.number, end - 5)
    admin = AdminClient(dict(day.kafka.client))
    admin.delete_records([place])[place].result(30)
    day.start_bridge()
    day.wait_fires("PartnerBridgeRecordsGone")

    chapter("Kafka is gone")
    day.load(on=True)
    day.world.wait_accepted(day.world.aws.counts().accepted + 200)
    for broker in range(3):
        day.kafka.kill(broker)
    day.wait_fires("PartnerBridgeCommitsFailing")
    day.kafka.start()

    chapter("EventBridge refuses the account: the bridge halts, and is started again and again")
    day.world.aws.script({"faults": [{"kind": "access_denied"}]})

    def restart() -> None:
        if not day.bridge.running:
            assert 3 == day.bridge.wait_exit(), day.world.log()
            day.start_bridge(ready=False)

    day.wait_fires("PartnerBridgeHalted", "PartnerBridgeRestarting", during=restart)
    day.bridge.kill()
    day.wait_fires("PartnerBridgeDown")

    chapter("that was all")
    day.wait_shown()
    (memory,) = day.watch.ask("max_over_time(process_resident_memory_bytes[1h]) / 1e6")
    print(f"  most memory: {memory[1]:.0f} MB")
