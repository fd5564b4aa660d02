"""What the commands that send again share: the parts that send, the stop, progress and counts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from connector import config, process
from connector.cli.output import Progress, Speed, note, plural, print_text, print_values, printable
from connector.dead_letters.dry_run import RedeliveryCounts
from connector.dead_letters.redelivery import Redelivery, SendingParts
from connector.dead_letters.redelivery_group import RedeliveryGroup
from connector.dead_letters.writer import KafkaDeadLetters
from connector.errors import ConfigError
from connector.eventbridge.client import Publisher, publishers
from connector.eventbridge.requests import Requests
from connector.kafka.client import LIBRDKAFKA_VERSION
from connector.receipts.writer import KafkaReceipts
from connector.sources.poller import state_feeds
from connector.telemetry.log import configure_logging
from connector.telemetry.metrics import Telemetry
from connector.telemetry.traces import FLUSH_S, start_traces

if TYPE_CHECKING:
    from connector.telemetry.spans import Traces

STOP_S = 1.8
"""Limit for a stop, since a command ends within two seconds of a signal. What has no answer to its request
by then may be sent again, with the same event id."""


@contextmanager
def sending_parts(
    settings: config.Settings, context: typer.Context, command: str, *, dead_letter_partitions: int
) -> Iterator[SendingParts]:
    """Make the parts that send and write dead letters, and close them in the end. Spans name the `command`.

    The last spans are sent when the command's `context` ends: its result is printed by then, whatever the
    collector does.

    Raises:
        ConfigError: as `Publisher`.
    """
    configure_logging("error", settings.log.format)
    telemetry = Telemetry(librdkafka=LIBRDKAFKA_VERSION)
    dead_letters = KafkaDeadLetters(settings, telemetry=telemetry)
    dead_letters.partitions = dead_letter_partitions
    receipts = None
    if settings.receipts is not None:
        receipts = KafkaReceipts(settings, settings.receipts.topic, telemetry=telemetry)
    to_targets = publishers(settings, on_claim=telemetry.claim_stored)
    telemetry.traces = traces = _traces(settings, command, to_targets)
    if traces is not None:
        context.call_on_close(partial(traces.close, FLUSH_S))
    calls = Requests(to_targets)
    feeds = state_feeds(settings, to_targets, start=calls.start, telemetry=telemetry)
    try:
        yield SendingParts(calls, feeds, dead_letters, receipts, telemetry)
    finally:
        calls.close()
        if receipts is not None:
            receipts.close()
            if receipts.lost:
                note(f"{plural(receipts.lost, 'receipt')} lost: {receipts.why_lost}")


def _traces(settings: config.Settings, command: str, to_targets: Mapping[str, Publisher]) -> Traces | None:
    """Where spans go, where the environment asks for them and they can be had."""
    try:
        destinations = {name: (each.region, each.route.endpoint.url) for name, each in to_targets.items()}
        return start_traces(
            name=settings.name, command=command, destinations=destinations, environ=os.environ
        )
    except ConfigError as error:
        note(str(error))
        return None


def run(redelivery: Redelivery[Any], group: RedeliveryGroup) -> RedeliveryCounts:
    """Send until done, or until a signal; a second signal ends the process at once.

    Raises:
        HaltError: going on would only fail; what was sent is recorded.
    """
    process.stop_with(partial(_stop, redelivery), within_s=STOP_S)
    group.join(redelivery)
    try:
        return redelivery.run(group)
    finally:
        group.close()


def _stop(redelivery: Redelivery[Any]) -> None:
    redelivery.stop()
    sys.stderr.write(
        f"\nStopping: requests in flight have {STOP_S:g} s to finish and be recorded. A second signal "
        "ends it at once.\n"
    )


class SendReport:
    """Shows counts beside a progress bar."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._speed = Speed()
        self._counts = RedeliveryCounts()
        self._problem: str | None = None
        shown.beside = self._text

    def __call__(self, counts: RedeliveryCounts, problem: str | None) -> None:
        self._counts, self._problem = counts, problem
        self._shown.refresh()

    def _text(self) -> str:
        counts = self._counts
        parts = [f"{counts.delivered:,} sent", f"{sum(counts.failed.values()):,} failing"]
        parts += [self._problem or f"{self._speed(counts.tried_in_all):,.0f}/s"]
        return ", ".join(parts)


def print_outcomes(
    counts: RedeliveryCounts, *, sent: str, failed: str, indent: str, also: Mapping[str, int] | None = None
) -> None:
    """Print how many were sent, dropped and failed, with the first message of each code.

    `also` are counts that the same list begins with.
    """
    rows = {**(also or {}), sent: counts.delivered}
    rows |= {f"not sent, by {rule} of the configuration": count for rule, count in counts.dropped.items()}
    if counts.failed:
        rows[failed] = sum(counts.failed.values())
    print_counts(rows, indent=indent)
    for code, count in largest_first(counts.failed):
        begin = f"{indent}  {count:>9,}  "
        message = printable(counts.messages.get(code, ""))
        print_text(f"{code}: {message}", indent=begin, hanging=" " * len(begin))
    if counts.claim_checks:
        print_text(
            f"Of these, {counts.claim_checks:,} {sent} by reference, with {counts.claim_check_bytes:,} bytes "
            "in S3",
            indent=indent,
        )
    if counts.unseen:
        why, count = next(iter(counts.unseen)), sum(counts.unseen.values())
        print_text(f"Of these, {count:,} {sent} without a lookup of their source: {why}", indent=indent)


def print_counts(counts: Mapping[str, int], *, indent: str = "  ") -> None:
    """Print numbers with what they count."""
    print_values({name: f"{count:>9,}" for name, count in counts.items()}, indent=indent)


def largest_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Sort counts by their size."""
    return sorted(counts.items(), key=lambda item: -item[1])
