"""make soak MINUTES=…: one bridge for long, at speed, through rebalances and outages; is anything growing?

The records of an hour at 100 a second, with 10,000 keys and as many sources, in as many minutes as are given.
They count from when the bridge has met every source, since until then it has more to remember by the minute.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests.chaos.machine import Machine
from tests.chaos.schedule import ENDPOINT, plan
from tests.memory import rss_mb

RECORDS = 360_000
KINDS = (*ENDPOINT, "member joins", "member leaves", "leader election", "registry down", "clock 20 min ahead")
LOOKUPS_PER_SECOND = 50.0
"""As README advises whoever has as many sources: each is looked at before its first event is sent."""
MAX_GROWTH_MB = 15.0
"""Between the first and the last third of the time after warming up."""


class Look(NamedTuple):
    at_s: float
    rss_mb: float
    files: int
    threads: int

    def __str__(self) -> str:
        return f"RSS {self.rss_mb:.0f} MB, {self.files} open files, {self.threads} threads"


class Growth(NamedTuple):
    """What became more over time."""

    slope_mb_per_minute: float
    growth_mb: float
    max_mb: float
    files: tuple[int, int]
    """The most that were open in the first and in the last third."""
    threads: tuple[int, int]

    def __str__(self) -> str:
        return (
            f"RSS at most {self.max_mb:.0f} MB, slope {self.slope_mb_per_minute:+.2f} MB a minute, "
            f"last third against first {self.growth_mb:+.1f} MB; open files {self.files[0]} then "
            f"{self.files[1]}, threads {self.threads[0]} then {self.threads[1]}"
        )


def look_up(pid: int, at_s: float) -> Look:
    status = Path(f"/proc/{pid}/status").read_text()
    threads = int(status.partition("Threads:")[2].split()[0])
    return Look(at_s, rss_mb(pid), sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()), threads)


def growth(looks: list[Look]) -> Growth:
    """The trend of what was seen, without the first quarter, in which a process warms up."""
    looks = looks[len(looks) // 4 :]
    mean_s = sum(each.at_s for each in looks) / len(looks)
    mean_mb = sum(each.rss_mb for each in looks) / len(looks)
    over = sum((each.at_s - mean_s) * (each.rss_mb - mean_mb) for each in looks)
    under = sum((each.at_s - mean_s) ** 2 for each in looks)
    first, last = looks[: len(looks) // 3], looks[-(len(looks) // 3) :]
    return Growth(
        slope_mb_per_minute=60 * over / under,
        growth_mb=sum(e.rss_mb for e in last) / len(last) - sum(e.rss_mb for e in first) / len(first),
        max_mb=max(each.rss_mb for each in looks),
        files=(max(each.files for each in first), max(each.files for each in last)),
        threads=(max(each.threads for each in first), max(each.threads for each in last)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    seconds = asked.minutes * 60
    faults = [fault for fault in plan(asked.seed, seconds) if fault.kind in KINDS]
    looks: list[Look] = []
    over = threading.Event()
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        Machine(
            Path(folder),
            seed=asked.seed,
            per_second=round(asked.records / seconds),
            keys=10_000,
            tenants=10_000,
            watches_first=True,
            lookups_per_second=LOOKUPS_PER_SECOND,
            refresh_interval="1m",
            leavers=0,
        ) as machine,
    ):
        watched = machine.bridges[0]

        def watch() -> None:
            machine.began.wait()
            began_s = time.monotonic()
            while not over.wait(1.0):
                if watched.running and (now_s := time.monotonic() - began_s) < seconds:
                    looks.append(look_up(watched.child.pid, now_s))
                    if len(looks) % 60 == 1:
                        print(f"{now_s / 60:.0f} min: {looks[-1]}", flush=True)

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        try:
            result = machine.run(faults, seconds)
        finally:
            over.set()
            machine.began.set()
            watching.join()
    found = growth(looks)
    print(f"{asked.minutes:g} minutes: {found}")
    print(f"{result.balance}; {result.faults.total()} faults")
    if (
        found.growth_mb > MAX_GROWTH_MB
        or found.files[1] > found.files[0] + 5
        or found.threads[1] > found.threads[0] + 3
    ):
        sys.exit("something grows")


if __name__ == "__main__":
    main()
