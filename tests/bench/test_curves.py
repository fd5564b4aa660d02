"""What the pages say of the curves, and the arithmetic of the capacity model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.bench.capacity import ceiling, example, plan
from tests.bench.curves import CURVES, Curve, Curves, Measured, verdict


def measured(
    label: str = "1 KB", *, cpu_us: float = 50.0, rss_mb: float = 100.0, events_per_request: float = 20.0
) -> Measured:
    return Measured(label, cpu_us, rss_mb, 10_000.0, events_per_request, others=0.0)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (
            [measured(cpu_us=50), measured(cpu_us=57)],
            "CPU for an event is flat (within 14%), memory is flat (within 0%).",
        ),
        (
            [measured(cpu_us=50), measured(cpu_us=100)],
            "CPU for an event differs by a factor of 2.00, memory is flat (within 0%). It has its reason.",
        ),
        (
            [measured(rss_mb=100), measured(rss_mb=120)],
            "CPU for an event is flat (within 0%), memory differs by a factor of 1.20. It has its reason.",
        ),
    ],
)
def test_a_curve_that_is_not_flat_is_explained(points: Sequence[Measured], expected: str) -> None:
    """And one that is needs no excuse."""
    assert expected == verdict(Curve("x", "X", [], "It has its reason."), points)


def test_a_curve_of_a_busy_machine_is_void() -> None:
    """Its points differ by what others did at the time."""
    point = Measured("x", 50.0, 100.0, 10_000.0, 20.0, others=0.4)

    assert verdict(CURVES[0], [point]).startswith("Void: other work took up to 40% of the machine. CPU")


def test_every_point_of_a_curve_has_a_label_of_its_own() -> None:
    """Points of one label would be taken for rounds of one point."""
    for curve in CURVES:
        assert len(curve.points) == len({point.label for point in curve.points}), curve.name


def test_a_process_is_limited_by_its_core_or_by_the_requests_at_once() -> None:
    """At 20 ms by the core, at 100 ms by 32 requests of 20 events."""
    near, far = ceiling(measured(cpu_us=100), 0.02), ceiling(measured(cpu_us=100), 0.1)

    assert (10_000, 32_000, 10_000) == pytest.approx((near.core, near.in_flight, near.lowest))
    assert (10_000, 6_400, 6_400) == pytest.approx((far.core, far.in_flight, far.lowest))


def test_a_flow_needs_whole_processes_with_headroom_and_pays_for_requests_that_are_not_full() -> None:
    """10,000 events/s a process, of which 7,000 are planned for; 12 events in a request."""
    needed = plan(20_000, measured(cpu_us=100, events_per_request=12), 0.02)

    assert (3, 1667) == (needed.processes, round(needed.requests_per_s))


@pytest.mark.parametrize(("events_per_s", "fits"), [(28_000, "fits into"), (28_100, "does not fit into")])
def test_the_example_says_whether_the_quota_is_enough(events_per_s: int, fits: str) -> None:
    """28,000 events are 1,400 full requests."""
    assert fits in example(events_per_s, Curves("", {}, {"record-size": [measured()]}))
