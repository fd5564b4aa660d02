"""Members come, go and die while records are on their way."""

from __future__ import annotations

from itertools import islice

import pytest
from confluent_kafka import Consumer, TopicPartition

from connector.model import Json, Position
from tests.services.child import wait_until
from tests.topics import Sent
from tests.world import NOTES, World, note, spread

BACKLOG = 2_000
PROTOCOLS: list[dict[str, Json]] = [
    {"partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 3000},
    {"group.protocol": "consumer"},
]


@pytest.mark.parametrize("leaves", ["stopped", "killed"])
@pytest.mark.parametrize("group", PROTOCOLS, ids=["classic", "consumer"])
def test_a_second_member_comes_and_goes(world: World, group: dict[str, Json], leaves: str) -> None:
    """Two rebalances with requests in flight, some of them throttled or failing in part: nothing is lost, and
    no commit is ever too high. What waits for its next attempt is left to the next owner, and what was
    delivered above it comes twice."""
    partitions = world.topic("notes", partitions=6)
    topic = partitions[0].topic
    records = (Sent(topic, note(number), key) for number, key in spread(1_000_000))
    produced = world.produce(list(islice(records, BACKLOG)))
    world.aws.script(
        {
            "latency_ms": 200,
            "faults": [
                {"kind": "throttle", "probability": 0.02},
                {"kind": "entry_error", "probability": 0.02},
            ],
        }
    )
    # Slow, and with little read ahead: there is a backlog for as long as the rebalances take.
    settings = world.settings(
        {topic: NOTES},
        kafka=group,
        eventbridge={"max_in_flight": 4},
        delivery={"commit_interval": "200ms", "max_pending_records": 300},
    )
    first, second = world.bridge(settings, name="first"), world.bridge(settings, name="second")
    with world.sampler(partitions) as sampler:
        first.start()
        world.wait_accepted(500)
        second.start()

        def second_delivers() -> bool:
            if len(produced) - world.aws.counts().accepted < BACKLOG:
                produced.update(world.produce(list(islice(records, BACKLOG))))
            assigned = [each.metric("partitions_assigned") for each in (first, second)]
            return second.metric("events_delivered_total") >= 100 and sum(assigned) == 6

        wait_until(second_delivers, what=lambda: f"the second member delivers\n{world.log()}")
        if leaves == "killed":
            second.kill()
        else:
            second.sigterm()
        world.aws.calm()
        world.wait_settled(partitions)
        first.wait_metric("partitions_assigned", 6)
        first.sigterm()

    balance = world.balance(produced, samples=sampler.samples)
    assert len(produced) == balance.delivered


@pytest.mark.parametrize("group", PROTOCOLS, ids=["classic", "consumer"])
def test_revoked_while_every_request_is_retried(world: World, group: dict[str, Json]) -> None:
    """With EventBridge down, the partitions that move take nothing with them that is not settled: the new
    owner delivers it, and the old one forgets it."""
    partitions = world.topic("notes", partitions=6)
    topic = partitions[0].topic
    produced = world.produce([Sent(topic, note(number), key) for number, key in spread(1_000)])
    world.aws.script({"down": True})
    settings = world.settings({topic: NOTES}, kafka=group)
    first, second = world.bridge(settings, name="first"), world.bridge(settings, name="second")
    with world.sampler(partitions) as sampler:
        first.start()
        first.wait_metric("records_consumed_total", 1_000)
        wait_until(lambda: first.metric("requests_total", outcome="unavailable") > 0, what="a request failed")
        second.start()
        second.wait_metric("partitions_assigned", 3)
        first.wait_metric("partitions_assigned", 3)
        assert 0 == world.aws.counts().accepted
        world.aws.calm()
        world.wait_settled(partitions)
        delivered = [each.metric("events_delivered_total") for each in (first, second)]
        first.sigterm()
        second.sigterm()

    assert all(delivered)
    balance = world.balance(produced, order="key", samples=sampler.samples)
    assert (1_000, 0) == (balance.delivered, balance.duplicates)


@pytest.mark.parametrize("group", PROTOCOLS, ids=["classic", "consumer"])
def test_a_partition_paused_when_it_left_is_read_when_it_comes_back(
    world: World, group: dict[str, Json]
) -> None:
    """A pause ends with the assignment it was made for: what is produced after the return is read."""
    partitions = world.topic("notes", partitions=6)
    topic = partitions[0].topic
    produced = world.produce([Sent(topic, note(number), key) for number, key in spread(2_000)])
    world.aws.script({"down": True})
    settings = world.settings(
        {topic: NOTES}, kafka=group, delivery={"commit_interval": "200ms", "max_pending_records": 300}
    )
    first, second = world.bridge(settings, name="first"), world.bridge(settings, name="second")
    with world.sampler(partitions) as sampler:
        first.start()
        first.wait_metric("partitions_paused", 6)
        second.start()
        second.wait_metric("partitions_assigned", 3)
        world.aws.calm()
        world.wait_settled(partitions)
        second.sigterm()
        first.wait_metric("partitions_assigned", 6)
        produced |= world.produce([Sent(topic, note(number), key) for number, key in spread(2_000)])
        world.wait_settled(partitions)
        first.sigterm()

    balance = world.balance(produced, order="key", samples=sampler.samples)
    assert (4_000, 0) == (balance.delivered, balance.duplicates)


def test_goes_on_from_offsets_that_another_client_committed(world: World) -> None:
    """Whoever had the group before may have left a note with each offset: it is none of ours, and no harm."""
    partitions = world.topic("notes", partitions=2)
    produced = world.produce(
        [Sent(each.topic, note(n), b"key", partition=each.number) for each in partitions for n in range(100)]
    )
    left_at = {partitions[0]: 40, partitions[1]: 100}
    other = Consumer({**world.client, "group.id": world.name})
    other.commit(
        offsets=[TopicPartition(*each, offset, metadata='{"v": 1}') for each, offset in left_at.items()],
        asynchronous=False,
    )
    other.close()
    bridge = world.bridge(world.settings({partitions[0].topic: NOTES}))
    with world.sampler(partitions) as sampler:
        bridge.start()
        produced |= world.produce(
            [
                Sent(each.topic, note(n), b"key", partition=each.number)
                for each in partitions
                for n in range(9)
            ]
        )
        world.wait_settled(partitions)
        bridge.sigterm()

    unread = {at: key for at, key in produced.items() if at.offset >= left_at[at.partition]}
    balance = world.balance(unread, order="key", samples=sampler.samples)
    assert (60 + 2 * 9, 0) == (balance.delivered, balance.duplicates)


# Nobody dies, so a long session costs no time; a short one would end for want of CPU.
@pytest.mark.parametrize(
    "group", [PROTOCOLS[0] | {"session.timeout.ms": 30_000}, PROTOCOLS[1]], ids=["classic", "consumer"]
)
def test_a_rolling_restart_loses_nothing_and_repeats_nothing(world: World, group: dict[str, Json]) -> None:
    """Each member is stopped and started in turn under load. A stop in order loses no answer, so nothing is
    delivered twice; nobody is thrown out, and the group rebalances for who comes and goes alone."""
    partitions = world.topic("notes", partitions=6)
    topic = partitions[0].topic
    records = (Sent(topic, note(number), key) for number, key in spread(1_000_000))
    produced: dict[Position, bytes | None] = {}
    world.aws.script({"latency_ms": 100})
    settings = world.settings(
        {topic: NOTES}, kafka=group, eventbridge={"max_in_flight": 2}, delivery={"max_pending_records": 300}
    )
    members = [world.bridge(settings, name=f"member-{number}") for number in range(3)]

    def all_are_assigned() -> bool:
        return sorted(each.metric("partitions_assigned") for each in members) == [2, 2, 2]

    with world.sampler(partitions) as sampler:
        for member in members:
            member.start(ready=False)
        for member in members:
            member.wait_ready()
        for restarted in members:
            wait_until(all_are_assigned, what=lambda: f"each has its share\n{world.log()}")
            produced |= world.produce(list(islice(records, BACKLOG)))
            world.wait_accepted(len(produced) - BACKLOG + 100)
            restarted.sigterm()
            assert world.aws.counts().accepted < len(produced)
            restarted.start()
        wait_until(all_are_assigned, what=lambda: f"each has its share\n{world.log()}")
        world.aws.calm()
        world.wait_settled(partitions)
        for member in members:
            member.wait_metric("pending_records", 0)
            assert 0 == member.metric("rebalances_total", kind="lost")
        rebalances = [int(member.metric("rebalances_total")) for member in members]
        for member in members:
            member.sigterm()

    balance = world.balance(produced, order="key", samples=sampler.samples)
    assert (len(produced), 0) == (balance.delivered, balance.duplicates)
    # Who comes or goes costs a member at most what is taken from it and what is given to it. The first one
    # saw itself come and two others go and come, the second one other, the third none.
    assert [True] * 3 == [
        count <= 2 * changes for count, changes in zip(rebalances, (5, 3, 1), strict=True)
    ], rebalances
