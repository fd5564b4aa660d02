"""Where downloads are kept: outside the checkout, filled once, shared by every test run of this user."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

FETCH_TIMEOUT_S = 600.0


def root() -> Path:
    """The cache folder: `$XDG_CACHE_HOME/kafka-partner-bridge`, by default under `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kafka-partner-bridge"


def folder(name: str, fill: Callable[[Path], None]) -> Path:
    """Answers the cached folder `name`, and makes it first with `fill(empty folder)` where it is missing.

    Safe when two test runs ask at once: one fills, the other waits. A fill that fails or is killed
    leaves nothing behind that a later run would take for complete.
    """
    final = root() / name
    if final.exists():
        return final
    root().mkdir(parents=True, exist_ok=True)
    with (root() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not final.exists():
            partial = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=root()))
            try:
                fill(partial)
                partial.rename(final)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return final
