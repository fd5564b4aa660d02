"""What goes wrong and when: a schedule made of a seed alone, so that a failing seed can be played again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

ENDPOINT: Mapping[str, Mapping[str, Any]] = {
    "throttles": {"kind": "throttle"},
    "throttled entries": {"kind": "entry_error", "code": "ThrottlingException"},
    "partial failures": {"kind": "entry_error"},
    "blank results": {"kind": "entry_blank"},
    "500s": {"kind": "internal_error"},
    "503s": {"kind": "unavailable"},
    "413s": {"kind": "too_large", "min_bytes": 2_000},
    "hangs": {"kind": "hang"},
    "resets after accepting": {"kind": "reset"},
    "truncated bodies": {"kind": "truncated"},
    "empty bodies": {"kind": "empty_body"},
    "empty objects": {"kind": "empty_object"},
    "too few results": {"kind": "short"},
    "too many results": {"kind": "long"},
    "no JSON": {"kind": "garbage"},
    "slow drips": {"kind": "slow_drip"},
    "connections refused": {},
}
"""Faults of EventBridge, as the sandbox scripts them; without a kind it resets every connection."""

LOOKUPS: Mapping[str, Mapping[str, Any]] = {
    "lookups throttled": {"kind": "throttle", "operation": "ListPartnerEventSourceAccounts"},
    "lookups refused": {"kind": "access_denied", "operation": "ListPartnerEventSourceAccounts"},
    "lookups fail": {"kind": "internal_error", "operation": "ListPartnerEventSourceAccounts"},
    "lookups hang": {"kind": "hang", "operation": "ListPartnerEventSourceAccounts"},
}
"""Faults of the control plane, while the data plane works."""

ONE_CUSTOMER: Mapping[str, Mapping[str, Any]] = {
    "one customer fails": {"kind": "entry_error"},
    "one customer throttled": {"kind": "entry_error", "code": "ThrottlingException"},
}
"""Faults of the entries of one source, while others are accepted."""

LANES: Mapping[str, Sequence[str]] = {
    "endpoint": tuple(ENDPOINT),
    "process": ("SIGKILL", "SIGSTOP", "SIGTERM", "member joins", "member leaves"),
    "kafka": (
        "broker stopped",
        "broker killed",
        "broker frozen",
        "leader election",
        "more partitions",
        "dead-letter topic down",
    ),
    "around": (
        "registry down",
        "registry garbage",
        "credentials expire",
        "clock 20 min ahead",
        "clock 20 min behind",
    ),
    "lookups": tuple(LOOKUPS),
    "one customer": tuple(ONE_CUSTOMER),
    "customers": ("a customer leaves", "customers leave"),
}
"""Faults of one lane come one after the other, those of different lanes at the same time."""

KINDS: tuple[str, ...] = tuple(kind for kinds in LANES.values() for kind in kinds)

PAUSED_S = (7.0, 9.0)
"""How long a process is stopped: past `max.poll.interval.ms`."""
FROZEN_S = (2.0, 6.0)
"""How long a broker stands still: sometimes past its session of 3 s, so that others lead, sometimes not."""
LONG_S = (4.0, 12.0)
"""How long one customer's entries fail: long enough to give up a record that is tried again and again."""
AWAY_S = (2.0, 8.0)
"""How long customers are away, or nothing can be learned of them: several looks."""
LENGTHS_S: Mapping[str, tuple[float, float]] = {
    "SIGSTOP": PAUSED_S,
    "broker frozen": FROZEN_S,
    **dict.fromkeys(ONE_CUSTOMER, LONG_S),
    **dict.fromkeys(LOOKUPS, AWAY_S),
    **dict.fromkeys(LANES["customers"], AWAY_S),
}
OTHERS_S = (0.5, 4.0)


class Planned(NamedTuple):
    """One fault to come."""

    at_s: float
    lane: str
    kind: str
    seconds: float
    draw: float
    """From 0 to 1: decides whatever else there is to choose."""


def plan(seed: int, seconds: float) -> list[Planned]:
    """The faults of a seed that begin within so many seconds. A longer run begins with the same ones."""
    return sorted(fault for lane in LANES for fault in _lane(seed, lane, seconds))


def _lane(seed: int, lane: str, seconds: float) -> Iterator[Planned]:
    chance = random.Random(f"{seed}/{lane}")
    at_s = chance.uniform(0.5, 3)
    bag: list[str] = []
    while at_s < seconds:
        # From a bag rather than by single dice: in two minutes every kind has its turn.
        bag = bag or chance.sample(LANES[lane], len(LANES[lane]))
        kind = bag.pop()
        length_s = chance.uniform(*LENGTHS_S.get(kind, OTHERS_S))
        yield Planned(at_s, lane, kind, length_s, chance.random())
        at_s += length_s + chance.uniform(0.2, 2)
