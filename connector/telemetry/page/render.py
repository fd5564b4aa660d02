"""The page as HTML, from what the board and `/readyz` say. Names of records are text in it, never markup.

Imported with the first look at the page: Jinja costs a start what no probe needs.
"""

from __future__ import annotations

import heapq
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qs, urlencode

import jinja2

from connector.model import INACTIVE, STATES, SourceReport, SourceState, iso_second, now_ms
from connector.telemetry.page.board import Issue, IssueKey, PartitionReport, TargetReport
from connector.telemetry.page.charts import HEIGHT, WIDTH, charts
from connector.telemetry.page.contents import Contents
from connector.telemetry.page.history import Sample
from connector.telemetry.page.words import Sentence, Situation, counted, duration, sentence

FOLDER = Path(__file__).parent

T = TypeVar("T")

SOURCES_A_PAGE = 100
MAX_PARTITIONS = 200
"""Partitions shown, those furthest behind first."""

MAX_FIELDS = 20
"""Of a query; the page itself asks for four."""

MAX_ISSUES = 100
"""Issues shown, those seen last first."""

PIECE = 200
"""Expressions of the template that are written in one go, in a fraction of a millisecond."""

SOURCES_A_PIECE = 500
"""Sources that are looked through in one go, likewise."""

STATE_FILTERS = ("not active", "failing", "held", "paused", *STATES)
"""What the list of sources can be narrowed to."""

SORTS = ("worst", "name", "held", "since", "last delivered")


class TargetRow(NamedTuple):
    """A target, as the page shows it."""

    report: TargetReport
    per_minute: float | None
    percentiles: tuple[float, float] | None
    throttled: float | None
    """Share of the entries of answered requests, in the last minute."""


class SourceRow(NamedTuple):
    """A source, as the page shows it."""

    target: str
    report: SourceReport
    failing: str | None
    """Why it takes nothing while others do."""


class SourcePage(NamedTuple):
    """One page of the sources that were asked for."""

    rows: Sequence[SourceRow]
    found: int
    every: int
    number: int
    last: int
    search: str
    state: str
    sort: str

    def link(self, number: int) -> str:
        """The address of another page of the same list."""
        asked = {"q": self.search, "state": self.state, "sort": self.sort, "page": str(number)}
        return f"?{urlencode(asked)}#sources"


class IssueRow(NamedTuple):
    """Dead letters that belong together, as the page shows them."""

    code: str
    source: str | None
    topic: str
    issue: Issue
    commands: Sequence[str]
    open_letters: int | None
    """With this code, in the whole topic; None where they are not counted."""


def _asked(query: str) -> dict[str, str]:
    """The fields of a query; none where there are more than the page could have asked for."""
    try:
        return {name: values[-1] for name, values in parse_qs(query, max_num_fields=MAX_FIELDS).items()}
    except ValueError:
        return {}


def html(contents: Contents, query: str) -> bytes:
    """The whole page; `query` is what the reader asked of the list of sources."""
    asked = _asked(query)
    partitions = sorted(contents.board.partitions, key=_how_late, reverse=True)
    targets = [_target_row(each, contents) for each in contents.board.targets]
    sources = [(target, each) for target, many in contents.health.source_reports().items() for each in many]
    failing = {(target, each.source): each.reason for target, each in contents.health.failing_sources()}
    issues, letters_open = contents.board.issues, contents.letters_open()
    pieces = _template().stream(
        name=contents.name,
        at=iso_second(now_ms()),
        sentence=_sentence(contents, partitions, targets, sources, failing),
        targets=targets,
        partitions=partitions[:MAX_PARTITIONS],
        partitions_left=max(0, len(partitions) - MAX_PARTITIONS),
        sources=_source_page(sources, failing, asked),
        issues=_issue_rows(issues, letters_open, contents.config_file),
        issues_left=max(0, len(issues) - MAX_ISSUES),
        issues_forgotten=contents.board.issues_forgotten,
        letters_open=letters_open and _open_by_code(letters_open),
        charts=charts(contents.board.history),
        configuration=contents.configuration(),
        versions=contents.versions,
        runbook_url=contents.runbook_url,
        **CONSTANTS,
    )
    pieces.enable_buffering(PIECE)
    # A name from JSON may hold half a surrogate pair.
    return b"".join(piece.encode("utf-8", "replace") for piece in _yielding(pieces))


def _yielding(items: Iterable[T], *, after: int = 1) -> Iterator[T]:
    """The same, with the GIL offered after so many of them.

    The bridge thread lets go of it with every call of the system. Each time it would wait the five ms after
    which Python takes it from a thread that does not let go.
    """
    for number, item in enumerate(items, start=1):
        yield item
        if number % after == 0:
            time.sleep(0)


def file(name: str) -> bytes:
    """The stylesheet, or the script."""
    return (FOLDER / name).read_bytes()


CONSTANTS = {"chart_width": WIDTH, "chart_height": HEIGHT, "states": STATE_FILTERS, "sorts": SORTS}


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(FOLDER),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"duration": duration, "second": iso_second, "ago": _ago, "number": _number}
    environment.globals["counted"] = counted
    return environment.get_template("page.html")


def _ago(unix_ms: int) -> str:
    seconds = (now_ms() - unix_ms) / 1000
    if seconds < -1:
        return f"in {duration(-seconds)}"
    return f"{duration(round(seconds))} ago" if seconds >= 1 else "just now"


def _number(value: float) -> str:
    return f"{round(value):,}" if value >= 10 or value == round(value) else f"{value:.1f}"


def _how_late(partition: PartitionReport) -> tuple[float, int]:
    return partition.behind_s, partition.lag or 0


# The first sentence


def _sentence(
    contents: Contents,
    partitions: Sequence[PartitionReport],
    targets: Sequence[TargetRow],
    sources: Iterable[tuple[str, SourceReport]],
    failing: Mapping[tuple[str, str], str],
) -> Sentence:
    states: Counter[SourceState] = Counter(each.state for _, each in sources)
    return sentence(
        Situation(
            ready=contents.health.ready()[1],
            per_minute=sum(each.per_minute or 0.0 for each in targets),
            is_delivering=contents.board.is_delivering,
            targets=len(targets),
            partitions=partitions,
            waiting=max(
                sum(each.lag or 0 for each in partitions), sum(each.report.waiting for each in targets)
            ),
            source_states=states,
            sources_failing=len(failing),
            dead_lettered=contents.board.lately_dead_lettered,
            is_throttled=contents.board.is_throttled,
        )
    )


def _target_row(report: TargetReport, contents: Contents) -> TargetRow:
    per_minute = throttled = None
    if (lately := contents.board.history.lately()) is not None:
        before, after = (_totals(sample, report.name) for sample in lately)
        minutes = (lately[1].at_s - lately[0].at_s) / 60
        per_minute = (after[0] - before[0]) / minutes
        if answered := after[1] - before[1]:
            throttled = (after[2] - before[2]) / answered
    return TargetRow(report, per_minute, contents.board.percentiles.get(report.name), throttled)


def _totals(sample: Sample, target: str) -> tuple[int, int, int]:
    return sample.targets.get(target, (0, 0, 0))


# Sources


def _source_page(
    sources: Iterable[tuple[str, SourceReport]],
    failing: Mapping[tuple[str, str], str],
    asked: Mapping[str, str],
) -> SourcePage:
    """Filtered and cut before rows are made: there may be 10,000."""
    search, state = asked.get("q", "").strip(), asked.get("state", "")
    sort = asked.get("sort", SORTS[0])
    state = state if state in STATE_FILTERS else ""
    sort = sort if sort in SORTS else SORTS[0]
    every = list(sources)
    found = [
        each
        for each in _yielding(every, after=SOURCES_A_PIECE)
        if _is_wanted(*each, failing, search.lower(), state)
    ]
    last = max(1, -(-len(found) // SOURCES_A_PAGE))
    number = min(max(1, _whole(asked.get("page", "1"))), last)
    end = number * SOURCES_A_PAGE
    shown = heapq.nsmallest(end, _yielding(found, after=SOURCES_A_PIECE), key=_order(sort, failing))[
        end - SOURCES_A_PAGE :
    ]
    rows = [SourceRow(target, each, failing.get((target, each.source))) for target, each in shown]
    return SourcePage(rows, len(found), len(every), number, last, search, state, sort)


def _is_wanted(
    target: str, each: SourceReport, failing: Mapping[tuple[str, str], str], search: str, state: str
) -> bool:
    if search and search not in each.source.lower() and search not in (each.account or ""):
        return False
    match state:
        case "":
            return True
        case "not active":
            return each.state in INACTIVE
        case "failing":
            return (target, each.source) in failing
        case "held":
            return each.held > 0
        case "paused":
            return each.pause is not None
        case _:
            return each.state == state


def _order(
    sort: str, failing: Mapping[tuple[str, str], str]
) -> Callable[[tuple[str, SourceReport]], tuple[float, int, str, str]]:
    def place(found: tuple[str, SourceReport]) -> tuple[float, int, str, str]:
        target, each = found
        match sort:
            case "held":
                first = -float(each.held)
            case "since":
                first = -float(each.since_ms)
            case "last delivered":
                first = -float(each.last_delivery.at_ms) if each.last_delivery else 0.0
            case "name":
                first = 0.0
            case _:
                first = float(not ((target, each.source) in failing or each.state in INACTIVE))
                return first, -each.held, each.source, target
        return first, 0, each.source, target

    return place


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1


# Dead letters


def _issue_rows(
    issues: Mapping[IssueKey, Issue], letters_open: Mapping[str, int] | None, config_file: str | None
) -> list[IssueRow]:
    newest = sorted(issues.items(), key=lambda each: each[1].last_ms, reverse=True)
    return [
        IssueRow(
            *key,
            issue,
            _commands(key, config_file),
            None if letters_open is None else letters_open.get(key[0], 0),
        )
        for key, issue in newest[:MAX_ISSUES]
    ]


def _open_by_code(letters_open: Mapping[str, int]) -> dict[str, int]:
    """Those codes that have open letters, the most frequent first."""
    most = sorted(letters_open.items(), key=lambda each: (-each[1], each[0]))
    return {code: letters for code, letters in most if letters}


def _commands(key: IssueKey, config_file: str | None) -> list[str]:
    """To look at these letters, to see what a replay would do, and to do it."""
    code, source, topic = key
    chosen = ["--code", code, "--topic", topic]
    chosen += ["--source", source] if source else []
    chosen += ["--config", config_file] if config_file else []
    found = [
        ["partner-bridge", "dead-letters", "list", *chosen],
        ["partner-bridge", "dead-letters", "replay", *chosen],
        ["partner-bridge", "dead-letters", "replay", *chosen, "--execute"],
    ]
    return [shlex.join(command) for command in found]
