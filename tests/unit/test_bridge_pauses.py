"""What you pause waits, whatever its state and policy, and goes out in order when the pause ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connector.model import Retriable
from tests.fakes import accept
from tests.rig import P0, P1, Rig, record
from tests.unit.delivery.test_source_gate import ACME, BLUE, metric, of, written
from tests.unit.test_bridge_flow import to_blue

ROOM = ("max_pending_records: 200", "max_pending_records: 20000")


class PausedRig(Rig):
    """A bridge that follows a file of pauses."""

    def __init__(self, folder: Path, text: str, *changes: tuple[str, str]) -> None:
        self.file = folder / "pauses.yaml"
        self.file.write_text(text)
        super().__init__(written(folder, ("name: test\n", "name: test\npauses: pauses.yaml\n"), *changes))

    def write(self, text: str) -> None:
        """Change the file; it counts within a second."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    def run_steps(self, *steps: Callable[[], bool | None]) -> None:
        """Run until each of these has held for a few seconds of the scripted clock, one after the other."""
        waiting = list(steps)
        held_from_s = self.clock.now_s

        def until() -> bool:
            nonlocal held_from_s
            if waiting and waiting[0]() is not False:
                if self.clock.now_s - held_from_s > 3.0:
                    waiting.pop(0)
                    held_from_s = self.clock.now_s
            else:
                held_from_s = self.clock.now_s
            self.clock.now_s += 0.25
            return not waiting

        self.run(until)

    def ready(self) -> dict[str, Any]:
        is_ready, details = self.health.ready()
        assert is_ready, details
        return details

    def has_committed(self, offset: int) -> bool:
        return self.consumer.committed.get(P0) == offset


@pytest.mark.parametrize("policy", ["hold", "dead_letter", "send"])
@pytest.mark.parametrize("state", ["ACTIVE", "PENDING"])
def test_a_paused_source_is_held_whatever_its_policy_and_state(
    tmp_path: Path, policy: str, state: str
) -> None:
    """Others go on. When it is resumed, state and policy say what becomes of what was held."""
    rig = PausedRig(
        tmp_path,
        f"sources: ['{BLUE[:-2]}*']",
        ("    target:", f"    on_inactive_source: {policy}\n    target:"),
    )
    rig.state_feed.states[BLUE] = state  # type: ignore[assignment]
    rig.consumer.put(*(record(n, tenant="blue" if n % 2 else "acme") for n in range(40)))

    def paused() -> bool:
        if len(of(rig, ACME)) < 20:
            return False
        assert [] == of(rig, BLUE)
        assert [] == rig.dead_letters.codes
        assert [{"kind": "source", "name": f"{BLUE[:-2]}*", "until": None}] == rig.ready()["pauses"]
        (blue,) = [each for each in rig.health.standings() if each["source"] == BLUE]  # type: ignore[index, call-overload]
        assert {"kind": "source", "name": f"{BLUE[:-2]}*", "until": None} == blue["paused"]  # type: ignore[index, call-overload]
        return metric(rig, "held_by_pauses", topic="orders", partition="0") == 1

    def resumed() -> bool:
        if policy == "hold" and state == "PENDING":
            return not rig.ready()["pauses"] and metric(rig, "held_by_pauses") == 0
        return rig.has_committed(40)

    rig.run_steps(paused, lambda: rig.write(""), resumed)

    is_sent = state == "ACTIVE" or policy == "send"
    assert (list(range(1, 40, 2)) if is_sent else []) == of(rig, BLUE)
    dead = 20 * (state == "PENDING" and policy == "dead_letter")
    assert ["source_inactive"] * dead == rig.dead_letters.codes


def test_a_paused_source_that_is_full_pauses_its_partition_and_is_never_dead_lettered(
    tmp_path: Path,
) -> None:
    """With `when_held_is_full: dead_letter`, and where it is PENDING besides."""
    rig = PausedRig(tmp_path, f"sources: [{BLUE}]", ROOM)
    rig.state_feed.states[BLUE] = "PENDING"
    rig.consumer.put(*(record(n, tenant="blue") for n in range(100)))
    rig.consumer.put(*(record(n, partition=P1) for n in range(100)))

    def full() -> bool:
        assert [] == rig.dead_letters.codes
        held = metric(rig, "held_records")
        return (P0 in rig.consumer.paused, held) == (True, 30) and metric(
            rig, "partitions_paused", reason="pauses"
        ) == 1

    def active() -> None:
        rig.state_feed.change(BLUE, "ACTIVE")

    rig.run_steps(
        full,
        lambda: rig.clock.now_s > 1_100 and not rig.ready()["reasons"],  # it is not taken for stuck
        active,
        lambda: rig.write(""),
        lambda: rig.has_committed(100),
    )

    assert list(range(100)) == of(rig, BLUE)
    assert [] == rig.dead_letters.codes


def test_a_pause_that_begins_under_way_stops_what_was_not_sent(tmp_path: Path) -> None:
    """What a request carries is brought to its end; what it has to send again waits."""
    rig = PausedRig(tmp_path, "", ROOM)
    rig.consumer.put(*(record(n, tenant="blue", key="k") for n in range(100)))
    rig.sink.is_holding = True

    def carried() -> bool:
        return len(of(rig, BLUE)) == 20

    def answered() -> None:
        rig.sink.judge = to_blue(Retriable("InternalFailure", "it broke"))
        rig.sink.answer_held()
        rig.sink.is_holding = False

    def waits() -> bool:
        assert list(range(20)) == of(rig, BLUE)
        return metric(rig, "held_records") == 100

    rig.run_steps(
        carried,
        lambda: rig.write(f"sources: [{BLUE}]"),
        answered,
        waits,
        lambda: setattr(rig.sink, "judge", accept),
        lambda: rig.write(""),
        lambda: rig.has_committed(100),
    )

    assert list(range(100)) == of(rig, BLUE)[20:]
    assert [] == rig.dead_letters.codes


def test_the_time_of_a_pause_is_no_time_in_which_an_event_failed(tmp_path: Path) -> None:
    """An event that failed once before a long pause is tried again after it, and not given up for its age."""
    rig = PausedRig(tmp_path, "", ROOM, ("max_attempts: 3}", "max_attempts: 3, max_age: 60s}"))
    rig.sink.judge = to_blue(Retriable("InternalFailure", "it broke"))
    rig.consumer.put(record(0), record(1, tenant="blue"), record(2))

    def others() -> bool:
        number = 3 + rig.consumer.polls
        rig.consumer.put(record(number, partition=P1))
        return rig.clock.now_s > 1_200

    failed_once: list[int] = []
    rig.run_steps(
        lambda: bool(of(rig, BLUE)),
        lambda: rig.write(f"sources: [{BLUE}]"),
        others,
        lambda: failed_once.append(len(of(rig, BLUE))),
        lambda: rig.write(""),
        lambda: len(of(rig, BLUE)) > failed_once[-1],
        lambda: setattr(rig.sink, "judge", accept),
        lambda: rig.has_committed(3),
    )

    assert [] == rig.dead_letters.codes


def test_a_paused_topic_is_not_read_and_the_other_one_is(tmp_path: Path) -> None:
    """What its records were handed to is delivered; a rebalance leaves it paused."""
    rig = PausedRig(tmp_path, "topics: [orders]", ROOM)
    other = P0._replace(topic="orders-late")
    rig.bridge.on_assigned([other])
    rig.consumer.put(*(record(n) for n in range(10)))
    rig.consumer.put(*(record(n, partition=other, tenant="blue") for n in range(10)))

    def paused() -> bool:
        assert [] == of(rig, ACME)
        assert rig.consumer.paused <= {P0, P1}
        return rig.consumer.committed.get(other) == 10 and rig.ready()["pauses"] != []

    def rebalanced() -> None:
        if not rebalances:
            rebalances.append(1)
            rig.bridge.on_revoked([P0, P1])
            rig.consumer.resume([P0, P1])
            rig.consumer.records[P0].clear()
            rig.consumer.put(*(record(n) for n in range(10)))
            rig.bridge.on_assigned([P0, P1])

    rebalances: list[int] = []
    rig.run_steps(
        paused,
        lambda: metric(rig, "partitions_paused", reason="pauses") == 2,
        rebalanced,
        lambda: rig.clock.now_s > 1_100,
        paused,  # and it is not taken for stuck
        lambda: rig.write("topics: []"),
        lambda: rig.has_committed(10),
    )

    assert list(range(10)) == of(rig, ACME)
    assert 0 == metric(rig, "partitions_paused") + metric(rig, "held_by_pauses")


def test_records_that_the_poll_brings_which_assigns_a_paused_topic_wait(tmp_path: Path) -> None:
    """Between being assigned and being paused a partition may be read: nothing is lost, and nothing sent."""
    rig = PausedRig(tmp_path, "topics: [orders]", ROOM)
    rig.consumer.put(*(record(n) for n in range(250)))

    def read() -> bool:
        assert [] == rig.sink.requests
        return len(rig.consumer.records[P0]) < 250

    rig.run_steps(read, lambda: rig.write(""), lambda: rig.has_committed(250))

    assert list(range(250)) == of(rig, ACME)


def test_a_paused_target_gets_nothing_and_the_other_one_goes_on(tmp_path: Path) -> None:
    """In one partition too, up to what may be held."""
    rig = PausedRig(tmp_path, "targets: [far]", ROOM)
    rig.consumer.put(*(record(n, target="far" if n % 2 else "default") for n in range(40)))

    def paused() -> bool:
        assert all(entry.target == "default" for entries in rig.sink.requests for entry in entries)
        return len(rig.delivered_ids) == 20 and metric(rig, "pauses", kind="target") == 1

    rig.run_steps(paused, lambda: rig.write(""), lambda: rig.has_committed(40))

    assert list(range(1, 40, 2)) == rig.delivered_ids[20:]


def test_a_file_that_breaks_keeps_the_pause_and_the_bridge_stays_ready(tmp_path: Path) -> None:
    """`/readyz` names it, and a metric."""
    rig = PausedRig(tmp_path, f"sources: [{BLUE}]")
    rig.consumer.put(*(record(n, tenant="blue") for n in range(10)))

    def broken() -> bool:
        assert [] == rig.sink.requests
        return "sorces" in str(rig.ready()["pauses_problem"]) and metric(rig, "pauses_unreadable") == 1

    rig.run_steps(
        lambda: metric(rig, "held_records") == 10,
        lambda: rig.write("sorces: []"),
        broken,
        lambda: rig.write("sources: []"),
        lambda: rig.has_committed(10) and rig.ready()["pauses_problem"] is None,
    )

    assert 0 == metric(rig, "pauses_unreadable")


def test_a_stop_leaves_what_is_held_to_the_next_reader_at_once(tmp_path: Path) -> None:
    """A pause must not take the budget of a shutdown."""
    rig = PausedRig(tmp_path, f"sources: [{BLUE}]")
    rig.consumer.put(*(record(n, tenant="blue") for n in range(10)))
    stopped_s: list[float] = []
    rig.run_steps(lambda: metric(rig, "held_records") == 10, lambda: stopped_s.append(rig.clock.now_s + 0.25))

    assert rig.clock.now_s - stopped_s[-1] < 0.5
    assert rig.consumer.committed.get(P0, 0) == 0
    assert [] == rig.sink.requests


@pytest.mark.long
@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(
                ["", f"sources: [{BLUE}]", "targets: [default]", "topics: ['^orders']", "broken: 1"]
            ),
            st.integers(1, 30),
        ),
        max_size=6,
    ),
    policy=st.sampled_from(["hold", "dead_letter", "send"]),
)
def test_however_pauses_come_and_go_nothing_is_lost_and_each_key_keeps_its_order(
    tmp_path: Path, changes: list[tuple[str, int]], policy: str
) -> None:
    """And nothing is dead-lettered for it, nor sent twice."""
    rig = PausedRig(tmp_path, "", ("    target:", f"    on_inactive_source: {policy}\n    target:"))
    rig.consumer.put(*(record(n, tenant="blue" if n % 3 else "acme", key=str(n % 4)) for n in range(300)))
    due = iter([*changes, ("", 0)])
    wait = 0

    def until() -> bool:
        nonlocal wait
        if wait == 0 and (change := next(due, None)) is not None:
            rig.write(change[0])
            wait = change[1]
        wait = max(0, wait - 1)
        rig.clock.now_s += 0.3
        return rig.has_committed(300)

    rig.run(until)

    assert list(range(300)) == sorted(rig.delivered_ids)
    assert [] == rig.dead_letters.codes
    for source in (ACME, BLUE):
        for key in range(4):
            numbers = [n for n in of(rig, source) if n % 4 == key]
            assert numbers == sorted(numbers)
