"""From a topic to a customer's event, as a newcomer types it: every command on what the one before wrote."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

from connector.sandbox import orders
from connector.sandbox.producer import RecordProducer
from tests.services.child import Child
from tests.shell import Shell, sandbox_shell

TOPIC = orders.TOPIC
RECORDS = 5


def produce_orders(shell: Shell) -> None:
    addresses = json.loads(shell("sandbox", "status", "--json"))
    producer = RecordProducer(addresses["kafka"]["bootstrap.servers"], addresses["schema_registry"])
    chance = random.Random(1)
    for number in range(RECORDS):
        order = orders.order(number, chance)
        producer.add(TOPIC, order, key=order["reference"], schema=orders.SCHEMA)
    producer.flush()


def test_from_a_topic_to_an_event_with_nothing_edited(tmp_path: Path) -> None:
    """`init` writes what `check --schemas`, `test`, `explain`, `export` and `run` take as it is."""
    with sandbox_shell(tmp_path) as shell:
        produce_orders(shell)
        addresses = json.loads(shell("sandbox", "status", "--json"))
        brokers, registry = addresses["kafka"]["bootstrap.servers"], addresses["schema_registry"]

        shell("init", "--bootstrap-servers", brokers, "--schema-registry", registry, "--topic", TOPIC)
        shell("check", "--schemas")
        assert "1 case passed" in shell("test")
        lines = shell("explain", "--topic", TOPIC, "--last", "3", "--json").splitlines()
        explained = [json.loads(line) for line in lines]
        shell("export", "--topic", TOPIC, "--out", "export")
        bridge = Child(
            [sys.executable, "-m", "connector", "run"],
            log=tmp_path / "bridge.log",
            environ={**shell.environ, "BRIDGE_HTTP__PORT": "0"},
            folder=tmp_path,
        )
        bridge.start()
        shell("sandbox", "events", "--wait", str(RECORDS), "--timeout", "60")
        assert 0 == bridge.stop()
        events = json.loads(shell("sandbox", "events", "--json"))["events"]

    assert ["event"] * 3 == [each["outcome"] for each in explained]
    arrived = {event["detail"]["_kafka"]["id"]: event for event in events}
    for each in explained:
        event = arrived[each["entry"]["Detail"]["_kafka"]["id"]]
        assert event["detail"] == each["entry"]["Detail"]
        assert event["source"] == each["entry"]["Source"]
        assert event["detail-type"] == each["entry"]["DetailType"]


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """The example's configuration, with its schemas and tests, to be changed."""
    import shutil  # noqa: PLC0415

    root = Path(__file__).parents[2] / "examples"
    for name in ("bridge.yaml", "schemas", "tests"):
        source = root / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path)
    return tmp_path


def test_a_misspelt_field_is_found_before_it_is_deployed(examples: Path) -> None:
    """`check --schemas` and `test` both name the field that was meant, and where it stands."""
    config = examples / "bridge.yaml"
    config.write_text(config.read_text().replace("${value.tenant_id}", "${value.tennant_id}", 1))
    line = next(
        at for at, text in enumerate(config.read_text().splitlines(), start=1) if "tennant_id" in text
    )
    shell = Shell(examples, "http://127.0.0.1:0")

    checked = shell(
        *("check", "--schemas", "--schema", "orders.v1=schemas/order.avsc"),
        *("--schema", "^payments[.](card|transfer)$=schemas/payment.avsc"),
        code=4,
    )
    tested = shell("test", code=4)

    for printed in (checked, tested):
        assert "topics.orders.v1.event.source" in printed
        assert "did you mean 'tenant_id'?" in printed
        assert f"line {line}" in printed
