"""The process: its exit codes, signals from its first moment on, crash reports, and garbage collection.

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

EXIT_DONE = 0
"""Done. `run` and `sandbox` run until they are stopped: SIGTERM and SIGINT are their ordinary end."""
EXIT_BUG = 1
"""A bug, with a traceback, or output that could not be written; Python's own code for both."""
EXIT_USAGE = 2
"""The configuration or the command line cannot be used; typer's own code for the latter."""
EXIT_HALTED = 3
"""Halted: going on would lose records or flood the dead-letter topic."""
EXIT_CHECK_FAILED = 4
"""The check ran and found a problem."""

LAST_ACTS_S = 0.5
"""The limit for all acts of `before_ending` together. A pipe that nothing reads must not keep the process."""

_SHOW_CURSOR = "\x1b[?25h"


class _Stopping:
    """The state that the thread for signals shares with the rest of the process."""

    lock = threading.Lock()
    stop: Callable[[], None] | None = None
    """Called at the first signal; None: the first signal ends the process at once."""
    within_s: float | None = None
    last_acts: tuple[Callable[[], object], ...] = ()
    received: int | None = None
    runs_until_told = False


def listen(*, until_told: bool) -> None:
    """Act on SIGTERM and SIGINT from now on: they end the process at once, or call what `stop_with` names.

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
        # Python writes the number to the pipe before it calls this. With SIG_IGN it would write nothing.
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_hear, args=(reading,), name="signals", daemon=True).start()
    # The parent process may have blocked the signals until now, as the image does.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def stop_with(stop: Callable[[], None], *, within_s: float | None = None) -> None:
    """Call `stop` at the first signal, on a thread of its own; the process then ends by itself.

    The second signal ends it at once. So does the first where the process has not ended `within_s` after it.
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
    """Flush stdout and stderr and end the process, without waiting for other threads.

    Some of them may never return: librdkafka's with a broker that does not answer, and DNS lookups. An
    orderly end would wait for them, also in the destructors of the clients, and would act on no signal.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as error:
        code = code or EXIT_BUG
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
        # On another thread: the second signal must be read, whatever `stop` waits for.
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
    """Format a traceback without the text of foreign exceptions, which may quote a record.

    The text of our own exceptions is kept, and that of OSError, which is the system's.
    """
    parts: list[str] = []
    cause: BaseException | None = raised
    while cause is not None:
        text = f": {cause}" if isinstance(cause, ConnectorError | OSError) else ""
        parts.append("".join(traceback.format_tb(cause.__traceback__)) + type(cause).__qualname__ + text)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n\n".join(reversed(parts))


def report_crash(raised: BaseException | None) -> None:
    """Write to stderr that this is a bug, and where. An exit and Ctrl-C are no bugs: nothing is written."""
    if isinstance(raised, Exception):
        sys.stderr.write(f"{redacted_traceback(raised)}\n{MESSAGE}\n")


def install_excepthooks() -> None:
    """Report with `report_crash` every exception that Python itself would print, values included."""
    sys.excepthook = lambda _kind, raised, _traceback: report_crash(raised)
    threading.excepthook = lambda bug: report_crash(bug.exc_value)
    sys.unraisablehook = lambda bug: report_crash(bug.exc_value)


COLLECT_INTERVAL_S = 30.0
"""A process that runs for long calls `collect_garbage` this often."""


def tune_gc() -> None:
    """Run the garbage collector seldom. Call it before anything is imported that costs time.

    What is imported stays, and processing a record creates no reference cycles: a start would spend a tenth
    of its time on walks through live objects, and thousands of pending records are thousands more of them.
    """
    gc.set_threshold(200_000, 20, 50)


def freeze_gc() -> None:
    """Let no collection walk what is in memory now. Call it once everything is built that stays.

    Nothing is collected before: that would take 100 ms, and find a few hundred kB.
    """
    gc.freeze()


def collect_garbage() -> None:
    """Free reference cycles. Takes 30 ms where 20,000 records and 10,000 sources are in memory.

    boto3 creates such cycles with each call, and aiohttp with each scrape. They are few: after `tune_gc`
    Python would not collect them for hours, and memory would grow as if it leaked.
    """
    gc.collect()
