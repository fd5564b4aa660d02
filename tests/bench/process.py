"""A Python program under measurement: started, stopped, and watched through `/proc`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bridge_process import AWS_ENVIRON
from tests.memory import peak_rss_kb
from tests.services.child import Child

_STOP_TIMEOUT_S = 60.0
_SCHEDULED = 2
"""With a process id, the clock of its CPU time: clock_getcpuclockid(3), which Python does not have."""

# A program in production has its bytecode at hand; an empty value means "do write it".
ENVIRON = {**os.environ, **AWS_ENVIRON, "PYTHONDONTWRITEBYTECODE": ""}


class BenchError(Exception):
    """A run did not come to its end, so there is nothing to report; the message says why."""


def say(text: str) -> None:
    """Prints what a run is at, with the time, to stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Process:
    """One child with the test credentials, which ends with us whatever happens."""

    def __init__(self, name: str, arguments: Sequence[str], *, log: Path) -> None:
        self.name = name
        self._child = Child([sys.executable, *arguments], log=log, environ=ENVIRON)

    def start(self) -> None:
        self._child.start()

    def kill(self) -> None:
        self._child.kill()

    def check(self) -> None:
        """Raises BenchError with the end of its log where it has ended by itself."""
        if not self._child.running:
            raise BenchError(f"{self.name} ended with {self._child.exit_code}:\n{self._child.tail()}")

    def terminate(self) -> tuple[float, int]:
        """Sends SIGTERM, and answers the seconds until it ended and its exit code."""
        began_s = time.monotonic()
        self._child.signal(signal.SIGTERM)
        try:
            code = self._child.wait(timeout_s=_STOP_TIMEOUT_S)
        except AssertionError as error:
            raise BenchError(f"{self.name} did not stop: {error}") from None
        return time.monotonic() - began_s, code

    def cpu_s(self) -> float:
        """CPU seconds, user and system, of all its threads since it was started."""
        self.check()
        return time.clock_gettime((~self._child.pid << 3) | _SCHEDULED)

    def peak_rss_bytes(self, *, with_children: bool = False) -> int:
        """The most memory it ever had resident; with that of the processes it has now, added up."""
        children = self._proc(f"task/{self._child.pid}/children").split() if with_children else []
        own = self._peak_rss_bytes(self._proc("status"))
        return own + sum(self._peak_rss_bytes(Path(f"/proc/{pid}/status").read_text()) for pid in children)

    def _peak_rss_bytes(self, status: str) -> int:
        peak_kb = peak_rss_kb(status)
        if peak_kb is None:
            raise BenchError(f"{self.name}: /proc says nothing of its memory")
        return peak_kb * 1024

    def tail(self) -> str:
        """The end of what it printed."""
        return self._child.tail()

    def _proc(self, file: str) -> str:
        self.check()
        return Path(f"/proc/{self._child.pid}/{file}").read_text()
