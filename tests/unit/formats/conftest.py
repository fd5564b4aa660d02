"""A scripted registry for the tests of its clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scripted_registry import ScriptedRegistry


@pytest.fixture
def server() -> Iterator[ScriptedRegistry]:
    running = ScriptedRegistry()
    yield running
    running.close()
