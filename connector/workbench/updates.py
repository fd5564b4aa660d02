"""Writes into a fixture what came of its cases, as what is expected."""

from __future__ import annotations

from collections.abc import Iterable

from connector.config.problems import Loc
from connector.errors import ConfigError
from connector.workbench.cases import CaseResult, Rehearsal
from connector.workbench.differences import Absent, JsonOrAbsent
from connector.workbench.fixtures import FixtureFile, parse_fixture
from connector.workbench.splicing import UnspliceableError, spliced


def updated(fixture: FixtureFile, results: Iterable[CaseResult], rehearsal: Rehearsal) -> str:
    """Give the text of a fixture with what came, under which every case passes; nothing else is changed.

    An event that was not expected is written whole, but for the metadata that the bridge adds.

    Raises:
        ConfigError: the text is written in a way that cannot be changed, as with an alias.
    """
    changes: dict[Loc, JsonOrAbsent] = {}
    for result in results:
        for difference in result.differences:
            got = difference.got
            if difference.loc == ("event",) and not isinstance(got, Absent):
                got = rehearsal.without_metadata(fixture.fixture.topic, got)
            changes["cases", result.index, *difference.loc] = got
    try:
        text = spliced(fixture.text, changes)
        why_not = _why_not(fixture, text, rehearsal)
    except UnspliceableError as error:
        why_not = str(error)
    if why_not:
        message = f"cannot be updated: {why_not}. Nothing was written; change it by hand"
        raise ConfigError([fixture.problem("cases", message)])
    return text


def _why_not(fixture: FixtureFile, text: str, rehearsal: Rehearsal) -> str | None:
    """Why a text must not be written in place of a fixture's, if it must not."""
    again, problems = parse_fixture(fixture.file, text.encode())
    if again is None or problems:
        return f"it could not be read any more, {problems[0].message}"
    failed = [result for result in rehearsal.run(again) if result.differences]
    return f"{failed[0].case.name} would fail again, {failed[0].differences[0]}" if failed else None
