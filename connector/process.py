"""The process: signals from its first moment on, its exit codes, garbage collection, and crash reports.

Imports little, since it is imported before everything else.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from connector.errors import ConnectorError

SIGNALS = (signal.SIGTERM, signal.SIGINT)

LAST_ACTS_S = 0.5
"""How long what `before_ending` asked for may take. A pipe that nobody reads must not keep the process."""

EXIT_UNWRITTEN = 1
"""The output could not be written, to a full disk for instance; Python's own code for an error."""

_SHOW_CURSOR = "\x1b[?25h"


class _Stopping:
    """What a signal does at this moment, and whether one came."""

    lock = threading.Lock()
    stop: Callable[[], None] | None = None
    """What the first one does; None: it ends the process at once."""
    within_s: float | None = None
    last_acts: tuple[Callable[[], object], ...] = ()
    received: int | None = None
    runs_until_told = False


def listen(*, until_told: bool) -> None:
    """From now on SIGTERM and SIGINT end the process, and until `stop_with` at once.

    Call it before anything is imported that costs time: process 1 of a container has no default actions, so
    the kernel drops a signal for which there is no handler yet. A thread acts on signals, because the main
    one may be inside a call that no handler of Python's interrupts: librdkafka's, or the lookup of a name.

    The exit code is 0 for a command that runs `until_told` to stop, else 128 and the number of the signal.
    """
    _Stopping.runs_until_told = until_told
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in SIGNALS:
        # What is written to the pipe counts. Not SIG_IGN, with which nothing would be.
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_hear, args=(reading,), name="signals", daemon=True).start()
    # Whoever started this process may have kept them back until now, as the image does.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def stop_with(stop: Callable[[], None], *, within_s: float | None = None) -> None:
    """From now on the first signal calls `stop`, on a thread of its own, and the process ends by itself.

    With the second signal it ends at once, and also where it has not ended `within_s`.
    """
    with _Stopping.lock:
        _Stopping.stop, _Stopping.within_s = stop, within_s


@contextmanager
def before_ending(act: Callable[[], object]) -> Iterator[None]:
    """Do `act` before a signal ends the process at once; on another thread, and within `LAST_ACTS_S`."""
    _Stopping.last_acts = (act, *_Stopping.last_acts)
    try:
        yield
    finally:
        _Stopping.last_acts = tuple(each for each in _Stopping.last_acts if each is not act)


def stopped_code() -> int:
    """The exit code of a command that a signal stopped before it was done."""
    received = _Stopping.received
    return 0 if _Stopping.runs_until_told or received is None else 128 + received


def end(code: int) -> NoReturn:
    """Write out what was printed and end, whatever other threads are in.

    Threads may be left that do not come back: librdkafka's with a broker that does not answer, and look-ups
    of names. An orderly end would wait for them, also in the destructors of the clients, and hear no signal.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as error:
        code = code or EXIT_UNWRITTEN
        if not isinstance(error, BrokenPipeError):
            with suppress(OSError):
                sys.stderr.write(f"The output could not be written: {error}\n")
    os._exit(code)


def _hear(reading: int) -> None:
    while received := os.read(reading, 1):
        with _Stopping.lock:
            stop = _Stopping.stop if _Stopping.received is None else None
            _Stopping.received = received[0]
        if stop is None:
            _end_at_once()
        # Not here: whatever `stop` waits for, the second signal is heard.
        threading.Thread(target=stop, name="stop", daemon=True).start()
        if _Stopping.within_s is not None:
            late = threading.Timer(_Stopping.within_s, _end_at_once)
            late.daemon = True
            late.start()


def _end_at_once() -> NoReturn:
    acting = threading.Thread(target=_act_last, name="last", daemon=True)
    acting.start()
    acting.join(LAST_ACTS_S)
    os._exit(stopped_code())


def _act_last() -> None:
    for act in _Stopping.last_acts:
        with suppress(Exception):
            act()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        if sys.stderr.isatty():
            sys.stderr.write(_SHOW_CURSOR)  # a progress bar hides it
            sys.stderr.flush()


MESSAGE = (
    "This is a bug in partner-bridge. Please report it with the traceback above. What foreign errors say is "
    "left out of it, since they may quote a record."
)


def redacted_traceback(raised: BaseException) -> str:
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


def report_crash(raised: BaseException | None) -> None:
    """Say on stderr that this is a bug, and where. Nothing happens for an exit, or for Ctrl-C."""
    if isinstance(raised, Exception):
        sys.stderr.write(f"{redacted_traceback(raised)}\n{MESSAGE}\n")


def install_excepthooks() -> None:
    """From now on tell so what Python would print: what ends the process or a thread, or is ignored."""
    sys.excepthook = lambda _kind, raised, _traceback: report_crash(raised)
    threading.excepthook = lambda bug: report_crash(bug.exc_value)
    sys.unraisablehook = lambda bug: report_crash(bug.exc_value)


COLLECT_INTERVAL_S = 30.0
"""How often a process that runs for long calls `collect_garbage`."""


def tune_gc() -> None:
    """Look for cycles of objects by themselves less often: what a record leaves behind holds none.

    Thousands of pending records are thousands of live objects, and each full collection would walk
    all of them to find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def collect_garbage() -> None:
    """Free the cycles there are. Takes 30 ms where 20,000 records and 10,000 sources are in memory.

    boto3 leaves such cycles behind with each call, and aiohttp with each scrape. They are few, so that after
    `tune_gc` it would be hours until Python looks for them, and memory would grow as if it leaked.
    """
    gc.collect()
