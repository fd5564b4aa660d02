"""Child processes that never outlive the test run."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

LOOK_LIMIT_S = 0.25
"""More than a look at a condition takes where the machine has time for us."""
WALL_LIMIT = 5
"""No wait takes more than so many times what it is given, unless told otherwise."""


@contextlib.contextmanager
def signals_kept_back() -> Iterator[None]:
    """Processes that are started meanwhile hear of a signal only once they want to, as those of the image."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def free_ports(count: int) -> list[int]:
    """Answers `count` different ports of 127.0.0.1 on which nothing listens now.

    They lie below those that the kernel gives to outgoing connections, so that a part that is down for a
    while finds its port free when it comes back.
    """
    ports: list[int] = []
    candidates = iter(random.SystemRandom().sample(range(20_000, 32_000), 1_000))
    while len(ports) < count:
        with socket.socket() as each, contextlib.suppress(OSError):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", next(candidates)))
            ports.append(int(each.getsockname()[1]))
    return ports


def listening(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_until(
    condition: Callable[[], bool],
    *,
    what: str | Callable[[], str],
    timeout_s: float = 60,
    every_s: float = 0.05,
    wall_limit: float = WALL_LIMIT,
) -> None:
    """Returns as soon as `condition` holds; raises AssertionError naming `what` after `timeout_s`.

    Time is counted by looks at the condition, of which none counts more than `LOOK_LIMIT_S`: while a machine
    stands still, the deadline does too, up to `wall_limit` times what was given.
    """
    left_s, ends_s = timeout_s, time.monotonic() + wall_limit * timeout_s
    while True:
        began_s = time.monotonic()
        if condition():
            return
        if left_s < 0 or began_s > ends_s:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {timeout_s:g} s: {text}")
        time.sleep(every_s)  # between two looks at a condition, under a deadline
        left_s -= min(time.monotonic() - began_s, LOOK_LIMIT_S + every_s)


class Child:
    """One program that can be stopped, killed and started again, with everything it prints in one log file.

    It is killed when the tests end, however they end: at exit by pid, and on Linux by the kernel
    when the test process itself was killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        source_gate = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        self._command = [*source_gate, *command]
        self._environ = {**os.environ, **(environ or {})}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log

    def start(self) -> None:
        assert not self.running, "already running"
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._environ,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C is for the tests: they stop their children in order
            )
        atexit.register(self.kill)

    @property
    def pid(self) -> int:
        assert self._process is not None, "never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        return self._process.poll() if self._process else None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self, *, timeout_s: float) -> int:
        """Answers the exit code; raises AssertionError with the end of the log when that takes longer."""
        assert self._process is not None, "never started"
        wait_until(
            lambda: not self.running,
            what=lambda: f"pid {self.pid} ends\n{self.tail()}",
            timeout_s=timeout_s,
            every_s=0.01,
        )
        return self._process.wait()

    def stop(self, *, timeout_s: float = 30) -> int | None:
        """Asks it to end with SIGTERM, and answers its exit code; kills it when it does not end in time."""
        if self.running:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(AssertionError):
                self.wait(timeout_s=timeout_s)
        self.kill()
        return self.exit_code

    def kill(self) -> None:
        """Ends it with SIGKILL, at once."""
        if self._process is not None and self.running:
            self._process.kill()
            self._process.wait()
        atexit.unregister(self.kill)

    def remove(self) -> None:
        """Ends it for good."""
        self.kill()

    def output(self) -> str:
        """Everything it has printed since it was first started."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 40) -> str:
        """The end of what it printed, for failure messages."""
        return "\n".join(self.output().splitlines()[-lines:])
