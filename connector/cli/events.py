"""`partner-bridge events`: the commands about single events, and their arguments.

The modules beside this one do the work. They import much, and so a command imports them when it runs.
"""

from __future__ import annotations

import re
from typing import Annotated

import typer

from connector.cli.options import AsJson, Bridges, ConfigFile, Execute, examples, settings_of
from connector.cli.times import is_ago, zoned_time_ms

app = typer.Typer(
    help="Find what became of records, and send them again.",
    epilog=examples(
        "partner-bridge events find --topic orders.v1 --key 4711",
        "partner-bridge events resend --topic orders.v1 --since 2026-11-22T10:00Z --until 2026-11-22T11:00Z",
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
)

DEFAULT_SINCE = "24h"
MAX_OFFSET = 2**63 - 1


@app.command(
    "find",
    epilog=examples(
        "partner-bridge events find --topic orders.v1 --key 4711",
        "partner-bridge events find --position orders.v1/3/1042",
        "partner-bridge events find --id 7f3b6a52-94c1-4d0e-8a35-2c1d9e6b7f40",
        "partner-bridge events find --source aws.partner/example.com/acme --since 2h --json",
    ),
)
def find(
    *,
    config: ConfigFile = None,
    id_: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="ID", help="The event with this id: ours, or the EventId that EventBridge gave."
        ),
    ] = None,
    position: Annotated[
        str | None,
        typer.Option(metavar="TOPIC/PARTITION/OFFSET", help="The record at this position."),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="With --key or --source: only records of this topic.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Records with this key: its text, or the JSON it decodes to."),
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="Records whose events go to this source.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="Records of that time or later: 2026-11-22T10:00Z, or 2h (ago). "
            f"Default, with --key and --source: {DEFAULT_SINCE}.",
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="Records before that.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="COUNT", help="Records listed, the newest ones.")
    ] = 100,
    bridge: Bridges = None,
    as_json: AsJson = False,
) -> None:
    """Find records, and what became of each.

    Delivered: when, with which EventId, in which request; every delivery, also by replay and resend.
    Dead-lettered: the code, and the state of the letter. Filtered: by which rule. Held or waiting: not
    settled yet, and why. Gone: not in the topic any more, and no receipt or letter is left. Unknown: settled,
    and nothing says how.

    Deliveries are known from receipts, where the configuration turns them on, and why records wait from
    running bridges. Reads only, and joins no group.
    By key and source it reads the topics in the range of time.

    Exit code 4: no record matches, or Kafka or the schema registry does not answer.
    """
    if [id_, position, key, source].count(None) != 3:
        raise typer.BadParameter("say which records: --id, --position, --topic with --key, or --source")
    if topic is not None and key is None and source is None:
        raise typer.BadParameter("it goes with --key or --source", param_hint="--topic")
    if key is not None and topic is None:
        raise typer.BadParameter("say of which topic, with --topic", param_hint="--key")
    if since is None and (key is not None or source is not None):
        since = DEFAULT_SINCE
    since_ms = None if since is None else zoned_time_ms(since, "--since")
    until_ms = None if until is None else zoned_time_ms(until, "--until")
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise typer.BadParameter(f"{since} is not before --until {until}: swap them", param_hint="--since")
    settings = settings_of(config, to_send=False)
    from connector.cli.found_events import Asked, find_events  # noqa: PLC0415

    asked = Asked(id_, position, topic, key, source, since_ms, until_ms, limit, bridge or ())
    raise typer.Exit(find_events(settings, asked, as_json=as_json))


def _offsets(text: str) -> tuple[int, int]:
    """The first and the last offset of `1042` or `1042-1050`."""
    found = re.fullmatch(r"([0-9]{1,19})(?:-([0-9]{1,19}))?", text)
    if found is None or (last := int(found[2] or found[1])) > MAX_OFFSET:
        raise typer.BadParameter(f"{text} is neither an offset, as 1042, nor a range, as 1042-1050")
    if last < (first := int(found[1])):
        raise typer.BadParameter(f"{text} ends before it begins; write {last}-{first}")
    return first, last


@app.command(
    "resend",
    epilog=examples(
        "partner-bridge events resend --topic orders.v1 --since 2026-11-22T10:00Z --until 2026-11-22T11:00Z",
        "partner-bridge events resend --topic orders.v1 --since 3h --until 2h --source "
        "aws.partner/example.com/acme --execute",
        "partner-bridge events resend --topic orders.v1 --partition 3 --offset 1042-1050 --execute",
    ),
)
def resend(
    *,
    context: typer.Context,
    config: ConfigFile = None,
    topic: Annotated[
        str, typer.Option(metavar="TOPIC", help="The topic, one that the configuration has a mapping for.")
    ],
    since: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="Records of that time or later: 2026-11-22T10:00Z, or 2h (ago). With --until.",
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Records before that. With --since.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only events of this source, its whole name.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Only records with this key: its text, or the JSON it decodes to."),
    ] = None,
    detail_type: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only events of this detail type, the whole text.")
    ] = None,
    partition: Annotated[
        int | None, typer.Option(min=0, metavar="NUMBER", help="Only records of this partition.")
    ] = None,
    offset: Annotated[
        str | None,
        typer.Option(
            metavar="OFFSET[-OFFSET]", help="With --partition, in place of times: its first and last offset."
        ),
    ] = None,
    rate: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="NUMBER",
            help="Events a second, at most; 0 for as fast as EventBridge takes them.",
        ),
    ] = 100,
    max_events: Annotated[
        int | None,
        typer.Option("--max", min=1, metavar="COUNT", help="Events sent by this run, at most. Default: all."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Begin anew, however far an earlier run of this resend came.")
    ] = False,
    execute: Execute = False,
    as_json: AsJson = False,
) -> None:
    """Send records of a topic once more, to one customer or to all.

    With the configuration as it is now. Without --execute it only counts what it would send, and to whom.
    Each event has the id it had the first time. The bridge may go on meanwhile: its offsets stay as they are,
    and no order is kept between what is sent again and newer events of the same key. Events whose source is
    not ACTIVE are left out. A record that fails becomes a dead letter.

    Stop it, or kill it, and run it again with the same selection: it goes on where it was. How far that is
    stands in a consumer group of its own; a resend that was finished sends nothing without --again.

    Exit code 4: events were left out; some failed, and none was sent; another run has some of the
    partitions; or Kafka or the schema registry does not answer. Exit code 3: it halted, since going on would
    only fail.
    """
    settings = settings_of(config)
    from connector.cli import resend  # noqa: PLC0415
    from connector.dead_letters.redelivery import Limits  # noqa: PLC0415
    from connector.resend.selection import ResendSelection  # noqa: PLC0415

    offsets = None
    if offset is not None:
        if partition is None:
            raise typer.BadParameter("say of which partition, with --partition", param_hint="--offset")
        offsets = _offsets(offset)
    if (since is None) != (until is None) or (since is None and offsets is None):
        raise typer.BadParameter(
            "a resend needs a range: --since and --until, or --partition with --offset",
            param_hint="--until" if until is None else "--since",
        )
    selection = ResendSelection(
        topic,
        since_ms=None if since is None else zoned_time_ms(since, "--since"),
        until_ms=None if until is None else zoned_time_ms(until, "--until"),
        partition=partition,
        offsets=offsets,
        key=key,
        source=source,
        detail_type=detail_type,
    )
    if selection.is_backwards:
        raise typer.BadParameter(f"{since} is not before --until {until}: swap them", param_hint="--since")
    request = resend.ResendRequest(
        selection,
        Limits(rate or None, max_events),
        is_anew=again,
        as_json=as_json,
        has_moving_times=is_ago(since) or is_ago(until),
    )
    raise typer.Exit(resend.resend(settings, request, context, execute=execute))
