"""Scraping, alerts and dashboard of one release."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from connector.telemetry.series import DELIVERY_SECONDS
from tests.chart import grafana
from tests.chart.render import CHART, one, release
from tests.chart.values_schema import values_schema


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


@pytest.mark.parametrize(
    "none_is_well",
    [{"keda": {"enabled": True, "minReplicaCount": 0}, "partitions": 3}, {"replicaCount": 0}],
    ids=["KEDA may take all away", "replicaCount is 0"],
)
def test_pods_that_need_not_be_there_are_not_missed(none_is_well: dict[str, Any]) -> None:
    assert "PartnerBridgeAbsent" in {each["alert"] for each in rules()}
    assert "PartnerBridgeAbsent" in {each["alert"] for each in rules({"replicaCount": 2})}
    assert "PartnerBridgeAbsent" not in {each["alert"] for each in rules(none_is_well)}


SCOPE = 'namespace="integration",bridge="shop-partner-bridge"'


def test_thresholds_of_the_chart_are_those_of_the_file() -> None:
    """What promtool and Prometheus judged in the file is what the chart's defaults render."""
    written = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    (group,) = written["groups"]

    assert [
        re.sub(r" # thresholds[.]\w+$", "", each["expr"].replace('bridge!=""', SCOPE), flags=re.MULTILINE)
        for each in group["rules"]
    ] == [each["expr"] for each in rules()]
    assert [each.get("for") for each in group["rules"]] == [each.get("for") for each in rules()]


def test_each_threshold_is_a_value() -> None:
    """A value other than the default is in a rule, where the default was."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())["prometheusRule"]["thresholds"]
    others = {"openLettersFor": "777m", "pausedFor": "777m", "deliverySeconds": 900, "lateShare": 0.0555}
    plain = yaml.safe_dump(rules(), width=10_000)

    for name in defaults:
        other = others.get(name, 0.777 if name == "throttledShare" else 777777)
        changed = yaml.safe_dump(rules({"prometheusRule": {"thresholds": {name: other}}}), width=10_000)
        assert str(other) in changed, name
        assert str(other) not in plain, name


def test_a_threshold_set_to_null_is_the_default() -> None:
    silent = rules({"prometheusRule": {"thresholds": {"restarts": None}}})

    assert ">= 3" in silent[1]["expr"]


def test_an_event_can_be_late_by_each_bound_of_the_histogram() -> None:
    """The schema offers the bounds of `delivery_seconds`, and no other numbers."""
    schema = json.loads(values_schema())["properties"]["prometheusRule"]["properties"]["thresholds"]
    offered = schema["properties"]["deliverySeconds"]["enum"]

    assert set(offered) - {None} == {bound for bound in DELIVERY_SECONDS if bound >= 0.5}


RELEASED = {"dashboard": {"enabled": True}}


def dashboard(values: dict[str, Any] | None = None) -> dict[str, Any]:
    """What Grafana's sidecar finds in the ConfigMap."""
    found = one("ConfigMap", release({**RELEASED, **(values or {})}), named="dashboard")
    assert "1" == found["metadata"]["labels"]["grafana_dashboard"]
    ((name, text),) = found["data"].items()
    return {"name": name, **json.loads(text)}


def test_each_release_has_a_dashboard_of_its_own() -> None:
    """Grafana keeps one dashboard for each uid, and its sidecar one file for each name."""
    ours, theirs = dashboard(), dashboard({"fullnameOverride": "returns"})
    elsewhere = dashboard({"namespaceOverride": "stage"})

    for key in ("name", "uid", "title"):
        assert 3 == len({each[key] for each in (ours, theirs, elsewhere)}), key
    assert "integration_shop-partner-bridge.json" == ours["name"]
    assert "partner-bridge: integration/shop-partner-bridge" == ours["title"]
    assert len(ours["uid"]) <= 40


def test_a_dashboard_opens_with_its_own_bridge() -> None:
    shown = {each["name"]: each["current"] for each in dashboard()["templating"]["list"]}

    assert {"text": ["integration"], "value": ["integration"]} == shown["namespace"]
    assert {"text": ["shop-partner-bridge"], "value": ["shop-partner-bridge"]} == shown["bridge"]


def test_panels_link_to_the_runbook_where_it_is_published() -> None:
    linked = dashboard({"prometheusRule": {"runbookUrl": "https://wiki"}})
    (of_lost,) = (panel["links"] for panel in linked["panels"] if panel["title"] == "Records lost")

    assert [
        {
            "title": "PartnerBridgeRecordsGone",
            "url": "https://wiki#partnerbridgerecordsgone",
            "targetBlank": True,
        }
    ] == of_lost
    assert [] == [panel for panel in dashboard()["panels"] if "links" in panel]


def test_the_dashboard_shows_the_objective_of_the_alerts() -> None:
    changed = dashboard({"prometheusRule": {"thresholds": {"deliverySeconds": 2.5}}})

    assert 'le=~\\"60([.]0)?' in json.dumps(dashboard())
    assert 'le=~\\"2.5([.]0)?' in json.dumps(changed)
    assert 'le=~\\"60([.]0)?' not in json.dumps(changed)


@pytest.mark.parametrize("link", ["", "https://wiki"], ids=["without a runbook", "with a runbook"])
def test_grafana_s_schema_takes_the_dashboard(link: str) -> None:
    shown = dashboard({"prometheusRule": {"runbookUrl": link}})
    del shown["name"]

    assert [] == grafana.problems(shown)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("tittle",), "Lag", "panels[1].tittle is unknown"),
        (("title",), 3, "panels[1].title: Input should be a valid string"),
        (("type",), "stats", "panels[1] is of no kind that Grafana has"),
        (("gridPos", "w"), "4", "panels[1].grid_pos.w: Input should be a valid integer"),
        (("options", "graphMode"), "areas", "panels[1].options.graph_mode: Input should be "),
        (("fieldConfig", "defaults", "units"), "s", "panels[1].fieldConfig.defaults.units is unknown"),
        (("targets", 0, "expression"), "up", "panels[1].targets[0].expression is unknown"),
        (("datasource", "type"), "promtheus", "panels[1].targets[0] is of no kind"),
    ],
)
def test_a_wrong_field_of_a_dashboard_would_be_found(
    path: tuple[str | int, ...], value: object, problem: str
) -> None:
    """The judge is not asleep."""
    wrong = json.loads((CHART / "files" / "dashboard.json").read_text())
    at: Any = wrong["panels"][1]
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value

    assert problem in "\n".join(grafana.problems(wrong))


def test_panels_do_not_overlap() -> None:
    """And fill the width of 24, each row of them."""
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    taken = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(taken) == len(set(taken))
    assert set(taken) == {(x, y) for x in range(24) for y in range(max(y for _, y in taken) + 1)}


def test_every_query_tells_bridges_apart() -> None:
    """Bridges of one name in two namespaces are two."""
    queries = [
        target["expr"]
        for panel in dashboard()["panels"]
        if panel["type"] == "timeseries"
        for target in panel["targets"]
    ]

    assert [] == [
        by
        for query in queries
        for by in re.findall(r"\bby \(([^)]*)\)", query)
        if "namespace, bridge" not in by
    ]


def test_every_alert_is_named_on_a_panel() -> None:
    named = {
        alert
        for panel in dashboard()["panels"]
        for alert in re.findall(r"PartnerBridge\w+", panel.get("description", ""))
    }

    assert {each["alert"] for each in rules()} == named
