"""`partner-bridge demo`: runs the bridge in the sandbox, and prints the account of its records."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import orjson
import typer

from connector import process
from connector.cli.output import print_json, print_table, print_values, program, progress
from connector.process import EXIT_BUG, EXIT_DONE, EXIT_USAGE
from connector.sandbox import orders
from connector.sandbox.demo import FAULTS, Account, DemoBridge, follow, produce, uncommitted
from connector.sandbox.eventbridge import FakeEventBridge
from connector.sandbox.services import Sandbox

LOG_LINES = 30
"""Lines of the bridge's log that are shown where something is wrong."""


def run_demo(*, records: int, keep: bool) -> int:
    """Run the bridge over `records` orders and print the account; returns the exit code, 0 where it balances.

    With `keep` everything stays up until SIGINT or SIGTERM. One of them before that ends the process at once,
    and the files of the demo are removed.
    """
    if not 0 < records <= orders.MAX_RECORDS:
        typer.echo(
            f"The demo's broker holds 1 to {orders.MAX_RECORDS} records, not {records}. Ask for fewer.",
            err=True,
        )
        return EXIT_USAGE
    try:
        folder = Path(tempfile.mkdtemp(prefix="partner-bridge-demo-"))
    except OSError as error:
        typer.echo(
            "The demo writes the bridge's configuration and log to a temporary folder, and has none: "
            f"{error.strerror or error}. Nothing was started. Name one with TMPDIR; in a container with a "
            "read-only root, mount one: --tmpfs /tmp.",
            err=True,
        )
        return EXIT_USAGE
    with process.before_ending(partial(shutil.rmtree, folder, ignore_errors=True)):
        problems = _run(folder, records, keep=keep)
    if not problems:
        shutil.rmtree(folder, ignore_errors=True)
        _print_next_steps()
        return EXIT_DONE
    for problem in problems:
        typer.echo(f"{typer.style('wrong:', fg='red', bold=True)} {problem}", err=True)
    log = folder / "bridge.log"
    if log.exists():
        lines = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        typer.echo(f"The end of the bridge's log, {log}:\n{lines}", err=True)
    return EXIT_BUG


def _run(folder: Path, records: int, *, keep: bool) -> list[str]:
    """Start everything, follow it and stop it; returns the problems."""
    account = Account()
    with Sandbox() as sandbox, DemoBridge(sandbox, folder) as bridge, process.before_ending(bridge.kill):
        typer.echo(
            f"Kafka {sandbox.broker.bootstrap}, schema registry {sandbox.registry.url}, "
            f"EventBridge {sandbox.eventbridge.url}, bridge process {bridge.pid}, page {bridge.url}/",
            err=True,
        )
        sandbox.eventbridge.script(FAULTS)
        produce(sandbox, account, records)
        with progress("records settled", records, lines=True) as shown:
            problems = follow(sandbox, bridge, account, on_settled=shown.advance)
        typer.echo(f"\n{account}\n")
        if not problems:
            _print_account(account, sandbox.eventbridge)
            if keep:
                _print_addresses(sandbox, bridge, folder)
                _wait_for_signal()
        problems += bridge.stop() + account.problems()
        return problems or uncommitted(sandbox)


def _print_account(account: Account, eventbridge: FakeEventBridge) -> None:
    rows = []
    for code, count in sorted(Counter(account.letters.values()).items()):
        places = (at for at, got in account.letters.items() if got == code)
        reasons = dict.fromkeys(account.produced[at].what for at in places if at in account.produced)
        rows.append((code, f"{count:,}", ", ".join(reasons)))
    typer.secho("Dead letters", bold=True)
    print_table(("code", "letters", "what was wrong"), rows, right={"letters"})
    for (wanted, got), count in sorted(account.surprises().items()):
        typer.echo(f"unexpected: {count} made for {wanted} became {got}")
    counts = eventbridge.counts()
    injected = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.faults.items())) or "none"
    typer.echo(f"\nfaults injected: {injected}; duplicates: {account.duplicates()}")
    if example := next(iter(eventbridge.events()), None):
        typer.echo("\nOne event, as the customer gets it:")
        shown = {name: value for name, value in example.as_json().items() if name != "sandbox"}
        print_json(orjson.loads(orjson.dumps(shown)))


def _print_addresses(sandbox: Sandbox, bridge: DemoBridge, folder: Path) -> None:
    typer.echo("Still running. Ctrl-C ends it.", err=True)
    print_values(
        {
            "page": f"{bridge.url}/",
            "bridge": f"curl {bridge.url}/metrics",
            "EventBridge": f"curl {sandbox.eventbridge.url}/_sandbox/events",
            "Kafka": sandbox.broker.bootstrap,
            "dead letters": f"{program()} dead-letters list --config {bridge.config}",
            "files": str(folder),
        },
        indent="  ",
        err=True,
    )


def _wait_for_signal() -> None:
    stopped = threading.Event()
    process.stop_with(stopped.set)
    stopped.wait()


def _print_next_steps() -> None:
    own, example = program(), Path("examples", "bridge.yaml")
    typer.echo("\nWhere to go next:")
    print_values(
        {
            f"{own} demo --keep": "the same until Ctrl-C, with a command that lists its dead letters",
            f"{own} sandbox": "broker, registry and EventBridge for a bridge of your own",
            f"{own} check --config {example}": "a configuration to start from" if example.exists() else None,
        },
        indent="  ",
    )
