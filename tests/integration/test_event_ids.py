"""The id by which customers recognise an event that arrives twice."""

from __future__ import annotations

from tests.topics import Sent
from tests.world import NOTES, World, note


def test_records_of_a_topic_made_anew_have_ids_of_their_own(world: World) -> None:
    """They have the positions of the old ones, and customers who drop repeated ids must not drop them."""
    ids: list[set[str]] = []
    for tenant in ("acme", "umbrella"):
        (partition,) = world.topic("notes")
        world.produce([Sent(partition.topic, note(number, tenant=tenant), b"key") for number in range(3)])
        bridge = world.bridge(world.settings({partition.topic: NOTES}), name=tenant).start()
        world.wait_accepted(3 * (len(ids) + 1))
        world.wait_settled([partition])
        bridge.sigterm()
        world.topics.delete(partition.topic)
        ids.append({detail["_kafka"]["id"] for detail in world.details() if detail["tenant"] == tenant})

    offsets = [{detail["_kafka"]["offset"] for detail in world.details()}]
    assert [{0, 1, 2}] == offsets
    assert [3, 3] == [len(each) for each in ids]
    assert set() == ids[0] & ids[1]
