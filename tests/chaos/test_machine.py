"""The fault machine accuses a bridge of what the bridge did, and of nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from connector.model import Partition
from connector.sandbox.eventbridge import DroppedEvent
from tests.bridge_process import BridgeProcess
from tests.chaos import machine as machines
from tests.chaos.machine import SILENT_S, TRIES, Machine, asked_of_kafka
from tests.chaos.schedule import Planned
from tests.services.child import Child

AWAY = KafkaException(KafkaError(KafkaError._DESTROY_BROKER, "broker handle destroyed"))
SLOW = TimeoutError("no answer within 30 s")


@pytest.mark.parametrize("error", [AWAY, SLOW, ConnectionError("the broker went away")])
def test_kafka_is_asked_again(error: Exception) -> None:
    """While a broker is away there are many ways not to get an answer; the next one may come."""
    errors = [error, error]

    def ask() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert "done" == asked_of_kafka(ask, lambda _: None)


def test_what_kafka_does_not_do_is_left_out() -> None:
    """It ends at some time, without a complaint."""
    pauses: list[float] = []

    def ask() -> str:
        raise AWAY

    assert asked_of_kafka(ask, pauses.append) is None
    assert TRIES == len(pauses)


def test_nothing_else_is_excused() -> None:
    """What is no trouble with Kafka is a mistake of the machine, or a finding."""

    def ask() -> str:
        raise AssertionError("a finding")

    with pytest.raises(AssertionError, match="a finding"):
        asked_of_kafka(ask, lambda _: None)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One of which nothing runs; it waits for nothing."""
    made = Machine(tmp_path, seed=1)
    made._over.wait = lambda timeout=None: made._over.is_set()  # type: ignore[method-assign]
    made._closed.set()
    made.topics = {"orders": "hold"}
    return made


def played(machine: Machine, kind: str) -> None:
    machine._play([Planned(0.0, "kafka", kind, 0.0, 0.0)], 0.0, float("inf"), threading.Event())


@pytest.mark.parametrize(("kind", "part"), [("more partitions", "_widened"), ("leader election", "_elected")])
def test_a_fault_that_could_not_be_brought_about_is_no_finding(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, kind: str, part: str
) -> None:
    """The machine's own call gets no answer, for a broker is away: not counted, and the run goes on."""

    def fail(*_: object) -> None:
        raise AWAY

    monkeypatch.setattr(machine, part, fail)
    played(machine, kind)

    assert (0, []) == (machine.faults.total(), machine.problems)
    assert not machine._over.is_set()


def test_a_finding_ends_the_run(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge that did not stop in order is accused, also where the error is one that Kafka's tools have. A
    mistake of the machine shows as well."""
    for error in (AssertionError("it ended with 1, not 0"), AWAY, SystemError("a bug")):

        @contextmanager
        def found(_: float, error: Exception = error) -> Iterator[bool]:
            yield True
            raise error

        monkeypatch.setattr(machine, "_terminated", found)
        machine.problems.clear()
        machine._over.clear()
        played(machine, "SIGTERM")

        assert 1 == len(machine.problems)
        assert machine._over.is_set()


def test_more_partitions_that_were_made_without_an_answer_count(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Kafka did is noted, so that the new partition is watched, whatever became of the answer."""
    made: list[int] = []

    class Admin:
        def __init__(self, _: object) -> None: ...

        def create_partitions(self, _: object, **__: object) -> None:
            made.append(1)
            raise AWAY

    class Topics:
        def partitions(self, topic: str) -> list[Partition]:
            return [Partition(topic, number) for number in range(len(made) + 2)]

    class Around:
        topics, client = Topics(), {"bootstrap.servers": "nowhere"}

    machine.partitions = [Partition("orders", 0), Partition("orders", 1)]
    machine.world = machine.cluster = Around()  # type: ignore[assignment]
    monkeypatch.setattr(machines, "AdminClient", Admin)
    played(machine, "more partitions")

    assert [1] == made
    assert 3 == len(machine.partitions)
    assert {"more partitions": 1} == machine.faults
    assert [] == machine.problems


@pytest.mark.parametrize(
    ("seen_s", "received_s", "is_finding"),
    [
        (None, 100.0, False),  # never told, or told that it is ACTIVE
        (10.0, 10.9, False),  # may have been under way before the answer
        (10.0, 11.1, True),
        (19.5, 30.4, False),  # of the 10.9 s the bridge stood still for 10
        (18.0, 30.5, True),
        (31.0, 33.0, True),  # it stood still before
    ],
)
def test_the_void_is_a_finding_where_the_bridge_had_seen_it(
    machine: Machine, seen_s: float | None, received_s: float, is_finding: bool
) -> None:
    """Told so over a second before, not counting the time in which it was stopped."""
    machine._spells["bridge-1.1"] = [(20.0, 30.0)]

    assert is_finding == machine._was_seen(DroppedEvent("bridge-1.1", "source", "{}", received_s, seen_s))


class Silent:
    """A bridge that runs, and of which nothing answers."""

    has_failed = False
    running = True

    def __init__(self) -> None:
        self.child = object()

    def live(self) -> bool:
        raise ConnectionRefusedError

    def log(self) -> str:
        return "started"


def test_a_process_has_its_own_time_to_answer(machine: Machine) -> None:
    """One that is started again on a port that was in use before is not silent since then."""
    bridge = Silent()
    heard_s: dict[Child, float] = {}

    def problem(now_s: float) -> str | None:
        return machine._asked(cast("BridgeProcess", bridge), heard_s, now_s)

    assert problem(0.0) is None
    bridge.child = object()
    assert problem(100.0) is None
    assert problem(100.0 + SILENT_S) is None
    assert "HTTP is silent" in str(problem(101.0 + SILENT_S))
