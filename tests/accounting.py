"""The one judge of every test that moves records: is each of them accounted for?

Two rules, whatever happened in between. Every produced position was delivered, dead-lettered or filtered, at
least once. And at no moment was a committed offset past a position that was not settled yet.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from confluent_kafka import Consumer, KafkaException, TopicPartition

from connector.model import Json, Partition, Position, Record

SHOWN = 5
"""How many positions a failure names."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event EventBridge accepted, by where it came from."""

    position: Position
    event_id: str
    """The stable id the bridge gave it, not EventBridge's own."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One record of the dead-letter topic."""

    origin: Position
    code: str
    headers: Mapping[str, str]
    """The headers the bridge added, as text."""
    record: Record
    """The letter as it stands in the dead-letter topic."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was committed at one moment, and what had been settled by a moment not before it."""

    committed: Mapping[Partition, int]
    delivered: int
    """How many events had been accepted."""
    letters: Mapping[Partition, int]
    """The end of each partition of the dead-letter topic."""
    dropped: int = 0
    """How many events had been accepted for a source that was not ACTIVE."""


@dataclass(frozen=True, slots=True)
class Balance:
    """An account that balances: `produced = delivered + dead_lettered + filtered + dropped`."""

    produced: int
    delivered: int
    dead_lettered: int
    filtered: int
    duplicates: int
    """Events and letters beyond the first for their position."""
    dropped: int = 0
    """Those that reached nothing else and were accepted for a source that was not ACTIVE, before the bridge
    could have seen so."""

    @property
    def duplicate_ratio(self) -> float:
        return self.duplicates / max(1, self.delivered + self.dead_lettered)

    def __str__(self) -> str:
        dropped = f" + dropped while PENDING {self.dropped}" if self.dropped else ""
        return (
            f"produced {self.produced} = delivered {self.delivered} + dead-lettered {self.dead_lettered}"
            f" + filtered {self.filtered}{dropped}, duplicates {self.duplicates} ({self.duplicate_ratio:.1%})"
        )


def deliveries(details: Iterable[Mapping[str, Json]], *, metadata: str = "_kafka") -> list[Delivery]:
    """Reads where each event came from out of its detail, in the order of acceptance."""
    found = []
    for detail in details:
        origin = cast("Mapping[str, str | int]", detail[metadata])
        partition = Partition(str(origin["topic"]), int(origin["partition"]))
        found.append(Delivery(Position(partition, int(origin["offset"])), str(origin["id"])))
    return found


def letters(records: Iterable[Record]) -> list[Letter]:
    """Reads where each dead letter came from out of its headers."""
    found = []
    for record in records:
        headers = {
            name: (value or b"").decode()
            for name, value in record.headers
            if name.startswith(("__connect.errors.", "partner-bridge."))
        }
        partition = Partition(headers["__connect.errors.topic"], int(headers["__connect.errors.partition"]))
        origin = Position(partition, int(headers["__connect.errors.offset"]))
        found.append(Letter(origin, headers["partner-bridge.code"], headers, record))
    return found


def balance(
    *,
    produced: Mapping[Position, bytes | None],
    delivered: Sequence[Delivery],
    letters: Sequence[Letter] = (),
    filtered: Collection[Position] = (),
    dead: Mapping[Position, str] | None = None,
    may_be_dead: Mapping[Position, str] | None = None,
    dropped: Sequence[Delivery] = (),
    void: Sequence[Delivery] = (),
    order: Literal["key", "partition"] | None = None,
    samples: Sequence[Sample] = (),
) -> Balance:
    """Answers the account, or raises AssertionError with everything that is wrong with it.

    `produced` maps each position to its key. `filtered` positions are to reach nothing; `dead` maps the
    positions that are to be dead-lettered to their code; all others are to be delivered, and only they.
    Those of `may_be_dead` are fine in the dead-letter topic too, with their code.

    `dropped` is what EventBridge accepted for a source that was not ACTIVE: such a position need reach
    nothing else. Of these, `void` is what was sent although the sender had been told of that state: always a
    finding. With `order`, first deliveries of one key (or partition) must be in offset order.
    """
    dead, may_be_dead = dead or {}, may_be_dead or {}
    events = {delivery.position for delivery in delivered}
    in_letters = {letter.origin for letter in letters}
    codes = {**may_be_dead, **dead}
    wrong = {
        letter.origin: letter.code
        for letter in letters
        if letter.origin in produced and codes.get(letter.origin) != letter.code
    }
    named = f" ({', '.join(sorted(set(wrong.values())))})"
    in_dropped = {each.position for each in dropped}
    findings = [
        _found(
            "lost: neither delivered, dead-lettered nor filtered",
            produced.keys() - events - in_letters - in_dropped - set(filtered),
        ),
        _found("sent to a source that was not ACTIVE and had been seen so", {each.position for each in void}),
        _found("delivered, but a filter should have dropped it", (events | in_dropped) & set(filtered)),
        _found("dead-lettered, but a filter should have dropped it", in_letters & set(filtered)),
        _found(
            f"dead-lettered, but nothing is wrong with it{named}",
            in_letters - codes.keys() - set(filtered),
        ),
        _found("delivered, but it should have been dead-lettered", (events | in_dropped) & dead.keys()),
        _found(f"dead-lettered with another code than expected{named}", wrong.keys() & codes.keys()),
        _found("settled, but never produced", (events | in_letters | in_dropped) - produced.keys()),
        _found("delivered under more than one id, or an id of another", _unstable(delivered)),
        _found(
            "first delivered before an earlier one of the same " + (order or ""),
            _out_of_order(produced, delivered, order),
        ),
        *_commits_too_high(produced, [delivered, dropped], letters, filtered, samples),
    ]
    problems = [finding for finding in findings if finding]
    if problems:
        raise AssertionError("the account does not balance:\n" + "\n".join(problems))
    return Balance(
        produced=len(produced),
        delivered=len(events),
        dead_lettered=len(in_letters - events),
        filtered=len(filtered),
        duplicates=len(delivered) - len(events) + len(letters) - len(in_letters - events),
        dropped=len(in_dropped - events - in_letters),
    )


def _found(what: str, positions: Collection[Position]) -> str:
    shown = ", ".join(map(str, sorted(positions)[:SHOWN]))
    return f"- {len(positions)} {what}: {shown}" if positions else ""


def _unstable(delivered: Sequence[Delivery]) -> set[Position]:
    ids: dict[Position, str] = {}
    owners: dict[str, Position] = {}
    return {
        each.position
        for each in delivered
        if ids.setdefault(each.position, each.event_id) != each.event_id
        or owners.setdefault(each.event_id, each.position) != each.position
    }


def _out_of_order(
    produced: Mapping[Position, bytes | None], delivered: Sequence[Delivery], order: str | None
) -> set[Position]:
    if order is None:
        return set()
    wrong: set[Position] = set()
    seen: set[Position] = set()
    highest: dict[tuple[Partition, bytes | None], int] = {}
    for position in (each.position for each in delivered):
        key = produced.get(position) if order == "key" else b""
        if position in seen or (order == "key" and key is None):
            continue  # a repetition; or a record without a key, which has no order to keep
        seen.add(position)
        if highest.get((position.partition, key), -1) > position.offset:
            wrong.add(position)
        highest[position.partition, key] = max(position.offset, highest.get((position.partition, key), -1))
    return wrong


def _commits_too_high(
    produced: Mapping[Position, bytes | None],
    accepted: Sequence[Sequence[Delivery]],
    letters: Sequence[Letter],
    filtered: Collection[Position],
    samples: Sequence[Sample],
) -> list[str]:
    """Walks through the samples in time, and settles only what had happened by each."""
    offsets: dict[Partition, list[int]] = defaultdict(list)
    for position in sorted(produced):
        offsets[position.partition].append(position.offset)
    lowest = dict.fromkeys(offsets, 0)  # index in `offsets` of the lowest position not settled
    settled = set(filtered)
    known = [0, 0]
    problems = []
    for number, sample in enumerate(samples):
        for kind, count in enumerate((sample.delivered, sample.dropped)):
            settled.update(each.position for each in accepted[kind][known[kind] : count])
            known[kind] = max(known[kind], count)
        settled.update(
            letter.origin
            for letter in letters
            if letter.record.offset < sample.letters.get(letter.record.partition, 0)
        )
        for partition, committed in sample.committed.items():
            index, line = lowest.get(partition, 0), offsets.get(partition, [])
            while index < len(line) and Position(partition, line[index]) in settled:
                index += 1
            lowest[partition] = index
            if index < len(line) and committed > line[index]:
                problems.append(
                    f"- sample {number}: {partition} was committed at {committed},"
                    f" past {partition}@{line[index]}, which was not settled"
                )
    return problems[:SHOWN]


@dataclass(slots=True)
class Sampler:
    """Watches a consumer group from the side while a test runs, and keeps a sample of every look.

    Reads what is committed first and what has been settled after it: whatever was settled in between can only
    excuse a commit that was right, never accuse one.
    """

    client: Mapping[str, str]
    group: str
    partitions: Sequence[Partition]
    delivered: Callable[[], int]
    """How many events EventBridge has accepted so far."""
    dead_letters: Sequence[Partition] = ()
    dropped: Callable[[], int] = int
    """How many it has accepted and dropped."""
    period_s: float = 0.1
    samples: list[Sample] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Sampler:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        assert self._thread is not None
        self._thread.join(timeout=30)

    def _watch(self) -> None:
        consumer = Consumer({**self.client, "group.id": self.group, "log_level": "0"})
        try:
            while not self._done.wait(self.period_s):
                self._look(consumer)
            self._look(consumer)
        finally:
            consumer.close()

    def _look(self, consumer: Consumer) -> None:
        try:
            offsets = committed(consumer, self.partitions)
            delivered, dropped = self.delivered(), self.dropped()
            ends = {
                partition: consumer.get_watermark_offsets(TopicPartition(*partition), timeout=5)[1]
                for partition in self.dead_letters
            }
        except KafkaException:
            return  # the brokers are down, as some tests want them: no sample of this moment
        self.samples.append(Sample(offsets, delivered, ends, dropped))


def committed(
    consumer: Consumer, partitions: Iterable[Partition], *, timeout_s: float = 5
) -> dict[Partition, int]:
    """What the group of an unsubscribed consumer has committed; partitions without a commit are left out.

    Raises KafkaException when the brokers do not answer in time.
    """
    answers = consumer.committed([TopicPartition(*partition) for partition in partitions], timeout=timeout_s)
    for answer in answers:
        if answer.error is not None:
            raise KafkaException(answer.error)
    return {Partition(each.topic, each.partition): each.offset for each in answers if each.offset >= 0}
