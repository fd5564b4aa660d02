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
from connector.cli.options import AsJson, ConfigFile, duration_s, examples, file_of, settings_of
from connector.cli.output import print_json, print_problems, print_text, print_values, wants_colour
from connector.errors import ConfigError, HaltError, UnavailableError
from connector.process import EXIT_BUG, EXIT_CHECK_FAILED, EXIT_DONE, EXIT_HALTED, EXIT_USAGE

if TYPE_CHECKING:
    from connector.cli.check import CheckResult, Section
    from connector.config.settings import Settings
    from connector.workbench.schema_check import TopicCheck

GROUPS = {
    "dead-letters": "connector.cli.dead_letters",
    "source": "connector.cli.sources",
    "sandbox": "connector.cli.sandbox",
    "events": "connector.cli.events",
}
"""Groups of commands, and the module whose `app` each is."""

WORKBENCH = ("explain", "test", "init", "export")
"""Commands that are imported likewise: those of the `app` in `connector.cli.workbench`."""


class _Commands(typer.core.TyperGroup):
    """The commands, and groups of more: to make them all takes a tenth of a start."""

    def list_commands(self, ctx: Any) -> list[str]:
        self._load([*GROUPS, *WORKBENCH])
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands:
            known = [*GROUPS, *WORKBENCH]
            self._load([cmd_name] if cmd_name in known else known)  # a mistyped name gets a suggestion
        return super().get_command(ctx, cmd_name)

    def _load(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self.commands:
                continue
            if name in GROUPS:
                self.commands[name] = group = typer.main.get_group(import_module(GROUPS[name]).app)
                group.name = name
            else:
                group = typer.main.get_group(import_module("connector.cli.workbench").app)
                self.commands.update(group.commands)


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
        count = "a problem" if len(error.problems) == 1 else "problems"
        print_problems(f"The configuration has {count}", error.problems)
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
        "partner-bridge run --dry-run --for 10m",
    )
)
def run(
    *,
    config: ConfigFile = None,
    is_dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Map what the bridge would read next, beside it; send and commit nothing, then report.",
        ),
    ] = False,
    for_s: Annotated[
        float | None,
        typer.Option(
            "--for",
            metavar="DURATION",
            parser=duration_s,
            help="With --dry-run: how long, as 90s or 10m. Without it, until told to stop.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --dry-run: write the report as JSON, for machines.")
    ] = False,
) -> None:
    """Bridge records to EventBridge until told to stop.

    SIGTERM or Ctrl-C drains and exits 0; a second one stops at once. Exit code 2: the configuration cannot
    be used. Exit code 3: it halted; going on would lose records or flood the dead-letter topic.

    A dry run begins where the group is, joins no group, and needs no AWS credentials; SIGTERM or Ctrl-C ends
    it with its report. Exit code 4: a record would be dead-lettered, or still waits for its schema.
    """
    if is_dry_run:
        settings = settings_of(config, to_send=False)
        from connector.cli.dry_run import dry_run  # noqa: PLC0415

        raise typer.Exit(dry_run(settings, file_of(config), for_s=for_s, as_json=as_json))
    for option, is_given in (("--for", for_s is not None), ("--json", as_json)):
        if is_given:
            raise typer.BadParameter("it is for a dry run: add --dry-run", param_hint=option)
    settings = settings_of(config)
    from connector.kafka.consumer import KafkaConsumer  # noqa: PLC0415

    consumer = KafkaConsumer(settings)  # it finds the brokers while the rest is imported
    from connector import service  # noqa: PLC0415

    service.run(settings, consumer, config)


@app.command(
    epilog=examples(
        "partner-bridge check",
        "partner-bridge check --connect --config bridge.yaml",
        "partner-bridge check --schemas",
        "partner-bridge check --schemas --schema orders.v1=schemas/order.avsc",
        "partner-bridge check --json | jq .plan",
    )
)
def check(
    *,
    config: ConfigFile = None,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also try brokers, topics, registry and credentials.")
    ] = False,
    schemas: Annotated[
        bool,
        typer.Option(
            "--schemas",
            help="Also check every path against each topic's last two schemas, from its registry.",
        ),
    ] = False,
    schema: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOPIC=FILE", help="The same with a schema in a file; may be repeated, newest first."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what the bridge would do, or all that is wrong.

    Topic by topic: how records are read, filtered and mapped, and where they go.

    Exit code 2: the configuration has problems, and all are listed, or a schema cannot be had. Exit code 4:
    --connect or --schemas found a problem.
    """
    try:
        settings = settings_of(config)
        checks = _check_schemas(settings, schema or []) if schemas or schema else None
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
    found = {}
    if checks is not None:
        from connector.cli.schemas import findings_as_json, print_checks  # noqa: PLC0415
        from connector.config.load import places  # noqa: PLC0415

        is_ok = is_ok and not any(check.findings for check in checks)
        written = places(file_of(config))
        found = {"schemas": findings_as_json(checks, written)}
        if not as_json:
            print_checks(checks, written)
    if as_json:
        connections = [{"name": result.name, "ok": result.ok, "text": result.text} for result in results]
        print_json({"ok": is_ok, "plan": dict(sections), "connections": connections, **found})
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


def _print_description(name: str, sections: Iterable[Section]) -> None:
    print_text(f"{name} would do this:", bold=True)
    for title, lines in sections:
        typer.echo()
        print_text(title, bold=True)
        print_values(lines, indent="  ", wraps=True)


def _check_schemas(settings: Settings, files: list[str]) -> list[TopicCheck]:
    from connector.cli.schemas import schema_files  # noqa: PLC0415
    from connector.workbench.schema_check import check_schemas  # noqa: PLC0415

    return check_schemas(settings, schema_files(files))


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
