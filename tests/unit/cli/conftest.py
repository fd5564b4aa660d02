"""A terminal in an empty folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.aws_environment import clear_aws
from tests.terminal import Terminal


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run commands in, without variables of the bridge, AWS or proxies."""
    monkeypatch.chdir(tmp_path)
    clear_aws(monkeypatch, tmp_path)
    for variable in [name for name in os.environ if name.startswith("BRIDGE_")]:
        monkeypatch.delenv(variable)
    return tmp_path


@pytest.fixture
def terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)
