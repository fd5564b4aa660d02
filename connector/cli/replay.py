"""`partner-bridge dead-letters replay`: the real parts wired, and what people read."""

from __future__ import annotations

import shlex
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from connector import config, process
from connector.cli.dead_letters_output import DeadLetterSession, tell_stand_ins
from connector.cli.options import EXIT_CHECK_FAILED, EXIT_DONE, print_json
from connector.dead_letters import replay_worker
from connector.dead_letters.dry_run import DryRun, PreparedBatch, ReplayCounts, plan, tries
from connector.dead_letters.replay import Limits, Replay
from connector.dead_letters.replay_group import ReplayGroup
from connector.dead_letters.selection import Cases, ReplayBatch, Selection, missing_text
from connector.dead_letters.writer import KafkaDeadLetters
from connector.errors import HaltError
from connector.eventbridge.client import publishers
from connector.eventbridge.requests import Requests
from connector.kafka.client import LIBRDKAFKA_VERSION
from connector.model import Ranges
from connector.sources.poller import state_feeds
from connector.telemetry.metrics import Telemetry

LINE_INTERVAL_S = 5.0
"""How often progress is a line, where there is no terminal."""

STOP_S = 1.8
"""How long a stop may take: a command ends within two seconds of a signal. What has no answer by then stays
open, and may be sent again with the same event id."""

SPEED_S = 15.0
"""The time to come is told from the speed of the last seconds."""


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What was asked for on the command line."""

    selection: Selection
    limits: Limits
    max_replays: int
    as_json: bool


class ReplaySession:
    """What a plan and a replay have in common: the letters selected, and the trial of each."""

    def __init__(self, desk: DeadLetterSession, request: ReplayRequest) -> None:
        self._desk = desk
        self._request = request
        self._trial = DryRun(desk.pipeline, desk.topic.fetch_origin)
        ids = request.selection.ids
        self.cases = Cases(desk.topic.name, desk.ranges, request.selection)
        self._letters = sum(high - low for low, high in desk.ranges.values()) if ids is None else len(ids)

    def plan(self) -> ReplayCounts:
        """What a replay would do."""
        with _progress("looked at", self._letters) as shown:
            return plan(
                self._chosen(self._desk.ranges, shown, timeout_s=0.1),
                trial=self._trial,
                look_up=self._desk.look_up,
                max_letters=self._request.limits.max_letters,
                report=shown,
            )

    def execute(self) -> ReplayCounts:
        """Replay until done, or until a signal; a second signal ends the process at once.

        Raises:
            HaltError: going on would only fail; what was sent is recorded.
        """
        settings, ranges = self._desk.settings, self._desk.ranges
        self._desk.resolutions.ensure(len(ranges))
        telemetry = Telemetry(librdkafka=LIBRDKAFKA_VERSION)
        dead_letters = KafkaDeadLetters(settings, telemetry=telemetry)
        dead_letters.partitions = len(ranges)
        to_targets = publishers(settings)
        calls = Requests(to_targets)
        try:
            with _progress("replayed", self._letters) as shown:
                replay = Replay(
                    settings,
                    ranges=ranges,
                    tries=lambda ranges: self._tries(ranges, shown),
                    trial=self._trial,
                    limits=self._request.limits,
                    resolutions=self._desk.resolutions,
                    sink=calls,
                    state_feeds=state_feeds(settings, to_targets, start=calls.start, telemetry=telemetry),
                    dead_letters=dead_letters,
                    telemetry=telemetry,
                    report=shown,
                )
                process.stop_with(partial(_stop, replay), within_s=STOP_S)
                guard = ReplayGroup(
                    settings,
                    on_assigned=replay.on_assigned,
                    on_revoked=replay.on_revoked,
                    on_lost=replay.on_lost,
                )
                try:
                    return replay.run(guard)
                except HaltError:
                    _print_result(replay.tally, settings, title="Before it halted, it replayed")
                    raise
                finally:
                    guard.close()
        finally:
            calls.close()

    def _chosen(self, ranges: Ranges, shown: ReplayProgress, *, timeout_s: float) -> Iterator[ReplayBatch]:
        """The selected letters, with what is resolved as of now."""
        return replay_worker.chosen_now(
            self._desk.topic,
            self._desk.resolutions,
            self._request.selection,
            ranges,
            cases=self.cases,
            max_replays=self._request.max_replays,
            on_read=shown.looked_at,
            timeout_s=timeout_s,
        )

    def _tries(self, ranges: Ranges, shown: ReplayProgress) -> Iterator[PreparedBatch]:
        """These letters tried; by a process of its own where nothing but our own work limits the speed."""
        request = self._request
        if request.limits.rate is not None or request.selection.ids is not None:
            return tries(self._chosen(ranges, shown, timeout_s=0.0), self._trial)
        return replay_worker.tries_beside(
            self._desk.settings,
            request.selection,
            ranges,
            whole=self._desk.ranges,
            cluster_id=self._desk.pipeline.cluster_id,
            max_replays=request.max_replays,
            on_read=shown.looked_at,
        )


def replay(settings: config.Settings, request: ReplayRequest, *, execute: bool) -> int:
    """Show what a replay would do, or do it; the exit code.

    Raises:
        ConfigError: a topic is missing or not fit.
        HaltError: going on would only fail; what was sent is recorded.
    """
    with DeadLetterSession(settings) as desk:
        work = ReplaySession(desk, request)
        tally = work.execute() if execute else work.plan()
        tell_stand_ins(work.cases)
        ids = request.selection.ids
        is_whole = not (
            tally.is_stopped or tally.elsewhere or tally.tried_in_all == request.limits.max_letters
        )
        missing = [missing_text(letter, desk.ranges) for letter in ids.unseen()] if ids and is_whole else []
    if request.as_json:
        print_json({**asdict(tally), "executed": execute, "missing": missing})
    elif execute:
        _print_result(tally, settings)
    else:
        _print_plan(tally, settings, request)
    for text in missing:
        typer.echo(text, err=True)
    if tally.is_stopped:
        return process.stopped_code()
    return EXIT_CHECK_FAILED if missing or tally.left or tally.elsewhere else EXIT_DONE


def _print_plan(tally: ReplayCounts, settings: config.Settings, request: ReplayRequest) -> None:
    if not (tally.tried or tally.left or tally.parked):
        typer.echo(f"Nothing to replay: no open letter of {settings.dead_letter.topic} is selected.")
        return
    typer.secho(
        f"A replay would try {_letters(tally.tried_in_all)} of {settings.dead_letter.topic}:", bold=True
    )
    _print_counts(dict(_largest_first(tally.tried)))
    typer.echo("  of these, with the configuration as it is now")
    _print_outcomes(tally, sent="would be sent", failed="would fail again", indent="    ")
    _print_left(tally)
    rate = request.limits.rate
    if tally.delivered and rate is None:
        typer.echo("As fast as EventBridge takes them: there is no --rate.")
    elif tally.delivered and rate is not None:
        typer.echo(f"At {rate:g} a second that takes about {_duration(tally.tried_in_all / rate)}.")
    if tally.tried:
        typer.echo("Nothing was sent. Add --execute to do it.")


def _print_result(tally: ReplayCounts, settings: config.Settings, *, title: str = "Replayed") -> None:
    if not (tally.tried or tally.left or tally.parked or tally.is_stopped or tally.elsewhere):
        typer.echo(f"Nothing to replay: no open letter of {settings.dead_letter.topic} is selected.")
        return
    if tally.is_stopped:
        title = f"Stopped. {title}"
    typer.secho(f"{title} {_letters(tally.tried_in_all)} of {settings.dead_letter.topic}:", bold=True)
    _print_outcomes(tally, sent="delivered", failed="failed again, each a new letter", indent="  ")
    _print_left(tally)
    if tally.elsewhere:
        numbers = ", ".join(map(str, tally.elsewhere[:20]))
        typer.echo(f"Another replay has the letters of partition {numbers}: they were left to it.")
    if tally.is_stopped or tally.elsewhere:
        typer.echo("What was sent is recorded and is not sent again. To go on with the rest:")
        typer.echo(f"  {shlex.join(['partner-bridge', *sys.argv[1:]])}")


def _print_outcomes(tally: ReplayCounts, *, sent: str, failed: str, indent: str) -> None:
    rows = {sent: tally.delivered}
    rows |= {f"not sent, by {rule} of the configuration": count for rule, count in tally.dropped.items()}
    if tally.failed:
        rows[failed] = sum(tally.failed.values())
    _print_counts(rows, indent=indent)
    for code, count in _largest_first(tally.failed):
        typer.echo(f"{indent}  {count:>9,}  {code}: {tally.messages.get(code, '')}")
    if tally.unseen:
        why = next(iter(tally.unseen))
        typer.echo(
            f"{indent}Of these, {sum(tally.unseen.values()):,} {sent} without a lookup of their source: {why}"
        )


def _print_left(tally: ReplayCounts) -> None:
    if tally.parked:
        typer.echo(f"Parked, and left so: {_letters(tally.parked)} failed as often as --max-replays allows.")
    for reason, count in tally.left.items():
        typer.echo(f"Left open: {_letters(count)}: {reason}.")


def _print_counts(counts: Mapping[str, int], *, indent: str = "  ") -> None:
    width = max(map(len, counts), default=0)
    for name, count in counts.items():
        typer.echo(f"{indent}{name:<{width}}  {count:>9,}")


def _largest_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])


def _letters(count: int) -> str:
    return f"{count:,} letter" if count == 1 else f"{count:,} letters"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _stop(replay: Replay) -> None:
    replay.stop()
    sys.stderr.write(
        f"\nStopping: what is in flight has {STOP_S:g} s to come to its end and be recorded. Once more ends "
        "at once.\n"
    )


class ReplayProgress:
    """How far it is: a bar on a terminal, else a line every few seconds."""

    def __init__(self, verb: str, letters: int, bar: Progress | None) -> None:
        self._verb = verb
        self._letters = letters
        self._bar = bar
        self._task = bar.add_task(verb, total=letters, text="") if bar else None
        self._seen = 0
        self._marks: deque[tuple[float, int, int]] = deque([(time.monotonic(), 0, 0)])
        self._line_due_s = time.monotonic() + LINE_INTERVAL_S

    def looked_at(self, count: int) -> None:
        """Take note of letters read."""
        self._seen += count

    def __call__(self, tally: ReplayCounts, problem: str | None) -> None:
        now_s = time.monotonic()
        if self._bar is None and now_s < self._line_due_s and problem is None:
            return
        text = self._text(tally, problem, now_s)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=min(self._seen, self._letters), text=text)
        elif now_s >= self._line_due_s:
            self._line_due_s = now_s + LINE_INTERVAL_S
            typer.echo(f"{self._verb} {tally.tried_in_all:,} letters; {text}", err=True)

    def _text(self, tally: ReplayCounts, problem: str | None, now_s: float) -> str:
        tried = tally.tried_in_all
        self._marks.append((now_s, self._seen, tried))
        while now_s - self._marks[0][0] > SPEED_S:
            self._marks.popleft()
        since_s, seen, tried_then = self._marks[0]
        elapsed_s = max(now_s - since_s, 1e-6)
        parts = [f"{tally.delivered:,} sent", f"{sum(tally.failed.values()):,} failing"]
        parts.append(f"{(tried - tried_then) / elapsed_s:,.0f}/s")
        if problem is not None:
            return f"{', '.join(parts)}; {problem}"
        if self._seen > seen:
            left = max(0, self._letters - self._seen)
            parts.append(f"{_duration(left / (self._seen - seen) * elapsed_s)} left")
        return ", ".join(parts)


@contextmanager
def _progress(verb: str, letters: int) -> Iterator[ReplayProgress]:
    talk = Console(stderr=True, highlight=False)
    if not talk.is_terminal:
        yield ReplayProgress(verb, letters, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, console=talk, transient=True) as bar:
        yield ReplayProgress(verb, letters, bar)
