"""A receipt, as it is in the receipts topic: one request and what it delivered. See `schemas/receipt.json`.

Events are arrays rather than objects. That halves what a receipt costs to make, and to compress and send.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast

import orjson

from connector.delivery.pending import PendingEntry
from connector.errors import ConnectorError
from connector.model import Answer, Delivered, Partition, Position, iso

VERSION = 1
FAST_IDS = 20
"""So many ids are searched for in the bytes of a receipt before it is parsed."""


class DeliveredEvent(NamedTuple):
    """One event that EventBridge accepted. The fields are in the order of the array."""

    event_id: str
    """Ours, the same at every delivery of the record."""
    eventbridge_id: str
    """The EventId of this delivery."""
    source: str
    detail_type: str
    topic: str
    partition: int
    offset: int
    attempt: int
    """1 for the first. Requests that were throttled or split as a whole do not count."""
    size_bytes: int
    """Its size as EventBridge counts it."""

    @property
    def position(self) -> Position:
        return Position(Partition(self.topic, self.partition), self.offset)


class Receipt(NamedTuple):
    """One request that delivered something."""

    bridge: str
    target: str
    region: str
    request_id: str | None
    sent_ms: int
    """Unix time in milliseconds, as the next."""
    answered_ms: int
    events: Sequence[DeliveredEvent]


class UnreadableReceipt(ConnectorError):  # noqa: N818 - it names what was found
    """A record is no receipt that this version can read."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events to look for: those that one of these names."""

    positions: frozenset[tuple[str, int, int]] = frozenset()
    """(topic, partition, offset)"""
    ids: frozenset[str] = frozenset()
    """Ours or EventBridge's."""
    sources: frozenset[str] = frozenset()

    def __call__(self, row: Sequence[Any]) -> bool:
        """Whether one of them names this event."""
        event_id, eventbridge_id, source, _, topic, number, offset, _, _ = row
        return (
            (topic, number, offset) in self.positions
            or event_id in self.ids
            or eventbridge_id in self.ids
            or source in self.sources
        )

    def may_be_in(self, value: bytes) -> bool:
        """Whether a receipt may hold one of them; much quicker than parsing it."""
        if self.positions or self.sources or len(self.ids) > FAST_IDS:
            return True
        return any(each.encode() in value for each in self.ids)


def encoded(
    delivered: Sequence[PendingEntry], answer: Answer, *, bridge: str, target: str, region: str, now_s: float
) -> bytes:
    """The receipt of an answered request, as JSON; `delivered` are the entries that got an EventId, in order.

    `now_s` is the Unix time of the answer.
    """
    outcomes = answer.outcomes
    if len(outcomes) != len(delivered):
        outcomes = [outcome for outcome in outcomes if isinstance(outcome, Delivered)]
    rows = []
    for pending, outcome in zip(delivered, cast("Sequence[Delivered]", outcomes), strict=True):
        # Unpacking a named tuple takes longer.
        record, entry = pending.record, pending.entry
        topic, number = record.partition.topic, record.partition.number
        rows.append(
            (
                pending.event_id,
                outcome.event_id,
                entry.source,
                entry.detail_type,
                topic,
                number,
                record.offset,
                pending.tries + 1,
                entry.size_bytes,
            )
        )
    return orjson.dumps(
        {
            "version": VERSION,
            "bridge": bridge,
            "target": target,
            "region": region,
            "request_id": answer.request_id,
            "sent": iso(int((now_s - answer.seconds) * 1000)),
            "answered": iso(int(now_s * 1000)),
            "events": rows,
        }
    )


def decoded(value: bytes | None, wanted: Wanted | None = None) -> Receipt | None:
    """A receipt with all its events, or with those that are wanted; None where none of them is.

    Raises:
        UnreadableReceipt: it is none, or of a later version.
    """
    if value is None:
        raise UnreadableReceipt("it has no value")
    if wanted is not None and not wanted.may_be_in(value):
        return None
    try:
        fields: dict[str, Any] = orjson.loads(value)
        version, rows = fields["version"], fields["events"]
        if version == VERSION and wanted is not None and not (rows := list(filter(wanted, rows))):
            return None
        receipt = Receipt(
            fields["bridge"],
            fields["target"],
            fields["region"],
            fields["request_id"],
            _unix_ms(fields["sent"]),
            _unix_ms(fields["answered"]),
            [DeliveredEvent(*row) for row in rows],
        )
    except (ValueError, TypeError, KeyError) as error:  # orjson's error is a ValueError
        raise UnreadableReceipt("it has not the form of a receipt") from error
    if version != VERSION:
        raise UnreadableReceipt(f"it is of version {version!r}")
    return receipt


def _unix_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
