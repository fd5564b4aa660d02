"""The work of `partner-bridge source pause` and `resume`: changes of the file of `pauses`."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import typer
import yaml

from connector.cli.output import note, print_text
from connector.config import units
from connector.config.pauses import parse_pauses
from connector.config.problems import Loc
from connector.config.yaml_file import parse_yaml
from connector.errors import ConfigError, why_failed
from connector.model import now_ms
from connector.process import EXIT_CHECK_FAILED, EXIT_USAGE
from connector.workbench.differences import JsonOrAbsent
from connector.workbench.splicing import UnspliceableError, spliced

KINDS = ("sources", "topics", "targets")


def pause(name: str, file: Path, *, until: str | None, for_s: float | None) -> None:
    """Pause a source in a file, which is created where it is missing."""
    ends = _end(until, for_s)
    text = _text(file)
    changed = _appended(_without(text, name), name, ends)
    _write(file, text, changed)
    print_text(f"{name} is paused in {file} until {ends or 'it is resumed'}.")
    if covering := _globs(changed, name):
        note(f"{' and '.join(covering)} in {file} pauses it as well")


def resume(name: str, file: Path) -> None:
    """Take a source out of a file. Ends with exit code 4 where a glob in it still pauses the source."""
    text = _text(file)
    changed = _without(text, name)
    if _rules(changed) != _rules(text):
        _write(file, text, changed)
        print_text(f"{name} is taken out of {file}.")
    elif not _globs(text, name):
        print_text(f"{name} is not paused in {file}. Nothing was changed.")
    if covering := _globs(changed, name):
        globs = " and ".join(covering)
        print_text(
            f"{name} stays paused: {globs} in {file} covers it. One name cannot be taken out of a glob: "
            "write the names that are to stay paused in its place.",
            err=True,
        )
        raise typer.Exit(EXIT_CHECK_FAILED)


def _end(until: str | None, for_s: float | None) -> str | None:
    """When the pause ends, in UTC; None where neither is given."""
    if until is not None and for_s is not None:
        raise typer.BadParameter("--until and --for both say when it ends; give one")
    now = datetime.now(UTC)
    if for_s is not None:
        option, given = "--for", units.show_seconds(for_s)
        try:
            end = now + timedelta(seconds=for_s)
        except OverflowError:
            raise typer.BadParameter(
                "it would end after the year 9999: without --for it lasts until `resume`", param_hint=option
            ) from None
    elif until is not None:
        option, given = "--until", until
        try:
            end = cast("datetime", units.moment(until))
        except ValueError as error:
            raise typer.BadParameter(f"{until} {error}", param_hint=option) from None
    else:
        return None
    end = end.replace(microsecond=0)
    if end <= now:
        raise typer.BadParameter(
            f"{given} is over: it is {units.show_moment(now.replace(microsecond=0))} now", param_hint=option
        )
    return units.show_moment(end)


# The file


def _text(file: Path) -> str:
    """The text of a file; empty where it is missing. One that the bridge could not use ends the command."""
    try:
        text = file.read_text("utf-8")
        parse_pauses(text, name="YAML")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = why_failed(error) if isinstance(error, OSError) else "it is not UTF-8"
        print_text(f"{file} cannot be read, and nothing was changed: {reason}", err=True)
    except ConfigError as error:
        for line in (f"{file} cannot be used, and nothing was changed:", *map(str, error.problems)):
            print_text(line, err=True)
    else:
        return text
    raise typer.Exit(EXIT_USAGE)


def _write(file: Path, before: str, text: str) -> None:
    """Put the text in the place of a file in one step, so that no reader finds half of it."""
    try:
        made = tempfile.NamedTemporaryFile(  # noqa: SIM115 - it gets another name
            "w", encoding="utf-8", dir=file.resolve().parent, prefix=f".{file.name}.", delete=False
        )
        with made:
            made.write(text)
        Path(made.name).chmod(file.stat().st_mode & 0o777 if file.exists() else 0o644)
        os.replace(made.name, file.resolve())  # noqa: PTH105 - the link stays where the file is one
    except OSError as error:
        print_text(f"{file} cannot be written: {why_failed(error)}", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    if _comments(before) > _comments(text):
        note(f"{file} was written anew, and comments in it are lost")


def _comments(text: str) -> int:
    return len(re.findall(r"(?m)(?:^|\s)#", text))


# The rules


def _rules(text: str) -> list[dict[str, Any]]:
    """The rules as they are written."""
    values: Any = json.loads(json.dumps(parse_yaml(text, name="YAML", loc=("pauses",)).values)) or []
    return [values] if isinstance(values, dict) else [rule for rule in values if rule]


def _globs(text: str, name: str) -> list[str]:
    """The patterns that pause a source besides its name."""
    others = (each for each in parse_pauses(text, name="YAML") if each.kind == "source" and each.name != name)
    return [each.name for each in others if each.lasts(now_ms()) and fnmatchcase(name, each.name)]


def _without(text: str, name: str) -> str:
    """The text without the name of a source; a rule that pauses nothing then goes with it."""
    rules = _rules(text)
    wanted = [{**rule, "sources": [s for s in rule.get("sources") or () if s != name]} for rule in rules]
    changed = {
        index: rule["sources"]
        for index, rule in enumerate(wanted)
        if rule["sources"] != (rules[index].get("sources") or [])
    }
    if not changed:
        return text
    empty = [index for index in changed if not any(wanted[index].get(kind) for kind in KINDS)]
    kept = [wanted[i] if i in changed else rule for i, rule in enumerate(rules) if i not in empty]
    with suppress(UnspliceableError, yaml.YAMLError):
        is_list = isinstance(yaml.compose(text, yaml.SafeLoader), yaml.SequenceNode)
        shorter: dict[Loc, JsonOrAbsent] = {
            (index, "sources") if is_list else ("sources",): names
            for index, names in changed.items()
            if index not in empty
        }
        edited = _cut(spliced(text, shorter) if shorter else text, empty)
        if _rules(edited) == kept:
            return edited
    return _anew(text, kept)


def _cut(text: str, indexes: Sequence[int]) -> str:
    """The text without these items of a list whose items begin lines; otherwise as it is."""
    node = yaml.compose(text, yaml.SafeLoader)
    if not indexes or not isinstance(node, yaml.SequenceNode) or node.flow_style:
        return text
    lines = text.splitlines(keepends=True)
    starts = [item.start_mark.line for item in node.value]
    ends = [*starts[1:], node.end_mark.line if node.end_mark.column == 0 else len(lines)]
    gone = {
        line for index in indexes for line in range(starts[index], _end_of(lines, starts[index], ends[index]))
    }
    return "".join(line for number, line in enumerate(lines) if number not in gone)


def _end_of(lines: Sequence[str], start: int, end: int) -> int:
    """Where an item ends: comments in front of the next one belong to that."""
    while end > start + 1 and re.match(r"\s*(#|$)", lines[end - 1]):
        end -= 1
    return end


def _appended(text: str, name: str, until: str | None) -> str:
    """The text with a rule more, for one source."""
    rule: dict[str, Any] = {"sources": [name]} | ({} if until is None else {"until": until})
    wanted = [*_rules(text), rule]
    node = yaml.compose(text, yaml.SafeLoader)
    begun = text if not text or text.endswith("\n") else f"{text}\n"
    if node is None or (isinstance(node, yaml.SequenceNode) and not node.flow_style):
        indent = " " * (node.start_mark.column if node else 0)
        edited = begun + "".join(f"{indent}{line}\n" for line in _lines(rule))
        if _rules(edited) == wanted:
            return edited
    return _anew(text, wanted)


def _lines(rule: dict[str, Any]) -> Iterator[str]:
    yield f"- sources: [{', '.join(rule['sources'])}]"
    if "until" in rule:
        yield f"  until: {rule['until']}"


def _anew(text: str, rules: Sequence[dict[str, Any]]) -> str:
    """The rules, in the language that the text is in."""
    rules = [{key: value for key, value in rule.items() if value} for rule in rules]
    if text.lstrip()[:1] in {"{", "["}:
        return json.dumps(rules, indent=2, ensure_ascii=False) + "\n"
    return yaml.safe_dump(rules, sort_keys=False, allow_unicode=True) if rules else ""
