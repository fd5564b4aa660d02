"""The sentence at the top of the page: what the bridge is doing, and what stands in its way.

Reasons are those of `/readyz`, word for word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from connector.model import Json, SourceState, iso_second
from connector.telemetry.page.board import PartitionReport

LATE_S = 60.0
"""A partition that is behind for longer is named."""

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400

Level: TypeAlias = Literal["good", "warning", "bad"]

RUNBOOK = {
    "halted": "PartnerBridgeHalted",
    "loop": "PartnerBridgeRestarting",
    "kafka": "PartnerBridgeNotDelivering",
    "dead_letter": "PartnerBridgeDeadLetterTopicUnwritable",
    "eventbridge": "PartnerBridgeTargetDown",
    "schema_registry": "PartnerBridgeSchemaRegistryUnavailable",
    "paused": "PartnerBridgeStuck",
}
"""The entry of docs/runbook.md for each reason that has one."""

STANDSTILL = {"halted", "loop", "eventbridge"}
"""Reasons by which nothing is delivered, also where something was a moment ago."""

NOT_ACTIVE: dict[SourceState, tuple[str, str]] = {
    "PENDING": ("customer has not accepted its source", "customers have not accepted their source"),
    "DELETED": ("source is deleted", "sources are deleted"),
    "MISSING": ("source is missing", "sources are missing"),
    "OTHER": ("source is in an unknown state", "sources are in an unknown state"),
}


class Obstacle(NamedTuple):
    """Something that stands in the way."""

    text: str
    runbook: str | None
    """Its entry in the runbook, where there is one."""


class Situation(NamedTuple):
    """What the sentence is made of."""

    ready: Mapping[str, Json]
    """As `/readyz` answers."""
    per_minute: float
    """Events delivered."""
    is_delivering: bool
    """Whether one was delivered in the last seconds."""
    targets: int
    partitions: Sequence[PartitionReport]
    """The one furthest behind comes first."""
    waiting: int
    """Records that are not settled, or not even read."""
    source_states: Mapping[SourceState, int]
    sources_failing: int
    dead_lettered: int
    """In the last 15 minutes."""
    is_throttled: bool
    """Whether most of what is sent again was throttled."""


class Sentence(NamedTuple):
    """The sentence, how bad it is, and the parts of it that one can do something about."""

    text: str
    level: Level
    obstacles: Sequence[Obstacle]


def sentence(now: Situation) -> Sentence:
    """Say what the bridge is doing and whether anything stands in its way."""
    reasons = _mapping(now.ready["reasons"])
    obstacles = [Obstacle(str(text), RUNBOOK.get(key)) for key, text in reasons.items()]
    if "loop" not in reasons and (loop := now.ready["loop"]):
        obstacles.append(Obstacle(str(loop), RUNBOOK["loop"]))
    obstacles += _of_targets(now, is_said="eventbridge" in reasons)
    obstacles += _of_sources(now)
    if not reasons and not now.ready["targets_down"] and (again := now.ready["sent_again"]):
        entry = "PartnerBridgeThrottled" if now.is_throttled else RUNBOOK["eventbridge"]
        obstacles.append(Obstacle(str(again), entry))
    if late := _late(now.partitions):
        obstacles.append(Obstacle(late, "PartnerBridgeFallingBehind"))
    if now.dead_lettered:
        was = "record was" if now.dead_lettered == 1 else "records were"
        text = f"{now.dead_lettered:,} {was} dead-lettered in the last 15 minutes"
        obstacles.append(Obstacle(text, "PartnerBridgeDeadLetters"))
    texts = "; ".join(each.text.rstrip(".") for each in obstacles) or "nothing stands in the way"
    joint = ":" if reasons else ";"
    level: Level = "bad" if reasons else "warning" if obstacles else "good"
    end = "" if texts.endswith("?") else "."
    return Sentence(f"{_doing(now, reasons)}{joint} {texts}{end}", level, obstacles)


def _doing(now: Situation, reasons: Mapping[str, Json]) -> str:
    if "stopping" in reasons:
        return "Stopping"
    if "starting" in reasons:
        return "Starting"
    rate = f"{counted(round(now.per_minute), 'event')} a minute to {counted(now.targets, 'target')}"
    if reasons:
        is_delivering = now.is_delivering and round(now.per_minute) and not reasons.keys() & STANDSTILL
        return f"Not ready, and delivering {rate}" if is_delivering else "Not ready"
    if round(now.per_minute):
        return f"Delivering {rate}"
    if not now.partitions:
        return "Idle, ready to take over: this process has no partition"
    if now.waiting:
        return f"Delivering nothing, and {counted(now.waiting, 'record')} wait{'s' * (now.waiting == 1)}"
    return "Idle: every record is settled"


def _of_targets(now: Situation, *, is_said: bool) -> list[Obstacle]:
    down = _mapping(now.ready["targets_down"])
    found = []
    if not is_said:
        for target, problem in down.items():
            found.append(Obstacle(f"target {target} takes nothing: {problem}", RUNBOOK["eventbridge"]))
    for target, text in _mapping(now.ready["first_lookups"]).items():
        if target not in down:
            found.append(Obstacle(f"target {target} is {text}", None))  # as at every start
    for target, text in _mapping(now.ready["lookups"]).items():
        if target not in down:  # which says it, or why nothing else arrives there either
            found.append(Obstacle(f"target {target}: {text}", "PartnerBridgeLookupsFailing"))
    if receipts := now.ready["receipts"]:
        found.append(Obstacle(f"receipts are being lost: {receipts}", "PartnerBridgeReceiptsLost"))
    if problem := now.ready["pauses_problem"]:
        found.append(Obstacle(str(problem), "PartnerBridgePausesUnreadable"))
    pauses = now.ready["pauses"]
    if isinstance(pauses, list) and pauses:
        is_one = len(pauses) == 1
        text = f"{len(pauses)} {'pause is' if is_one else 'pauses are'} in force"
        found.append(Obstacle(text, "PartnerBridgePausedLong"))
    return found


def _of_sources(now: Situation) -> list[Obstacle]:
    found = [
        Obstacle(f"{count:,} {words[count != 1]}", "PartnerBridgeSourceInactive")
        for state, words in NOT_ACTIVE.items()
        if (count := now.source_states.get(state, 0))
    ]
    if count := now.source_states.get("UNKNOWN", 0):
        text = "source cannot be looked up, and may drop what it is sent"
        if count > 1:
            text = "sources cannot be looked up, and may drop what they are sent"
        found.append(Obstacle(f"{count:,} {text}", "PartnerBridgeEventsMaybeDropped"))
    if count := now.sources_failing:
        text = (
            "source takes nothing while others do" if count == 1 else "sources take nothing while others do"
        )
        found.append(Obstacle(f"{count:,} {text}", "PartnerBridgeStuck"))
    return found


def _late(partitions: Sequence[PartitionReport]) -> str | None:
    late = [each for each in partitions if each.behind_s >= LATE_S]
    if not late:
        return None
    worst = late[0]
    since = iso_second(worst.behind_since_ms)
    text = f"partition {worst.partition} is {duration(worst.behind_s)} behind"
    text += f", since {since}" if since else ""
    return text + (f", and {counted(len(late) - 1, 'more partition')} too" if len(late) > 1 else "")


def duration(seconds: float) -> str:
    """Seconds in words, as `12 minutes`; two digits are enough."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for unit_s, name in ((DAY_S, "day"), (HOUR_S, "hour"), (MINUTE_S, "minute")):
        if seconds >= 2 * unit_s or (unit_s == MINUTE_S and seconds >= unit_s):
            return counted(round(seconds / unit_s), name)
    return counted(round(seconds), "second")


def counted(count: int, noun: str) -> str:
    """A number with its noun, as `1 event` or `4,210 events`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
