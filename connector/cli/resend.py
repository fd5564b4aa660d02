"""`partner-bridge events resend`: wires the parts of a resend, and prints its plan, progress and result."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import typer

from connector import config, process
from connector.cli.output import (
    Progress,
    duration,
    note,
    plural,
    print_json,
    print_table,
    print_text,
    progress,
)
from connector.cli.redelivery import SendReport, print_outcomes, run, sending_parts
from connector.config.problems import did_you_mean
from connector.dead_letters.dry_run import PreparedBatch, RedeliveryCounts, steps
from connector.dead_letters.redelivery import Limits
from connector.dead_letters.redelivery_group import Committed, RedeliveryGroup
from connector.dead_letters.writer import ensure_topic
from connector.delivery.pauses import PauseFile
from connector.errors import HaltError, UnavailableError
from connector.formats.registries import Registries
from connector.kafka.client import record_of
from connector.kafka.reader import Reader
from connector.model import Ranges, iso, size_of
from connector.pipeline import Pipeline
from connector.process import EXIT_CHECK_FAILED, EXIT_DONE
from connector.resend.plan import PlannedSource, ResendPlan, plan
from connector.resend.progress import finished_at, rest_of, sent_of, without
from connector.resend.resend import Resend
from connector.resend.selection import (
    NOT_SELECTED,
    OUTSIDE,
    ResendDryRun,
    ResendSelection,
    ResentRecord,
    UnusableRange,
    nothing_in,
    ranges_of,
)
from connector.sources.lookup import CachedStates
from connector.telemetry.log import configure_logging
from connector.telemetry.metrics import Telemetry

SHOWN_SOURCES = 20
"""Sources that are shown one by one, those with most events."""


@dataclass(frozen=True, slots=True)
class ResendRequest:
    """The arguments of `events resend`."""

    selection: ResendSelection
    limits: Limits
    is_anew: bool
    as_json: bool
    has_moving_times: bool
    """Whether the range would be another one if the same was typed later."""


class ResendSession:
    """The range that a resend, or its plan, is about, and how far an earlier run came. Use it as a context.

    Raises:
        typer.BadParameter: the topic is not configured, or nothing is in the range.
        UnavailableError: Kafka does not answer.
    """

    def __init__(self, settings: config.Settings, request: ResendRequest) -> None:
        self._settings = settings
        self._request = request
        self._selection = selection = request.selection
        self._registries = Registries.of(settings)
        self._pipeline = Pipeline(settings, self._registries)
        if refusal := self._pipeline.refusal(selection.topic):
            meant = did_you_mean(selection.topic, settings.topics)
            raise typer.BadParameter(f"{selection.topic}: {refusal}{meant}", param_hint="--topic")
        self._reader = Reader(settings)
        self._group = RedeliveryGroup(settings, f"resend.{selection.id}", selection.topic)
        self._dry_run = ResendDryRun(self._pipeline, selection, PauseFile(settings, telemetry=Telemetry()))

    def __enter__(self) -> Self:
        self._pipeline.cluster_id = self._reader.metadata().cluster_id or self._pipeline.cluster_id
        try:
            self._whole = ranges_of(self._reader, self._selection)
        except UnusableRange as error:
            raise typer.BadParameter(str(error)) from None
        committed = {} if self._request.is_anew else self._group.committed(self._whole)
        self._sent = {number: sent_of(each) for number, each in committed.items()}
        self._rest = rest_of(self._whole, committed)
        self.passed = size_of(self._whole) - size_of(self._rest)
        """Records of the range that an earlier run is done with."""
        self.finished_at = None if self._rest else finished_at(committed.values())
        """When an earlier run finished this resend, as ISO 8601."""
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._registries.close()

    def plan(self) -> ResendPlan:
        """Count what a resend would do. Sends nothing."""
        configure_logging("error", self._settings.log.format)
        states = CachedStates(self._settings)
        try:
            with progress("records read", size_of(self._rest), lines=True) as shown:
                planned = plan(
                    without(self._batches(self._rest, shown, timeout_s=0.1), self._sent),
                    pipeline=self._pipeline,
                    look_up=states,
                    report=SendReport(shown),
                )
        finally:
            states.close()
        if planned.is_unreadable is not None:
            raise UnavailableError(planned.is_unreadable)
        if not planned.records and not self.passed:
            raise typer.BadParameter(nothing_in(self._selection))
        return planned

    def execute(self, context: typer.Context) -> tuple[RedeliveryCounts, Mapping[str, int]]:
        """Send until done, or until a signal; returns what it came to, and the events sent by source.

        Raises:
            HaltError: going on would only fail; how far it is, is committed.
        """
        settings, selection = self._settings, self._selection
        letters = self._reader.partitions(settings.dead_letter.topic)
        partitions = ensure_topic(
            settings,
            partitions=None if letters is None else len(letters),
            cluster_id=self._pipeline.cluster_id,
        )
        if self._request.is_anew:
            self._group.begin_anew({number: Committed(low) for number, (low, _) in self._whole.items()})
        with (
            sending_parts(settings, context, "events resend", dead_letter_partitions=partitions) as parts,
            progress("records read", size_of(self._rest), lines=True) as shown,
        ):
            resend = Resend(
                settings,
                parts,
                resend_id=selection.id,
                topic=selection.topic,
                ranges=self._rest,
                prepared_batches=lambda ranges: self._batches(ranges, shown, timeout_s=0.0),
                pipeline=self._pipeline,
                limits=self._request.limits,
                progress=self._group,
                report=SendReport(shown),
            )
            try:
                counts = run(resend, self._group)
            except HaltError:
                _print_result(resend.counts, resend.sources, self._request, title="Before it halted, it sent")
                raise
        return counts, resend.sources

    def _batches(
        self, ranges: Ranges, shown: Progress, *, timeout_s: float
    ) -> Iterator[PreparedBatch[ResentRecord]]:
        for messages in self._reader.read(self._selection.topic, ranges, timeout_s=timeout_s):
            yield from steps([ResentRecord(record_of(message)) for message in messages], self._dry_run)
            shown.advance(len(messages))


def resend(
    settings: config.Settings, request: ResendRequest, context: typer.Context, *, execute: bool
) -> int:
    """Resend, or without `execute` print what a resend would do; returns the exit code."""
    with ResendSession(settings, request) as session:
        if session.finished_at is not None:
            return _print_finished(session.finished_at, request)
        if not execute:
            planned = session.plan()
            if request.as_json:
                print_json(_plan_json(planned, request, passed=session.passed))
            else:
                _print_plan(planned, request, passed=session.passed)
            return EXIT_DONE
        if request.has_moving_times:
            note("to go on with the same range later:")
            typer.echo(f"  {_same_command(request.selection, goes_on=True)}", err=True)
        counts, sources = session.execute(context)
    counts.left.pop(str(OUTSIDE), None)
    not_selected = counts.left.pop(str(NOT_SELECTED), 0)
    if request.as_json:
        print_json(_result_json(counts, sources, request, not_selected=not_selected))
    else:
        _print_result(counts, sources, request)
    if counts.is_stopped:
        return process.stopped_code()
    has_only_failed = counts.failed and not counts.delivered
    return EXIT_CHECK_FAILED if counts.left or counts.elsewhere or has_only_failed else EXIT_DONE


def _same_command(selection: ResendSelection, *, goes_on: bool) -> str:
    """This command, with times that stay the same however late it is typed again.

    One that `goes_on` where this one ends does not begin anew.
    """
    times = {"--since": selection.since_ms, "--until": selection.until_ms}
    given: list[str] = []
    for argument in sys.argv[1:]:
        name, _, value = argument.partition("=")
        if given and (time_ms := times.get(given[-1])) is not None:
            given.append(iso(time_ms))
        elif value and (time_ms := times.get(name)) is not None:
            given.append(f"{name}={iso(time_ms)}")
        elif not (goes_on and argument == "--again"):
            given.append(argument)
    return shlex.join(["partner-bridge", *given])


def _print_finished(finished_at: str, request: ResendRequest) -> int:
    if request.as_json:
        print_json(_about(request) | {"finished_at": finished_at})
    else:
        print_text(
            f"This resend was finished at {finished_at}: nothing is sent. --again sends the same once more."
        )
    return EXIT_DONE


def _print_plan(planned: ResendPlan, request: ResendRequest, *, passed: int) -> None:
    counts, limits = planned.counts, request.limits
    print_text(f"A resend of {request.selection.range_text} would do this:", bold=True)
    if passed:
        print_text(
            f"An earlier run is done with {plural(passed, 'record')}; this is the rest. --again begins anew."
        )
    also = {"records in the range": planned.records}
    if planned.not_selected:
        also["not selected"] = planned.not_selected
    if counts.left:
        also["left out, for their source"] = sum(counts.left.values())
    print_outcomes(
        counts, sent="would be sent", failed="would fail, each a dead letter", indent="  ", also=also
    )
    if planned.sources:
        typer.echo()
        _print_sources(planned.sources)
    _print_left_out(counts)
    events = min(counts.delivered, limits.most or counts.delivered)
    if events:
        if events < counts.delivered:
            typer.echo(f"Because of --max a run ends after {plural(events, 'event')}.")
        if limits.rate is None:
            typer.echo("As fast as EventBridge takes them: there is no --rate.")
        else:
            typer.echo(f"At {limits.rate:g} a second that takes about {duration(events / limits.rate)}.")
        print_text("The customers get these events once more, with the same event ids as the first time.")
    if counts.delivered or counts.failed:
        print_text("Nothing was sent. To do it:")
        typer.echo(f"  {_same_command(request.selection, goes_on=False)} --execute")
    else:
        typer.echo("There is nothing to send.")


def _print_sources(sources: Mapping[str, PlannedSource]) -> None:
    largest = sorted(sources.items(), key=lambda item: (-item[1].events, item[0]))
    rows = [
        [name, f"{source.events:,}", "" if source.left_out is None else "left out"]
        for name, source in largest[:SHOWN_SOURCES]
    ]
    print_table(["source", "events", ""], rows, right={"events"})
    if further := largest[SHOWN_SOURCES:]:
        events = sum(source.events for _, source in further)
        typer.echo(f"and {plural(len(further), 'further source')} with {plural(events, 'event')}")
    typer.echo()


def _print_left_out(counts: RedeliveryCounts) -> None:
    for reason, count in counts.left.items():
        print_text(f"Left out: {plural(count, 'event')}: {reason}.")


def _print_result(
    counts: RedeliveryCounts, sources: Mapping[str, int], request: ResendRequest, *, title: str = "Sent again"
) -> None:
    if counts.is_stopped:
        title = f"Stopped. {title}"
    print_text(f"{title}, of {request.selection.range_text}:", bold=True)
    print_outcomes(counts, sent="delivered", failed="failed, each a dead letter", indent="  ")
    if sources:
        typer.echo()
        _print_sources({name: PlannedSource(events) for name, events in sources.items()})
    _print_left_out(counts)
    if counts.left:
        how = "--again" if request.selection.source else "--source NAME, one by one"
        print_text(f"They count as done. Once their sources are ACTIVE, send them with {how}.")
    if counts.elsewhere:
        numbers = ", ".join(map(str, counts.elsewhere[:20]))
        print_text(f"Another run of this resend has partition {numbers}: it was left to it.")
    is_enough = counts.tried_in_all == request.limits.most
    if counts.is_stopped or counts.elsewhere or is_enough:
        typer.echo("To go on where it was:")
        typer.echo(f"  {_same_command(request.selection, goes_on=True)}")


# JSON


def _about(request: ResendRequest) -> dict[str, Any]:
    selection = asdict(request.selection)
    for name in ("since", "until"):
        at_ms = selection.pop(f"{name}_ms")
        selection[name] = None if at_ms is None else iso(at_ms)
    return {"id": request.selection.id, "selection": selection, "finished_at": None}


def _plan_json(planned: ResendPlan, request: ResendRequest, *, passed: int) -> dict[str, Any]:
    counts, limits = planned.counts, request.limits
    events = min(counts.delivered, limits.most or counts.delivered)
    return _about(request) | {
        "executed": False,
        "records": planned.records,
        "passed": passed,
        "events": counts.delivered,
        "seconds": None if limits.rate is None else round(events / limits.rate, 1),
        "sources": {name: asdict(source) for name, source in planned.sources.items()},
        "not_selected": planned.not_selected,
        **_counts_json(counts),
    }


def _result_json(
    counts: RedeliveryCounts, sources: Mapping[str, int], request: ResendRequest, *, not_selected: int
) -> dict[str, Any]:
    return _about(request) | {
        "executed": True,
        "events": counts.delivered,
        "sources": {name: {"events": events, "left_out": None} for name, events in sources.items()},
        "not_selected": not_selected,
        **_counts_json(counts),
        "elsewhere": list(counts.elsewhere),
        "is_stopped": counts.is_stopped,
    }


def _counts_json(counts: RedeliveryCounts) -> dict[str, Any]:
    return {
        "dropped": counts.dropped,
        "failed": counts.failed,
        "messages": counts.messages,
        "left_out": counts.left,
        "unseen": counts.unseen,
        "claim_checks": counts.claim_checks,
        "claim_check_bytes": counts.claim_check_bytes,
    }
