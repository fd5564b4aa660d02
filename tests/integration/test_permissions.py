"""The ACLs that docs/operations.md lists are enough, and no more than that was given."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.bridge_process import AWS_ENVIRON
from tests.conftest import PARTS, started
from tests.services.child import Child
from tests.services.kafka import KafkaCluster
from tests.topics import Sent
from tests.world import NOTES, World, note

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
USER, ADMIN, PASSWORD = "orders-bridge", "admin", "secret"
SECURED = {
    "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "sasl.enabled.mechanisms": "SCRAM-SHA-256",
    "listener.name.client.scram-sha-256.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": f"User:{ADMIN};User:ANONYMOUS",  # brokers talk to each other without a name
}


def as_user(name: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": name,
        "sasl.password": PASSWORD,
    }


def acls(*names: tuple[str, str]) -> list[AclBinding]:
    """What the `acl` commands in docs/operations.md give, with these names in place of the example's."""
    found = []
    for line in re.findall(r"^\$ acl (--.*)$", PAGE, re.MULTILINE):
        kind, name = re.findall(r"--(topic|group) (\S+)", line)[0]
        for written, here in names:
            name = here if name == written else name
        pattern = "PREFIXED" if "--resource-pattern-type prefixed" in line else "LITERAL"
        found += [
            AclBinding(
                ResourceType[kind.upper()],
                name,
                ResourcePatternType[pattern],
                f"User:{USER}",
                "*",
                AclOperation[operation.upper()],
                AclPermissionType.ALLOW,
            )
            for operation in re.findall(r"--operation (\w+)", line)
        ]
    return found


@pytest.mark.timeout(180)
def test_the_acls_of_the_page_are_enough(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """The bridge delivers, dead-letters, commits and writes receipts with them; the tools list, replay, find
    and count. A receipts topic that it may not write costs no event, and letters that it may not read no
    finding."""
    kafka = started(
        pytestconfig,
        "Kafka",
        lambda: KafkaCluster(
            properties=SECURED, scram={USER: PASSWORD, ADMIN: PASSWORD}, client=as_user(ADMIN)
        ).start(),
    )
    pytestconfig.stash[PARTS].setdefault("Kafka", kafka.description)
    try:
        with World(kafka.client, folder=tmp_path) as world:
            (partition,) = world.topic("notes")
            resolutions = f"{world.dead_letter_topic}.resolutions"
            world.topics.create(resolutions, config={"cleanup.policy": "compact"})
            admin = AdminClient(dict(kafka.client))
            bindings = acls(
                ("orders.v1", partition.topic),
                ("orders-bridge", world.name),
                ("orders-bridge.dlt", world.dead_letter_topic),
                ("orders-bridge.dlt.resolutions", resolutions),
                ("orders-bridge.replay", f"{world.name}.replay"),
                ("orders-bridge.receipts", f"{world.name}.receipts"),
                ("orders-bridge.resend.", f"{world.name}.resend."),
            )
            assert len(bindings) == 14
            for given in admin.create_acls(bindings).values():
                given.result(30)
            settings = world.settings({partition.topic: NOTES}, kafka=as_user(USER))
            (hidden,) = world.topic("hidden")
            bridge = world.bridge(settings | {"receipts": {"topic": hidden.topic}}).start()
            world.produce([Sent(partition.topic, note(1)), Sent(partition.topic, b"no JSON")])
            world.wait_settled([partition])

            assert 1 == world.aws.counts().accepted
            assert 1 == len(world.letters())
            bridge.wait_metric("receipts_lost_total", 1)
            status, said = bridge.ready()
            assert 200 == status, "receipts that may not be written are no reason"
            assert hidden.topic in said["receipts"]
            bridge.sigterm()
            (receipts,) = world.topic("receipts")
            granted = world.bridge(settings | {"receipts": {"topic": receipts.topic}}, name="granted").start()
            (delivered,) = world.produce([Sent(partition.topic, note(2))])
            world.wait_settled([partition])
            granted.sigterm()
            position = f"{partition.topic}/0/{delivered.offset}"
            unread = bridge.file.with_name("unread.yaml")
            no_letters = {"dead_letter": {"topic": hidden.topic}, "receipts": {"topic": receipts.topic}}
            unread.write_text(json.dumps(settings | no_letters))
            not_read = f"what was dead-lettered is not known: {hidden.topic} may not be read"
            find = ("events", "find", "--position", position, "--json")
            commands = (
                (unread, find, not_read, 0),
                (granted.file, find, '"status": "delivered"', 0),
                (
                    granted.file,
                    ("source", "status", "aws.partner/example.com/acme", "--json"),
                    '"delivered": 1',
                    0,
                ),
                (granted.file, ("source", "list", "--json"), '"delivered": 1', 0),
                (granted.file, ("dead-letters", "list", "--json"), '"state"', 0),
                (
                    granted.file,
                    ("dead-letters", "replay", "--execute"),
                    "Replayed",
                    4,
                ),  # its letter fails again
                (
                    granted.file,
                    (
                        *("events", "resend", "--topic", partition.topic),
                        *("--partition", "0", "--offset", "0", "--execute", "--json"),
                    ),
                    '"events": 1',
                    0,
                ),
                (granted.file, ("check", "--connect"), "partitions: 1 in all; a group of more", 0),
            )
            for number, (file, arguments, expected, code) in enumerate(commands):
                ran = Child(
                    [sys.executable, "-m", "connector", *arguments, "--config", str(file)],
                    log=tmp_path / f"command-{number}.log",
                    environ=AWS_ENVIRON,
                )
                ran.start()
                assert code == ran.wait(timeout_s=60), ran.tail()
                assert expected in ran.output()
    finally:
        kafka.close()


def test_the_policies_of_the_page_are_json() -> None:
    """They can be pasted as they are."""
    policies = [json.loads(text) for text in re.findall(r"```json\n(\{\"Version.*?)```", PAGE, re.DOTALL)]

    assert 3 == len(policies)
    assert {"Allow"} == {each["Effect"] for policy in policies for each in policy["Statement"]}
