"""The queries of dashboard and alerts, as they are written and as a test can wait for them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

FILES = Path(__file__).parents[2] / "helm" / "files"


def alerts() -> dict[str, str]:
    """Name of each alert to its expression."""
    groups = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def panels() -> Iterator[tuple[str, str]]:
    """Title and query of each target of each panel, variables as Grafana would fill them in."""
    dashboard = json.loads((FILES / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], _filled_in(target["expr"])
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], _filled_in(annotation["expr"])


def metrics(query: str) -> set[str]:
    """The metrics that a query names."""
    without_texts = re.sub(r'"[^"]*"', "", re.sub(r"\{[^}]*\}", "", query))
    without_labels = re.sub(r"\b(by|on|ignoring|without) \([^)]*\)", "", without_texts)
    return set(re.findall(r"\b(partner_bridge_\w+|process_\w+|python_\w+|up)\b", without_labels))


SLIGHT = {
    "stuckSeconds": 3,
    "growingLag": 100,
    "backlog": 100,
    "catchUpSeconds": 60,
    "expiresSeconds": 17_280_000,
}
"""Thresholds that a test reaches, by their names in the chart's values."""


def hurried(query: str) -> str:
    """The same query with half hours and hours made 60 s, other times 20 s, and large thresholds small.

    What takes a quarter of an hour in production takes as long here as a test may. An event is late
    after 2.5 s.
    """
    for name, threshold in SLIGHT.items():
        query = re.sub(rf"[0-9]+ # thresholds[.]{name}\b", str(threshold), query)
    query = re.sub(r":[0-9]+[sm]\]", ":2s]", query).replace('le=~"60(', 'le=~"2.5(')
    return re.sub(r"\b[0-9]+[mhd]\b", "20s", re.sub(r"\b(30m|1h)\b", "60s", query))


def _filled_in(query: str) -> str:
    for variable, value in {"$__rate_interval": "20s", "$__range": "1h"}.items():
        query = query.replace(variable, value)
    return re.sub(r"\$[a-z]+", ".+", query)
