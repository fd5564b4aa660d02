"""The chart in another chart, as platforms have it: twice, switched by `condition`, with `global`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import tools
from tests.chart.render import CHART, LEAST, helm, one

EVENT = yaml.safe_load(LEAST.read_text())["config"]


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A chart that has this one as `orders` and as `payments`, the latter off unless told."""
    chart = {
        "apiVersion": "v2",
        "name": "platform",
        "version": "1.0.0",
        "dependencies": [
            {"name": "partner-bridge", "version": "*", "alias": alias, "condition": f"{alias}.enabled"}
            for alias in ("orders", "payments")
        ],
    }
    values = {
        "global": {"imageRegistry": "mirror.example.com", "imagePullSecrets": ["mirror"], "team": {"a": 1}},
        "orders": {"enabled": True, "config": EVENT, "keda": {"enabled": True}, "partitions": 6},
        "payments": {"enabled": False, "config": EVENT},
    }
    (tmp_path / "Chart.yaml").write_text(json.dumps(chart))
    (tmp_path / "values.yaml").write_text(json.dumps(values))
    shutil.copytree(CHART, tmp_path / "charts" / "partner-bridge")
    return tmp_path


def rendered(parent: Path, version: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    text = helm(
        *("template", "shop", str(parent), "--values", "-"),
        values=json.dumps(values),
        program=tools.helm(version),
    )
    return [each for each in yaml.safe_load_all(text) if each]


@pytest.mark.parametrize("version", tools.HELMS)
def test_it_is_on_and_off_as_the_condition_says(parent: Path, version: str) -> None:
    def deployments(values: dict[str, Any]) -> list[str]:
        objects = rendered(parent, version, values)
        return sorted(each["metadata"]["name"] for each in objects if each["kind"] == "Deployment")

    assert ["shop-orders"] == deployments({})
    assert ["shop-orders", "shop-payments"] == deployments({"payments": {"enabled": True}})
    assert [] == deployments({"orders": {"enabled": False}})


@pytest.mark.parametrize("version", tools.HELMS)
def test_image_and_pull_secrets_are_those_of_the_whole(parent: Path, version: str) -> None:
    own = {"orders": {"image": {"registry": "own.example.com", "pullSecrets": [{"name": "own"}]}}}
    pod = one("Deployment", rendered(parent, version, own))["spec"]["template"]["spec"]

    assert pod["containers"][0]["image"].startswith("mirror.example.com/partner-bridge:")
    assert [{"name": "mirror"}, {"name": "own"}] == pod["imagePullSecrets"]


@pytest.mark.parametrize("version", tools.HELMS)
def test_two_of_them_select_their_own_pods(parent: Path, version: str) -> None:
    objects = rendered(parent, version, {"payments": {"enabled": True}})
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    selectors = [each["spec"]["selector"]["matchLabels"] for each in objects if each["kind"] == "Deployment"]

    assert len(set(names)) == len(names)
    assert ["orders", "payments"] == sorted(each["app.kubernetes.io/name"] for each in selectors)


@pytest.mark.parametrize("version", tools.HELMS)
def test_null_takes_away_what_the_parent_said(parent: Path, version: str) -> None:
    """A section, a topic and a default of the chart, which Helm's versions pass on differently."""
    payments = {"event": {"source": "aws.partner/example.com/p", "detail_type": "Payment"}}
    topics = {"orders.v1": None, "payments": payments}
    null = {"keda": None, "config": {"topics": topics}, "image": {"tag": None}, "probes": {"startup": None}}
    objects = rendered(parent, version, {"orders": null})
    config = yaml.safe_load(one("ConfigMap", objects)["data"]["bridge.yaml"])

    assert ["payments"] == list(config["topics"])
    assert "ScaledObject" not in {each["kind"] for each in objects}
