"""Where downloads are kept: outside the checkout, filled once, shared by every test run of this user."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.services import MissingServiceError

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


def maven(*goal: str, into: Path) -> None:
    """Runs one Maven goal that puts artifacts of Maven Central into the folder `into`."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise MissingServiceError(f"`{tool}` is not installed (Java 17 or newer and Maven are needed)")
    command = ["mvn", "--batch-mode", "--quiet", *goal, f"-DoutputDirectory={into}"]
    try:
        subprocess.run(command, check=True, timeout=FETCH_TIMEOUT_S, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        lines = [line for line in (error.stdout + error.stderr).splitlines() if "[ERROR]" in line]
        raise MissingServiceError(f"Maven could not fetch {goal[-1]}: {' '.join(lines[:1])}") from error
    except subprocess.TimeoutExpired as error:
        raise MissingServiceError(f"Maven did not fetch {goal[-1]} in {FETCH_TIMEOUT_S:.0f} s") from error
