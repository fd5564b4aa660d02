"""The consumer group that keeps replays apart, or resends: each partition has one of them at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from connector import config
from connector.errors import HaltError, UnavailableError
from connector.kafka.client import ANSWER_TIMEOUT_S, BRIDGE_ONLY, consumer
from connector.kafka.consumer import aside

SESSION_TIMEOUT_S = 6.0
"""After one was killed the next one waits so long for its partitions; brokers allow no less by default."""

UNCOMMITTED_S = 60.0
"""The brokers may refuse commits for so long."""

JOIN_S = 15.0
"""Brokers let a new group wait, and a member that was killed is missed only after its session."""

POLL_S = 0.1


class Committed(NamedTuple):
    """What a group has committed for a partition."""

    offset: int
    """The next one to take."""
    note: str = ""
    """A text beside it."""


class Listener(Protocol):
    """Hears which partitions come and go, inside `poll`: a `Redelivery`."""

    def on_assigned(self, partitions: Sequence[int]) -> None: ...
    def on_revoked(self, partitions: Sequence[int]) -> None: ...
    def on_lost(self, partitions: Sequence[int]) -> None: ...


class _Given:
    """A listener that only knows what is assigned."""

    def __init__(self) -> None:
        self.partitions: set[int] = set()
        self.on_assigned = self.partitions.update
        self.on_revoked = self.on_lost = self.partitions.difference_update


class RedeliveryGroup:
    """Membership in the group `<group.id>.<suffix>`, so that no two work on one partition.

    The group is subscribed to a topic and reads nothing of it: being assigned partition p is the permission
    to send what p holds, once what is recorded of p was read *after* the assignment. A replay is given
    partitions of the resolutions topic, and records there; a resend those of the records' own topic, and
    commits how far it is. In `on_revoked`, bring what is in flight to an end and have it recorded before
    returning: the next owner reads it right after.

    What remains possible: a process that hangs past its session while a request is in flight may
    deliver what the next owner sends as well. Both have the same event id.

    Callbacks run inside `poll`, with partition numbers, on the same thread.
    """

    def __init__(self, settings: config.Settings, suffix: str, topic: str) -> None:
        self.name = f"{settings.kafka.options['group.id']}.{suffix}"
        self.acknowledged: dict[int, Committed] = {}
        """Partition → the last commit that the brokers acknowledged."""
        self.is_committing = False
        """A `commit` has no answer yet, so that the next one would be passed over."""
        self._topic = topic
        self._is_rebalancing = False
        self._refused_since_s: float | None = None
        owned = {
            "group.id": self.name,
            "auto.offset.reset": "latest",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": str(int(SESSION_TIMEOUT_S * 1000)),
            "heartbeat.interval.ms": "1000",
            "on_commit": self._on_commit,
        }
        self._consumer = consumer(settings, owned, without=BRIDGE_ONLY)

    def join(self, listener: Listener) -> None:
        """Become a member; `poll` then calls the listener."""
        self._consumer.subscribe(
            [self._topic],
            on_assign=partial(self._on_assign, listener.on_assigned),
            on_revoke=partial(self._on_taken, listener.on_revoked),
            on_lost=partial(self._on_taken, listener.on_lost),
        )

    def poll(self, timeout_s: float) -> None:
        """As `Membership.poll`; call it at least every few seconds.

        Raises:
            HaltError: the group refuses us.
        """
        message = self._consumer.poll(timeout_s)
        error = None if message is None else message.error()
        if error is not None and (error.fatal() or error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED):
            raise HaltError(f"the group {self.name}, which keeps two apart: {error.str()}")

    def committed(self, partitions: Collection[int]) -> dict[int, Committed]:
        """What is committed for these partitions; nothing for one without a commit. No need to be a member.

        Raises:
            UnavailableError: no broker answered in time, or they refuse us.
        """
        wanted = [TopicPartition(self._topic, number) for number in partitions]
        try:
            found = self._consumer.committed(wanted, timeout=ANSWER_TIMEOUT_S)
        except KafkaException as error:
            raise self._unread(error.args[0]) from error
        for each in found:
            if each.error is not None:
                raise self._unread(each.error)
        return {p.partition: Committed(p.offset, p.metadata or "") for p in found if p.offset >= 0}

    def commit(self, offsets: Mapping[int, Committed]) -> None:
        """Commit soon, unless an earlier commit is under way; `acknowledged` says what the brokers have.

        Raises:
            HaltError: they have refused commits for too long.
        """
        if self.is_committing or not offsets:
            return
        self.is_committing = True
        try:
            self._consumer.commit(offsets=self._wanted(offsets), asynchronous=True)
        except KafkaException as error:
            self._on_commit(error.args[0], [])
        self._check_refusals()

    def commit_now(self, offsets: Mapping[int, Committed], *, timeout_s: float) -> None:
        """Commit, and wait until the brokers have it.

        Raises:
            HaltError: they refuse, or do not answer in time.
        """
        if not offsets:
            return
        commit = partial(self._consumer.commit, offsets=self._wanted(offsets), asynchronous=False)
        try:
            # Inside a rebalance this thread must ask itself, as in `KafkaConsumer.commit`.
            done: list[TopicPartition] = (
                commit() if self._is_rebalancing else aside(commit, "commit").result(timeout_s)
            ) or []
        except KafkaException as error:
            raise HaltError(self._refusal(error.args[0].str())) from error
        except TimeoutError:
            raise HaltError(self._refusal(f"no answer within {timeout_s:.3g} s")) from None
        self._note_answer(None, done)
        for each in done:
            if each.error is not None:
                raise HaltError(self._refusal(each.error.str()))

    def begin_anew(self, offsets: Mapping[int, Committed]) -> None:
        """Commit these as the only member of the group, and leave it again.

        Raises:
            UnavailableError: another member keeps some of these partitions.
            HaltError: the brokers refuse.
        """
        given = _Given()
        self.join(given)
        until_s = time.monotonic() + JOIN_S
        while not offsets.keys() <= given.partitions:
            self.poll(POLL_S)
            if time.monotonic() > until_s:
                raise UnavailableError(
                    f"the group {self.name} has another member, which keeps partitions: a resend can begin "
                    "anew once the other run has ended"
                )
        self.commit_now(offsets, timeout_s=ANSWER_TIMEOUT_S)
        self._consumer.unsubscribe()
        while given.partitions:
            self.poll(POLL_S)

    def close(self) -> None:
        """Leave the group; calls `on_revoked` for what is still assigned."""
        self._consumer.close()

    def _wanted(self, offsets: Mapping[int, Committed]) -> list[TopicPartition]:
        return [
            TopicPartition(self._topic, number, offset, note) for number, (offset, note) in offsets.items()
        ]

    def _on_commit(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        self.is_committing = False
        self._note_answer(error, partitions)

    def _note_answer(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        refusal = error or next((p.error for p in partitions if p.error is not None), None)
        if refusal is None:
            self._refused_since_s = None
            # An answer may come after that to a later `commit_now`. Then the same is committed once more.
            self.acknowledged |= {p.partition: Committed(p.offset, p.metadata or "") for p in partitions}
        elif self._refused_since_s is None:
            self._refused_since_s, self._why = time.monotonic(), refusal.str()

    def _check_refusals(self) -> None:
        if self._refused_since_s is not None and time.monotonic() - self._refused_since_s > UNCOMMITTED_S:
            raise HaltError(self._refusal(self._why))

    def _unread(self, error: KafkaError) -> UnavailableError:
        why = f"Kafka does not say what the group {self.name} has committed: {error.str()}"
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            why += "; allow this user Read on that group"
        return UnavailableError(why, code="kafka")

    def _refusal(self, why: str) -> str:
        return (
            f"the group {self.name} cannot commit how far it is: {why}. What was sent since the last commit "
            "would be sent again by the next run, with the same event ids"
        )

    def _on_assign(
        self, on_assigned: Callable[[Sequence[int]], None], client: Consumer, given: list[TopicPartition]
    ) -> None:
        # From the end and paused: what is in the topic is read elsewhere.
        partitions = [TopicPartition(p.topic, p.partition, OFFSET_END) for p in given]
        client.incremental_assign(partitions)
        client.pause(partitions)
        on_assigned([p.partition for p in given])

    def _on_taken(
        self, on_taken: Callable[[Sequence[int]], None], _: Consumer, given: list[TopicPartition]
    ) -> None:
        self._is_rebalancing = True
        try:
            on_taken([p.partition for p in given])
        finally:
            self._is_rebalancing = False
