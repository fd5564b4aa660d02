"""The dead-letter topic as the bridge writes it: until the brokers have every letter."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connector import __version__, config
from connector.dead_letters.format import DeadLetterRecord, Failure, letter, smaller
from connector.errors import ConfigError, DeadLetterError, Problem
from connector.kafka.client import NO_TOPIC, NOT_ALLOWED, create_topic, producer
from connector.ledger import Ack
from connector.model import Record
from connector.telemetry.metrics import Telemetry

UNACKNOWLEDGED_S = 3.0
"""A letter that is unacknowledged for so long is reported as a problem, well before its time limit."""
LINGER_MS = 5
OWNED = {"message.timeout.ms": 15_000}
"""librdkafka tries for so long to write a letter, and says why it cannot; then we write it again."""

ANYWHERE = -1
"""librdkafka's partitioner decides: by the key, or by chance where there is none."""

# librdkafka's names for errors of its own begin with an underscore; they are public nevertheless.
NO_PARTITION = NO_TOPIC | {KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001
TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})


class KafkaDeadLetters:
    """Writes dead letters until the broker has them; the `DeadLetters` of the bridge.

    The producer is idempotent and waits for all in-sync replicas. A letter that fails is written
    again, so a broker that is down or lacks replicas delays settling and loses nothing.

    A broker refuses a batch of letters as a whole when the batch is too large for the topic, so what is
    refused so is first written again, alone; only a letter that is too large by itself goes with less in it.
    """

    def __init__(self, settings: config.Settings, *, telemetry: Telemetry) -> None:
        self._topic = settings.dead_letter.topic
        self._name = settings.name
        self._telemetry = telemetry
        self.partitions = 0
        """Of the topic; known once connected. Until then letters without a key go anywhere."""
        self._acknowledged: list[Ack] = []
        self._again: list[tuple[DeadLetterRecord, Ack, int]] = []
        self._again_s = 0.0
        self._waiting_since_s: float | None = None
        self._problem: str | None = None
        self._fatal: KafkaError | None = None
        """Why no letter can be written any more. Of no account until there is one to write."""
        self._settings = settings
        self._producer = producer(settings, OWNED, linger_ms=LINGER_MS)
        self._alone: Producer | None = None
        """Writes each letter as a batch of its own; made when the first is refused."""

    def write(self, record: Record, failure: Failure, ack: Ack) -> None:
        written = letter(record, failure, bridge_name=self._name, version=__version__)
        # The letters of a record without a key come together, too, however often it is read again.
        self._produce(written, ack, zlib.crc32(str(record.position).encode()))

    def acknowledged(self) -> Sequence[Ack]:
        try:
            for each in self._producers():
                each.poll(0)
        except KafkaException as error:  # the client's way to say that it is fatal
            self._fatal = self._fatal or error.args[0]
        if self._fatal is not None and (self._again or self._has_unacknowledged()):
            raise self._no_more(self._fatal)
        if self._again and time.monotonic() >= self._again_s:
            again, self._again = self._again, []
            for failed, ack, place in again:
                self._produce(failed, ack, place)
        done, self._acknowledged = self._acknowledged, []
        return done

    @property
    def problem(self) -> str | None:
        if self._problem is None and self._waiting_since_s is not None and self._has_unacknowledged():
            waited_s = time.monotonic() - self._waiting_since_s
            if waited_s > UNACKNOWLEDGED_S:
                return f"the dead-letter topic {self._topic} has acknowledged nothing for {waited_s:.0f} s"
        return self._problem

    def _producers(self) -> list[Producer]:
        return [self._producer] if self._alone is None else [self._producer, self._alone]

    def _has_unacknowledged(self) -> bool:
        return any(len(each) > 0 for each in self._producers())

    def _produce(self, written: DeadLetterRecord, ack: Ack, place: int) -> None:
        """Write a letter, together with others; `place` says into which partition where no key does."""

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is not None and error.code() in TOO_LARGE:
                self._produce_alone(written, ack, place)
            else:
                self._on_delivery(error, written, ack, place)

        self._hand_over(self._producer, written, ack, place, on_delivery)

    def _produce_alone(self, written: DeadLetterRecord, ack: Ack, place: int) -> None:
        """Write a letter that was refused together with others; it may be them that are too large."""

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            self._on_delivery(error, written, ack, place)

        if self._alone is None:
            self._alone = producer(self._settings, OWNED | {"batch.num.messages": 1}, linger_ms=LINGER_MS)
        self._hand_over(self._alone, written, ack, place, on_delivery)

    def _hand_over(
        self,
        into: Producer,
        written: DeadLetterRecord,
        ack: Ack,
        place: int,
        on_delivery: Callable[[KafkaError | None, Message], None],
    ) -> None:
        if self._waiting_since_s is None:
            self._waiting_since_s = time.monotonic()
        try:
            into.produce(
                self._topic,
                key=written.key,
                value=written.value,
                headers=list(written.headers),
                partition=ANYWHERE if written.key or not self.partitions else place % self.partitions,
                on_delivery=on_delivery,
            )
        except BufferError:
            self._write_again(written, ack, place)
        except KafkaException as error:
            self._on_delivery(error.args[0], written, ack, place)

    def _on_delivery(self, error: KafkaError | None, written: DeadLetterRecord, ack: Ack, place: int) -> None:
        if error is None:
            self._waiting_since_s = time.monotonic() if self._has_unacknowledged() else None
            if self._problem is not None:
                self._problem = None
                self._telemetry.dead_letter_writable()
            self._acknowledged.append(ack)
        elif error.code() in TOO_LARGE and (less := smaller(written)) is not None:
            self._produce(less, ack, place)
        elif self._fatal is not None or error.code() in NOT_ALLOWED or error.fatal():
            raise self._no_more(self._fatal or error)
        else:
            why = f"{error.name()}: {error.str()}"
            self._problem = f"the dead-letter topic {self._topic} cannot be written: {why}"
            self._telemetry.dead_letter_unwritable(self._problem)
            if error.code() in NO_PARTITION:
                self.partitions = 0  # the topic was made anew with fewer
            self._write_again(written, ack, place)

    def _no_more(self, error: KafkaError) -> DeadLetterError:
        if error.code() in NOT_ALLOWED:
            return DeadLetterError(
                f"the dead-letter topic {self._topic} may not be written by this user ({error.name()}). "
                "Nothing was lost; allow it Write on that topic and start again."
            )
        return DeadLetterError(
            f"the dead-letter producer cannot go on: {error.str()}. Nothing was lost; start the bridge again."
        )

    def _write_again(self, written: DeadLetterRecord, ack: Ack, place: int) -> None:
        if not self._again:
            self._again_s = time.monotonic() + 1.0
        self._again.append((written, ack, place))


def ensure_topic(settings: config.Settings, *, partitions: int | None, cluster_id: str | None) -> int:
    """The partitions of the dead-letter topic, which is created where there is none and it may be.

    Raises:
        ConfigError: it does not exist, and may not be created.
        DeadLetterError: the brokers refuse.
    """
    letters = settings.dead_letter
    if partitions is not None:
        return partitions
    if not letters.create:
        raise ConfigError([Problem("dead_letter.topic", missing_topic(letters.topic))])
    return create_topic(settings, letters.topic, letters.partitions, cluster_id=cluster_id)


def missing_topic(topic: str) -> str:
    """What to do where the dead-letter topic does not exist, and may not be created."""
    return (
        f"the topic {topic} does not exist; create it, or set dead_letter.create: true. Or this user may not "
        "see it: allow it Write on that topic"
    )
