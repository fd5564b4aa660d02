"""`partner-bridge dead-letters replay`: wires the parts of a replay, and prints its progress and result."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import typer

from connector import config, process
from connector.cli.dead_letters_output import print_why_none
from connector.cli.dead_letters_session import DeadLetterSession, note_stand_ins
from connector.cli.output import (
    Progress,
    duration,
    plural,
    print_json,
    print_text,
    progress,
)
from connector.cli.redelivery import (
    SendReport,
    largest_first,
    print_counts,
    print_outcomes,
    run,
    sending_parts,
)
from connector.dead_letters import replay_worker
from connector.dead_letters.dry_run import DryRun, PreparedBatch, RedeliveryCounts, plan, prepared_batches
from connector.dead_letters.format import DeadLetter
from connector.dead_letters.redelivery import Limits
from connector.dead_letters.redelivery_group import RedeliveryGroup
from connector.dead_letters.replay import Replay
from connector.dead_letters.selection import Cases, ReplayBatch, Selection, missing_text
from connector.delivery.pauses import PauseFile
from connector.errors import HaltError
from connector.model import Ranges
from connector.process import EXIT_CHECK_FAILED, EXIT_DONE
from connector.telemetry.metrics import Telemetry


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
        pauses = PauseFile(session.settings, telemetry=Telemetry())
        self._dry_run = DryRun(session.pipeline, session.topic.fetch_origin, pauses)
        ids = request.selection.ids
        self.cases = Cases(session.topic.name, session.ranges, request.selection)
        self._letters = session.size() if ids is None else len(ids)

    def plan(self) -> RedeliveryCounts:
        """Count what a replay would do. Sends nothing."""
        with progress("letters read", self._letters, lines=True) as shown:
            return plan(
                self._chosen(self._session.ranges, shown, timeout_s=0.1),
                dry_run=self._dry_run,
                look_up=self._session.source_status,
                max_letters=self._request.limits.most,
                report=SendReport(shown),
            )

    def execute(self, context: typer.Context) -> RedeliveryCounts:
        """Replay until done, or until a signal; a second signal ends the process at once.

        Raises:
            HaltError: going on would only fail; what was sent is recorded.
        """
        settings, ranges = self._session.settings, self._session.ranges
        self._session.resolutions.ensure(len(ranges))
        with (
            sending_parts(
                settings, context, "dead-letters replay", dead_letter_partitions=len(ranges)
            ) as parts,
            progress("letters read", self._letters, lines=True) as shown,
        ):
            replay = Replay(
                settings,
                parts,
                ranges=ranges,
                prepared_batches=lambda ranges: self._tries(ranges, shown),
                dry_run=self._dry_run,
                limits=self._request.limits,
                resolutions=self._session.resolutions,
                report=SendReport(shown),
            )
            try:
                return run(replay, RedeliveryGroup(settings, "replay", settings.dead_letter.resolutions))
            except HaltError:
                _print_result(replay.counts, settings, title="Before it halted, it replayed")
                raise

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

    def _tries(self, ranges: Ranges, shown: Progress) -> Iterator[PreparedBatch[DeadLetter]]:
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


def replay(
    settings: config.Settings, request: ReplayRequest, context: typer.Context, *, execute: bool
) -> int:
    """Replay, or without `execute` print what a replay would do; returns the exit code."""
    with DeadLetterSession(settings) as session:
        replays = ReplaySession(session, request)
        counts = replays.execute(context) if execute else replays.plan()
        note_stand_ins(replays.cases)
        ids = request.selection.ids
        is_whole = not (counts.is_stopped or counts.elsewhere or counts.tried_in_all == request.limits.most)
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


def _print_plan(counts: RedeliveryCounts, settings: config.Settings, request: ReplayRequest) -> None:
    print_text(
        f"A replay would try {plural(counts.tried_in_all, 'letter')} of {settings.dead_letter.topic}:",
        bold=True,
    )
    print_counts(dict(largest_first(counts.tried)))
    typer.echo("  of these, with the configuration as it is now")
    print_outcomes(counts, sent="would be sent", failed="would fail again", indent="    ")
    _print_left(counts)
    rate = request.limits.rate
    if counts.delivered and rate is None:
        typer.echo("As fast as EventBridge takes them: there is no --rate.")
    elif counts.delivered and rate is not None:
        typer.echo(f"At {rate:g} a second that takes about {duration(counts.tried_in_all / rate)}.")
    if counts.tried:
        typer.echo("Nothing was sent. Add --execute to do it.")


def _print_result(counts: RedeliveryCounts, settings: config.Settings, *, title: str = "Replayed") -> None:
    if counts.is_stopped:
        title = f"Stopped. {title}"
    print_text(f"{title} {plural(counts.tried_in_all, 'letter')} of {settings.dead_letter.topic}:", bold=True)
    print_outcomes(counts, sent="delivered", failed="failed again, each a new letter", indent="  ")
    _print_left(counts)
    if counts.elsewhere:
        numbers = ", ".join(map(str, counts.elsewhere[:20]))
        print_text(f"Another replay has the letters of partition {numbers}: they were left to it.")
    if counts.is_stopped or counts.elsewhere:
        typer.echo("What was sent is recorded and is not sent again. To go on with the rest:")
        typer.echo(f"  {shlex.join(['partner-bridge', *sys.argv[1:]])}")


def _print_left(counts: RedeliveryCounts) -> None:
    if counts.parked:
        print_text(
            f"Parked, and left so: {plural(counts.parked, 'letter')} failed as often as --max-replays allows."
        )
    for reason, count in counts.left.items():
        print_text(f"Left open: {plural(count, 'letter')}: {reason}.")
