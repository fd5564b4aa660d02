"""`partner-bridge sandbox` itself: starts one, and prints its addresses and a `bridge.yaml` for it."""

from __future__ import annotations

import sys
import threading

import typer

from connector import process
from connector.cli.output import print_values
from connector.process import EXIT_DONE, EXIT_USAGE
from connector.sandbox import orders
from connector.sandbox.server import LOOPBACK, Host
from connector.sandbox.services import Sandbox

_HTTP_PORT = 8080
"""Of the bridge whose configuration is printed."""

_EVERY = ("0.0.0.0", "::")  # noqa: S104 - they are told apart, not bound


def run_sandbox(
    *,
    host: str,
    advertised_host: str | None,
    eventbridge_port: int,
    kafka_port: int,
    registry_port: int,
    strict_sources: bool,
    usual_url: str,
) -> int:
    """Keep broker, registry and EventBridge up until SIGINT or SIGTERM; returns the exit code.

    Prints a complete `bridge.yaml` for them to stdout and everything else to stderr. A port of 0 is a
    free one. At `usual_url` commands find it without `--url`.
    """
    if host in _EVERY and advertised_host is None:
        typer.echo(
            f"{host} is every address of this machine, and none that others could be told. Nothing was "
            "started. Say under which name they reach it: --advertised-host sandbox.",
            err=True,
        )
        return EXIT_USAGE
    stopped = threading.Event()
    process.stop_with(stopped.set)
    sandbox = Sandbox(
        host=Host(host, advertised_host or host),
        eventbridge_port=eventbridge_port,
        kafka_port=kafka_port,
        registry_port=registry_port,
        strict_sources=strict_sources,
    )
    try:
        sandbox.start()
    except OSError as error:
        typer.echo(
            f"The sandbox could not start: {error}. Nothing is running. If another sandbox is there, use it, "
            "or choose other ports: with --eventbridge-port 0 a free one, which commands find by --url.",
            err=True,
        )
        return EXIT_USAGE
    try:
        sys.stdout.write(_config(sandbox))
        sys.stdout.flush()
        _print_addresses(sandbox, usual_url)
        stopped.wait()
    finally:
        sandbox.stop()
    return EXIT_DONE


def _config(sandbox: Sandbox) -> str:
    exports = "".join(f"#   export {name}={value}\n" for name, value in sandbox.credentials().items())
    return (
        "# A bridge in the sandbox. Start it with these in its environment:\n"
        f"{exports}{sandbox.config(http_port=_HTTP_PORT)}"
    )


def _print_addresses(sandbox: Sandbox, usual_url: str) -> None:
    url = sandbox.eventbridge.url
    at = "" if url == usual_url else f" --url {url}"
    print_values(
        {
            "Kafka": sandbox.broker.bootstrap,
            "  topics": f"{orders.TOPIC} ({orders.PARTITIONS} partitions), {orders.DEAD_LETTER_TOPIC} (1)",
            "Schema registry": sandbox.registry.url,
            "  schema": f"{orders.TOPIC}-value, id {sandbox.schema_id}",
            "EventBridge": f"{url}, any Region",
            "Your configuration": f"partner-bridge sandbox config bridge.yaml{at} > sandbox.yaml",
            "Its environment": f'eval "$(partner-bridge sandbox env{at})"',
            "Received events": f"partner-bridge sandbox events{at}",
            "Let it fail": f"partner-bridge sandbox fault throttle --times 5{at}",
            "All commands": "partner-bridge sandbox --help",
        },
        err=True,
    )
    is_local = sandbox.eventbridge.host == LOOPBACK
    page = f"; once that runs, its page is at http://127.0.0.1:{_HTTP_PORT}/" if is_local else ""
    typer.echo(
        f"The configuration of a bridge for it is on stdout{page}. Everything is in memory. Ctrl-C ends it.",
        err=True,
    )
