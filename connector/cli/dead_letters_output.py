"""`dead-letters list`, `show` and `discard`: the text and the JSON that they print.

They raise what `DeadLetterSession` raises.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import orjson
import typer
import yaml

from connector import config
from connector.cli.dead_letter_report import full_report, summary
from connector.cli.dead_letters_session import DeadLetterSession
from connector.cli.output import (
    note,
    plural,
    print_json,
    print_table,
    print_text,
    print_values,
    printable,
    wrap_lines,
)
from connector.dead_letters.format import letter_id
from connector.dead_letters.selection import Ids, Selection, StoredDeadLetter, missing_text
from connector.dead_letters.totals import Totals, TotalsRow
from connector.model import iso
from connector.process import EXIT_CHECK_FAILED, EXIT_DONE

LISTED = 10
"""Letters listed one by one, without `--limit`."""

ROWS = 15
"""Values of one dimension that have a row each; the others share a row."""

MAX_MISSING = 10
"""Ids that do not exist, named one by one."""


def list_letters(settings: config.Settings, selection: Selection, *, limit: int | None, as_json: bool) -> int:
    """Print totals and the first letters, or every letter as a line of JSON; returns the exit code."""
    with DeadLetterSession(settings) as session:
        if as_json:
            return _list_json(session, selection, limit)
        totals, first, cases = session.totals_and_first(selection, LISTED if limit is None else limit)
        _print_totals(session, selection, totals)
        _print_letters(first, totals.count)
        if cases.passed_over:
            older = plural(cases.passed_over, "letter")
            note(f"{older} with a newer one of the same record: that one alone is selected and counted")
        return _finish(session, selection.ids, totals)


def _list_json(session: DeadLetterSession, selection: Selection, limit: int | None) -> int:
    totals = Totals()
    for batch in session.selected(selection, session.cases(selection), are_printed=True):
        for found in batch:
            if totals.count == limit:
                break
            totals.add(found)
            sys.stdout.write(orjson.dumps(summary(found)).decode() + "\n")
        if totals.count == limit:
            break
    return _finish(session, selection.ids, totals)


def discard(settings: config.Settings, selection: Selection, *, reason: str, who: str) -> int:
    """Discard the selected letters and print their number; returns the exit code."""
    with DeadLetterSession(settings) as session:
        totals = session.discard(selection, reason=reason, who=who)
        if totals.count:
            print_text(
                f"Discarded {plural(totals.count, 'letter')} of {session.topic.name}, as {who}: {reason}"
            )
        else:
            print_why_none(session, selection)
        return _finish(session, selection.ids, totals)


def plan_discard(settings: config.Settings, selection: Selection, *, has_reason: bool) -> int:
    """Print the letters that `discard` would discard, counted by code; returns the exit code."""
    with DeadLetterSession(settings) as session:
        totals, _, _ = session.totals_and_first(selection, 0)
        if totals.count:
            typer.echo(f"This would discard {plural(totals.count, 'letter')} of {session.topic.name}:")
            _print_groups("code", totals.by("code"))
            missing = "--execute" if has_reason else "--reason and --execute"
            typer.echo(f"\nNothing was changed. Add {missing} to do it.")
        else:
            print_why_none(session, selection)
        return _finish(session, selection.ids, totals)


def show(settings: config.Settings, ids: Ids, *, payload: bool, as_json: bool) -> int:
    """Print everything known about some letters; returns the exit code."""
    with DeadLetterSession(settings) as session:
        selection = Selection(ids=ids, state="all")
        cases = session.cases(selection)
        resolutions = session.resolutions.find(list(cases.ids or ()))
        is_first = True
        for batch in session.selected(selection, cases, are_printed=True):
            for found in batch:
                report = full_report(session, found, resolutions.get(found.id), payload=payload)
                if as_json:
                    print_json(report)
                    continue
                # YAML also escapes what a terminal would take for commands.
                typer.echo("" if is_first else "---\n", nl=False)
                shown = {name: field for name, field in report.items() if field is not None}
                text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=sys.maxsize)
                typer.echo(wrap_lines(text), nl=False)
                is_first = False
        return _report_missing(session, ids)


def _print_totals(session: DeadLetterSession, selection: Selection, totals: Totals) -> None:
    if not totals.count:
        print_why_none(session, selection)
        return
    (everything,) = totals.by("all").values()
    kind = "" if selection.state == "all" else f"{selection.state} "
    begin, end = _moment(everything.oldest_ms), _moment(everything.newest_ms)
    written = begin if begin == end else f"{begin} to {end}"
    print_text(
        f"{plural(totals.count, f'{kind}dead letter')} in {session.topic.name}, written {written} UTC",
        bold=True,
    )
    dimensions = {
        "code": totals.by("code"),
        "origin topic": totals.by("topic"),
        "source": totals.by("source"),
        "detail type": totals.by("detail_type"),
        "hour": totals.by("hour"),
    }
    dimensions |= {
        title: groups
        for title, groups in {"state": totals.by("state"), "written by": totals.by("bridge")}.items()
        if len(groups) > 1
    }
    # What all letters have in common takes a line, and not a table. Their hour is in the line above.
    common = {
        title: value
        for title, groups in dimensions.items()
        for value, group in groups.items()
        if group.count == totals.count
    }
    shown = {title: printable(value) for title, value in common.items() if title != "hour"}
    print_values(shown, indent="  ")
    for title, groups in dimensions.items():
        if title not in common:
            _print_groups(title, groups, in_order=title == "hour")


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
    typer.echo()
    print_table((title, "letters", "oldest", "newest"), rows, right={"letters"})


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
    typer.echo()
    print_table(("id", "state", "code", "origin", "written"), rows)
    if count > len(first):
        typer.echo(f"  and {count - len(first):,} more: see --limit and --json")


def print_why_none(session: DeadLetterSession, selection: Selection) -> None:
    """Print what a selection that matches no letter looked for, where, and what there is instead."""
    for sentence in session.why_none(selection):
        print_text(printable(sentence))


def _finish(session: DeadLetterSession, ids: Ids | None, totals: Totals) -> int:
    """Write notes about unusual letters, and about ids that do not exist; returns the exit code."""
    for problem, group in totals.by("problem").items():
        note(f"{plural(group.count, 'letter')} cannot be read: {problem}")
    for topic, group in totals.by("topic").items():
        if refusal := session.pipeline.refusal(topic):
            note(f"{plural(group.count, 'letter')} came from {topic} and cannot be sent again: {refusal}")
    ours = session.settings.name
    for bridge, group in totals.by("bridge").items():
        if bridge != ours:
            note(f"written by {bridge}, not by {ours}: {plural(group.count, 'letter')}")
    return _report_missing(session, ids)


def _report_missing(session: DeadLetterSession, ids: Ids | None) -> int:
    """Name the ids that do not exist; returns the exit code."""
    missing = list(ids.unseen()) if ids is not None else []
    for letter in missing[:MAX_MISSING]:
        typer.echo(missing_text(letter, session.ranges), err=True)
    if len(missing) > MAX_MISSING:
        typer.echo(f"and {len(missing) - MAX_MISSING:,} more ids that do not exist", err=True)
    return EXIT_CHECK_FAILED if missing else EXIT_DONE


def _moment(unix_ms: int) -> str:
    return iso(unix_ms)[:19].replace("T", " ")
