"""KEDA scales by the lag of each topic."""

from __future__ import annotations

from typing import Any

from tests.chart.render import one, release


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
    objects = scaled(
        {"kafka": {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}},
        secrets={"kafka": secret},
    )
    (trigger,) = one("ScaledObject", objects)["spec"]["triggers"]

    assert ("scram_sha512", "enable") == (trigger["metadata"]["sasl"], trigger["metadata"]["tls"])
    assert [
        {"parameter": "ca", "name": "creds", "key": "ca.crt"},
        {"parameter": "password", "name": "creds", "key": "p"},
        {"parameter": "username", "name": "creds", "key": "u"},
    ] == one("TriggerAuthentication", objects)["spec"]["secretTargetRef"]


def test_it_signs_in_to_msk_with_a_role() -> None:
    objects = scaled({"kafka": {"auth": "aws-msk-iam"}})
    (trigger,) = one("ScaledObject", objects)["spec"]["triggers"]

    assert "aws_msk_iam" == trigger["metadata"]["saslTokenProvider"]
    assert "aws" == one("TriggerAuthentication", objects)["spec"]["podIdentity"]["provider"]
