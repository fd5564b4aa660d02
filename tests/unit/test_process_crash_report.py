"""What is left of an exception that nobody expected: the way to it, and nothing of a record."""

from __future__ import annotations

import subprocess
import sys

import pytest

CANARY = "canary-card"
WAYS = {
    "main": "raise ValueError(CANARY)",
    "thread": "t = threading.Thread(target=int, args=(CANARY,)); t.start(); t.join(); sys.exit(1)",
    "ignored": "type('Bad', (), {'__del__': lambda self: int(CANARY)})(); sys.exit(1)",
}
"""How Python itself comes to print an exception, each ending with exit code 1."""


@pytest.mark.parametrize("way", WAYS)
def test_what_python_prints_by_itself_holds_no_values(way: str) -> None:
    """Not only commands fail: threads do, and destructors, and Python quotes what each of them choked on."""
    program = (
        "import sys, threading\nfrom connector import process\n"
        f"process.install_excepthooks()\nCANARY = {CANARY!r}[:]\n{WAYS[way]}"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (1, "") == (ended.returncode, ended.stdout)
    assert CANARY not in ended.stderr
    assert "ValueError\nThis is a bug in partner-bridge." in ended.stderr


def test_an_exit_is_no_bug() -> None:
    """A thread that ends itself says nothing, as without us."""
    program = (
        "import sys, threading\nfrom connector import process\nprocess.install_excepthooks()\n"
        "t = threading.Thread(target=sys.exit); t.start(); t.join()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (0, "", "") == (ended.returncode, ended.stdout, ended.stderr)
