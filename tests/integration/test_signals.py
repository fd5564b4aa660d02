"""A signal at any moment: each command ends within two seconds, whatever it waits for."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.bridge_process import AWS_ENVIRON
from tests.replaying import Replays
from tests.services.child import free_ports, signals_kept_back, wait_until
from tests.services.kafka import KafkaCluster
from tests.world import NOTES, World, spread

MOMENTS_S = (0.0, 0.1, 0.3, 0.6, 1.0, 2.0)
"""After the start. The first ones come before anything of ours was imported."""
END_S = 2.0

COMMANDS: Mapping[str, tuple[int, Sequence[str]]] = {
    "run": (0, ["run"]),
    "check": (143, ["check", "--connect"]),
    "list": (143, ["dead-letters", "list"]),
    "show": (143, ["dead-letters", "show", "letters/0/0"]),
    "discard": (143, ["dead-letters", "discard", "--reason", "old", "--execute"]),
    "plan": (143, ["dead-letters", "replay"]),
    "replay": (143, ["dead-letters", "replay", "--execute"]),
    "source list": (143, ["source", "list"]),
    "source create": (143, ["source", "create", "aws.partner/example.com/acme", "--account", "111122223333"]),
    "source ping": (143, ["source", "ping", "aws.partner/example.com/acme"]),
    "sandbox": (0, ["sandbox", "--eventbridge-port", "0"]),
    "demo": (143, ["demo", "--records", "100000"]),
}
"""By name: the exit code after a SIGTERM, and the arguments. None ends by itself within three seconds."""


class Nowhere(NamedTuple):
    """An address behind which nobody answers: it takes connections, or it does not even do that."""

    port: int
    what: str


@pytest.fixture(scope="module")
def silent() -> Iterator[Nowhere]:
    """The kernel completes every connection, and nobody ever reads from one."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        yield Nowhere(listener.getsockname()[1], "silent")


@pytest.fixture(scope="module")
def closed() -> Iterator[Nowhere]:
    """The kernel lets nobody in any more, as a firewall that drops: connecting takes for ever."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield Nowhere(listener.getsockname()[1], "closed")


def configured(folder: Path, nowhere: Nowhere) -> Path:
    """A configuration of which nothing answers."""
    topic = {**NOTES, "value": {"format": "avro"}}
    settings = {
        "kafka": {"bootstrap.servers": f"127.0.0.1:{nowhere.port}", "group.id": "nobody"},
        "schema_registry": {"url": f"http://127.0.0.1:{nowhere.port}"},
        "eventbridge": {"region": "eu-central-1", "endpoint_url": f"http://127.0.0.1:{nowhere.port}"},
        "dead_letter": {"topic": "letters"},
        "http": {"host": "127.0.0.1", "port": 0},
        "topics": {"notes": topic},
    }
    file = folder / "bridge.yaml"
    file.write_text(json.dumps(settings))
    return file


def started(
    arguments: Sequence[str], file: Path | None, *, before: Sequence[str] = (), kept_back: bool = True
) -> subprocess.Popen[bytes]:
    """A command as the image starts it: signals are kept back until there is somebody to hear them."""
    environ = {**os.environ, **AWS_ENVIRON}
    if file is not None:
        environ["BRIDGE_CONFIG"] = str(file)
        environ["BRIDGE_HTTP__PORT"] = str(free_ports(1)[0])
    with signals_kept_back() if kept_back else contextlib.nullcontext():
        return subprocess.Popen(
            [*before, sys.executable, "-m", "connector", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environ,
            start_new_session=True,
        )


def ended(child: subprocess.Popen[bytes], code: int, *, when: str) -> None:
    """Expects the end of a process that was told to, soon, with this code and without a traceback."""
    try:
        _, talk = child.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        _, talk = child.communicate()
        pytest.fail(f"{when}: it had not ended {END_S:g} s after the signal:\n{talk.decode()[-2000:]}")

    assert (code, False) == (child.returncode, b"Traceback" in talk), f"{when}:\n{talk.decode()[-2000:]}"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_term_at_any_moment_ends_a_command(name: str, silent: Nowhere, tmp_path: Path) -> None:
    """While it imports, connects and waits: it is heard, and answered with the code that README promises."""
    code, arguments = COMMANDS[name]
    file = None if name in {"demo", "sandbox"} else configured(tmp_path, silent)
    begun: dict[float, tuple[float, subprocess.Popen[bytes]]] = {}
    for moment_s in sorted(MOMENTS_S, reverse=True):
        # The last one first, so that all of them are told at about the same time.
        begun[moment_s] = (time.monotonic(), started(arguments, file))
        earlier_s = max((each for each in MOMENTS_S if each < moment_s), default=moment_s)
        wait_for(begun[moment_s][0] + moment_s - earlier_s)
    for _, child in begun.values():
        assert child.poll() is None, f"it ended by itself: {child.communicate()[1].decode()}"
        child.send_signal(signal.SIGTERM)
    for moment_s, (_, child) in begun.items():
        ended(child, code, when=f"{name} at {moment_s:g} s")
        assert [] == left_of(child.pid)


@pytest.mark.parametrize("name", ["run", "check", "list", "replay", "source list"])
def test_ctrl_c_ends_a_command_that_cannot_connect(name: str, closed: Nowhere, tmp_path: Path) -> None:
    """The same for SIGINT, and behind a firewall that drops."""
    code, arguments = COMMANDS[name]
    child = started(arguments, configured(tmp_path, closed))
    wait_for(time.monotonic() + 2)
    child.send_signal(signal.SIGINT)

    ended(child, code and 130, when=name)


def wait_for(moment_s: float) -> None:
    """Returns at this moment: when a signal comes is what these tests are about."""
    while (left_s := moment_s - time.monotonic()) > 0:
        time.sleep(left_s)


def left_of(session: int) -> list[str]:
    """The processes of a session that run still."""
    found = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, its = each.read_text().rpartition(")")[2].split()[:4]
            if int(its) == session and state not in "ZX":
                found.append(each.parent.name)
    return found


# Process 1 -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def as_process_1() -> Sequence[str]:
    """What makes a command process 1 of a namespace of its own, as in a container."""
    for options in ([], ["--user", "--map-root-user"]):
        way = ["unshare", *options, "--pid", "--fork", "--kill-child"]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run([*way, "true"], check=True, capture_output=True)
            return way
    pytest.skip("no namespace of processes can be made here; the test of the image shows the same")


@pytest.mark.parametrize("kept_back", [True, False], ids=["kept back", "not kept back"])
@pytest.mark.parametrize("name", ["run", "list"])
def test_a_term_is_not_lost_on_process_1(
    name: str, kept_back: bool, as_process_1: Sequence[str], silent: Nowhere, tmp_path: Path
) -> None:
    """For process 1 the kernel ignores a signal without a handler. Started as the image does it, no moment is
    too early; else Python itself takes a moment."""
    code, arguments = COMMANDS[name]
    moments_s = MOMENTS_S if kept_back else MOMENTS_S[2:]
    for moment_s in moments_s:
        outer = started(arguments, configured(tmp_path, silent), before=as_process_1, kept_back=kept_back)
        first = first_child(outer.pid)
        wait_for(time.monotonic() + moment_s)
        os.kill(first, signal.SIGTERM)

        ended(outer, code, when=f"{name} as process 1 at {moment_s:g} s")


def first_child(pid: int) -> int:
    found: list[int] = []

    def has_child() -> bool:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found.extend(map(int, children))
        return bool(found)

    wait_until(has_child, what="unshare has a child", every_s=0.001)
    return found[0]


# With work in flight ---------------------------------------------------------------------------------


def test_a_replay_ends_in_time_while_eventbridge_hangs(world: World, tmp_path: Path) -> None:
    """Both of its processes. What has no answer by then stays open; what was accepted before is recorded, and
    not sent again."""
    replays = Replays(world, tmp_path)
    replays.write(replays.letter(number, key=key) for number, key in spread(5_000))
    world.aws.script({"faults": [{"kind": "hang", "after": 5, "accept": False}]})
    child = replays.start("--execute", "--rate", "0")
    replays.wait_accepted(50, child)
    wait_until(lambda: world.aws.counts().faults["hang"] > 0, what=child.tail)
    reader = first_child(child.pid)
    assert [str(reader)] == left_of(reader), "it has a session of its own"

    began_s = time.monotonic()
    child.signal(signal.SIGTERM)
    code = child.wait(timeout_s=10)
    took_s = time.monotonic() - began_s
    wait_until(lambda: not left_of(reader), what="what read for it ends too", timeout_s=2)
    sent, recorded = len(replays.sent()), len(replays.resolutions())
    world.aws.calm()
    replays.execute()
    replays.close()

    assert 143 == code, child.tail()
    assert END_S > took_s
    assert sent == recorded
    assert 5_000 == len(replays.sent()) == len(set(replays.sent()))


def test_a_replay_ends_in_time_while_kafka_stands_still(
    own_world: World, own_kafka: KafkaCluster, tmp_path: Path
) -> None:
    """It cannot record what was sent; that is sent again, with the same event id."""
    replays = Replays(own_world, tmp_path)
    replays.write(replays.letter(number, key=key) for number, key in spread(2_000))
    own_world.aws.script({"latency_ms": 100})
    child = replays.start("--execute", "--rate", "200")
    replays.wait_accepted(100, child)
    own_kafka.freeze()

    began_s = time.monotonic()
    child.signal(signal.SIGTERM)
    code = child.wait(timeout_s=10)
    took_s = time.monotonic() - began_s
    own_kafka.thaw()
    replays.execute()
    replays.close()

    assert 143 == code, child.tail()
    assert END_S > took_s
    assert 2_000 == len(set(replays.sent()))
