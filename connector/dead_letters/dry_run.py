"""Dry run of a replay: makes the entry of each dead letter with the current configuration, and counts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from connector.dead_letters.format import DeadLetter
from connector.dead_letters.selection import ReplayBatch
from connector.errors import OF_SOURCES, ConnectorError, RecordError, UnavailableError
from connector.model import Entry, InactivePolicy, SourceStatus
from connector.pipeline import Dropped, Pipeline

PLAN_PATIENCE_S = 15.0
"""How long a plan waits, in all, for schemas that cannot be had."""

SCHEMA_WAIT_S = 0.02

STEP_BYTES = 1024 * 1024
"""Records that are tried in one go, by their size."""

MAX_REASONS = 20
"""Different reasons that are counted by name; further ones are counted together."""


class NotReplayable(ConnectorError):  # noqa: N818 - it names what was found
    """The dead letter cannot be replayed now (topic not configured, payload gone); it stays open."""


class Prepared(NamedTuple):
    """A letter, whole, and what the current configuration makes of its record."""

    letter: DeadLetter
    result: Entry | Dropped | RecordError | NotReplayable
    """RecordError: it would fail again."""


class PreparedBatch(NamedTuple):
    """A batch of letters that were tried, and what a replay leaves open of it."""

    tried: Sequence[Prepared]
    parked: int
    left: Mapping[str, int]
    """Those that cannot be read, by reason."""
    problem: str | None = None
    """Why the letter that comes next cannot be tried yet."""


LookUp: TypeAlias = "Callable[[str, str], SourceStatus]"
"""Says what state a source is in, by target and name."""


def why_left_open(seen: SourceStatus, code: str) -> str | None:
    """Why a replay does not send a letter of this code to a source; None where it does.

    A letter that was written because its source was closed waits until that is seen to be ACTIVE. Others go
    where the bridge would send them.
    """
    if seen.state == "ACTIVE" or (seen.is_denied and code not in OF_SOURCES):
        return None
    if seen.is_denied:
        return "its source was not ACTIVE when it was written, and may not be looked up"
    return f"its source is {seen}"


class DryRun:
    """Makes the entry of a letter with the current configuration, as the bridge would of its record."""

    def __init__(
        self,
        pipeline: Pipeline,
        fetch_origin: Callable[[DeadLetter], DeadLetter | None],
    ) -> None:
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
            NotReplayable: the topic it came from is not configured, or its record is not there any more.
        """
        topic = letter.record.partition.topic
        if topic not in self._mapped:
            if refusal := self._pipeline.refusal(topic):
                raise NotReplayable(f"its origin is {topic}: {refusal}")
            self._mapped.add(topic)
        if not letter.is_value_omitted:
            return letter
        whole = self._fetch_origin(letter)
        if whole is None:
            raise NotReplayable(
                f"it was too large to hold its record, and {topic} does not retain that any more"
            )
        return whole

    def __call__(self, letter: DeadLetter) -> Prepared:
        """Try a letter, whatever state its source is in.

        Raises:
            UnavailableError: its schema is not known yet; the same again later.
        """
        try:
            letter = self.whole(letter)
            return Prepared(letter, self._pipeline(letter.record, self.event_id(letter)))
        except (RecordError, NotReplayable) as error:
            return Prepared(letter, error)

    def policy(self, letter: DeadLetter, entry: Entry) -> InactivePolicy:
        """What the configuration says of a source that is not ACTIVE."""
        return self._pipeline.route(letter.record.partition.topic).policies[entry.target]


def prepared_batches(batches: Iterable[ReplayBatch], dry_run: DryRun) -> Iterator[PreparedBatch]:
    """Try the letters of each batch. While the next one cannot be tried, each step tries it once more.

    A step ends early where records are large, and where one had to be read at its origin: a batch of
    such records would be more than fits into memory, and take longer than its reader may be away.
    """
    for batch in batches:
        letters, parked, left = deque(batch.letters), batch.parked, batch.left
        while True:
            tried: list[Prepared] = []
            problem: str | None = None
            size_bytes = 0
            while letters and problem is None and size_bytes < STEP_BYTES:
                try:
                    one = dry_run(letters[0])
                except UnavailableError as error:
                    problem = str(error)
                else:
                    tried.append(one)
                    was_omitted = letters.popleft().is_value_omitted
                    size_bytes += STEP_BYTES if was_omitted else one.letter.record.size_bytes
            yield PreparedBatch(tried, parked, left, problem)
            if not letters:
                break
            parked, left = 0, {}


@dataclass(slots=True)
class ReplayCounts:
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
    unseen: dict[str, int] = field(default_factory=dict)
    """Of those delivered: sent though their source may not be looked up, by reason."""
    parked: int = 0
    """Left open because they failed as often as `--max-replays` allows."""
    elsewhere: Sequence[int] = ()
    """Partitions that another replay has."""
    is_stopped: bool = False
    """Asked to stop before its end."""

    @property
    def tried_in_all(self) -> int:
        return sum(self.tried.values())

    def leave_after_all(self, code: str, reason: str) -> None:
        """Note that a letter that was taken is left open, and so was not tried."""
        self.tried[code] -= 1
        if not self.tried[code]:
            del self.tried[code]
        self.count(self.left, reason)

    @staticmethod
    def count(counts: dict[str, int], name: str, more: int = 1) -> None:
        """Count more under a name. Names past the first ones are counted together."""
        known = name if name in counts or len(counts) < MAX_REASONS else "other"
        counts[known] = counts.get(known, 0) + more

    def leave(self, batch: ReplayBatch | PreparedBatch) -> None:
        """Note what of a batch is left open untried."""
        self.parked += batch.parked
        for reason, count in batch.left.items():
            self.count(self.left, reason, count)


Report = Callable[[ReplayCounts, str | None], None]
"""Shown now and then: how far it is, and why nothing may be moving."""


def plan(
    batches: Iterable[ReplayBatch],
    *,
    dry_run: DryRun,
    look_up: LookUp,
    max_letters: int | None,
    report: Report,
) -> ReplayCounts:
    """What a replay of these would do. Changes nothing, and sends nothing."""
    counts = ReplayCounts()
    patience_s = PLAN_PATIENCE_S
    for batch in batches:
        report(counts, None)
        counts.leave(batch)
        for letter in batch.letters:
            if counts.tried_in_all == max_letters:
                return counts
            while (is_unknown := not _expect(letter, dry_run, look_up, counts)) and patience_s > 0:
                patience_s -= SCHEMA_WAIT_S
                time.sleep(SCHEMA_WAIT_S)  # the schema is on its way, on another thread
            if is_unknown:
                counts.count(counts.left, "its schema cannot be had now")
    return counts


def expected(letter: DeadLetter, dry_run: DryRun, look_up: LookUp) -> tuple[Prepared, SourceStatus | None]:
    """A letter tried, and the status of its source; NotReplayable where a replay would not send it for that.

    Raises:
        UnavailableError: its schema is not known yet; the same again later.
    """
    tried = dry_run(letter)
    entry = tried.result
    if not isinstance(entry, Entry) or dry_run.policy(tried.letter, entry) == "send":
        return tried, None
    seen = look_up(entry.target, entry.source)
    if reason := why_left_open(seen, letter.label.code):
        return Prepared(tried.letter, NotReplayable(reason)), seen
    return tried, seen


def _expect(letter: DeadLetter, dry_run: DryRun, look_up: LookUp, counts: ReplayCounts) -> bool:
    """Note what would become of a letter; False when that cannot be said yet."""
    try:
        (letter, result), seen = expected(letter, dry_run, look_up)
    except UnavailableError:
        return False
    match result:
        case NotReplayable():
            counts.count(counts.left, str(result))
            return True
        case RecordError():
            counts.count(counts.failed, result.code)
            counts.messages.setdefault(result.code, str(result))
        case Dropped():
            counts.count(counts.dropped, result.reason)
        case Entry():
            counts.delivered += 1
            if seen is not None and seen.is_denied:
                counts.count(counts.unseen, str(seen.reason))
    counts.count(counts.tried, letter.label.code)
    return True
