"""The chart's tools, fetched at once where they are missing."""

from __future__ import annotations

import pytest

from tests.chart import tools
from tests.conftest import PARTS, started


@pytest.fixture(scope="session", autouse=True)
def chart_tools(pytestconfig: pytest.Config) -> None:
    """Helm, helm-unittest, Prometheus and the schemas of Kubernetes."""
    started(pytestconfig, "Chart tools", tools.fetch_all)
    pytestconfig.stash[PARTS]["Chart tools"] = (
        f"Helm {tools.HELM[2]}, helm-unittest {tools.UNITTEST[1]}, Prometheus, schemas of Kubernetes "
        f"{tools.KUBERNETES[2].split('-')[0]} and of the custom resources"
    )
