"""KEDA scales by the lag of each topic."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.render import CHART, RenderError, objects, one, release


def scaled(config: dict[str, Any], **values: Any) -> list[dict[str, Any]]:
    return release({"keda": {"enabled": True}, "partitions": 6, "config": config, **values})


def test_one_trigger_for_each_topic_and_never_more_pods_than_partitions() -> None:
    payments = {"source": "aws.partner/example.com/a", "detail_type": "Payment"}
    spec = one("ScaledObject", scaled({"topics": {"payments": {"event": payments}}}))["spec"]

    assert 6 == spec["maxReplicaCount"]
    assert ["orders.v1", "payments"] == [each["metadata"]["topic"] for each in spec["triggers"]]
    for trigger in spec["triggers"]:
        assert "earliest" == trigger["metadata"]["offsetResetPolicy"]
        assert "10000" == trigger["metadata"]["lagThreshold"]
        assert "authenticationRef" not in trigger


def test_it_signs_in_with_the_bridge_s_own_secret() -> None:
    secret = {
        "existingSecret": "creds",
        "settings": {"sasl.username": "u", "sasl.password": "p"},
        "files": {"ssl.ca.location": "ca.crt"},
    }
    made = scaled(
        {"kafka": {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}},
        secrets={"kafka": secret},
    )
    (trigger,) = one("ScaledObject", made)["spec"]["triggers"]

    assert ("scram_sha512", "enable") == (trigger["metadata"]["sasl"], trigger["metadata"]["tls"])
    assert [
        {"parameter": "ca", "name": "creds", "key": "ca.crt"},
        {"parameter": "password", "name": "creds", "key": "p"},
        {"parameter": "username", "name": "creds", "key": "u"},
    ] == one("TriggerAuthentication", made)["spec"]["secretTargetRef"]


def test_it_signs_in_with_what_strimzi_s_operators_make() -> None:
    """A password and a CA in two Secrets, and the user's name in words: KEDA takes objects alone."""
    made = objects(CHART / "ci" / "strimzi-scram.yaml")
    authentication = one("TriggerAuthentication", made)["spec"]

    assert [
        {"parameter": "ca", "name": "events-cluster-ca-cert", "key": "ca.crt"},
        {"parameter": "password", "name": "orders-bridge", "key": "password"},
    ] == authentication["secretTargetRef"]
    (username,) = authentication["configMapTargetRef"]
    assert "username" == username["parameter"]
    assert "orders-bridge" == one("ConfigMap", made, named=username["name"])["data"][username["key"]]


def test_it_signs_in_with_strimzi_s_certificates() -> None:
    """The user's Secret has a ca.crt, too, but that is the CA of the clients."""
    made = objects(CHART / "ci" / "strimzi-tls.yaml")

    assert [
        {"parameter": "ca", "name": "events-cluster-ca-cert", "key": "ca.crt"},
        {"parameter": "cert", "name": "orders-bridge", "key": "user.crt"},
        {"parameter": "key", "name": "orders-bridge", "key": "user.key"},
    ] == one("TriggerAuthentication", made)["spec"]["secretTargetRef"]


def test_it_takes_a_ca_of_a_config_map_and_a_password_of_the_environment() -> None:
    authentication = one("TriggerAuthentication", objects(CHART / "ci" / "ca-config-map.yaml"))["spec"]

    assert {"parameter": "ca", "name": "company-ca", "key": "ca.pem"} in authentication["configMapTargetRef"]
    assert [
        {"parameter": "password", "name": "BRIDGE_KAFKA__SASL_PASSWORD", "containerName": "partner-bridge"}
    ] == authentication["env"]
    assert "secretTargetRef" not in authentication


def test_it_takes_a_ca_of_the_chart_s_own_files() -> None:
    """Which lie in the ConfigMap of the release."""
    made = scaled(
        {"kafka": {"security.protocol": "SSL", "ssl.ca.location": "/etc/partner-bridge/ca.pem"}},
        files={"ca.pem": "-----BEGIN CERTIFICATE-----"},
    )
    (ca,) = one("TriggerAuthentication", made)["spec"]["configMapTargetRef"]

    assert "ca" == ca["parameter"]
    assert "-----BEGIN CERTIFICATE-----" in one("ConfigMap", made, named=ca["name"])["data"][ca["key"]]


@pytest.mark.parametrize("location", ["probe", "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/cert.pem"])
def test_the_usual_cas_are_keda_s_as_well(location: str) -> None:
    made = scaled({"kafka": {"security.protocol": "SSL", "ssl.ca.location": location}})
    (trigger,) = one("ScaledObject", made)["spec"]["triggers"]

    assert "enable" == trigger["metadata"]["tls"]
    assert "authenticationRef" not in trigger


def test_an_authentication_of_one_s_own_needs_none_of_that() -> None:
    """Neither is anything asked for nor made."""
    made = release(
        {
            "keda": {
                "enabled": True,
                "authenticationRef": {"name": "kafka", "kind": "ClusterTriggerAuthentication"},
            },
            "partitions": 6,
            "config": {
                "kafka": {
                    "security.protocol": "SASL_SSL",
                    "sasl.mechanism": "GSSAPI",
                    "sasl.username": "bridge",
                    "ssl.ca.location": "/etc/kafka-ca/ca.crt",
                }
            },
        }
    )

    assert "TriggerAuthentication" not in {each["kind"] for each in made}
    assert ["shop-partner-bridge"] == [o["metadata"]["name"] for o in made if o["kind"] == "ConfigMap"]


@pytest.mark.parametrize(
    "kafka",
    [
        {"ssl.ca.location": "/etc/kafka-ca/ca.crt"},
        {"ssl.certificate.location": "/etc/ssl/own/tls.crt", "ssl.key.location": "/etc/ssl/own/tls.key"},
        {"ssl.ca.location": "/etc/partner-bridge/another.pem"},
    ],
    ids=str,
)
def test_a_file_that_only_the_pod_has_is_refused(kafka: dict[str, str]) -> None:
    """KEDA would never sign in, and say so only in the log of its operator."""
    with pytest.raises(RenderError, match="a file of the pod that KEDA cannot read"):
        scaled({"kafka": {"security.protocol": "SSL", **kafka}}, files={"ca.pem": "x"})


@pytest.mark.parametrize(
    ("brokers", "metadata", "region"),
    [
        ("b-1.orders.a1b2c3.c2.kafka.us-east-1.amazonaws.com:9098", {}, "us-east-1"),
        ("boot-x1.c1.kafka-serverless.ap-south-1.amazonaws.com:9098", {}, "ap-south-1"),
        ("b-1.orders.a1b2c3.c2.kafka.cn-north-1.amazonaws.com.cn:9098", {}, "cn-north-1"),
        ("kafka.example.com:9098", {}, "eu-central-1"),
        ("kafka.example.com:9098", {"awsRegion": "us-west-2"}, "us-west-2"),
    ],
)
def test_it_signs_in_to_msk_with_a_role_in_the_region_of_the_brokers(
    brokers: str, metadata: dict[str, str], region: str
) -> None:
    """As the bridge does; see `test_a_token_for_msk_is_made_for_the_region_of_its_brokers`."""
    made = release(
        {
            "keda": {"enabled": True, "triggerMetadata": metadata},
            "partitions": 6,
            "config": {"kafka": {"auth": "aws-msk-iam", "bootstrap.servers": brokers}},
        }
    )
    (trigger,) = one("ScaledObject", made)["spec"]["triggers"]

    assert "aws_msk_iam" == trigger["metadata"]["saslTokenProvider"]
    assert region == trigger["metadata"]["awsRegion"]
    assert "aws" == one("TriggerAuthentication", made)["spec"]["podIdentity"]["provider"]


def test_the_user_s_metadata_goes_over_the_chart_s() -> None:
    """A key that occurs twice is no YAML. KEDA's own `version` is too old for Kafka 4."""
    chosen = {"lagThreshold": "5", "limitToPartitionsWithLag": "true"}
    made = release({"keda": {"enabled": True, "triggerMetadata": chosen}, "partitions": 6})
    (trigger,) = one("ScaledObject", made)["spec"]["triggers"]

    assert chosen.items() <= trigger["metadata"].items()
    assert "2.1.0" == trigger["metadata"]["version"]


def test_it_is_paused_by_an_annotation() -> None:
    made = objects(CHART / "ci" / "strimzi-scram.yaml")

    assert {"autoscaling.keda.sh/paused": "true"} == one("ScaledObject", made)["metadata"]["annotations"]
