"""Which partitions are paused, why, and which of them stay so although nothing explains it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

from connector.model import Partition
from connector.telemetry.metrics import PauseReason

STUCK_S = 30.0
"""A partition that is paused for so long, without progress and without a reason outside, is stuck."""


class Pauses:
    """The partitions that are paused at this moment."""

    def __init__(self) -> None:
        self.reasons: dict[Partition, PauseReason] = {}
        self._unmoved: dict[Partition, tuple[float, int]] = {}
        """Paused without a reason outside: since when what each waits for does not move, and where it is."""

    def change(
        self, wanted: Mapping[Partition, PauseReason], fresh: Collection[Partition]
    ) -> tuple[set[Partition], set[Partition]]:
        """Pause these from now on, and no others; returns which are to be paused, and which to be resumed.

        Of `fresh` ones nobody knows whether they are paused.
        """
        pause = wanted.keys() - self.reasons.keys()
        resume = (self.reasons.keys() | set(fresh)) - wanted.keys()
        self.reasons = dict(wanted)
        return pause, resume

    def forget(self, partition: Partition) -> None:
        """It was taken away."""
        self.reasons.pop(partition, None)
        self._unmoved.pop(partition, None)

    def counts(self) -> Mapping[PauseReason, int]:
        """How many are paused for each reason."""
        return Counter(self.reasons.values())

    def problem(self, now_s: float, progress: Callable[[Partition, PauseReason], int | None]) -> str | None:
        """Say which partitions are stuck, in a sentence; None when none is. To be asked every second or so.

        `progress` counts what a partition waits for, and is None where something outside explains its pause.
        """
        unmoved: dict[Partition, tuple[float, int]] = {}
        for partition, reason in self.reasons.items():
            if (count := progress(partition, reason)) is not None:
                since_s, before = self._unmoved.get(partition, (now_s, count))
                unmoved[partition] = (since_s if count == before else now_s, count)
        self._unmoved = unmoved
        stuck = {p: since_s for p, (since_s, _) in unmoved.items() if now_s - since_s > STUCK_S}
        if not stuck:
            return None
        first = min(stuck, key=lambda partition: (stuck[partition], partition))
        more = f", and {len(stuck) - 1} more" if len(stuck) > 1 else ""
        return (
            f"{first} has been paused for {now_s - stuck[first]:.0f} s ({self.reasons[first]}){more}: "
            "nothing outside explains it, and what it waits for does not move. That is a bug of the bridge: "
            "restart it, which loses nothing, and report it"
        )
