"""Identity, disruption budget and objects of the user's own."""

from __future__ import annotations

from tests.chart.render import one, release


def test_the_account_has_the_role_of_irsa() -> None:
    role = "arn:aws:iam::123456789012:role/bridge"
    account = one("ServiceAccount", release({"auth": {"irsa": {"roleArn": role}}}))

    assert role == account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]


def test_pod_identity_needs_no_annotation() -> None:
    account = one("ServiceAccount", release({"auth": {"podIdentity": {"enabled": True}}}))

    assert "annotations" not in account["metadata"]


def test_one_pod_may_go_at_a_time_and_an_unready_one_always() -> None:
    budget = one("PodDisruptionBudget", release())["spec"]

    assert 1 == budget["maxUnavailable"]
    assert "minAvailable" not in budget
    assert "AlwaysAllow" == budget["unhealthyPodEvictionPolicy"]


def test_a_share_of_the_pods_is_kept_when_told() -> None:
    budget = one(
        "PodDisruptionBudget",
        release({"podDisruptionBudget": {"minAvailable": "50%"}}),
    )["spec"]

    assert "50%" == budget["minAvailable"]
    assert "maxUnavailable" not in budget


def test_extra_objects_are_templates() -> None:
    extra = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "{{ .Release.Name }}-x"}}

    assert "shop-x" == one("Secret", release({"extraObjects": [extra]}))["metadata"]["name"]
