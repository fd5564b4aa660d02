"""A script of faults strikes when and as often as it says, and the same way for the same seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connector.sandbox.faults import Chance, Fault, Script


def strikes(script: Script, requests: int) -> list[str | None]:
    """The kind of the fault that strikes each of so many requests."""
    chance = Chance(script)
    struck = (chance.on_request("PutPartnerEvents", "eu-central-1", 0.0) for _ in range(requests))
    return [fault.kind if fault else None for fault in struck]


@given(times=st.integers(1, 8), after=st.integers(0, 8), requests=st.integers(0, 20))
def test_a_fault_lets_the_first_ones_pass_and_ends_after_its_times(
    times: int, after: int, requests: int
) -> None:
    """`after` requests go well, the next `times` fail, the rest go well again."""
    script = Script(faults=(Fault(kind="throttle", times=times, after=after),))

    expected = ([None] * after + ["throttle"] * times + [None] * requests)[:requests]
    assert expected == strikes(script, requests)


def test_faults_come_one_after_the_other_in_the_order_of_the_script() -> None:
    """The first that matches wins, so a list of `times` is a timetable."""
    script = Script(faults=(Fault(kind="throttle", times=2), Fault(kind="unavailable", times=1)))

    assert ["throttle", "throttle", "unavailable", None] == strikes(script, 4)


@given(seed=st.integers(0, 1000))
def test_the_same_seed_strikes_the_same_requests(seed: int) -> None:
    """A run with random faults can be repeated."""
    script = Script(faults=(Fault(kind="reset", probability=0.3),), seed=seed)

    assert strikes(script, 50) == strikes(script, 50)


def test_a_fault_strikes_only_its_operation_and_region() -> None:
    """Other calls and other Regions go well."""
    chance = Chance(Script(faults=(Fault(kind="throttle", operation="*", region="eu-west-1"),)))

    assert None is chance.on_request("PutPartnerEvents", "eu-central-1", 0.0)
    assert chance.on_request("ListPartnerEventSources", "eu-west-1", 0.0)


def test_a_change_keeps_what_it_does_not_name() -> None:
    """Faults can be set without losing the latency, and the other way round."""
    script = Script(latency_ms=20).replaced_by({"faults": [{"kind": "throttle"}]})

    assert (20, 1) == (script.latency_ms, len(script.faults))
    with pytest.raises(ValidationError):
        script.replaced_by({"latency": 20})


def test_a_fault_that_is_added_leaves_the_counts_of_the_others() -> None:
    """One that struck twice of three times strikes once more, and not three times."""
    first, second = Fault(kind="throttle", times=3), Fault(kind="unavailable", times=1)
    chance = Chance(Script(faults=(first,)))
    for _ in range(2):
        chance.on_request("PutPartnerEvents", "eu-central-1", 0.0)
    chance = chance.followed_by(Script(faults=(first, second)))

    struck = [chance.on_request("PutPartnerEvents", "eu-central-1", 0.0) for _ in range(3)]
    assert [first, second, None] == struck
    assert {"throttle": 3, "unavailable": 1} == chance.struck
