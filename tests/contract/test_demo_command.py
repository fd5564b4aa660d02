"""`partner-bridge demo` as a newcomer meets it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from connector.cli.demo import run_demo

PROGRAM = str(Path(sys.executable).with_name("partner-bridge"))


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_what_lies_in_the_folder_is_no_part_of_it_and_every_hint_works_as_printed(tmp_path: Path) -> None:
    """With a folder that holds files named as modules of Python, and the program not on the path."""
    for name in ("html.py", "queue.py", "connector.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')")
    environ = {**os.environ, "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        [PROGRAM, "demo", "--records", "100", "--keep"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stderr is not None
        talk = []
        for line in demo.stderr:
            talk.append(line)
            if line.lstrip().startswith("files"):
                break
        listing = re.search(r"dead letters +(.+)", "".join(talk))
        assert listing is not None, "".join(talk)
        listed = run(shlex.split(listing[1]), tmp_path)
        demo.send_signal(signal.SIGINT)
        out, rest = demo.communicate(timeout=60)

    assert 0 == demo.returncode, out + rest
    assert 0 == listed.returncode, listed.stderr
    assert "schema_unknown" in listed.stdout
    hints = re.findall(r"^  (\S.*?)  ", out.partition("Where to go next:")[2], re.MULTILINE)
    assert [f"{PROGRAM} demo --keep", f"{PROGRAM} sandbox"] == hints
    for hint in hints:
        assert 0 == run([*shlex.split(hint), "--help"], tmp_path).returncode


def test_without_a_temporary_folder_it_says_so_and_how_to_give_it_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a container whose root is read-only: one sentence, and exit code 2."""
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")

    assert 2 == run_demo(records=10, keep=False)

    told = capsys.readouterr()
    assert "" == told.out
    assert "Nothing was started" in told.err
    assert "--tmpfs /tmp" in told.err
