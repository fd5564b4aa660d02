"""A Prometheus on a free port, which scrapes one bridge."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import urllib3
import yaml

from tests.chart import tools
from tests.services.child import Child, free_ports, wait_until

LABELS = {"namespace": "shop", "bridge": "orders"}
"""What the PodMonitor of the chart adds."""


class QueryError(Exception):
    """Prometheus refused a query; the message is its own."""


class Prometheus:
    """Scrapes five times a second whoever `scrape` names last."""

    def __init__(self, folder: Path) -> None:
        self._targets = folder / "targets.json"
        self._targets.write_text("[]")
        (self._port,) = free_ports(1)
        self._http = urllib3.PoolManager(timeout=10, retries=False)
        (folder / "prometheus.yml").write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
                    "scrape_configs": [
                        {
                            "job_name": "bridge",
                            "file_sd_configs": [{"files": [str(self._targets)], "refresh_interval": "1s"}],
                            # A pod that restarts keeps its address.
                            "relabel_configs": [{"source_labels": ["pod"], "target_label": "instance"}],
                        }
                    ],
                }
            )
        )
        self._child = Child(
            [
                str(tools.prometheus() / "prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--query.lookback-delta=10s",
            ],
            log=folder / "prometheus.log",
        )

    def __enter__(self) -> Prometheus:
        self._child.start()
        wait_until(self._is_ready, what=lambda: f"Prometheus is ready\n{self._child.tail()}")
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def scrape(self, *ports: int) -> None:
        """From now on the bridge's pods, `orders-1` and so on, are at these ports of 127.0.0.1."""
        written = self._targets.with_suffix(".new")
        pods = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {**LABELS, "pod": f"orders-{number}"}}
            for number, port in enumerate(ports, 1)
        ]
        written.write_text(json.dumps(pods))
        written.replace(self._targets)  # Prometheus reads at any moment

    def ask(self, query: str) -> list[tuple[dict[str, str], float]]:
        """The series that answer a query now, without those that are no number."""
        answer = self._http.request("POST", f"{self.url}/api/v1/query", fields={"query": query})
        body: dict[str, Any] = answer.json()
        if body["status"] != "success":
            raise QueryError(f"{query}: {body.get('error')}")
        found = [(series["metric"], float(series["value"][1])) for series in body["data"]["result"]]
        return [(labels, value) for labels, value in found if not math.isnan(value)]

    def log(self) -> str:
        return self._child.tail()

    def _is_ready(self) -> bool:
        try:
            return self._http.request("GET", f"{self.url}/-/ready").status == 200
        except urllib3.exceptions.HTTPError:
            return False
