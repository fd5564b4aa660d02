"""`partner-bridge source`: the commands for customers' partner event sources, and their output."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli.options import AsJson, Bridges, ConfigFile, Execute, duration_s, examples, settings_of
from connector.cli.output import note, print_json, print_text, print_values, progress
from connector.errors import ConfigError
from connector.process import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_USAGE

if TYPE_CHECKING:
    from connector.config.settings import Settings, Target
    from connector.sources.admin import Row, SourceAdmin
    from connector.sources.customers import Change

app = typer.Typer(
    help="See, create, delete, test and pause customers' sources.",
    epilog=examples(
        "partner-bridge source list --state PENDING",
        "partner-bridge source status aws.partner/example.com/acme",
        "partner-bridge source create aws.partner/example.com/acme --account 111122223333",
        "partner-bridge source sync customers.csv",
        "partner-bridge source ping aws.partner/example.com/acme",
        "partner-bridge source handover aws.partner/example.com/acme",
        "partner-bridge source pause aws.partner/example.com/acme --file pauses.yaml --for 2h",
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _name(text: str) -> str:
    from connector.sources.customers import name_problem  # noqa: PLC0415

    if problem := name_problem(text):
        raise typer.BadParameter(f"{text} {problem}")
    return text


def _account(text: str) -> str:
    from connector.sources.customers import account_problem  # noqa: PLC0415

    if problem := account_problem(text):
        raise typer.BadParameter(problem)
    return text


class HandoverForm(StrEnum):
    """What `handover` prints."""

    TEXT = "text"
    TERRAFORM = "terraform"
    CLOUDFORMATION = "cloudformation"
    CLI = "cli"


Name = Annotated[str, typer.Argument(metavar="NAME", callback=_name, help="The whole name of the source.")]
TargetOption = Annotated[
    str | None, typer.Option("--target", metavar="NAME", help="Only in this target of the configuration.")
]
Region = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="REGION",
        help="In this Region; one without a target of its own uses eventbridge's role.",
    ),
]
PausesFile = Annotated[
    Path, typer.Option("--file", metavar="FILE", help="The file of pauses. Created where it is missing.")
]
CountedSince = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="WHEN",
        help="With receipts: count deliveries and dead letters since 2026-11-22T10:00Z, or 2h (ago). "
        "Default: 24h.",
    ),
]


def _admin(
    context: typer.Context, settings: Settings, target: str | None = None, region: str | None = None
) -> SourceAdmin:
    """Open the chosen targets, those in the Region, or all; they are closed when the command ends."""
    from connector.sources.admin import SourceAdmin  # noqa: PLC0415

    admin = SourceAdmin(_chosen(settings, target, region))
    context.call_on_close(admin.close)
    return admin


def _chosen(settings: Settings, name: str | None, region: str | None) -> Mapping[str, Target]:
    from connector.config.settings import DEFAULT_TARGET, REGION  # noqa: PLC0415
    from connector.sources.customers import targets_in  # noqa: PLC0415

    if region is not None and not re.fullmatch(REGION, region):
        raise typer.BadParameter(f"{region} is not a Region, as eu-central-1", param_hint="--region")
    targets = settings.all_targets
    if name is not None and name not in targets:
        raise typer.BadParameter(
            f"there is no target {name}; known: {', '.join(targets)}", param_hint="--target"
        )
    if name is not None:
        targets = {name: targets[name]}
    if region is None:
        return targets
    if found := {each: targets[each] for each in targets_in(region, settings) if each in targets}:
        return found
    if name is not None:
        raise typer.BadParameter(
            f"the target {name} is in {targets[name].region}, not {region}", param_hint="--region"
        )
    note(f"no target of this bridge is in {region}, so this bridge sends nothing there")
    return {DEFAULT_TARGET: settings.eventbridge.model_copy(update={"region": region})}


def _admin_of_one(
    context: typer.Context, settings: Settings, target: str | None, region: str | None
) -> SourceAdmin:
    """Open the one target that a change is meant for: `eventbridge`, unless the options choose another."""
    from connector.config.settings import DEFAULT_TARGET  # noqa: PLC0415

    if target is None and region is None:
        target = DEFAULT_TARGET
    admin = _admin(context, settings, target, region)
    if len(admin.targets) > 1:
        raise typer.BadParameter(
            f"several targets are in {region} ({', '.join(admin.targets)}); choose one with --target"
        )
    return admin


@app.command(
    "list",
    epilog=examples(
        "partner-bridge source list",
        "partner-bridge source list --state PENDING --region eu-west-1",
        "partner-bridge source list --bridge dns:bridge.default:8080 --json",
    ),
)
def list_(
    context: typer.Context,
    *,
    config: ConfigFile = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="Names that begin with it. Default: the beginnings of the topics' sources."
        ),
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(metavar="STATE", help="Only in this state: ACTIVE, PENDING, DELETED.")
    ] = None,
    target: TargetOption = None,
    region: Region = None,
    bridge: Bridges = None,
    since: CountedSince = None,
    as_json: AsJson = False,
) -> None:
    """Show every source: state, deliveries, errors, what waits.

    Figures are added over the running bridges, since they started. With receipts, deliveries, bytes, the
    chunks of 64 KiB that AWS bills, and dead letters are counted since --since, also those of bridges that
    are gone; what is held and waits is of running bridges. schemas/source-health.json describes --json.

    Exit code 4: a target did not answer, or the receipts or dead letters cannot be read.
    """
    from connector.cli.source_health import Figures, print_disagreements, print_rows, row_json  # noqa: PLC0415

    settings = settings_of(config)
    wanted = _states(state)
    admin = _admin(context, settings, target, region)
    prefixes = _prefixes(settings, prefix)
    figures = Figures(settings, bridge, since)
    rows = [row for row in _with_progress(admin.rows(prefixes)) if not wanted or row.status.state in wanted]
    healths = [figures.of(row) for row in rows]
    admin.problems += figures.problems
    if as_json:
        listed = [row_json(row, health) for row, health in zip(rows, healths, strict=True)]
        print_json({"sources": listed, **figures.origin(), "problems": admin.problems})
    else:
        print_rows(zip(rows, healths, strict=True))
        if not rows:
            regions = ", ".join(dict.fromkeys(target.region for target in admin.targets.values()))
            state_text = f" and is {' or '.join(sorted(wanted))}" if wanted else ""
            print_text(f"No source begins with {' or '.join(prefixes)}{state_text} in {regions}.")
        print_disagreements(healths)
        figures.print_origin()
    _end(admin)


@app.command(
    epilog=examples(
        "partner-bridge source status aws.partner/example.com/acme",
        "partner-bridge source status aws.partner/example.com/acme --json",
    )
)
def status(
    context: typer.Context,
    name: Name,
    *,
    config: ConfigFile = None,
    target: TargetOption = None,
    region: Region = None,
    bridge: Bridges = None,
    since: CountedSince = None,
    as_json: AsJson = False,
) -> None:
    """Show one source in all targets, and what its state means.

    Exit code 4: it is ACTIVE nowhere, or something did not answer.
    """
    from connector.cli.source_health import Figures, print_status, row_json  # noqa: PLC0415

    settings = settings_of(config)
    admin = _admin(context, settings, target, region)
    figures = Figures(settings, bridge, since, source=name)
    rows = admin.look_up(name)
    admin.problems += figures.problems
    if as_json:
        shown = [row_json(row, figures.of(row)) for row in rows]
        print_json({"sources": shown, **figures.origin(), "problems": admin.problems})
    else:
        for row in rows:
            print_status(row, figures.of(row))
        figures.print_origin()
    _print_problems(admin)
    is_ok = any(row.status.state == "ACTIVE" for row in rows) and not admin.problems
    raise typer.Exit(EXIT_DONE if is_ok else EXIT_CHECK_FAILED)


@app.command(
    epilog=examples(
        "partner-bridge source create aws.partner/example.com/acme --account 111122223333",
        "partner-bridge source create aws.partner/example.com/acme --account 111122223333 --region eu-west-1",
    )
)
def create(
    context: typer.Context,
    name: Name,
    *,
    account: Annotated[str, typer.Option(callback=_account, help="The customer's AWS account, 12 digits.")],
    config: ConfigFile = None,
    target: TargetOption = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Offer a source to a customer's account. It is PENDING until the customer accepts it.

    One that this account has already is left as it is. Exit code 4: it could not be created.
    """
    from connector.cli.source_health import print_status, row_json  # noqa: PLC0415

    settings = settings_of(config)
    admin = _admin_of_one(context, settings, target, region)
    row = admin.create(name, account)
    if as_json:
        print_json({"sources": [row_json(row)] if row else [], "problems": admin.problems})
    elif row:
        print_status(row)
        if row.status.state == "PENDING":
            print_text(
                f"Next, account {account}: in EventBridge in {row.region}, under Partner event sources, "
                'choose it and "Associate with event bus".'
            )
    _end(admin)


@app.command(
    epilog=examples(
        "partner-bridge source delete aws.partner/example.com/acme",
        "partner-bridge source delete aws.partner/example.com/acme --execute",
    )
)
def delete(
    context: typer.Context,
    name: Name,
    *,
    config: ConfigFile = None,
    target: TargetOption = None,
    region: Region = None,
    execute: Execute = False,
    as_json: AsJson = False,
) -> None:
    """Take a source away from its customer; nothing without --execute.

    Where there is none, nothing happens. Exit code 4: it could not be deleted.
    """
    from connector.cli.source_health import print_status, row_json  # noqa: PLC0415

    settings = settings_of(config)
    admin = _admin_of_one(context, settings, target, region)
    rows = [row for row in admin.look_up(name) if row.status.state not in {"MISSING", "DELETED"}]
    for row in rows:
        if not as_json:
            print_status(row)
        if execute:
            admin.delete(row)
    if as_json:
        shown = [row_json(row) for row in rows]
        print_json({"sources": shown, "executed": execute, "problems": admin.problems})
    elif admin.problems:
        pass
    elif not rows:
        regions = ", ".join(dict.fromkeys(target.region for target in admin.targets.values()))
        print_text(f"Nothing to delete: there is no source {name} in {regions}.")
    elif execute:
        print_text("Deleted. The customer's event bus stays, and gets nothing more.")
    else:
        print_text(
            "It would be deleted: events for it would be refused, and its customer would have to accept a "
            "new one. Nothing was changed. Add --execute to do it."
        )
    _end(admin)


@app.command(
    epilog=examples(
        "partner-bridge source sync customers.csv",
        "partner-bridge source sync customers.csv --execute",
        "partner-bridge source sync customers.csv --prune --execute",
    )
)
def sync(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV: source,account and optionally target or region.")
    ],
    *,
    config: ConfigFile = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also delete sources that are not in the file.")
    ] = False,
    execute: Execute = False,
    as_json: AsJson = False,
) -> None:
    """Make the sources match a list of customers.

    Changes nothing without --execute. Run it again after a failure: what is done stays done.

    Exit code 4: something was not done, or conflicts.
    """
    from connector.sources.customers import changes, read_customers  # noqa: PLC0415

    settings = settings_of(config)
    try:
        customers = read_customers(file, settings)
    except ConfigError as error:
        for line in (f"{file} cannot be used, and nothing was changed:", *map(str, error.problems)):
            print_text(line, err=True)
        raise typer.Exit(EXIT_USAGE) from None
    if not customers and prune:
        raise typer.BadParameter(
            f"{file} lists no customer, and --prune would delete every source", param_hint="FILE"
        )
    admin = _admin(context, settings)
    prefixes = sorted({*_prefixes(settings, None, required=False), *(_partner(c.source) for c in customers)})
    existing = {(row.target, row.source): row.status for row in _with_progress(admin.rows(prefixes))}
    unlisted = set(admin.unlisted)
    planned = [
        change
        for change in changes(customers, existing, prune=prune)
        # A source that could not be listed is not known to be missing.
        if change.target not in unlisted
    ]
    done = admin.apply(planned) if execute else []
    if as_json:
        plan = [change._asdict() for change in planned]
        print_json({"plan": plan, "executed": execute, "done": len(done), "problems": admin.problems})
    else:
        _print_changes(planned, execute=execute, done=len(done))
    _print_problems(admin)
    has_conflict = any(change.action == "conflict" for change in planned)
    raise typer.Exit(EXIT_CHECK_FAILED if admin.problems or has_conflict else EXIT_DONE)


@app.command(
    epilog=examples(
        "partner-bridge source ping aws.partner/example.com/acme",
        "partner-bridge source ping aws.partner/example.com/acme --json",
    )
)
def ping(
    context: typer.Context,
    name: Name,
    *,
    config: ConfigFile = None,
    target: TargetOption = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Send one test event; say its EventId and the state.

    Its detail type is `Partner Bridge Ping`. Exit code 4: no event bus gets it.
    """
    settings = settings_of(config)
    admin = _admin_of_one(context, settings, target, region)
    pong = admin.ping(name)
    if pong is None:
        _end(admin)
        return
    if as_json:
        print_json(pong._asdict() | {"problems": admin.problems})
    else:
        from connector.sources.admin import PING_DETAIL_TYPE  # noqa: PLC0415

        values = {
            "source": name,
            "region": pong.region,
            "state": pong.state,
            "EventId": pong.event_id or "none: EventBridge refused it",
            "detail type": PING_DETAIL_TYPE,
            "detail.id": pong.id,
        }
        print_values(values, mark=":")
        print_text(pong.text)
    _print_problems(admin)
    raise typer.Exit(EXIT_DONE if pong.is_received else EXIT_CHECK_FAILED)


@app.command(
    epilog=examples(
        "partner-bridge source handover aws.partner/example.com/acme",
        "partner-bridge source handover aws.partner/example.com/acme --as terraform > partner.tf",
        "partner-bridge source handover aws.partner/example.com/acme --topic orders.v1 --as cli",
    )
)
def handover(
    name: Name,
    *,
    config: ConfigFile = None,
    form: Annotated[HandoverForm, typer.Option("--as", help="How to write it.")] = HandoverForm.TEXT,
    topic: Annotated[
        str | None,
        typer.Option(
            metavar="TOPIC",
            help="Only its events. Without it, those of every topic that can have the source.",
        ),
    ] = None,
    target: TargetOption = None,
    region: Region = None,
) -> None:
    """Print what the customer of a source runs to receive its events.

    An event bus for the source, a rule, a log group to see the first event, a dead-letter queue, and how to
    check. Changes nothing. Works also where neither EventBridge nor the registry answers; it says so then.
    """
    from connector.cli.handover import print_handover  # noqa: PLC0415

    settings = settings_of(config)
    print_handover(settings, name, _chosen(settings, target, region), topic=topic, form=form)


@app.command(
    epilog=examples(
        "partner-bridge source pause aws.partner/example.com/acme --file pauses.yaml",
        "partner-bridge source pause aws.partner/example.com/acme --file pauses.yaml --for 2h",
        "partner-bridge source pause aws.partner/example.com/acme --file p.yaml --until 2026-11-30T06:00Z",
    )
)
def pause(
    name: Name,
    *,
    file: PausesFile,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When it ends by itself, with a zone: 2026-11-30T06:00Z."),
    ] = None,
    for_s: Annotated[
        float | None,
        typer.Option(
            "--for", metavar="DURATION", parser=duration_s, help="After how long it ends by itself, as 2h."
        ),
    ] = None,
) -> None:
    """Have a source's events held: write it into a file of pauses.

    Bridges whose setting `pauses` names the file take it up within seconds. Without --until or --for it lasts
    until `resume`. Comments in the file are kept, or it is said that they are lost.
    """
    from connector.cli import pausing  # noqa: PLC0415

    pausing.pause(name, file, until=until, for_s=for_s)


@app.command(epilog=examples("partner-bridge source resume aws.partner/example.com/acme --file pauses.yaml"))
def resume(name: Name, *, file: PausesFile) -> None:
    """End the pause of a source: take it out of the file.

    What was held goes out, in order. Exit code 4: it stays paused, by a glob in the file.
    """
    from connector.cli import pausing  # noqa: PLC0415

    pausing.resume(name, file)


def _states(chosen: list[str] | None) -> set[str]:
    known = ("ACTIVE", "PENDING", "DELETED")
    states = {state.upper() for state in chosen or ()}
    if unknown := sorted(states - set(known)):
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(known)}", param_hint="--state")
    return states


def _partner(name: str) -> str:
    """Shorten a name to the shortest prefix that EventBridge takes, as `aws.partner/example.com/`."""
    return "/".join(name.split("/")[:2]) + "/"


def _prefixes(settings: Settings, chosen: list[str] | None, *, required: bool = True) -> list[str]:
    from connector.sources.customers import prefix_problem  # noqa: PLC0415

    for prefix in chosen or ():
        if problem := prefix_problem(prefix):
            raise typer.BadParameter(f"{prefix} {problem}", param_hint="--prefix")
    begins = {topic.event.source.partition("${")[0] for topic in settings.topics.values()}
    found = chosen or sorted(prefix for prefix in begins if prefix_problem(prefix) is None)
    if not found and required:
        raise typer.BadParameter(
            "the topics' sources do not say how names begin; give it, as aws.partner/example.com/",
            param_hint="--prefix",
        )
    # A prefix that another one includes would list the same sources twice.
    return [p for p in found if not any(p != other and p.startswith(other) for other in found)]


_MARKS = {"create": "+", "keep": "=", "delete": "-", "leave": " ", "conflict": "!"}


def _print_changes(planned: Sequence[Change], *, execute: bool, done: int) -> None:
    counts: dict[str, int] = {}
    for change in planned:
        counts[change.action] = counts.get(change.action, 0) + 1
        if change.action != "keep":
            account = change.account or "-"
            print_text(f"{_MARKS[change.action]} {change.source}  {account}  {change.target}  {change.text}")
    listed = ", ".join(f"{count} to {action}" for action, count in sorted(counts.items()))
    typer.echo(listed or "Nothing is listed, and nothing exists.")
    to_do = counts.get("create", 0) + counts.get("delete", 0)
    if execute:
        typer.echo(f"Done: {done} of {to_do} changes.")
    elif to_do:
        typer.echo("Nothing was changed. Add --execute to do it.")


def _with_progress(rows: Iterator[Row]) -> Iterator[Row]:
    with progress("sources looked up") as shown:
        for row in rows:
            shown.advance(1)
            yield row


def _print_problems(admin: SourceAdmin) -> None:
    for problem in admin.problems:
        print_text(problem, err=True)


def _end(admin: SourceAdmin) -> None:
    _print_problems(admin)
    raise typer.Exit(EXIT_CHECK_FAILED if admin.problems else EXIT_DONE)
