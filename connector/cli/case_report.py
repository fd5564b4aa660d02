"""`partner-bridge test`: runs fixtures, updates them, and reports to people, machines and CI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn
from xml.etree import ElementTree as ET

import typer

from connector import config
from connector.cli.output import plural, print_json, print_problems, print_text, printable
from connector.config.load import places
from connector.config.problems import path_of
from connector.config.yaml_file import Written
from connector.errors import ConfigError, Problem, why_failed
from connector.model import Json
from connector.process import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_USAGE
from connector.workbench.cases import CaseResult, Rehearsal
from connector.workbench.differences import Absent, Difference
from connector.workbench.fixtures import FixtureFile, read_fixture
from connector.workbench.updates import updated


class FileResult(NamedTuple):
    """A fixture and what came of its cases."""

    fixture: FixtureFile
    results: list[CaseResult]

    @property
    def failed(self) -> list[CaseResult]:
        return [result for result in self.results if result.differences]


def run_cases(
    settings: config.Settings,
    files: Sequence[Path],
    *,
    config_file: Path | None,
    update: bool,
    junit: Path | None,
    as_json: bool,
) -> int:
    """Run the cases of fixtures, and with `update` write what came of them; gives the exit code."""
    with Rehearsal(settings) as rehearsal:
        ran = _run(rehearsal, files, to_update=update, as_json=as_json)
        if update:
            _update(rehearsal, ran, as_json=as_json)
    written = places(config_file)
    if junit is not None:
        _write_junit(junit, ran, written)
    if as_json:
        print_json(_as_json(ran, is_updated=update))
    else:
        _print(ran, written, is_updated=update)
    return EXIT_DONE if update or not any(each.failed for each in ran) else EXIT_CHECK_FAILED


def _run(rehearsal: Rehearsal, files: Sequence[Path], *, to_update: bool, as_json: bool) -> list[FileResult]:
    ran: list[FileResult] = []
    problems: list[Problem] = []
    for file in files:
        fixture, found = read_fixture(file, to_update=to_update)
        problems += found
        try:
            ran += [] if fixture is None else [FileResult(fixture, rehearsal.run(fixture))]
        except ConfigError as error:
            problems += error.problems
    if problems:
        _refuse(problems, as_json=as_json)
    return ran


def _refuse(problems: Sequence[Problem], *, as_json: bool) -> NoReturn:
    if as_json:
        print_json({"ok": False, "problems": [problem._asdict() for problem in problems]})
    else:
        print_problems("The fixtures cannot be used", problems)
    raise typer.Exit(EXIT_USAGE)


def _update(rehearsal: Rehearsal, ran: Sequence[FileResult], *, as_json: bool) -> None:
    """Write every fixture that failed; none where one of them cannot be written."""
    texts: dict[Path, str] = {}
    problems: list[Problem] = []
    for fixture, results in (each for each in ran if each.failed):
        try:
            texts[fixture.file] = updated(fixture, results, rehearsal)
        except ConfigError as error:
            problems += error.problems
    if problems:
        _refuse(problems, as_json=as_json)
    for file, text in texts.items():
        try:
            file.write_bytes(text.encode())
        except OSError as error:
            _refuse([_unwritable(file, error)], as_json=as_json)


def _unwritable(file: Path, error: OSError) -> Problem:
    return Problem(str(file), f"cannot be written: {why_failed(error)}")


def _print(ran: Sequence[FileResult], written: Written, *, is_updated: bool) -> None:
    cases, failed = sum(len(each.results) for each in ran), sum(len(each.failed) for each in ran)
    verb = "updated" if is_updated else "failed"
    for each in ran:
        count = len(each.failed)
        verdict = typer.style(f"{count} {verb}", fg="yellow" if is_updated else "red") if count else "passed"
        print_text(f"{each.fixture.file}: {plural(len(each.results), 'case')}, {verdict}")
        for result in each.failed:
            print_text(f"{result.case.name} (line {each.fixture.line(result.index)})", indent="  ", bold=True)
            for line in _why(result, written):
                print_text(printable(line), indent="    ")
    summary = f"{plural(cases - failed, 'case')} passed" + (f", {failed} {verb}" if failed else "")
    typer.echo()
    print_text(summary, bold=True)
    if failed and not is_updated:
        typer.echo("Where what came is right, add --update to write it into the fixtures.")


def _why(result: CaseResult, written: Written) -> Iterator[str]:
    """The differences of a case, and what explains them."""
    yield from map(str, result.differences)
    explanation = result.explanation
    if explanation.message is not None and "dead_letter" not in result.case.outcomes:
        yield explanation.message
    yield from (str(written.locate(problem)) for problem in explanation.misspelt)


def _as_json(ran: Sequence[FileResult], *, is_updated: bool) -> Json:
    failed = sum(len(each.failed) for each in ran)
    return {
        "ok": is_updated or not failed,
        "passed": sum(len(each.results) for each in ran) - failed,
        "updated" if is_updated else "failed": failed,
        "fixtures": [
            {
                "file": str(each.fixture.file),
                "topic": each.fixture.fixture.topic,
                "cases": [_case_as_json(each.fixture, result) for result in each.results],
            }
            for each in ran
        ],
    }


def _case_as_json(fixture: FixtureFile, result: CaseResult) -> Json:
    explanation = result.explanation
    return {
        "name": result.case.name,
        "line": fixture.line(result.index),
        "passed": not result.differences,
        "outcome": explanation.outcome,
        "code": explanation.code,
        "message": explanation.message,
        "differences": list(map(_difference_as_json, result.differences)),
    }


def _difference_as_json(difference: Difference) -> Json:
    """Without a key for what is absent."""
    shown: dict[str, Json] = {"path": path_of(difference.loc)}
    if not isinstance(difference.expected, Absent):
        shown["expected"] = difference.expected
    if not isinstance(difference.got, Absent):
        shown["got"] = difference.got
    return shown


def _write_junit(file: Path, ran: Sequence[FileResult], written: Written) -> None:
    """Write what CI systems read: a suite for each fixture.

    https://github.com/testmoapp/junitxml
    """
    suites = ET.Element("testsuites", {"name": "partner-bridge"})
    for fixture, results in ran:
        failed = sum(bool(result.differences) for result in results)
        counts = {"tests": str(len(results)), "failures": str(failed), "errors": "0"}
        suite = ET.SubElement(suites, "testsuite", {"name": str(fixture.file), **counts})
        for result in results:
            case = ET.SubElement(
                suite,
                "testcase",
                name=printable(result.case.name),
                classname=printable(fixture.fixture.topic),
                file=str(fixture.file),
                line=str(fixture.line(result.index)),
            )
            if result.differences:
                lines = [printable(line) for line in _why(result, written)]
                ET.SubElement(case, "failure", message=lines[0]).text = "\n".join(lines)
    try:
        ET.ElementTree(suites).write(file, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise typer.BadParameter(str(_unwritable(file, error)), param_hint="--junit") from None
