"""What a signal does to the process, in processes as small as can be."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import connector
from tests.services.child import signals_kept_back

BEGIN = """
import sys, threading, time
from connector import process
def say(text):
    sys.stdout.write(text + "\\n")
    sys.stdout.flush()
def wait():
    say("waits")
    never = threading.Lock()
    never.acquire()
    never.acquire()
"""
ENDED_S = 5.0
"""More than any of these takes on a machine that is busy."""


def started(*lines: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join([BEGIN, *lines])], stdout=subprocess.PIPE, text=True
    )


def line_of(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def rest_of(child: subprocess.Popen[str]) -> list[str]:
    out, _ = child.communicate(timeout=ENDED_S)
    return out.split()


@pytest.mark.parametrize(
    ("until_told", "number", "code"),
    [(True, signal.SIGTERM, 0), (False, signal.SIGTERM, 143), (False, signal.SIGINT, 130)],
)
def test_a_signal_ends_at_once_with_a_code_of_its_own(
    until_told: bool, number: signal.Signals, code: int
) -> None:
    """0 for a command that runs until told to stop; for others what shells expect: 128 and its number."""
    child = started(f"process.listen(until_told={until_told})", "wait()")
    assert "waits" == line_of(child)
    child.send_signal(number)

    assert code == child.wait(ENDED_S)


def test_a_signal_that_was_kept_back_is_taken_up() -> None:
    """What came before there was a handler is not lost, where whoever started the process blocked it."""
    lines = ("say('begins')", "time.sleep(0.3)", "process.listen(until_told=False)", "wait()")
    with signals_kept_back():
        child = started(*lines)
    assert "begins" == line_of(child)
    child.send_signal(signal.SIGTERM)

    assert 143 == child.wait(ENDED_S)


def test_the_first_signal_stops_and_the_second_ends() -> None:
    """`stop` may take its time, or hang: the second signal is heard all the same."""
    lines = (
        "process.listen(until_told=False)",
        "process.stop_with(lambda: (say('stopping'), time.sleep(60)))",
        "wait()",
    )
    child = started(*lines)
    assert "waits" == line_of(child)
    child.send_signal(signal.SIGTERM)
    assert "stopping" == line_of(child)
    assert child.poll() is None
    child.send_signal(signal.SIGINT)

    assert 130 == child.wait(ENDED_S)


def test_a_stop_that_takes_too_long_ends() -> None:
    """Nobody need ask a second time where a limit was set."""
    lines = (
        "process.listen(until_told=False)",
        "process.stop_with(lambda: say('stopping'), within_s=0.2)",
        "wait()",
    )
    child = started(*lines)
    assert "waits" == line_of(child)
    child.send_signal(signal.SIGTERM)
    assert ["stopping"] == rest_of(child)

    assert 143 == child.returncode


def test_a_stop_in_time_ends_as_the_command_says() -> None:
    """It knows the code of what was stopped, and what it has printed is written out."""
    lines = (
        "process.listen(until_told=False)",
        "stopped = threading.Event()",
        "process.stop_with(stopped.set)",
        "say('waits')",
        "stopped.wait()",
        "sys.stdout.write('done')",
        "process.end(process.stopped_code())",
    )
    child = started(*lines)
    assert "waits" == line_of(child)
    child.send_signal(signal.SIGTERM)
    assert ["done"] == rest_of(child)

    assert 143 == child.returncode


def test_last_acts_are_done_and_limited() -> None:
    """A child is killed, say; but nothing keeps the process, also not an act that hangs or fails."""
    lines = (
        "process.listen(until_told=False)",
        "hang = process.before_ending(lambda: time.sleep(60))",
        "fail = process.before_ending(lambda: 1 / 0)",
        "tell = process.before_ending(lambda: say('told'))",
        "with process.before_ending(lambda: say('over')): pass",
        "with hang, fail, tell: wait()",
    )
    child = started(*lines)
    assert "waits" == line_of(child)
    began_s = time.monotonic()
    child.send_signal(signal.SIGTERM)
    assert ["told"] == rest_of(child)

    assert 143 == child.returncode
    assert 2 > time.monotonic() - began_s


def test_children_hear_signals_as_usual() -> None:
    """Neither a handler nor a mask of ours is passed on, as to a program that gives credentials."""
    look = "import signal; print(signal.getsignal(15) is signal.SIG_DFL, len(signal.pthread_sigmask(0, [])))"
    lines = (
        "process.listen(until_told=False)",
        "import subprocess",
        f"subprocess.run([sys.executable, '-c', {look!r}])",
    )

    assert ["True", "0"] == rest_of(started(*lines))


def test_an_output_that_cannot_be_written_is_no_success() -> None:
    """A full disk: the command did its work, but nobody can read what it said."""
    script = f"{BEGIN}\nsys.stdout.write('lost')\nprocess.end(0)"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ended = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONUNBUFFERED": ""},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
        )

    assert 1 == ended.returncode
    assert "could not be written" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_child_imports_from_the_current_directory() -> None:
    """Every Python that is started has -P; without, a file `html.py` there stands for the library's."""
    code = Path(connector.__file__).parent
    started = [
        (path.name, options)
        for path in code.rglob("*.py")
        for options in re.findall(r"\[sys\.executable, (.*)", path.read_text())
    ]

    assert started
    assert [] == [each for each in started if not each[1].startswith('"-P"')]
