"""`partner-bridge run --dry-run`: a shadow run, and what its report looks like."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from connector import config, process
from connector.cli.output import (
    duration,
    note,
    plural,
    print_json,
    print_table,
    print_text,
    print_values,
    progress,
)
from connector.errors import ConfigError, HaltError, UnavailableError
from connector.process import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_USAGE
from connector.workbench.shadow_run import shadow_run

if TYPE_CHECKING:
    from connector.workbench.shadow_report import NameCounts, ShadowReport, TopicCounts

MAX_SHOWN = 20
"""Sources and detail types that people are shown, those with the most events; --json has more."""


def dry_run(settings: config.Settings, file: Path | None, *, for_s: float | None, as_json: bool) -> int:
    """Read until the time is over or a signal comes, and print the report; returns the exit code.

    Raises:
        ConfigError: there is nothing to read, or the HTTP port cannot be had.
        HaltError: the bridge would halt; what was read until then is printed.
    """
    halt: HaltError | None = None
    try:
        with shadow_run(settings) as run:
            process.freeze_gc()
            process.stop_with(run.stop)
            for text in run.notes:
                note(text)
            report = run.report
            title, total = "records mapped", report.left or None
            print_text(f"{_where(report)}; nothing is sent or committed.", err=True)
            with progress(title, total, lines=True) as shown:
                shown.beside = lambda: f"{report.dead_letters.total():,} dead letters"
                try:
                    run.read(for_s, advanced=shown.advance)
                except HaltError as error:
                    halt = error
    except ConfigError as error:
        raise ConfigError(config.located(error.problems, file)) from error
    except UnavailableError as error:
        print_text(f"{error}; see bootstrap.servers and the security settings under `kafka`", err=True)
        return EXIT_USAGE
    if as_json:
        print_json(report.as_json())
    else:
        _print(report)
    if halt is not None:
        raise halt
    return EXIT_DONE if report.is_clean else EXIT_CHECK_FAILED


def _where(report: ShadowReport) -> str:
    topics = {partition.topic for partition in report.partitions}
    return (
        f"Reading {plural(len(report.partitions), 'partition')} of {plural(len(topics), 'topic')} "
        f"with {plural(report.left, 'record')} to come"
    )


def _print(report: ShadowReport) -> None:
    total = report.total
    speed = f"{report.records_per_second:,.0f} a second"
    print_text(
        f"{plural(total.records, 'record')} mapped in {duration(report.seconds)}, {speed}. "
        "Nothing was sent or committed.",
        bold=True,
    )
    print_values(
        {
            "events": f"{total.events:,}",
            "filtered": _counted(total.filtered),
            "dead letters": f"{total.dead_letters.total():,}",
            "event sizes": _sizes(total) if total.events else None,
            "billed": f"{plural(total.billed_chunks, 'chunk')} of 64 KiB",
            "left": f"{plural(report.left, 'record')} at most" if report.left else "none: caught up",
        },
        indent="  ",
        wraps=True,
    )
    if report.examples:
        typer.echo()
        print_text("These would be dead-lettered:", bold=True)
        for code, (position, message) in report.examples.items():
            begin = f"  {code}, {plural(total.dead_letters[code], 'record')}, the first {position}: "
            print_text(message, indent=begin, hanging=" " * 4)
    if report.halts_at is not None:
        typer.echo()
        print_text(
            f"The bridge would halt at {report.halts_at}: so many dead letters in a row are a broken mapping "
            "or topic, see dead_letter.max_consecutive."
        )
    for partition, reason in report.waiting.items():
        typer.echo()
        print_text(f"{partition} was not read on, since it waits: {reason}")
    if len(report.topics) > 1:
        typer.echo()
        _print_topics(report.topics)
    _print_names("source", report.sources)
    _print_names("detail type", report.detail_types)
    typer.echo()
    rows = [
        (str(partition), str(reading.from_offset), str(reading.left))
        for partition, reading in sorted(report.partitions.items())
    ]
    print_table(("partition", "from offset", "left"), rows, right={"from offset", "left"})


def _print_topics(topics: Mapping[str, TopicCounts]) -> None:
    header = ("topic", "records", "events", "filtered", "dead letters", "billed")
    rows = [
        (
            topic,
            str(counts.records),
            str(counts.events),
            str(counts.filtered.total()),
            str(counts.dead_letters.total()),
            str(counts.billed_chunks),
        )
        for topic, counts in sorted(topics.items())
    ]
    print_table(header, rows, right=set(header[1:]))


def _print_names(title: str, counts: NameCounts) -> None:
    if not counts.by_name:
        return
    typer.echo()
    most = sorted(counts.by_name.items(), key=lambda each: (-each[1], each[0]))
    rows = [(name, str(count)) for name, count in most[:MAX_SHOWN]]
    others = counts.others + sum(count for _, count in most[MAX_SHOWN:])
    if others:
        rows.append(("all others", str(others)))
    print_table((title, "events"), rows, right={"events"})


def _counted(counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{count:,} by {name}" for name, count in counts.items())
    return listed or "0"


def _sizes(counts: TopicCounts) -> str:
    half, most, largest = (counts.sizes.quantile(share) for share in (0.5, 0.99, 1.0))
    return f"half are at most {half:,} bytes, 99% at most {most:,}, the largest has {largest:,}"
