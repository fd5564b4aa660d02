"""A shadow run inside a test."""

from __future__ import annotations

from connector.workbench.shadow_run import ShadowRun


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
