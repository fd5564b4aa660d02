"""How the process ends: on a signal, on bad configuration, or because going on would lose or flood."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

import pytest
import urllib3
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from connector.model import Partition
from tests.bridge_process import BridgeProcess
from tests.container_credentials import ContainerCredentials
from tests.services.child import wait_until
from tests.services.kafka import KafkaCluster
from tests.topics import Sent
from tests.world import NOTES, World, note, positions, spread

RECORDS = 4_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_drains_and_commits(world: World, number: signal.Signals) -> None:
    """Stopped under load it exits 0 at once, and the next start delivers the rest without a repetition."""
    partitions = world.topic("notes", partitions=3)
    topic = partitions[0].topic
    produced = world.produce([Sent(topic, note(n), key) for n, key in spread(RECORDS)])
    world.aws.script({"latency_ms": 50})
    bridge = world.bridge(world.settings({topic: NOTES}, eventbridge={"max_in_flight": 2}))
    with world.sampler(partitions) as sampler:
        bridge.start()
        world.wait_accepted(1_000)
        bridge.signal(number)
        assert 0 == bridge.wait_exit(timeout_s=5), bridge.log()
        assert 0 < RECORDS - world.aws.counts().accepted
        world.aws.calm()
        bridge.start()
        world.wait_settled(partitions)
        bridge.sigterm()

    balance = world.balance(produced, order="key", samples=sampler.samples)
    assert (RECORDS, 0) == (balance.delivered, balance.duplicates)


def test_a_second_signal_stops_at_once(world: World) -> None:
    """With requests that do not come back, the second signal waits for nothing; nothing is lost by it."""
    partitions = world.topic("notes", partitions=3)
    topic = partitions[0].topic
    produced = world.produce([Sent(topic, note(n), key) for n, key in spread(RECORDS)])
    world.aws.script({"faults": [{"kind": "hang", "after": 20}]})
    bridge = world.bridge(world.settings({topic: NOTES}, delivery={"shutdown_timeout": "60s"}))
    with world.sampler(partitions) as sampler:
        bridge.start()
        world.wait_accepted(500)
        bridge.signal(signal.SIGTERM)
        bridge.wait_unready("stopping")
        bridge.signal(signal.SIGTERM)
        assert 0 == bridge.wait_exit(timeout_s=3), bridge.log()
        world.aws.calm()
        bridge.start()
        world.wait_settled(partitions)
        bridge.sigterm()

    assert RECORDS == world.balance(produced, order="key", samples=sampler.samples).delivered


def put_right(world: World, bridge: BridgeProcess, partition: Partition) -> None:
    """What EventBridge refused it takes again, and the bridge is started, settles the rest, and stops."""
    world.aws.calm()
    bridge.start()
    world.wait_settled([partition])
    bridge.sigterm()


def halted_for(bridge: BridgeProcess) -> str:
    """What the one line says with which it halted; there is no traceback, nor anything else but log lines."""
    (halted,) = [line for line in bridge.lines() if line.get("event") == "halted"]
    assert "exception" not in halted
    assert [] == [line for line in bridge.lines() if "text" in line]
    return str(halted["message"])


@pytest.mark.parametrize("outage", ["freeze", "kill"])
def test_stops_in_time_without_kafka(own_world: World, own_kafka: KafkaCluster, outage: str) -> None:
    """The last commit and leaving the group wait for no broker beyond the time a stop may take: exit 0. What
    could not be committed is named, and delivered again."""
    world = own_world
    (partition,) = world.topic("notes")
    produced = world.produce([Sent(partition.topic, note(n), key) for n, key in spread(50)])
    bridge = world.bridge(
        world.settings(
            {partition.topic: NOTES}, delivery={"commit_interval": "60s", "shutdown_timeout": "4s"}
        )
    )
    bridge.start()
    world.wait_accepted(50)
    getattr(own_kafka, outage)()

    assert 4 + 6 > bridge.sigterm()
    failed = [line["reason"] for line in bridge.lines() if line.get("event") == "commit_failed"]
    assert [f"{partition}: "] == [reason[: len(f"{partition}: ")] for reason in failed]
    if outage == "freeze":
        own_kafka.thaw()
    else:
        own_kafka.start()
    produced |= world.produce([Sent(partition.topic, note(n), key) for n, key in spread(50)])
    again = world.bridge(world.settings({partition.topic: NOTES}), name="again").start()
    world.wait_settled([partition])
    again.sigterm()
    assert 100 == world.balance(produced).delivered


def test_a_second_signal_ends_a_commit_that_is_not_answered(
    own_world: World, own_kafka: KafkaCluster
) -> None:
    """However long a stop may take, while the bridge waits for a broker it still hears signals."""
    world = own_world
    (partition,) = world.topic("notes")
    world.produce([Sent(partition.topic, note(n), key) for n, key in spread(50)])
    bridge = world.bridge(
        world.settings(
            {partition.topic: NOTES}, delivery={"commit_interval": "60s", "shutdown_timeout": "60s"}
        )
    )
    bridge.start()
    world.wait_accepted(50)
    own_kafka.freeze()
    bridge.signal(signal.SIGTERM)
    wait_until(
        lambda: urllib3.request("GET", f"{bridge.url}/livez").json()["beat_age_s"] > 1,
        what=lambda: f"the bridge waits for its commit\n{bridge.log()}",
    )
    bridge.signal(signal.SIGTERM)

    assert 0 == bridge.wait_exit(timeout_s=2), bridge.log()


def test_a_flood_of_dead_letters_halts(world: World) -> None:
    """More dead letters in a row than allowed are a broken mapping: exit 3, and it says what to correct. A
    corrected one goes on where that stopped."""
    (partition,) = world.topic("notes")
    good = [Sent(partition.topic, note(n, other="acme"), key) for n, key in spread(100)]
    bad = [Sent(partition.topic, note(n), key) for n, key in spread(900)]
    broken = NOTES | {"event": {"source": "aws.partner/example.com/${value.other}", "detail_type": "Note"}}
    bridge = world.bridge(
        world.settings({partition.topic: broken}, dead_letter={"max_consecutive": 20}), name="broken"
    )
    with world.sampler([partition]) as sampler:
        bridge.start()
        produced = world.produce(good)
        world.wait_settled([partition])
        produced |= world.produce(bad)
        assert 3 == bridge.wait_exit(), bridge.log()
        assert "dead_letter.max_consecutive" in halted_for(bridge)
        letters = world.letters()
        assert 20 < len(letters) < 200
        assert {partition: 100 + len(letters)} == world.topics.committed(world.name, [partition])
        corrected = world.bridge(world.settings({partition.topic: NOTES}), name="corrected")
        corrected.start()
        world.wait_settled([partition])
        corrected.sigterm()

    flooded = {letter.origin: "template_null" for letter in letters}
    balance = world.balance(produced, dead=flooded, samples=sampler.samples)
    assert (1_000 - len(flooded), 0) == (balance.delivered, balance.duplicates)


HALTS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "access_denied"}, "Allow `events:PutPartnerEvents`"),
    ({"kind": "operation_disabled"}, "Set `eventbridge.region`"),
    (
        {"kind": "access_denied", "code": "InvalidSignatureException", "message": "no match"},
        "Check the access key",
    ),
    ({"kind": "expired_token"}, "Provide new ones"),
]


@pytest.mark.parametrize(
    ("fault", "what_to_do"), HALTS, ids=[str(fault.get("code", fault["kind"])) for fault, _ in HALTS]
)
def test_a_refused_account_halts(world: World, fault: dict[str, Any], what_to_do: str) -> None:
    """No record is to blame when the account is refused: exit 3, one sentence that says what to do, nothing
    dead-lettered, what was accepted is committed; once that is done it goes on from there."""
    (partition,) = world.topic("notes")
    # In the order of one key, so that what was accepted lies before what was refused.
    produced = world.produce([Sent(partition.topic, note(n), b"key") for n in range(1_000)])
    world.aws.script({"faults": [{**fault, "after": 5}]})
    bridge = world.bridge(world.settings({partition.topic: NOTES}))
    with world.sampler([partition]) as sampler:
        bridge.start(ready=False)
        assert 3 == bridge.wait_exit(), bridge.log()
        assert what_to_do in halted_for(bridge)
        assert [] == world.letters()
        accepted = world.aws.counts().accepted
        assert 0 < accepted < 1_000
        assert {partition: accepted} == world.topics.committed(world.name, [partition])
        put_right(world, bridge, partition)

    balance = world.balance(produced, order="key", samples=sampler.samples)
    assert (1_000, 0) == (balance.delivered, balance.duplicates)
    assert accepted == world.details()[accepted]["_kafka"]["offset"]


def test_credentials_that_expire_are_looked_up_once_more(world: World) -> None:
    """New ones are used without a word; where those are refused as well, it halts after that one look-up."""
    (partition,) = world.topic("notes")
    # Of one key, so that one request comes after the other: each that is refused asks for itself.
    notes = [Sent(partition.topic, note(n), b"key") for n in range(100)]
    with ContainerCredentials() as credentials, world.sampler([partition]) as sampler:
        world.aws.set_credentials(credentials.known())
        bridge = world.bridge(world.settings({partition.topic: NOTES}))
        bridge.environ |= credentials.environ
        bridge.start()
        produced = world.produce(notes)
        world.wait_settled([partition])
        lookups = credentials.lookups

        credentials.number += 1
        world.aws.set_credentials(credentials.known())
        produced |= world.produce(notes)
        world.wait_settled([partition])
        assert lookups + 1 == credentials.lookups

        world.aws.script({"faults": [{"kind": "expired_token"}]})
        produced |= world.produce(notes)
        assert 3 == bridge.wait_exit(), bridge.log()
        assert lookups + 2 == credentials.lookups
        assert "Provide new ones" in halted_for(bridge)
        assert {partition: 200} == world.topics.committed(world.name, [partition])
        put_right(world, bridge, partition)

    balance = world.balance(produced, order="key", samples=sampler.samples)
    assert (300, 0) == (balance.delivered, balance.duplicates)


def test_an_offset_that_vanished_halts_where_that_is_an_error(world: World) -> None:
    """Kafka deleted what was to be read next: `auto.offset.reset: error` lets nobody go on past it."""
    (partition,) = world.topic("notes")
    settings = world.settings({partition.topic: NOTES}, kafka={"auto.offset.reset": "error"})
    world.produce([Sent(partition.topic, note(n), key) for n, key in spread(200)])
    begin = TopicPartition(*partition, 150)
    admin = AdminClient(dict(world.client))
    group = ConsumerGroupTopicPartitions(world.name, [TopicPartition(*partition, 0)])
    admin.alter_consumer_group_offsets([group])[world.name].result(30)
    admin.delete_records([begin])[begin].result(30)
    bridge = world.bridge(settings, name="strict").start(ready=False)

    assert 3 == bridge.wait_exit(), bridge.log()
    assert "auto.offset.reset" in halted_for(bridge)
    assert f"{partition.topic}[{partition.number}]" in halted_for(bridge)
    assert {partition: 0} == world.topics.committed(world.name, [partition])
    assert 0 == world.aws.counts().accepted
    settings["kafka"]["auto.offset.reset"] = "earliest"
    told = world.bridge(settings, name="told").start()
    world.wait_settled([partition])
    told.sigterm()
    assert list(range(150, 200)) == sorted(detail["number"] for detail in world.details())


def _without_dead_letter_topic(world: World, partition: Partition) -> Mapping[str, Any]:
    return world.settings({partition.topic: NOTES}, dead_letter={"topic": f"{world.name}.missing"})


def _with_a_typo(world: World, partition: Partition) -> Mapping[str, Any]:
    return world.settings({partition.topic: NOTES | {"ordring": "key"}})


@pytest.mark.parametrize(
    ("mistake", "named"),
    [(_without_dead_letter_topic, "dead_letter.topic"), (_with_a_typo, "ordring")],
    ids=["dead-letter-topic", "typo"],
)
def test_a_configuration_mistake_exits_2(world: World, mistake: Any, named: str) -> None:
    """A mistake is named, and found before anything is consumed."""
    (partition,) = world.topic("notes")
    world.produce([Sent(partition.topic, note(n), key) for n, key in spread(100)])
    bridge = world.bridge(mistake(world, partition))
    bridge.start(ready=False)

    assert 2 == bridge.wait_exit(), bridge.log()
    assert named in bridge.log()
    assert {} == world.topics.committed(world.name, [partition])
    assert 0 == world.aws.counts().accepted


def test_creates_the_dead_letter_topic_when_told(world: World) -> None:
    """`create: true` makes the topic as it says, and letters go there."""
    (partition,) = world.topic("notes")
    produced = world.produce([Sent(partition.topic, value, b"k") for value in (note(1), b"{", note(2))])
    world.topics.delete(world.dead_letter_topic)
    world.dead_letter_topic = f"{world.name}.created"
    bridge = world.bridge(
        world.settings(
            {partition.topic: NOTES},
            dead_letter={"create": True, "partitions": 2, "replication_factor": 1},
        )
    )
    bridge.start()
    world.wait_settled([partition])
    bridge.sigterm()

    assert 2 == world.balance(produced, dead={positions(produced, [1])[0]: "json_invalid"}).delivered
    assert 2 == len(world.topics.partitions(world.dead_letter_topic))
