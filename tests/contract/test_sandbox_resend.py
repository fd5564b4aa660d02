"""A support engineer's way in the sandbox: events of one customer are sent again, once, and once more."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connector.sandbox import orders
from connector.sandbox.producer import RecordProducer
from connector.sandbox.services import Sandbox
from tests.docs.tutorial import Tutorial
from tests.shell import sandbox_shell

TENANTS = ("acme", "blue")
PREFIX = "aws.partner/example.com/"


def fill(addresses: Mapping[str, Any], folder: Path) -> None:
    """Ten notes of each tenant, and a configuration for them."""
    brokers = addresses["kafka"]["bootstrap.servers"]
    settings = {
        "name": "notes",
        "kafka": {"bootstrap.servers": brokers, "group.id": "notes"},
        "eventbridge": {"region": "eu-central-1", "endpoint_url": addresses["eventbridge"]},
        "dead_letter": {"topic": "notes.dlt", "create": True, "partitions": 1},
        "topics": {
            orders.TOPIC: {
                "value": {"format": "json"},
                "event": {"source": PREFIX + "${value.tenant}", "detail_type": "Note"},
            }
        },
    }
    (folder / "bridge.yaml").write_text(json.dumps(settings))  # JSON is YAML
    producer = RecordProducer(brokers, addresses["schema_registry"])
    for number in range(20):
        producer.add(orders.TOPIC, {"tenant": TENANTS[number % 2], "n": number})
    producer.flush()


def test_a_customers_events_are_sent_again(tmp_path: Path) -> None:
    """The plan sends nothing; a second run of the same sends nothing; --again does."""
    command = ["events", "resend", "--topic", orders.TOPIC, "--source", f"{PREFIX}acme"]
    times = ["--since", "2026-01-01T00:00Z", "--until", "2100-01-01T00:00Z"]
    with sandbox_shell(tmp_path) as shell:
        fill(json.loads(shell("sandbox", "status", "--json")), tmp_path)

        plan = shell(*command, *times)
        done = shell(*command, *times, "--execute")
        finished = shell(*command, *times, "--execute")
        anew = json.loads(shell(*command, *times, "--execute", "--again", "--json"))
        events = json.loads(shell("sandbox", "events", "--json"))["events"]

    assert "would be sent" in plan
    assert "delivered         10" in done
    assert "This resend was finished at" in finished
    assert 10 == anew["events"]
    assert {f"{PREFIX}acme"} == {event["source"] for event in events}
    assert [2] * 10 == [*Counter(event["detail"]["_kafka"]["id"] for event in events).values()]


def test_the_commands_that_a_terminal_shows_can_be_pasted(tmp_path: Path) -> None:
    """However long they are: each is one line, as a shell must get it."""
    with Sandbox() as sandbox:
        fill(sandbox.addresses(), tmp_path)
        terminal = Tutorial(tmp_path, sandbox)
        range_ = ("--topic", orders.TOPIC, "--since", "1h", "--until", "0s", "--source", f"{PREFIX}acme")
        plan = terminal.run("events", "resend", *range_)
        done = terminal.run("events", "resend", *range_, "--execute")

        pasted = [terminal.run(*command_in(printed)) for printed in (plan, done)]

    assert "delivered         10" in done
    assert "delivered         10" in pasted[0]
    assert "This resend was finished at" in pasted[1]


def command_in(printed: str) -> list[str]:
    """The arguments in the line of a command that is shown to be copied."""
    (line,) = (line for line in printed.splitlines() if line.strip().startswith("partner-bridge "))
    return shlex.split(line)[1:]
