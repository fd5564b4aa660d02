"""What the user reads after `helm install`."""

from __future__ import annotations

from tests.chart.render import notes

IDENTITY = {"auth": {"podIdentity": {"enabled": True}}}


def test_they_say_how_to_look_and_how_to_replay_and_the_least_policy() -> None:
    assert "helm test shop --namespace integration" in notes()
    assert "events:PutPartnerEvents" in notes()
    assert "replay.enabled=true" in notes()


def test_they_warn_of_more_replicas_than_partitions() -> None:
    assert "WARNING: replicaCount is 5 and partitions is 3: 2 pods" in notes(
        {"replicaCount": 5, "partitions": 3}
    )


def test_they_do_not_warn_of_as_many() -> None:
    assert "WARNING" not in notes({"replicaCount": 3, "partitions": 3, **IDENTITY})


def test_they_warn_where_there_is_no_aws_identity() -> None:
    warning = "WARNING: neither auth.irsa.roleArn nor auth.podIdentity.enabled"

    assert warning in notes()
    assert warning not in notes(IDENTITY)
