"""The whole product, given only by configuration."""

from __future__ import annotations

import pytest

from tests.services.registry import Registry
from tests.topics import Sent
from tests.world import ORDER, ORDERS, World, order, spread

RECORDS = 100_000


@pytest.mark.timeout(240)
def test_a_hundred_thousand_records_two_kills_and_a_stop(avro_world: World, registry: Registry) -> None:
    """100,000 Avro records on 6 partitions, killed twice and stopped once on the way: all accounted for."""
    world = avro_world
    schema_id = registry.register(f"{world.name}-value", ORDER)
    partitions = world.topic("orders", partitions=6)
    produced = world.produce(
        [Sent(partitions[0].topic, order(schema_id, n), key) for n, key in spread(RECORDS, keys=5_000)]
    )
    bridge = world.bridge(world.settings({partitions[0].topic: ORDERS}, kafka={"group.instance.id": "one"}))
    with world.sampler(partitions) as sampler:
        for end in (bridge.kill, bridge.sigterm, bridge.kill):
            bridge.start(ready=False)
            world.wait_accepted(world.aws.counts().accepted + RECORDS // 5)
            end()
            assert world.aws.counts().accepted < RECORDS, "it was over before it was ended"
        bridge.start()
        world.wait_settled(partitions, timeout_s=120)
        bridge.sigterm()

    balance = world.balance(produced, order="key", samples=sampler.samples)
    assert RECORDS == balance.delivered
    assert balance.duplicate_ratio < 0.5
