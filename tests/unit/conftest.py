"""The settings of the bridge in the rig."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector import config
from tests.rig import SETTINGS


@pytest.fixture
def settings(tmp_path: Path) -> config.Settings:
    file = tmp_path / "bridge.yaml"
    file.write_text(SETTINGS)
    return config.load(file, {})
