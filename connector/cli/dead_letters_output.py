"""List, show and discard: the topics opened, the work done, and what people and scripts read of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self, TypeVar, cast

import orjson
import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from connector import config, process
from connector.cli.options import EXIT_CHECK_FAILED, EXIT_DONE, print_json
from connector.dead_letters.dry_run import DryRun, LookUp, NotReplayable, foreseen
from connector.dead_letters.format import CODE_CONNECT, NAMES, DeadLetter, letter_id
from connector.dead_letters.resolutions import DeadLetterState, Resolution, ResolutionTable
from connector.dead_letters.selection import Cases, Ids, Selection, StoredDeadLetter, missing_text, scan
from connector.dead_letters.topics import DeadLetterTopic, ResolutionTopic
from connector.dead_letters.totals import Totals, TotalsRow
from connector.errors import MEANINGS, Code, RecordError, UnavailableError
from connector.formats.registries import Registries
from connector.model import Json, Ranges, Record, SourceStatus, iso
from connector.pipeline import Dropped, Pipeline
from connector.sources.lookup import CachedStates
from connector.telemetry.log import configure_logging

LISTED = 10
"""Letters shown one by one, where nothing else is asked for."""

ROWS = 15
"""Values of one dimension that are shown; the rest is summed up in a row."""

MAX_MISSING = 10
"""Ids that do not exist, named one by one."""

PATIENCE_S = 10.0
"""How long `show` waits for a schema."""

FLUSH_S = 60.0

MAX_DEPTH = 6
MAX_FIELDS = 50
"""Of a shape; what is deeper or longer is summed up."""

T = TypeVar("T")


class DeadLetterSession:
    """The two topics and the configuration as it is now. Use it as a context."""

    def __init__(self, settings: config.Settings) -> None:
        configure_logging("error", settings.log.format)
        self.settings = settings
        self.topic = DeadLetterTopic(settings)
        self.resolutions = ResolutionTopic(settings)
        self._registries = Registries.of(settings)
        self.pipeline = Pipeline(settings, self._registries)
        self._lookups: CachedStates | None = None

    def look_up(self, target: str, source: str) -> SourceStatus:
        """What state a source is in.

        Raises:
            ConfigError: as `Publisher`.
        """
        if self._lookups is None:
            self._lookups = CachedStates(self.settings)  # only now, since most commands need none
        return self._lookups(target, source)

    def __enter__(self) -> Self:
        process.tune_gc()
        self.ranges: Ranges = self.topic.snapshot()
        self.pipeline.cluster_id = self.topic.cluster_id or self.pipeline.cluster_id
        if (problem := self.resolutions.problem(len(self.ranges))) is not None:
            _note(problem)
        return self

    def __exit__(self, *_: object) -> None:
        self.topic.close()
        self.resolutions.close()
        self._registries.close()
        if self._lookups is not None:
            self._lookups.close()

    def cases(self, selection: Selection) -> Cases:
        """Which letters speak for their records, found out with a progress bar on a terminal."""
        cases = Cases(self.topic.name, self.ranges, selection)
        with _bar("bringing letters of one record together", self._total(selection)) as advance:
            for records in cases.read(self.topic):
                advance(len(records))
        tell_stand_ins(cases)
        return cases

    def selected(
        self, selection: Selection, cases: Cases, resolved: ResolutionTable | None = None
    ) -> Iterator[Sequence[StoredDeadLetter]]:
        """The selected letters in batches, one of each record, with a progress bar on a terminal."""
        with _bar("reading", self._total(selection)) as advance:
            yield from scan(
                self.topic,
                resolved or self.resolved(),
                selection,
                self.ranges,
                max_replays=self.settings.dead_letter.max_replays,
                cases=cases,
                on_read=advance,
            )

    def resolved(self) -> ResolutionTable:
        """What became of each letter."""
        resolved = ResolutionTable(self.topic.name, self.ranges)
        if strange := self.resolutions.read_into(resolved):
            _note(f"{strange:,} records of {self.resolutions.name} are no resolutions and were left out")
        return resolved

    def counted(self, selection: Selection, listed: int) -> tuple[Totals, list[StoredDeadLetter], Cases]:
        """Totals of the selected letters, and the first of them.

        Most topics hold no two letters of one record, so letters are counted as they are read for the first
        time; where there are two, that was in vain, and they are read again.
        """
        resolved, cases = self.resolved(), Cases(self.topic.name, self.ranges, selection)
        match = selection.matcher(max_replays=self.settings.dead_letter.max_replays)
        totals, first = Totals(), list[StoredDeadLetter]()
        is_vain = not cases.is_whole
        with _bar("reading", self._total(selection)) as advance:
            for records in cases.read(self.topic):
                advance(len(records))
                is_vain = is_vain or cases.passed_over > 0
                if not is_vain:
                    _count((found for r in records if (found := match(r, resolved))), totals, first, listed)
        tell_stand_ins(cases)
        if is_vain or cases.passed_over:
            totals, first = Totals(), []
            for batch in self.selected(selection, cases, resolved):
                _count(batch, totals, first, listed)
        return totals, first, cases

    def _total(self, selection: Selection) -> int | None:
        """Letters to read; None where nobody knows how many of them."""
        return None if selection.ids is not None else sum(high - low for low, high in self.ranges.values())


# The commands ------------------------------------------------------------------------------------


def list_letters(settings: config.Settings, selection: Selection, *, limit: int | None, as_json: bool) -> int:
    """Print totals and the first letters, or every letter as a line of JSON; returns the exit code.

    Raises:
        ConfigError: the dead-letter topic does not exist.
        UnavailableError: Kafka does not answer.
    """
    with DeadLetterSession(settings) as desk:
        if as_json:
            return _list_as_json(desk, selection, limit)
        totals, first, cases = desk.counted(selection, LISTED if limit is None else limit)
        _print_totals(desk, selection, totals)
        _print_letters(first, totals.count)
        if cases.passed_over:
            more = _letters(cases.passed_over)
            _note(f"{more} with a newer one of the same record: that one alone is looked at and counted")
        _tell_oddities(desk, totals)
        return _tell_missing(desk, selection.ids)


def _list_as_json(desk: DeadLetterSession, selection: Selection, limit: int | None) -> int:
    totals = Totals()
    for batch in desk.selected(selection, desk.cases(selection)):
        for found in batch:
            if totals.count == limit:
                break
            totals.add(found)
            sys.stdout.write(orjson.dumps(_as_json(found)).decode() + "\n")
        if totals.count == limit:
            break
    _tell_oddities(desk, totals)
    return _tell_missing(desk, selection.ids)


def _count(
    batch: Iterable[StoredDeadLetter], totals: Totals, first: list[StoredDeadLetter], listed: int
) -> None:
    for found in batch:
        totals.add(found)
        if len(first) < listed:
            first.append(found)


def discard(settings: config.Settings, selection: Selection, *, reason: str, who: str, execute: bool) -> int:
    """Count the selected letters, and with `execute` mark them as discarded; returns the exit code.

    Raises:
        ConfigError: a topic does not exist, or is not fit for resolutions.
        DeadLetterError: what was done cannot be written.
        UnavailableError: Kafka does not answer.
    """
    with DeadLetterSession(settings) as desk:
        if execute:
            desk.resolutions.ensure(len(desk.ranges))
        totals = Totals()
        try:
            for batch in desk.selected(selection, desk.cases(selection)):
                for found in batch:
                    if execute:
                        desk.resolutions.write(
                            found.id,
                            Resolution(
                                state=DeadLetterState.DISCARDED,
                                at_ms=int(time.time() * 1000),
                                written_ms=found.written_ms,
                                reason=reason,
                                who=who,
                            ),
                        )
                    totals.add(found)
        finally:
            desk.resolutions.flush(FLUSH_S)
        if not totals.count:
            typer.echo(_nothing(desk, selection))
        elif execute:
            typer.echo(f"Discarded {_letters(totals.count)} of {desk.topic.name}, as {who}: {reason}")
        else:
            typer.echo(f"This would discard {_letters(totals.count)} of {desk.topic.name}:")
            _print_groups("code", totals.by("code"))
            typer.echo("\nNothing was changed. Add --reason and --execute to do it.")
        _tell_oddities(desk, totals)
        return _tell_missing(desk, selection.ids)


def show(settings: config.Settings, ids: Ids, *, payload: bool, as_json: bool) -> int:
    """Print all there is to know of some letters; returns the exit code.

    Raises:
        ConfigError: the dead-letter topic does not exist.
        UnavailableError: Kafka does not answer.
    """
    with DeadLetterSession(settings) as desk:
        selection = Selection(ids=ids, state="all")
        cases = desk.cases(selection)
        resolutions = desk.resolutions.find(list(cases.ids or ()))
        is_first = True
        for batch in desk.selected(selection, cases):
            for found in batch:
                report = _report(desk, found, resolutions.get(found.id), payload=payload)
                if as_json:
                    print_json(report)
                    continue
                # YAML also escapes what a terminal would take for commands.
                typer.echo("" if is_first else "---\n", nl=False)
                told = {name: field for name, field in report.items() if field is not None}
                typer.echo(yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=110), nl=False)
                is_first = False
        return _tell_missing(desk, ids)


# One letter --------------------------------------------------------------------------------------


def _as_json(found: StoredDeadLetter) -> dict[str, Json]:
    """A letter as `list --json` writes it. The id comes first: `--ids` looks for it there."""
    start: dict[str, Json] = {"id": letter_id(found.id), "state": found.state.label}
    written = iso(found.written_ms)
    letter = found.letter
    if letter is None:
        return start | {"code": "unreadable", "message": found.problem, "written": written}
    (topic, partition), offset = letter.record.position
    return start | {
        "code": letter.label.code,
        "message": letter.message,
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "timestamp": None if letter.record.timestamp_ms is None else iso(letter.record.timestamp_ms),
        "source": letter.label.source,
        "detail_type": letter.label.detail_type,
        "attempts": letter.label.attempts,
        "first_failure": iso(letter.first_failure_ms),
        "last_failure": iso(letter.last_failure_ms),
        "written": written,
        "replay_count": letter.label.replay_count,
        "event_id": letter.event_id,
        "bridge": letter.label.bridge,
        "key_bytes": _size(letter.record.key),
        "value_bytes": _size(letter.record.value),
        "value_omitted": letter.is_value_omitted,
    }


def _report(
    desk: DeadLetterSession, found: StoredDeadLetter, resolution: Resolution | None, *, payload: bool
) -> dict[str, Json]:
    """A letter as `show` tells it."""
    report = _as_json(found)
    letter = found.letter
    if letter is not None:
        report["meaning"] = _meaning(letter.label.code)
    if resolution is not None and found.state not in {DeadLetterState.OPEN, DeadLetterState.PARKED}:
        report["resolution"] = {
            "at": iso(resolution.at_ms),
            "event_id": resolution.event_id,
            "reason": resolution.reason,
            "who": resolution.who,
        }
    report["headers"] = {name: _text(value) for name, value in found.record.headers if name in NAMES}
    if letter is None:
        return report
    report["headers_arrived"] = [
        {"name": name, "value": _text(value)} if payload else {"name": name, "bytes": _size(value)}
        for name, value in letter.record.headers
    ]
    trial = DryRun(desk.pipeline, desk.topic.fetch_origin)
    try:
        letter = trial.whole(letter)
    except NotReplayable as error:
        return report | {"now": {"outcome": "cannot be sent", "why": str(error)}}
    for name, decode in (("key", desk.pipeline.decode_key), ("value", desk.pipeline.decode_value)):
        decoded = _decoded(decode, letter.record)
        report[name] = decoded if payload else _shape(decoded)
    return report | {"now": _prospect(trial, letter, desk.look_up, payload=payload)}


class _Undecodable(dict[str, Json]):
    """The error that stands where a value would."""


def _decoded(decode: Callable[[Record], Json], record: Record) -> Json:
    try:
        return _patiently(lambda: decode(record))
    except (RecordError, UnavailableError) as error:
        return _Undecodable(cannot_be_decoded=str(error))


def _prospect(trial: DryRun, letter: DeadLetter, look_up: LookUp, *, payload: bool) -> Json:
    """What the configuration as it is now makes of a letter."""
    try:
        (_, result), seen = _patiently(lambda: foreseen(letter, trial, look_up))
    except UnavailableError as error:
        return {"outcome": "cannot be said now", "why": str(error)}
    match result:
        case RecordError():
            return {"outcome": "would fail again", "code": result.code, "why": str(result)}
        case NotReplayable():
            return {"outcome": "would be left open", "why": str(result)}
        case Dropped():
            return {"outcome": "would not be sent", "why": f"the topic's `{result.reason}` rule drops it"}
    entry = cast("dict[str, Json]", orjson.loads(result.json))
    detail = cast("Json", orjson.loads(cast("str", entry.pop("Detail"))))
    return {
        "outcome": "would be sent",
        **({"source": f"may not be looked up: {seen.reason}"} if seen and seen.is_denied else {}),
        "event_id": trial.event_id(letter),
        "size_bytes": result.size_bytes,
        "entry": entry | {"Detail": detail if payload else _shape(detail)},
    }


def _patiently(attempt: Callable[[], T]) -> T:
    """The result; waits a while for a schema, which the registry fetches on a thread of its own."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return attempt()
        except UnavailableError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)


def _shape(value: Json, depth: int = 0) -> Json:
    """Names, kinds and sizes, and no values: what may be shown to anybody."""
    match value:
        case _Undecodable():
            return value
        case dict() if depth < MAX_DEPTH:
            shown: dict[str, Json] = {
                name: _shape(field, depth + 1) for name, field in list(value.items())[:MAX_FIELDS]
            }
            return shown | ({"…": f"{len(value) - MAX_FIELDS} more"} if len(value) > MAX_FIELDS else {})
        case list() if depth < MAX_DEPTH and value:
            return [f"{len(value)} of", _shape(value[0], depth + 1)]
        case dict() | list():
            return f"{'object' if isinstance(value, dict) else 'list'} of {len(value)}"
        case str():
            return f"text of {len(value)}"
        case bool():
            return "true or false"
        case int() | float():
            return "number"
        case None:
            return None


def _meaning(code: str) -> str:
    if code == CODE_CONNECT:
        return "A sink of Kafka Connect gave it up; the message is all it says."
    return MEANINGS.get(cast("Code", code), "This version of the bridge does not know the code.")


# What people read --------------------------------------------------------------------------------


def _print_totals(desk: DeadLetterSession, selection: Selection, totals: Totals) -> None:
    if not totals.count:
        typer.echo(_nothing(desk, selection))
        return
    (everything,) = totals.by("all").values()
    kind = "" if selection.state == "all" else f"{selection.state} "
    begin, end = _moment(everything.oldest_ms), _moment(everything.newest_ms)
    typer.secho(
        f"{totals.count:,} {kind}dead {'letter' if totals.count == 1 else 'letters'} in {desk.topic.name}, "
        f"written {begin} to {end} UTC",
        bold=True,
    )
    _print_groups("code", totals.by("code"))
    _print_groups("origin topic", totals.by("topic"))
    _print_groups("source", totals.by("source"))
    _print_groups("detail type", totals.by("detail_type"))
    _print_groups("hour", totals.by("hour"), in_order=True)
    if len(totals.by("state")) > 1:
        _print_groups("state", totals.by("state"))
    if len(totals.by("bridge")) > 1:
        _print_groups("written by", totals.by("bridge"))


def _print_groups(title: str, groups: Mapping[str, TotalsRow], *, in_order: bool = False) -> None:
    if not groups:
        return
    ranked = sorted(groups.items(), key=(lambda g: g[0]) if in_order else (lambda g: (-g[1].count, g[0])))
    shown, rest = (ranked[-ROWS:], ranked[:-ROWS]) if in_order else (ranked[:ROWS], ranked[ROWS:])
    rows = [
        (value, f"{group.count:,}", _moment(group.oldest_ms), _moment(group.newest_ms))
        for value, group in shown
    ]
    if rest:
        rows.append((f"{len(rest):,} more", f"{sum(group.count for _, group in rest):,}", "", ""))
    _print_table((title, "letters", "oldest", "newest"), rows)


def _print_letters(first: Sequence[StoredDeadLetter], count: int) -> None:
    if not first:
        return
    rows = [
        (
            letter_id(found.id),
            found.state.label,
            "unreadable" if found.label is None else found.label.code,
            found.problem or "" if found.letter is None else str(found.letter.record.position),
            _moment(found.written_ms),
        )
        for found in first
    ]
    _print_table(("id", "state", "code", "origin", "written"), rows)
    if count > len(first):
        typer.echo(f"  and {count - len(first):,} more: see --limit and --json")


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for a terminal, and aligned text elsewhere, whole lines both times."""
    typer.echo()
    console = Console(highlight=False)
    cleaned = [[_printable(cell) for cell in row] for row in rows]
    if console.is_terminal:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in header:
            table.add_column(title, justify="right" if title == "letters" else "left", overflow="fold")
        for row in cleaned:
            table.add_row(*map(Text, row))
        console.print(table)
        return
    widths = [max(len(row[at]) for row in (header, *cleaned)) for at in range(len(header))]
    for row in ([*header], *cleaned):
        cells = [
            f"{cell:>{width}}" if title == "letters" else f"{cell:<{width}}"
            for title, cell, width in zip(header, row, widths, strict=True)
        ]
        typer.echo("  ".join(cells).rstrip())


def _nothing(desk: DeadLetterSession, selection: Selection) -> str:
    held = sum(high - low for low, high in desk.ranges.values())
    if not held:
        return f"{desk.topic.name} is empty: there are no dead letters."
    kind = "" if selection.state == "all" else f"{selection.state} "
    return f"No {kind}dead letter matches; {desk.topic.name} holds {_letters(held)} in all."


def _tell_oddities(desk: DeadLetterSession, totals: Totals) -> None:
    """What is unusual about some letters, and stops none of the others."""
    for problem, group in totals.by("problem").items():
        _note(f"{_letters(group.count)} cannot be read: {problem}")
    for topic, group in totals.by("topic").items():
        if refusal := desk.pipeline.refusal(topic):
            _note(f"{_letters(group.count)} came from {topic} and cannot be sent again: {refusal}")
    ours = desk.settings.name
    for bridge, group in totals.by("bridge").items():
        if bridge != ours:
            _note(f"written by {bridge}, not by {ours}: {_letters(group.count)}")


def tell_stand_ins(cases: Cases) -> None:
    """Name the ids that were asked for and are not those of the newest letters."""
    for asked, newest in cases.stand_ins:
        _note(f"{letter_id(newest)} is a newer letter of the same record as {letter_id(asked)}: it is taken")


def _tell_missing(desk: DeadLetterSession, ids: Ids | None) -> int:
    """Name the ids that were asked for and are not there; the exit code."""
    missing = list(ids.unseen()) if ids is not None else []
    for letter in missing[:MAX_MISSING]:
        typer.echo(missing_text(letter, desk.ranges), err=True)
    if len(missing) > MAX_MISSING:
        typer.echo(f"and {len(missing) - MAX_MISSING:,} more ids that do not exist", err=True)
    return EXIT_CHECK_FAILED if missing else EXIT_DONE


@contextmanager
def _bar(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr where that is a terminal; call what is given with how many more were done."""
    talk = Console(stderr=True, highlight=False)
    if not talk.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=talk, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda count: bar.advance(task, count)


def _note(text: str) -> None:
    typer.echo(f"note: {_printable(text)}", err=True)


def _letters(count: int) -> str:
    return "1 letter" if count == 1 else f"{count:,} letters"


def _size(content: bytes | None) -> int | None:
    return None if content is None else len(content)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _printable(text: str) -> str:
    """Text of foreign origin, without what a terminal would take for commands."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _moment(unix_ms: int) -> str:
    return iso(unix_ms)[:19].replace("T", " ")
