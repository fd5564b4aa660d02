"""One customer's trouble, an outage, or both: the others go on, and nothing is paused without a reason."""

from __future__ import annotations

import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import started
from tests.services.child import wait_until
from tests.services.kafka import KafkaCluster
from tests.topics import Sent
from tests.world import NOTES, REGION, World, note, spread

LATE = "aws.partner/example.com/late"
HOLD = {"on_inactive_source": "hold"}


def test_held_records_and_an_outage_pause_nothing_for_ever(world: World) -> None:
    """A customer who did not accept holds half of what may be pending, others the rest while EventBridge is
    down: when it is back they are delivered, and only what is held waits."""
    (held,), (flows,) = world.topic("held"), world.topic("flows")
    world.aws.set_source(REGION, LATE, "PENDING")
    world.produce([Sent(held.topic, note(n, tenant="late"), key) for n, key in spread(1_100)])
    bridge = world.bridge(
        world.settings(
            {held.topic: {**NOTES, **HOLD}, flows.topic: {**NOTES, **HOLD}},
            delivery={"max_pending_records": 2_000},
            sources={"refresh_interval": "1s", "when_held_is_full": "pause"},
        )
    )
    bridge.start()
    bridge.wait_metric("held_records", 1_000)
    world.aws.script({"faults": [{"kind": "unavailable"}]})
    world.produce([Sent(flows.topic, note(n), key) for n, key in spread(3_100)])
    bridge.wait_metric("partitions_paused", 2)
    world.aws.calm()
    world.wait_accepted(3_100)
    world.wait_settled([flows])
    bridge.wait_ready()
    assert (1, 1_000) == (bridge.metric("partitions_paused"), bridge.metric("held_records"))
    world.aws.set_source(REGION, LATE, "ACTIVE")
    world.wait_settled([held, flows])
    bridge.wait_metric("partitions_paused", 0)
    bridge.sigterm()

    assert [] == world.letters()
    assert 4_200 == len(world.details())


@pytest.mark.parametrize("code", ["NotAuthorizedForSourceException", "AccessDeniedException"])
def test_an_entry_refused_for_its_source_stops_that_source_alone(world: World, code: str) -> None:
    """The bridge goes on, the entry's neighbours are delivered, and the source is named and tried again."""
    (partition,) = world.topic("notes")
    world.aws.script({"faults": [{"kind": "entry_error", "code": code, "source": LATE}]})
    produced = world.produce(
        [
            Sent(partition.topic, note(n, tenant="late" if n % 20 == 7 else "acme"), key)
            for n, key in spread(400)
        ]
    )
    bridge = world.bridge(world.settings({partition.topic: {**NOTES, **HOLD}}))
    with world.sampler([partition]) as sampler:
        bridge.start()
        world.wait_accepted(380)
        wait_until(
            lambda: LATE in str(bridge.ready()[1]["sources_failing"]),
            what=lambda: f"the source is named: {bridge.ready()}",
        )
        assert 200 == bridge.ready()[0]
        assert 1 == bridge.metric("source_failing", source=LATE)
        world.aws.calm()
        world.wait_settled([partition])
        bridge.wait_metric("source_failing", 0)
        bridge.sigterm()

    assert 400 == world.balance(produced, samples=sampler.samples).delivered
    assert [] == world.letters()


def test_internal_failures_of_one_customer_cost_no_record_and_hold_up_nobody(world: World) -> None:
    """However often its entries fail, and although all others are accepted, for `max_age` they are tried."""
    (partition,) = world.topic("notes")
    world.aws.script({"faults": [{"kind": "entry_error", "source": LATE}]})
    produced = world.produce(
        [
            Sent(partition.topic, note(n, tenant="late" if n % 50 == 7 else "acme"), key)
            for n, key in spread(5_000)
        ]
    )
    bridge = world.bridge(
        world.settings(
            {partition.topic: NOTES},
            eventbridge={"retry": {"initial_interval": "5ms", "max_interval": "20ms"}},
        )
    )
    with world.sampler([partition]) as sampler:
        bridge.start()
        world.wait_accepted(4_900)
        bridge.wait_metric("pending_records", 100)
        tries = bridge.metric("entries_retried_total", code="InternalFailure")
        wait_until(
            lambda: bridge.metric("entries_retried_total", code="InternalFailure") > tries + 1_000,
            what="each failed ten times more",
        )
        status, body = bridge.ready()
        assert (200, LATE) == (status, body["sources_failing"][0]["source"])
        assert "InternalFailure" in body["sources_failing"][0]["reason"]
        world.aws.calm()
        world.wait_settled([partition])
        bridge.sigterm()

    assert (5_000, 0) == (
        (balance := world.balance(produced, order="key", samples=sampler.samples)).delivered,
        balance.duplicates,
    )
    assert [] == world.letters()


@pytest.mark.parametrize("what", ["rebalance", "stop"])
def test_what_waits_for_its_next_attempt_holds_up_neither_a_rebalance_nor_a_stop(
    world: World, what: str
) -> None:
    """One event that is tried again in 30 s is left to the next owner at once, who delivers it."""
    partitions = world.topic("notes", partitions=4)
    topic = partitions[0].topic
    world.aws.script({"faults": [{"kind": "entry_error", "source": LATE}]})
    produced = world.produce(
        [Sent(topic, note(n, tenant="late" if n % 50 == 7 else "acme"), key) for n, key in spread(400)]
    )
    settings = world.settings(
        {topic: NOTES},
        kafka={"partition.assignment.strategy": "cooperative-sticky"},
        eventbridge={"retry": {"initial_interval": "30s", "max_interval": "30s"}},
        delivery={"shutdown_timeout": "60s"},
    )
    first, second = world.bridge(settings, name="first"), world.bridge(settings, name="second")
    with world.sampler(partitions) as sampler:
        first.start()
        world.wait_accepted(392)
        first.wait_metric("pending_records", 8)
        if what == "rebalance":
            second.start(ready=False).wait_started()
            second.wait_metric("partitions_assigned", 2, timeout_s=20)
        took_s = first.sigterm(timeout_s=30)
        world.aws.calm()
        if what == "stop":
            second.start(ready=False).wait_started()
        world.wait_settled(partitions)
        second.sigterm()

    assert took_s < 10
    assert 400 == world.balance(produced, samples=sampler.samples).delivered
    assert [] == world.letters()


def test_ready_again_after_a_partition_was_lost_with_a_letter_under_way(
    pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    """The letter is looked after although its partition is somebody else's, so its outage ends in sight."""
    cluster = started(pytestconfig, "Kafka", lambda: KafkaCluster(brokers=3).start())
    with closing(cluster), World(cluster.client, folder=tmp_path, dead_letters_on=2) as world:
        (partition,) = world.topic("notes", broker=0)
        world.produce([Sent(partition.topic, note(n), key) for n, key in spread(100)])
        settings = world.settings({partition.topic: NOTES})
        first, second = world.bridge(settings, name="first"), world.bridge(settings, name="second")
        first.start()
        world.wait_settled([partition])
        cluster.kill(2)
        world.produce([Sent(partition.topic, b"{")])
        first.wait_unready("dead_letter")
        first.signal(signal.SIGSTOP)
        second.start(ready=False).wait_started()
        second.wait_metric("partitions_assigned", 1)
        first.signal(signal.SIGCONT)
        first.wait_metric("rebalances_total", 1, kind="lost")
        cluster.start()
        first.wait_ready(timeout_s=30)
        world.wait_settled([partition])
        began_s = time.monotonic()
        first.sigterm()
        second.sigterm()

        assert time.monotonic() - began_s < 20
        assert {"json_invalid"} == {letter.code for letter in world.letters()}
