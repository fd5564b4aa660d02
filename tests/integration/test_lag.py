"""The lag that the bridge shows is true also of partitions that it does not read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from connector.model import Partition
from tests.bridge_process import BridgeProcess
from tests.conftest import started
from tests.services.child import wait_until
from tests.services.kafka import KafkaCluster
from tests.topics import Sent
from tests.world import NOTES, World, note

RECORDS = 500
SHORT = {"max_pending_records": 200}


def wait_lags(bridge: BridgeProcess, wanted: dict[Partition, int]) -> None:
    """Waits until the metric has these partitions, each with this lag."""

    def lags() -> dict[Partition, float]:
        return {
            Partition(labels["topic"], int(labels["partition"])): value
            for labels, value in bridge.samples("consumer_lag")
        }

    wait_until(
        lambda: lags() == wanted,
        what=lambda: f"the lags are {wanted}, not {lags()}\n{bridge.log()}",
        timeout_s=20,
    )


def produce(world: World, partitions: Sequence[Partition]) -> None:
    """So many notes to each of these partitions."""
    world.produce(
        [Sent(topic, note(n), partition=number) for topic, number in partitions for n in range(RECORDS)]
    )


def test_records_that_come_in_an_outage_are_counted(world: World) -> None:
    """What EventBridge's outage lets pile up shows while it lasts, although nothing of it is fetched."""
    partitions = world.topic("notes", partitions=2)
    topic = partitions[0].topic
    world.aws.script({"down": True})
    bridge = world.bridge(world.settings({topic: NOTES}, delivery=SHORT))
    produce(world, partitions)
    bridge.start(ready=False).wait_started()
    bridge.wait_metric("partitions_paused", 2)
    for rounds in (2, 3):
        produce(world, partitions)
        wait_lags(bridge, dict.fromkeys(partitions, rounds * RECORDS))
    world.aws.calm()
    wait_lags(bridge, dict.fromkeys(partitions, 0))
    bridge.sigterm()


def test_a_topic_that_was_paused_before_the_start_has_a_lag(world: World, tmp_path: Path) -> None:
    """It counts from what the group has committed, or where a new group would begin."""
    partitions = world.topic("notes", partitions=2)
    topic = partitions[0].topic
    (new,) = world.topic("new")
    pauses = tmp_path / "pauses.yaml"
    pauses.write_text("[]")
    settings = {**world.settings({topic: NOTES, new.topic: NOTES}), "pauses": str(pauses)}
    bridge = world.bridge(settings)
    produce(world, partitions)
    bridge.start()
    world.wait_settled(partitions)
    bridge.sigterm()
    pauses.write_text(f"topics: [{topic}, {new.topic}]")
    produce(world, partitions)
    world.produce([Sent(new.topic, note(n)) for n in range(3)])
    bridge.start()
    wait_lags(bridge, {**dict.fromkeys(partitions, RECORDS), new: 3})
    bridge.sigterm()


def test_the_marker_of_a_transaction_is_no_lag(world: World) -> None:
    """Nor are records of an aborted one, also after a restart, which reads no record; an open one waits."""
    partitions = committed, aborted = world.topic("notes", partitions=2)
    producer = Producer({**world.client, "transactional.id": world.name})
    producer.init_transactions(30)
    for partition in partitions:
        producer.begin_transaction()
        for number in range(5):
            producer.produce(partition.topic, note(number), partition=partition.number)
        producer.flush()
        if partition == aborted:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    bridge = world.bridge(world.settings({committed.topic: NOTES}))
    for _ in range(2):
        bridge.start()
        world.wait_accepted(5)
        wait_lags(bridge, {committed: 0, aborted: 0})
        world.wait_committed({committed: 5})
        bridge.sigterm()
    bridge.start()
    producer.begin_transaction()
    for number in range(5):
        producer.produce(committed.topic, note(number), partition=committed.number)
    producer.flush()
    wait_lags(bridge, {committed: 5, aborted: 0})
    bridge.sigterm()

    assert 5 == world.aws.counts().accepted


def test_records_that_were_deleted_are_no_lag(world: World) -> None:
    """Of a partition that retention has emptied nothing waits, although the group has not read all of it."""
    (partition,) = world.topic("notes")
    world.produce([Sent(partition.topic, note(n)) for n in range(5)])
    bridge = world.bridge(world.settings({partition.topic: NOTES})).start()
    world.wait_settled([partition])
    bridge.sigterm()
    world.produce([Sent(partition.topic, note(n)) for n in range(5)])
    admin = AdminClient({**world.client})
    (deleted,) = admin.delete_records([TopicPartition(*partition, 10)]).values()
    deleted.result(30)
    bridge.start()
    wait_lags(bridge, {partition: 0})
    bridge.sigterm()


def test_lag_is_true_again_after_a_broker_was_away(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """What a paused partition holds is known again when its leader is back, with another leader epoch."""
    cluster = started(pytestconfig, "Kafka", lambda: KafkaCluster(brokers=3).start())
    with closing(cluster), World(cluster.client, folder=tmp_path, dead_letters_on=0) as world:
        partitions = world.topic("notes", partitions=3)
        topic = partitions[0].topic
        world.aws.script({"down": True})
        # Kafka's default: no look at the metadata comes in time by itself.
        kafka = {"topic.metadata.refresh.interval.ms": 300_000}
        bridge = world.bridge(world.settings({topic: NOTES}, kafka=kafka, delivery=SHORT))
        produce(world, partitions)
        bridge.start(ready=False).wait_started()
        bridge.wait_metric("partitions_paused", 3)
        produce(world, partitions)
        wait_lags(bridge, dict.fromkeys(partitions, 2 * RECORDS))
        cluster.kill(2)
        cluster.start()
        for rounds in (3, 4):
            produce(world, partitions)
            wait_lags(bridge, dict.fromkeys(partitions, rounds * RECORDS))
        bridge.sigterm()
