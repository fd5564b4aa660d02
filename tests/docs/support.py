"""The page docs/support.md: what support is asked, asked of a real bridge in a sandbox.

What differs from run to run is replaced: ports, the cluster's id, times and ids that are made anew.
"""

from __future__ import annotations

import random
import re
import shlex
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
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
PLANNED = datetime(2026, 11, 29, 10, tzinfo=UTC)
"""When the resend is planned, as the page has it."""
EARLIER = timedelta(minutes=5)
"""How long before that the page has what happened in the seconds before."""
EVENT_ID, REQUEST_ID = "7f3b6a52-94c1-4d0e-8a35-2c1d9e6b7f40", "b04d3e1f-6a7c-4c55-9f0e-31d87a62c5e9"
UUID = r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
TIME = r"20[0-9]{2}-[01][0-9]-[0-3][0-9]([T ])[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
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
MENDED = ("${value.tenant_id}", "${value.tenant_id || 'unknown'}")


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
            do("letter", "dead-letters", "show", f"{orders.DEAD_LETTER_TOPIC}/0/0")
            do.edit("bridge.yaml", MENDED)
            do("replay", "dead-letters", "replay", "--code", "template_null")
            do.edit("bridge.yaml", MENDED[::-1])
            resend = ("events", "resend", "--topic", orders.TOPIC, "--since", "1h", "--until", "0s")
            do("plan", *resend, "--source", f"{PARTNER}/acme")
            command = shlex.split(do.printed["plan"].splitlines()[-1])[1:]
            do("resend", *command)
            do("status", "source", "status", f"{PARTNER}/acme")
            do("pause", "source", "pause", f"{PARTNER}/acme", "--file", "pauses.yaml", "--for", "2h")
            status = ("source", "status", f"{PARTNER}/acme")
            wait_until(lambda: "paused:" in do.run(*status), what="the pause is in force")
            do("paused", *status)
            do("resume", "source", "resume", f"{PARTNER}/acme", "--file", "pauses.yaml")
    planned = datetime.fromisoformat(command[command.index("--until") + 1])
    return {name: _timeless(text, planned) for name, text in do.printed.items()}


def step(name: str, *, end: str | None = None) -> str:
    """A step as a block of the page; as far as the line that begins so, where that is given."""
    lines = printed()[name].rstrip().split("\n")
    if end is not None:
        last = next(at for at, line in enumerate(lines) if line.startswith(end))
        lines[last + 1 :] = ["…"]
    return "\n".join(lines) + "\n"


def _timeless(text: str, planned: datetime) -> str:
    """The same with times as if the resend was planned at `PLANNED`, and with ids that stay the same."""
    text = re.sub(TIME, lambda found: _shown(found, planned), text)
    text = re.sub(r"\b1[0-9]{12}\b", lambda found: _shown_ms(found[0], planned), text)
    text = re.sub(rf"request {UUID}", f"request {REQUEST_ID}", text)
    return re.sub(rf"(?<!request ){UUID}", EVENT_ID, text)


def _shown(found: re.Match[str], planned: datetime) -> str:
    moment = datetime.fromisoformat(found[0]).replace(tzinfo=UTC)
    return _moved(moment, planned).strftime(f"%Y-%m-%d{found[1]}%H:%M:%S")


def _shown_ms(text: str, planned: datetime) -> str:
    return f"{_moved(datetime.fromtimestamp(int(text) / 1000, UTC), planned).timestamp() * 1000:.0f}"


def _moved(moment: datetime, planned: datetime) -> datetime:
    """A moment of the page. What comes before the plan stays before it, and hours stay hours."""
    moment, planned = moment.replace(microsecond=0), planned.replace(microsecond=0)
    hours = round((moment - planned) / timedelta(hours=1))
    return PLANNED + (timedelta(hours=hours) if hours or moment >= planned else -EARLIER)


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
