"""The consumer group: assignment, reading, commits, and problems that keep records from arriving."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from connector import config
from connector.errors import HaltError, UnavailableError
from connector.kafka.broker_health import UnresponsiveBrokers
from connector.kafka.client import NO_TOPIC, cluster_metadata, consumer, log_of, polled, record_of
from connector.kafka.ends import EndsOfPartitions
from connector.kafka.lag import Lag, statistics_of
from connector.model import Partition, Record

if TYPE_CHECKING:
    from confluent_kafka.admin import ClusterMetadata

    from connector.telemetry.metrics import Telemetry

FETCH_WAIT_MS = 500
"""librdkafka's own default of `fetch.wait.max.ms`."""

OWNED = {
    # Broker states and watermarks for /readyz and consumer_lag.
    "statistics.interval.ms": "2000",
}

# librdkafka's names for errors of its own begin with an underscore; they are public nevertheless.
NO_OFFSET = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001
ALL_BROKERS_DOWN = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001
OUT_OF_STEP = f"Fatal error: {KafkaError(KafkaError.INVALID_REQUEST).str()}"
"""librdkafka's fatal error when, with `group.protocol: consumer`, its heartbeat and the coordinator are
out of step, as after a pause of the process past `max.poll.interval.ms`. A new member is in step.
https://github.com/confluentinc/librdkafka/issues/5541"""
REJOIN_INTERVAL_S = 10.0
"""When that comes again within this time, joining anew does not help."""
CLOSE_S = 4.0
"""Leaving the group takes a few ms, and with brokers that do not answer as long as they like."""
EXISTS_TIMEOUT_S = 0.5
"""How long polling waits for an answer about topics that did not exist, once for each statistics."""
UNREAD_S = 30.0
"""An assigned partition of which nothing came for so long, not even its end, is not being read."""
UNREAD_REJOIN_S = 90.0
"""The group is joined anew for that at most once in this time."""
NAMED = 3
"""Partitions that a message names; the rest is counted."""
GROUP = "*"
"""Key of the problems of the group as a whole, beside those of topics."""
REFUSALS = frozenset({KafkaError._SSL, KafkaError._AUTHENTICATION})  # noqa: SLF001
UNREADABLE_BATCH = frozenset({KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG})  # noqa: SLF001

_RESET = re.compile(r"(?P<topic>\S+) \[(?P<partition>\d+)\]: offset reset \(at offset (?P<offset>-?\d+)")

T = TypeVar("T")


class RebalanceListener(Protocol):
    """Receives changes of the assignment, inside `KafkaConsumer.poll` and on its thread."""

    def on_assigned(self, partitions: Sequence[Partition]) -> None: ...
    def on_revoked(self, partitions: Sequence[Partition]) -> None: ...
    def on_lost(self, partitions: Sequence[Partition]) -> None: ...
    def on_committed(self, offsets: Mapping[Partition, int], error: str | None) -> None: ...


class KafkaConsumer:
    """One member of the consumer group; the `Consumer` of the bridge, which says more of its methods.

    All methods are called from the bridge thread. Rebalance callbacks run inside `poll`, or inside `close`
    on a thread for which the bridge thread waits. Made, it finds the brokers, on librdkafka's threads.
    """

    def __init__(self, settings: config.Settings) -> None:
        self._telemetry: Telemetry | None = None
        self._settings = settings
        self._topics = list(settings.topics)
        self._assigned: set[Partition] = set()
        self._paused: set[Partition] = set()
        self._unread: dict[Partition, float] = {}
        """Partitions from which nothing was ever fetched since they were assigned, and since when."""
        self._unled: set[Partition] = set()
        """Assigned partitions that no broker led in the last statistics."""
        self._leaderless: set[Partition] = set()
        """Those of them that none led in the statistics before, either. An election takes a moment."""
        self._is_rebalancing = False
        self._generation = 0
        """Consumer generation; callbacks of earlier generations are ignored."""
        self._rejoined_s = float("-inf")
        self._asking = EndsOfPartitions(settings)
        self._lag = Lag(self._asking.ask)
        fetch_wait_ms = int(settings.kafka.options.get("fetch.wait.max.ms", FETCH_WAIT_MS))
        self._silence = UnresponsiveBrokers(fetch_wait_s=fetch_wait_ms / 1000)
        self._resets: dict[Partition, int] = {}
        """The offset that did not exist any more, until the first record after it is seen."""
        self._brokers_up = True
        self._why_down: str | None = None
        self._topic_problems: dict[str, str] = {}
        self._is_check_due = False
        self._consumer = self._new_consumer()

    def report_to(self, telemetry: Telemetry) -> None:
        """Report problems there from now on; those before are only in `problem`."""
        self._telemetry = telemetry

    def metadata(self, timeout_s: float) -> ClusterMetadata:
        """The brokers' metadata of cluster and topics.

        Raises:
            UnavailableError: no broker answered in time, or they refuse us.
        """
        try:
            return cluster_metadata(self._consumer, timeout_s)
        except UnavailableError as error:
            self._consumer.poll(0)  # librdkafka gives the reason to `_on_error`, and none to the caller
            if self._why_down is None:
                raise
            raise UnavailableError(f"Kafka does not answer: {self._why_down}", code="kafka") from error

    def subscribe(self, listener: RebalanceListener) -> None:
        """Join the group; from now on `poll` brings records and calls the listener."""
        self._listener = listener

        def changed(
            note: Callable[[list[Partition]], None], report: Callable[[list[Partition]], None]
        ) -> Callable[[Consumer, list[TopicPartition]], None]:
            def on_change(_: Consumer, given: Sequence[TopicPartition]) -> None:
                partitions = [Partition(p.topic, p.partition) for p in given]
                note(partitions)
                self._is_rebalancing = True
                try:
                    report(partitions)
                finally:
                    self._is_rebalancing = False

            return self._if_current(on_change)

        self._consumer.subscribe(
            self._topics,
            on_assign=changed(self._assigned.update, listener.on_assigned),
            on_revoke=changed(self._forget, listener.on_revoked),
            on_lost=changed(self._forget, listener.on_lost),
        )

    def poll(self, limit: int, timeout_s: float) -> Sequence[Record]:
        """As `Consumer.poll`.

        Raises:
            HaltError: librdkafka gave up for good, as when another member uses our instance id.
        """
        if (
            self._unread
            and time.monotonic() - self._rejoined_s > UNREAD_REJOIN_S
            and (problem := self._unread_problem) is not None
        ):
            # Such a member never gets well by itself; seen with `group.protocol: consumer`, after commits
            # that were refused for a stale member epoch.
            self._rejoin(problem, is_member=True)
        if self._is_check_due:
            self._drop_problems_of_others()
        records: list[Record] = []
        for message in polled(self._consumer, limit, timeout_s):
            if message.error() is None:
                records.append(record_of(message))
            else:
                self._on_message_error(message)
        if self._resets and records:
            self._report_resets(records)
        return records

    def pause(self, partitions: Collection[Partition]) -> None:
        """Stop fetching these; already fetched records come again after `resume`."""
        self._paused.update(partitions)
        self._consumer.pause([TopicPartition(*partition) for partition in partitions])

    def resume(self, partitions: Collection[Partition]) -> None:
        self._paused.difference_update(partitions)
        self._consumer.resume([TopicPartition(*partition) for partition in partitions])

    def commit(self, offsets: Mapping[Partition, int], *, wait_s: float) -> None:
        # A commit without an answer may still happen, and repeats at worst. Inside a rebalance it takes as
        # long as the brokers do.
        wanted = [TopicPartition(*partition, offset) for partition, offset in offsets.items()]
        if wait_s == 0:
            self._consumer.commit(offsets=wanted, asynchronous=True)
            return
        # Polling until `on_commit` comes would bring records and, inside a rebalance, another one.
        commit = partial(self._consumer.commit, offsets=wanted, asynchronous=False)
        try:
            # Inside a rebalance this thread must ask itself: from another one the commit often got no answer,
            # or was refused for a stale member epoch (seen with `group.protocol: consumer`).
            done = commit() if self._is_rebalancing else aside(commit, "commit").result(wait_s)
            self._on_commit(None, done or [])
        except KafkaException as error:
            self._on_commit(error.args[0], wanted)
        except TimeoutError:
            self._report_commit(wanted, f"no answer within {wait_s:.3g} s")

    def lag(self, partition: Partition, committable: int | None, *, is_all_settled: bool) -> int | None:
        return self._lag.records(partition, committable, is_all_settled=is_all_settled)

    @property
    def problem(self) -> str | None:
        if not self._brokers_up:
            return "no Kafka broker can be reached" + (f": {self._why_down}" if self._why_down else "")
        said = self._silence.problem or self._leaderless_problem
        return said or next(iter(self._topic_problems.values()), self._unread_problem)

    @property
    def _leaderless_problem(self) -> str | None:
        named = _named(sorted(self._leaderless))
        return f"no broker leads {named}, so nothing can be read there" if named else None

    @property
    def _unread_problem(self) -> str | None:
        now_s = time.monotonic()
        unread = _named([each for each, since_s in self._unread.items() if now_s - since_s > UNREAD_S])
        if not unread:
            return None
        return f"nothing is read from {unread}, although assigned to us and not paused, and its leader is up"

    def close(self) -> None:
        """Leave the group, which may take `CLOSE_S`; after that it misses us when the session times out."""
        self._asking.stop()
        with suppress(TimeoutError):
            aside(self._consumer.close, "leave").result(CLOSE_S)

    def _if_current(self, callback: Callable[..., None]) -> Callable[..., None]:
        """The callback, as long as the present consumer is the one in use."""
        generation = self._generation

        def call(*given: object) -> None:
            if generation == self._generation:
                callback(*given)

        return call

    def _new_consumer(self) -> Consumer:
        self._generation += 1
        owned = OWNED | {
            "error_cb": self._if_current(self._on_error),
            "stats_cb": self._if_current(self._on_statistics),
            "on_commit": self._if_current(self._on_commit),
        }
        return consumer(self._settings, owned, logger=log_of(self._if_current(self._on_log)))

    def _rejoin(self, reason: str, *, is_member: bool) -> None:
        """Join the group anew; assigned partitions count as lost, and their next owner reads them again."""
        self._report(f"{reason}; joining the group anew")
        self._rejoined_s = time.monotonic()
        # One that is no member any more is not closed, which would wait for nothing. But letting go of the
        # last reference destroys it, which waits for its threads, such as one that resolves a name.
        given_up, self._consumer = [self._consumer], self._new_consumer()
        aside(given_up[0].close if is_member else given_up.clear, "given-up")
        lost = list(self._assigned)
        self._forget(lost)
        self._listener.on_lost(lost)
        self.subscribe(self._listener)

    def _on_message_error(self, message: Message) -> None:
        error = cast("KafkaError", message.error())
        if error.str().startswith(OUT_OF_STEP) and time.monotonic() - self._rejoined_s > REJOIN_INTERVAL_S:
            self._rejoin(error.str(), is_member=False)
            return
        # A fenced member gets an error whose code is _FATAL, and whose `fatal()` is false.
        if error.fatal() or error.code() in {KafkaError._FATAL, NO_OFFSET}:  # noqa: SLF001
            raise HaltError(
                f"Kafka: {error.str()} ({message.topic()}[{message.partition()}]). The bridge cannot go on "
                "reading; nothing was lost. See group.instance.id and auto.offset.reset under `kafka`."
            )
        topic = message.topic() or GROUP
        if error.code() in NO_TOPIC:
            text = f"topic {topic} does not exist; waiting for it to be created"
        elif error.code() in UNREADABLE_BATCH:
            text = (
                f"a batch of records of {topic}[{message.partition()}] cannot be unpacked ({error.str()}). "
                "Its partition waits before it. Is it larger than kafka.receive.message.max.bytes when "
                "unpacked? Then raise that. If it is damaged, move the group's offset past it."
            )
        else:
            text = _said(error)
        if self._topic_problems.get(topic) != text:
            self._topic_problems[topic] = text
            self._report(text)

    def _report(self, problem: str) -> None:
        if self._telemetry is not None:
            self._telemetry.kafka_problem(problem)

    def _on_commit(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        failed = [p for p in partitions if error or p.error]
        reason = error or next((p.error for p in failed), None)
        known = [p for p in partitions if p.offset != OFFSET_INVALID]
        if reason is None:
            self._listener.on_committed(_offsets(known), None)
        else:
            self._report_commit(known, str(reason.str()), failed)

    def _report_commit(
        self, wanted: Sequence[TopicPartition], reason: str, failed: Sequence[TopicPartition] = ()
    ) -> None:
        """Report that not all was committed, and name some of the partitions."""
        where = _named([Partition(p.topic, p.partition) for p in failed or wanted])
        self._listener.on_committed(_offsets(wanted), f"{where}: {reason}" if where else reason)

    def _forget(self, partitions: Collection[Partition]) -> None:
        self._assigned.difference_update(partitions)
        self._paused.difference_update(partitions)
        self._lag.forget(partitions)
        self._unled.difference_update(partitions)
        self._leaderless.difference_update(partitions)
        for partition in partitions:
            self._unread.pop(partition, None)

    def _on_error(self, error: KafkaError) -> None:
        text = _said(error)
        if error.code() == ALL_BROKERS_DOWN:
            self._brokers_up = False
        elif error.code() in REFUSALS or self._why_down is None:
            self._why_down = text
        self._report(text)

    def _on_statistics(self, text: str) -> None:
        statistics = json.loads(text)
        brokers = statistics["brokers"].values()
        if any(b["state"] == "UP" for b in brokers):
            self._brokers_up = True
            self._why_down = None
        elif any(b["nodeid"] >= 0 for b in brokers):
            self._brokers_up = False
        # Else only addresses of bootstrap.servers are known, and none has answered: at the start, and since
        # KIP-899 also in an outage, when librdkafka forgets the brokers it knew. What was true stays so.
        if statistics.get("cgrp", {}).get("join_state") == "steady":
            self._topic_problems.pop(GROUP, None)
        was_silent = self._silence.problem is not None
        self._silence.note(statistics)
        if not was_silent and (problem := self._silence.problem) is not None:
            self._report(problem)
        self._note_leaderless(statistics, is_known=was_silent)
        for topic, details in statistics["topics"].items():
            if topic in self._topic_problems and any(
                p["fetch_state"] == "active" for p in details["partitions"].values()
            ):
                del self._topic_problems[topic]
        self._is_check_due = bool(self._topic_problems)
        self._lag.note(statistics["topics"], assigned=self._assigned, paused=self._paused)
        self._note_unread(statistics)

    def _note_leaderless(self, statistics: Mapping[str, Any], *, is_known: bool) -> None:
        """Remember the partitions without a leader; `is_known` says that a broker was silent before."""
        unled = set()
        for partition in self._assigned:
            shown = statistics_of(partition, statistics["topics"])
            if shown and shown["leader"] < 0 and partition.topic not in self._topic_problems:
                unled.add(partition)
        was_led = not self._leaderless
        self._unled, self._leaderless = unled, unled if is_known else unled & self._unled
        if was_led and (problem := self._leaderless_problem) is not None:
            self._report(problem)

    def _note_unread(self, statistics: Mapping[str, Any]) -> None:
        """Remember the partitions that could be read and, by the statistics, never were."""
        up = {broker["nodeid"] for broker in statistics["brokers"].values() if broker["state"] == "UP"}
        unread: dict[Partition, float] = {}
        for partition in self._assigned - self._paused:
            shown = statistics_of(partition, statistics["topics"])
            if (
                shown
                and shown["leader"] in up
                and (shown["fetch_state"] != "active" or shown["hi_offset"] < 0)
                and partition.topic not in self._topic_problems  # which says why it is not read
            ):
                unread[partition] = self._unread.get(partition, time.monotonic())
        self._unread = unread

    def _drop_problems_of_others(self) -> None:
        """Drop the problems of topics of which nothing is assigned here, and statistics say nothing.

        A topic that only a pattern matched is not missed. One that is asked for by name may exist by now, and
        another member may read it. Not for callbacks: confluent-kafka aborts the process when one asks the
        brokers.
        """
        self._is_check_due = False
        here = {partition.topic for partition in self._assigned}
        others = self._topic_problems.keys() - here - {GROUP}
        missing = others & set(self._topics)
        if missing:
            with suppress(UnavailableError):
                found = cluster_metadata(self._consumer, EXISTS_TIMEOUT_S).topics
                missing = {name for name in missing if name not in found or found[name].error is not None}
        for topic in others - missing:
            del self._topic_problems[topic]

    def _on_log(self, record: logging.LogRecord) -> None:
        # librdkafka says that it skipped to another offset in its log only.
        if found := _RESET.search(record.getMessage()):
            partition = Partition(found["topic"], int(found["partition"]))
            self._resets[partition] = int(found["offset"])

    def _report_resets(self, records: Sequence[Record]) -> None:
        for partition, offset, *_ in records:
            from_offset = self._resets.pop(partition, None)
            if from_offset is not None and self._telemetry is not None:
                self._telemetry.offsets_reset(partition, from_offset=from_offset, to_offset=offset)


def aside(call: Callable[[], T], name: str) -> Future[T]:
    """Run the call on a thread of its own; the future gets its result.

    What waits for brokers inside librdkafka cannot be interrupted, and may never return; meanwhile
    no signal would be seen. A daemon, so that the process may end without it.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again by `result`
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _named(partitions: Sequence[Partition]) -> str:
    """The first few of them, and how many more there are; nothing for none."""
    more = f" and {len(partitions) - NAMED} more" if len(partitions) > NAMED else ""
    return ", ".join(map(str, partitions[:NAMED])) + more


def _offsets(partitions: Sequence[TopicPartition]) -> dict[Partition, int]:
    return {Partition(p.topic, p.partition): p.offset for p in partitions}


def _said(error: KafkaError) -> str:
    """librdkafka's error in a sentence, with what to do where it does not say."""
    text = str(error.str())
    if error.code() == KafkaError._SSL and "certificate verify failed" in text:  # noqa: SLF001
        return (
            f"the certificate of {text.partition(': ')[0]} is not trusted: it must be in date, made out to "
            "this host, and signed by a CA of ssl.ca.location"
        )
    if error.code() == KafkaError._AUTHENTICATION:  # noqa: SLF001
        return f"the brokers refuse our credentials; check the keys `sasl.…` under `kafka` ({text})"
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return "this user may not join the consumer group; allow it Read on the group of kafka.group.id"
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return f"this user may not read the topic; allow it Read ({text})"
    return f"{error.name()}: {text}"
