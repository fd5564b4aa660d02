"""Members come, go and die while records are on their way."""

from __future__ import annotations

from itertools import islice

import pytest

from connector.model import Json
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
    no commit is ever too high."""
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

    assert len(produced) == world.balance(produced, samples=sampler.samples).delivered


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
    assert 1_000 == world.balance(produced, order="key", samples=sampler.samples).delivered


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

    assert 4_000 == world.balance(produced, order="key", samples=sampler.samples).delivered
