"""The receipts topic, for those who look for what was delivered. Joins no group and commits nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from connector import config
from connector.errors import ConfigError, Problem
from connector.kafka.reader import Reader
from connector.model import Ranges
from connector.receipts.format import Receipt, UnreadableReceipt, Wanted, decoded

BATCH = 500
"""Records taken in one go. Most are dropped at once where only some events are wanted."""


class ReceiptTopic:
    """Reads receipts, as they are now.

    For one thread, and one `read` at a time. Call `close` in the end.
    """

    def __init__(self, settings: config.Settings, receipts: config.ReceiptSettings) -> None:
        self.name = receipts.topic
        self.unreadable = 0
        """Records read that are no receipts, or are of a later version. They were skipped."""
        self._reader = Reader(settings)
        self.close = self._reader.close

    def ranges(self, *, since_ms: int | None = None) -> Ranges:
        """Where the receipts of requests that were answered since then are, for `read`; else all there are.

        Raises:
            ConfigError: the topic does not exist.
            UnavailableError: no broker answered in time, or they refuse us.
        """
        partitions = self._reader.partitions(self.name)
        if partitions is None:
            text = f"the topic {self.name} does not exist, so there are no receipts to look at"
            raise ConfigError([Problem("receipts.topic", text)])
        whole = self._reader.ends(self.name, partitions)
        return whole if since_ms is None else self._reader.not_before(self.name, whole, since_ms)

    def read(
        self,
        ranges: Ranges,
        *,
        wanted: Wanted | None = None,
        on_read: Callable[[int], None] = lambda _: None,
    ) -> Iterator[Sequence[Receipt]]:
        """The receipts in these ranges, in batches; with `wanted` only those that it names, and their events.

        Whether a receipt was answered since some time its `answered_ms` says: older ones may stand behind it.
        `on_read` is told how many records were read; a batch may be empty.

        Raises:
            UnavailableError: nothing arrived for 30 s, or the brokers refuse us.
        """
        for messages in self._reader.read(self.name, ranges, limit=BATCH):
            found = []
            for message in messages:
                try:
                    receipt = decoded(message.value(), wanted)
                except UnreadableReceipt:
                    self.unreadable += 1
                else:
                    if receipt is not None:
                        found.append(receipt)
            on_read(len(messages))
            yield found
