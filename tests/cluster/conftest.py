"""One API server for all of `make cluster`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chart import tools
from tests.cluster import programs
from tests.cluster.api_server import ApiServer
from tests.conftest import PARTS, started


@pytest.fixture(scope="session")
def api_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Make a namespace of your own."""
    folder = tmp_path_factory.mktemp("cluster")
    started(pytestconfig, "Kubernetes", programs.folder)
    pytestconfig.stash[PARTS]["Kubernetes"] = (
        f"kube-apiserver {programs.version()} and etcd as processes, Helm {' and '.join(tools.HELMS)}"
    )
    with ApiServer(folder) as server:
        yield server
