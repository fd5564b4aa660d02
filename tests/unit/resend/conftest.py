"""The settings of the resends that are tested here."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector import config
from tests.replay_rig import SETTINGS


@pytest.fixture
def settings(tmp_path: Path) -> config.Settings:
    file = tmp_path / "bridge.yaml"
    file.write_text(SETTINGS)
    return config.load(file, {})
