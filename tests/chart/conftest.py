"""The chart's tools, fetched where they are missing."""

from __future__ import annotations

import pytest

from tests.chart import tools
from tests.conftest import PARTS, started


@pytest.fixture(scope="session", autouse=True)
def chart_tools(pytestconfig: pytest.Config) -> None:
    """Helm and the schemas of Kubernetes."""

    def fetch() -> None:
        for version in tools.HELMS:
            tools.helm(version)
        tools.kubernetes_schemas()

    started(pytestconfig, "Chart tools", fetch)
    pytestconfig.stash[PARTS]["Chart tools"] = (
        f"Helm {' and '.join(tools.HELMS)}, schemas of Kubernetes {tools.SCHEMAS.split('-')[0]}"
    )
