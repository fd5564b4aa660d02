"""Receipts of records that were found."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from connector import config
from connector.delivery_log.search import FoundRecord, Show, known_since
from connector.delivery_log.status import FoundDelivery
from connector.model import Position, size_of
from connector.receipts.format import Receipt, Wanted
from connector.receipts.topic import ReceiptTopic


class StoredReceipts:
    """The receipts topic, with its progress shown. Call `close` in the end.

    Raises:
        ConfigError: the topic does not exist.
        UnavailableError: Kafka does not answer.
    """

    def __init__(self, settings: config.Settings, receipts: config.ReceiptSettings, *, show: Show) -> None:
        self.name = receipts.topic
        self._show = show
        self._topic = ReceiptTopic(settings, receipts)
        self.close = self._topic.close
        try:
            self._topic.ranges()
        except BaseException:
            self.close()
            raise

    @property
    def unreadable(self) -> int:
        """Records read that are no receipts, or of a later version."""
        return self._topic.unreadable

    def read(self, since_ms: int | None, wanted: Wanted) -> Iterator[Receipt]:
        """The receipts that name what is wanted, and of them those events."""
        ranges = self._topic.ranges(since_ms=since_ms)
        with self._show("reading receipts", size_of(ranges)) as shown:
            for receipts in self._topic.read(ranges, wanted=wanted, on_read=shown.advance):
                yield from receipts

    def deliveries(self, found: Collection[FoundRecord]) -> Mapping[Position, Sequence[FoundDelivery]]:
        """The deliveries of these records, in no order."""
        records = {each.position: each for each in found}
        deliveries: dict[Position, list[FoundDelivery]] = {}
        if not records:
            return deliveries
        wanted = Wanted(positions=frozenset((*position.partition, position.offset) for position in records))
        for receipt in self.read(known_since(found), wanted):
            for event in receipt.events:
                # Another id is that of the record which had this position before the topic was made anew.
                if records[event.position].event_id in {None, event.event_id}:
                    delivery = FoundDelivery(
                        event.event_id,
                        event.eventbridge_id,
                        receipt.request_id,
                        receipt.answered_ms,
                        event.attempt,
                        receipt.target,
                        receipt.region,
                        event.source,
                        event.detail_type,
                    )
                    deliveries.setdefault(event.position, []).append(delivery)
        return deliveries

    def oldest_ms(self) -> int | None:
        """When the oldest receipt that is left was answered; None where there is none."""
        ranges = self._topic.ranges()
        first = {number: (low, low + 1) for number, (low, high) in ranges.items() if low < high}
        times = [receipt.answered_ms for receipts in self._topic.read(first) for receipt in receipts]
        return min(times, default=None)
