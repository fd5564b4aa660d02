"""One function for each thing that happens: it updates the metric and writes the log line, where one is due.

Normal operation logs nothing. What repeats is logged when it changes, or a few times a minute. No
payload gets into a log line: the fields are names, numbers, codes and positions, texts are those of
`errors`, and tracebacks come without the values that foreign exceptions carry.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from connector import __version__
from connector.errors import Code, ConnectorError, InvariantError, Problem, Verdict
from connector.model import (
    INACTIVE,
    STATES,
    Answer,
    DropReason,
    FailingSource,
    Partition,
    Pause,
    PauseKind,
    Position,
    Record,
    SourceReport,
    SourceState,
    SourceStatus,
    iso_second,
)
from connector.telemetry.log import Allowance, EventLog, capped
from connector.telemetry.series import DeliverySeconds, Series
from connector.telemetry.tally import Tally

if TYPE_CHECKING:
    from connector.telemetry.spans import Traces

PauseReason: TypeAlias = Literal[
    "pending", "slow", "schema_registry", "target", "source", "dead_letter", "excluded", "pauses"
]
LookupOutcome: TypeAlias = Literal["ok", "throttled", "unavailable", "denied"]
RequestOutcome: TypeAlias = Literal["ok", "partial"] | Verdict
CommitOutcome: TypeAlias = Literal["ok", "failed"]
TargetCondition: TypeAlias = Literal["up", "throttled", "down"]
"""`up`: it accepts events. `throttled`: it asks for less, and has accepted nothing since."""
RebalanceKind: TypeAlias = Literal["assigned", "revoked", "lost"]

MAX_RETRY_CODES = 30
"""EventBridge names its error codes, not we; past this many, new ones are counted as `other`."""

LETTER_LINES = 10
"""Dead letters of one code that get a line of their own each minute."""

SOURCE_LINES = 60
"""Changes of sources that get a line each minute."""

PAUSE_LINES = 60
"""Pauses that begin or end and get a line each minute."""

STALL_LINES = 20
"""Stalled partitions that get a line each minute."""

LONG_STALL_S = 1.0
"""A partition that cannot go on for longer is worth a line."""

KAFKA_LINES = 5
"""Complaints of the Kafka client that get a line each minute; it repeats itself."""

MAX_LISTED = 20
"""Partitions named in one log line."""

MAX_SOURCE_SERIES = 500
"""Sources with series of their own; those that are not ACTIVE come first."""

_UNTRACED = nullcontext()

REQUEST_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.0, 2.5, 5.0, 15.0, 30.0)
REQUEST_ENTRIES = (1, 2, 5, 10, 15, 19, 20)
REQUEST_BYTES = (1_024, 4_096, 16_384, 65_536, 131_072, 262_144, 524_288, 1_048_576)


def versions(librdkafka: str) -> dict[str, str]:
    """The versions of what runs, for `/version` and the log."""
    return {"version": __version__, "python": platform.python_version(), "librdkafka": librdkafka}


def rendered(registry: CollectorRegistry) -> tuple[bytes, str]:
    """All metrics of a registry in Prometheus' text format, and their content type."""
    return prometheus_client.generate_latest(registry), prometheus_client.exposition.CONTENT_TYPE_PLAIN_0_0_4


class Telemetry:
    """Counts and logs what the bridge does; one for each process.

    The bridge thread calls it, and any thread may call `render`. Each object has a metrics registry
    of its own, so tests make as many as they like. Log lines go to the standard library's logger
    `connector`; `configure_logging` says where they end up.
    """

    traces: Traces | None = None
    """Where spans of requests are sent; None for nowhere."""

    def __init__(  # noqa: PLR0915 - one for each metric
        self, *, librdkafka: str = "none", clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.versions = versions(librdkafka)
        # A second series with the creation time for each counter would double what is scraped.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._log = EventLog()
        self._registry = registry = CollectorRegistry()
        prometheus_client.ProcessCollector(registry=registry)
        prometheus_client.GCCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Series[Counter]:
            return Series(Counter(f"partner_bridge_{name}", text, labels, registry=registry))

        def gauge(name: str, text: str, *labels: str) -> Series[Gauge]:
            return Series(Gauge(f"partner_bridge_{name}", text, labels, registry=registry))

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Series[Histogram]:
            name = f"partner_bridge_{name}"
            return Series(Histogram(name, text, ["target"], registry=registry, buckets=buckets))

        self._consumed = counter("records_consumed", "Records polled from Kafka.", "topic")
        self._delivered = counter("events_delivered", "Events EventBridge accepted.", "topic", "target")
        self._billed_chunks = counter(
            "billed_chunks", "Chunks of 64 KiB, begun or full, that AWS bills of delivered events.", "topic"
        )
        self._dead_lettered = counter("records_dead_lettered", "Dead letters written.", "topic", "code")
        self._filtered = counter("records_filtered", "Records a rule of yours dropped.", "topic", "reason")
        self._gone = counter("records_gone", "Records Kafka deleted before they were read.", "topic")
        self._retried = counter("entries_retried", "Failed entries, to be sent again.", "target", "code")
        self._requests = counter("requests", "Calls of PutPartnerEvents.", "target", "outcome")
        self._request_seconds = histogram("request_seconds", "Duration of a request.", REQUEST_SECONDS)
        self._request_entries = histogram("request_entries", "Entries in a request.", REQUEST_ENTRIES)
        self._request_bytes = histogram(
            "request_bytes", "Size of a request, as EventBridge counts it.", REQUEST_BYTES
        )
        self._claims = counter("claim_checks", "Parts of large events that went to S3.", "target")
        self._claim_bytes = counter("claim_check_bytes", "Bytes of these.", "target")
        self._delivery_seconds = DeliverySeconds()
        registry.register(self._delivery_seconds)
        self._lag = gauge(
            "consumer_lag",
            "Records between what is settled and the end of the partition, also while it is paused.",
            "topic",
            "partition",
        )
        self._oldest_unsettled = gauge(
            "oldest_unsettled_seconds",
            "Seconds since the record that holds back the commit was polled; 0 when there is none.",
            "topic",
            "partition",
        )
        self._pending_records = gauge("pending_records", "Records polled and not settled.")
        self._pending_bytes = gauge("pending_bytes", "Bytes of the pending records and of their events.")
        self._assigned = gauge("partitions_assigned", "Partitions assigned to this process.")
        self._paused = gauge("partitions_paused", "Partitions that are paused, by reason.", "reason")
        self._target_state = gauge(
            "target_state", "Circuit breaker: 0 closed, 1 half-open, 2 open.", "target"
        )
        self._source_state = gauge(
            "source_state", "1 for the current state of a source.", "target", "source", "state"
        )
        self._source_since = gauge(
            "source_inactive_since_seconds",
            "Unix time since which a source has not been ACTIVE.",
            "target",
            "source",
        )
        self._source_expires = gauge(
            "source_expires_seconds", "Unix time at which a PENDING source expires.", "target", "source"
        )
        self._source_failing = gauge(
            "source_failing", "1 for a source that accepts nothing while others do.", "target", "source"
        )
        self._sources = gauge("sources", "Sources in use, by state.", "target", "state")
        self._held = gauge("held_records", "Records that wait for their source.", "target")
        self._lookups = counter("source_lookups", "Lookups of the state of a source.", "target", "outcome")
        self._unsure = counter(
            "events_maybe_dropped",
            "Events accepted between the last lookup of a source and the one that found it not ACTIVE.",
            "target",
        )
        self._pauses = gauge("pauses", "What the file of pauses pauses now, by kind.", "kind")
        self._pauses_unreadable = gauge(
            "pauses_unreadable", "1 while the file of pauses cannot be used, and what it said before counts."
        )
        self._held_by_pauses = gauge(
            "held_by_pauses",
            "1 for a partition that a pause stops, or whose commit waits for the end of one.",
            "topic",
            "partition",
        )
        self._commits = counter("commits", "Offset commits.", "outcome")
        self._rebalances = counter("rebalances", "Rebalances of the consumer group.", "kind")
        self._letters_open = gauge(
            "dead_letters_open", "Dead letters neither delivered nor discarded.", "code"
        )
        self._unwritable = gauge(
            "dead_letter_unwritable", "1 while the bridge cannot write to the dead-letter topic."
        )
        self._receipts_lost = counter(
            "receipts_lost",
            "Receipts, one a request, that could not be written; what they tell of was delivered.",
        )
        self._halted = gauge("halted", "1 once the bridge has stopped by itself; the log says why.")
        self._build_info = gauge(
            "build_info", "Versions of bridge, Python and librdkafka; always 1.", *self.versions
        )
        self._start_at_zero()
        self._remember_nothing(clock_s)

    def _remember_nothing(self, clock_s: Callable[[], float]) -> None:
        self.tally = Tally()
        self.letters_open: Mapping[str, int] | None = None
        """Open letters in the dead-letter topic by code, where they are counted."""
        # What decides which lines are due:
        self._allowance = Allowance(clock_s)
        self._retry_codes = set[str]()
        self._conditions: dict[str, TargetCondition] = {}
        self._troubled = set[str]()
        """Targets of which the log last said that they accept nothing."""
        self._unseeing: set[str] = set()
        """Targets whose sources cannot be looked up."""
        self._stalled: dict[Partition, str] = {}
        """Partitions whose stall was logged, and the reason it had then."""
        self._in_force: dict[tuple[PauseKind, str], Pause] = {}
        """What is paused, as the log last said."""
        self._pauses_problem: str | None = None
        self._kafka_fails = False
        self._kafka_said = ""
        """What the client complained of last, until all is well."""
        self._kafka_is_logged = False
        self._letters_are_written = self._letters_are_counted = True

    def _start_at_zero(self) -> None:
        self._build_info[tuple(self.versions.values())].set(1)
        # A series that first appears with its first event hides that event from `rate`. So those
        # whose labels are known now start at zero.
        for reason in get_args(PauseReason):
            self._paused[(reason,)].set(0)
        for kind in get_args(PauseKind):
            self._pauses[(kind,)].set(0)
        self._pauses_unreadable[()].set(0)
        for outcome in get_args(CommitOutcome):
            self._commits[(outcome,)].inc(0)
        for kind in get_args(RebalanceKind):
            self._rebalances[(kind,)].inc(0)
        self._receipts_lost[()].inc(0)

    # The life of the process

    def misconfigured(self, problems: Iterable[Problem]) -> None:
        """Say what in the configuration keeps the bridge from starting, a line for each problem."""
        for path, message in problems:
            self._log.error("configuration_problem", path=path, message=capped(message))

    def doubted(self, warnings: Iterable[Problem]) -> None:
        """Say what in the configuration is allowed and probably not meant, a line for each."""
        for path, message in warnings:
            self._log.warning("configuration_warning", path=path, message=capped(message))

    def started(self, *, name: str, http_port: int) -> None:
        """Say once what runs, and where it answers."""
        self._log.info("started", **self.versions, bridge=name, http_port=http_port)

    def stopped(self) -> None:
        """Say once that the bridge came to its end."""
        self._summarise(everything=True)
        self._log.info("stopped")

    def halted(self, error: BaseException) -> None:
        """Say why the bridge stops by itself. A bug is logged with its traceback."""
        self._halted[()].set(1)
        is_ours = isinstance(error, ConnectorError)
        is_bug = isinstance(error, InvariantError) or not is_ours
        self._log.error(
            "halted",
            error=type(error).__name__,
            message=capped(str(error)) if is_ours else "a bug in the bridge; the traceback says where",
            exc_info=error if is_bug else None,
        )

    # Records

    def records_consumed(self, topic: str, n: int) -> None:
        """`n` records were polled."""
        self._consumed[(topic,)].inc(n)

    def record_filtered(self, topic: str, reason: DropReason) -> None:
        """A record was dropped by a rule of the mapping, which settles it."""
        self._filtered[topic, reason].inc()

    def record_dead_lettered(
        self, position: Position, *, code: Code, message: str, target: str | None, trace_id: str | None = None
    ) -> None:
        """A record is in the dead-letter topic. Ten a minute of each code get a line of their own.

        `trace_id` is that of the request after whose answer it was given up, where there was one.
        """
        self._dead_lettered[position.partition.topic, code].inc()
        self.tally.dead_lettered += 1
        if self._may_log("record_dead_lettered", code, per_minute=LETTER_LINES):
            self._log.warning(
                "record_dead_lettered",
                position=str(position),
                code=code,
                message=capped(message),
                target=target,
                trace_id=trace_id,
            )

    def events_delivered(
        self, topic: str, target: str, seconds: Sequence[float], *, billed_chunks: int
    ) -> None:
        """EventBridge took so many events, each `seconds` after the timestamp of its record."""
        self._delivered[topic, target].inc(len(seconds))
        self.tally.deliver(target, len(seconds))
        self._billed_chunks[(topic,)].inc(billed_chunks)
        self._delivery_seconds.observe(topic, seconds)

    # Targets

    def entries_retried(self, target: str, code: str, n: int) -> None:
        """EventBridge answered `n` entries with an error after which they are sent again."""
        code = code[:64]
        if code not in self._retry_codes:
            if len(self._retry_codes) < MAX_RETRY_CODES:
                self._retry_codes.add(code)
            else:
                code = "other"
        self._retried[target, code].inc(n)
        self.tally.retry(code, n)
        if self._may_log("entries_retried", code, per_minute=1):
            self._log.warning("entries_retried", target=target, code=code, entries=n)

    def claim_stored(self, target: str, size_bytes: int) -> None:
        """What is too large of an event is in S3, so that the event may go out."""
        self._claims[(target,)].inc()
        self._claim_bytes[(target,)].inc(size_bytes)

    def handling(
        self, target: str, answer: Answer, records: Iterable[Record], *, entries: int
    ) -> AbstractContextManager[str | None]:
        """The answer of a request is handled: its span is sent, and log lines carry the id of its trace.

        Gives that id, or None where the span is not sampled; only where it is, `records` are looked at. What
        was never sent has none.
        """
        if self.traces is None or not answer.is_sent:
            return _UNTRACED
        trace_id = self.traces.request(target, answer, records, entries=entries)
        return _UNTRACED if trace_id is None else self._traced(trace_id)

    @contextmanager
    def _traced(self, trace_id: str) -> Iterator[str]:
        self._log.trace_id = trace_id
        try:
            yield trace_id
        finally:
            self._log.trace_id = None

    def request_finished(
        self, target: str, *, outcome: RequestOutcome, seconds: float, entries: int, size_bytes: int
    ) -> None:
        """A call came back, or did not."""
        self._requests[target, outcome].inc()
        key = (target,)
        self._request_seconds[key].observe(seconds)
        self.tally.time_request(target, seconds)
        self._request_entries[key].observe(entries)
        self._request_bytes[key].observe(size_bytes)

    def target_state(
        self, target: str, state: int, condition: TargetCondition, *, reason: str, next_try_s: float = 0.0
    ) -> None:
        """A target is ok (0), being probed (1) or taken to be down (2), and accepts events or does not.

        Logged when its condition changes; that it is throttled once a minute, which is usual under load.
        """
        if (target,) not in self._target_state:
            for outcome in ("ok", "partial", *Verdict):
                self._requests[target, outcome].inc(0)
        self._target_state[(target,)].set(state)
        was = self._conditions.get(target, "up")
        if condition == was:
            return
        self._conditions[target] = condition
        if condition == "up":
            if target in self._troubled:
                self._troubled.discard(target)
                self._log.info("target_up", target=target)
        elif "down" in {was, condition} or self._may_log("target_throttled", target, per_minute=1):
            self._troubled.add(target)
            self._log.warning(
                f"target_{condition}", target=target, reason=capped(reason), next_try_s=round(next_try_s, 1)
            )

    # Sources

    def first_lookups(self, target: str, sources: int) -> None:
        """So many sources wait for their first lookup, and their events with them. Logged once a minute."""
        if sources and self._may_log("first_lookups", target, per_minute=1):
            self._log.info(
                "first_lookups", target=target, sources=sources, now=f"looking up {sources:,} sources first"
            )

    def source_changed(
        self, target: str, source: str, *, was: SourceState, now: SourceStatus, unsure: int
    ) -> None:
        """A source is in another state. `unsure` events were accepted since the last lookup."""
        if unsure:
            self._unsure[(target,)].inc(unsure)
        fields: dict[str, object] = {"target": target, "source": source, "state": now.state, "was": was}
        if now.is_inactive:
            if now.expires_ms is not None:
                fields["expires"] = datetime.fromtimestamp(now.expires_ms / 1000, UTC).isoformat(
                    "T", "seconds"
                )
            if now.reason:
                fields["reason"] = now.reason
            if unsure:
                fields["maybe_dropped"] = unsure
            if self._may_log("source_inactive", "", per_minute=SOURCE_LINES):
                self._log.warning("source_inactive", **fields)
        elif was in INACTIVE and self._may_log("source_active", "", per_minute=SOURCE_LINES):
            self._log.info("source_active", **fields)

    def held(self, target: str, records: int) -> None:
        """So many records wait because their source takes none now."""
        self._held[(target,)].set(records)

    def sources(self, target: str, standings: Collection[SourceReport]) -> None:
        """All sources of a target stand like this."""
        counts: dict[str, int] = dict.fromkeys(STATES, 0)
        for each in standings:
            counts[each.state] += 1
        for state, count in counts.items():
            self._sources[target, state].set(count)
        shown = sorted(standings, key=lambda each: each.state not in INACTIVE)[:MAX_SOURCE_SERIES]
        inactive = [each for each in shown if each.state in INACTIVE]
        self._show(self._source_state, target, {(each.source, each.state): 1 for each in shown})
        self._show(self._source_since, target, {(each.source,): each.since_ms / 1000 for each in inactive})
        expires: dict[tuple[str, ...], float] = {
            (e.source,): e.expires_ms / 1000 for e in shown if e.expires_ms is not None
        }
        self._show(self._source_expires, target, expires)

    def sources_failing(self, target: str, sources: Collection[FailingSource]) -> None:
        shown = list(sources)[:MAX_SOURCE_SERIES]
        self._show(self._source_failing, target, {(each.source,): 1 for each in shown})

    def _show(self, series: Series[Gauge], target: str, values: Mapping[tuple[str, ...], float]) -> None:
        """Show these series of a target, and no others of it."""
        for gone in [key for key in series if key[0] == target and key[1:] not in values]:
            series.remove(*gone)
        for labels, value in values.items():
            series[target, *labels].set(value)

    def source_looked_up(self, target: str, outcome: LookupOutcome, *, reason: str = "") -> None:
        """A lookup of a source ended so. What keeps the bridge from looking up is said once, until it can."""
        self._lookups[target, outcome].inc()
        if outcome == "ok" and target in self._unseeing:
            self._unseeing.discard(target)
            self._log.info("sources_seen", target=target)
        elif outcome == "denied":
            now = "those never seen are sent to, and events for those of them that are not ACTIVE are lost"
            self._sources_unseen(target, reason, now)
        elif outcome == "unavailable":
            self.source_not_seen(target, reason)

    def source_not_seen(self, target: str, reason: str) -> None:
        """A source is taken for one that cannot be looked up, or will be: said once, as above."""
        self._sources_unseen(target, reason, "new ones wait, and are then sent to")

    def _sources_unseen(self, target: str, reason: str, now: str) -> None:
        # Of one source alone, lookups may fail while those of the others do not.
        if target not in self._unseeing and self._may_log("sources_unseen", target, per_minute=1):
            self._unseeing.add(target)
            now = f"each source keeps the state it was seen in; {now}"
            self._log.warning("sources_unseen", target=target, reason=capped(reason), now=now)

    def source_created(self, target: str, source: str) -> None:
        self._log.info("source_created", target=target, source=source)

    def source_not_created(self, target: str, source: str, reason: str) -> None:
        """A missing source of a listed customer could not be created; tried again with the next lookup."""
        self._log.warning("source_not_created", target=target, source=source, reason=capped(reason))

    # Pauses

    def pauses(self, in_force: Collection[Pause]) -> None:
        """This is paused by now, and nothing else. What begins, ends or gets another end is logged."""
        for kind in get_args(PauseKind):
            self._pauses[(kind,)].set(sum(pause.kind == kind for pause in in_force))
        was, self._in_force = self._in_force, {(pause.kind, pause.name): pause for pause in in_force}
        for (kind, name), pause in self._in_force.items():
            if was.get((kind, name)) != pause and self._may_log("paused", "", per_minute=PAUSE_LINES):
                self._log.info("paused", kind=kind, name=name, until=iso_second(pause.until_ms))
        for kind, name in was.keys() - self._in_force.keys():
            if self._may_log("resumed", "", per_minute=PAUSE_LINES):
                self._log.info("resumed", kind=kind, name=name)

    def pauses_awaited(self, file: str) -> None:
        """The file of pauses is not there yet."""
        self._log.info("pauses_awaited", file=file, now="nothing is paused until it comes")

    def pauses_readable(self, problem: str | None) -> None:
        """Why the file of pauses cannot be used; None when it can. Logged when that changes."""
        self._pauses_unreadable[()].set(problem is not None)
        was, self._pauses_problem = self._pauses_problem, problem
        if problem is not None and problem != was:
            self._log.error("pauses_unreadable", reason=capped(problem))
        elif problem is None and was is not None:
            self._log.info("pauses_readable")

    def held_by_pauses(self, partitions: Collection[Partition]) -> None:
        """A pause stops these partitions, or their commit, and no others."""
        keys = {(topic, str(number)) for topic, number in partitions}
        for gone in self._held_by_pauses.keys() - keys:
            self._held_by_pauses.remove(*gone)
        for key in keys:
            self._held_by_pauses[key].set(1)

    # Partitions

    def assignment(self, partitions: Collection[Partition]) -> None:
        """These are all the partitions this process has now."""
        self._assigned[()].set(len(partitions))

    def rebalanced(self, kind: RebalanceKind, partitions: Collection[Partition]) -> None:
        """The group gave or took these partitions."""
        self._rebalances[(kind,)].inc()
        level = logging.WARNING if kind == "lost" else logging.INFO
        listed = [str(partition) for partition in sorted(partitions)[:MAX_LISTED]]
        self._log.log(level, "rebalanced", kind=kind, count=len(partitions), partitions=listed)

    def forget(self, partitions: Collection[Partition]) -> None:
        """Partitions are no longer assigned: what is shown of each of them goes."""
        for topic, number in partitions:
            self._lag.remove(topic, str(number))
            self._oldest_unsettled.remove(topic, str(number))
            self._held_by_pauses.remove(topic, str(number))
        for partition in partitions:
            self._stalled.pop(partition, None)

    def paused(self, counts: Mapping[PauseReason, int]) -> None:
        """So many partitions are not being read for each reason; a reason left out has none."""
        for reason in get_args(PauseReason):
            self._paused[(reason,)].set(counts.get(reason, 0))

    def pending(self, records: int, size_bytes: int) -> None:
        """So much is polled and not settled."""
        self._pending_records[()].set(records)
        self._pending_bytes[()].set(size_bytes)
        # The bridge reports this all the time, so summaries come out when nothing else happens.
        self._summarise()

    def lag(self, partition: Partition, records: int) -> None:
        """So many records are between what is settled and the end of the partition."""
        self._lag[partition.topic, str(partition.number)].set(records)

    def oldest_unsettled(self, partition: Partition, seconds: float) -> None:
        """The record that holds back the commit was polled `seconds` ago; 0 when nothing is unsettled."""
        self._oldest_unsettled[partition.topic, str(partition.number)].set(seconds)

    def partitions_stalled(self, stalls: Mapping[Partition, tuple[float, str]]) -> None:
        """These partitions cannot go on, each for so many seconds by now and for a reason; no others.

        Every partition waits a moment now and then, as for a schema. One that waits for longer is logged,
        again when its reason changes, and when it resumes.
        """
        for partition in self._stalled.keys() - stalls.keys():
            del self._stalled[partition]
            self._log.info("partition_resumed", partition=str(partition))
        for partition, (seconds, reason) in stalls.items():
            if (
                seconds >= LONG_STALL_S
                and self._stalled.get(partition) != reason
                and self._may_log("partition_stalled", "", per_minute=STALL_LINES)
            ):
                self._stalled[partition] = reason
                self._log.warning(
                    "partition_stalled",
                    partition=str(partition),
                    seconds=round(seconds, 1),
                    reason=capped(reason),
                )

    def partition_excluded(self, partition: Partition, reason: str) -> None:
        """A partition was assigned to us and must not be read, for a `reason`."""
        self._log.warning("partition_excluded", partition=str(partition), reason=capped(reason))

    def committed(self, outcome: CommitOutcome, n: int, *, reason: str | None = None) -> None:
        """The offsets of `n` partitions were committed, or were not for a `reason`."""
        self._commits[(outcome,)].inc()
        if outcome == "failed" and self._may_log("commit_failed", "", per_minute=1):
            self._log.warning("commit_failed", partitions=n, reason=capped(reason or "unknown"))

    def offsets_reset(self, partition: Partition, *, from_offset: int, to_offset: int) -> None:
        """The offset to read from does not exist any more; reading goes on at `to_offset`."""
        gone = max(to_offset - from_offset, 0)
        cause = "the offset is past the end: the topic was made anew or truncated"
        if gone:
            cause = f"Kafka deleted up to {gone} records before they were read; raise the topic's retention"
            self._gone[(partition.topic,)].inc(gone)
        self._log.log(
            logging.ERROR if gone else logging.WARNING,
            "offsets_reset",
            partition=str(partition),
            from_offset=from_offset,
            to_offset=to_offset,
            records_gone=gone,
            cause=cause,
        )

    # Kafka and the dead-letter topic

    def kafka_problem(self, text: str) -> None:
        """The Kafka client complains; it goes on trying."""
        self._kafka_said = text
        if self._may_log("kafka_problem", "", per_minute=KAFKA_LINES):
            self._kafka_is_logged = True
            self._log.warning("kafka_problem", reason=capped(text))

    def kafka_state(self, problem: str | None) -> None:
        """Why nothing may be arriving from Kafka; None when all is well, logged where the problem was."""
        if problem is not None:
            if not self._kafka_fails:
                self._kafka_fails = True
                if problem != self._kafka_said:
                    self.kafka_problem(problem)
            return
        self._kafka_said = ""
        if self._kafka_fails:
            self._kafka_fails = False
            if self._kafka_is_logged:
                self._kafka_is_logged = False
                self._log.info("kafka_recovered")

    def dead_letter_unwritable(self, reason: str) -> None:
        """The dead-letter topic takes nothing, so nothing is committed. Logged once until it does."""
        self._unwritable[()].set(1)
        if self._letters_are_written:
            self._letters_are_written = False
            self._log.error("dead_letter_unwritable", reason=capped(reason))

    def dead_letter_writable(self) -> None:
        """The dead-letter topic takes letters. Nothing happens when it did before."""
        self._unwritable[()].set(0)
        if not self._letters_are_written:
            self._letters_are_written = True
            self._log.info("dead_letter_writable")

    def dead_letters_open(self, counts: Mapping[str, int]) -> None:
        """So many letters of each code are open in the dead-letter topic.

        This and `dead_letters_uncounted` are called from a thread of their own, and touch nothing that
        the bridge thread touches.
        """
        self._letters_are_counted = True
        self.letters_open = counts
        for code, count in counts.items():
            self._letters_open[(code,)].set(count)

    def dead_letters_uncounted(self, reason: str) -> None:
        """Open letters cannot be counted now. Logged once until they are."""
        if self._letters_are_counted:
            self._letters_are_counted = False
            self._log.warning("dead_letters_uncounted", reason=capped(reason))

    def receipts_lost(self, n: int, reason: str) -> None:
        """So many receipts, one a request, could not be written. Logged once a minute."""
        self._receipts_lost[()].inc(n)
        if self._may_log("receipts_lost", "", per_minute=1):
            self._log.warning("receipts_lost", receipts=n, reason=capped(reason))

    # Reading

    def render(self) -> tuple[bytes, str]:
        """All metrics in Prometheus' text format, and their content type."""
        return rendered(self._registry)

    def _may_log(self, event: str, code: str, *, per_minute: int) -> bool:
        self._summarise()
        return self._allowance.take(event, code, per_minute=per_minute)

    def _summarise(self, *, everything: bool = False) -> None:
        for (event, code), n in self._allowance.ended(everything=everything):
            self._log.warning("more_suppressed", of=event, code=code, lines=n)
