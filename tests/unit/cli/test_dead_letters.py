"""The arguments of `dead-letters`."""

from __future__ import annotations

from typing import get_args

from connector.cli.dead_letters import STATES
from connector.dead_letters.selection import Wanted


def test_state_takes_every_state_that_can_be_selected() -> None:
    """The command line names them itself, since importing the selection would slow `--help`."""
    assert get_args(Wanted) == STATES
