"""A shadow run inside a test."""

from __future__ import annotations

import threading
from collections.abc import Callable

from connector.workbench.shadow_run import ShadowRun
from tests.services.child import wait_until


def read_records(run: ShadowRun, count: int) -> None:
    """Reads until so many records were mapped, and expects no more."""
    done = 0

    def advanced(more: int) -> None:
        nonlocal done
        done += more
        if done >= count:
            run.stop()

    run.read(60, advanced=advanced)
    assert count == done


def read_until(run: ShadowRun, condition: Callable[[], bool]) -> None:
    """Reads until the condition holds."""

    def watch() -> None:
        try:
            wait_until(condition, what="the state of the dry run")
        finally:
            run.stop()

    watching = threading.Thread(target=watch)
    watching.start()
    run.read(600)
    watching.join()
    run._stopping = False  # it goes on afterwards
    assert condition()
