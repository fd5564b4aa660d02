"""The pytest fixture `partner_bridge_sandbox`, which pytest finds where this package is installed.

Imports little: pytest loads it at every start, also for tests that want no sandbox.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from connector.sandbox.testing import LocalSandbox


@pytest.fixture
def partner_bridge_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSandbox]:
    """Kafka, schema registry and EventBridge of the test's own, and the bridges it starts in them.

    In the end the bridges are stopped as Kubernetes would; one that ended by itself fails the test.
    """
    from connector.sandbox.testing import LocalSandbox  # noqa: PLC0415

    with LocalSandbox(tmp_path_factory.mktemp("partner-bridge")) as sandbox:
        yield sandbox
        sandbox.stop_bridges()
