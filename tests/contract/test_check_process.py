"""A mistake about a target as a shell sees it: exit code 2, one line, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.configuration import with_settings


@pytest.mark.parametrize(
    ("command", "variable", "value"),
    [("check", "https_proxy", "http://ann:pa55[wOrd@proxy:3128"), ("run", "AWS_DEFAULT_PROFILE", "nobody")],
)
def test_a_mistake_about_a_target_ends_the_process(
    tmp_path: Path, command: str, variable: str, value: str
) -> None:
    """Whoever checks sees what whoever runs would, and nothing is started."""
    (tmp_path / "bridge.yaml").write_text(with_settings(), "utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "connector", command],
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "", "no_proxy": "", variable: value},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (2, "") == (ran.returncode, ran.stdout)
    assert 2 == len(ran.stderr.splitlines())
    assert f"1. {variable}: " in ran.stderr
    assert "wOrd" not in ran.stderr
