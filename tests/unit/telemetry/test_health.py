"""Health: when the bridge is alive and when it is ready."""

from __future__ import annotations

import json

from connector.model import Pause
from connector.telemetry.health import BEAT_LIMIT_S, MAX_TOPICS, Health
from tests.fakes import FakeClock


def reasons(state: Health) -> set[str]:
    is_ready, details = state.ready()
    found = details["reasons"]
    assert isinstance(found, dict)
    assert is_ready is (not found)
    return set(found)


def test_live_while_the_loop_beats(clock: FakeClock) -> None:
    """A loop that hangs is restarted; one that beats is not, whatever else is wrong."""
    state = Health(clock_s=clock)
    state.report("kafka", "all brokers are down")
    clock.now_s += BEAT_LIMIT_S - 1

    assert state.live()[0]

    state.beat(clock.now_s)
    clock.now_s += BEAT_LIMIT_S - 1

    assert state.live()[0]

    clock.now_s += 2

    assert not state.live()[0]

    state.beat()

    assert state.live()[0]


def test_ready_once_the_group_answered(clock: FakeClock) -> None:
    """A member without partitions is idle, and that is well."""
    state = Health(clock_s=clock)

    assert {"starting"} == reasons(state)

    state.assigned(0)

    assert set() == reasons(state)


def test_a_problem_holds_until_it_is_gone(running: Health) -> None:
    """Each reason comes and goes by itself."""
    running.report("dead_letter", "orders.dlt cannot be written")
    running.report("kafka", "all brokers are down")
    running.report("kafka", None)
    running.report("never", None)

    assert {"dead_letter"} == reasons(running)

    running.report("dead_letter", None)

    assert set() == reasons(running)


def test_a_bridge_that_stops_or_hangs_is_not_ready(running: Health, clock: FakeClock) -> None:
    """It takes no more work."""
    clock.now_s += BEAT_LIMIT_S + 1

    assert {"loop"} == reasons(running)

    running.beat()
    running.stopping()
    running.report("halted", "flooded")

    assert {"stopping", "halted"} == reasons(running)


def test_an_error_of_a_topic_is_shown_and_harmless(running: Health) -> None:
    """Bad records are dead-lettered; the bridge is fine."""
    running.failed("orders", "avro_invalid: truncated")
    _, details = running.ready()
    errors = details["last_errors"]

    assert set() == reasons(running)
    assert isinstance(errors, dict)
    assert isinstance(shown := errors["orders"], dict)
    assert "avro_invalid: truncated" == shown["error"]
    assert str(shown["at"]).endswith("Z")


def test_errors_are_bounded(running: Health) -> None:
    """A pattern may match thousands of topics; the ones that failed last are kept."""
    for number in range(MAX_TOPICS + 20):
        running.failed("first", "x" * 10_000)
        running.failed(f"topic{number}", "x" * 10_000)
    errors = running.ready()[1]["last_errors"]

    assert isinstance(errors, dict)
    assert MAX_TOPICS == len(errors)
    assert "first" in errors
    assert "topic0" not in errors
    assert 100_000 > len(json.dumps(errors))


def test_what_is_paused_is_shown_and_harmless(running: Health) -> None:
    """A bridge that does what it was told is ready, also where the file broke since."""
    running.pauses([Pause("target", "us", 0)], "pauses.yaml cannot be used")
    is_ready, details = running.ready()

    assert is_ready
    assert [{"kind": "target", "name": "us", "until": "1970-01-01T00:00:00Z"}] == details["pauses"]
    assert "pauses.yaml cannot be used" == details["pauses_problem"]
