"""Two minutes of everything that can go wrong: nothing lost, no commit too high, nobody ends by itself."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from tests.chaos.__main__ import report
from tests.chaos.machine import Machine
from tests.chaos.schedule import KINDS, LANES, plan
from tests.conftest import started

SECONDS = 120


def test_a_seed_makes_one_plan() -> None:
    """So that a failing seed can be played again; a longer run begins with the same faults."""
    assert plan(1, 600) == plan(1, 600)
    assert plan(1, 600) != plan(2, 600)
    for lane in LANES:
        short, long = ([f for f in plan(1, seconds) if f.lane == lane] for seconds in (60, 600))
        assert short == long[: len(short)]
    assert set(KINDS) == {fault.kind for fault in plan(1, 600)}


@pytest.mark.timeout(480)
def test_two_minutes_of_chaos(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """Faults of every lane at once, by a seed that is printed; `CHAOS_SEED` plays one again."""
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbits(31))
    print(f"seed {seed}; play it again with: make chaos SEED={seed} MINUTES=2")
    machine = started(pytestconfig, "Kafka", lambda: Machine(tmp_path, seed=seed))
    with machine:
        result = machine.run(plan(seed, SECONDS), SECONDS)
    print(report(result))

    assert result.balance.delivered > SECONDS * 100
    assert len(result.faults) > len(KINDS) / 2
    assert result.samples > SECONDS
