"""The delivery log of a bridge: its records, receipts and dead letters in Kafka, searched without a group.

Memory is bounded by the limit of a search, whatever the topics hold.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Self

from connector import config
from connector.dead_letters.format import DeadLetter
from connector.delivery_log.bridges import BridgeEvidence
from connector.delivery_log.letters import letters_delivered_as, letters_of_source, newest_letters
from connector.delivery_log.receipts import StoredReceipts
from connector.delivery_log.search import (
    EARLIER_MS,
    FoundRecord,
    Latest,
    Search,
    Show,
    mapped,
    parse_event_id,
)
from connector.delivery_log.status import Evidence, FoundEvent, FoundLetter, found_event
from connector.errors import ConfigError, Problem, UnavailableError
from connector.formats.keys import key_test
from connector.formats.registries import Registries
from connector.formats.schema_cache import with_schema
from connector.kafka.client import record_of
from connector.kafka.reader import Reader
from connector.mapping.templates import may_make
from connector.model import Position, Ranges, Record, size_of
from connector.pipeline import Pipeline
from connector.receipts.format import Wanted

LATE_MS = 60_000
"""Records lie in the order of their times only nearly: those so far behind the end are looked at, too."""
BATCH = 500

TURN_ON = "receipts: {topic: %s.receipts, create: true}"


@dataclass(slots=True)
class Findings:
    """What a search found."""

    events: list[FoundEvent] = field(default_factory=list)
    """The newest record first."""
    more: int = 0
    """Records that match too, and are older than these."""
    problems: list[str] = field(default_factory=list)
    """What could not be known, and why, in sentences."""
    looked_at: list[str] = field(default_factory=list)
    """What was read to find the records, as "12,000 records of orders.v1"."""


class DeliveryLog:
    """Searches the topics of one bridge. Use it as a context, from one thread, for one search at a time.

    Raises:
        ConfigError: with every problem of the topics' mappings.
        UnavailableError: Kafka does not answer, or a schema cannot be had.
    """

    def __init__(self, settings: config.Settings, *, show: Show) -> None:
        self._settings = settings
        self._show = show
        self._open = ExitStack()
        self._registries = Registries.of(settings)
        self._open.callback(self._registries.close)
        self.pipeline = Pipeline(settings, self._registries)
        self._reader = Reader(settings)
        self._open.callback(self._reader.close)
        self._findings = Findings()
        self._are_letters_known = True
        """So far in this search. Seeing that they cannot be read may take long, so once is enough."""

    def __enter__(self) -> Self:
        self.pipeline.cluster_id = self._reader.metadata().cluster_id or self.pipeline.cluster_id
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def find(self, search: Search, ask_bridges: Callable[[], BridgeEvidence]) -> Findings:
        """Find the records that match, and the status of each.

        `ask_bridges` is called where a record is not settled.

        Raises:
            ConfigError: a topic does not exist.
            UnavailableError: as above.
        """
        self._findings = findings = Findings()
        self._are_letters_known = True
        receipts = self._receipts()
        with closing(receipts) if receipts is not None else nullcontext():
            latest = self._records(search, receipts)
            found = latest.records()
            # Before receipts and letters: what was settled by now has them, and what is settled later is not
            # taken for settled.
            left = [each for each in found if each.mapped is not None]
            committed = self._reader.committed({each.position.partition for each in left})
            oldest_ms = None if receipts is None else receipts.oldest_ms()
            deliveries = {} if receipts is None else receipts.deliveries(found)
            if receipts is not None and receipts.unreadable:
                findings.problems.append(
                    f"{_records(receipts.unreadable)} of {receipts.name} cannot be read by this version"
                )
        letters = self._letters(found)
        no_receipts = None
        if self._settings.receipts is None:
            no_receipts = "receipts are off"
        elif receipts is None:
            no_receipts = f"there is no topic {self._settings.receipts.topic}"
        is_unsettled = any(each.position.offset >= committed.get(each.position.partition, 0) for each in left)
        bridges = ask_bridges() if is_unsettled else BridgeEvidence()
        for record in found:
            evidence = Evidence(
                committed.get(record.position.partition),
                no_receipts,
                oldest_ms,
                self._holds_inactive(record),
                self._topic_names(record),
                bridges,
                are_letters_known=self._are_letters_known,
            )
            position = record.position
            findings.events.append(
                found_event(record, deliveries.get(position, ()), letters.get(position), evidence)
            )
        if bridges.silent and any(each.status == "waiting" for each in findings.events):
            silent = ", nor at ".join(f"{bridge} ({why})" for bridge, why in bridges.silent.items())
            findings.problems.append(
                f"no bridge answers at {silent}, so why records wait is not all known: name each replica "
                "with --bridge URL"
            )
        findings.more = latest.count - len(found)
        return findings

    def _letters(self, found: Collection[FoundRecord]) -> Mapping[Position, FoundLetter]:
        if self._are_letters_known:
            with self._without_letters():
                return newest_letters(self._settings, found, show=self._show)
        return {}

    @contextmanager
    def _without_letters(self) -> Iterator[None]:
        """Go on where letters cannot be read, with a problem that says so."""
        try:
            yield
        except (ConfigError, UnavailableError) as error:
            self._are_letters_known = False
            why = error.problems[0].message if isinstance(error, ConfigError) else str(error)
            self._findings.problems.append(f"what was dead-lettered is not known: {why}")

    # --- records ----------------------------------------------------------------------------------

    def _records(self, search: Search, receipts: StoredReceipts | None) -> Latest:
        found = Latest(search.limit)
        if search.position is not None:
            self._add_at(found, search, search.position, search.timestamp_ms)
        elif search.event_id is not None:
            for position, timestamp_ms in self._delivered_as(search, receipts).items():
                self._add_at(found, search, position, timestamp_ms)
        elif search.key is not None and search.topic is not None:
            decode = self.pipeline.route(search.topic).key
            is_key = key_test(search.key, lambda key, headers: with_schema(lambda: decode(key, headers)))
            self._scan(found, search, search.topic, is_key=is_key)
        elif search.source is not None:
            for topic in self._topics_of(search.source, search.topic):
                self._scan(found, search, topic, source=search.source)
            self._add_gone(found, search, receipts)
        return found

    def _add_at(self, found: Latest, search: Search, position: Position, timestamp_ms: int | None) -> None:
        """Add the record at a position, also where it is gone; with `timestamp_ms` no other one."""
        (topic, number), offset = position
        partitions = self._partitions(topic)
        self._findings.looked_at.append(str(position))
        if number not in partitions:
            has = "partition 0 alone" if len(partitions) == 1 else f"partitions 0 to {partitions[-1]}"
            self._findings.problems.append(f"{topic} has no partition {number}: it has {has}")
            return
        low, high = self._reader.ends(topic, [number])[number]
        event_id = None
        if timestamp_ms is not None:
            event_id = f"{self.pipeline.cluster_id}/{topic}/{number}/{offset}/{timestamp_ms}"
        if offset >= high and event_id is None:
            self._findings.problems.append(f"{position} is not there yet: its next offset is {high}")
            return
        message = self._reader.at(position)
        record = None if message is None else record_of(message)
        missing = None
        if record is None:
            retained = f"{position.partition} holds {low} to {high - 1}" if low < high else "it holds nothing"
            missing = f"compaction or a transaction left nothing there; {retained}"
            if offset < low:
                missing = f"retention deleted it; {retained}"
            elif offset >= high:
                missing = f"the topic was made anew, and has not come as far; {retained}"
        elif timestamp_ms is not None and record.timestamp_ms != timestamp_ms:
            record, missing = None, "the topic was made anew, and another record has its place"
        if record is not None:
            if search.holds(record.timestamp_ms):
                found.add(self._found(record))
        elif search.holds(timestamp_ms):
            found.add(FoundRecord(position, event_id, timestamp_ms, None, missing))

    def _delivered_as(self, search: Search, receipts: StoredReceipts | None) -> Mapping[Position, int | None]:
        """Where the records are that EventBridge gave this id, and their times."""
        if search.event_id is None:
            return {}
        found: dict[Position, int | None] = {}
        if receipts is not None:
            since_ms = None if search.since_ms is None else search.since_ms - EARLIER_MS
            for receipt in receipts.read(since_ms, Wanted(ids=frozenset({search.event_id}))):
                found |= {event.position: _timestamp_ms(event.event_id) for event in receipt.events}
            self._findings.looked_at.append(f"the receipts in {receipts.name}")
        if not found:  # a receipt is written of what a replay delivers, too, but may be lost or deleted
            with self._without_letters():
                for letter in letters_delivered_as(self._settings, search.event_id, show=self._show):
                    found[letter.record.position] = _of_letter(letter)
            self._findings.looked_at.append(f"the replays in {self._settings.dead_letter.resolutions}")
        delivered: dict[Position, int | None] = {}
        for position, timestamp_ms in found.items():
            if (why := self.pipeline.refusal(position.partition.topic)) is None:
                delivered[position] = timestamp_ms
            else:
                self._findings.problems.append(f"{position} was delivered so, and now {why}")
        return delivered

    def _topics_of(self, source: str, topic: str | None) -> list[str]:
        """The topics whose records may become events of a source."""
        existing = self._reader.metadata().topics
        if topic is not None:
            candidates = [topic]
        else:
            names = self._settings.topics
            candidates = sorted({each for name in names for each in self.pipeline.topics_of(name, existing)})
            self._findings.problems += [
                f"the topic {name} does not exist in this Kafka cluster"
                for name in names
                if not name.startswith("^") and name not in existing
            ]
        able = [
            each
            for each in candidates
            if may_make(self.pipeline.route(each).mapping.templates.source, source)
        ]
        if not able:
            self._findings.problems.append(
                f"no event of {', '.join(candidates) or 'any topic'} has the source {source}, by "
                "`event.source` as it is configured now"
            )
        return able

    def _scan(
        self,
        found: Latest,
        search: Search,
        topic: str,
        *,
        is_key: Callable[[Record], bool] | None = None,
        source: str | None = None,
    ) -> None:
        """Add the records of a topic that have a key, or become events of a source."""
        ranges = self._ranges(topic, search)
        seen = unknown = 0
        with self._show(f"reading {topic}", size_of(ranges)) as shown:
            for messages in self._reader.read(topic, ranges, limit=BATCH):
                for record in map(record_of, messages):
                    if not search.holds(record.timestamp_ms) or (is_key is not None and not is_key(record)):
                        continue
                    its = self._found(record)
                    if source is not None and its.mapped is not None and its.mapped.source != source:
                        unknown += its.mapped.source is None
                        continue
                    found.add(its)
                seen += len(messages)
                shown.advance(len(messages))
        self._findings.looked_at.append(f"{_records(seen)} of {topic}")
        if unknown:
            were = "was left out: its" if unknown == 1 else "were left out: their"
            self._findings.problems.append(f"{_records(unknown)} of {topic} {were} source cannot be told")

    def _ranges(self, topic: str, search: Search) -> Ranges:
        ends = self._reader.ends(topic, self._partitions(topic))
        since_ms = search.since_ms or 0
        if search.until_ms is None:
            return ends if search.since_ms is None else self._reader.not_before(topic, ends, since_ms)
        return self._reader.between(topic, ends, since_ms, search.until_ms + LATE_MS)

    def _partitions(self, topic: str) -> list[int]:
        partitions = self._reader.partitions(topic)
        if partitions is None:
            text = "the topic does not exist on these brokers: check kafka.bootstrap.servers"
            raise ConfigError([Problem(f"topics.{topic}", text)])
        return partitions

    def _found(self, record: Record) -> FoundRecord:
        made = mapped(self.pipeline, record)
        return FoundRecord(record.position, self.pipeline.event_id(record), record.timestamp_ms, made)

    def _holds_inactive(self, record: FoundRecord) -> bool:
        if record.mapped is None:
            return False
        policies = self.pipeline.route(record.position.partition.topic).policies
        return policies[record.mapped.target] != "send"

    def _topic_names(self, record: FoundRecord) -> set[str]:
        topic = record.position.partition.topic
        if record.mapped is None:
            return {topic}
        return {topic, self.pipeline.route(topic).path.removeprefix("topics.")}

    # --- receipts ---------------------------------------------------------------------------------

    def _receipts(self) -> StoredReceipts | None:
        receipts = self._settings.receipts
        if receipts is None:
            self._findings.problems.append(
                "receipts are off, so when a record was delivered, and with which EventId, is not known; "
                f"write {TURN_ON % self._settings.name} to know it of what is delivered from then on"
            )
            return None
        try:
            return StoredReceipts(self._settings, receipts, show=self._show)
        except ConfigError as error:
            self._findings.problems.append(f"{error.problems[0].message}: set receipts.create, or create it")
            return None

    # --- records that are gone --------------------------------------------------------------------

    def _add_gone(self, found: Latest, search: Search, receipts: StoredReceipts | None) -> None:
        """Add records that were delivered or dead-lettered of a source, and are gone from their topics."""
        begins: dict[str, Mapping[int, tuple[int, int]] | None] = {}
        for position, event_id, timestamp_ms in self._once_sent(search, receipts):
            topic, number = position.partition
            if search.topic not in {None, topic} or not search.holds(timestamp_ms):
                continue
            if topic not in begins:
                there = self._reader.partitions(topic)
                begins[topic] = None if there is None else self._reader.ends(topic, there)
            ranges = begins[topic]
            missing = f"the topic {topic} does not exist any more"
            if ranges is not None:
                first = ranges.get(number, (0, 0))[0]
                if position.offset >= first:
                    continue
                missing = f"retention deleted it; {position.partition} begins at {first}"
            found.add(FoundRecord(position, event_id, timestamp_ms, None, missing))

    def _once_sent(
        self, search: Search, receipts: StoredReceipts | None
    ) -> Iterator[tuple[Position, str | None, int | None]]:
        """Position, id and time of each record that receipts and letters know of this source, some twice."""
        if search.source is None:
            return
        since_ms = None if search.since_ms is None else search.since_ms - EARLIER_MS
        if receipts is not None:
            for receipt in receipts.read(since_ms, Wanted(sources=frozenset({search.source}))):
                for event in receipt.events:
                    yield event.position, event.event_id, _timestamp_ms(event.event_id)
            self._findings.looked_at.append(f"the receipts in {receipts.name}")
        with self._without_letters():
            letters = letters_of_source(self._settings, search.source, since_ms=since_ms, show=self._show)
            for letter in letters:
                yield letter.record.position, letter.event_id, _of_letter(letter)
            self._findings.looked_at.append(f"the dead letters in {self._settings.dead_letter.topic}")


def _timestamp_ms(event_id: str) -> int | None:
    own = parse_event_id(event_id)
    return own and own.timestamp_ms


def _of_letter(letter: DeadLetter) -> int | None:
    """The time of the letter's record."""
    own = None if letter.event_id is None else _timestamp_ms(letter.event_id)
    return letter.record.timestamp_ms if own is None else own


def _records(count: int) -> str:
    return f"{count:,} record{'s' * (count != 1)}"
