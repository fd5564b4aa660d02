"""The answers of `/livez`, `/readyz` and `/sources`, and their reasons."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice

from connector.model import (
    FailingSource,
    Json,
    LastDelivery,
    LastError,
    Pause,
    SourceReport,
    iso_second,
    now_ms,
)

BEAT_LIMIT_S = 60.0
"""A poll loop that did not beat for this long hangs. Longer than any drain, which beats as well."""

SLOW_BEAT_S = 5.0
"""From then on it is shown. A broker that is slow to commit or revoke can hold it up for so long."""

MAX_TOPICS = 100
"""Topics whose last error is kept; the one with the oldest error makes room."""

MAX_TEXT = 500
"""Characters kept of one reason or error."""

MAX_SOURCES = 100
"""Sources that are not ACTIVE, shown in `/readyz`; `/sources` shows all."""


MAX_PAUSES = 100
"""Pauses shown in `/readyz`."""


class Health:
    """The state of the bridge, for the HTTP server to read.

    The bridge thread writes and the HTTP server's thread reads, without a lock: each write replaces one
    attribute or one item of a dict, each read copies the dict in one step, and under the GIL both
    happen whole. A reader may see one change and not yet the next; the answer was true a moment ago.

    Times are those of `clock_s`, which must be the bridge's own.
    """

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._beat_s = clock_s()
        self._started_ms = now_ms()
        self._assigned: int | None = None
        self._is_stopping = False
        self._problems: dict[str, str] = {}
        self._failures: dict[str, dict[str, Json]] = {}
        self._sources: dict[str, Collection[SourceReport]] = {}
        self._targets_down: Mapping[str, str] = {}
        self._failing: dict[str, Collection[FailingSource]] = {}
        self._first_lookups: dict[str, str] = {}
        self._lookups: dict[str, str] = {}
        self._receipts: str | None = None
        self._sent_again: str | None = None
        self._pauses: tuple[Sequence[Pause], str | None] = ((), None)

    def beat(self, now_s: float | None = None) -> None:
        """The poll loop came round, now."""
        self._beat_s = self._clock_s() if now_s is None else now_s

    def assigned(self, partitions: int) -> None:
        """The group answered: this process has so many partitions, and none is well too."""
        self._assigned = partitions

    def report(self, key: str, problem: str | None) -> None:
        """Be unready because of `problem`, a sentence, until the same `key` is reported with None."""
        if problem is None:
            self._problems.pop(key, None)
        else:
            self._problems[key] = problem[:MAX_TEXT]

    def failed(self, topic: str, error: str) -> None:
        """Remember the last error of a topic. It is shown, and does not make the bridge unready."""
        self._failures.pop(topic, None)
        self._failures[topic] = {
            "error": error[:MAX_TEXT],
            "at": iso_second(now_ms()),
        }
        if len(self._failures) > MAX_TOPICS:
            del self._failures[next(iter(self._failures))]

    def sources(self, target: str, standings: Collection[SourceReport]) -> None:
        """The sources of a target stand like this. It is shown, and does not make the bridge unready."""
        self._sources[target] = standings

    def targets_down(self, problems: Mapping[str, str]) -> None:
        """These targets take nothing, each for a reason. It is shown, and is no reason while others do."""
        self._targets_down = problems

    def sources_failing(self, target: str, sources: Collection[FailingSource]) -> None:
        """These sources of a target take nothing while others do. It is shown, and is no reason."""
        self._failing[target] = sources

    def first_lookups(self, target: str, sources: int) -> None:
        """So many sources of a target wait for their first lookup. It is shown, and is no reason."""
        if sources:
            text = f"looking up {sources:,} source{'s' * (sources != 1)} first; their events wait"
            self._first_lookups[target] = text
        else:
            self._first_lookups.pop(target, None)

    def lookups(self, target: str, problem: str | None) -> None:
        """Lookups of a target's sources come to nothing for a reason. It is shown, and is no reason."""
        if problem is None:
            self._lookups.pop(target, None)
        else:
            self._lookups[target] = problem[:MAX_TEXT]

    def sent_again(self, problem: str | None) -> None:
        """Much of what is sent must be sent again, for a reason. It is shown, and is no reason."""
        self._sent_again = problem and problem[:MAX_TEXT]

    def receipts(self, problem: str | None) -> None:
        """Receipts are being lost for a reason. It is shown, and does not make the bridge unready."""
        self._receipts = problem and problem[:MAX_TEXT]

    def pauses(self, in_force: Sequence[Pause], problem: str | None) -> None:
        """This is paused, and there may be a problem with the file. It is shown, and is no reason."""
        self._pauses = (in_force, problem)

    def stopping(self) -> None:
        """The bridge is stopping, and is never ready again."""
        self._is_stopping = True

    def live(self) -> tuple[bool, dict[str, Json]]:
        """Whether the poll loop beats, and how long ago it did. Depends on nothing outside the process."""
        age_s = self._clock_s() - self._beat_s
        is_live = age_s < BEAT_LIMIT_S
        return is_live, {"live": is_live, "beat_age_s": round(age_s, 1), "limit_s": BEAT_LIMIT_S}

    def ready(self) -> tuple[bool, dict[str, Json]]:
        """Whether the bridge can do its work, and otherwise why not, one sentence for each reason."""
        reasons: dict[str, Json] = {**self._problems}
        is_live, beat = self.live()
        loop = f"the poll loop has not come round for {beat['beat_age_s']} s, and nothing here is newer"
        if not is_live:
            reasons["loop"] = loop
        if self._is_stopping:
            reasons["stopping"] = "told to stop; what is in flight is brought to an end"
        elif self._assigned is None:
            reasons["starting"] = "the consumer group has not said yet which partitions are ours"
        in_force, problem = self._pauses
        details: dict[str, Json] = {
            "ready": not reasons,
            "reasons": reasons,
            "partitions_assigned": self._assigned,
            "last_errors": {**self._failures},
            "targets_down": {**self._targets_down},
            "first_lookups": {**self._first_lookups},
            "lookups": {**self._lookups},
            "loop": loop if self._clock_s() - self._beat_s > SLOW_BEAT_S else None,
            "sent_again": self._sent_again,
            "receipts": self._receipts,
            "pauses": [_pause(each) for each in in_force[:MAX_PAUSES]],
            "pauses_problem": problem and problem[:MAX_TEXT],
            "sources_failing": list(islice(self._sources_failing(), MAX_SOURCES)),
            "sources_not_active": list(islice(self._standings(only_inactive=True), MAX_SOURCES)),
        }
        return not reasons, details

    def failing_sources(self) -> Iterator[tuple[str, FailingSource]]:
        """Every source that takes nothing while others do, with its target."""
        for target, sources in self._failing.copy().items():
            for each in sources:
                yield target, each

    def source_reports(self) -> dict[str, Collection[SourceReport]]:
        """Every source in use, by target."""
        return self._sources.copy()

    def _sources_failing(self) -> Iterator[Json]:
        for target, each in self.failing_sources():
            yield {
                "source": each.source,
                "target": target,
                "since": iso_second(each.since_ms),
                "reason": each.reason[:MAX_TEXT],
                "waiting": each.waiting,
            }

    def source_health(self) -> dict[str, Json]:
        """Every source in use, as `schemas/source-health.json` describes; counts are since `started`."""
        return {"started": iso_second(self._started_ms), "sources": self.standings()}

    def standings(self) -> list[Json]:
        """Every source in use: state, last delivery and error, what waits, and counts."""
        return list(self._standings())

    def _standings(self, *, only_inactive: bool = False) -> Iterator[Json]:
        for target, standings in self._sources.copy().items():
            for each in standings:
                if each.is_inactive or not only_inactive:
                    yield _standing(target, each)


def _standing(target: str, each: SourceReport) -> Json:
    return {
        "source": each.source,
        "target": target,
        "state": each.state,
        "since": iso_second(each.since_ms),
        "looked_up": iso_second(each.looked_up_ms),
        "account": each.account,
        "expires": iso_second(each.expires_ms),
        "reason": each.reason,
        "delivered": each.delivered,
        "dead_lettered": each.dead_lettered,
        "held": each.held,
        "oldest_waiting": iso_second(each.oldest_waiting_ms),
        "last_delivered": _last_delivered(each.last_delivery),
        "last_error": _last_error(each.last_error),
        "bytes": each.delivered_bytes,
        "billed_chunks": each.billed_chunks,
        "paused": each.pause and _pause(each.pause),
    }


def _last_delivered(last: LastDelivery | None) -> Json:
    return last and {
        "at": iso_second(last.at_ms),
        "event_id": last.event_id,
        "eventbridge_id": last.eventbridge_id,
    }


def _last_error(last: LastError | None) -> Json:
    return last and {"at": iso_second(last.at_ms), "code": last.code, "text": last.text}


def _pause(pause: Pause) -> Json:
    return {"kind": pause.kind, "name": pause.name, "until": iso_second(pause.until_ms)}
