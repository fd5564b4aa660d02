"""Dry run of what is sent again: makes each entry with the current configuration, and counts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from connector.dead_letters.format import DeadLetter
from connector.dead_letters.selection import ReplayBatch
from connector.delivery.pauses import PauseFile
from connector.errors import ConnectorError, RecordError, UnavailableError
from connector.model import Entry, Position, Record, SourceStatus
from connector.pipeline import Dropped, Pipeline

PLAN_PATIENCE_S = 15.0
"""How long a plan waits, in all, for schemas that cannot be had."""

SCHEMA_WAIT_S = 0.02

STEP_BYTES = 1024 * 1024
"""Records that are tried in one go, by their size."""

MAX_REASONS = 20
"""Different reasons that are counted by name; further ones are counted together."""


class PassedOver(ConnectorError):  # noqa: N818 - it names what was found
    """It is not tried, for the reason in the text: a letter of a topic that is not configured, or whose
    payload is gone, which stays open; or a record that is not selected."""


class Redelivered(Protocol):
    """What is sent again: a dead letter, or a record of a configured topic."""

    @property
    def id(self) -> Position:
        """Where it was taken from."""

    @property
    def record(self) -> Record:
        """The record, as it was read at its origin."""

    @property
    def event_id(self) -> str | None:
        """The id that its event had; None where the pipeline makes it."""

    @property
    def only_if_active(self) -> bool:
        """Whether it waits until its source was seen to be ACTIVE, also where no source may be looked up."""

    @property
    def is_value_omitted(self) -> bool:
        """Whether something of the record has to be read again at its origin."""


Item = TypeVar("Item", bound=Redelivered)

Result: TypeAlias = Entry | Dropped | RecordError | PassedOver
"""What the current configuration makes of a record. RecordError: it would fail, or fail again."""


class Prepared(NamedTuple, Generic[Item]):
    """A letter or record, whole, and what the current configuration makes of it."""

    item: Item
    result: Result


class PreparedBatch(NamedTuple, Generic[Item]):
    """A batch that was tried, and what a replay leaves open of it."""

    prepared: Sequence[Prepared[Item]]
    parked: int = 0
    left: Mapping[str, int] = {}
    """Those that cannot be read, by reason."""
    problem: str | None = None
    """Why what comes next cannot be tried yet."""


LookUp: TypeAlias = "Callable[[str, str], SourceStatus]"
"""Says what state a source is in, by target and name."""


def why_left_open(seen: SourceStatus, *, only_if_active: bool) -> str | None:
    """Why nothing is sent again to a source; None where it is.

    A letter that was written because its source was closed goes to it `only_if_active`. All else goes where
    the bridge would send it.
    """
    if seen.state == "ACTIVE" or (seen.is_denied and not only_if_active):
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
        pauses: PauseFile | None = None,
    ) -> None:
        self.pipeline = pipeline
        self._pauses = pauses
        self._fetch_origin = fetch_origin
        self._mapped: set[str] = set()
        """Topics that the configuration has a mapping for."""

    def event_id(self, letter: DeadLetter) -> str:
        """The id its event had at every attempt before."""
        return letter.event_id or self.pipeline.event_id(letter.record)

    def whole(self, letter: DeadLetter) -> DeadLetter:
        """The letter with what its topic had no room for, read again at its origin.

        Raises:
            PassedOver: the topic it came from is not configured, or its record is not there any more.
        """
        topic = letter.record.partition.topic
        if topic not in self._mapped:
            if refusal := self.pipeline.refusal(topic):
                raise PassedOver(f"its origin is {topic}: {refusal}")
            self._mapped.add(topic)
        if not letter.is_value_omitted:
            return letter
        whole = self._fetch_origin(letter)
        if whole is None:
            raise PassedOver(
                f"it was too large to hold its record, and {topic} does not retain that any more"
            )
        return whole

    def __call__(self, letter: DeadLetter) -> Prepared[DeadLetter]:
        """Try a letter, whatever state its source is in.

        Raises:
            UnavailableError: its schema is not known yet; the same again later.
        """
        try:
            letter = self.whole(letter)
            result = self.pipeline(letter.record, self.event_id(letter))
        except (RecordError, PassedOver) as error:
            return Prepared(letter, error)
        if self._pauses is not None and isinstance(result, Entry):
            reason = self._pauses.why_left_out(letter.record.partition.topic, result)
            if reason is not None:
                return Prepared(letter, PassedOver(reason))
        return Prepared(letter, result)


def prepared_batches(batches: Iterable[ReplayBatch], dry_run: DryRun) -> Iterator[PreparedBatch[DeadLetter]]:
    """`steps` with the letters of each batch; the first one says what a replay leaves open of it."""
    for batch in batches:
        parked, left = batch.parked, batch.left
        for step in steps(batch.letters, dry_run):
            yield step._replace(parked=parked, left=left)
            parked, left = 0, {}


def steps(items: Sequence[Item], dry_run: Callable[[Item], Prepared[Item]]) -> Iterator[PreparedBatch[Item]]:
    """Try all of these. While the next one cannot be tried, each step tries it once more.

    A step ends early where records are large, and where one had to be read at its origin: a batch of
    such records would be more than fits into memory, and take longer than its reader may be away.
    """
    untried = deque(items)
    while True:
        prepared: list[Prepared[Item]] = []
        problem: str | None = None
        size_bytes = 0
        while untried and problem is None and size_bytes < STEP_BYTES:
            try:
                one = dry_run(untried[0])
            except UnavailableError as error:
                problem = str(error)
            else:
                prepared.append(one)
                was_omitted = untried.popleft().is_value_omitted
                size_bytes += STEP_BYTES if was_omitted else one.item.record.size_bytes
        yield PreparedBatch(prepared, problem=problem)
        if not untried:
            return


@dataclass(slots=True)
class RedeliveryCounts:
    """What a replay, a resend or the plan of one has come to so far."""

    tried: dict[str, int] = field(default_factory=dict)
    """Letters by the code they have."""
    delivered: int = 0
    """In a plan: that would be sent."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Not sent because a rule of the configuration says so, by rule."""
    failed: dict[str, int] = field(default_factory=dict)
    """That failed again, by the code they have now."""
    messages: dict[str, str] = field(default_factory=dict)
    """The first message of each of these codes."""
    left: dict[str, int] = field(default_factory=dict)
    """Not sent, and not failed either, by reason: left open, not selected, or of a source not ACTIVE."""
    unseen: dict[str, int] = field(default_factory=dict)
    """Of those delivered: sent though their source may not be looked up, by reason."""
    claim_checks: int = 0
    """Of those delivered: too large as they were, so that a part went to S3."""
    claim_check_bytes: int = 0
    """Of these parts."""
    parked: int = 0
    """Left open because they failed as often as `--max-replays` allows."""
    elsewhere: Sequence[int] = ()
    """Partitions that another replay, or resend, has."""
    is_stopped: bool = False
    """Asked to stop before its end."""

    @property
    def tried_in_all(self) -> int:
        return sum(self.tried.values())

    def leave_after_all(self, kind: str | None, reason: str) -> None:
        """Note that one that was taken as `kind` is left out, and so was not tried."""
        if kind is not None:
            counted = kind if kind in self.tried else "other"
            self.tried[counted] -= 1
            if not self.tried[counted]:
                del self.tried[counted]
        self.count(self.left, reason)

    def expect(self, result: Result, seen: SourceStatus | None) -> None:
        """Note what would become of one, as `expected` says it."""
        match result:
            case PassedOver():
                self.count(self.left, str(result))
            case RecordError():
                self.count(self.failed, result.code)
                self.messages.setdefault(result.code, str(result))
            case Dropped():
                self.count(self.dropped, result.reason)
            case Entry():
                self.deliver(result)
                if seen is not None and seen.is_denied:
                    self.count(self.unseen, str(seen.reason))

    def deliver(self, entry: Entry) -> None:
        """Note one that was sent, or in a plan would be."""
        self.delivered += 1
        if entry.claim is not None:
            self.claim_checks += 1
            self.claim_check_bytes += len(entry.claim.body)

    @staticmethod
    def count(counts: dict[str, int], name: str, more: int = 1) -> None:
        """Count more under a name. Names past the first ones are counted together."""
        known = name if name in counts or len(counts) < MAX_REASONS else "other"
        counts[known] = counts.get(known, 0) + more

    def leave(self, batch: ReplayBatch | PreparedBatch[Item]) -> None:
        """Note what of a batch is left open untried."""
        self.parked += batch.parked
        for reason, count in batch.left.items():
            self.count(self.left, reason, count)


Report = Callable[[RedeliveryCounts, str | None], None]
"""Shown now and then: how far it is, and why nothing may be moving."""


def plan(
    batches: Iterable[ReplayBatch],
    *,
    dry_run: DryRun,
    look_up: LookUp,
    max_letters: int | None,
    report: Report,
) -> RedeliveryCounts:
    """What a replay of these would do. Changes nothing, and sends nothing."""
    counts = RedeliveryCounts()
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


def expected(
    tried: Prepared[Item], pipeline: Pipeline, look_up: LookUp
) -> tuple[Prepared[Item], SourceStatus | None]:
    """The same with the status of its source, where that counts; PassedOver where it is not sent for that."""
    item, entry = tried
    if (
        not isinstance(entry, Entry)
        or pipeline.route(item.record.partition.topic).policies[entry.target] == "send"
    ):
        return tried, None
    seen = look_up(entry.target, entry.source)
    if reason := why_left_open(seen, only_if_active=item.only_if_active):
        return Prepared(item, PassedOver(reason)), seen
    return tried, seen


def _expect(letter: DeadLetter, dry_run: DryRun, look_up: LookUp, counts: RedeliveryCounts) -> bool:
    """Note what would become of a letter; False when that cannot be said yet."""
    try:
        (_, result), seen = expected(dry_run(letter), dry_run.pipeline, look_up)
    except UnavailableError:
        return False
    counts.expect(result, seen)
    if not isinstance(result, PassedOver):
        counts.count(counts.tried, letter.label.code)
    return True
