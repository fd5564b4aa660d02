"""One record's way to an entry: decode → tombstone policy → filter and map → check. Pure but for the
schema registry, which may ask to wait."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass

from connector import config
from connector.config.problems import did_you_mean
from connector.errors import ConfigError, DecodeError, MappingError, OversizeError, Problem, RecordError
from connector.eventbridge.claim_check import ClaimCheck
from connector.eventbridge.entry import entry
from connector.formats.decoder import decoder
from connector.formats.registries import Registries
from connector.mapping.event import Mapping as EventMapping
from connector.mapping.event_code import record_scope, text_of
from connector.model import UNREADABLE_HEADERS, Decode, DropReason, Entry, Event, Json, Record


@dataclass(frozen=True, slots=True)
class Dropped:
    """The user's own rules say that this record is not sent."""

    reason: DropReason


FILTERED = Dropped("filter")
TOMBSTONE = Dropped("tombstone")


class Pipeline:
    """Turns records of the configured topics into entries, or says why not.

    Everything that can be wrong with the configuration is found at construction: templates, filters,
    schema files, patterns.

    Raises:
        ConfigError: with every problem of every topic.
    """

    def __init__(self, settings: config.Settings, registries: Registries | None) -> None:
        self.cluster_id = "unknown"
        """Part of every event id, so that ids of two clusters never meet. Set once connected."""
        self._exact: dict[str, TopicRoute] = {}
        self._patterns: list[tuple[str, re.Pattern[str], TopicRoute]] = []
        self._routes: dict[str, TopicRoute] = {}
        self._dead_letter_topic = settings.dead_letter.topic
        self._resolutions_topic = settings.dead_letter.resolutions
        self._receipts_topic = settings.receipts.topic if settings.receipts else None
        self._registries = registries = registries or Registries()
        problems: list[Problem] = []
        for name, topic in settings.topics.items():
            try:
                route = TopicRoute(
                    topic,
                    registries,
                    path=f"topics.{name}",
                    name=None if name.startswith("^") else name,
                    targets=settings.all_targets,
                )
            except ConfigError as error:
                problems.extend(error.problems)
                continue
            if name.startswith("^"):
                self._patterns.append((name, re.compile(name), route))
            else:
                self._exact[name] = route
        if problems:
            raise ConfigError(problems)

    def refusal(self, topic: str) -> str | None:
        """Why records of this topic must not be read although a subscription matched it, or None.

        The dead-letter topic, its resolutions and receipts are never input, whatever a pattern says; a
        topic that two patterns claim has no single mapping.
        """
        if topic == self._dead_letter_topic:
            return "it is the dead-letter topic"
        if topic == self._resolutions_topic:
            return "it is the topic of resolutions of dead letters"
        if topic == self._receipts_topic:
            return "it is the receipts topic"
        matching = self._matching(topic)
        if not matching:
            return "no entry under `topics` matches it"
        if len(matching) > 1:
            return f"it is matched by {' and by '.join(matching)}; make one of them narrower"
        return None

    @property
    def problem(self) -> str | None:
        """Why schemas cannot be had now, in a sentence; None when all is well."""
        return self._registries.problem

    def is_ambiguous(self, topic: str) -> bool:
        """Whether more than one entry under `topics` claims this topic."""
        return len(self._matching(topic)) > 1

    def topics_of(self, pattern: str, existing: Collection[str]) -> list[str]:
        """Which of the existing topics one pattern of the configuration claims and may read."""
        return sorted(t for t in existing if pattern in self._matching(t) and self.refusal(t) is None)

    def ordering(self, record: Record) -> Hashable | None:
        """The key of its order: records with equal values wait for each other, None waits for no other."""
        return self.route(record.partition.topic).lane(record)

    def event_id(self, record: Record) -> str:
        """The stable id of the event this record makes: the same at every attempt and replay.

        The record's timestamp, in Unix milliseconds, tells it from the record that had this offset before
        the topic was deleted and created again. It is left out where the topic keeps no timestamps.
        """
        (topic, number), offset, timestamp_ms, _, _, _ = record
        position = f"{self.cluster_id}/{topic}/{number}/{offset}"
        return position if timestamp_ms is None else f"{position}/{timestamp_ms}"

    def decode_key(self, record: Record) -> Json:
        """The key of a record as a JSON-able value, or None where it has none.

        Raises:
            DecodeError: the bytes are not what the topic's format says.
            UnavailableError: its schema is not known yet; the same again later.
        """
        return (
            None if record.key is None else self.route(record.partition.topic).key(record.key, record.headers)
        )

    def decode_value(self, record: Record) -> Json:
        """The same for the value."""
        return (
            None
            if record.value is None
            else self.route(record.partition.topic).value(record.value, record.headers)
        )

    def __call__(self, record: Record, event_id: str | None = None) -> Entry | Dropped:
        """Make the entry of one record; with `event_id` where the event has one from an earlier attempt.

        Raises:
            RecordError: it can never become an entry; goes to the dead-letter topic.
            UnavailableError: its schema is not known yet; the same again later.
        """
        return self.route(record.partition.topic)(record, event_id or self.event_id(record))

    def _matching(self, topic: str) -> list[str]:
        exact = [topic] if topic in self._exact else []
        return exact + [name for name, pattern, _ in self._patterns if pattern.search(topic)]

    def route(self, topic: str) -> TopicRoute:
        """The compiled way of a topic's records."""
        try:
            return self._routes[topic]
        except KeyError:
            route = self._exact.get(topic) or next(
                route for _, pattern, route in self._patterns if pattern.search(topic)
            )
            self._routes[topic] = route
            return route


def topic_problem(settings: config.Settings, pipeline: Pipeline, topic: str) -> str | None:
    """Why a topic has no mapping, and which one may be meant; None where it has one."""
    if (why := pipeline.refusal(topic)) is None:
        return None
    if topic.startswith("^"):
        return f"{topic} is a pattern; name a topic that matches it"
    names = [name for name in settings.topics if not name.startswith("^")]
    hint = did_you_mean(topic, names) or f"; known here: {', '.join(settings.topics)}"
    return f"{topic}: {why}{hint}"


class TopicRoute:
    """The compiled way of one topic's records; `name` is None where a pattern stands for several topics."""

    def __init__(
        self,
        topic: config.Topic,
        registries: Registries,
        *,
        path: str,
        name: str | None,
        targets: Mapping[str, config.Target],
    ) -> None:
        problems: list[Problem] = []

        def collect(build: Callable[[], Decode]) -> Decode | None:
            try:
                return build()
            except ConfigError as error:
                problems.extend(error.problems)
                return None

        decode_value = collect(lambda: decoder(topic.value, registries, path=f"{path}.value"))
        decode_key = collect(lambda: decoder(topic.key, registries, path=f"{path}.key"))
        try:
            mapping = EventMapping(topic, path=path, name=name, targets=targets)
        except ConfigError as error:
            problems.extend(error.problems)
        if problems or decode_value is None or decode_key is None:
            raise ConfigError(problems)
        self.value = decode_value
        self.key = decode_key
        self.mapping = mapping
        self._tombstones = topic.tombstones
        self.path = path
        # Of a template this is never used, and where it names nothing the settings are refused elsewhere.
        self.target = topic.target if topic.target in targets else config.DEFAULT_TARGET
        self._metadata = topic.event.metadata
        self._claim_checks = {
            name: ClaimCheck(target, target.claim_check)
            for name, target in targets.items()
            if target.claim_check
        }
        self._max_event_bytes = self._largest(self.target, targets[self.target])
        self.targets = targets
        self.policies = {name: topic.inactive_policy(target) for name, target in targets.items()}
        """By target, what becomes of records whose source is not ACTIVE."""
        self.lane = LANES[topic.ordering]

    def __call__(self, record: Record, event_id: str) -> Entry | Dropped:
        if record.headers == UNREADABLE_HEADERS:
            raise DecodeError(
                "text_invalid", "a header's name is not UTF-8, so none of the headers can be read"
            )
        value: Json = None
        if record.value is not None:
            value = self.value(record.value, record.headers)
        elif self._tombstones == "skip":
            return TOMBSTONE
        elif self._tombstones == "dead_letter":
            raise RecordError("tombstone", "the record has no value, and `tombstones` is dead_letter")
        event = self.mapping.event(record, self._key(record), value, event_id)
        if event is None:
            return FILTERED
        if event.target is None:
            try:
                return entry(event, max_event_bytes=self._max_event_bytes, target=self.target)
            except OversizeError:
                return self._claimed(event, event_id, self.target)
        target = self.targets.get(event.target)
        if target is None:
            raise MappingError(
                "target_unknown",
                f"{self.path}.target: the template made a name of {len(event.target)} characters that "
                f"`targets` does not have. Known: {', '.join(self.targets)}.",
            )
        try:
            return entry(event, max_event_bytes=self._largest(event.target, target), target=event.target)
        except OversizeError:
            return self._claimed(event, event_id, event.target)

    def _largest(self, name: str, target: config.Target) -> int:
        """Size of the largest event that is sent to a target as it is, in bytes."""
        check = self._claim_checks.get(name)
        return target.max_event_bytes if check is None else check.above

    def _claimed(self, event: Event, event_id: str, target: str) -> Entry:
        """The entry of an event that is too large as it is."""
        limit, check = self.targets[target].max_event_bytes, self._claim_checks.get(target)
        taken = check and check(event, event_id, metadata=self._metadata)
        small, claim = taken or (event, None)
        try:
            return entry(small, max_event_bytes=limit, target=target)._replace(claim=claim)
        except OversizeError as error:
            if check is None:
                advice = "Or set `claim_check`, so that large events go to S3."
                raise OversizeError("event_too_large", f"{error} {advice}") from None
            why = (
                f"{len(claim.body)} bytes of it at {check.path} would go to S3"
                if claim
                else f"it has nothing at {check.path} that could go to S3, or a `dataref…` of its own"
            )
            advice = f"{why}; name another part of it as `claim_check.path`"
            raise OversizeError("event_too_large", f"{error} With the claim check, {advice}.") from None

    def names(self, record: Record) -> tuple[str | None, str | None]:
        """The source and detail type that a record's templates make, whatever becomes of it; None for one
        that fails.

        Raises:
            DecodeError: key or value are not what the topic's format says.
            UnavailableError: its schema is not known yet; the same again later.
        """
        value = None if record.value is None else self.value(record.value, record.headers)
        scope = record_scope(record, self._key(record), value)
        templates = self.mapping.templates
        return text_of(templates.source, scope), text_of(templates.detail_type, scope)

    def _key(self, record: Record) -> Json:
        # A key that no expression uses is not decoded: a stray key must not cost the record.
        if record.key is None or not self.mapping.uses_key:
            return None
        try:
            return self.key(record.key, record.headers)
        except DecodeError as error:
            error.stage = "KEY_CONVERTER"
            raise


def _by_key(record: Record) -> Hashable | None:
    # Kafka promises no order among records without a key, so neither do we.
    return (record.partition, record.key) if record.key is not None else None


LANES: dict[str, Callable[[Record], Hashable | None]] = {
    "key": _by_key,
    "partition": lambda record: record.partition,
    "unordered": lambda _: None,
}
