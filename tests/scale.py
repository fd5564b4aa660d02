"""How much the largest tests do: what shows a fault in CI, or what users have, by `make acceptance`."""

from __future__ import annotations

import os

FULL = bool(os.environ.get("FULL_SCALE"))


def scaled(usual: int, full: int) -> int:
    """The first of these in `make test`; the second at full scale."""
    return full if FULL else usual
