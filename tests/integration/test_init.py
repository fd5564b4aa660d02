"""From a running cluster to events: what `init` writes is checked, tested and run without a change."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from connector.sandbox import orders
from connector.sandbox.client import SandboxClient
from connector.sandbox.producer import RecordProducer
from connector.sandbox.services import Sandbox
from connector.workbench.cluster import Cluster
from connector.workbench.configuration_text import Choices
from connector.workbench.first_configuration import first_configuration
from tests.services.child import Child
from tests.services.kafka import Kafka
from tests.services.registry import Registry
from tests.shell import Shell
from tests.topics import Sent, Topics

CARDS = 3


class InitShell(Shell):
    """A terminal beside a sandbox of this process, with what `init` is told of it."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        super().__init__(folder, sandbox.eventbridge.url)
        self.sandbox = sandbox
        self.environ["BRIDGE_HTTP__PORT"] = "0"
        self.take_environment()

    def init(self, *arguments: str, code: int = 0) -> str:
        brokers, registry = self.sandbox.broker.bootstrap, self.sandbox.registry.url
        addresses = ("--bootstrap-servers", brokers, "--schema-registry", registry)
        return self("init", *addresses, *arguments, code=code)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[InitShell]:
    with Sandbox() as sandbox:
        producer = RecordProducer(sandbox.broker.bootstrap, sandbox.registry.url)
        for record in orders.records(40, sandbox.schema_id):
            producer.add(orders.TOPIC, record.value, key=record.key)
        sandbox.create_topic("cards", 1)
        for number in range(CARDS):
            producer.add("cards", {"card_id": number, "customer_id": "globex", "event_type": "card.paid"})
        producer.flush()
        yield InitShell(sandbox, tmp_path)


def test_what_init_writes_runs_as_it_stands(shell: InitShell) -> None:
    """It passes `check`, `check --schemas` and `test`, and its bridge sends every record that it should."""
    written = shell.init("--out", ".")
    assert "Wrote bridge.yaml\nWrote tests/cards.yaml\nWrote tests/orders.v1.yaml\n" == written
    shell("check")
    shell("check", "--schemas")
    shell("test")
    assert 3 == len(shell("explain", "--topic", "cards", "--last", "3", "--json").strip().splitlines())

    bridge = Child(
        [sys.executable, "-m", "connector", "run", "--config", str(shell.folder / "bridge.yaml")],
        log=shell.folder / "bridge.log",
        environ=shell.environ,
    )
    bridge.start()
    try:
        expected = CARDS + sum(record.becomes == "event" for record in orders.records(40, 1))
        events = SandboxClient(shell.sandbox.eventbridge.url).wait_for_events(expected, timeout_s=60)
    finally:
        assert 0 == bridge.stop(), bridge.tail()
    sources = {event["source"] for event in events}
    assert {"aws.partner/example.com/globex", "aws.partner/example.com/acme"} <= sources


def test_a_real_cluster_is_read_with_a_real_registry(
    kafka: Kafka, registry: Registry, tmp_path: Path
) -> None:
    """Of each topic the last records of all partitions, and the registry's last schemas."""
    name = f"orders-{uuid.uuid4().hex[:8]}"
    topics = Topics(kafka.client)
    topics.create(name, partitions=3)
    schema_id = registry.register(f"{name}-value", orders.SCHEMA)
    produced = list(orders.records(60, schema_id))
    topics.produce(
        Sent(name, each.value, key=each.key, partition=number % 3) for number, each in enumerate(produced)
    )
    cluster = Cluster(kafka.client["bootstrap.servers"], registry.url)
    first = first_configuration(
        cluster, [name], Choices("shop", "eu-central-1", "example.com"), folder=tmp_path, keep_values=True
    )
    (case,) = yaml.safe_load(first.files[Path(f"tests/{name}.yaml")])["cases"]

    assert case["record"]["key"].encode() in {each.key for each in produced}
    assert case["event"]["source"].startswith("aws.partner/example.com/")
    assert "${value.tenant_id || 'unknown'}" in first.files[Path("bridge.yaml")]


def test_mistakes_are_exit_2_with_one_message(shell: InitShell) -> None:
    """A file that is there, a topic that is not, and addresses at which nobody answers."""
    shell.init("--topic", "cards")
    before = (shell.folder / "bridge.yaml").read_text()

    assert "bridge.yaml is there already" in shell.init(code=2)
    assert before == (shell.folder / "bridge.yaml").read_text()
    assert "did you mean 'cards'?" in shell.init("--topic", "card", "--out", "new", code=2)
    brokers, nobody = shell.sandbox.broker.bootstrap, "127.0.0.1:1"
    for addresses, message in (
        ((nobody, shell.sandbox.registry.url), "Kafka does not answer"),
        ((brokers, f"http://{nobody}"), "cannot be reached"),
        ((brokers, "registry"), "must be a URL"),
    ):
        options = ("--bootstrap-servers", addresses[0], "--schema-registry", addresses[1], "--out", "new")
        assert message in shell("init", *options, code=2)
    assert not (shell.folder / "new").exists()


def test_the_region_is_that_of_the_environment(shell: InitShell) -> None:
    """And a name and a partner can be given."""
    shell.environ["AWS_REGION"] = "us-east-2"
    shell.init("--topic", "cards", "--name", "cards-bridge", "--partner", "shop.example")
    settings = shell("config", "show")

    assert "region: us-east-2" in settings
    assert "group.id: cards-bridge" in settings
    assert "aws.partner/shop.example/${value.customer_id}" in settings
