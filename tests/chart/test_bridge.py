"""The chart and the application fit together: what the chart mounts and sets starts the real bridge."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from confluent_kafka import Producer

from connector.sandbox import orders
from connector.sandbox.services import Sandbox
from tests.chart import render
from tests.services.child import Child, free_ports, wait_until


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def mount(config_map: dict[str, Any], folder: Path) -> None:
    """Mounts a ConfigMap as the kubelet does: files are links, through `..data`, into another folder."""
    really = folder / "..2026_11_22_00_00_00.1"
    really.mkdir(parents=True)
    for name, content in config_map["data"].items():
        (really / name).write_text(content)
        (folder / name).symlink_to(Path("..data") / name)
    (folder / "..data").symlink_to(really.name)


def status(port: int, path: str) -> int:
    try:
        return urllib3.request("GET", f"http://127.0.0.1:{port}{path}", timeout=2, retries=False).status
    except urllib3.exceptions.HTTPError:
        return 0


def test_the_rendered_pod_bridges(sandbox: Sandbox, tmp_path: Path) -> None:
    """ConfigMap, environment, arguments, port and probes of the render, with the sandbox around it."""
    (port,) = free_ports(1)
    settings = yaml.safe_load(sandbox.config(http_port=port))
    del settings["http"]["host"]
    # The user name comes from a Secret, which goes over what `config` says; the sandbox lets anybody in.
    values = tmp_path / "values.yaml"
    values.write_text(
        json.dumps(
            {
                "config": settings,
                "secrets": {
                    "schemaRegistry": {
                        "existingSecret": "registry",
                        "settings": {"basic_auth.username": "user", "basic_auth.password": "password"},
                    }
                },
            }
        )
    )
    objects = render.objects(values)
    mount(render.one("ConfigMap", objects), tmp_path / "mounted")
    pod = render.one("Deployment", objects)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mounted_at,) = (m["mountPath"] for m in container["volumeMounts"] if m["name"] == "config")
    environ = {each["name"]: each.get("value", "from-a-secret") for each in container["env"]}
    environ["BRIDGE_CONFIG"] = environ["BRIDGE_CONFIG"].replace(mounted_at, str(tmp_path / "mounted"))
    probes = {kind: container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")}
    assert [port] == [each["containerPort"] for each in container["ports"] if each["name"] == "http"]
    bridge = Child(
        [sys.executable, "-m", "connector", *container["args"]],
        log=tmp_path / "bridge.log",
        environ={**sandbox.credentials(), **environ},
        folder=tmp_path,
    )
    good = [record for record in orders.records(100, sandbox.schema_id) if record.becomes == "event"]
    producer = Producer({"bootstrap.servers": sandbox.broker.bootstrap})

    bridge.start()
    try:
        for kind, probe in probes.items():
            wait_until(
                lambda path=probe["httpGet"]["path"]: status(port, path) == 200,  # type: ignore[misc]
                what=lambda kind=kind: f"{kind} probe succeeds\n{bridge.tail()}",  # type: ignore[misc]
            )
        for record in good:
            producer.produce(orders.TOPIC, record.value, record.key)
        assert 0 == producer.flush(30)
        wait_until(
            lambda: sandbox.eventbridge.counts().accepted == len(good),
            what=lambda: f"everything delivered\n{bridge.tail()}",
        )
        bridge.signal(signal.SIGTERM)

        assert 0 == bridge.wait(timeout_s=pod["terminationGracePeriodSeconds"])
    finally:
        bridge.kill()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"replay": {"enabled": True, "arguments": ["--code", "template_null", "--rate", "50"]}}, "Job"),
        ({"report": {"enabled": True, "arguments": ["--state", "parked"]}}, "CronJob"),
        ({}, "Pod"),
    ],
)
def test_the_arguments_of_each_job_are_understood(
    values: dict[str, Any], kind: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Replay, report and check run against the sandbox with exit code 0."""
    settings = yaml.safe_load(sandbox.config(http_port=8080))
    del settings["http"]
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps({"config": settings, **values}))
    objects = render.objects(file)
    mount(render.one("ConfigMap", objects), tmp_path / "mounted")
    found = render.one(kind, objects)
    job = found["spec"]["jobTemplate"] if kind == "CronJob" else found
    pod = job["spec"]["template"]["spec"] if kind != "Pod" else job["spec"]
    command = Child(
        [sys.executable, "-m", "connector", *pod["containers"][0]["args"]],
        log=tmp_path / "command.log",
        environ={**sandbox.credentials(), "BRIDGE_CONFIG": str(tmp_path / "mounted" / "bridge.yaml")},
        folder=tmp_path,
    )

    command.start()

    assert 0 == command.wait(timeout_s=60), command.tail()
