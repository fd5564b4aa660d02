"""A crash at any instant re-reads records and skips none."""

from __future__ import annotations

import random
import secrets

import pytest

from connector.model import Json
from tests.services.registry import Registry
from tests.topics import Sent
from tests.world import ORDER, ORDERS, World, order, positions, spread

RECORDS = 4_000
KILLS = 4


@pytest.mark.parametrize(
    ("member", "group"),
    [
        ("static", {"group.instance.id": "one"}),
        ("dynamic", {"session.timeout.ms": 2000}),
        ("consumer", {"group.protocol": "consumer"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sigkill_at_random_moments_loses_nothing(
    avro_world: World, registry: Registry, member: str, group: dict[str, Json]
) -> None:
    """Killed again and again under load, with bad and filtered records among the good: all are accounted for,
    keys keep their order, and no commit was ever too high."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    world = avro_world
    schema_id = registry.register(f"{world.name}-value", ORDER)
    partitions = world.topic("orders", partitions=6)
    drafts = {number for number in range(RECORDS) if chance.random() < 0.05}
    truncated = {number for number in range(RECORDS) if chance.random() < 0.03} - drafts

    def value(number: int) -> bytes:
        whole = order(schema_id, number, status="DRAFT" if number in drafts else "NEW")
        return whole[:-3] if number in truncated else whole

    produced = world.produce(
        [Sent(partitions[0].topic, value(number), key) for number, key in spread(RECORDS)]
    )
    world.aws.script({"latency_ms": 30})
    bridge = world.bridge(
        world.settings({partitions[0].topic: ORDERS}, kafka=group, eventbridge={"max_in_flight": 2})
    )
    with world.sampler(partitions) as sampler:
        for _ in range(KILLS):
            bridge.start(ready=False)
            world.wait_accepted(world.aws.counts().accepted + chance.randrange(1, RECORDS // (KILLS + 1)))
            bridge.kill()
        world.aws.script({"latency_ms": 0})
        bridge.start()
        world.wait_settled(partitions)
        bridge.sigterm()

    balance = world.balance(
        produced,
        filtered=positions(produced, drafts),
        dead=dict.fromkeys(positions(produced, truncated), "avro_invalid"),
        order="key",
        samples=sampler.samples,
    )
    assert RECORDS - len(drafts) - len(truncated) == balance.delivered
