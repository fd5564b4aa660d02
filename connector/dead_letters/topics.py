"""The dead-letter topic and its resolutions, for the tools: read a snapshot, write resolutions.

Nothing here joins a consumer group or commits.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import cast

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource, NewPartitions, NewTopic

from connector import config
from connector.dead_letters.format import DeadLetter, restored
from connector.dead_letters.resolutions import Resolution, Resolved, UnreadableResolution, decode, encode
from connector.errors import ConfigError, DeadLetterError, Problem, UnavailableError
from connector.kafka_clients import (
    CONSUMER_DEFAULTS,
    NO_TOPIC,
    SILENT,
    client_options,
    cluster_metadata,
    record_of,
    without_consumer,
)
from connector.model import Position, Ranges, Record

TIMEOUT_S = 10.0
"""How long one question to the brokers may take."""

PATIENCE_S = 30.0
"""How long nothing may arrive before reading is given up."""

BATCH = 100
"""Records taken in one go. More would keep more small objects alive, which costs Python twice the time."""

WRITE_TIMEOUT_MS = 60_000
"""How long librdkafka tries to write a resolution; then it is said that it cannot be written."""

QUEUED = 10_000
"""Resolutions on their way to the broker, at most."""

READER = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "enable.partition.eof": "true",
    # Where retention ate the letters since the snapshot, reading goes on with those that are left.
    "auto.offset.reset": "earliest",
    # Per partition. What a broker returns at once comes on top of it whatever that limit is, and unpacked
    # it is up to ten times as much.
    "queued.max.messages.kbytes": "512",
    "fetch.message.max.bytes": "131072",
    "fetch.max.bytes": "1048576",
}

NO_GROUP = ("group.instance.id", "group.protocol", "group.remote.assignor")
FOR_PRODUCERS = ("message.max.bytes",)
"""What a reader has no use for, and which would be in conflict with READER."""

END_OF_PARTITION = KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's name for it
UNCHECKABLE = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})

NOT_YET = NO_TOPIC | {
    *(KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE),
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - as above
}
"""What a broker says also of a partition that exists, while it starts or has not heard of it. So of a topic
that was there none of it is an answer: it is asked again, and in the end it is said that it was not read."""

RETRY_S = 0.2


class _Reader:
    """A consumer that is assigned what it reads: no group, no commits."""

    def __init__(self, settings: config.Settings) -> None:
        self._last_error: str | None = None
        self._there: set[str] = set()
        """Topics that are known to exist."""
        options = CONSUMER_DEFAULTS | client_options(settings) | READER
        for name in (*NO_GROUP, *FOR_PRODUCERS):
            options.pop(name, None)
        self._consumer = Consumer(options | {"error_cb": self._on_error}, logger=SILENT)
        self.close = self._consumer.close

    def metadata(self) -> ClusterMetadata:
        return cluster_metadata(self._consumer, TIMEOUT_S)

    def partitions(self, topic: str) -> list[int] | None:
        """The partitions of a topic; None where there is no such topic.

        Raises:
            UnavailableError: no broker answered in time that knows them, or they refuse us.
        """
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            try:
                found = self._consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
            except KafkaException as error:
                raise _unavailable(topic, error) from error
            if found.error is None and found.partitions:
                return sorted(found.partitions)
            if found.error is not None:
                if found.error.code() in NO_TOPIC:
                    return None
                self._note(topic, found.error)
            # It exists, and its leaders are not chosen yet.
            if time.monotonic() > deadline_s:
                why = self._last_error or "it has no partitions"
                raise UnavailableError(f"Kafka does not answer about {topic}: {why}", code="kafka")
            self._consumer.poll(RETRY_S)

    def ends(self, topic: str, numbers: Collection[int]) -> dict[int, tuple[int, int]]:
        """The first offset of each partition, and one past the last.

        Raises:
            UnavailableError: no broker answered in time, or they refuse us.
        """
        return {number: self._range(TopicPartition(topic, number)) for number in numbers}

    def not_before(self, topic: str, ranges: Ranges, since_ms: int) -> dict[int, tuple[int, int]]:
        """The ranges, beginning at the first record that is not older than `since_ms`."""
        try:
            found = self._offsets_at(topic, ranges, since_ms)
            if any(offset < 0 for offset in found.values()):
                # Negative is "all are older", and also the answer of a broker that cannot search.
                for number, first in self._offsets_at(topic, ranges, 0).items():
                    if first < 0:
                        found[number] = 0
        except KafkaException as error:
            raise _unavailable(topic, error) from error
        return {
            number: (high if found[number] < 0 else min(max(low, found[number]), high), high)
            for number, (low, high) in ranges.items()
        }

    def read(
        self, topic: str, ranges: Ranges, *, limit: int = BATCH, timeout_s: float = 0.1
    ) -> Iterator[list[Message]]:
        """The messages in these ranges, in batches that may be empty.

        Raises:
            UnavailableError: nothing arrived for too long, or the brokers refuse us.
        """
        unread = {number: low for number, (low, high) in ranges.items() if low < high}
        """Partition → where its reading goes on."""
        if not unread:
            return
        ends = {number: ranges[number][1] for number in unread}
        self._assign(topic, unread)
        heard_s = time.monotonic()
        retry_s = float("inf")
        while unread:
            messages = self._consumer.consume(limit, timeout_s)
            batch = []
            now_s = time.monotonic()
            for message in messages:
                # The stubs allow for None, which only messages of no partition have.
                number, offset = cast("int", message.partition()), cast("int", message.offset())
                if (error := message.error()) is not None:
                    if error.code() != END_OF_PARTITION:
                        self._note(topic, error)
                        retry_s = min(retry_s, now_s + RETRY_S)
                        continue
                    offset -= 1  # that of the last record, whatever compaction left of it
                if number not in unread or (error is None and offset < unread[number]):
                    continue  # what lies before is of a topic that was made anew meanwhile
                heard_s = now_s
                if offset + 1 >= ends[number]:
                    unread.pop(number)
                    if unread:
                        self._consumer.pause([TopicPartition(topic, number)])
                elif error is None:
                    unread[number] = offset + 1
                else:
                    self._last_error = (
                        f"partition {number} ends at {offset + 1}, before {ends[number]}, as if made anew"
                    )
                if error is None and offset < ends[number]:
                    batch.append(message)
            if now_s - heard_s > PATIENCE_S and unread:
                why = self._last_error or "the brokers do not say why"
                raise UnavailableError(
                    f"{topic}: nothing arrived for {PATIENCE_S:.0f} s: {why}", code="kafka"
                )
            if now_s > retry_s and unread:
                # After some errors librdkafka does not go on by itself.
                retry_s = float("inf")
                self._assign(topic, unread)
            yield batch
            if batch:
                heard_s = time.monotonic()  # whoever reads took its time
        self._consumer.unassign()

    def at(self, position: Position) -> Message | None:
        """The message at one position; None where there is none."""
        (topic, number), offset = position
        if topic not in self._there:
            if number not in (self.partitions(topic) or ()):
                return None
            self._there.add(topic)
        try:
            low, high = self._range(TopicPartition(topic, number))
            if not low <= offset < high:
                return None
            for batch in self.read(topic, {number: (offset, offset + 1)}, limit=1):
                for message in batch:
                    if message.offset() == offset:
                        return message
        except UnavailableError:
            self._there.discard(topic)
            raise
        return None

    def _range(self, partition: TopicPartition) -> tuple[int, int]:
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return self._consumer.get_watermark_offsets(partition, timeout=TIMEOUT_S, cached=False)
            except KafkaException as error:
                # A topic that was just made may wait for its leaders a moment, and a broker may be starting.
                if error.args[0].code() not in NOT_YET or time.monotonic() > deadline_s:
                    raise _unavailable(partition.topic, error) from error
                self._consumer.poll(0.1)

    def _offsets_at(self, topic: str, ranges: Ranges, time_ms: int) -> dict[int, int]:
        wanted = [TopicPartition(topic, number, time_ms) for number in ranges]
        return {p.partition: p.offset for p in self._consumer.offsets_for_times(wanted, timeout=TIMEOUT_S)}

    def _assign(self, topic: str, unread: Mapping[int, int]) -> None:
        assigned = [TopicPartition(topic, number, offset) for number, offset in unread.items()]
        self._consumer.assign(assigned)
        # librdkafka remembers which partitions an earlier read paused, whatever was assigned since.
        self._consumer.resume(assigned)

    def _note(self, topic: str, error: KafkaError) -> None:
        """Remember why nothing arrives.

        Raises:
            UnavailableError: the topic may not be read.
        """
        self._last_error = error.str()
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise UnavailableError(f"{topic} may not be read: {error.str()}", code="kafka")

    def _on_error(self, error: KafkaError) -> None:
        self._last_error = error.str()


class LetterTopic:
    """Reads the dead-letter topic without joining a group.

    For one thread, and one `read` at a time. Call `close` in the end.
    """

    def __init__(self, settings: config.Settings) -> None:
        self.name = settings.dead_letter.topic
        self.cluster_id: str | None = None
        """Part of event ids, for `Pipeline.cluster_id`. Known once `snapshot` was called."""
        self._reader = _Reader(settings)
        self._origins: _Reader | None = None
        self._settings = settings

    def snapshot(self) -> dict[int, tuple[int, int]]:
        """What the topic holds now: partition → (first offset, one past the last).

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
            self._origins = _Reader(self._settings)
        message = self._origins.at(letter.record.position)
        return None if message is None else restored(letter, record_of(message))

    def close(self) -> None:
        """Disconnect."""
        self._reader.close()
        if self._origins is not None:
            self._origins.close()


class ResolutionTopic:
    """Reads and writes what became of letters. Resolutions of partition p are in partition p.

    The producer is idempotent and waits for all in-sync replicas. Call `close` in the end.
    """

    def __init__(self, settings: config.Settings) -> None:
        self.name = settings.dead_letter.resolutions
        self._letters = settings.dead_letter
        self._settings = settings
        self._reader = _Reader(settings)
        self._producer: Producer | None = None
        self._failure: str | None = None
        self._unreadable = 0

    def problem(self, partitions: int) -> str | None:
        """What is wrong with the topic for a dead-letter topic of so many partitions, and what mends it.

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
            self._create(has, partitions)
        if (problem := self.problem(partitions)) is not None:
            raise ConfigError([Problem("dead_letter.resolutions_topic", problem)])
        # Its first steps take up to a second, in which the first resolutions would wait.
        cluster_metadata(self._writer(), TIMEOUT_S)

    def read_into(self, resolved: Resolved, partitions: Collection[int] | None = None) -> int:
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
        """Write a resolution; waits only while the producer's queue is full.

        Raises:
            DeadLetterError: this or an earlier one could not be written. This one may be all the same.
        """
        key, value = encode(letter, resolution)
        producer = self._writer()
        while True:
            try:
                producer.produce(
                    self.name,
                    key=key,
                    value=value,
                    partition=letter.partition.number,
                    on_delivery=self._on_delivery,
                )
            except BufferError:
                self._raise_failure()
                producer.poll(0.1)
            except KafkaException as error:
                self._failure = error.args[0].str()
                break
            else:
                # Not polled here: that hands the interpreter to the other thread, once for each letter.
                break
        self._raise_failure()

    def flush(self, timeout_s: float) -> None:
        """Return once the broker has every resolution that was written.

        Raises:
            DeadLetterError: some could not be written, or not in time.
        """
        if self._producer is None:
            return
        left = self._producer.flush(timeout_s)
        self._raise_failure()
        if left:
            self._failure = f"{left} were not acknowledged within {timeout_s:.0f} s"
            self._raise_failure()

    @property
    def unwritten(self) -> int:
        """Resolutions the broker has not acknowledged."""
        if self._producer is None:
            return 0
        self._producer.poll(0)
        return len(self._producer)

    def close(self) -> None:
        """Disconnect. What was not flushed may be lost."""
        self._reader.close()

    def _policy_problem(self) -> str | None:
        admin = self._admin()
        asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in (self.name, self._letters.topic)]
        try:
            ours, letters = (
                future.result()
                for future in admin.describe_configs(asked, request_timeout=TIMEOUT_S).values()
            )
        except KafkaException as error:
            if error.args[0].code() in UNCHECKABLE:
                return None  # asking takes a permission that nothing else here needs
            raise _unavailable(self.name, error) from error
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

    def _create(self, has: int, partitions: int) -> None:
        admin = self._admin()
        try:
            if has:
                widened = admin.create_partitions(
                    [NewPartitions(self.name, partitions)], request_timeout=TIMEOUT_S
                )
                widened[self.name].result()
            else:
                replicas = self._letters.replication_factor
                topic = NewTopic(self.name, partitions, replicas, config={"cleanup.policy": "compact"})
                admin.create_topics([topic], request_timeout=TIMEOUT_S)[self.name].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise DeadLetterError(
                    f"the topic {self.name} cannot be created: {error.args[0].str()}"
                ) from error
        deadline_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline_s:
            # Every broker hears of it in its own time.
            topic_now = self._reader.metadata().topics.get(self.name)
            if topic_now is not None and len(topic_now.partitions) >= partitions:
                return
            time.sleep(0.05)

    def _admin(self) -> AdminClient:
        return AdminClient(without_consumer(client_options(self._settings)), logger=SILENT)

    def _writer(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(
                # Nobody waits for one of them, and a request to the broker costs it as much as all in it.
                {"compression.type": "lz4", "linger.ms": 20}
                | without_consumer(client_options(self._settings))
                | {
                    "enable.idempotence": True,
                    "acks": "all",
                    "message.timeout.ms": WRITE_TIMEOUT_MS,
                    "queue.buffering.max.messages": QUEUED,
                    "delivery.report.only.error": True,
                },
                logger=SILENT,
            )
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


def _unavailable(topic: str, error: KafkaException) -> UnavailableError:
    return UnavailableError(f"Kafka does not answer about {topic}: {error.args[0].str()}", code="kafka")


def _retention_ms(text: str) -> float:
    return float("inf") if int(text) < 0 else int(text)
