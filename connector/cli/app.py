"""`partner-bridge`: its commands and their arguments, and the exit code of every error.

A command imports what it needs when it runs, and a group of commands is imported when one of it is named:
`--help` is instant, and `run` starts fast.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.core
import typer.main

from connector import __version__, process
from connector.cli.options import AsJson, ConfigFile, examples, file_of, settings_of
from connector.cli.output import print_json, print_text, print_values, wants_colour
from connector.errors import ConfigError, HaltError, Problem, UnavailableError
from connector.process import EXIT_BUG, EXIT_CHECK_FAILED, EXIT_DONE, EXIT_HALTED, EXIT_USAGE

if TYPE_CHECKING:
    from connector.cli.check import CheckResult, Section
    from connector.config.settings import Settings

GROUPS = {
    "dead-letters": "connector.cli.dead_letters",
    "source": "connector.cli.sources",
    "sandbox": "connector.cli.sandbox",
}
"""Groups of commands, and the module whose `app` each is."""


class _Commands(typer.core.TyperGroup):
    """The commands, and groups of more: to make them all takes a tenth of a start."""

    def list_commands(self, ctx: Any) -> list[str]:
        self._load(GROUPS)
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands:
            self._load([cmd_name] if cmd_name in GROUPS else GROUPS)  # a mistyped name gets a suggestion
        return super().get_command(ctx, cmd_name)

    def _load(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.commands:
                self.commands[name] = group = typer.main.get_group(import_module(GROUPS[name]).app)
                group.name = name


app = typer.Typer(
    name="partner-bridge",
    cls=_Commands,
    help="Delivers Avro events from Kafka topics to Amazon EventBridge partner event sources.",
    epilog=examples(
        "partner-bridge demo",
        "partner-bridge check --connect --config bridge.yaml",
        "partner-bridge run --config bridge.yaml",
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(
    help="Show the settings in force, or the schema of all.",
    epilog=examples("partner-bridge config show", "partner-bridge config schema > config.json"),
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(config_app, name="config")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with one of the codes in `process`."""
    process.install_excepthooks()
    try:
        app(arguments, color=None if wants_colour() else False)
    except ConfigError as error:
        _print_problems(error.problems)
        sys.exit(EXIT_USAGE)
    except HaltError as error:
        print_text(f"Halted: {error}", err=True)
        sys.exit(EXIT_HALTED)
    except UnavailableError as error:
        print_text(str(error), err=True)
        sys.exit(EXIT_CHECK_FAILED)
    except Exception as bug:  # noqa: BLE001 - Python's own traceback would show what the bug choked on
        process.report_crash(bug)
        sys.exit(EXIT_BUG)
    sys.exit(EXIT_DONE)


def _show_version(wanted: bool) -> None:  # noqa: FBT001  # typer passes it by position
    if wanted:
        typer.echo(f"partner-bridge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[  # its callback has printed it
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog=examples(
        "partner-bridge run",
        "partner-bridge run --config /etc/partner-bridge/bridge.yaml",
        "BRIDGE_EVENTBRIDGE__REGION=eu-west-1 partner-bridge run",
    )
)
def run(config: ConfigFile = None) -> None:
    """Bridge records to EventBridge until told to stop.

    SIGTERM or Ctrl-C drains and exits 0; a second one stops at once. Exit code 2: the configuration cannot
    be used. Exit code 3: it halted; going on would lose records or flood the dead-letter topic.
    """
    settings = settings_of(config)
    from connector.kafka.consumer import KafkaConsumer  # noqa: PLC0415

    consumer = KafkaConsumer(settings)  # it finds the brokers while the rest is imported
    from connector import service  # noqa: PLC0415

    service.run(settings, consumer)


@app.command(
    epilog=examples(
        "partner-bridge check",
        "partner-bridge check --connect --config bridge.yaml",
        "partner-bridge check --json | jq .plan",
    )
)
def check(
    *,
    config: ConfigFile = None,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also try brokers, topics, registry and credentials.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what the bridge would do, or all that is wrong.

    Topic by topic: how records are read, filtered and mapped, and where they go.

    Exit code 2: the configuration has problems, and all are listed. Exit code 4: --connect found a problem.
    """
    try:
        settings = settings_of(config)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"ok": False, "problems": [problem._asdict() for problem in error.problems]})
        raise typer.Exit(EXIT_USAGE) from None
    from connector.cli.check import describe  # noqa: PLC0415

    sections = list(describe(settings))
    if not as_json:
        _print_description(settings.name, sections)
    results = _try_connections(settings, as_json=as_json) if connect else []
    is_ok = all(result.ok for result in results)
    if as_json:
        connections = [{"name": result.name, "ok": result.ok, "text": result.text} for result in results]
        print_json({"ok": is_ok, "plan": dict(sections), "connections": connections})
    raise typer.Exit(EXIT_DONE if is_ok else EXIT_CHECK_FAILED)


@config_app.command(
    "show",
    epilog=examples("partner-bridge config show", "partner-bridge config show --json | jq .eventbridge"),
)
def config_show(*, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the settings in force, secrets as ***.

    File, environment and defaults together.
    """
    from connector import config as values  # noqa: PLC0415

    settings = values.load(file_of(config))
    for name, warning in values.warnings(settings):
        typer.echo(f"{name}: {warning}", err=True)
    if as_json:
        print_json(values.as_json(settings))
    else:
        typer.echo(values.as_yaml(settings), nl=False)


@config_app.command("schema", epilog=examples("partner-bridge config schema > config.json"))
def config_schema() -> None:
    """Print the JSON Schema of the YAML file."""
    from connector.config.load import json_schema  # noqa: PLC0415

    typer.echo(json_schema(), nl=False)


@app.command(epilog=examples("partner-bridge demo", "partner-bridge demo --records 20000 --keep"))
def demo(
    *,
    records: Annotated[int, typer.Option(min=1, help="How many records to produce.")] = 4000,
    keep: Annotated[bool, typer.Option("--keep", help="Keep everything running afterwards.")] = False,
) -> None:
    """See the bridge at work: nothing to set up, a minute.

    Runs the real bridge against a sandbox, with good and broken records, and balances the account:
    produced = delivered + dead-lettered + filtered.
    """
    from connector.cli.demo import run_demo  # noqa: PLC0415

    raise typer.Exit(run_demo(records=records, keep=keep))


def _print_problems(problems: Iterable[Problem]) -> None:
    listed = list(problems)
    typer.echo(f"The configuration has {'a problem' if len(listed) == 1 else 'problems'}:", err=True)
    for number, problem in enumerate(listed, start=1):
        begin = f"  {number}. "
        print_text(str(problem), indent=begin, hanging=" " * len(begin), err=True)


def _print_description(name: str, sections: Iterable[Section]) -> None:
    print_text(f"{name} would do this:", bold=True)
    for title, lines in sections:
        typer.echo()
        print_text(title, bold=True)
        print_values(lines, indent="  ", wraps=True)


def _try_connections(settings: Settings, *, as_json: bool) -> list[CheckResult]:
    """Try every connection, and print each result as soon as it is there."""
    from connector.cli import check  # noqa: PLC0415

    if not as_json:
        typer.echo()
        print_text("connections", bold=True)
    results = []
    for result in check.connection_checks(settings):
        results.append(result)
        if not as_json:
            mark = (
                typer.style("ok    ", fg="green") if result.ok else typer.style("failed", fg="red", bold=True)
            )
            print_text(f"{result.name}: {result.text}", indent=f"  {mark}  ", hanging=" " * 10)
    return results
