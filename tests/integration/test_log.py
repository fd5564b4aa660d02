"""What somebody who was woken at three finds in the log: nothing while all is well, and then the reason."""

from __future__ import annotations

from typing import Any

from tests.bridge_process import BridgeProcess
from tests.services.child import wait_until
from tests.services.registry import Registry
from tests.topics import Sent
from tests.world import NOTES, ORDER, ORDERS, World, note, order, spread

RECORDS = 2_000


def lines_of(bridge: BridgeProcess, event: str) -> list[dict[str, Any]]:
    return [line for line in bridge.lines() if line.get("event") == event]


def test_a_normal_start_run_and_stop_logs_no_warning(avro_world: World, registry: Registry) -> None:
    """Every partition waits for its schema and for the first lookup of its source, and neither is news."""
    world = avro_world
    schema_id = registry.register(f"{world.name}-value", ORDER)
    partitions = world.topic("orders", partitions=6)
    world.produce([Sent(partitions[0].topic, order(schema_id, n), key) for n, key in spread(RECORDS * 5)])
    bridge = world.bridge(
        world.settings({partitions[0].topic: ORDERS | {"on_inactive_source": "hold"}})
    ).start()
    world.wait_settled(partitions)
    bridge.sigterm()

    lines = bridge.lines()
    assert {"started", "rebalanced", "stopped"} == {line.get("event") for line in lines}
    assert {"info"} == {line.get("level") for line in lines}


def test_a_wrong_path_of_the_registry_is_named(avro_world: World, registry: Registry) -> None:
    """The first reason is that the schema is being fetched; the one that matters comes after it."""
    world = avro_world
    (partition,) = world.topic("orders")
    world.produce([Sent(partition.topic, order(1, n), key) for n, key in spread(10)])
    settings = world.settings(
        {partition.topic: ORDERS}, schema_registry={"url": f"{registry.url.rstrip('/')}/wrong"}
    )
    bridge = world.bridge(settings)
    bridge.start(ready=False).wait_started()
    wait_until(
        lambda: any("404" in line["reason"] for line in lines_of(bridge, "partition_stalled")),
        what=lambda: f"the log names the answer of the registry\n{bridge.log()}",
        timeout_s=20,
    )
    bridge.sigterm()

    assert {str(partition)} == {line["partition"] for line in lines_of(bridge, "partition_stalled")}


def test_throttling_is_named_with_the_next_try_and_up_comes_with_an_acceptance(world: World) -> None:
    """The pause after a throttle is the bridge's own, and it says so."""
    (partition,) = world.topic("notes")
    bridge = world.bridge(
        world.settings({partition.topic: NOTES}, sources={"first_lookup_timeout": "1s"})
    ).start()
    world.produce([Sent(partition.topic, note(0), b"key")])
    world.wait_accepted(1)
    # As many failures as it takes to find it down, then an answer that asks for less: that is not "up".
    world.aws.script(
        {
            "faults": [
                {"kind": "unavailable", "times": 6},
                {"kind": "throttle", "retry_after_ms": 6_000, "times": 1},
            ]
        }
    )
    world.produce([Sent(partition.topic, note(number), key) for number, key in spread(100)])
    wait_until(
        lambda: "next try in" in bridge.ready()[1].get("reasons", {}).get("eventbridge", ""),
        what=lambda: f"/readyz says when it tries again: {bridge.ready()}\n{bridge.log()}",
    )
    reason = bridge.ready()[1]["reasons"]["eventbridge"]
    assert "asks for a lower rate" in reason
    assert [] == lines_of(bridge, "target_up")
    world.wait_settled([partition])
    bridge.wait_ready()
    bridge.sigterm()

    events = [line["event"] for line in bridge.lines() if str(line.get("event", "")).startswith("target_")]
    assert ["target_down", "target_throttled", "target_up"] == events
    (throttled,) = lines_of(bridge, "target_throttled")
    assert 4 < throttled["next_try_s"] <= 6


def test_a_missing_dead_letter_topic_is_a_line_of_the_log(world: World) -> None:
    """What reads the log as JSON gets JSON, and exit code 2 says that waiting does not help."""
    (partition,) = world.topic("notes")
    settings = world.settings({partition.topic: NOTES}, dead_letter={"topic": f"{world.name}.missing"})
    bridge = world.bridge(settings)
    bridge.start(ready=False)

    assert 2 == bridge.wait_exit(), bridge.log()
    assert [] == [line for line in bridge.lines() if "event" not in line]
    (line,) = lines_of(bridge, "configuration_problem")
    assert ("error", "dead_letter.topic") == (line["level"], line["path"])
