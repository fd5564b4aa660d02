"""Dead letters sent again.

The order of things is what makes a replay safe to kill and to repeat. A letter is resolved only after
EventBridge gave its event an EventId, or after the broker has the new letter of one that failed again.
And a replay sends letters only of partitions that its consumer group gave it, after it read what is
resolved there.

What remains possible: an event is sent twice where a replay is killed between the EventId and the
acknowledged resolution, or where it was cut off for longer than the group's session with a request
under way, and another replay took over. Both times it has the same event id.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from connector import config
from connector.dead_letters.dry_run import DryRun, PassedOver, PreparedBatch, Report, Result
from connector.dead_letters.format import REPLAY_COUNT, DeadLetter, Failure
from connector.dead_letters.redelivery import Limits, RedeliveredEntry, Redelivery, SendingParts
from connector.dead_letters.resolutions import DeadLetterState, Resolution
from connector.dead_letters.settlement import Flood
from connector.errors import DeadLetterError, RecordError
from connector.model import Position, Ranges, Record, now_ms


class Resolutions(Protocol):
    """The resolutions topic, for writing."""

    @property
    def unwritten(self) -> int:
        """Resolutions that the broker has not acknowledged up to now."""

    def write(self, letter: Position, resolution: Resolution) -> None:
        """Record the resolution of a dead letter; waits only while there is no room for it.

        Raises:
            DeadLetterError: an earlier one could not be written.
        """

    def flush(self, timeout_s: float) -> None:
        """Return once the broker has all of them.

        Raises:
            DeadLetterError: some could not be written, or not in time.
        """


class Replay(Redelivery[DeadLetter]):
    """Sends the selected letters, and records the resolution of each."""

    name = "replay"
    things = "letters"
    flood = Flood(
        "letters in a row failed again",
        "That is not corrected yet: correct it, and read the plan before;",
    )

    def __init__(
        self,
        settings: config.Settings,
        parts: SendingParts,
        *,
        ranges: Ranges,
        prepared_batches: Callable[[Ranges], Iterator[PreparedBatch[DeadLetter]]],
        dry_run: DryRun,
        limits: Limits,
        resolutions: Resolutions,
        report: Report,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ranges` are those of the dead-letter topic; the others are as in `Redelivery`."""
        super().__init__(
            settings,
            parts,
            topic=settings.dead_letter.topic,
            ranges=ranges,
            prepared_batches=prepared_batches,
            pipeline=dry_run.pipeline,
            limits=limits,
            report=report,
            clock_s=clock_s,
        )
        self._dry_run = dry_run
        self._resolutions = resolutions

    def _kind(self, item: DeadLetter, result: Result) -> str | None:
        return None if isinstance(result, PassedOver) else item.label.code

    @property
    def _unrecorded(self) -> int:
        return self._resolutions.unwritten

    def _delivered(self, pending: RedeliveredEntry[DeadLetter], event_id: str) -> None:
        # Of a partition that was lost, too: it is true, and the next reader will not send it.
        self._resolve(pending.item, DeadLetterState.DELIVERED, event_id=event_id)

    def _dropped(self, item: DeadLetter, reason: str) -> None:
        reason = f"{reason} of the configuration at replay"
        self._resolve(item, DeadLetterState.DISCARDED, reason=reason)

    def _dead_lettered(self, item: DeadLetter, code: str) -> None:
        self._resolve(item, DeadLetterState.DEAD_LETTERED_AGAIN, reason=code)

    def _dead_letter(
        self,
        item: DeadLetter,
        error: RecordError,
        *,
        pending: RedeliveredEntry[DeadLetter] | None,
        request_id: str | None,
    ) -> tuple[Record, Failure]:
        failure = Failure.of(
            error,
            event_id=self._dry_run.event_id(item),
            pending=pending,
            request_id=request_id,
            earlier_attempts=item.label.attempts,
            first_failure_ms=item.first_failure_ms,
        )
        replays = (REPLAY_COUNT, b"%d" % (item.label.replay_count + 1))
        return item.record._replace(headers=(*item.record.headers, replays)), failure

    def _flush(self, timeout_s: float) -> None:
        self._resolutions.flush(timeout_s)

    def _resolve(
        self,
        letter: DeadLetter,
        state: DeadLetterState,
        *,
        event_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        resolution = Resolution(state, now_ms(), letter.written_ms, event_id=event_id, reason=reason)
        try:
            self._resolutions.write(letter.id, resolution)
        except DeadLetterError as error:
            self._settlement.halted(error)  # the others can perhaps be recorded
