"""Receipts account for what was delivered, and never stand in its way."""

from __future__ import annotations

import json
import random
import secrets
from collections import Counter
from contextlib import closing
from pathlib import Path

from connector import config
from connector.bridge import LAST_COMMIT_S
from connector.model import Position, now_ms
from connector.receipts.format import DeliveredEvent, Receipt
from connector.receipts.topic import ReceiptTopic
from tests.bridge_process import BridgeProcess
from tests.services.child import wait_until
from tests.topics import Sent
from tests.world import NOTES, World, note, spread

RECORDS = 3_000
KILLS = 3


def receipts_of(file: Path, *, since_ms: int | None = None) -> list[Receipt]:
    """Those in the topic now."""
    settings = config.load(file, {})
    assert settings.receipts is not None
    with closing(ReceiptTopic(settings, settings.receipts)) as topic:
        return [receipt for batch in topic.read(topic.ranges(since_ms=since_ms)) for receipt in batch]


def events_of(receipts: list[Receipt]) -> list[DeliveredEvent]:
    return [event for receipt in receipts for event in receipt.events]


def kill_after_a_commit(bridge: BridgeProcess) -> None:
    """What was settled by then is not sent again, and its receipts are the newest there are."""
    commits = bridge.metric("commits_total", outcome="ok")
    wait_until(lambda: bridge.metric("commits_total", outcome="ok") > commits, what="a commit", every_s=0.001)
    bridge.kill()


def test_receipts_account_for_all_that_was_delivered_across_kills(world: World) -> None:
    """Killed again and again under load, each time a moment after offsets were committed: what is not sent
    again has its receipt, with its EventId, position and request."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    partitions = world.topic("notes", partitions=6)
    (receipts,) = {each.topic for each in world.topic("receipts", partitions=3)}
    produced = world.produce([Sent(partitions[0].topic, note(n), key) for n, key in spread(RECORDS)])
    world.aws.script({"latency_ms": 30})
    settings = world.settings({partitions[0].topic: NOTES}, eventbridge={"max_in_flight": 2})
    bridge = world.bridge(settings | {"receipts": {"topic": receipts}})
    began_ms = now_ms()
    for _ in range(KILLS):
        bridge.start(ready=False)
        world.wait_accepted(world.aws.counts().accepted + chance.randrange(100, RECORDS // (KILLS + 1)))
        kill_after_a_commit(bridge)
    world.aws.script({"latency_ms": 0})
    bridge.start()
    world.wait_settled(partitions)
    assert 0 == bridge.metric("receipts_lost_total")
    bridge.sigterm()
    found = receipts_of(bridge.file, since_ms=began_ms)
    events = events_of(found)
    accepted = Counter(json.loads(event.detail)["_kafka"]["id"] for event in world.aws.events())

    assert set(produced) == {event.position for event in events}
    assert Counter(event.event_id for event in events) <= accepted
    assert {each.event_id for each in world.aws.events()} >= {event.eventbridge_id for event in events}
    assert len(events) == len({event.eventbridge_id for event in events})
    assert all(began_ms <= r.sent_ms <= r.answered_ms <= now_ms() and r.request_id for r in found)
    assert {(world.name, "default", "eu-central-1")} == {receipt[:3] for receipt in found}


def test_a_missing_topic_costs_receipts_and_no_event(world: World) -> None:
    """Events are settled at once, the metric counts requests, `/readyz` says why and stays 200; once there is
    the topic, receipts are written."""
    (partition,) = world.topic("notes")
    settings = world.settings({partition.topic: NOTES})
    bridge = world.bridge(settings | {"receipts": {"topic": f"{world.name}.receipts"}}).start()
    world.produce([Sent(partition.topic, note(n)) for n in range(100)])
    world.wait_settled([partition], timeout_s=5)
    wait_until(lambda: bridge.metric("receipts_lost_total") >= 100 / 20, what="all are lost", timeout_s=30)
    status, said = bridge.ready()
    warned = [line for line in bridge.lines() if line["event"] == "configuration_warning"]
    world.topic("receipts")
    wait_until(lambda: _delivers(world, bridge.file, partition.topic), what="a receipt", timeout_s=30)
    took_s = bridge.sigterm()

    assert 200 == status
    assert f"the topic {world.name}.receipts does not exist" in said["receipts"]
    assert ["receipts.topic"] == [line["path"] for line in warned]
    assert 1 == len([line for line in bridge.lines() if line["event"] == "receipts_lost"])
    assert took_s < LAST_COMMIT_S + 2


def _delivers(world: World, file: Path, topic: str) -> bool:
    world.produce([Sent(topic, note(1))])
    return bool(receipts_of(file))


def test_the_topic_is_created_where_it_may_be(world: World) -> None:
    """With the partitions and replicas that `dead_letter` has, and never as input of a pattern."""
    (partition,) = world.topic("notes")
    letters = {"partitions": 2, "replication_factor": 1}
    settings = world.settings({f"^{world.name}": NOTES}, dead_letter=letters)
    receipts = f"{world.name}.receipts"
    bridge = world.bridge(settings | {"receipts": {"topic": receipts, "create": True}}).start()
    world.produce([Sent(partition.topic, note(n)) for n in range(10)])
    world.wait_settled([partition])
    bridge.sigterm()

    assert 2 == len(world.topics.partitions(receipts))
    assert {Position(partition, n) for n in range(10)} == {
        event.position for event in events_of(receipts_of(bridge.file))
    }
    assert 10 == world.aws.counts().accepted
