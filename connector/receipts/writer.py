"""Receipts as bridge and replay write them. They never hold up anything: what cannot be written is lost."""

from __future__ import annotations

import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message

from connector import config
from connector.delivery.pending import PendingEntry
from connector.kafka.client import NO_TOPIC, NOT_ALLOWED, producer
from connector.model import Answer
from connector.receipts.format import encoded
from connector.telemetry.metrics import Telemetry

LINGER_MS = 200
"""Receipts of so long share a request to the broker, which costs more than they do."""
FLUSH_S = 0.5
"""Before offsets are committed, the broker gets so long to acknowledge the receipts of what they settle."""
CLOSE_S = 2.0
"""The same in the end. A command may end a moment after it has connected."""
IMPATIENT_S = 10.0
"""After a flush that was not enough there is none for so long."""
SHOWN_S = 60.0
"""Receipts that were lost are a problem for so long."""
OWNED = {
    "message.timeout.ms": 60_000,
    # By default librdkafka keeps 1 GB. This is what the bridge delivers in some ten seconds at full speed.
    "queue.buffering.max.kbytes": 8192,
    # How long a topic may be missing in what a broker knows, before its messages fail.
    "topic.metadata.propagation.max.ms": 5_000,
    "delivery.report.only.error": True,
}


class KafkaReceipts:
    """Writes receipts to their topic, or counts them as lost; the `Receipts` of bridge and replay.

    The producer is idempotent and waits for all in-sync replicas. Receipts have no key, so they fill all
    partitions alike. The timestamp of each is when its request was answered. Not for several threads.
    """

    def __init__(self, settings: config.Settings, topic: str, *, telemetry: Telemetry) -> None:
        self._topic = topic
        self._name = settings.name
        self._regions = {name: target.region for name, target in settings.all_targets.items()}
        self._telemetry = telemetry
        self.lost = 0
        """Receipts that could not be written, one a request."""
        self.why_lost = ""
        """The last reason; empty where none was lost."""
        self._lost_s = float("-inf")
        self._flush_due_s = float("-inf")
        self._producer = producer(settings, OWNED | {"on_delivery": self._reported}, linger_ms=LINGER_MS)

    def write(self, target: str, answer: Answer, delivered: Sequence[PendingEntry]) -> None:
        now_s = time.time()
        value = encoded(
            delivered,
            answer,
            bridge=self._name,
            target=target,
            region=self._regions[target],
            now_s=now_s,
        )
        timestamp_ms = int(now_s * 1000)
        try:
            try:
                self._producer.produce(self._topic, value, timestamp=timestamp_ms)
            except BufferError:
                self._producer.poll(0)  # reports of those that were written take up room until they are read
                self._producer.produce(self._topic, value, timestamp=timestamp_ms)
        except BufferError:
            self._lose(f"{self._topic} has acknowledged nothing of what fits in the queue")
        except KafkaException as error:
            self._lose(self._reason(error.args[0]))

    def flush(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._flush_due_s and self._flushed(FLUSH_S):
            self._flush_due_s = now_s + IMPATIENT_S

    @property
    def problem(self) -> str | None:
        self._flushed(0)
        if time.monotonic() - self._lost_s > SHOWN_S:
            return None
        return f"receipts are lost, and events go on: {self.why_lost}"

    @property
    def unacknowledged(self) -> int:
        """Receipts that the broker has not acknowledged yet, or of which the report was not read."""
        return self._flushed(0)

    def close(self) -> None:
        """Wait for the broker a last time, `CLOSE_S` at most; what it does not have by then is lost."""
        if unwritten := self._flushed(CLOSE_S):
            self._lose(f"{self._topic} had not acknowledged them at the end", unwritten)

    def _flushed(self, timeout_s: float) -> int:
        """How many receipts are unacknowledged after at most so long."""
        try:
            if timeout_s:
                return self._producer.flush(timeout_s)
            self._producer.poll(0)
            return len(self._producer)
        except KafkaException as error:  # the client's way to say that it is fatal
            self.why_lost = self._reason(error.args[0])
            return len(self._producer)

    def _reported(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._lose(self._reason(error))

    def _reason(self, error: KafkaError) -> str:
        if error.code() in NO_TOPIC:
            return missing_receipts_topic(self._topic)
        if error.code() in NOT_ALLOWED:
            return f"this user may not write {self._topic} ({error.name()}); allow it Write on that topic"
        then = "; to write them again, start the bridge again" * error.fatal()
        return f"{self._topic} cannot be written: {error.name()}: {error.str()}{then}"

    def _lose(self, reason: str, count: int = 1) -> None:
        self.lost += count
        self.why_lost, self._lost_s = reason, time.monotonic()
        self._telemetry.receipts_lost(count, reason)


def missing_receipts_topic(topic: str) -> str:
    """What to do where the receipts topic does not exist, and may not be created."""
    return (
        f"the topic {topic} does not exist; create it, or set receipts.create: true. Or this user may not "
        "see it: allow it Write and Describe on that topic"
    )
