"""`partner-bridge explain`: finds the records, and prints what becomes of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import typer

from connector import config
from connector.cli.output import plural, print_problems, print_text, print_values, printable, progress
from connector.config.load import places
from connector.config.yaml_file import Written
from connector.errors import ConfigError, Problem, UnavailableError, why_failed
from connector.formats.registries import Registries
from connector.kafka.reader import Reader
from connector.mapping.expressions import is_true
from connector.model import Json, Partition, Position, Record
from connector.pipeline import Pipeline, topic_problem
from connector.process import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_USAGE
from connector.workbench.cases import Rehearsal
from connector.workbench.doubts import DetailTypes
from connector.workbench.explanation import Explanation, TemplateResult, explain
from connector.workbench.fixtures import record_in
from connector.workbench.topic_records import GoneError, last_records, record_at


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """The arguments of `explain`; one of the last three is given."""

    topic: str
    position: Position | None
    last: int | None
    file: Path | None


def explain_records(
    settings: config.Settings, request: ExplainRequest, *, config_file: Path | None, as_json: bool
) -> int:
    """Print an explanation of each record; gives the exit code."""
    seen, is_dead_letter, is_first = DetailTypes(), False, True
    written = places(config_file)
    try:
        for explanation in _explanations(settings, request):
            if explanation.entry is not None:
                more = seen.doubts(explanation.entry)
                explanation = replace(explanation, warnings=explanation.warnings + more)  # noqa: PLW2901
            is_dead_letter = is_dead_letter or explanation.outcome == "dead_letter"
            if as_json:
                typer.echo(json.dumps(explanation.as_json(), ensure_ascii=False))
                continue
            if not is_first:
                typer.echo()
            is_first = False
            _print(explanation, written)
    except (UnavailableError, GoneError) as error:
        _refuse(str(error))
    return EXIT_CHECK_FAILED if is_dead_letter else EXIT_DONE


def _refuse(message: str) -> NoReturn:
    print_text(message, err=True)
    raise typer.Exit(EXIT_USAGE)


def _explanations(settings: config.Settings, request: ExplainRequest) -> Iterator[Explanation]:
    if request.file is not None:
        yield _of_file(settings, request.topic, request.file)
        return
    with _pipeline(settings, request.topic) as pipeline, closing(Reader(settings)) as reader:
        pipeline.cluster_id = reader.metadata().cluster_id or pipeline.cluster_id
        for record in _read(reader, request):
            yield explain(pipeline, record)


@contextmanager
def _pipeline(settings: config.Settings, topic: str) -> Iterator[Pipeline]:
    """The pipeline with the registries of the settings."""
    with closing(Registries.of(settings)) as registries:
        pipeline = Pipeline(settings, registries)
        _check_topic(settings, pipeline, topic)
        yield pipeline


def _check_topic(settings: config.Settings, pipeline: Pipeline, topic: str) -> None:
    if why := topic_problem(settings, pipeline, topic):
        raise typer.BadParameter(why, param_hint="--topic")


def _read(reader: Reader, request: ExplainRequest) -> list[Record]:
    if request.position is not None:
        return [record_at(reader, request.position)]
    with progress("reading") as shown:
        return last_records(reader, request.topic, request.last or 1, on_read=shown.advance)


def _of_file(settings: config.Settings, topic: str, file: Path) -> Explanation:
    try:
        content = file.read_bytes()
    except OSError as error:
        _refuse(f"{file} cannot be read: {why_failed(error)}")
    try:
        fixture = record_in(content)
        if fixture is not None:
            with Rehearsal(settings) as rehearsal:
                _check_topic(settings, rehearsal.pipeline, topic)
                return explain(rehearsal.pipeline, rehearsal.record(topic, fixture))
    except ConfigError as error:
        print_problems(f"{file} cannot be used", [_of_record(problem) for problem in error.problems])
        raise typer.Exit(EXIT_USAGE) from None
    with _pipeline(settings, topic) as pipeline:
        return explain(pipeline, Record(Partition(topic, 0), 0, None, None, content, ()))


def _of_record(problem: Problem) -> Problem:
    """The problem of a fixture as one of a record that is no part of one."""
    return problem._replace(path="" if problem.path == "topic" else problem.path.removeprefix("record."))


OUTCOMES = {
    "event": "becomes an event",
    "filtered": "is dropped by the rule `{code}` of the configuration",
    "dead_letter": "would be dead-lettered as {code}",
}


def _print(explanation: Explanation, written: Written) -> None:
    outcome = OUTCOMES[explanation.outcome].format(code=explanation.code)
    print_text(f"{explanation.position} {outcome}", bold=True)
    if explanation.message is not None:
        print_text(printable(explanation.message), indent="  ", hanging="  ")
    _title("record")
    _print_json(explanation.decoded)
    _title("templates")
    if not explanation.templates:
        print_text("none was evaluated, since the value cannot be read", indent="  ")
    for each in explanation.templates:
        print_text(written.locate(Problem(each.path, each.path)).message, indent="  ")
        print_text(each.template or '""', indent="    ")
        result = printable(json.dumps(each.result, ensure_ascii=False)) + _verdict(each, explanation)
        print_text(f"→ {result}", indent="    ")
    if explanation.entry is not None:
        _title("entry" if explanation.target == config.DEFAULT_TARGET else f"entry for {explanation.target}")
        _print_json(explanation.entry)
    if explanation.size_bytes is not None and explanation.billed_chunks is not None:
        _title("size")
        size = f"{explanation.size_bytes:,} of {explanation.limit_bytes:,} bytes"
        chunks = f"AWS bills {plural(explanation.billed_chunks, 'chunk')} of 64 KiB"
        print_values({"size": size, "billed": chunks}, indent="  ")
    if (claim := explanation.claim_check) is not None:
        _title("claim check")
        at_path = f"{claim['bytes']:,} bytes at {claim['path']} go to S3"
        print_values({"out of it": at_path, "object": printable(str(claim["key"]))}, indent="  ")
    if explanation.warnings:
        _title("warnings")
        for warning in explanation.warnings:
            print_text(printable(warning), indent="  ")


def _verdict(result: TemplateResult, explanation: Explanation) -> str:
    """What the filter's result means for the record."""
    has_failed = result.result is None and explanation.outcome == "dead_letter"
    if not result.path.endswith(".filter") or has_failed:
        return ""
    return ": the record is kept" if is_true(result.result) else ": the record is dropped"


def _title(text: str) -> None:
    typer.echo()
    print_text(text, bold=True)


def _print_json(value: Json) -> None:
    for line in json.dumps(value, indent=2, ensure_ascii=False).split("\n"):
        text = line.lstrip()
        print_text(printable(text), indent="  " + " " * (len(line) - len(text)))
