"""EventBridge without a source, and credentials for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.sandbox.eventbridge import FakeEventBridge
from tests.bridge_process import AWS_ENVIRON


@pytest.fixture
def aws() -> Iterator[FakeEventBridge]:
    """EventBridge that knows only the sources that somebody created."""
    with FakeEventBridge(auto_create=False) as aws:
        yield aws


@pytest.fixture
def aws_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials that the fake takes, and a Region."""
    for name, value in AWS_ENVIRON.items():
        monkeypatch.setenv(name, value)
