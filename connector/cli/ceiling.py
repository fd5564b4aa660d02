"""The ceiling of a configuration: how many events a second its limits let through, whatever the machine.

A request carries at most `batch.count` events, and fewer where they are large: `batch.byte_size` holds too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from connector.config.settings import Settings, Target
from connector.config.units import show_seconds

ASSUMED_LATENCIES_S = (0.02, 0.1)
"""How long an answer of EventBridge may take: within a Region, and from one that is far away."""


class Limit(NamedTuple):
    """What one setting lets through."""

    name: str
    events_per_s: Sequence[float]
    """At each of the assumed latencies."""


def describe_ceiling(target: Target) -> dict[str, str]:
    """Describe what each limit lets one process send to a target, and name the lowest."""
    count, rate = target.batch.count, target.max_requests_per_second
    at_once = Limit("requests at once", _in_turn(target.max_in_flight * count))
    limits = [at_once]
    a_second = "no cap, but all processes share the quota of account and Region"
    if rate is not None:
        limits.append(Limit("requests a second", [rate * count] * len(ASSUMED_LATENCIES_S)))
        a_second = f"{rate:g} of {count} events: {rate * count:,.0f} events/s"
    lowest = [min(limits, key=lambda limit: limit.events_per_s[i]) for i in range(len(ASSUMED_LATENCIES_S))]
    return {
        at_once.name: f"{target.max_in_flight} of {count} events: {_by_latency(at_once.events_per_s)}",
        "requests a second": a_second,
        "lowest": _named(lowest),
    }


def describe_partitions(settings: Settings, partitions: Mapping[str, int]) -> str:
    """Describe what the partitions let through; `partitions` counts them by the topic's name in `topics`.

    The bridges of a group share them, so a process more than there are partitions has nothing to do.
    """
    total = sum(partitions.values())
    sentences = [f"{total} in all; a group of more processes than that leaves some idle"]
    for name, count in partitions.items():
        topic = settings.topics[name]
        target = settings.all_targets.get(topic.target, settings.eventbridge)
        if topic.ordering == "partition" and count:
            rates = _by_latency(_in_turn(count * target.batch.count))
            sentences.append(
                f"{name} is ordered by partition, where each source has one request at a time: all processes "
                f"together send one source at most {rates}"
            )
    return "; ".join(sentences)


def _in_turn(events: int) -> list[float]:
    """Events a second where so many are on their way at once, at each of the assumed latencies."""
    return [events / latency_s for latency_s in ASSUMED_LATENCIES_S]


def _named(lowest: Sequence[Limit]) -> str:
    names = dict.fromkeys(limit.name for limit in lowest)
    rates = _by_latency([limit.events_per_s[i] for i, limit in enumerate(lowest)])
    return f"{', then '.join(names)}: {rates}"


def _by_latency(events_per_s: Sequence[float]) -> str:
    """As `16,000 events/s where an answer takes 20ms, 3,200 where it takes 100ms`."""
    near, far = events_per_s
    if near == far:
        return f"{near:,.0f} events/s"
    near_s, far_s = map(show_seconds, ASSUMED_LATENCIES_S)
    return f"{near:,.0f} events/s where an answer takes {near_s}, {far:,.0f} where it takes {far_s}"
