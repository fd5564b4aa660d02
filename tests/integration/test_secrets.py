"""Secrets and payloads stay inside: canaries are planted everywhere, and everything produced is searched."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import urllib3

from connector.model import Headers, Json
from connector.sandbox.awsjson import Credential
from connector.sandbox.eventbridge import ACCESS_KEY_ID
from connector.sandbox.registry import FakeRegistry
from tests.bridge_process import AWS_ENVIRON, BridgeProcess
from tests.services.child import wait_until
from tests.topics import Sent
from tests.world import NOTES, ORDER, ORDERS, World, order

CANARY = re.compile(r"canary[\w-]*", re.IGNORECASE)
"""In every payload and secret of this test, and in nothing else."""

BUG = """
from connector.pipeline import TopicRoute

call = TopicRoute.__call__

def breaks(self, record, event_id):
    if b"bug" in (record.value or b""):
        raise RuntimeError(f"cannot map {record!r}")
    return call(self, record, event_id)

TopicRoute.__call__ = breaks
"""
"""A bug whose exception shows the record, as bugs do; loaded by Python before the bridge is."""

HEADERS: Headers = (("trace", b"canary-header"), ("traceparent", b"canary-traceparent"))
AWS = {
    **AWS_ENVIRON,
    "AWS_SECRET_ACCESS_KEY": "canary-aws-secret",
    "AWS_SESSION_TOKEN": "canary-session-token",
}


def value(number: int, **more: Json) -> bytes:
    return json.dumps({"tenant": "acme", "number": number, "card": "canary-card", **more}).encode()


def command(bridge: BridgeProcess, *arguments: str) -> str:
    """What a command prints, to stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "connector", *arguments, "--config", str(bridge.file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=AWS,
    )
    return done.stdout + done.stderr


def served(bridge: BridgeProcess) -> str:
    """Everything the port for health and metrics serves."""
    http = urllib3.PoolManager(timeout=5)
    return "\n".join(
        http.request("GET", f"{bridge.url}{path}").data.decode()
        for path in ("/livez", "/readyz", "/metrics", "/version", "/")
    )


def test_nothing_secret_gets_out(world: World, tmp_path: Path) -> None:
    """Not in logs at DEBUG, metrics, health, dead-letter headers, commands, arguments, or a traceback."""
    notes, orders = world.topic("notes")[0], world.topic("orders")[0]
    topics = {
        notes.topic: NOTES | {"event": NOTES_EVENT},
        orders.topic: ORDERS,
    }
    world.aws.set_credentials({ACCESS_KEY_ID: Credential("canary-aws-secret", "canary-session-token")})
    with FakeRegistry(basic_auth=("bridge", "canary-registry-password")) as registry:
        schema_id = registry.register("orders-value", ORDER)
        settings = world.settings(
            topics,
            kafka={"debug": "all", "sasl.password": "canary-sasl", "ssl.key.password": "canary-key-password"},
            schema_registry={
                "url": registry.url,
                "basic_auth": {"username": "bridge", "password": "canary-registry-password"},
            },
            eventbridge={
                "timeouts": {"connect": "1s", "read": "1s"},
                "retry": {"initial_interval": "10ms", "max_interval": "50ms", "max_attempts": 2},
            },
            log={"level": "debug"},
        )
        bad = [
            b'{"card": "canary-json',
            value(1, tenant=None),
            value(2, tenant={"a": "canary"}),
            b"\xffcanary",
        ]
        good = [value(number) for number in range(100)]
        whole = order(schema_id, 1, tenant="acme")
        world.produce(
            [Sent(notes.topic, each, b"canary-key", HEADERS) for each in [*good, *bad, *good]]
            + [
                Sent(orders.topic, each, b"canary-key", HEADERS)
                for each in [whole, whole[:-4] + b"canary", whole]
            ]
        )
        said = "Value 'canary-card' at 'entries.1.member.detail' failed: \"canary-quoted\""
        world.aws.script(
            {
                "faults": [
                    {
                        "kind": "entry_error",
                        "code": "InvalidArgument",
                        "message": said,
                        "after": 120,
                        "times": 2,
                    },
                    {"kind": "entry_error", "code": "Surprise", "message": said, "times": 5},
                    {"kind": "error", "code": "Surprise", "message": said, "times": 3},
                    {"kind": "reset", "times": 2},
                    {"kind": "hang", "times": 1, "seconds": 2},
                    {"kind": "garbage", "times": 2},
                ]
            }
        )
        (tmp_path / "sitecustomize.py").write_text(BUG)
        bridge = world.bridge(settings)
        bridge.environ |= AWS | {"PYTHONPATH": str(tmp_path)}
        bridge.start()
        world.wait_settled([notes, orders])
        found = [served(bridge), Path(f"/proc/{bridge.child.pid}/cmdline").read_text()]
        bridge.sigterm()
        found += [
            command(bridge, *arguments)
            for arguments in (
                ("config", "show"),
                ("config", "show", "--json"),
                ("check",),
                ("check", "--connect"),
                ("dead-letters", "list"),
                ("dead-letters", "list", "--json"),
                ("dead-letters", "show", f"{world.dead_letter_topic}/0/0"),
                ("dead-letters", "replay"),
            )
        ]
        assert all(found)

        world.produce([Sent(notes.topic, value(7, bug=True), b"canary-key", HEADERS)])
        bridge.start(ready=False)
        assert 1 == bridge.wait_exit(), bridge.log()
        assert "RuntimeError" in bridge.log()

    letters = world.letters()
    assert {"json_invalid", "template_null", "entry_refused", "avro_invalid"} <= {
        each.code for each in letters
    }
    found += [str(letter.headers) for letter in letters]
    found += [str(bridge.lines())]
    assert [] == [match[0] for text in found for match in CANARY.finditer(text)]


def test_a_wrong_secret_is_not_repeated(world: World) -> None:
    """AWS and registry refuse what is wrong; what they and the bridge say of it does not hold the secret."""
    (partition,) = world.topic("notes")
    world.produce([Sent(partition.topic, value(1), b"k")])
    bridge = world.bridge(world.settings({partition.topic: NOTES}, log={"level": "debug"}))
    bridge.environ |= {"AWS_SECRET_ACCESS_KEY": "canary-wrong", "AWS_SESSION_TOKEN": "canary-wrong-token"}
    bridge.start(ready=False)

    assert 3 == bridge.wait_exit(), bridge.log()
    wait_until(lambda: "halted" in bridge.log(), what="the halt is logged")
    assert "Check the access key" in bridge.log()
    assert not CANARY.search(str(bridge.lines()))


NOTES_EVENT: Json = {
    "source": "aws.partner/example.com/${value.tenant}",
    "detail_type": "Note ${value.number}",
    "detail": "${value}",
}
