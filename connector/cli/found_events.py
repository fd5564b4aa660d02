"""`partner-bridge events find`: searches the delivery log, and prints what it finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import typer

from connector import config
from connector.cli.options import bridges_to_ask
from connector.cli.output import note, plural, print_json, print_text, printable, progress
from connector.dead_letters.format import letter_id, parse_id
from connector.delivery_log.bridges import ask
from connector.delivery_log.log import DeliveryLog, Findings
from connector.delivery_log.search import Search, parse_event_id
from connector.delivery_log.status import FoundDelivery, FoundEvent, FoundLetter
from connector.model import iso, now_ms
from connector.pipeline import Pipeline, topic_problem
from connector.process import EXIT_CHECK_FAILED, EXIT_DONE

LABEL_COLUMNS = 15

WEEK_MS = 7 * 24 * 3_600_000


class Asked(NamedTuple):
    """The arguments of `find`."""

    id: str | None
    position: str | None
    topic: str | None
    key: str | None
    source: str | None
    since_ms: int | None
    until_ms: int | None
    limit: int
    bridges: Sequence[str]


def find_events(settings: config.Settings, asked: Asked, *, as_json: bool) -> int:
    """Print the records that match, and the status of each; gives the exit code."""
    bridges = bridges_to_ask(settings, asked.bridges)
    with DeliveryLog(settings, show=partial(progress, lines=True)) as log:
        search = _search(settings, asked, log.pipeline)
        findings = log.find(search, partial(ask, bridges, settings.http.authorization))
    if not findings.events and (advice := _advice(asked)):
        findings.problems.append(advice)
    if as_json:
        events = [each.as_json() for each in findings.events]
        print_json({"events": events, "problems": findings.problems, "more": findings.more})
    else:
        _print(findings, asked)
    return EXIT_DONE if findings.events else EXIT_CHECK_FAILED


def _search(settings: config.Settings, asked: Asked, pipeline: Pipeline) -> Search:
    """What to search for; refuses what names nothing of this bridge."""
    ranged = partial(Search, since_ms=asked.since_ms, until_ms=asked.until_ms, limit=asked.limit)
    if asked.position is not None:
        position = parse_id(asked.position)
        if position is None:
            raise typer.BadParameter(
                f"{asked.position} is no position, as orders.v1/3/1042", param_hint="--position"
            )
        _check_topic(settings, pipeline, position.partition.topic, "--position")
        return ranged(position=position)
    if asked.id is not None:
        return _search_of_id(settings, asked.id, pipeline, ranged)
    if asked.topic is not None:
        _check_topic(settings, pipeline, asked.topic, "--topic")
    return ranged(topic=asked.topic, key=asked.key, source=asked.source)


def _search_of_id(
    settings: config.Settings, text: str, pipeline: Pipeline, ranged: partial[Search]
) -> Search:
    own = parse_event_id(text)
    if own is not None:
        if own.cluster_id != pipeline.cluster_id:
            raise typer.BadParameter(
                f"{text} is of the Kafka cluster {own.cluster_id}, and this configuration is for "
                f"{pipeline.cluster_id}: use that of the other bridge, or check kafka.bootstrap.servers",
                param_hint="--id",
            )
        _check_topic(settings, pipeline, own.position.partition.topic, "--id")
        return ranged(position=own.position, timestamp_ms=own.timestamp_ms)
    if "/" in text:
        raise typer.BadParameter(
            f"{text} is no id of an event: ours are CLUSTER/TOPIC/PARTITION/OFFSET/TIMESTAMP, and "
            "EventBridge's have no /",
            param_hint="--id",
        )
    return ranged(event_id=text)


def _check_topic(settings: config.Settings, pipeline: Pipeline, topic: str, option: str) -> None:
    if why := topic_problem(settings, pipeline, topic):
        raise typer.BadParameter(why, param_hint=option)


# --- for people ---------------------------------------------------------------------------------


def _print(findings: Findings, asked: Asked) -> None:
    for number, event in enumerate(findings.events):
        if number:
            typer.echo()
        _print_event(event)
    if findings.more:
        typer.echo()
        print_text(f"{plural(findings.more, 'older record')} not listed: raise --limit.")
    if not findings.events:
        print_text(f"Nothing found in {_range_text(findings, asked)}.")
    for problem in findings.problems:
        note(problem)


def _advice(asked: Asked) -> str | None:
    """What to do where nothing was found; None where the one place that was named was looked at."""
    is_ranged = (asked.since_ms, asked.until_ms) != (None, None)
    if asked.position is not None or (asked.id is not None and "/" in asked.id):
        return "leave out --since and --until" if is_ranged else None
    if asked.id is not None:
        further = "leave out --since and --until, or " if is_ranged else ""
        return f"{further}search by --position, --key or --source: receipts are off, or past their retention"
    if asked.until_ms is not None:
        further = "widen --since and --until"
    elif (asked.since_ms or 0) > now_ms() - WEEK_MS:
        further = "look further back: --since 7d"
    else:
        further = "look further back, with an earlier --since"
    named = (
        "the key is its text, or the JSON that it decodes to" if asked.key else "the source is a whole name"
    )
    return f"{further}; {named}"


def _range_text(findings: Findings, asked: Asked) -> str:
    where = ", ".join(findings.looked_at) or "any topic"
    since = "" if asked.since_ms is None else f" since {iso(asked.since_ms)}"
    until = "" if asked.until_ms is None else f" until {iso(asked.until_ms)}"
    return f"{where}{since}{until}"


def _print_event(event: FoundEvent) -> None:
    print_text(str(event.record.position), bold=True)
    source, detail_type = event.names
    timestamp_ms = event.record.timestamp_ms
    _print_lines("event id", event.event_id)
    _print_lines("timestamp", None if timestamp_ms is None else iso(timestamp_ms))
    _print_lines("source", source)
    _print_lines("detail type", detail_type)
    for delivery in event.deliveries:
        _print_lines("delivered", *_delivery(delivery))
    if event.letter is not None:
        _print_lines("dead-lettered", *_letter(event.letter))
    _print_lines(event.status, event.why)


def _print_lines(label: str, *values: str | None) -> None:
    for value in filter(None, values):
        begin = f"  {label:<{LABEL_COLUMNS}}"
        print_text(printable(value), indent=begin, hanging=" " * len(begin))
        label = ""


def _delivery(delivery: FoundDelivery) -> Iterator[str]:
    yield f"{iso(delivery.answered_ms)}, attempt {delivery.attempt}, {delivery.target} in {delivery.region}"
    yield f"EventId {delivery.eventbridge_id}"
    if delivery.request_id is not None:
        yield f"request {delivery.request_id}"


def _letter(letter: FoundLetter) -> Iterator[str]:
    yield f"{iso(letter.written_ms)}, {letter.code}"
    yield letter.message
    resolution = letter.resolution
    since = "" if resolution is None else f" since {iso(resolution.at_ms)}"
    yield f"letter {letter_id(letter.id)} is {letter.state.label}{since}"
    if resolution is not None and resolution.event_id is not None:
        yield f"EventId {resolution.event_id}"
    if resolution is not None and resolution.reason is not None:
        yield resolution.reason
