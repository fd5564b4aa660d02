"""make chaos SEED=… MINUTES=…: plays the faults of a seed, prints what it was and what it came to."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.machine import Machine, Result
from tests.chaos.schedule import KINDS, plan


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="0 for one by chance")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--each", action="store_true", help="each kind once, alone, with the time to recover")
    asked = parser.parse_args()
    seed = asked.seed or secrets.randbits(31)
    print(f"seed {seed}, {asked.minutes:g} minutes; play it again with: make chaos SEED={seed}", flush=True)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, Machine(Path(folder), seed=seed) as machine:
        try:
            if asked.each:
                recovered_s, result = machine.each(KINDS)
                for kind, seconds in recovered_s.items():
                    print(f"| {kind} | {seconds:.1f} s |")
            else:
                result = machine.run(plan(seed, asked.minutes * 60), asked.minutes * 60)
        except AssertionError as error:
            print(f"seed {seed} FAILED after {time.monotonic() - began_s:.0f} s:\n{error}")
            print("\n".join(machine.problems[:5]))
            sys.exit(1)
    print(report(result))


def report(result: Result) -> str:
    """The figures, as lines."""
    balance = result.balance
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(result.faults.items()))
    struck = ", ".join(f"{kind} {count}" for kind, count in sorted(result.struck.items()))
    return "\n".join(
        [
            str(balance),
            "lost 0, no commit too high",
            f"dropped while PENDING, before the bridge had seen so: {balance.dropped}",
            "sent to a source that was not ACTIVE and had been seen so: 0",
            f"faults {result.faults.total()}: {faults}",
            f"partitions that elections gave another leader: {result.moved_leaders}",
            f"requests and entries of EventBridge struck: {struck}",
            f"duplicates {balance.duplicate_ratio:.1%}, samples of commits {result.samples}, "
            f"largest process {result.max_rss_mb:.0f} MB",
        ]
    )


if __name__ == "__main__":
    main()
