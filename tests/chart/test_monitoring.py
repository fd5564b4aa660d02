"""Scraping, alerts and dashboard of one release."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chart.render import CHART, one, release


def rules(values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The alerts, with these values."""
    values = dict(values or {})
    chosen = {"enabled": True, **values.pop("prometheusRule", {})}
    (group,) = one("PrometheusRule", release({**values, "prometheusRule": chosen}))["spec"]["groups"]
    return list(group["rules"])


def test_the_bridges_of_a_namespace_are_told_apart() -> None:
    monitor = one(
        "PodMonitor",
        release({"podMonitor": {"enabled": True}, "networkPolicy": {"monitoringNamespace": "monitoring"}}),
    )

    assert {"targetLabel": "bridge", "replacement": "shop-partner-bridge"} == monitor["spec"][
        "podMetricsEndpoints"
    ][0]["relabelings"][0]


def test_alerts_ask_only_about_this_release() -> None:
    assert (
        'max by (namespace, bridge, pod) (max_over_time(partner_bridge_halted{namespace="integration",'
        'bridge="shop-partner-bridge"}[15m])) == 1'
    ) == rules()[0]["expr"]
    assert 'bridge!=""' not in json.dumps(rules())


def test_an_alert_is_left_out_and_rules_and_labels_are_added() -> None:
    first, *_, last = rules(
        {
            "prometheusRule": {
                "disabled": ["PartnerBridgeHalted"],
                "alertLabels": {"team": "a"},
                "runbookUrl": "https://wiki",
                "extraRules": [{"alert": "Own", "expr": "1"}],
            }
        }
    )

    assert "PartnerBridgeRestarting" == first["alert"]
    assert {"severity": "critical", "team": "a"} == first["labels"]
    assert "https://wiki#partnerbridgerestarting" == first["annotations"]["runbook_url"]
    assert {"alert": "Own", "expr": "1"} == last


def test_pods_that_keda_may_take_away_altogether_are_not_missed() -> None:
    scaled = {"keda": {"enabled": True, "minReplicaCount": 0}, "partitions": 3}

    assert "PartnerBridgeAbsent" in {each["alert"] for each in rules()}
    assert "PartnerBridgeAbsent" not in {each["alert"] for each in rules(scaled)}


def test_the_dashboard_is_found_by_grafana_s_sidecar() -> None:
    dashboard = one("ConfigMap", release({"dashboard": {"enabled": True}}), named="dashboard")

    assert "1" == dashboard["metadata"]["labels"]["grafana_dashboard"]


def dashboard(**values: str) -> tuple[str, dict[str, Any]]:
    """The file that Grafana's sidecar writes, and what is in it."""
    made = one("ConfigMap", release({"dashboard": {"enabled": True}, **values}), named="dashboard")
    ((file, text),) = made["data"].items()
    return file, json.loads(text)


@pytest.mark.parametrize(
    "other", [{"namespaceOverride": "elsewhere"}, {"fullnameOverride": "shop-partner-bridge2"}], ids=str
)
def test_each_release_has_a_dashboard_of_its_own(other: dict[str, str]) -> None:
    """Two files of one name overwrite each other, and Grafana refuses the second of a uid, or of a title."""
    file, ours = dashboard()
    other_file, others = dashboard(**other)
    kept = json.loads((CHART / "files" / "dashboard.json").read_text())

    assert "integration_shop-partner-bridge.json" == file != other_file
    assert "partner-bridge integration/shop-partner-bridge" == ours["title"] != others["title"]
    assert ours["uid"] != others["uid"]
    assert len(ours["uid"]) <= 40, "Grafana's limit"
    assert kept == {**ours, "title": kept["title"], "uid": kept["uid"]}
