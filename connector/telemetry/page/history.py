"""The last 15 minutes of one process, in bounded memory: totals every five seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

SAMPLE_S = 5.0
"""How often the totals are kept."""

SPAN_S = 900.0
"""How far back they go."""

RATE_S = 60.0
"""Rates are those of so many seconds."""

MAX_SAMPLES = int(SPAN_S / SAMPLE_S) + 1


class TargetTotals(NamedTuple):
    """What became of the entries sent to a target, since the start."""

    delivered: int
    answered: int
    """Entries of answered requests."""
    throttled: int
    """Of these, those that were throttled."""


class Sample(NamedTuple):
    """Totals since the start, at one moment."""

    at_s: float
    """Of the bridge's clock."""
    delivered: int
    dead_lettered: int
    retried_by_code: Mapping[str, int]
    """Entries that are sent again, by the code of their failure."""
    targets: Mapping[str, TargetTotals]

    @property
    def retried(self) -> int:
        return sum(self.retried_by_code.values())


class Rates(NamedTuple):
    """What happened between two samples, each a minute."""

    delivered: float
    dead_lettered: float
    retried: float


class History:
    """Samples of the last 15 minutes, oldest first.

    The bridge thread adds and any thread reads, without a lock: `samples` is a tuple that is replaced.
    """

    def __init__(self) -> None:
        self.samples: tuple[Sample, ...] = ()

    def is_due(self, now_s: float) -> bool:
        """Whether it is time for another sample."""
        return not self.samples or now_s - self.samples[-1].at_s >= SAMPLE_S

    def add(self, sample: Sample) -> None:
        self.samples = (*self.samples[1 - MAX_SAMPLES :], sample)

    def lately(self) -> tuple[Sample, Sample] | None:
        """The last sample, and the one a minute before it or the first; None before there are two."""
        samples = self.samples
        if len(samples) < 2:
            return None
        last = samples[-1]
        back = next(each for each in samples if last.at_s - each.at_s <= RATE_S)
        return (back if back is not last else samples[-2]), last

    def rates(self) -> Iterator[tuple[float, Rates]]:
        """The rates between each two samples, each with the time from then to the last sample."""
        samples = self.samples
        for before, after in pairwise(samples):
            yield samples[-1].at_s - after.at_s, rates_between(before, after)


def rates_between(before: Sample, after: Sample) -> Rates:
    """What happened from one sample to another, each a minute."""
    minutes = max(after.at_s - before.at_s, 1e-9) / 60
    return Rates(
        (after.delivered - before.delivered) / minutes,
        (after.dead_lettered - before.dead_lettered) / minutes,
        (after.retried - before.retried) / minutes,
    )
