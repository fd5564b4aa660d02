"""A change that makes an event cost much more fails here, on any machine and however busy it is."""

from __future__ import annotations

import pytest

from tests.bench import guard


@pytest.mark.long
def test_no_part_of_the_bridge_costs_much_more_than_it_did() -> None:
    """Ratios to the plain loop within one run, never times. `python -m tests.bench.guard` prints them."""
    assert [] == guard.regressions(guard.ratios())


def test_a_part_that_costs_more_than_the_margin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are not, and what became cheaper is none."""
    monkeypatch.setattr(guard, "COMMITTED", {"pipeline": 1.0, "sender": 0.2, "calls": 0.2})

    assert ["pipeline: 1.31 × the plain loop, 31% over the committed 1.00"] == (
        guard.regressions({"pipeline": 1.31, "sender": 0.26, "calls": 0.1})
    )
