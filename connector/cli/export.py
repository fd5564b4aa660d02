"""`partner-bridge export`: the files that it writes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

import typer

from connector.cli.output import note, print_text
from connector.config.settings import DEFAULT_TARGET, Settings
from connector.errors import why_failed
from connector.model import Json
from connector.process import EXIT_CHECK_FAILED, EXIT_DONE
from connector.workbench.export import Export, event_schema, exported


def write_export(
    settings: Settings, topic: str, out: Path, *, formats: Collection[str], schema: Path | None
) -> int:
    """Write the chosen formats of a topic's events into a folder; gives the exit code.

    Raises:
        ConfigError: the topic is not configured, or its schema cannot be had.
    """
    if topic.startswith("^"):
        raise typer.BadParameter(
            "a pattern stands for several topics; name one of them", param_hint="--topic"
        )
    event = event_schema(settings, topic, file=schema)
    targets = settings.all_targets
    target = targets.get(event.topic.target, targets[DEFAULT_TARGET])
    export = exported(event, target=target)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in _files(export, formats):
            (out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
            print_text(f"wrote {out / name}", err=True)
    except OSError as error:
        raise typer.BadParameter(
            f"cannot write to {error.filename or out}: {why_failed(error)}",
            param_hint="--out",
        ) from None
    if event.is_open:
        note(f"no schema says what the values of {topic} hold, so the schema of its events leaves them open")
    missing = [each for each in export.events if each.problem] if "sample" in formats else []
    for each in missing:
        note(f"no sample of {each.name}: {each.problem}")
    return EXIT_CHECK_FAILED if missing else EXIT_DONE


def _files(export: Export, formats: Collection[str]) -> Iterator[tuple[str, Json]]:
    for each in export.events:
        documents = {"json-schema": each.schema, "openapi": each.openapi, "sample": each.sample}
        suffixes = {"json-schema": "schema", "openapi": "openapi", "sample": "sample"}
        for format_, document in documents.items():
            if format_ in formats and document is not None:
                yield f"{each.name}.{suffixes[format_]}.json", document
    if "pattern" in formats:
        yield "rule-pattern.json", export.pattern
