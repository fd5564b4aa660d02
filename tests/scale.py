"""How much the largest tests do: what shows a fault in CI, or what users have, by `make acceptance`."""

from __future__ import annotations

import os

FULL = os.environ.get("FULL_SCALE", "0") != "0"


def scaled(usual: int, full: int) -> int:
    """The first of these in `make test`; the second at full scale."""
    return full if FULL else usual
