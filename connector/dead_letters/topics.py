"""The dead-letter topic and its resolutions, for the tools: read a snapshot, write resolutions.

Nothing here joins a consumer group or commits.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence

from confluent_kafka import (
    KafkaError,
    KafkaException,
    Message,
    Producer,
)
from confluent_kafka.admin import ConfigResource

from connector import config
from connector.dead_letters.format import DeadLetter, restored
from connector.dead_letters.resolutions import (
    Resolution,
    ResolutionTable,
    UnreadableResolution,
    decode,
    encode,
)
from connector.errors import ConfigError, DeadLetterError, Problem
from connector.kafka.client import (
    ANSWER_TIMEOUT_S,
    admin,
    cluster_metadata,
    create_topic,
    producer,
    record_of,
)
from connector.kafka.reader import BATCH, Reader, unreadable
from connector.model import Position, Ranges, Record

WRITE_TIMEOUT_MS = 60_000
"""librdkafka tries for so long to write a resolution; then the write has failed."""

QUEUED = 10_000
"""Resolutions on their way to the broker, at most."""
UNCHECKABLE = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})


class DeadLetterTopic:
    """Reads the dead-letter topic without joining a group.

    For one thread, and one `read` at a time. Call `close` in the end.
    """

    def __init__(self, settings: config.Settings) -> None:
        self.name = settings.dead_letter.topic
        self.cluster_id: str | None = None
        """Part of event ids, for `Pipeline.cluster_id`. Known once `snapshot` was called."""
        self._reader = Reader(settings)
        self._origins: Reader | None = None
        self._settings = settings

    def snapshot(self) -> dict[int, tuple[int, int]]:
        """The topic's present ranges: partition → (first offset, one past the last).

        Raises:
            ConfigError: the topic does not exist.
            UnavailableError: no broker answered in time, or they refuse us.
        """
        self.cluster_id = self._reader.metadata().cluster_id
        partitions = self._reader.partitions(self.name)
        if partitions is None:
            text = f"the topic {self.name} does not exist, so there are no dead letters to look at"
            raise ConfigError([Problem("dead_letter.topic", text)])
        return self._reader.ends(self.name, partitions)

    def read(
        self,
        ranges: Ranges,
        *,
        since_ms: int | None = None,
        limit: int = BATCH,
        timeout_s: float = 0.1,
    ) -> Iterator[Sequence[Record]]:
        """All records in these ranges, in batches of at most `limit`, empty when none arrived in `timeout_s`.

        So a caller with a loop of its own gets to run it. In offset order within a partition. It ends
        when every range is read, also where retention or compaction left holes. With `since_ms` it
        begins at the first record that is not older.

        Raises:
            UnavailableError: nothing arrived for 30 s, or the brokers refuse us.
        """
        if since_ms is not None:
            ranges = self._reader.not_before(self.name, ranges, since_ms)
        for messages in self._reader.read(self.name, ranges, limit=limit, timeout_s=timeout_s):
            yield [record_of(message) for message in messages]

    def fetch_origin(self, letter: DeadLetter) -> DeadLetter | None:
        """A letter that was written without its value, whole: its record is read again at its origin.

        None where it is there no more, or where another record has its place.
        """
        # A reader of its own: this may be called while letters are being read.
        if self._origins is None:
            self._origins = Reader(self._settings)
        message = self._origins.at(letter.record.position)
        return None if message is None else restored(letter, record_of(message))

    def close(self) -> None:
        self._reader.close()
        if self._origins is not None:
            self._origins.close()


class ResolutionTopic:
    """Reads and writes resolutions of letters; the `Resolutions` of a replay.

    Resolutions of partition p are in partition p.

    The producer is idempotent and waits for all in-sync replicas. Call `close` in the end.
    """

    def __init__(self, settings: config.Settings) -> None:
        self.name = settings.dead_letter.resolutions
        self._letters = settings.dead_letter
        self._settings = settings
        self._reader = Reader(settings)
        self._producer: Producer | None = None
        self._failure: str | None = None
        self._unreadable = 0

    def problem(self, partitions: int) -> str | None:
        """The topic's problem for a dead-letter topic of so many partitions, and its remedy.

        It is missing, not compacted, forgets too early, or has fewer partitions. None when all is well,
        and when `ensure` would mend it.

        Raises:
            UnavailableError: no broker answered in time, or they refuse us.
        """
        metadata = self._reader.metadata()
        topic = metadata.topics.get(self.name)
        if self._letters.create and (topic is None or len(topic.partitions) < partitions):
            return None
        if topic is None:
            return (
                f"the topic {self.name} does not exist, so nothing is known of what became of letters; set "
                f"dead_letter.create: true, or: kafka-topics.sh --create --topic {self.name} "
                f"--partitions {partitions} --replication-factor {self._letters.replication_factor} "
                "--config cleanup.policy=compact"
            )
        if len(topic.partitions) < partitions:
            return (
                f"the topic {self.name} has {len(topic.partitions)} partitions and {self._letters.topic} has "
                f"{partitions}, so for letters in the others nothing can be remembered; set "
                f"dead_letter.create: true, or: kafka-topics.sh --alter --topic {self.name} "
                f"--partitions {partitions}"
            )
        # A broker without a controller, as that of the sandbox, cannot be asked about a topic.
        return self._policy_problem() if metadata.controller_id in metadata.brokers else None

    def ensure(self, partitions: int) -> None:
        """Make the topic fit to be written: create or widen it where `dead_letter.create` allows.

        Raises:
            ConfigError: it is not fit, as `problem` says.
            DeadLetterError: the brokers refuse to create it.
            UnavailableError: no broker answered in time, or they refuse us.
        """
        metadata = self._reader.metadata()
        topic = metadata.topics.get(self.name)
        has = 0 if topic is None else len(topic.partitions)
        if has < partitions and self._letters.create:
            self._create(has, partitions, metadata.cluster_id)
        if (problem := self.problem(partitions)) is not None:
            raise ConfigError([Problem("dead_letter.resolutions_topic", problem)])
        # Its first steps take up to a second, in which the first resolutions would wait.
        cluster_metadata(self._writer(), ANSWER_TIMEOUT_S)

    def read_into(self, resolved: ResolutionTable, partitions: Collection[int] | None = None) -> int:
        """Note every resolution written so far; returns how many records of the topic are none.

        Reads all partitions or some to their ends as of the call. A topic that does not exist has no
        resolutions.

        Raises:
            UnavailableError: nothing arrived for 30 s, or the brokers refuse us.
        """
        self._unreadable = 0
        for letter, resolution in self.follow(partitions):
            resolved.note(letter, resolution)
        return self._unreadable

    def follow(
        self, partitions: Collection[int] | None = None, read_up_to: dict[int, int] | None = None
    ) -> Iterator[tuple[Position, Resolution | None]]:
        """Every resolution in all partitions or some; with `read_up_to` those behind these offsets of
        partitions, which are brought up to date.

        Raises:
            UnavailableError: nothing arrived for 30 s, or the brokers refuse us.
        """
        there = self._reader.partitions(self.name)
        if there is None:
            return
        chosen = there if partitions is None else sorted({*there} & {*partitions})
        ranges = self._reader.ends(self.name, chosen)
        if read_up_to is not None:
            ranges = {n: (max(low, read_up_to.get(n, low)), high) for n, (low, high) in ranges.items()}
        for messages in self._reader.read(self.name, ranges):
            for message in messages:
                try:
                    yield decode(message.key(), message.value())
                except UnreadableResolution:
                    self._unreadable += 1
        if read_up_to is not None:
            read_up_to.update({number: high for number, (_, high) in ranges.items()})

    def find(self, letters: Collection[Position]) -> dict[Position, Resolution]:
        """The resolutions of a few letters, whole."""
        wanted = set(letters)
        last = dict(each for each in self.follow({n for (_, n), _ in wanted}) if each[0] in wanted)
        return {letter: resolution for letter, resolution in last.items() if resolution is not None}

    def write(self, letter: Position, resolution: Resolution) -> None:
        # After an error this one may be written all the same.
        key, value = encode(letter, resolution)
        writer = self._writer()
        while True:
            try:
                writer.produce(
                    self.name,
                    key=key,
                    value=value,
                    partition=letter.partition.number,
                    on_delivery=self._on_delivery,
                )
            except BufferError:
                self._raise_failure()
                writer.poll(0.1)
            except KafkaException as error:
                self._failure = error.args[0].str()
                break
            else:
                # Not polled here: that hands the interpreter to the other thread, once for each letter.
                break
        self._raise_failure()

    def flush(self, timeout_s: float) -> None:
        if self._producer is None:
            return
        left = self._producer.flush(timeout_s)
        self._raise_failure()
        if left:
            self._failure = f"{left} were not acknowledged within {timeout_s:.0f} s"
            self._raise_failure()

    @property
    def unwritten(self) -> int:
        if self._producer is None:
            return 0
        self._producer.poll(0)
        return len(self._producer)

    def close(self) -> None:
        """Disconnect. Resolutions that were not flushed may be lost."""
        self._reader.close()

    def _policy_problem(self) -> str | None:
        asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in (self.name, self._letters.topic)]
        try:
            client = admin(self._settings)  # without a reference to it the answers would never come
            answers = client.describe_configs(asked, request_timeout=ANSWER_TIMEOUT_S)
            ours, letters = (answer.result() for answer in answers.values())
        except KafkaException as error:
            if error.args[0].code() in UNCHECKABLE:
                return None  # asking takes a permission that nothing else here needs
            raise unreadable(self.name, error) from error
        alter = f"kafka-configs.sh --alter --topic {self.name} --add-config cleanup.policy=compact"
        policy = {part.strip() for part in ours["cleanup.policy"].value.split(",")}
        if "compact" not in policy:
            return (
                f"the topic {self.name} is not compacted, so it forgets what became of letters, and they "
                f"would be sent again; {alter}"
            )
        if "delete" in policy:
            kept_ms, letters_ms = (_retention_ms(c["retention.ms"].value) for c in (ours, letters))
            if kept_ms < letters_ms or int(ours["retention.bytes"].value) >= 0:
                return (
                    f"the topic {self.name} may delete what became of letters that {self._letters.topic} "
                    f"still holds; raise its retention over that, or: {alter}"
                )
        return None

    def _create(self, has: int, partitions: int, cluster_id: str | None) -> None:
        create_topic(
            self._settings, self.name, partitions, cluster_id=cluster_id, existing=has, compacted=True
        )
        deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
        while time.monotonic() < deadline_s:
            # Every broker hears of it in its own time.
            topic_now = self._reader.metadata().topics.get(self.name)
            if topic_now is not None and len(topic_now.partitions) >= partitions:
                return
            time.sleep(0.05)

    def _writer(self) -> Producer:
        if self._producer is None:
            owned = {
                "message.timeout.ms": WRITE_TIMEOUT_MS,
                "queue.buffering.max.messages": QUEUED,
                "delivery.report.only.error": True,
            }
            # No code waits for a single one, and a request to the broker costs it as much as all in it.
            self._producer = producer(self._settings, owned, linger_ms=20)
        return self._producer

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is not None and self._failure is None:
            self._failure = f"{error.name()}: {error.str()}"

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise DeadLetterError(
                f"{self.name} cannot be written: {self._failure}. What became of some letters is not "
                "remembered, so they are still open; mend the topic and run the same command again."
            )


def _retention_ms(text: str) -> float:
    return float("inf") if int(text) < 0 else int(text)
