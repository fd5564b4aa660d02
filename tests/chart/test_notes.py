"""What the user reads after `helm install`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.render import CHART, LEAST, helm, notes

IDENTITY = {"auth": {"podIdentity": {"enabled": True}}}
ROLE = {"role_arn": "arn:aws:iam::123456789012:role/events"}
OWN_IMAGE = {"image": {"repository": "registry.example.com/partner-bridge"}}


def notes_of_an_upgrade(folder: Path) -> str:
    """Helm shows them only for a release in a cluster, so here they are a value of a template."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    text = (chart / "templates" / "NOTES.txt").read_text()
    (chart / "templates" / "_notes.tpl").write_text(f'{{{{- define "notes" }}}}{text}{{{{ end }}}}')
    (chart / "templates" / "notes.yaml").write_text('notes: {{ include "notes" . | toJson }}\n')
    shown = ("--is-upgrade", "--show-only", "templates/notes.yaml", "--values", str(LEAST))
    return str(yaml.safe_load(helm("template", "shop", str(chart), *shown))["notes"])


def test_they_say_how_to_look_and_how_to_replay_and_the_least_policy() -> None:
    assert "helm test shop --namespace integration" in notes()
    assert "events:PutPartnerEvents" in notes()
    assert "replay.enabled=true" in notes()


def test_the_policy_has_the_region_of_every_target() -> None:
    targets = {"us": {"region": "us-east-1"}, "eu": {"region": "eu-central-1"}}
    (regions,) = re.findall(r'"aws:RequestedRegion": (.+?)}', notes({"config": {"targets": targets}}))

    assert ["eu-central-1", "us-east-1"] == json.loads(regions)


@pytest.mark.parametrize(
    "more",
    [
        {"config": {"eventbridge": ROLE}},
        {"config": {"eventbridge": {"claim_check": {"bucket": "large-events"}}}},
        {"config": {"targets": {"us": {"region": "us-east-1", **ROLE}}}},
        {"extraEnv": [{"name": "BRIDGE_EVENTBRIDGE__ROLE_ARN", "value": ROLE["role_arn"]}]},
    ],
    ids=str,
)
def test_there_is_no_least_policy_where_another_role_sends_or_s3_is_written(more: dict[str, Any]) -> None:
    """It would be wrong to say that it needs no more."""
    said = notes(more)

    assert "events:PutPartnerEvents" not in said
    assert 'docs/operations.md, "Permissions"' in said


def test_what_they_propose_keeps_values_and_takes_the_defaults_of_a_new_chart() -> None:
    """With `--reuse-values` a value that a new chart has is not there, and its templates fail."""
    assert 2 == notes().count("--reset-then-reuse-values")
    assert "--reuse-values" not in notes()


def test_the_policy_is_said_once(tmp_path: Path) -> None:
    """Who upgrades has set it up."""
    upgraded = notes_of_an_upgrade(tmp_path)

    assert "events:PutPartnerEvents" not in upgraded
    assert "dead-letters list" in upgraded


@pytest.mark.parametrize(
    ("values", "warns"),
    [
        ({}, True),
        (OWN_IMAGE, False),
        ({"image": {"tag": "1.2.3"}}, True),
    ],
)
def test_they_say_that_the_default_image_must_be_made(values: dict[str, Any], warns: bool) -> None:
    assert warns == ("which no public registry has" in notes(values))


def budget(**values: Any) -> dict[str, Any]:
    return {"podDisruptionBudget": {"maxUnavailable": None, **values}}


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        (budget(minAvailable=1), "minAvailable is 1 and there may be no more than 1 pod:"),
        (budget(minAvailable="50%"), "minAvailable is 50% and there may be no more than 1 pod:"),
        ({"replicaCount": 2, **budget(minAvailable=2)}, "is 2 and there may be no more than 2 pods:"),
        ({"replicaCount": 3, **budget(minAvailable="67%")}, "is 67% and there may be no more than 3 pods:"),
        ({"replicaCount": 2, **budget(minAvailable=1)}, None),
        ({"replicaCount": 3, **budget(minAvailable="66%")}, None),
        ({"replicaCount": 0, **budget(minAvailable=1)}, None),
        ({"keda": {"enabled": True}, "partitions": 6, **budget(minAvailable=1)}, "no more than 1 pod:"),
        ({"keda": {"enabled": True, "minReplicaCount": 2}, "partitions": 6, **budget(minAvailable=1)}, None),
        (budget(maxUnavailable=0), "maxUnavailable is 0: no pod may be evicted"),
        (budget(maxUnavailable="0%"), "maxUnavailable is 0%: no pod may be evicted"),
        (budget(enabled=False, minAvailable=1), None),
        ({}, None),
    ],
    ids=str,
)
def test_they_warn_of_a_budget_that_keeps_nodes_from_being_drained(
    values: dict[str, Any], warning: str | None
) -> None:
    """Kubernetes rounds a share of the pods that must stay up."""
    said = notes(values)

    assert (warning or "") in said
    assert ("no node with one can be drained" in said) == (warning is not None)


def test_they_warn_of_more_replicas_than_partitions() -> None:
    assert "WARNING: replicaCount is 5 and partitions is 3: 2 pods" in notes(
        {"replicaCount": 5, "partitions": 3}
    )


def test_they_do_not_warn_of_as_many() -> None:
    assert "WARNING" not in notes({"replicaCount": 3, "partitions": 3, **IDENTITY, **OWN_IMAGE})


def test_they_warn_where_there_is_no_aws_identity() -> None:
    warning = "WARNING: neither auth.irsa.roleArn nor auth.podIdentity.enabled"

    assert warning in notes()
    assert warning not in notes(IDENTITY)


def test_they_say_how_to_reach_the_page_where_there_is_one() -> None:
    """By port-forward: nothing of the chart leads to it from outside the cluster."""
    assert "open http://localhost:8080/" in notes()
    assert "open http" not in notes({"page": {"enabled": False}})
    assert "want the token of" not in notes()
    assert "want the token of secrets.http" in notes(
        {"secrets": {"http": {"existingSecret": "page", "settings": {"token": "t"}}}}
    )
