"""Asks the brokers where partitions end that nothing is fetched from."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import wait
from contextlib import suppress

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition

from connector import config
from connector.kafka.client import admin
from connector.model import Partition

INTERVAL_S = 5.0
"""How often the brokers are asked."""

ANSWER_S = 3.0
"""They may take so long, all together; a partition without a leader makes it take so long."""


class EndsOfPartitions:
    """Asks for the ends of partitions every so often, on a thread and with a client of its own.

    There is neither while no partition is given. An outage of Kafka is not reported: the consumer does.
    """

    def __init__(self, settings: config.Settings) -> None:
        self._settings = settings
        self._wanted: frozenset[Partition] = frozenset()
        self._found: Mapping[Partition, int] = {}
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def ask(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        """Ask about these from now on, and no others; returns what the brokers said since the last call.

        To be called every few seconds: it also starts the thread again after it ended.
        """
        if self._stopping.is_set():
            return {}
        self._wanted = partitions
        found, self._found = self._found, {}  # an answer that comes in between is lost, and asked for again
        if partitions and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._run, name="ends", daemon=True)
            self._thread.start()
        return found

    def stop(self) -> None:
        """Ask no more. Does not wait for the thread, which holds nothing that matters."""
        self._wanted = frozenset()
        self._stopping.set()

    def _run(self) -> None:
        """Ask until nothing is wanted, or an answer is missing.

        In that case the thread ends, and with it the client, and `ask` starts another one: after a broker was
        away, `list_offsets` of librdkafka 2.16 asks with the old leader epoch, and is refused, until the next
        look at all metadata (`topic.metadata.refresh.interval.ms`, 5 minutes).
        """
        from confluent_kafka.admin import OffsetSpec  # noqa: PLC0415 - most bridges start without

        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        with suppress(KafkaException):
            client = admin(self._settings)
            while wanted := self._wanted:
                client.poll(0)  # drops what librdkafka wrote to its log
                answers = client.list_offsets(
                    dict.fromkeys((TopicPartition(*partition) for partition in wanted), latest),
                    isolation_level=IsolationLevel.READ_UNCOMMITTED,
                    request_timeout=ANSWER_S,
                )
                wait(answers.values(), 2 * ANSWER_S)
                found = {}
                for asked, answer in answers.items():
                    with suppress(KafkaException):
                        # Negative where the leader did not answer.
                        if answer.done() and (end := answer.result().offset) >= 0:
                            found[Partition(asked.topic, asked.partition)] = end
                self._found = found
                if self._stopping.wait(INTERVAL_S) or found.keys() != wanted:
                    return
