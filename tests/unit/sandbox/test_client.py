"""What the commands and tests see of a sandbox, and what they are told where there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import urllib3
from confluent_kafka.admin import AdminClient

from connector.errors import UnavailableError
from connector.sandbox.client import MissingEventsError, SandboxClient, SandboxRefusedError
from connector.sandbox.eventbridge import FakeEventBridge
from connector.sandbox.server import free_port
from connector.sandbox.services import Sandbox

REGION = "eu-central-1"
ACME, BLUE = "aws.partner/example.com/acme", "aws.partner/example.com/blue"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> SandboxClient:
    return SandboxClient(f"{sandbox.eventbridge.url}/")


def states(client: SandboxClient) -> dict[str, str]:
    return {each["Name"]: each["State"] for each in client.sources()}


def test_no_sandbox_is_told_with_the_command_that_starts_one() -> None:
    """In one sentence, with the address that was tried."""
    port = free_port()

    with pytest.raises(UnavailableError, match=f"No sandbox answers at .*{port}.*partner-bridge sandbox"):
        SandboxClient(f"http://127.0.0.1:{port}").addresses()


def test_another_server_is_no_sandbox() -> None:
    """Neither a stand-in without a broker, nor the registry of a sandbox."""
    with FakeEventBridge() as aws, pytest.raises(UnavailableError, match="is no sandbox"):
        SandboxClient(aws.url).addresses()
    with Sandbox() as sandbox, pytest.raises(UnavailableError, match="is no sandbox"):
        SandboxClient(sandbox.registry.url).addresses()


def test_a_sandbox_that_starts_is_waited_for() -> None:
    """For so long as was said."""
    port = free_port()
    starting = Sandbox(eventbridge_port=port)
    client = SandboxClient(f"http://127.0.0.1:{port}")
    timer = threading.Timer(0.3, starting.start)
    timer.start()
    try:
        assert starting.eventbridge.url == client.wait_started(timeout_s=20)["eventbridge"]
    finally:
        timer.join()
        starting.stop()
    with pytest.raises(UnavailableError, match="No sandbox answers"):
        client.wait_started(timeout_s=0)


def test_a_customer_accepts_deactivates_accepts_again_and_never_accepts(client: SandboxClient) -> None:
    """The states that AWS gives a source; what a state does not allow is refused with the reason."""
    for name in (ACME, BLUE):
        client.set_source(name, "PENDING", region=REGION)
    client.accept(ACME)
    client.accept(ACME)  # it is already
    assert {ACME: "ACTIVE", BLUE: "PENDING"} == states(client)

    client.deactivate(ACME)
    assert "PENDING" == states(client)[ACME]
    client.accept(ACME)
    assert "ACTIVE" == states(client)[ACME]

    client.reject(BLUE)
    assert [ACME] == list(states(client))
    with pytest.raises(SandboxRefusedError, match=f"{ACME} is ACTIVE"):
        client.reject(ACME)
    with pytest.raises(SandboxRefusedError, match=f"there is no source {BLUE}$"):
        client.accept(BLUE)


def test_a_source_in_two_regions_is_asked_back_for(client: SandboxClient) -> None:
    """Accepting the wrong one would be a long search."""
    for region in (REGION, "us-east-1"):
        client.set_source(ACME, "PENDING", region=region)

    with pytest.raises(SandboxRefusedError, match=r"is in eu-central-1, us-east-1; name the Region"):
        client.accept(ACME)
    with pytest.raises(SandboxRefusedError, match=f"there is no source {ACME} in eu-west-1"):
        client.accept(ACME, region="eu-west-1")
    client.accept(ACME, region="us-east-1")
    assert {(REGION, "PENDING"), ("us-east-1", "ACTIVE")} == {
        (each["Region"], each["State"]) for each in client.sources()
    }


def test_a_fault_is_added_to_the_others_and_clear_ends_all(client: SandboxClient, sandbox: Sandbox) -> None:
    """What is wrong with one is told by its setting."""
    client.fault("throttle", times=2)
    client.fault("hang", seconds=1, operation="ListEventSources")
    client.change(latency_ms=5, rate={"requests_per_second": 10})
    assert ["throttle", "hang"] == [each["kind"] for each in client.faults()["left"]]
    assert 5 == client.faults()["script"]["latency_ms"]
    with pytest.raises(SandboxRefusedError, match=r"faults.0.kind: Input should be 'throttle'"):
        client.fault("throtle")
    with pytest.raises(SandboxRefusedError, match=r"faults.0.probability"):
        client.fault("throttle", probability=2)

    client.change(down=True)
    client.set_kafka_down(down=True)
    client.set_registry_down(down=True)
    client.clear()

    found = client.faults()
    assert [] == found["left"]
    assert not found["script"]["down"]
    assert not client.addresses()["kafka"]["down"]
    assert 200 == urllib3.request("GET", f"{sandbox.registry.url}/subjects").status
    assert AdminClient({"bootstrap.servers": sandbox.broker.bootstrap}).list_topics(timeout=20).topics


def test_the_registry_can_be_down(client: SandboxClient, sandbox: Sandbox) -> None:
    """As a bridge would meet it: connections that are reset."""
    client.set_registry_down(down=True)

    with pytest.raises(urllib3.exceptions.HTTPError):
        urllib3.request("GET", f"{sandbox.registry.url}/subjects", retries=False)


def test_a_topic_has_the_partitions_asked_for(client: SandboxClient, sandbox: Sandbox) -> None:
    """One that is there already, and a number that makes no sense, are refused."""
    client.create_topic("orders", 7)

    admin = AdminClient({"bootstrap.servers": sandbox.broker.bootstrap})
    assert 7 == len(admin.list_topics(timeout=20).topics["orders"].partitions)
    with pytest.raises(SandboxRefusedError, match="topic orders was not created: it may exist already"):
        client.create_topic("orders")
    for name, partitions in (("a b", 1), ("a", 0), ("a", 100_000)):
        with pytest.raises(SandboxRefusedError, match="a topic"):
            client.create_topic(name, partitions)


def test_events_that_do_not_come_are_told_with_what_is_known(client: SandboxClient) -> None:
    """Sources that nobody accepted, faults, an outage, and a bridge that never asked."""
    with pytest.raises(MissingEventsError, match=r"0 of 2 events came within 0 s.\nNo bridge has asked"):
        client.wait_for_events(2, timeout_s=0)

    client.set_source(ACME, "PENDING", region=REGION)
    client.fault("throttle")
    client.change(down=True)
    with pytest.raises(MissingEventsError) as caught:
        client.wait_for_events(1, timeout_s=0)

    told = str(caught.value)
    assert f"partner-bridge sandbox accept {ACME}" in told
    assert "EventBridge is down." in told
    assert "Faults are set: throttle." in told


def test_a_wait_for_events_lasts_as_long_as_it_was_told(client: SandboxClient) -> None:
    """And calls what is to be done meanwhile, which may end it."""
    calls: list[float] = []

    def meanwhile() -> None:
        calls.append(time.monotonic())
        if len(calls) == 3:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        client.wait_for_events(1, timeout_s=60, meanwhile=meanwhile)

    assert 3 == len(calls)
