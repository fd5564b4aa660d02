"""`partner-bridge dead-letters`: the commands and their arguments.

The modules beside this one do the work. They import much, and so a command imports them when it runs.
"""

from __future__ import annotations

import dataclasses
import functools
import getpass
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Concatenate, NamedTuple, ParamSpec, TypeAlias, cast

import typer

from connector.cli.options import AsJson, ConfigFile, Execute, examples, settings_of
from connector.cli.times import time_ms

if TYPE_CHECKING:
    from connector.config.settings import Settings
    from connector.dead_letters.selection import Ids, Selection, Wanted

app = typer.Typer(
    help="List dead letters; show, replay or discard them.",
    epilog=examples(
        "partner-bridge dead-letters list",
        "partner-bridge dead-letters list --code template_null --since 2h",
        "partner-bridge dead-letters show orders-bridge.dlt/3/1042",
        "partner-bridge dead-letters replay --code template_null --execute",
        "partner-bridge dead-letters discard --topic old.v1 --reason 'topic retired'",
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
)

STATES: tuple[Wanted, ...] = ("open", "delivered", "discarded", "parked", "all")


def _key(text: str) -> bytes:
    if not text.startswith("hex:"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return bytes.fromhex(text[4:])
    except ValueError:
        raise typer.BadParameter(f"{text}: after hex: come pairs of 0-9 a-f") from None


def _state(text: str) -> str:
    if text not in STATES:
        raise typer.BadParameter(f"{text} is none of {', '.join(STATES)}")
    return text


P = ParamSpec("P")
Command: TypeAlias = Callable[..., None]

Texts = list[str] | None
Numbers = list[int] | None

Code = Annotated[
    Texts,
    typer.Option(
        metavar="CODE",
        help="Code of the failure. Options like this may be given several times; * is any text.",
    ),
]
Topic = Annotated[Texts, typer.Option(metavar="TOPIC", help="Topic the record came from.")]
Partition = Annotated[Numbers, typer.Option(min=0, metavar="NUMBER", help="Its partition there.")]
Offset = Annotated[Numbers, typer.Option(min=0, metavar="NUMBER", help="Its offset there.")]
Key = Annotated[Texts, typer.Option(metavar="KEY", help="Its key, as text, or as hex:00ff.")]
Source = Annotated[Texts, typer.Option(metavar="NAME", help="Source of the event, its whole name.")]
DetailType = Annotated[Texts, typer.Option(metavar="TEXT", help="Detail type of the event.")]
Since = Annotated[
    str | None, typer.Option(metavar="WHEN", help="Written then or later: 2h (ago), or 2026-11-22T10:00Z.")
]
Until = Annotated[str | None, typer.Option(metavar="WHEN", help="Written before that.")]
MinAttempts = Annotated[
    int, typer.Option(min=0, metavar="COUNT", help="Sent at least this often before it was given up.")
]
State = Annotated[str, typer.Option(callback=_state, metavar="STATE", help=f"One of {', '.join(STATES)}.")]
IdsFile = Annotated[
    str | None,
    typer.Option(
        "--ids",
        metavar="FILE",
        help="Exactly these, as `list --json` wrote them; - is stdin. The id of an older letter stands for "
        "the newest one of its record.",
    ),
]


def _ids(file: str | None, settings: Settings, also: Sequence[str] = ()) -> Ids | None:
    """Read the ids in a file and on the command line; None where neither is given."""
    if file is None and not also:
        return None
    from connector.dead_letters.selection import parse_ids  # noqa: PLC0415

    topic = settings.dead_letter.topic
    try:
        if file is None:
            return parse_ids(also, topic)
        if file == "-":
            return parse_ids([*also, *sys.stdin], topic)
        with Path(file).open(encoding="utf-8", errors="replace") as lines:
            return parse_ids((line for part in (also, lines) for line in part), topic)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="--ids") from None


class SelectedLetters(NamedTuple):
    """The values of the options that select letters."""

    settings: Settings
    selection: Selection

    def in_state(self, state: str) -> Selection:
        """Restrict the selection to letters in a state."""
        return dataclasses.replace(self.selection, state=cast("Wanted", state))


def _selected(
    *,
    to_send: bool,
    config: ConfigFile = None,
    code: Code = None,
    topic: Topic = None,
    partition: Partition = None,
    offset: Offset = None,
    key: Key = None,
    source: Source = None,
    detail_type: DetailType = None,
    since: Since = None,
    until: Until = None,
    min_attempts: MinAttempts = 0,
    ids: IdsFile = None,
) -> SelectedLetters:
    """Turn the options that select letters into a selection; with the settings that the command needs."""
    from connector.dead_letters.selection import Selection  # noqa: PLC0415

    settings = settings_of(config, to_send=to_send)
    selection = Selection(
        codes=code or (),
        topics=topic or (),
        partitions=partition or (),
        offsets=offset or (),
        keys=[_key(text) for text in key or ()],
        sources=source or (),
        detail_types=detail_type or (),
        since_ms=None if since is None else time_ms(since),
        until_ms=None if until is None else time_ms(until),
        min_attempts=min_attempts,
        ids=_ids(ids, settings),
    )
    return SelectedLetters(settings, selection)


def _selecting(*, to_send: bool) -> Callable[[Callable[Concatenate[SelectedLetters, P], None]], Command]:
    """Give a command the options of `_selected` before its own, and their values as its first argument."""
    shared = list(inspect.signature(_selected, eval_str=True).parameters.values())[1:]

    def selecting(command: Callable[Concatenate[SelectedLetters, P], None]) -> Command:
        _, *own = inspect.signature(command, eval_str=True).parameters.values()

        @functools.wraps(command)
        def run(*args: P.args, **given: P.kwargs) -> None:
            chosen = {option.name: given.pop(option.name) for option in shared}
            command(_selected(to_send=to_send, **chosen), *args, **given)  # type: ignore[arg-type]

        run.__signature__ = inspect.Signature([*shared, *own])  # type: ignore[attr-defined]
        return run

    return selecting


@app.command(
    "list",
    epilog=examples(
        "partner-bridge dead-letters list",
        "partner-bridge dead-letters list --code 'template_*' --since 2h",
        "partner-bridge dead-letters list --state parked --json > parked.jsonl",
    ),
)
@_selecting(to_send=False)
def list_letters(
    selected: SelectedLetters,
    *,
    state: State = "open",
    limit: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="COUNT", help="Letters shown one by one. Default: 10, or all with --json."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count the dead letters and show the first ones.

    By code, origin topic, source, detail type and hour, each with the oldest and the newest. Of several
    letters of one record only the newest counts, here and in the other commands. With --json, one line of
    JSON for each letter, and no totals. Reads what the topic holds now, and joins no group.

    Exit code 4: an id of --ids does not exist, or Kafka does not answer.
    """
    from connector.cli import dead_letters_output  # noqa: PLC0415

    settings, selection = selected.settings, selected.in_state(state)
    raise typer.Exit(dead_letters_output.list_letters(settings, selection, limit=limit, as_json=as_json))


@app.command(
    "show",
    epilog=examples(
        "partner-bridge dead-letters show orders-bridge.dlt/3/1042",
        "partner-bridge dead-letters show orders-bridge.dlt/3/1042 --payload",
    ),
)
def show(
    letters: Annotated[list[str] | None, typer.Argument(metavar="ID", help="As `list` shows them.")] = None,
    *,
    config: ConfigFile = None,
    ids: IdsFile = None,
    payload: Annotated[
        bool, typer.Option("--payload", help="Show values too, and not only names, shapes and sizes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show all there is to know of a letter.

    Or of a newer one of the same record, if there is one. The error in words, the decoded record, its
    resolution, and the outcome of a replay with the current configuration: the event, or the error it would
    still get.

    Exit code 4: an id does not exist, or Kafka does not answer.
    """
    if not letters and ids is None:
        raise typer.BadParameter("name a letter, as orders-bridge.dlt/3/1042, or a file with --ids")
    settings = settings_of(config)
    from connector.cli import dead_letters_output  # noqa: PLC0415

    wanted = _ids(ids, settings, letters or ())
    assert wanted is not None  # noqa: S101 - there is one or the other
    raise typer.Exit(dead_letters_output.show(settings, wanted, payload=payload, as_json=as_json))


@app.command(
    "discard",
    epilog=examples(
        "partner-bridge dead-letters discard --code tombstone",
        "partner-bridge dead-letters discard --code tombstone --reason OPS-17",
    ),
)
@_selecting(to_send=False)
def discard(
    selected: SelectedLetters,
    *,
    state: State = "open",
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; kept with each letter. Needed with --execute.")
    ] = None,
    who: Annotated[
        str | None, typer.Option(metavar="NAME", help="Your name; kept too. Default: the user.")
    ] = None,
    execute: Execute = False,
) -> None:
    """Mark letters as not to be sent, ever.

    They stay in the topic for as long as it retains them. Without --execute it only counts them.

    Exit code 4: an id of --ids does not exist, or Kafka does not answer.
    """
    if state not in {"open", "parked"}:
        raise typer.BadParameter("only open or parked letters can be discarded", param_hint="--state")
    reason = (reason or "").strip()
    if execute and not reason:
        raise typer.BadParameter("say why, in a few words", param_hint="--reason")
    from connector.cli import dead_letters_output  # noqa: PLC0415

    settings, selection = selected.settings, selected.in_state(state)
    if not execute:
        raise typer.Exit(dead_letters_output.plan_discard(settings, selection, has_reason=bool(reason)))
    who = who or _user()
    raise typer.Exit(dead_letters_output.discard(settings, selection, reason=reason, who=who))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"  # a container may run as a number that has no name


@app.command(
    "replay",
    epilog=examples(
        "partner-bridge dead-letters replay --code template_null",
        "partner-bridge dead-letters replay --code template_null --execute",
        "partner-bridge dead-letters replay --ids parked.jsonl --rate 0 --execute",
    ),
)
@_selecting(to_send=True)
def replay(
    selected: SelectedLetters,
    *,
    context: typer.Context,
    rate: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="NUMBER",
            help="Letters a second, at most; 0 for as fast as EventBridge takes them.",
        ),
    ] = 100,
    max_letters: Annotated[
        int | None,
        typer.Option("--max", min=1, metavar="COUNT", help="Letters tried, at most. Default: all."),
    ] = None,
    max_replays: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="COUNT",
            help="Skip letters that were replayed this often. Default: dead_letter.max_replays.",
        ),
    ] = None,
    execute: Execute = False,
    as_json: AsJson = False,
) -> None:
    """Send open letters again, with the configuration as it is now.

    Without --execute it only shows the outcome. Each event has the id it had before. A letter that fails
    again is written as a new letter. Stop it, or kill it, and run it again: a letter with a recorded
    resolution is not sent again. At a stop, requests in flight have two seconds to finish.

    Exit code 4: letters were left open because they could not be tried, or some failed again and none was
    delivered; an id of --ids does not exist; or Kafka does not answer. Exit code 3: it halted, since going on
    would only fail.
    """
    from connector.cli import replay  # noqa: PLC0415
    from connector.dead_letters.redelivery import Limits  # noqa: PLC0415

    settings = selected.settings
    request = replay.ReplayRequest(
        selected.selection,
        Limits(rate or None, max_letters),
        max_replays=settings.dead_letter.max_replays if max_replays is None else max_replays,
        as_json=as_json,
    )
    raise typer.Exit(replay.replay(settings, request, context, execute=execute))
