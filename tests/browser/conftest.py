"""A browser, and pages served for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

import pytest
from playwright.sync_api import Browser

from connector.telemetry.metrics import Telemetry
from connector.telemetry.page.contents import Contents
from connector.telemetry.server import Server
from tests.browser.chromium import browser
from tests.conftest import started

Serve: TypeAlias = Callable[[Contents], str]

CLIPBOARD = ("clipboard-read", "clipboard-write")
"""What a page must be permitted to copy, and its test to see what was copied."""


@pytest.fixture(scope="module")
def chromium(pytestconfig: pytest.Config) -> Iterator[Browser]:
    """A real browser, for all tests of a file."""
    with ExitStack() as running:
        yield started(pytestconfig, "Chromium", lambda: running.enter_context(browser()))


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves these contents until the test ends; answers the address."""
    servers: list[Server] = []

    def start(contents: Contents) -> str:
        server = Server(contents.health, Telemetry(), host="127.0.0.1", port=0, contents=contents)
        servers.append(server)
        return f"http://127.0.0.1:{server.port}/"

    yield start
    for server in servers:
        server.close()
