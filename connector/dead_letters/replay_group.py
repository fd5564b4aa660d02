"""The consumer group that keeps replays apart: each partition of dead letters has one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    TopicPartition,
)

from connector import config
from connector.errors import HaltError
from connector.kafka.client import BRIDGE_ONLY, consumer


class ReplayGroup:
    """Membership in the group `<group.id>.replay`, so that no two replays work on one partition.

    The group is subscribed to the resolutions topic and reads nothing of it: being assigned partition
    p is the permission to replay the letters of partition p, once its resolutions were read *after*
    the assignment. In `on_revoked`, bring those letters to an end and flush their resolutions
    before returning: the next owner reads them right after.

    What remains possible: a process that hangs past its session while a request is in flight may
    deliver a letter that the next owner sends as well. Both carry the same event id.

    Callbacks run inside `poll`, with partition numbers, on the same thread.
    """

    def __init__(
        self,
        settings: config.Settings,
        *,
        on_assigned: Callable[[Sequence[int]], None],
        on_revoked: Callable[[Sequence[int]], None],
        on_lost: Callable[[Sequence[int]], None],
    ) -> None:
        self._on_assigned = on_assigned
        self.group = f"{settings.kafka.options['group.id']}.replay"
        owned = {
            "group.id": self.group,
            "enable.auto.commit": "false",
            "enable.auto.offset.store": "false",
            "auto.offset.reset": "latest",
            "partition.assignment.strategy": "cooperative-sticky",
            # After a replay was killed the next one waits so long for its partitions.
            "session.timeout.ms": "6000",
            "heartbeat.interval.ms": "1000",
        }
        self._consumer = consumer(settings, owned, without=BRIDGE_ONLY)
        self._consumer.subscribe(
            [settings.dead_letter.resolutions],
            on_assign=self._assigned,
            on_revoke=lambda _, given: on_revoked([p.partition for p in given]),
            on_lost=lambda _, given: on_lost([p.partition for p in given]),
        )

    def poll(self, timeout_s: float) -> None:
        """As `ReplayMembership.poll`; call it at least every few seconds.

        Raises:
            HaltError: the group refuses us.
        """
        message = self._consumer.poll(timeout_s)
        error = None if message is None else message.error()
        if error is not None and (error.fatal() or error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED):
            raise HaltError(f"the group {self.group}, which keeps two replays apart: {error.str()}")

    def close(self) -> None:
        """Leave the group; calls `on_revoked` for what is still assigned."""
        self._consumer.close()

    def _assigned(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        # From the end and paused: what is in the topic is read elsewhere.
        partitions = [TopicPartition(p.topic, p.partition, OFFSET_END) for p in given]
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        self._on_assigned([p.partition for p in given])
