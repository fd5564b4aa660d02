"""The status of a record: delivered, dead-lettered, filtered, held, waiting, gone or unknown. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from connector.dead_letters.format import letter_id
from connector.dead_letters.resolutions import DeadLetterState, Resolution
from connector.delivery_log.bridges import BridgeEvidence
from connector.delivery_log.search import FoundRecord, Mapped
from connector.model import Json, Position, iso

DeliveryStatus: TypeAlias = Literal[
    "delivered", "dead-lettered", "filtered", "held", "waiting", "gone", "unknown"
]


class FoundDelivery(NamedTuple):
    """A request that delivered the event of a record, by its receipt."""

    event_id: str
    """Ours."""
    eventbridge_id: str
    request_id: str | None
    answered_ms: int
    """Unix time in milliseconds."""
    attempt: int
    target: str
    region: str
    source: str
    detail_type: str


class FoundLetter(NamedTuple):
    """The newest dead letter of a record."""

    id: Position
    event_id: str | None
    code: str
    message: str
    written_ms: int
    """Unix time in milliseconds."""
    source: str | None
    detail_type: str | None
    state: DeadLetterState
    resolution: Resolution | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known beside the records themselves."""

    committed: int | None
    """What the group has committed of the record's partition; None where it never did."""
    no_receipts: str | None
    """Why there are none at all, as "receipts are off"; None where there may be."""
    oldest_receipt_ms: int | None
    """When the oldest receipt that is left was answered."""
    holds_inactive: bool
    """Whether events of its topic and target are held while their source is not ACTIVE."""
    topic_names: Collection[str]
    """The names that a pause may have for its topic: its own, and the pattern that it is of."""
    bridges: BridgeEvidence
    are_letters_known: bool = True
    """Whether the dead-letter topic could be read."""


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """A record that matches, and its status."""

    record: FoundRecord
    status: DeliveryStatus
    why: str | None
    """None where deliveries or the letter say it."""
    deliveries: Sequence[FoundDelivery]
    """The newest first."""
    letter: FoundLetter | None

    @property
    def event_id(self) -> str | None:
        """Our id of the event; None where nothing names it."""
        letter_says = self.letter.event_id if self.letter else None
        return self.record.event_id or (self.deliveries[0].event_id if self.deliveries else letter_says)

    @property
    def names(self) -> tuple[str | None, str | None]:
        """Source and detail type: as they were delivered, or as the letter or the configuration has them."""
        for each in (*self.deliveries, self.record.mapped, self.letter):
            if each is not None and each.source is not None:
                return each.source, each.detail_type
        return None, None

    def as_json(self) -> dict[str, Json]:
        """As `events find --json` prints it; `schemas/found-events.json` describes it."""
        (topic, number), offset = self.record.position
        source, detail_type = self.names
        return {
            "topic": topic,
            "partition": number,
            "offset": offset,
            "timestamp": None if self.record.timestamp_ms is None else iso(self.record.timestamp_ms),
            "event_id": self.event_id,
            "source": source,
            "detail_type": detail_type,
            "status": self.status,
            "why": self.why,
            "deliveries": [
                {
                    "at": iso(each.answered_ms),
                    "eventbridge_id": each.eventbridge_id,
                    "request_id": each.request_id,
                    "attempts": each.attempt,
                    "target": each.target,
                    "region": each.region,
                }
                for each in self.deliveries
            ],
            "dead_letter": None if self.letter is None else _letter_json(self.letter),
        }


def _letter_json(letter: FoundLetter) -> Json:
    resolution = letter.resolution
    return {
        "id": letter_id(letter.id),
        "code": letter.code,
        "message": letter.message,
        "written": iso(letter.written_ms),
        "state": letter.state.label,
        "resolved": None if resolution is None else iso(resolution.at_ms),
        "eventbridge_id": None if resolution is None else resolution.event_id,
        "reason": None if resolution is None else resolution.reason,
    }


def found_event(
    record: FoundRecord, deliveries: Sequence[FoundDelivery], letter: FoundLetter | None, evidence: Evidence
) -> FoundEvent:
    """Give a record its status.

    Delivered is what ever was, whatever became of it later: a letter may be newer where it was sent again.
    """
    status, why = _status(record, deliveries, letter, evidence)
    newest_first = sorted(deliveries, key=lambda each: each.answered_ms, reverse=True)
    return FoundEvent(record, status, why, newest_first, letter)


def _status(
    record: FoundRecord, deliveries: Sequence[FoundDelivery], letter: FoundLetter | None, evidence: Evidence
) -> tuple[DeliveryStatus, str | None]:
    if deliveries or (letter is not None and letter.state is DeadLetterState.DELIVERED):
        return "delivered", None
    if letter is not None:
        return "dead-lettered", None
    if record.mapped is None:
        return "gone", record.missing
    if record.mapped.rule is not None:
        return "filtered", record.mapped.rule
    if evidence.committed is None or record.position.offset >= evidence.committed:
        return _unsettled(record, record.mapped, evidence)
    return "unknown", _why_unknown(record, record.mapped, evidence)


def _unsettled(record: FoundRecord, mapped: Mapped, evidence: Evidence) -> tuple[DeliveryStatus, str]:
    partition, offset = record.position
    if mapped.source is not None and mapped.error is None:
        held = evidence.bridges.why_held(mapped.target, mapped.source, holds_inactive=evidence.holds_inactive)
        if held is not None:
            return "held", held
    if evidence.committed is None:
        behind = f"the group has committed nothing of {partition}"
    elif offset == evidence.committed:
        behind = f"it is the first record of {partition} that is not settled"
    else:
        behind = (
            f"the group has committed {partition} up to {evidence.committed}, "
            f"{offset - evidence.committed:,} before it"
        )
    becomes = None if mapped.error is None else f"it would be dead-lettered now: {mapped.error}"
    reasons = (
        evidence.bridges.why_waiting(evidence.topic_names, mapped.target, mapped.source),
        becomes,
        behind,
    )
    return "waiting", "; ".join(filter(None, reasons))


def _why_unknown(record: FoundRecord, mapped: Mapped, evidence: Evidence) -> str:
    """Why nothing says what came of a record that is settled."""
    if not evidence.are_letters_known:
        return "settled: delivered or dead-lettered, but dead letters cannot be read, and no receipt says so"
    if mapped.error is not None:
        return (
            f"settled, and it would be dead-lettered now ({mapped.error}): there is no letter, so retention "
            "deleted that, or the record was read with another configuration"
        )
    if evidence.no_receipts is not None:
        return f"settled, so very likely delivered; no receipt says so, since {evidence.no_receipts}"
    oldest_ms = evidence.oldest_receipt_ms
    if oldest_ms is None:
        return "settled, so very likely delivered; there are no receipts yet"
    if record.timestamp_ms is not None and record.timestamp_ms < oldest_ms:
        return f"settled, so very likely delivered: it is older than the oldest receipt, of {iso(oldest_ms)}"
    return (
        "settled, and there is no receipt: that was lost (receipts_lost_total counts), or the record was "
        "filtered by an earlier configuration, or the group's offset was set past it"
    )
