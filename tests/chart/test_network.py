"""What the NetworkPolicy lets in and out, and the Service by which every pod is found."""

from __future__ import annotations

from typing import Any

import pytest

from connector.sources.replicas import bridge_problem
from tests.chart.render import CHART, notes, objects, one, release

POD_IDENTITY = {"auth": {"podIdentity": {"enabled": True}}}
WITHOUT_SERVICE = {"service": {"enabled": False}}


def policy(values: dict[str, Any] | None = None) -> dict[str, Any]:
    """The NetworkPolicy with these values, those of `networkPolicy` added to `enabled`."""
    values = dict(values or {})
    chosen = {"enabled": True, **values.pop("networkPolicy", {})}
    return dict(one("NetworkPolicy", release({**values, "networkPolicy": chosen}))["spec"])


def ways_out(values: dict[str, Any] | None = None) -> set[tuple[int, str, str]]:
    """Port, protocol and destination of all that is let out; `anywhere` where no destination is said."""
    found = set()
    for rule in policy(values)["egress"]:
        for port in rule["ports"]:
            for peer in rule.get("to", [None]):
                found.add((port["port"], port.get("protocol", "TCP"), destination(peer)))
    return found


def destination(peer: dict[str, Any] | None) -> str:
    match peer:
        case None:
            return "anywhere"
        case {"ipBlock": {"cidr": block}}:
            return str(block)
        case {"namespaceSelector": {"matchExpressions": [{"values": [*names]}]}}:
            return " or ".join(names)
        case {"podSelector": {"matchLabels": {"app.kubernetes.io/instance": release_name}}}:
            return str(release_name)
    raise AssertionError(peer)


def test_there_is_none_unless_told() -> None:
    """It must know where everything is; one that does not keeps the bridge from its brokers."""
    assert "NetworkPolicy" not in {each["kind"] for each in release()}
    assert "networkPolicy.enabled=true" in notes()
    assert "networkPolicy.enabled=true" not in notes({"networkPolicy": {"enabled": True}})


def test_nothing_comes_in_unless_a_namespace_is_named() -> None:
    assert [] == policy(WITHOUT_SERVICE)["ingress"]
    assert ["Ingress", "Egress"] == policy()["policyTypes"]


def test_the_named_namespace_scrapes_and_nothing_else() -> None:
    namespace = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}

    assert [{"from": [namespace], "ports": [{"port": "http", "protocol": "TCP"}]}] == policy(
        {"networkPolicy": {"monitoringNamespace": "monitoring"}, **WITHOUT_SERVICE}
    )["ingress"]


def test_the_ports_that_the_configuration_names_are_let_out() -> None:
    config = {
        "kafka": {"bootstrap.servers": "a:9093, b:9094,c"},
        "schema_registry": {"url": "https://registry.example.com/apis"},
    }
    _names, kafka, registry, eventbridge, _each_other = policy({"config": config})["egress"]

    assert [9093, 9094, 9092] == [each["port"] for each in kafka["ports"]]
    assert {"TCP"} == {each["protocol"] for each in kafka["ports"]}
    assert 443 == registry["ports"][0]["port"]
    assert 443 == eventbridge["ports"][0]["port"]


def test_sts_is_let_out_to_where_eventbridge_has_another_port() -> None:
    """An endpoint of one's own, of any target; STS and Glue keep theirs."""
    config = {
        "eventbridge": {"endpoint_url": "https://events.example.com:8443"},
        "targets": {
            "us": {"region": "us-east-1", "endpoint_url": "http://localhost:4566"},
            "eu": {"region": "eu-west-1"},
        },
    }
    ports = {port for port, _, where in ways_out({"config": config}) if where == "anywhere"}

    assert {443, 8443, 4566} <= ports


def test_the_bucket_of_a_claim_check_is_let_out_to_by_its_port() -> None:
    """Of every target, also where EventBridge has the Region's own endpoint."""

    def claim_check(port: int) -> dict[str, Any]:
        return {"claim_check": {"bucket": "large-events", "endpoint_url": f"https://s3.example.com:{port}"}}

    config = {
        "eventbridge": claim_check(9443),
        "targets": {"us": {"region": "us-east-1", **claim_check(9444)}},
    }
    ports = {port for port, _, where in ways_out({"config": config}) if where == "anywhere"}

    assert {443, 9443, 9444} <= ports


def test_names_are_looked_up_where_kubernetes_openshift_and_gke_have_their_dns() -> None:
    """By the ports of the servers themselves: what is behind a Service is judged by where it comes out."""
    lookups = {
        (port, protocol, where)
        for port in (53, 5353)
        for protocol in ("UDP", "TCP")
        for where in ("kube-system or openshift-dns", "169.254.20.10/32", "169.254.169.254/32")
    }

    assert lookups <= ways_out()


def test_names_are_looked_up_where_the_user_says() -> None:
    dns = {"ports": [5353], "to": [{"ipBlock": {"cidr": "10.0.0.2/32"}}]}
    ways = ways_out({"networkPolicy": {"dns": dns}})

    assert {(5353, "UDP", "10.0.0.2/32"), (5353, "TCP", "10.0.0.2/32")} == {
        way for way in ways if way[0] in {53, 5353}
    }


def test_the_agent_of_pod_identity_is_let_out_to_where_that_is_used() -> None:
    agent = {(80, "TCP", "169.254.170.23/32"), (80, "TCP", "fd00:ec2::23/128")}

    assert agent <= ways_out(POD_IDENTITY)
    assert not agent & ways_out()


def test_the_metadata_of_the_node_is_let_out_to_where_told() -> None:
    metadata = {(80, "TCP", "169.254.169.254/32"), (80, "TCP", "fd00:ec2::254/128")}

    assert metadata <= ways_out({"networkPolicy": {"aws": {"instanceMetadata": True}}})
    assert not metadata & ways_out()


def test_pods_ask_each_other_where_there_is_a_service() -> None:
    """`source list --bridge dns:…` in one of them asks all of them."""
    config = {"http": {"port": 9000}}
    (rule,) = policy({"config": config})["ingress"]

    assert [{"port": 9000, "protocol": "TCP"}] == rule["ports"]
    assert "shop" == destination(rule["from"][0])
    assert (9000, "TCP", "shop") in ways_out({"config": config})
    assert (9000, "TCP", "shop") not in ways_out({"config": config, **WITHOUT_SERVICE})


def test_the_service_is_headless_and_has_every_pod_of_the_deployment() -> None:
    """Those that are not ready as well, and those of the Jobs not."""
    every = release({"config": {"http": {"port": 9000}}})
    service, deployment = one("Service", every)["spec"], one("Deployment", every)["spec"]
    (port,) = service["ports"]
    (container,) = deployment["template"]["spec"]["containers"]

    assert "None" == service["clusterIP"]
    assert service["publishNotReadyAddresses"] is True
    assert deployment["selector"]["matchLabels"] == service["selector"]
    assert 9000 == port["port"] == container["ports"][0]["containerPort"]
    assert port["targetPort"] == container["ports"][0]["name"]


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("orders-bridge", "orders-bridge"),
        ("4711", "bridge-4711"),
        ("orders.v1", "orders-v1"),
        ("4" * 63, f"bridge-{'4' * 56}"),
    ],
)
def test_the_service_has_a_name_that_kubernetes_takes(name: str, service: str) -> None:
    """A Deployment may be called 4711 or orders.v1, and a Service not."""
    assert service == one("Service", release({"fullnameOverride": name}))["metadata"]["name"]
    assert f"dns:{service}.integration:8080" in notes({"fullnameOverride": name})


def test_the_notes_say_how_to_ask_every_pod() -> None:
    """With the name and the port that the Service has, in the form that the command takes."""
    (line,) = [
        line for line in notes({"config": {"http": {"port": 9000}}}).splitlines() if "--bridge" in line
    ]
    asked = line.rpartition(" ")[2]

    assert "dns:shop-partner-bridge.integration:9000" == asked
    assert bridge_problem(asked) is None
    assert "--bridge" not in notes(WITHOUT_SERVICE)


@pytest.mark.parametrize("name", ["openshift-network", "bare"])
def test_there_is_no_service_where_none_is_wanted(name: str) -> None:
    assert "Service" not in {each["kind"] for each in objects(CHART / "ci" / f"{name}.yaml")}
