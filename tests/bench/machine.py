"""The machine under the measurements: what it is, and what else it did meanwhile."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("confluent-kafka", "fastavro", "orjson", "boto3", "botocore", "aiohttp")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_BUSY = (0, 1, 2, 5, 6, 7)
"""The columns of /proc/stat that are work: user, nice, system, irq, softirq, stolen."""


class OtherWork:
    """Measures how much of the machine others than this process and its descendants take, from now on.

    A broker that is no child of ours, as one in a container, counts among the others.
    """

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._busy_s, self._own_s = _busy_s(), own_s()

    def share(self) -> float:
        """The share of all cores, 0 to 1."""
        other_s = (_busy_s() - self._busy_s) - (own_s() - self._own_s)
        return max(0.0, other_s / (time.monotonic() - self._began_s) / (os.cpu_count() or 1))


def described(kafka: str) -> dict[str, str]:
    """What figures are taken on, and with which versions; `kafka` says which broker it is."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "commit": _commit(),
        "machine": f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "Kafka": kafka,
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in LIBRARIES)]
        ),
    }


def _busy_s() -> float:
    columns = Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    return sum(int(columns[place]) for place in _BUSY) / _TICKS_PER_S


def own_s() -> float:
    """CPU seconds of this process and all descendants, those that have ended included."""
    ticks, pids = 0, [os.getpid()]
    while pids:
        folder = Path(f"/proc/{pids.pop()}")
        try:
            ticks += sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:15]))
            for task in (folder / "task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # it has just ended; its parent has its time
    return ticks / _TICKS_PER_S


def _commit() -> str:
    """The commit, with a + where the files are not what it holds."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "--short", "HEAD")
    if commit is None:
        return "none"
    return f"{commit}+" if git("status", "--porcelain", "--", ":!/docs/performance") else commit
