"""What Linux says of the memory of a process."""

from __future__ import annotations

import os
import re
from pathlib import Path


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_rss_kb(status: str) -> int | None:
    """The most that was ever resident, from `/proc/<pid>/status`; None for a process that has ended.

    Unlike `ru_maxrss`, which across fork and exec keeps what the parent had.
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return None if found is None else int(found[1])
