"""`partner-bridge dead-letters replay`: wires the parts of a replay, and prints its progress and result."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial

import typer

from connector import config, process
from connector.cli.dead_letters_output import print_why_none
from connector.cli.dead_letters_session import DeadLetterSession, note_stand_ins
from connector.cli.output import (
    Progress,
    Speed,
    duration,
    plural,
    print_json,
    print_text,
    print_values,
    printable,
    progress,
)
from connector.dead_letters import replay_worker
from connector.dead_letters.dry_run import DryRun, PreparedBatch, ReplayCounts, plan, prepared_batches
from connector.dead_letters.replay import Limits, Replay
from connector.dead_letters.replay_group import ReplayGroup
from connector.dead_letters.selection import Cases, ReplayBatch, Selection, missing_text
from connector.dead_letters.writer import KafkaDeadLetters
from connector.errors import HaltError
from connector.eventbridge.client import publishers
from connector.eventbridge.requests import Requests
from connector.kafka.client import LIBRDKAFKA_VERSION
from connector.model import Ranges
from connector.process import EXIT_CHECK_FAILED, EXIT_DONE
from connector.sources.poller import state_feeds
from connector.telemetry.log import configure_logging
from connector.telemetry.metrics import Telemetry

STOP_S = 1.8
"""Limit for a stop, since a command ends within two seconds of a signal. Letters whose request has no answer
by then stay open, and may be sent again with the same event id."""


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """The arguments of `dead-letters replay`."""

    selection: Selection
    limits: Limits
    max_replays: int
    as_json: bool


class ReplaySession:
    """The letters that a replay, or its dry run, is about, and the parts that handle them."""

    def __init__(self, session: DeadLetterSession, request: ReplayRequest) -> None:
        self._session = session
        self._request = request
        self._dry_run = DryRun(session.pipeline, session.topic.fetch_origin)
        ids = request.selection.ids
        self.cases = Cases(session.topic.name, session.ranges, request.selection)
        self._letters = session.size() if ids is None else len(ids)

    def plan(self) -> ReplayCounts:
        """Count what a replay would do. Sends nothing."""
        with progress("letters read", self._letters, lines=True) as shown:
            return plan(
                self._chosen(self._session.ranges, shown, timeout_s=0.1),
                dry_run=self._dry_run,
                look_up=self._session.source_status,
                max_letters=self._request.limits.max_letters,
                report=_ReplayReport(shown),
            )

    def execute(self) -> ReplayCounts:
        """Replay until done, or until a signal; a second signal ends the process at once.

        Raises:
            HaltError: going on would only fail; what was sent is recorded.
        """
        settings, ranges = self._session.settings, self._session.ranges
        configure_logging("error", settings.log.format)
        self._session.resolutions.ensure(len(ranges))
        telemetry = Telemetry(librdkafka=LIBRDKAFKA_VERSION)
        dead_letters = KafkaDeadLetters(settings, telemetry=telemetry)
        dead_letters.partitions = len(ranges)
        to_targets = publishers(settings)
        calls = Requests(to_targets)
        try:
            with progress("letters read", self._letters, lines=True) as shown:
                replay = Replay(
                    settings,
                    ranges=ranges,
                    prepared_batches=lambda ranges: self._tries(ranges, shown),
                    dry_run=self._dry_run,
                    limits=self._request.limits,
                    resolutions=self._session.resolutions,
                    sink=calls,
                    state_feeds=state_feeds(settings, to_targets, start=calls.start, telemetry=telemetry),
                    dead_letters=dead_letters,
                    telemetry=telemetry,
                    report=_ReplayReport(shown),
                )
                process.stop_with(partial(_stop, replay), within_s=STOP_S)
                group = ReplayGroup(
                    settings,
                    on_assigned=replay.on_assigned,
                    on_revoked=replay.on_revoked,
                    on_lost=replay.on_lost,
                )
                try:
                    return replay.run(group)
                except HaltError:
                    _print_result(replay.counts, settings, title="Before it halted, it replayed")
                    raise
                finally:
                    group.close()
        finally:
            calls.close()

    def _chosen(self, ranges: Ranges, shown: Progress, *, timeout_s: float) -> Iterator[ReplayBatch]:
        """Read the selected letters, and their resolutions as of now."""
        return replay_worker.selected_now(
            self._session.topic,
            self._session.resolutions,
            self._request.selection,
            ranges,
            cases=self.cases,
            max_replays=self._request.max_replays,
            on_read=shown.advance,
            timeout_s=timeout_s,
        )

    def _tries(self, ranges: Ranges, shown: Progress) -> Iterator[PreparedBatch]:
        """Prepare letters for sending; in a process of its own where only our own work limits the speed."""
        request = self._request
        if request.limits.rate is not None or request.selection.ids is not None:
            return prepared_batches(self._chosen(ranges, shown, timeout_s=0.0), self._dry_run)
        return replay_worker.prepared_beside(
            self._session.settings,
            request.selection,
            ranges,
            whole=self._session.ranges,
            cluster_id=self._session.pipeline.cluster_id,
            max_replays=request.max_replays,
            on_read=shown.advance,
        )


def replay(settings: config.Settings, request: ReplayRequest, *, execute: bool) -> int:
    """Replay, or without `execute` print what a replay would do; returns the exit code."""
    with DeadLetterSession(settings) as session:
        replays = ReplaySession(session, request)
        counts = replays.execute() if execute else replays.plan()
        note_stand_ins(replays.cases)
        ids = request.selection.ids
        is_whole = not (
            counts.is_stopped or counts.elsewhere or counts.tried_in_all == request.limits.max_letters
        )
        missing = (
            [missing_text(letter, session.ranges) for letter in ids.unseen()] if ids and is_whole else []
        )
        is_nothing = not (
            counts.tried or counts.left or counts.parked or counts.is_stopped or counts.elsewhere
        )
        if is_nothing and not request.as_json:
            typer.echo("Nothing to replay.")
            print_why_none(session, request.selection)
    if request.as_json:
        print_json({**asdict(counts), "executed": execute, "missing": missing})
    elif execute and not is_nothing:
        _print_result(counts, settings)
    elif not is_nothing:
        _print_plan(counts, settings, request)
    for text in missing:
        print_text(text, err=True)
    if counts.is_stopped:
        return process.stopped_code()
    has_only_failed = execute and counts.failed and not counts.delivered
    is_done = not (missing or counts.left or counts.elsewhere or has_only_failed)
    return EXIT_DONE if is_done else EXIT_CHECK_FAILED


def _print_plan(counts: ReplayCounts, settings: config.Settings, request: ReplayRequest) -> None:
    print_text(
        f"A replay would try {plural(counts.tried_in_all, 'letter')} of {settings.dead_letter.topic}:",
        bold=True,
    )
    _print_counts(dict(_largest_first(counts.tried)))
    typer.echo("  of these, with the configuration as it is now")
    _print_outcomes(counts, sent="would be sent", failed="would fail again", indent="    ")
    _print_left(counts)
    rate = request.limits.rate
    if counts.delivered and rate is None:
        typer.echo("As fast as EventBridge takes them: there is no --rate.")
    elif counts.delivered and rate is not None:
        typer.echo(f"At {rate:g} a second that takes about {duration(counts.tried_in_all / rate)}.")
    if counts.tried:
        typer.echo("Nothing was sent. Add --execute to do it.")


def _print_result(counts: ReplayCounts, settings: config.Settings, *, title: str = "Replayed") -> None:
    if counts.is_stopped:
        title = f"Stopped. {title}"
    print_text(f"{title} {plural(counts.tried_in_all, 'letter')} of {settings.dead_letter.topic}:", bold=True)
    _print_outcomes(counts, sent="delivered", failed="failed again, each a new letter", indent="  ")
    _print_left(counts)
    if counts.elsewhere:
        numbers = ", ".join(map(str, counts.elsewhere[:20]))
        print_text(f"Another replay has the letters of partition {numbers}: they were left to it.")
    if counts.is_stopped or counts.elsewhere:
        typer.echo("What was sent is recorded and is not sent again. To go on with the rest:")
        typer.echo(f"  {shlex.join(['partner-bridge', *sys.argv[1:]])}")


def _print_outcomes(counts: ReplayCounts, *, sent: str, failed: str, indent: str) -> None:
    rows = {sent: counts.delivered}
    rows |= {f"not sent, by {rule} of the configuration": count for rule, count in counts.dropped.items()}
    if counts.failed:
        rows[failed] = sum(counts.failed.values())
    _print_counts(rows, indent=indent)
    for code, count in _largest_first(counts.failed):
        begin = f"{indent}  {count:>9,}  "
        message = printable(counts.messages.get(code, ""))
        print_text(f"{code}: {message}", indent=begin, hanging=" " * len(begin))
    if counts.unseen:
        why, count = next(iter(counts.unseen)), sum(counts.unseen.values())
        print_text(f"Of these, {count:,} {sent} without a lookup of their source: {why}", indent=indent)


def _print_left(counts: ReplayCounts) -> None:
    if counts.parked:
        print_text(
            f"Parked, and left so: {plural(counts.parked, 'letter')} failed as often as --max-replays allows."
        )
    for reason, count in counts.left.items():
        print_text(f"Left open: {plural(count, 'letter')}: {reason}.")


def _print_counts(counts: Mapping[str, int], *, indent: str = "  ") -> None:
    print_values({name: f"{count:>9,}" for name, count in counts.items()}, indent=indent)


def _largest_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])


def _stop(replay: Replay) -> None:
    replay.stop()
    sys.stderr.write(
        f"\nStopping: requests in flight have {STOP_S:g} s to finish and be recorded. A second signal "
        "ends it at once.\n"
    )


class _ReplayReport:
    """Shows counts beside the progress of a replay."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._speed = Speed()
        self._counts = ReplayCounts()
        self._problem: str | None = None
        shown.beside = self._text

    def __call__(self, counts: ReplayCounts, problem: str | None) -> None:
        self._counts, self._problem = counts, problem
        self._shown.refresh()

    def _text(self) -> str:
        counts = self._counts
        parts = [f"{counts.delivered:,} sent", f"{sum(counts.failed.values()):,} failing"]
        parts += [self._problem or f"{self._speed(counts.tried_in_all):,.0f}/s"]
        return ", ".join(parts)
