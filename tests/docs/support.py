"""The page docs/support.md: what support is asked, asked of a real bridge in a sandbox.

What differs from run to run is replaced: ports, the cluster's id, times and ids that are made anew.
"""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from confluent_kafka import Producer

from connector.sandbox import orders
from connector.sandbox.client import SandboxClient
from connector.sandbox.services import Sandbox
from tests.docs.tutorial import Tutorial
from tests.services.child import wait_until

RECORDS = 12
DELIVERED = 6
"""The others: one draft, one order without a tenant, and those of a customer who has not accepted yet."""
DRAFT, WITHOUT_TENANT = 4, 7
PARTNER = "aws.partner/example.com"
CONFIG = """
name: orders-bridge
kafka: {{bootstrap.servers: "{broker}", group.id: orders-bridge, session.timeout.ms: 6000}}
schema_registry: {{url: "{registry}"}}
eventbridge: {{region: eu-central-1}}
dead_letter: {{topic: {letters}}}
receipts: {{topic: orders-bridge.receipts, create: true}}
pauses: pauses.yaml
sources: {{refresh_interval: 1s}}
topics:
  orders.v1:
    filter: "value.status != 'DRAFT'"
    on_inactive_source: hold
    event:
      source: "aws.partner/example.com/${{value.tenant_id}}"
      detail_type: "Order ${{value.status}}"
      time: "${{value.updated_at}}"
"""


def tenant(number: int) -> str | None:
    return None if number == WITHOUT_TENANT else ("acme", "blue", "coral")[number % 3]


@cache
def printed() -> Mapping[str, str]:
    """Go through the page; gives what each step printed."""
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        client = SandboxClient(sandbox.eventbridge.url)
        client.set_source(f"{PARTNER}/coral", "PENDING", region=orders.REGION)
        do = Tutorial(Path(folder), sandbox)
        config = CONFIG.format(
            broker=sandbox.broker.bootstrap, registry=sandbox.registry.url, letters=orders.DEAD_LETTER_TOPIC
        )
        (do.folder / "bridge.yaml").write_text(config)
        _produce_orders(sandbox)
        with do.bridge():
            client.wait_for_events(DELIVERED, timeout_s=60)
            find = ("events", "find", "--topic", orders.TOPIC, "--key")
            failed = f"A-{10_000 + WITHOUT_TENANT}"
            wait_until(lambda: "template_null" in do.run(*find, failed), what="the dead letter")
            do("delivered", *find, "A-10003")
            do("dead_lettered", *find, failed)
            do("held", *find, "A-10002")
            do("filtered", *find, f"A-{10_000 + DRAFT}")
            do("letters", "dead-letters", "list")
            resend = ("events", "resend", "--topic", orders.TOPIC, "--since", "1h", "--until", "0s")
            do("plan", *resend, "--source", f"{PARTNER}/acme")
            do("resend", *resend, "--source", f"{PARTNER}/acme", "--execute")
            do("status", "source", "status", f"{PARTNER}/acme")
            do("pause", "source", "pause", f"{PARTNER}/acme", "--file", "pauses.yaml", "--for", "2h")
            do("resume", "source", "resume", f"{PARTNER}/acme", "--file", "pauses.yaml")
    return {name: _timeless(text) for name, text in do.printed.items()}


def step(name: str) -> str:
    """A step as a block of the page."""
    return printed()[name].rstrip() + "\n"


def _timeless(text: str) -> str:
    text = re.sub(r"20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-9:.]+Z", "2026-11-29T10:00:00Z", text)
    text = re.sub(r"20[0-9]{2}-[01][0-9]-[0-3][0-9] [0-9]{2}:[0-9]{2}", "2026-11-29 10:00", text)
    text = re.sub(r"\b1[0-9]{12}\b", "1795946400000", text)
    return re.sub(
        r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
        "7f3b6a52-94c1-4d0e-8a35-2c1d9e6b7f40",
        text,
    )


def _produce_orders(sandbox: Sandbox) -> None:
    producer = Producer({"bootstrap.servers": sandbox.broker.bootstrap, "log_level": 0})
    chance = random.Random(1)
    for number in range(RECORDS):
        order = orders.order(number, chance) | {"tenant_id": tenant(number)}
        if number == DRAFT:
            order["status"] = "DRAFT"
        value = orders.encode(order, sandbox.schema_id)
        producer.produce(orders.TOPIC, value, order["reference"], partition=0)
    assert 0 == producer.flush(30)


if __name__ == "__main__":
    for name, text in printed().items():
        print(f"=== {name}\n{text}")
