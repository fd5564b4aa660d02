"""Who may connect, and as whom: TLS, mutual TLS, SASL/SCRAM and ACLs on real Kafka, and what refusals say."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from connector.model import Json
from connector.sandbox.eventbridge import FakeEventBridge
from connector.sandbox.registry import FakeRegistry
from tests.bridge_process import BridgeProcess
from tests.conftest import started
from tests.replaying import Replays
from tests.services.certificates import Authority, Certificate
from tests.services.child import wait_until
from tests.services.kafka import KafkaCluster
from tests.topics import Sent
from tests.world import NOTES, ORDER, ORDERS, World, note, order, positions, spread

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
PASSWORD = "scram-password-of-the-bridge"
CODE = "json_invalid"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def tls_properties(authority: Authority, certificate: Certificate, protocol: str) -> dict[str, str]:
    """A broker whose clients use `protocol`, with this certificate; brokers talk in the clear."""

    def pem(*files: Path) -> str:
        return "".join(file.read_text() for file in files).replace("\n", "\\n")

    return {
        "listener.security.protocol.map": f"CLIENT:{protocol},BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": pem(certificate.file, authority.file),
        "ssl.keystore.key": pem(certificate.key_file),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": pem(authority.file),
    }


def scram(authority: Authority, user: str, password: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(authority.file),
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
    }


@pytest.fixture(scope="module")
def guarded_kafka(pytestconfig: pytest.Config, authority: Authority) -> Iterator[KafkaCluster]:
    """A Kafka with SASL/SCRAM over TLS, where nothing is allowed to anybody but `admin`."""
    properties = {
        **tls_properties(authority, authority.issue("guarded"), "SASL_SSL"),
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.client.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram."
        "ScramLoginModule required;",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:admin;User:ANONYMOUS",
    }
    cluster = KafkaCluster(
        properties=properties,
        scram={"admin": "admin-password", "bridge": PASSWORD},
        client=scram(authority, "admin", "admin-password"),
    )
    service = started(pytestconfig, "Kafka", cluster.start)
    yield service
    service.close()


@pytest.fixture
def guarded_world(guarded_kafka: KafkaCluster, tmp_path: Path) -> Iterator[World]:
    with World(guarded_kafka.client, folder=tmp_path) as world:
        yield world


class Acl(NamedTuple):
    """One row of the page's table."""

    operation: str
    resource: str
    name: str
    """Which: a setting of the configuration."""

    def binding(self, world: World) -> AclBinding:
        names = {
            "topics": world.name,
            "kafka.group.id": world.name,
            "dead_letter.topic": f"{world.name}.dlt",
            "replayed": f"{world.name}.letters",
            "resolutions of replayed": f"{world.name}.letters.resolutions",
            "group of replays": f"{world.name}.replay",
        }
        is_prefix = self.name == "topics"
        return AclBinding(
            ResourceType[self.resource.upper()],
            f"{names[self.name]}.in." if is_prefix else names[self.name],
            ResourcePatternType.PREFIXED if is_prefix else ResourcePatternType.LITERAL,
            "User:bridge",
            "*",
            AclOperation[self.operation.upper()],
            AclPermissionType.ALLOW,
        )


def acls_of_the_page() -> list[Acl]:
    """The rows of the table in the page's section on security: what the bridge needs."""
    section = PAGE.read_text().partition("\n## Security\n")[2].partition("\n## ")[0]
    found = [
        Acl(*row) for row in re.findall(r"^\| (\w+) \| (\w+) \| [^`|]*`([\w.]+)`", section, re.MULTILINE)
    ]
    assert 3 == len(found), f"the table of {PAGE.name} is not read: {found}"
    return found


NEEDED = acls_of_the_page()


def grant(world: World, kafka: KafkaCluster, acls: Sequence[Acl]) -> None:
    """Allows the bridge this and nothing else."""
    admin = AdminClient(dict(kafka.client))
    anything: Any = None
    everything = AclBindingFilter(
        ResourceType.ANY,
        anything,
        ResourcePatternType.ANY,
        anything,
        anything,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    for answer in admin.delete_acls([everything]).values():
        answer.result(30)
    if acls:
        for answer in admin.create_acls([acl.binding(world) for acl in acls]).values():
            answer.result(30)


def as_bridge(authority: Authority, world: World, group: Mapping[str, Json] | None = None) -> BridgeProcess:
    settings = world.settings(
        {f"^{world.name}[.]in[.].*": NOTES}, kafka={**scram(authority, "bridge", PASSWORD), **(group or {})}
    )
    return world.bridge(settings)


@pytest.mark.parametrize("group", [{}, {"group.protocol": "consumer"}], ids=["classic", "consumer"])
def test_permissions_of_the_page_are_enough(
    guarded_world: World, guarded_kafka: KafkaCluster, authority: Authority, group: dict[str, Json]
) -> None:
    """A user with the listed permissions alone reads, commits and dead-letters over SASL/SCRAM and TLS."""
    world = guarded_world
    (partition,) = world.topic("in.notes")
    bad = {50}
    produced = world.produce(
        [Sent(partition.topic, b"{" if n in bad else note(n), key) for n, key in spread(200)]
    )
    grant(world, guarded_kafka, NEEDED)
    bridge = as_bridge(authority, world, group).start()
    world.wait_settled([partition])
    bridge.sigterm()

    dead = dict.fromkeys(positions(produced, bad), CODE)
    assert 199 == world.balance(produced, dead=dead, order="key").delivered


@pytest.mark.parametrize("missing", [each for each in NEEDED if each.operation == "Read"], ids=str)
def test_without_a_permission_to_read_it_waits_and_says_so(
    guarded_world: World, guarded_kafka: KafkaCluster, authority: Authority, missing: Acl
) -> None:
    """Each permission is needed; its lack is named within seconds, and once granted the bridge goes on."""
    world = guarded_world
    (partition,) = world.topic("in.notes")
    produced = world.produce([Sent(partition.topic, note(n), key) for n, key in spread(100)])
    describe = [Acl("Describe", missing.resource, missing.name)]
    grant(world, guarded_kafka, [acl for acl in NEEDED if acl != missing] + describe)
    bridge = as_bridge(authority, world).start(ready=False)
    bridge.wait_unready("kafka", timeout_s=60)
    assert "allow it Read" in bridge.ready()[1]["reasons"]["kafka"]
    grant(world, guarded_kafka, NEEDED)
    world.wait_settled([partition])
    bridge.wait_ready()
    bridge.sigterm()

    assert 100 == world.balance(produced, order="key").delivered


def test_a_dead_letter_topic_that_may_not_be_written_halts(
    guarded_world: World, guarded_kafka: KafkaCluster, authority: Authority
) -> None:
    """The third permission: without it the first bad record stops the bridge, and it goes on once allowed."""
    world = guarded_world
    (partition,) = world.topic("in.notes")
    notes = [Sent(partition.topic, b"{" if n == 50 else note(n), b"k") for n in range(100)]
    produced = world.produce(notes[:50])
    can_read = [acl for acl in NEEDED if acl.operation == "Read"]
    grant(world, guarded_kafka, can_read)
    bridge = as_bridge(authority, world)
    with world.sampler([partition]) as sampler:
        bridge.start(ready=False)
        assert 2 == bridge.wait_exit(), bridge.log()
        assert "allow it Write" in bridge.log()

        grant(world, guarded_kafka, [*can_read, Acl("Describe", "topic", "dead_letter.topic")])
        bridge.start(ready=False)
        world.wait_settled([partition])
        produced |= world.produce(notes[50:])
        assert 3 == bridge.wait_exit(), bridge.log()
        (halted,) = [line for line in bridge.lines() if line.get("event") == "halted"]
        assert "allow it Write" in halted["message"]
        assert {partition: 50} == world.topics.committed(world.name, [partition])

        grant(world, guarded_kafka, NEEDED)
        bridge.start()
        world.wait_settled([partition])
        bridge.sigterm()

    dead = dict.fromkeys(positions(produced, [50]), CODE)
    assert 99 == world.balance(produced, dead=dead, order="key", samples=sampler.samples).delivered


def test_a_wrong_password_is_named(
    guarded_world: World, guarded_kafka: KafkaCluster, authority: Authority
) -> None:
    """Brokers that refuse the credentials are not down: the bridge says what to check, and not the value."""
    world = guarded_world
    (partition,) = world.topic("in.notes")
    bridge = world.bridge(
        world.settings({partition.topic: NOTES}, kafka=scram(authority, "bridge", "wrong-password"))
    )
    bridge.start(ready=False)
    bridge.wait_unready("kafka", timeout_s=60)

    assert "refuse our credentials" in bridge.ready()[1]["reasons"]["kafka"]
    assert "wrong-password" not in str(bridge.lines())
    assert bridge.live()


def test_mutual_tls(pytestconfig: pytest.Config, authority: Authority, tmp_path: Path) -> None:
    """A certificate for each user: ours is shown and accepted, and without one nobody gets in."""
    properties = {
        **tls_properties(authority, authority.issue("mutual"), "SSL"),
        "ssl.client.auth": "required",
    }
    ours = authority.issue("bridge")
    client = {
        "security.protocol": "SSL",
        "ssl.ca.location": str(authority.file),
        "ssl.certificate.location": str(ours.file),
        "ssl.key.location": str(ours.key_file),
    }
    cluster = started(
        pytestconfig, "Kafka", lambda: KafkaCluster(properties=properties, client=client).start()
    )
    try:
        with World(cluster.client, folder=tmp_path) as world:
            (partition,) = world.topic("notes")
            produced = world.produce([Sent(partition.topic, note(n), key) for n, key in spread(100)])
            settings = world.settings({partition.topic: NOTES})
            bridge = world.bridge(settings).start()
            world.wait_settled([partition])
            bridge.sigterm()
            for key in ("ssl.certificate.location", "ssl.key.location"):
                del settings["kafka"][key]
            stranger = world.bridge(settings, name="stranger").start(ready=False)
            stranger.wait_unready("kafka", timeout_s=60)

            assert 100 == world.balance(produced, order="key").delivered
    finally:
        cluster.close()


def test_a_second_process_with_our_instance_id_halts_the_first(world: World) -> None:
    """Two members of one name would take turns for ever: the older one ends, and says why."""
    (partition,) = world.topic("notes")
    settings = world.settings({partition.topic: NOTES}, kafka={"group.instance.id": "one"})
    first = world.bridge(settings, name="first").start()
    second = world.bridge(settings, name="second").start()

    assert 3 == first.wait_exit(), first.log()
    assert "group.instance.id" in first.log()
    assert second.live()


def test_a_certificate_that_does_not_prove_the_other_side_is_refused(
    authority: Authority, tmp_path: Path, world: World
) -> None:
    """Wrong host, out of date, or signed by a stranger: nothing is sent, and the reason shows."""
    mistakes = {
        "mismatch|not valid for": authority.issue("elsewhere", hosts=("elsewhere.example",)),
        "expired": authority.issue("expired", expired=True),
        "unable to get local issuer": Authority(tmp_path, name="stranger").issue("stranger"),
    }
    orders, notes = world.topic("orders"), world.topic("notes")
    world.produce([Sent(orders[0].topic, order(1, 1), b"k"), Sent(notes[0].topic, note(1), b"k")])
    tls = {"security.protocol": "SSL", "ssl.ca.location": str(authority.file)}
    with contextlib.ExitStack() as stack:
        bridges: dict[str, tuple[FakeEventBridge, BridgeProcess, BridgeProcess]] = {}
        for number, (said, shown) in enumerate(mistakes.items()):
            aws = stack.enter_context(FakeEventBridge(tls=shown.server_context()))
            registry = stack.enter_context(FakeRegistry(tls=shown.server_context()))
            settings = world.settings(
                {orders[0].topic: ORDERS, notes[0].topic: NOTES},
                kafka={"group.id": f"{world.name}-{number}"},
                schema_registry={"url": registry.url, "ca": str(authority.file)},
                eventbridge={"endpoint_url": aws.url, "ca_bundle": str(authority.file)},
                sources={"first_lookup_timeout": "1s"},
            )
            bridge = world.bridge(settings, name=f"bridge-{number}").start(ready=False)
            address = registry.url.removeprefix("https://")
            settings = world.settings({notes[0].topic: NOTES}, kafka={"bootstrap.servers": address, **tls})
            no_broker = world.bridge(settings, name=f"no-broker-{number}").start(ready=False)
            bridges[said] = aws, bridge, no_broker
        for said, (aws, bridge, no_broker) in bridges.items():
            for part in ("eventbridge", "schema_registry"):
                wait_until(
                    lambda: re.search(said, bridge.ready()[1].get("reasons", {}).get(part, "")) is not None,  # noqa: B023
                    what=lambda: f"{part} is named: {bridge.ready()}",  # noqa: B023
                    timeout_s=60,
                )
            no_broker.wait_unready("kafka", timeout_s=60)
            assert "is not trusted" in no_broker.ready()[1]["reasons"]["kafka"]
            assert 0 == aws.counts().accepted


def test_tls_everywhere(guarded_world: World, guarded_kafka: KafkaCluster, authority: Authority) -> None:
    """Broker, registry and endpoint over TLS with certificates of one private CA: everything arrives."""
    world, certificate = guarded_world, authority.issue("services")
    grant(world, guarded_kafka, NEEDED)
    with (
        FakeEventBridge(tls=certificate.server_context()) as aws,
        FakeRegistry(tls=certificate.server_context(clients_of=authority)) as registry,
    ):
        ours = authority.issue("client")
        (partition,) = world.topic("in.orders")
        schema_id = registry.register("orders-value", ORDER)
        world.produce([Sent(partition.topic, order(schema_id, n), key) for n, key in spread(100)])
        bridge = world.bridge(
            world.settings(
                {partition.topic: ORDERS},
                kafka=scram(authority, "bridge", PASSWORD),
                schema_registry={
                    "url": registry.url,
                    "ca": str(authority.file),
                    "certificate": str(ours.file),
                    "private_key": str(ours.key_file),
                },
                eventbridge={"endpoint_url": aws.url, "ca_bundle": str(authority.file)},
            )
        ).start()
        world.wait_settled([partition])
        bridge.sigterm()

        assert 100 == aws.counts().accepted


def test_a_replay_whose_new_letters_may_not_be_written_records_what_it_sent(
    guarded_world: World, guarded_kafka: KafkaCluster, authority: Authority, tmp_path: Path
) -> None:
    """Each letter that fails again is refused, while hundreds of others are in flight: they are waited for
    and recorded, then it halts; once allowed, the next replay sends nothing twice."""
    world = guarded_world
    replays = Replays(world, tmp_path)
    world.topics.create(f"{replays.topic}.resolutions", partitions=6, config={"cleanup.policy": "compact"})
    replays.settings["kafka"].update(scram(authority, "bridge", PASSWORD))
    letters = [replays.letter(number) for number in range(300)]
    letters += [replays.letter(1_000 + number, value=b"{") for number in range(20)]
    world.topics.produce([Sent(replays.topic, each.value, None, each.headers, 0) for each in letters])
    needed = [
        Acl("Read", "topic", "replayed"),
        *(Acl(operation, "topic", "resolutions of replayed") for operation in ("Read", "Write", "Describe")),
        Acl("Read", "group", "group of replays"),
    ]
    grant(world, guarded_kafka, needed)
    # Events alone are answered late, and a second passes before the bad letters: the lookup of the source has
    # come by then, so that events are in flight.
    world.aws.script({"faults": [{"kind": "hang", "seconds": 1.5}]})

    output = replays.run("--execute", "--rate", "300", code=3)
    sent = len(replays.sent())
    recorded = replays.resolutions()
    grant(world, guarded_kafka, [*needed, Acl("Write", "topic", "replayed")])
    world.aws.calm()
    replays.execute(code=4 if sent == 300 else 0)  # then none is left but those that fail again
    replays.close()

    assert f"{replays.topic} may not be written by this user" in output
    assert 0 < sent == len(recorded)
    assert {"delivered"} == {each["state"] for each in recorded.values()}
    assert 300 == len(replays.sent()) == len({*replays.sent()})
    assert 340 == replays.written()
