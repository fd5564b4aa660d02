"""The dead-letter topic, opened for one command: which dead letters it selects, and their resolutions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Self

from connector import config
from connector.cli.output import note, plural, progress
from connector.dead_letters.format import letter_id
from connector.dead_letters.near_misses import NearMisses, looked_for
from connector.dead_letters.resolutions import DeadLetterState, Resolution, ResolutionTable
from connector.dead_letters.selection import Cases, Selection, StoredDeadLetter, scan
from connector.dead_letters.topics import DeadLetterTopic, ResolutionTopic
from connector.dead_letters.totals import Totals
from connector.formats.registries import Registries
from connector.model import Ranges, SourceStatus, now_ms, size_of
from connector.pipeline import Pipeline

if TYPE_CHECKING:
    from connector.sources.lookup import CachedStates

FLUSH_S = 60.0
"""Limit for the broker to acknowledge the last resolutions."""


class DeadLetterSession:
    """The dead-letter topic, its resolutions, and the current configuration. Use it as a context.

    Shows its progress on a terminal, and writes notes of anything unusual to stderr.

    Raises:
        ConfigError: the dead-letter topic does not exist.
        UnavailableError: Kafka does not answer.
    """

    def __init__(self, settings: config.Settings) -> None:
        self.settings = settings
        self.topic = DeadLetterTopic(settings)
        self.resolutions = ResolutionTopic(settings)
        self._registries = Registries.of(settings)
        self.pipeline = Pipeline(settings, self._registries)
        self._source_states: CachedStates | None = None

    def __enter__(self) -> Self:
        self.ranges: Ranges = self.topic.snapshot()
        self.pipeline.cluster_id = self.topic.cluster_id or self.pipeline.cluster_id
        if (problem := self.resolutions.problem(len(self.ranges))) is not None:
            note(problem)
        return self

    def __exit__(self, *_: object) -> None:
        self.topic.close()
        self.resolutions.close()
        self._registries.close()
        if self._source_states is not None:
            self._source_states.close()

    def source_status(self, target: str, source: str) -> SourceStatus:
        """Look up a source, and wait for the answer.

        Raises:
            ConfigError: as `Publisher`.
        """
        if self._source_states is None:
            # Only now, since most commands need none, and importing boto3 takes as long as all they do.
            from connector.sources.lookup import CachedStates  # noqa: PLC0415
            from connector.telemetry.log import configure_logging  # noqa: PLC0415

            configure_logging("error", self.settings.log.format)
            self._source_states = CachedStates(self.settings)
        return self._source_states(target, source)

    def size(self) -> int:
        """Count the records of the dead-letter topic."""
        return size_of(self.ranges)

    def cases(self, selection: Selection) -> Cases:
        """Read the topic to find the newest letter of each record."""
        cases = Cases(self.topic.name, self.ranges, selection)
        with progress("bringing letters of one record together", self._total(selection)) as shown:
            for records in cases.read(self.topic):
                shown.advance(len(records))
        note_stand_ins(cases)
        return cases

    def selected(
        self,
        selection: Selection,
        cases: Cases,
        resolved: ResolutionTable | None = None,
        *,
        are_printed: bool = False,
    ) -> Iterator[Sequence[StoredDeadLetter]]:
        """Read the selected letters in batches, one letter of each record; they `are_printed` meanwhile."""
        with progress("reading", self._total(selection), beside_output=are_printed) as shown:
            yield from scan(
                self.topic,
                resolved or self.read_resolutions(),
                selection,
                self.ranges,
                max_replays=self.settings.dead_letter.max_replays,
                cases=cases,
                on_read=shown.advance,
            )

    def read_resolutions(self) -> ResolutionTable:
        """Read the resolutions topic as it is now."""
        resolved = ResolutionTable(self.topic.name, self.ranges)
        if strange := self.resolutions.read_into(resolved):
            note(f"{strange:,} records of {self.resolutions.name} are no resolutions and were left out")
        return resolved

    def totals_and_first(
        self, selection: Selection, limit: int
    ) -> tuple[Totals, list[StoredDeadLetter], Cases]:
        """Count the selected letters, and keep the first ones, at most `limit`.

        Most topics hold no two letters of one record. So letters are counted while the topic is read for the
        first time; where there are two, that count is thrown away, and they are read again.
        """
        resolved, cases = self.read_resolutions(), Cases(self.topic.name, self.ranges, selection)
        match = selection.matcher(max_replays=self.settings.dead_letter.max_replays)
        totals, first = Totals(), list[StoredDeadLetter]()
        must_reread = not cases.is_whole
        with progress("reading", self._total(selection)) as shown:
            for records in cases.read(self.topic):
                shown.advance(len(records))
                must_reread = must_reread or cases.passed_over > 0
                if not must_reread:
                    _count((found for r in records if (found := match(r, resolved))), totals, first, limit)
        note_stand_ins(cases)
        if must_reread or cases.passed_over:
            totals, first = Totals(), []
            for batch in self.selected(selection, cases, resolved):
                _count(batch, totals, first, limit)
        return totals, first, cases

    def why_none(self, selection: Selection) -> Iterator[str]:
        """Say what a selection that matches no letter looked for, where, and what there is instead.

        In sentences. Reads the topic once more, where the selection has filters.
        """
        size = self.size()
        if not size:
            yield f"{self.topic.name} is empty: there are no dead letters."
            return
        kind = "" if selection.state == "all" else f"{selection.state} "
        filters, ids = looked_for(selection), selection.ids
        matches = f" matches {filters}" if filters else " is among the ids" if ids is not None else ""
        holds = f"{self.topic.name}, which holds {plural(size, 'letter')} in all"
        yield f"No {kind}dead letter{matches} in {holds}."
        if not filters and ids is None:
            return
        misses = NearMisses(selection, max_replays=self.settings.dead_letter.max_replays)
        resolved = self.read_resolutions()
        with progress("reading", None if ids is not None else size) as shown:
            for records in self.topic.read(self.ranges if ids is None else ids.spans(self.ranges)):
                misses.add(records, resolved)
                shown.advance(len(records))
        yield from misses.sentences()

    def discard(self, selection: Selection, *, reason: str, who: str) -> Totals:
        """Mark the selected letters as discarded, and count them.

        Raises:
            ConfigError: the resolutions topic does not exist, or is not fit for resolutions.
            DeadLetterError: a resolution cannot be written.
        """
        self.resolutions.ensure(len(self.ranges))
        totals = Totals()
        try:
            for batch in self.selected(selection, self.cases(selection)):
                for found in batch:
                    resolution = Resolution(
                        state=DeadLetterState.DISCARDED,
                        at_ms=now_ms(),
                        written_ms=found.written_ms,
                        reason=reason,
                        who=who,
                    )
                    self.resolutions.write(found.id, resolution)
                    totals.add(found)
        finally:
            self.resolutions.flush(FLUSH_S)
        return totals

    def _total(self, selection: Selection) -> int | None:
        """Count the letters to read; None where their number is not known, as with ids."""
        return None if selection.ids is not None else self.size()


def note_stand_ins(cases: Cases) -> None:
    """Name the ids that were asked for and are not those of the newest letters."""
    for asked, newest in cases.stand_ins:
        note(f"{letter_id(newest)} is a newer letter of the same record as {letter_id(asked)}: it is taken")


def _count(
    batch: Iterable[StoredDeadLetter], totals: Totals, first: list[StoredDeadLetter], limit: int
) -> None:
    for found in batch:
        totals.add(found)
        if len(first) < limit:
            first.append(found)
