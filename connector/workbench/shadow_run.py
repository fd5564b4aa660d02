"""A shadow run: the bridge's pipeline beside a running bridge, on the records that it would read next.

It sends nothing and commits nothing, and no group has another member for it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager

from connector import config, process
from connector.errors import ConfigError, Problem, RecordError, UnavailableError
from connector.formats.registries import Registries
from connector.kafka.client import LIBRDKAFKA_VERSION
from connector.kafka.shadow_consumer import ShadowConsumer
from connector.model import Partition, Record
from connector.pipeline import Dropped, Pipeline
from connector.telemetry.health import Health
from connector.telemetry.metrics import versions
from connector.telemetry.server import Server
from connector.workbench.shadow_metrics import ShadowMetrics
from connector.workbench.shadow_report import PartitionReading, ShadowReport

POLL_RECORDS = 100
"""Records taken in one go."""

WAIT_S = 0.1
"""How long it waits for records."""

SCHEMA_WAIT_S = 0.02
"""The same while a record waits for its schema, which may come at any moment."""

REPORT_INTERVAL_S = 1.0
"""How often lag and health are brought up to date."""


class ShadowRun:
    """Maps every record that comes, and counts what would have become of it; `begin`, then `read`."""

    def __init__(
        self,
        settings: config.Settings,
        *,
        consumer: ShadowConsumer,
        pipeline: Pipeline,
        health: Health,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.report = ShadowReport(max_consecutive=settings.dead_letter.max_consecutive)
        self.notes: list[str] = []
        """What is unusual about the topics, and stops nothing."""
        self._topics = list(settings.topics)
        self._consumer = consumer
        self._pipeline = pipeline
        self._health = health
        self._clock_s = clock_s
        self._stopping = False
        self._first: dict[Partition, int] = {}
        self._waiting: dict[Partition, deque[Record]] = {}
        """Records of paused partitions, the first of which waits for its schema."""
        self._reasons: dict[Partition, str] = {}
        """Why they wait."""

    def begin(self) -> None:
        """Find what the bridge would read, and begin where its group is.

        Raises:
            ConfigError: a topic does not exist; with every such problem.
            UnavailableError: the brokers do not answer.
        """
        metadata = self._consumer.metadata()
        self._pipeline.cluster_id = metadata.cluster_id or self._pipeline.cluster_id
        partitions = [
            Partition(topic, number)
            for topic in self._chosen(metadata.topics)
            for number in metadata.topics[topic].partitions
        ]
        self._first = self._consumer.begin(partitions)
        self._note_state(anew=False)
        self._health.assigned(len(partitions))

    def stop(self) -> None:
        """Ask `read` to return; may be called on any thread."""
        self._stopping = True
        self._health.stopping()

    def read(self, for_s: float | None = None, *, advanced: Callable[[int], None] = lambda _: None) -> None:
        """Map what comes, for so many seconds or until `stop` is called.

        `advanced` gets the number of records that were mapped since its last call, several times a second.

        Raises:
            HaltError: the bridge would halt, since an offset is gone.
        """
        began_s = self._clock_s()
        ends_s = float("inf") if for_s is None else began_s + for_s
        note_due_s = sweep_due_s = began_s
        done = 0
        try:
            while not self._stopping and (now_s := self._clock_s()) < ends_s:
                self.report.seconds = now_s - began_s
                self._health.beat()
                self._retry()
                wait_s = SCHEMA_WAIT_S if self._waiting else WAIT_S
                for record in self._consumer.poll(POLL_RECORDS, min(wait_s, ends_s - now_s)):
                    self._take(record)
                records = self.report.records
                advanced(records - done)
                done = records
                if now_s >= note_due_s:
                    note_due_s = now_s + REPORT_INTERVAL_S
                    self._note_state(anew=False)
                if now_s >= sweep_due_s:
                    sweep_due_s = now_s + process.COLLECT_INTERVAL_S
                    process.collect_garbage()
        finally:
            self.report.seconds = self._clock_s() - began_s
            self._note_state(anew=True)

    def _chosen(self, existing: Collection[str]) -> list[str]:
        """The topics that the bridge would read, of those that exist."""
        chosen: list[str] = []
        problems: list[Problem] = []
        for name in self._topics:
            found = self._pipeline.topics_of(name, existing)
            chosen += found
            if name.startswith("^"):
                if not found:
                    self.notes.append(f"{name} matches no topic that can be read")
            elif name not in existing:
                problems.append(
                    Problem(f"topics.{name}", "there is no such topic; create it, or correct its name")
                )
        self.notes += [
            f"{topic} is not read: {self._pipeline.refusal(topic)}"
            for topic in sorted(existing)
            if self._pipeline.is_ambiguous(topic)
        ]
        if not chosen and not problems:
            problems.append(Problem("topics", f"there is nothing to read: {'; '.join(self.notes)}"))
        if problems:
            raise ConfigError(problems)
        return chosen

    def _take(self, record: Record) -> None:
        waiting = self._waiting.get(record.partition)
        if waiting is not None:
            waiting.append(record)
        elif not self._convert(record):
            self._waiting[record.partition] = deque([record])
            self._consumer.pause(record.partition)

    def _retry(self) -> None:
        """Try again what waits for a schema."""
        for partition, waiting in list(self._waiting.items()):
            while waiting and self._convert(waiting[0]):
                waiting.popleft()
            if not waiting:
                del self._waiting[partition], self._reasons[partition]
                self._consumer.resume(partition)

    def _convert(self, record: Record) -> bool:
        """Map a record and count what would become of it; False where its schema is not there yet."""
        topic = record.partition.topic
        try:
            made = self._pipeline(record)
        except UnavailableError as error:
            self._reasons[record.partition] = str(error)
            return False
        except RecordError as error:
            self.report.dead_letter(record.position, error)
            self._health.failed(topic, f"{error.code}: {error}")
        else:
            if isinstance(made, Dropped):
                self.report.filtered(topic, made.reason)
            else:
                self.report.event(topic, made)
        return True

    def _note_state(self, *, anew: bool) -> None:
        """Bring lag and health up to date."""
        for partition, left in self._consumer.left(anew=anew).items():
            held = len(self._waiting.get(partition, ()))
            self.report.partitions[partition] = PartitionReading(
                self._first[partition], left + held, self._reasons.get(partition)
            )
        self._health.report("kafka", self._consumer.problem)
        self._health.report("schema_registry", self._pipeline.problem if self._waiting else None)


@contextmanager
def shadow_run(settings: config.Settings) -> Iterator[ShadowRun]:
    """A shadow run that has begun, and answers on the usual HTTP port; all is closed with the context.

    Raises:
        ConfigError: as `ShadowRun.begin`; also where the HTTP port cannot be had.
        UnavailableError: the brokers do not answer.
    """
    health = Health()
    with ExitStack() as opened:
        registries = Registries.of(settings)
        opened.callback(registries.close)
        consumer = opened.enter_context(closing(ShadowConsumer(settings)))
        run = ShadowRun(settings, consumer=consumer, pipeline=Pipeline(settings, registries), health=health)
        metrics = ShadowMetrics(run.report, versions(LIBRDKAFKA_VERSION))
        opened.enter_context(
            closing(Server(health, metrics, host=settings.http.host, port=settings.http.port))
        )
        run.begin()
        yield run
