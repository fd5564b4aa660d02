"""What is shown of a bug: where it happened, and nothing that it may quote of a record."""

from __future__ import annotations

import sys
import threading
import traceback

from connector.errors import ConnectorError

MESSAGE = (
    "This is a bug in partner-bridge. Please report it with the traceback above. What foreign errors say is "
    "left out of it, since they may quote a record."
)


def traceback_without_values(raised: BaseException) -> str:
    """A traceback that has the text of our own exceptions only.

    The text of foreign ones may quote what they choked on, which may be a piece of a record. That of
    OSError says what the system refused.
    """
    parts: list[str] = []
    cause: BaseException | None = raised
    while cause is not None:
        text = f": {cause}" if isinstance(cause, ConnectorError | OSError) else ""
        parts.append("".join(traceback.format_tb(cause.__traceback__)) + type(cause).__qualname__ + text)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n\n".join(reversed(parts))


def tell(raised: BaseException | None) -> None:
    """Say on stderr that this is a bug, and where. Nothing happens for an exit, or for Ctrl-C."""
    if isinstance(raised, Exception):
        sys.stderr.write(f"{traceback_without_values(raised)}\n{MESSAGE}\n")


def tell_instead_of_python() -> None:
    """From now on tell so what Python would print: what ends the process or a thread, or is ignored."""
    sys.excepthook = lambda _kind, raised, _traceback: tell(raised)
    threading.excepthook = lambda bug: tell(bug.exc_value)
    sys.unraisablehook = lambda bug: tell(bug.exc_value)
