"""What is down comes back, and the bridge goes on by itself: nothing lost, nothing good dead-lettered."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.bridge_process import BridgeProcess
from tests.chaos.schedule import ENDPOINT
from tests.conftest import started
from tests.container_credentials import ContainerCredentials
from tests.memory import rss_mb
from tests.scripted_registry import Respond, ScriptedRegistry, drips, says
from tests.services.child import wait_until
from tests.services.kafka import Kafka, KafkaCluster
from tests.services.registry import Apicurio
from tests.topics import Sent
from tests.world import NOTES, ORDER, ORDERS, World, note, order, positions, spread

RECORDS = 2_000
SHOWN_S = 5.0
"""An outage is visible, and has a name, within this time."""
SHOWN_WALL_LIMIT = 2
"""So much longer at most on a busy machine: a time by the clock is what is promised."""


def wait_shown(bridge: BridgeProcess, part: str) -> None:
    """Waits until `/readyz` names this part, as soon as is promised, while `/livez` says that all is well.

    The first sentence of the page has it, too.
    """
    bridge.wait_unready(part, timeout_s=SHOWN_S, wall_limit=SHOWN_WALL_LIMIT)
    bridge.wait_said("Not ready", timeout_s=SHOWN_S)
    assert bridge.live()


def wait_logged(bridge: BridgeProcess, event: str) -> None:
    """Waits until the log has a line of this event."""
    wait_until(
        lambda: f'"event": "{event}"' in bridge.child.output(),
        what=lambda: f"the log says {event}\n{bridge.log()}",
        timeout_s=SHOWN_S,
    )


NAMED = {
    "throttles": "lower rate",
    "throttled entries": "takes no entry (ThrottlingException",
    "partial failures": "takes no entry (InternalFailure",
    "blank results": "takes no entry (answer_invalid",
    "500s": "HTTP 500 InternalException",
    "503s": "HTTP 503 ServiceUnavailable",
    "hangs": "took too long",
    "resets after accepting": "no connection to EventBridge",
    "truncated bodies": "in the middle of the answer",
    "empty bodies": "0 bytes that are not JSON",
    "empty objects": "no results",
    "too few results": "results",
    "too many results": "results",
    "no JSON": "not JSON",
    "slow drips": "took too long",
    "connections refused": "no connection to EventBridge",
    "nobody there": "no connection to EventBridge",
}
"""How each fault of the fault machine is named, and one more."""

NO_OUTAGE = {"413s"}
"""The bridge sends smaller requests."""

OUTCOMES = {
    "throttles": "throttled",
    "throttled entries": "partial",
    "partial failures": "partial",
    "blank results": "partial",
}
"""What `requests_total` calls requests that fail so, where it is not `unavailable`."""


@pytest.mark.parametrize("kind", sorted({*ENDPOINT, "nobody there"} - NO_OUTAGE))
def test_endpoint_down_and_back(world: World, kind: str) -> None:
    """While EventBridge is down nothing is committed or dead-lettered, and it shows; then it catches up."""
    partitions = world.topic("notes", partitions=2)
    topic = partitions[0].topic
    bridge = world.bridge(
        world.settings(
            {topic: NOTES},
            eventbridge={
                "timeouts": {"connect": "500ms", "read": "500ms"},
                "retry": {"initial_interval": "20ms", "max_interval": "500ms", "max_attempts": 3},
            },
            delivery={"commit_interval": "200ms", "max_pending_records": 500},
            sources={"first_lookup_timeout": "2s"},
        )
    )
    if kind == "nobody there":
        world.aws.stop()
    elif fault := ENDPOINT[kind]:
        # None of it is accepted, and a slow answer is slower than the bridge waits.
        world.aws.script({"faults": [{**fault, "accept": False, "seconds": 5}]})
    else:
        world.aws.script({"down": True})
    produced = world.produce([Sent(topic, note(number), key) for number, key in spread(RECORDS)])
    with world.sampler(partitions) as sampler:
        bridge.start(ready=False).wait_started()
        bridge.wait_metric("partitions_assigned", 2)
        wait_shown(bridge, "eventbridge")
        wait_until(
            lambda: bridge.metric("partitions_paused") == 2,
            what=lambda: f"the partitions are paused\n{bridge.log()}",
        )
        wait_until(
            lambda: bridge.metric("requests_total") >= 5, what=lambda: f"five requests failed\n{bridge.log()}"
        )
        wait_until(
            lambda: NAMED[kind] in bridge.ready()[1]["reasons"].get("eventbridge", ""),
            what=lambda: f"the outage is named\n{bridge.log()}",
        )
        bridge.wait_said(NAMED[kind], timeout_s=SHOWN_S)
        assert 0 == bridge.metric("events_delivered_total")
        # A limit is to be kept, and who answers about each entry is there: neither is down.
        outcome = OUTCOMES.get(kind, "unavailable")
        assert (0 < bridge.metric("target_state")) is (outcome == "unavailable")
        assert 0 < bridge.metric("requests_total", outcome=outcome)
        assert 0 < bridge.metric("entries_retried_total")
        assert (
            NAMED[kind] if outcome == "unavailable" else '"event": "entries_retried"'
        ) in bridge.child.output()
        assert 1_000 > bridge.metric("pending_records")
        assert bridge.live()
        assert 0 == sum(world.topics.committed(world.name, partitions).values())
        if kind == "nobody there":
            world.aws.start()
        else:
            world.aws.calm()
        world.wait_settled(partitions)
        bridge.wait_metric("consumer_lag", 0)
        bridge.wait_metric("target_state", 0)
        bridge.sigterm()

    assert RECORDS == world.balance(produced, order="key", samples=sampler.samples).delivered
    assert [] == world.letters()


def test_no_credentials_to_be_had_and_back(world: World) -> None:
    """Credentials that cannot be looked up at the start are waited for, and it says so; then all arrives."""
    (partition,) = world.topic("notes")
    produced = world.produce([Sent(partition.topic, note(number), key) for number, key in spread(200)])
    with ContainerCredentials() as credentials, world.sampler([partition]) as sampler:
        credentials.down = True
        world.aws.set_credentials(credentials.known())
        bridge = world.bridge(world.settings({partition.topic: NOTES}))
        bridge.environ |= credentials.environ
        bridge.start(ready=False).wait_started()
        bridge.wait_metric("partitions_assigned", 1)
        wait_shown(bridge, "eventbridge")
        wait_until(
            lambda: "credentials" in bridge.ready()[1]["reasons"].get("eventbridge", ""),
            what=lambda: f"what is missing is named: {bridge.ready()}\n{bridge.log()}",
        )
        assert 0 == sum(world.topics.committed(world.name, [partition]).values())
        credentials.down = False
        world.wait_settled([partition])
        bridge.wait_ready()
        bridge.sigterm()

    assert 200 == world.balance(produced, order="key", samples=sampler.samples).delivered


@pytest.mark.parametrize("outage", ["stopped", "hanging"])
def test_registry_down_and_back(
    kafka: Kafka, own_registry: Apicurio, tmp_path_factory: pytest.TempPathFactory, outage: str
) -> None:
    """Without the registry only the topics that need it wait; their records are delivered once it is back."""
    schema_id = own_registry.register("orders-value", ORDER)
    with World(kafka.client, folder=tmp_path_factory.mktemp("world"), registry_url=own_registry.url) as world:
        orders, notes = world.topic("orders"), world.topic("notes")
        settings = world.settings(
            {orders[0].topic: ORDERS, notes[0].topic: NOTES},
            schema_registry={"url": own_registry.url, "timeout": "500ms"},
        )
        produced = world.produce([Sent(orders[0].topic, order(schema_id, n), key) for n, key in spread(500)])
        produced |= world.produce([Sent(notes[0].topic, note(n), key) for n, key in spread(500)])
        if outage == "stopped":
            own_registry.stop()
        else:
            own_registry.hang()
        bridge = world.bridge(settings)
        with world.sampler([*orders, *notes]) as sampler:
            bridge.start(ready=False)
            world.wait_settled(notes)
            wait_shown(bridge, "schema_registry")
            assert own_registry.url.removesuffix("/") in bridge.ready()[1]["reasons"]["schema_registry"]
            wait_logged(bridge, "partition_stalled")
            bridge.wait_metric("partitions_paused", 1, reason="schema_registry")
            assert 0 == sum(world.topics.committed(world.name, orders).values())
            if outage == "stopped":
                own_registry.start()
            else:
                own_registry.resume()
            world.wait_settled(orders)
            bridge.wait_metric("partitions_paused", 0, reason="schema_registry")
            bridge.sigterm()

        assert 1_000 == world.balance(produced, order="key", samples=sampler.samples).delivered


HOSTILE: dict[str, tuple[Respond, str]] = {
    "garbage": (says(200, b"\xff\x00garbage"), "it is not JSON"),
    "redirects": (
        says(302, {}, Location="http://169.254.169.254/latest/"),
        "a redirect, which is not followed",
    ),
    "no entry": (
        says(401, {"error_code": 40101, "message": "Unauthorized"}),
        "answers 401: check basic_auth",
    ),
    "10 MB of JSON": (says(200, {"schema": "x" * 10_000_000}), "over 1,048,576 bytes"),
    "10 MB, slowly": (drips(10_000_000), "gives no whole answer within 0.5 s"),
}
"""What a registry may answer, and what `/readyz` says of it."""


@pytest.mark.parametrize("respond", HOSTILE)
def test_a_registry_that_answers_nonsense_and_recovers(world: World, respond: str) -> None:
    """What is no schema costs no record: they wait, with the reason in sight, until a schema comes."""
    (orders,), (notes,) = world.topic("orders"), world.topic("notes")
    produced = world.produce([Sent(orders.topic, order(1, n), key) for n, key in spread(500)])
    produced |= world.produce([Sent(notes.topic, note(n), key) for n, key in spread(500)])
    answer, named = HOSTILE[respond]
    with ScriptedRegistry() as registry, world.sampler([orders, notes]) as sampler:
        registry.answers["/schemas/ids/1"] = answer
        bridge = world.bridge(
            world.settings(
                {orders.topic: ORDERS, notes.topic: NOTES},
                schema_registry={"url": registry.url, "timeout": "500ms"},
            )
        )
        bridge.start(ready=False).wait_started()
        bridge.wait_metric("partitions_assigned", 2)
        wait_shown(bridge, "schema_registry")
        assert named in bridge.ready()[1]["reasons"]["schema_registry"]
        wait_logged(bridge, "partition_stalled")
        world.wait_settled([notes])
        assert bridge.live()
        assert rss_mb(bridge.child.pid) < 250
        registry.schema(1, ORDER)
        world.wait_settled([orders, notes])
        bridge.wait_ready()
        bridge.sigterm()

    assert 1_000 == world.balance(produced, order="key", samples=sampler.samples).delivered


def test_dead_letter_topic_down_and_back(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """While letters cannot be written the bridge is unready, commits nothing past them and keeps trying."""
    cluster = started(pytestconfig, "Kafka", lambda: KafkaCluster(brokers=3).start())
    with closing(cluster), World(cluster.client, folder=tmp_path, dead_letters_on=2) as world:
        (partition,) = world.topic("notes", broker=0)
        bad = {1_100, 1_200, 1_300}
        lines = [Sent(partition.topic, b"{" if n in bad else note(n), key) for n, key in spread(RECORDS)]
        produced = world.produce(lines[:1_000])
        bridge = world.bridge(world.settings({partition.topic: NOTES}))
        with world.sampler([partition]) as sampler:
            bridge.start()
            world.wait_settled([partition])
            cluster.kill(2)
            produced |= world.produce(lines[1_000:])
            world.wait_accepted(RECORDS - len(bad))
            wait_shown(bridge, "dead_letter")
            assert world.dead_letter_topic in bridge.ready()[1]["reasons"]["dead_letter"]
            world.wait_committed({partition: min(bad)})
            assert bridge.live()
            cluster.start()
            world.wait_settled([partition])
            bridge.wait_ready()
            bridge.sigterm()

        dead = dict.fromkeys(positions(produced, bad), "json_invalid")
        balance = world.balance(produced, dead=dead, order="key", samples=sampler.samples)
        assert RECORDS - len(bad) == balance.delivered


@pytest.mark.parametrize("outage", ["stop", "kill"])
def test_broker_down_and_back(own_world: World, own_kafka: KafkaCluster, outage: str) -> None:
    """The same process goes on when the brokers are back, with what was produced before and after."""
    world = own_world
    partitions = world.topic("notes", partitions=3)
    topic = partitions[0].topic
    produced = world.produce([Sent(topic, note(number), key) for number, key in spread(RECORDS)])
    world.aws.script({"latency_ms": 30})
    bridge = world.bridge(world.settings({topic: NOTES}, eventbridge={"max_in_flight": 1}))
    with world.sampler(partitions) as sampler:
        bridge.start()
        world.wait_accepted(500)
        getattr(own_kafka, outage)()
        wait_shown(bridge, "kafka")
        assert "kafka_problem" in bridge.child.output()
        assert bridge.live()
        own_kafka.start()
        world.aws.calm()
        produced |= world.produce([Sent(topic, note(number), key) for number, key in spread(RECORDS)])
        world.wait_settled(partitions)
        bridge.wait_ready()
        wait_logged(bridge, "kafka_recovered")
        bridge.sigterm()

    assert 2 * RECORDS == world.balance(produced, samples=sampler.samples).delivered


def test_broker_silent_and_back(own_world: World, own_kafka: KafkaCluster) -> None:
    """A broker that keeps its connections and answers nothing is named in seconds; an idle one is not."""
    world = own_world
    partitions = world.topic("notes", partitions=2)
    topic = partitions[0].topic
    produced = world.produce([Sent(topic, note(number), key) for number, key in spread(100)])
    bridge = world.bridge(world.settings({topic: NOTES}))
    bridge.start()
    world.wait_settled(partitions)
    idle_until_s = time.monotonic() + 15
    wait_until(lambda: time.monotonic() > idle_until_s or bridge.ready()[0] != 200, what="15 s", every_s=0.25)
    assert (200, {}) == (bridge.ready()[0], bridge.ready()[1]["reasons"])
    own_kafka.freeze()
    bridge.wait_unready("kafka", timeout_s=SHOWN_S + 1)
    bridge.wait_said("Kafka broker ", timeout_s=SHOWN_S)
    assert own_kafka.client["bootstrap.servers"] in bridge.ready()[1]["reasons"]["kafka"]
    assert "has not answered for" in next(
        line["reason"] for line in bridge.lines() if line.get("event") == "kafka_problem"
    )
    own_kafka.thaw()
    bridge.wait_ready(timeout_s=SHOWN_S)
    produced |= world.produce([Sent(topic, note(number), key) for number, key in spread(100)])
    world.wait_settled(partitions)
    bridge.sigterm()

    assert 200 == world.balance(produced).delivered


def test_a_partition_without_a_leader_is_named(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """The group, the other partitions and all brokers that are left are well; this one cannot be read."""
    cluster = started(pytestconfig, "Kafka", lambda: KafkaCluster(brokers=3).start())
    with closing(cluster), World(cluster.client, folder=tmp_path, dead_letters_on=0) as world:
        (alone,), (other,) = world.topic("alone", broker=1), world.topic("other", broker=2)
        produced = world.produce([Sent(each.topic, note(1)) for each in (alone, other)])
        bridge = world.bridge(world.settings({each.topic: NOTES for each in (alone, other)})).start()
        world.wait_settled([alone, other])
        cluster.kill(1)
        bridge.wait_said(f"no broker leads {alone}", timeout_s=30)
        produced |= world.produce([Sent(other.topic, note(2))])
        world.wait_settled([other])
        assert [f"no broker leads {alone}"] == [
            line["reason"].split(",")[0]
            for line in bridge.lines()
            if line.get("event") == "kafka_problem" and "leads" in line["reason"]
        ]
        cluster.start()
        produced |= world.produce([Sent(alone.topic, note(2))])
        world.wait_settled([alone, other])
        bridge.wait_ready()
        bridge.sigterm()

        assert 4 == world.balance(produced).delivered


def test_a_missing_topic_is_no_problem_once_anybody_reads_it(world: World) -> None:
    """Both members wait for a topic that does not exist; one of them gets it, and both are well."""
    (there,) = world.topic("there")
    missing = f"{world.name}.missing"
    settings = world.settings({there.topic: NOTES, missing: NOTES})
    members = [world.bridge(settings, name=name) for name in ("first", "second")]
    for member in members:
        member.start(ready=False).wait_started()
    for member in members:
        member.wait_unready("kafka")
        assert f"{missing} does not exist" in member.ready()[1]["reasons"]["kafka"]
    world.topics.create(missing)
    for member in members:
        member.wait_ready(timeout_s=20)
    wait_until(
        lambda: [1, 1] == [member.metric("partitions_assigned") for member in members],
        what="each has a partition",
    )


def test_memory_is_bounded_while_blocked(world: World) -> None:
    """A backlog of 100 MB behind an EventBridge that is down is left in Kafka but for what may be pending."""
    partitions = world.topic("notes", partitions=4)
    topic = partitions[0].topic
    world.produce([Sent(topic, note(number, text="x" * 1_000), key) for number, key in spread(100_000)])
    world.aws.script({"down": True})
    settings = world.settings({topic: NOTES}, delivery={"max_pending_records": 20_000})
    bridge = world.bridge(settings).start(ready=False)
    bridge.wait_started()
    wait_until(
        lambda: bridge.metric("partitions_paused") == 4,
        what=lambda: f"the partitions are paused\n{bridge.log()}",
    )
    bridge.wait_unready("eventbridge")

    assert bridge.metric("pending_records") < 21_000
    assert rss_mb(bridge.child.pid) < 250
    assert bridge.live()
