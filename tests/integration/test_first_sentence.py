"""What the page says first in outages in which the bridge goes on: of lookups, customers, or a part of all.

And while a part that it waits for is silent, long before a request has failed. Of what stops it altogether:
`test_outages`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from connector.model import Partition
from tests.bridge_process import BridgeProcess
from tests.chaos.schedule import ENDPOINT, KINDS, LANES, LOOKUPS, ONE_CUSTOMER
from tests.container_credentials import ContainerCredentials
from tests.scripted_registry import ScriptedRegistry
from tests.services.kafka import Kafka
from tests.topics import Sent
from tests.world import NOTES, ORDERS, REGION, World, note, order

SAID_S = 15.0
"""Far more than the 5 s in which it is said; a busy machine has the rest."""
SILENT_S = 5
"""Much shorter than the bridge waits for an answer, and longer than it takes to name who is silent."""
TENANTS = ("acme", "globex", "initech")


class Stage(NamedTuple):
    """A bridge at work, for all tests of this file."""

    world: World
    bridge: BridgeProcess
    partition: Partition
    numbers: Iterator[int]

    def send(self, *tenants: str) -> None:
        """One event to each."""
        self.world.produce(
            [Sent(self.partition.topic, note(next(self.numbers), tenant=each)) for each in tenants]
        )


@pytest.fixture(scope="module")
def stage(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with World(kafka.client, folder=tmp_path_factory.mktemp("world")) as world:
        (partition,) = world.topic("notes")
        settings = world.settings(
            {partition.topic: NOTES | {"on_inactive_source": "hold"}},
            sources={"refresh_interval": "1s", "lookups_per_second": 40},
        )
        bridge = world.bridge(settings).start()
        stage = Stage(world, bridge, partition, itertools.count())
        stage.send(*TENANTS)
        world.wait_settled([partition])
        yield stage
        bridge.sigterm()


SILENT = ("hangs", "slow drips")
WHOLE = f"Not ready: EventBridge in {REGION} has not answered for"
SAID: Mapping[str, str] = {
    **dict.fromkeys(SILENT, WHOLE),
    "lookups throttled": "EventBridge asks for fewer calls about sources",
    "lookups refused": "cannot be looked up, and may drop what",
    "lookups fail": "HTTP 500 InternalException",
    "lookups hang": "EventBridge has not answered yet",
    **dict.fromkeys(ONE_CUSTOMER, "1 source takes nothing while others do"),
    "half of all entries": "InternalFailure) and are sent again",
    "a customer leaves": "1 customer has not accepted its source",
    "customers leave": "2 customers have not accepted their source",
}


ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(ENDPOINT.keys() - {*SILENT, "413s"}, "test_outages.test_endpoint_down_and_back"),
    "broker stopped": "test_outages.test_broker_down_and_back",
    "broker killed": "test_outages.test_broker_down_and_back, test_a_partition_without_a_leader_is_named",
    "broker frozen": "test_outages.test_broker_silent_and_back",
    "dead-letter topic down": "test_outages.test_dead_letter_topic_down_and_back",
    "registry down": "test_outages.test_registry_down_and_back",
    "registry garbage": "test_outages.test_a_registry_that_answers_nonsense_and_recovers",
    "credentials expire": "test_outages.test_no_credentials_to_be_had_and_back",
}
"""Where the first sentence is looked at in the other outages of the fault machine."""
NO_OUTAGES = {
    "413s",  # the bridge sends smaller requests
    "leader election",  # over in a moment
    "more partitions",
    "clock 20 min ahead",  # corrected with the first answer
    "clock 20 min behind",
    *LANES["process"],  # the page is gone with its process, or stands still with it
}


def test_every_kind_of_the_fault_machine_is_looked_at() -> None:
    """Or it is no outage: a new kind needs a sentence, and a test of it."""
    assert {*KINDS} == (SAID.keys() - {"half of all entries"}) | ELSEWHERE.keys() | NO_OUTAGES


def begin(stage: Stage, kind: str) -> None:
    if kind in LANES["customers"]:
        for tenant in TENANTS[: 1 if kind == "a customer leaves" else 2]:
            stage.world.aws.set_source(REGION, f"aws.partner/example.com/{tenant}", "PENDING")
        return
    fault: dict[str, Any]
    if kind == "half of all entries":
        fault = {"kind": "entry_error", "probability": 0.5}
    else:
        fault = {**{**ENDPOINT, **LOOKUPS, **ONE_CUSTOMER}[kind], "seconds": SILENT_S}
    if kind in ONE_CUSTOMER:
        fault["source"] = f"aws.partner/example.com/{TENANTS[0]}"
    stage.world.aws.script({"faults": [fault]})


@pytest.mark.parametrize(
    "kind", [*SILENT, *LOOKUPS, *ONE_CUSTOMER, "half of all entries", *LANES["customers"]]
)
def test_it_says_what_is_wrong(stage: Stage, kind: str) -> None:
    """In the words of `/readyz`, while the load goes on."""
    newcomers = [f"new-{kind.replace(' ', '-')}-{number}" for number in range(3)] if kind in LOOKUPS else []
    begin(stage, kind)

    stage.bridge.wait_said(SAID[kind], timeout_s=SAID_S, meanwhile=lambda: stage.send(*TENANTS, *newcomers))

    stage.world.aws.calm()
    for tenant in TENANTS:
        stage.world.aws.set_source(REGION, f"aws.partner/example.com/{tenant}", "ACTIVE")
    stage.world.wait_settled([stage.partition])
    stage.bridge.wait_ready()


def test_silent_credentials_are_not_taken_for_a_silent_eventbridge(world: World) -> None:
    """Nothing has reached it."""
    (partition,) = world.topic("notes")
    world.produce([Sent(partition.topic, note(1))])
    with ContainerCredentials() as credentials:
        credentials.silent_s = SILENT_S
        world.aws.set_credentials(credentials.known())
        bridge = world.bridge(world.settings({partition.topic: NOTES}))
        bridge.environ |= credentials.environ
        bridge.start(ready=False).wait_started()
        bridge.wait_metric("partitions_assigned", 1)
        bridge.wait_said("what gives AWS credentials", timeout_s=SAID_S)
        sentence = bridge.first_sentence()
        assert "EventBridge has not answered" not in sentence
        assert f"EventBridge in {REGION} has not answered" not in sentence
        credentials.silent_s = 0.0
        world.wait_settled([partition])
        bridge.sigterm()


def test_a_silent_registry_is_named_before_its_time_is_over(world: World) -> None:
    """And that the other topic goes on, as soon as it does."""
    (partition,), (other,) = world.topic("orders"), world.topic("notes")
    world.produce([Sent(partition.topic, order(1, 1))])
    with ScriptedRegistry() as registry:
        release = registry.silence("/schemas/ids/1")
        settings = world.settings(
            {partition.topic: ORDERS, other.topic: NOTES}, schema_registry={"url": registry.url}
        )
        bridge = world.bridge(settings).start(ready=False)
        bridge.wait_started()
        bridge.wait_said(
            f"Not ready: schema 1 has not come from the schema registry at {registry.url} for",
            timeout_s=SAID_S,
        )
        numbers = itertools.count()
        bridge.wait_said(
            "Not ready, and delivering ",
            timeout_s=2 * SAID_S,
            meanwhile=lambda: world.produce([Sent(other.topic, note(next(numbers)))]),
        )
        release.set()
        bridge.sigterm()


def test_one_target_of_two_is_named_with_its_reason(world: World) -> None:
    """A Region that is switched off refuses us; the other one goes on, so the bridge is ready."""
    (partition,) = world.topic("notes")
    settings = world.settings({partition.topic: NOTES | {"target": "${value.target}"}})
    settings["targets"] = {"far": {**settings["eventbridge"], "region": "us-east-1"}}
    world.aws.script({"faults": [{"kind": "operation_disabled", "region": "us-east-1"}]})
    bridge = world.bridge(settings).start()
    world.produce([Sent(partition.topic, note(1, target=target)) for target in ("default", "far")])
    bridge.wait_said("target far takes nothing: nothing was accepted in us-east-1 for", timeout_s=SAID_S)

    assert "OperationDisabledException" in bridge.first_sentence()
    assert 200 == bridge.ready()[0]
    world.aws.calm()
    world.wait_settled([partition])
    bridge.sigterm()
