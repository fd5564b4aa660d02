"""What EventBridge says about single entries, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

from connector.model import Position
from tests.services.kafka import Kafka
from tests.topics import Sent
from tests.world import NOTES, World, note, positions, spread

RECORDS = 2_000
LARGE_BYTES = 10_000
"""More than a whole request of small events has, so that the size of a request tells what is in it."""


def test_partial_failures_are_retried_alone(world: World) -> None:
    """An entry that failed inside an answered request is sent again; its neighbours are not."""
    partitions = world.topic("notes", partitions=3)
    topic = partitions[0].topic
    produced = world.produce([Sent(topic, note(number), key) for number, key in spread(RECORDS)])
    world.aws.script(
        {
            "faults": [
                {"kind": "entry_error", "probability": 0.05},
                {"kind": "entry_error", "code": "ThrottlingException", "probability": 0.05},
                {"kind": "entry_blank", "probability": 0.02},
            ]
        }
    )
    bridge = world.bridge(world.settings({topic: NOTES}))
    with world.sampler(partitions) as sampler:
        bridge.start()
        world.wait_settled(partitions)
        retried = bridge.metric("entries_retried_total")
        bridge.wait_metric("events_delivered_total", RECORDS)
        bridge.sigterm()

    balance = world.balance(produced, samples=sampler.samples)
    assert (RECORDS, 0) == (balance.delivered, balance.duplicates)
    assert RECORDS * 0.05 < retried < RECORDS * 0.5


def test_a_result_with_an_event_id_and_an_error_is_sent_again(world: World) -> None:
    """Such an answer contradicts itself. Taken for a success it would lose the event."""
    (partition,) = world.topic("notes")
    produced = world.produce([Sent(partition.topic, note(number), key) for number, key in spread(RECORDS)])
    world.aws.script({"faults": [{"kind": "entry_error", "probability": 0.05, "event_id": "not-really"}]})
    bridge = world.bridge(world.settings({partition.topic: NOTES}))
    with world.sampler([partition]) as sampler:
        bridge.start()
        world.wait_settled([partition])
        bridge.sigterm()

    balance = world.balance(produced, samples=sampler.samples)
    assert (RECORDS, 0) == (balance.delivered, balance.duplicates)


def test_retries_exhausted(world: World) -> None:
    """Events that fail for `max_age` while others are accepted become dead letters that say so."""
    (partition,) = world.topic("notes")
    failing = set(range(50, RECORDS, 100))
    produced = world.produce(
        [
            Sent(partition.topic, note(n, tenant="broken" if n in failing else "acme"), key)
            for n, key in spread(RECORDS)
        ]
    )
    world.aws.script({"faults": [{"kind": "entry_error", "source": "aws.partner/example.com/broken"}]})
    bridge = world.bridge(
        world.settings(
            {partition.topic: NOTES},
            eventbridge={"retry": {"initial_interval": "10ms", "max_interval": "50ms", "max_age": "1s"}},
        )
    )
    with world.sampler([partition]) as sampler:
        bridge.start()
        # Their age counts only while others succeed, so others go on coming.
        more: dict[Position, bytes | None] = {}
        while len(world.letters()) < len(failing):
            assert len(more) < 20_000, bridge.log()
            more |= world.produce([Sent(partition.topic, note(n), key) for n, key in spread(200)])
        produced |= more
        world.wait_settled([partition])
        bridge.sigterm()

    dead = dict.fromkeys(positions(produced, failing), "retries_exhausted")
    assert (
        len(produced) - len(failing) == world.balance(produced, dead=dead, samples=sampler.samples).delivered
    )
    letter = world.letters()[0]
    assert int(letter.headers["partner-bridge.attempts"]) >= 4
    assert letter.headers["partner-bridge.source"] == "aws.partner/example.com/broken"
    assert letter.headers["partner-bridge.request-id"]
    assert letter.headers["__connect.errors.stage"] == "TASK_PUT"


def test_a_source_that_does_not_exist(world: World) -> None:
    """Events for a deleted partner event source end as dead letters of their own code, and only they."""
    (partition,) = world.topic("notes")
    world.aws.set_source("eu-central-1", "aws.partner/example.com/gone", "DELETED")
    gone = set(range(0, 400, 40))
    produced = world.produce(
        [
            Sent(partition.topic, note(n, tenant="gone" if n in gone else "acme"), key)
            for n, key in spread(400)
        ]
    )
    bridge = world.bridge(
        world.settings(
            {partition.topic: NOTES},
            eventbridge={"retry": {"initial_interval": "10ms", "max_interval": "50ms", "max_attempts": 2}},
        )
    )
    bridge.start()
    while len(world.letters()) < len(gone):
        assert len(produced) < 20_000, bridge.log()
        produced |= world.produce([Sent(partition.topic, note(n), key) for n, key in spread(200)])
    world.wait_settled([partition])
    bridge.sigterm()

    dead = dict.fromkeys(positions(produced, gone), "source_unknown")
    assert len(produced) - len(gone) == world.balance(produced, dead=dead).delivered


def test_a_request_refused_as_invalid_is_searched_for_its_culprit(world: World) -> None:
    """EventBridge refuses the whole request and does not say why: halved until one event is alone, only that
    one is dead-lettered, and all that were refused with it are delivered once."""
    (partition,) = world.topic("notes")
    culprits = {50, 51, 333}
    world.aws.script(
        {
            "faults": [
                {"kind": "error", "code": "ValidationException", "status": 400, "min_bytes": LARGE_BYTES}
            ]
        }
    )
    produced = world.produce(
        [
            Sent(partition.topic, note(n, text="x" * (LARGE_BYTES if n in culprits else 1)), key)
            for n, key in spread(400)
        ]
    )
    bridge = world.bridge(world.settings({partition.topic: NOTES}))
    with world.sampler([partition]) as sampler:
        bridge.start()
        world.wait_settled([partition])
        assert bridge.metric("requests_total", outcome="refused") > len(culprits)
        bridge.sigterm()

    dead = dict.fromkeys(positions(produced, culprits), "request_refused")
    balance = world.balance(produced, dead=dead, samples=sampler.samples)
    assert (400 - len(culprits), 0) == (balance.delivered, balance.duplicates)


def test_a_request_too_large_is_split(kafka: Kafka, tmp_path: Path) -> None:
    """Where EventBridge takes less in one request than was configured, requests shrink until they fit."""
    with World(kafka.client, folder=tmp_path, max_request_bytes=8_000) as world:
        (partition,) = world.topic("notes")
        produced = world.produce(
            [Sent(partition.topic, note(n, text="x" * 1_000), key) for n, key in spread(400)]
        )
        bridge = world.bridge(world.settings({partition.topic: NOTES}))
        bridge.start()
        world.wait_settled([partition])
        assert bridge.metric("requests_total", outcome="oversize") > 0
        bridge.sigterm()

        assert 400 == world.balance(produced, order="key").delivered
