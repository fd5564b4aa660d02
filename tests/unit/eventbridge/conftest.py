"""An environment without AWS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.aws_environment import clear_aws


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment in which AWS's tools find nothing; their files would be in `tmp_path`."""
    clear_aws(monkeypatch, tmp_path)
    return monkeypatch
