"""What would become of a dead letter with the current configuration, and the count of what did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from connector.dead_letters import Chosen
from connector.errors import ConnectorError, RecordError, UnavailableError
from connector.letters import DeadLetter
from connector.model import Entry, Record
from connector.pipeline import Dropped, Pipeline
from connector.sources import MEANINGS, Sighting

PLAN_PATIENCE_S = 15.0
"""How long a plan waits, in all, for schemas that cannot be had."""

SCHEMA_WAIT_S = 0.02

MAX_REASONS = 20
"""Different reasons that are counted by name; further ones are counted together."""


class CannotTry(ConnectorError):  # noqa: N818 - it names what was found
    """Nothing can be made of a letter now, though nothing is wrong with its record: it stays open."""


class Trial:
    """Makes the entry of a letter with the current configuration, as the bridge would of its record."""

    def __init__(
        self,
        pipeline: Pipeline,
        fetch_origin: Callable[[DeadLetter], Record | None],
        look: Callable[[str, str], Sighting],
    ) -> None:
        """`look` says what state a source is in, by target and name."""
        self._look = look
        self.ordering = pipeline.ordering
        self._pipeline = pipeline
        self._fetch_origin = fetch_origin
        self._mapped: set[str] = set()
        """Topics that the configuration has a mapping for."""

    def event_id(self, letter: DeadLetter) -> str:
        """The id its event had at every attempt before."""
        return letter.event_id or self._pipeline.event_id(letter.record)

    def whole(self, letter: DeadLetter) -> DeadLetter:
        """The letter with what its topic had no room for, read again at its origin.

        Raises:
            CannotTry: the topic it came from is not configured, or its record is not there any more.
        """
        topic = letter.record.partition.topic
        if topic not in self._mapped:
            if refusal := self._pipeline.refusal(topic):
                raise CannotTry(f"its origin is {topic}: {refusal}")
            self._mapped.add(topic)
        if not letter.is_value_omitted:
            return letter
        record = self._fetch_origin(letter)
        if record is None:
            raise CannotTry(f"it was too large to hold its record, and {topic} does not retain that any more")
        return letter._replace(record=record)

    def __call__(self, letter: DeadLetter) -> Entry | Dropped:
        """Make the entry of a letter that is whole.

        Raises:
            RecordError: it fails again.
            UnavailableError: its schema is not known yet; the same again later.
            CannotTry: its source is not ACTIVE, and the configuration does not say to send all the same.
        """
        result = self._pipeline(letter.record, self.event_id(letter))
        if isinstance(result, Entry):
            topic = letter.record.partition.topic
            if self._pipeline.route(topic).policies[result.target] != "send":
                seen = self._look(result.target, result.source)
                if seen.is_inactive:
                    raise CannotTry(f"its source is {seen.state}: {MEANINGS[seen.state]}")
        return result


@dataclass(slots=True)
class Tally:
    """What a replay, or its plan, has come to so far."""

    tried: dict[str, int] = field(default_factory=dict)
    """By the code they have."""
    delivered: int = 0
    """In a plan: that would be sent."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Not sent because a rule of the configuration says so, by rule."""
    failed: dict[str, int] = field(default_factory=dict)
    """That failed again, by the code they have now."""
    messages: dict[str, str] = field(default_factory=dict)
    """The first message of each of these codes."""
    left: dict[str, int] = field(default_factory=dict)
    """Left open because they could not be tried, by reason."""
    parked: int = 0
    """Left open because they failed as often as `--max-replays` allows."""
    elsewhere: Sequence[int] = ()
    """Partitions that another replay has."""
    is_stopped: bool = False
    """Asked to stop before its end."""

    @property
    def tried_in_all(self) -> int:
        return sum(self.tried.values())

    @staticmethod
    def count(counts: dict[str, int], name: str, more: int = 1) -> None:
        """Count more under a name. Names past the first ones are counted together."""
        known = name if name in counts or len(counts) < MAX_REASONS else "other"
        counts[known] = counts.get(known, 0) + more

    def take(self, chosen: Chosen) -> Sequence[DeadLetter]:
        """Note what is left open of a batch; returns the letters to try."""
        self.parked += chosen.parked
        for reason, count in chosen.left.items():
            self.count(self.left, reason, count)
        return chosen.letters


Report = Callable[[Tally, str | None], None]
"""Shown now and then: how far it is, and why nothing may be moving."""


def plan(batches: Iterable[Chosen], *, trial: Trial, max_letters: int | None, report: Report) -> Tally:
    """What a replay of these would do. Changes nothing, and sends nothing."""
    tally = Tally()
    patience_s = PLAN_PATIENCE_S
    for batch in batches:
        report(tally, None)
        for letter in tally.take(batch):
            if tally.tried_in_all == max_letters:
                return tally
            while (is_unknown := not _foresee(letter, trial, tally)) and patience_s > 0:
                patience_s -= SCHEMA_WAIT_S
                time.sleep(SCHEMA_WAIT_S)  # the schema is on its way, on another thread
            if is_unknown:
                tally.count(tally.left, "its schema cannot be had now")
    return tally


def _foresee(letter: DeadLetter, trial: Trial, tally: Tally) -> bool:
    """Note what would become of a letter; False when that cannot be said yet."""
    try:
        result = trial(trial.whole(letter))
    except UnavailableError:
        return False
    except CannotTry as error:
        tally.count(tally.left, str(error))
        return True
    except RecordError as error:
        tally.count(tally.failed, error.code)
        tally.messages.setdefault(error.code, str(error))
    else:
        if isinstance(result, Dropped):
            tally.count(tally.dropped, result.reason)
        else:
            tally.delivered += 1
    tally.count(tally.tried, letter.code)
    return True
