"""How the process ends: on a signal, on bad configuration, or because going on would lose or flood."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

import pytest
import urllib3

from connector.model import Partition
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
    """More dead letters in a row than allowed are a broken mapping: exit 3. A corrected one goes on."""
    (partition,) = world.topic("notes")
    produced = world.produce([Sent(partition.topic, note(n), key) for n, key in spread(1_000)])
    broken = NOTES | {"event": {"source": "aws.partner/example.com/${value.no_such}", "detail_type": "Note"}}
    bridge = world.bridge(
        world.settings({partition.topic: broken}, dead_letter={"max_consecutive": 20}), name="broken"
    )
    with world.sampler([partition]) as sampler:
        bridge.start(ready=False)
        assert 3 == bridge.wait_exit(), bridge.log()
        letters = world.letters()
        assert 20 < len(letters) < 200
        corrected = world.bridge(world.settings({partition.topic: NOTES}), name="corrected")
        corrected.start()
        world.wait_settled([partition])
        corrected.sigterm()

    flooded = {letter.origin: "template_null" for letter in letters}
    assert 1_000 - len(flooded) == world.balance(produced, dead=flooded, samples=sampler.samples).delivered


HALTS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "access_denied"}, "Allow `events:PutPartnerEvents`"),
    ({"kind": "operation_disabled"}, "Set `eventbridge.region`"),
    (
        {"kind": "access_denied", "code": "InvalidSignatureException", "message": "no match"},
        "Check the access key",
    ),
    ({"kind": "expired_token"}, "Provide new ones"),
    ({"kind": "entry_error", "code": "NotAuthorizedForSourceException"}, "correct the account, role or"),
]


@pytest.mark.parametrize(
    ("fault", "what_to_do"), HALTS, ids=[str(fault.get("code", fault["kind"])) for fault, _ in HALTS]
)
def test_a_refused_account_halts(world: World, fault: dict[str, Any], what_to_do: str) -> None:
    """No record is to blame when the account is refused: exit 3, one sentence that says what to do, nothing
    dead-lettered, nothing lost; once that is done it goes on where it stopped."""
    (partition,) = world.topic("notes")
    produced = world.produce([Sent(partition.topic, note(n), key) for n, key in spread(1_000)])
    world.aws.script({"faults": [{**fault, "after": 5}]})
    bridge = world.bridge(world.settings({partition.topic: NOTES}))
    with world.sampler([partition]) as sampler:
        bridge.start(ready=False)
        assert 3 == bridge.wait_exit(), bridge.log()
        (halted,) = [line for line in bridge.lines() if line.get("event") == "halted"]
        assert what_to_do in halted["message"]
        assert "exception" not in halted
        assert [] == world.letters()
        world.aws.calm()
        bridge.start()
        world.wait_settled([partition])
        bridge.sigterm()

    assert 1_000 == world.balance(produced, order="key", samples=sampler.samples).delivered


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
