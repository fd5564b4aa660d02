"""Python's garbage collector, tuned to how this program uses memory."""

from __future__ import annotations

import gc


def calm() -> None:
    """Look for cycles of objects less often: what a record leaves behind holds none.

    Thousands of pending records are thousands of live objects, and each full collection would walk
    all of them to find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
