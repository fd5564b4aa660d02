"""A dry run beside a bridge on real Kafka: the group does not notice it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from connector import config
from connector.model import Json
from connector.workbench.shadow_run import shadow_run
from tests.shadow import read_records
from tests.topics import Sent
from tests.world import NOTES, World, note, spread

PROTOCOLS: list[dict[str, Json]] = [{}, {"group.protocol": "consumer", "group.instance.id": "one"}]


def members(world: World) -> dict[str, set[tuple[str, int]]]:
    """The members of the group, and what each is assigned."""
    admin = AdminClient(dict(world.client))
    group = admin.describe_consumer_groups([world.name])[world.name].result(30)
    return {
        member.member_id: {(each.topic, each.partition) for each in member.assignment.topic_partitions}
        for member in group.members
    }


def loaded(world: World, settings: Mapping[str, Any]) -> config.Settings:
    """The same settings, on a port of its own for HTTP."""
    own = world.bridge({**settings, "http": {"host": "127.0.0.1", "port": 0}}, name="dry-run")
    return config.load(own.file, environ={})


@pytest.mark.parametrize("group", PROTOCOLS, ids=["classic", "consumer"])
def test_a_running_bridge_is_not_disturbed(world: World, group: dict[str, Json]) -> None:
    """No rebalance: its members keep what they are assigned, what they committed, and their records. The dry
    run begins at the committed position, and counts what comes."""
    partitions = world.topic("notes", partitions=4)
    topic = partitions[0].topic
    produced = world.produce([Sent(topic, note(number), key) for number, key in spread(200)])
    settings = world.settings({topic: NOTES}, kafka=group)
    bridge = world.bridge(settings)
    bridge.start()
    world.wait_settled(partitions)
    before = members(world), world.topics.committed(world.name, partitions)
    rebalances = bridge.metric("rebalances_total")
    with shadow_run(loaded(world, settings)) as run:
        assert before == (members(world), world.topics.committed(world.name, partitions))
        more = [Sent(topic, note(number), key) for number, key in spread(100)]
        bad = [Sent(topic, b'{"number": 1}', b"bad")]
        produced |= world.produce([*more, *bad])
        read_records(run, 101)
    world.wait_settled(partitions)

    assert (before[0], rebalances) == (members(world), bridge.metric("rebalances_total"))
    first = {each: reading.from_offset for each, reading in run.report.partitions.items()}
    assert {each: before[1].get(each, 0) for each in partitions} == first
    assert (100, {"template_null": 1}) == (run.report.total.events, run.report.total.dead_letters)
    assert 0 == run.report.left
    assert {} == world.topics.committed(f"{world.name}.dry-run", partitions)
    bridge.sigterm()
    dead = {at: "template_null" for at, key in produced.items() if key == b"bad"}
    balance = world.balance(produced, dead=dead)
    assert (300, 0) == (balance.delivered, balance.duplicates)


def test_it_begins_in_the_middle_of_a_backlog(world: World) -> None:
    """At the offsets that a bridge committed before it stopped, whatever lies before them; and where Kafka
    deleted those, at the first record that is left."""
    partitions = world.topic("notes", partitions=2)
    topic = partitions[0].topic
    world.produce([Sent(topic, note(number), partition=number % 2) for number in range(40)])
    settings = world.settings({topic: NOTES})
    bridge = world.bridge(settings)
    bridge.start()
    world.wait_settled(partitions)
    bridge.sigterm()
    world.produce([Sent(topic, note(number), partition=number % 2) for number in range(20)])
    world.topics.truncate(partitions[1], before=25)
    with shadow_run(loaded(world, settings)) as run:
        read_records(run, 10 + 5)

    assert {partitions[0]: 20, partitions[1]: 25} == {
        each: reading.from_offset for each, reading in run.report.partitions.items()
    }
    assert {partitions[0]: 20, partitions[1]: 20} == world.topics.committed(world.name, partitions)


def test_what_no_record_lies_behind_is_not_left(world: World) -> None:
    """The end of a transaction takes an offset, and is no record: the run has caught up all the same."""
    partitions = world.topic("notes")
    producer = Producer({**world.client, "transactional.id": world.name})
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in range(3):
        producer.produce(partitions[0].topic, note(number))
    producer.commit_transaction(30)
    with shadow_run(loaded(world, world.settings({partitions[0].topic: NOTES}))) as run:
        run.read(
            30, advanced=lambda _: run.stop() if run.report.records == 3 and not run.report.left else None
        )

    assert (3, 0) == (run.report.records, run.report.left)
