"""Replay, report and check: one-off pods beside the Deployment."""

from __future__ import annotations

import re
from typing import Any

from tests.chart.render import one, release


def replay(values: dict[str, Any]) -> dict[str, Any]:
    return one("Job", release({**values, "replay": {"enabled": True, **values.get("replay", {})}}))


def arguments(job: dict[str, Any]) -> list[str]:
    return list(job["spec"]["template"]["spec"]["containers"][0]["args"])


def test_there_is_no_job_unless_told() -> None:
    assert not {"Job", "CronJob"} & {each["kind"] for each in release()}


def test_replay_only_says_what_it_would_do_unless_told_to_do_it() -> None:
    job = replay({"replay": {"arguments": ["--code", "template_null"]}})

    assert ["dead-letters", "replay", "--code", "template_null"] == arguments(job)
    assert "Never" == job["spec"]["template"]["spec"]["restartPolicy"]
    assert "ttlSecondsAfterFinished" not in job["spec"]


def test_it_replays() -> None:
    """Under a name of its own for each change, since a Job cannot be changed."""
    job = replay({"replay": {"execute": True}})

    assert ["dead-letters", "replay", "--execute"] == arguments(job)
    assert re.fullmatch("shop-partner-bridge-replay-[0-9a-f]{8}", job["metadata"]["name"])


def test_replay_has_the_identity_and_the_secrets_of_the_bridge() -> None:
    kafka = {"existingSecret": "creds", "settings": {"sasl.password": "password"}}
    job = replay({"serviceAccount": {"name": "bridge"}, "secrets": {"kafka": kafka}})
    pod = job["spec"]["template"]["spec"]

    assert "bridge" == pod["serviceAccountName"]
    assert {
        "name": "BRIDGE_KAFKA__SASL_PASSWORD",
        "valueFrom": {"secretKeyRef": {"name": "creds", "key": "password"}},
    } in pod["containers"][0]["env"]


def test_report_lists_dead_letters_on_schedule() -> None:
    report = {"enabled": True, "schedule": "@hourly", "arguments": ["--state", "parked"]}
    job = one("CronJob", release({"report": report}))["spec"]

    assert "@hourly" == job["schedule"]
    assert ["dead-letters", "list", "--json", "--state", "parked"] == arguments(job["jobTemplate"])


def test_check_is_a_test_of_the_release_and_no_pod_of_the_deployment() -> None:
    check = one("Pod", release())

    assert ["check", "--connect"] == check["spec"]["containers"][0]["args"]
    assert "test" == check["metadata"]["annotations"]["helm.sh/hook"]
    assert "check" == check["metadata"]["labels"]["app.kubernetes.io/component"]
