"""What the NetworkPolicy lets in and out."""

from __future__ import annotations

from typing import Any

from tests.chart.render import one, release


def policy(values: dict[str, Any] | None = None) -> dict[str, Any]:
    return dict(one("NetworkPolicy", release(values))["spec"])


def test_nothing_comes_in_unless_a_namespace_is_named() -> None:
    assert [] == policy()["ingress"]
    assert ["Ingress", "Egress"] == policy()["policyTypes"]


def test_the_named_namespace_scrapes_and_nothing_else() -> None:
    namespace = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}

    assert [{"from": [namespace], "ports": [{"port": "http", "protocol": "TCP"}]}] == policy(
        {"networkPolicy": {"monitoringNamespace": "monitoring"}}
    )["ingress"]


def test_the_ports_that_the_configuration_names_are_let_out() -> None:
    config = {
        "kafka": {"bootstrap.servers": "a:9093, b:9094,c"},
        "schema_registry": {"url": "https://registry.example.com/apis"},
    }
    _names, kafka, registry, eventbridge = policy({"config": config})["egress"]

    assert [9093, 9094, 9092] == [each["port"] for each in kafka["ports"]]
    assert {"TCP"} == {each["protocol"] for each in kafka["ports"]}
    assert 443 == registry["ports"][0]["port"]
    assert 443 == eventbridge["ports"][0]["port"]


def test_the_agent_of_pod_identity_is_let_out_to_where_that_is_used() -> None:
    agent = policy({"auth": {"podIdentity": {"enabled": True}}})["egress"][4]

    assert "169.254.170.23/32" == agent["to"][0]["ipBlock"]["cidr"]
    assert 80 == agent["ports"][0]["port"]
