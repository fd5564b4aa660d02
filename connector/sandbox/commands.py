"""`partner-bridge sandbox` and `partner-bridge demo`."""

from __future__ import annotations

import sys
import threading

from rich.console import Console

from connector import process
from connector.sandbox import orders
from connector.sandbox.demo import demo
from connector.sandbox.services import Sandbox

__all__ = ["demo", "sandbox"]


def sandbox(*, eventbridge_port: int = 0, registry_port: int = 0, strict_sources: bool = False) -> int:
    """Keeps broker, registry and EventBridge up until SIGINT or SIGTERM; answers the exit code.

    Prints a complete `bridge.yaml` for them to stdout and everything else to stderr. A port of 0 is a
    free one; the broker's cannot be chosen. Exit 2: a port is taken.
    """
    talk = Console(stderr=True, highlight=False)
    stopped = threading.Event()
    process.stop_with(stopped.set)
    running = Sandbox(
        eventbridge_port=eventbridge_port, registry_port=registry_port, strict_sources=strict_sources
    )
    try:
        running.start()
    except OSError as error:
        talk.print(f"The sandbox could not start: {error}. Nothing is running. Choose other ports.")
        return 2
    try:
        sys.stdout.write(_config(running))
        sys.stdout.flush()
        _introduce(running, talk)
        stopped.wait()
    finally:
        running.stop()
    return 0


def _config(running: Sandbox) -> str:
    exports = "".join(f"#   export {name}={value}\n" for name, value in running.credentials().items())
    return (
        "# A bridge in the sandbox. Start it with these in its environment:\n"
        f"{exports}{running.config(http_port=8080)}"
    )


def _introduce(running: Sandbox, talk: Console) -> None:
    aws = running.eventbridge.url
    rows = {
        "Kafka": running.broker.bootstrap,
        "  topics": f"{orders.TOPIC} ({orders.PARTITIONS} partitions), {orders.DEAD_LETTER_TOPIC} (1)",
        "Schema registry": running.registry.url,
        "  schema": f"{orders.TOPIC}-value, id {running.schema_id}",
        "EventBridge": f"{aws}, any Region",
        "  received events": f"curl {aws}/_sandbox/events",
        "  counts": f"curl {aws}/_sandbox/state",
        "  let it fail": f"""curl {aws}/_sandbox/faults -d '{{"faults": [{{"kind": "throttle"}}]}}'""",
    }
    for name, value in rows.items():
        talk.print(f"{name:<20}{value}", markup=False, soft_wrap=True)
    talk.print("The configuration of a bridge for it is on stdout. Everything is in memory. Ctrl-C ends it.")
