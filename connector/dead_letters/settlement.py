"""From sent to settled, for bridge and replay: delivered, or acknowledged in the dead-letter topic.

The rules that keep records safe when something ends are here, once: what a halt leaves, which failures in a
row are a flood, and what a drain waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from connector import config
from connector.dead_letters.format import Failure
from connector.delivery.pending import PendingEntry
from connector.delivery.sender import TargetSender
from connector.errors import OF_SOURCES, DeadLetterError, HaltError
from connector.ledger import Ack, OffsetTracker
from connector.model import Answer, Record

Kept = TypeVar("Kept")

BUSY_WAIT_S = 0.005
"""With requests in flight a loop waits for answers, and polls this often for new records."""

NOT_OF_MAPPING = OF_SOURCES | {"retries_exhausted"}
"""Codes that say nothing about mapping or topic, however many there are. Customers who did not accept their
sources are no broken mapping, and must not halt the others."""


class DeadLetters(Protocol):
    """The dead-letter topic, for writing."""

    def write(self, record: Record, failure: Failure, ack: Ack) -> None:
        """Write a dead letter, again and again until the broker has it; never blocks.

        Raises:
            DeadLetterError: none can be written any more.
        """

    def acknowledged(self) -> Sequence[Ack]:
        """The dead letters that the broker acknowledged since the last call.

        Raises:
            DeadLetterError: none can be written any more.
        """

    @property
    def problem(self) -> str | None:
        """Why dead letters are not being acknowledged, in a sentence; None when all is well."""


class Receipts(Protocol):
    """The receipts topic, for writing."""

    def write(self, target: str, answer: Answer, delivered: Sequence[PendingEntry]) -> None:
        """Write the receipt of an answered request; never blocks, and raises nothing.

        `delivered` are the entries that have an EventId, in the order of the request.
        """

    def flush(self) -> None:
        """Wait a moment for the broker to have what was written, unless it did not the last time."""

    @property
    def problem(self) -> str | None:
        """Why receipts are being lost, in a sentence; None when all is well."""


@dataclass(frozen=True, slots=True)
class Flood:
    """The words for too many failures in a row."""

    happened: str
    """As "records in a row were dead-lettered"."""
    advice: str


class Settlement(Generic[Kept]):
    """Dead letters in flight, the reason to halt, and the drain before partitions are given away.

    `Kept` is remembered for each dead letter until the broker acknowledged it.
    """

    def __init__(
        self,
        senders: Collection[TargetSender],
        *,
        dead_letters: DeadLetters,
        settings: config.Settings,
        flood: Flood,
        clock_s: Callable[[], float],
    ) -> None:
        self.halt: HaltError | None = None
        """Why the loop must end. Kept rather than raised, so that other answers of the same moment are not
        lost with it."""
        self._senders = senders
        self._dead_letters = dead_letters
        self._max_consecutive = settings.dead_letter.max_consecutive
        self._flood = flood
        self._request_s = max(
            (target.timeouts.connect + target.timeouts.read) * (2 if target.claim_check else 1)
            for target in settings.all_targets.values()
        )
        """As long as one request may take, with the uploads before it."""
        self._clock_s = clock_s
        self._writing: dict[Ack, Kept] = {}
        """Written to the dead-letter topic and not acknowledged yet."""
        self._consecutive = 0

    @property
    def is_writing(self) -> bool:
        """Whether a dead letter is in flight."""
        return bool(self._writing)

    def halted(self, error: HaltError) -> None:
        """Keep the first reason to halt."""
        self.halt = self.halt or error

    def delivered(self) -> None:
        """End the run of failures: something was delivered."""
        self._consecutive = 0

    def dead_letter(self, record: Record, failure: Failure, ack: Ack, kept: Kept) -> None:
        """Write a dead letter. Its record is settled once `acknowledged` returns it.

        Too many in a row are a reason to halt. So is a topic that takes none: the record then stays
        unsettled, and holds back the commit.
        """
        try:
            self._dead_letters.write(record, failure, ack)
        except DeadLetterError as error:
            self.halted(error)
            return
        self._writing[ack] = kept
        self._consecutive += failure.code not in NOT_OF_MAPPING
        if self._consecutive > self._max_consecutive:
            self.halted(
                DeadLetterError(
                    f"{self._consecutive} {self._flood.happened} and none was delivered between them, the "
                    f"last with {failure.code}: {failure.message.rstrip('.')}. {self._flood.advice} or raise "
                    "dead_letter.max_consecutive."
                )
            )

    def acknowledged(self) -> list[tuple[Ack, Kept]]:
        """The dead letters that the broker acknowledged since the last call, with what was kept for each.

        To be called also while none is in flight: one of a partition that was lost may still be.
        """
        try:
            acks = self._dead_letters.acknowledged()
        except DeadLetterError as error:
            self.halted(error)
            self._writing.clear()  # none comes any more; not settled, they hold back the commit
            return []
        return [(ack, self._writing.pop(ack)) for ack in acks if ack in self._writing]

    def forget_closed(self) -> None:
        """Drop all that belongs to partitions that were given away."""
        for sender in self._senders:
            sender.discard(lambda pending: not pending.tracker.is_open)
        self._writing = {ack: kept for ack, kept in self._writing.items() if ack[0].is_open}

    # Drain

    def drain(
        self,
        trackers: Set[OffsetTracker],
        *,
        deadline_s: Callable[[], float],
        sends: bool,
        pump: Callable[[float, bool], None],
    ) -> float:
        """Bring what is in flight of these to an end; returns by when that had to be.

        A request is waited for as long as one may take, a dead letter until the deadline. What waits for its
        next attempt, for its source, or for a target that is down or throttled is left to the next reader at
        once, and so is what lies above it, or was never sent: it would be delivered twice. What is ready
        below an offset that was sent still goes meanwhile where it `sends`, since everything above it would
        be delivered twice. After a halt nothing is sent.

        `pump` makes one pass of the loop without polling: for how long it may wait, and whether it may send.
        `deadline_s` is asked in each pass, since a stop during a rebalance makes it earlier.
        """
        answered_by_s = self._clock_s() + self._request_s
        while True:
            now_s = self._clock_s()
            end_s = deadline_s()
            send = sends and self.halt is None and now_s < answered_by_s
            for sender in self._senders:
                _abandon(sender, trackers, send=send)
            is_answering = now_s < answered_by_s and any(s.carries(trackers) for s in self._senders)
            is_sending = send and any(tracker.blocks_commit for tracker in trackers)
            is_writing = any(tracker in trackers for tracker, _ in self._writing)
            if now_s >= end_s or not (is_answering or is_sending or is_writing):
                return end_s
            pump(min(BUSY_WAIT_S, end_s - now_s), send)


def _abandon(sender: TargetSender, trackers: Set[OffsetTracker], *, send: bool) -> None:
    """Leave to the next reader what need not, or cannot, leave now."""
    abandoned = sender.discard_waiting(trackers)
    if not send or sender.is_backing_off:
        abandoned += sender.discard(lambda pending: pending.tracker in trackers)
    for pending in abandoned:
        pending.tracker.abandoned.add(pending.record.offset)
    ends = {tracker: tracker.finish_to for tracker in trackers}
    for pending in sender.discard(lambda p: p.tracker in trackers and p.record.offset > ends[p.tracker]):
        pending.tracker.abandoned.add(pending.record.offset)
