"""Pauses without a restart, on real Kafka: what is paused waits, the others go on, nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from connector.model import Position
from tests.bridge_process import BridgeProcess
from tests.integration.test_sources import BLUE, TENANTS, notes, numbers, own_keys_in_order
from tests.replaying import Replays
from tests.services.child import wait_until
from tests.topics import Sent
from tests.world import NOTES, World, note

EFFECT_S = 10.0
"""How soon a change of the file counts, at the latest."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of pauses, which does not exist yet."""
    return tmp_path / "pauses.yaml"


def write(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def wait_paused(bridge: BridgeProcess, count: int) -> float:
    """Wait until so much is paused; returns how long that took."""
    began_s = time.monotonic()
    wait_until(
        lambda: len(bridge.ready()[1]["pauses"]) == count,
        what=lambda: f"{count} pauses in {bridge.ready()}",
        timeout_s=EFFECT_S,
    )
    return time.monotonic() - began_s


@contextmanager
def load(world: World, topic: str) -> Iterator[dict[Position, bytes | None]]:
    """Notes of three customers in turn, a few hundred a second, until the context ends."""
    produced: dict[Position, bytes | None] = {}
    stopping = threading.Event()

    def produce() -> None:
        at = 0
        while not stopping.wait(0.1):
            produced.update(world.produce(notes(topic, range(at, at + 30))))
            at += 30

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        yield produced
    finally:
        stopping.set()
        thread.join()


def test_one_source_is_paused_and_resumed_under_load(world: World, file: Path) -> None:
    """Within seconds it gets nothing, and the others all of theirs; then it gets what was held, in order."""
    (partition,) = world.topic("notes")
    settings: dict[str, Any] = world.settings({partition.topic: {**NOTES, "on_inactive_source": "send"}})
    bridge = world.bridge({**settings, "pauses": str(file), "sources": {"max_held_records": 20_000}})
    bridge.start()
    bridge.wait_ready()
    with world.sampler([partition]) as sampler, load(world, partition.topic) as produced:
        world.wait_accepted(300)
        write(file, f"sources: [{BLUE}]\n")
        assert wait_paused(bridge, 1) < EFFECT_S
        paused = len(numbers(world, "blue"))
        others = len(numbers(world, "acme"))
        wait_until(lambda: len(numbers(world, "acme")) > others + 200, what="the others go on")
        assert len(numbers(world, "blue")) <= paused + 20 * 32, "what was in flight came to its end"
        paused = len(numbers(world, "blue"))
        bridge.wait_metric("held_by_pauses", 1)
        wait_until(lambda: len(numbers(world, "acme")) > others + 400, what="the others go on")
        assert paused == len(numbers(world, "blue"))
        with urllib.request.urlopen(f"{bridge.url}/sources", timeout=5) as answer:
            (shown,) = [each for each in json.load(answer)["sources"] if each["source"] == BLUE]
        assert ("ACTIVE", {"kind": "source", "name": BLUE, "until": None}) == (
            shown["state"],
            shown["paused"],
        )
        assert bridge.ready()[0] == 200
        write(file, "")
        wait_paused(bridge, 0)
        wait_until(lambda: len(numbers(world, "blue")) > paused + 400, what="what was held goes out")
    world.wait_settled([partition])
    bridge.sigterm()

    balance = world.balance(produced, order="key", samples=sampler.samples)
    assert (len(produced), 0) == (balance.delivered, balance.duplicates)
    assert [] == world.letters()
    assert all(own_keys_in_order(world, tenant) for tenant in TENANTS)
    assert ["paused", "resumed"] == [
        line["event"] for line in bridge.lines() if line.get("event") in {"paused", "resumed"}
    ]


def test_a_paused_topic_stays_so_through_a_rebalance_and_the_other_topic_goes_on(
    world: World, file: Path
) -> None:
    """A second bridge gets some of its partitions, and reads nothing of them either."""
    late = world.topic("late", partitions=4)
    (flows,) = world.topic("flows")
    write(file, f"topics: [{late[0].topic}]\n")
    produced = world.produce(
        [Sent(late[0].topic, note(n, tenant="blue"), b"k", partition=n % 4) for n in range(400)]
    )
    settings = {
        **world.settings({late[0].topic: NOTES, flows.topic: NOTES}, http={"port": 0}),
        "pauses": str(file),
    }
    first, second = (world.bridge(settings, name=name) for name in ("first", "second"))
    first.start()
    first.wait_metric("partitions_paused", 4, reason="pauses")
    second.start()
    second.wait_ready()
    wait_until(
        lambda: (
            first.metric("partitions_paused") + second.metric("partitions_paused") == 4
            and second.metric("partitions_assigned") > 0
        ),
        what=lambda: f"both have their part, and all is paused\n{world.log()}",
    )
    produced |= world.produce([Sent(flows.topic, note(n), b"k") for n in range(200)])
    world.wait_settled([flows])
    assert [] == numbers(world, "blue")

    write(file, "")
    world.wait_settled([*late, flows])
    for bridge in (first, second):
        bridge.sigterm()

    assert 600 == world.balance(produced, order="partition").delivered


def test_a_paused_target_and_a_file_that_breaks_meanwhile(world: World, file: Path) -> None:
    """What was in force stays so, `/readyz` names the file, and the other target goes on."""
    far, near = world.topic("far")[0], world.topic("near")[0]
    write(file, "targets: [far]\n")
    produced = world.produce([Sent(far.topic, note(n, tenant="blue"), b"k") for n in range(2_500)])
    produced |= world.produce([Sent(near.topic, note(n), b"k") for n in range(300)])
    settings = world.settings({far.topic: {**NOTES, "target": "far"}, near.topic: NOTES})
    settings["targets"] = {"far": {**settings["eventbridge"], "region": "us-east-1"}}
    bridge = world.bridge({**settings, "pauses": str(file)})
    bridge.start()
    world.wait_settled([near])
    bridge.wait_metric("partitions_paused", 1, reason="pauses")
    assert 1_000 == bridge.metric("held_records", target="far")

    write(file, "targets: [far\n")
    bridge.wait_metric("pauses_unreadable", 1)
    status, details = bridge.ready()
    assert (200, 1) == (status, len(details["pauses"]))
    assert f"{file} cannot be used, and what was in force stays so" in details["pauses_problem"]
    assert [] == numbers(world, "blue")

    write(file, "[]\n")
    world.wait_settled([far, near])
    assert 0 == bridge.metric("pauses_unreadable")
    bridge.sigterm()

    assert 2_800 == world.balance(produced, order="partition").delivered
    assert [] == world.letters()


def test_a_replay_leaves_letters_of_a_paused_source_open(world: World, file: Path, tmp_path: Path) -> None:
    """Its plan says so, and the same replay sends them once the source is resumed."""
    write(file, f"sources: [{BLUE}]\n")
    replays = Replays(world, tmp_path)
    with closing(replays):
        replays.settings["pauses"] = str(file)
        replays.write(replays.letter(n, value=note(n, tenant="blue" if n % 2 else "acme")) for n in range(40))

        plan = " ".join(replays.run(code=4).split())
        replays.execute(code=4)
        assert "its source is paused until it is resumed" in plan
        assert (20, 0) == (len(numbers(world, "acme")), len(numbers(world, "blue")))

        write(file, "")
        replays.execute()
        assert (20, 20) == (len(numbers(world, "acme")), len(numbers(world, "blue")))


def test_the_commands_pause_and_resume_what_a_running_bridge_sends(world: World, file: Path) -> None:
    """`--for` ends by itself; `resume` at once."""
    (partition,) = world.topic("notes")
    bridge = world.bridge({**world.settings({partition.topic: NOTES}), "pauses": str(file)})
    bridge.start()
    command("pause", BLUE, file)
    wait_paused(bridge, 1)
    produced = world.produce(notes(partition.topic, range(30)))
    world.wait_accepted(20)
    bridge.wait_metric("held_records", 10)
    command("resume", BLUE, file)
    world.wait_settled([partition])

    command("pause", BLUE, file, "--for", "8s")
    wait_paused(bridge, 1)
    produced |= world.produce(notes(partition.topic, range(30, 60)))
    world.wait_accepted(50)
    bridge.wait_metric("held_records", 10)
    world.wait_settled([partition])
    wait_paused(bridge, 0)
    bridge.sigterm()

    assert 60 == world.balance(produced, order="key").delivered


def command(name: str, source: str, file: Path, *options: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "connector", "source", name, source, "--file", str(file), *options],
        check=True,
        timeout=60,
    )
