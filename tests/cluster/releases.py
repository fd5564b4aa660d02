"""The chart on a real API server: installed, upgraded, uninstalled, at Pod Security `restricted`.

Every `helm/ci/*.yaml` that renders, and every recipe. No pod is started, for want of a kubelet: what a
release would start is given to the API server as a pod, to be judged and not kept. The first run builds
Kubernetes, which takes minutes, so that only `make cluster` runs it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import recipes, render, tools
from tests.chart.recipes import Recipe
from tests.chart.render import CHART, GOOD, LEAST, one
from tests.cluster.api_server import Answer, ApiServer

pytestmark = pytest.mark.timeout(1200)

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
RELEASE = "shop"

CASES = [*(f"ci/{path.stem}" for path in GOOD), *(f"recipes/{name}" for name in recipes.names())]
on_every_helm = pytest.mark.parametrize("version", tools.HELMS)
each_case = pytest.mark.parametrize("case", CASES, indirect=True)


@pytest.fixture
def namespace(api_server: ApiServer) -> str:
    """A new one, in which nothing but restricted pods may run."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
    taken(api_server.create(made, name))
    return name


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Recipe:
    kind, _, name = request.param.partition("/")
    return (
        recipes.prepare(name, tmp_path)
        if kind == "recipes"
        else Recipe(CHART, [CHART / "ci" / f"{name}.yaml"])
    )


def taken(answer: Answer) -> None:
    assert ("", []) == (answer.refusal, answer.warnings)


def documents(case: Recipe, namespace: str, *more: str) -> list[str]:
    """The objects of a release as the YAML that Helm writes, in which a key may still occur twice."""
    text = render.helm("template", RELEASE, *case.arguments, "--namespace", namespace, *more)
    return [part for part in re.split(r"^---$", text, flags=re.MULTILINE) if yaml.safe_load(part)]


def pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every pod that Kubernetes would start of these objects."""
    found = []
    for obj in objects:
        spec = obj.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if obj["kind"] == "Pod":
            found.append(obj)
        elif template:
            metadata = {**template["metadata"], "generateName": f"{obj['metadata']['name']}-"}
            pod = {"restartPolicy": "Always", **template["spec"]}
            found.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod})
    return found


def provide(api_server: ApiServer, pod: Mapping[str, Any], namespace: str) -> None:
    """Makes what a pod refers to and others bring: accounts, classes of priority and of runtimes."""
    spec = pod["spec"]
    kinds: list[tuple[str, str, str | None, dict[str, Any]]] = [
        ("v1", "ServiceAccount", spec.get("serviceAccountName"), {}),
        ("scheduling.k8s.io/v1", "PriorityClass", spec.get("priorityClassName"), {"value": 1000}),
        ("node.k8s.io/v1", "RuntimeClass", spec.get("runtimeClassName"), {"handler": "runc"}),
    ]
    for version, kind, name, more in kinds:
        obj = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}
        if name and api_server.find(obj, namespace) is None:
            taken(api_server.create(obj, namespace))


@each_case
def test_the_api_server_takes_every_object(case: Recipe, api_server: ApiServer, namespace: str) -> None:
    """With unknown fields and keys that occur twice refused, and without a warning."""
    said = {
        f"{yaml.safe_load(text)['kind']} {yaml.safe_load(text)['metadata']['name']}": api_server.create(
            text, namespace, dry=True
        )
        for text in documents(case, namespace)
        if yaml.safe_load(text)["kind"] != "Pod"
    }

    assert {} == {what: (a.refusal, a.warnings) for what, a in said.items() if a.refusal or a.warnings}


@each_case
def test_a_restricted_namespace_takes_every_pod(case: Recipe, api_server: ApiServer, namespace: str) -> None:
    """Those of the Deployment, the Jobs and `helm test`, with all that the API server checks of pods."""
    found = pods([yaml.safe_load(text) for text in documents(case, namespace)])
    for pod in found:
        provide(api_server, pod, namespace)

    assert found
    for pod in found:
        taken(api_server.create(pod, namespace, dry=True))


@on_every_helm
@each_case
def test_it_is_installed_upgraded_and_uninstalled(
    case: Recipe, version: str, api_server: ApiServer, namespace: str
) -> None:
    """The upgrade changes what is there and makes nothing anew but Jobs; nothing is left in the end."""

    def helm(*arguments: str) -> str:
        return api_server.helm(*arguments, "--namespace", namespace, version=version)

    changed = "--set", "podAnnotations.example\\.com/again=yes"
    helm("install", RELEASE, *case.arguments)
    first = stored(api_server, helm("get", "manifest", RELEASE), namespace)
    helm("upgrade", RELEASE, *case.arguments, *changed)
    second = stored(api_server, helm("get", "manifest", RELEASE), namespace)
    helm("uninstall", RELEASE)

    kept = {what: obj["metadata"]["uid"] for what, obj in first.items() if what[0] != "Job"}
    assert kept == {what: obj["metadata"]["uid"] for what, obj in second.items() if what[0] != "Job"}
    if case.chart == CHART:
        pod = one("Deployment", second.values())["spec"]["template"]
        assert "yes" == pod["metadata"]["annotations"]["example.com/again"]
    assert [] == [what for what, obj in second.items() if api_server.find(obj, namespace)]


def stored(api_server: ApiServer, manifest: str, namespace: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What the API server has of a release's objects, by kind and name; all of them have to be there."""
    found = {}
    for obj in yaml.safe_load_all(manifest):
        if obj:
            there = api_server.find(obj, namespace)
            assert there, f"{obj['kind']} {obj['metadata']['name']} is missing"
            found[obj["kind"], obj["metadata"]["name"]] = there
    return found


@on_every_helm
def test_any_values_may_follow_any_others(version: str, api_server: ApiServer, namespace: str) -> None:
    """In one release: no upgrade meets a field that cannot be changed."""
    for values in [LEAST, *(path for path in GOOD if path != LEAST), LEAST]:
        api_server.helm(
            *("upgrade", "--install", RELEASE, str(CHART), "--namespace", namespace, "--values", str(values)),
            version=version,
        )


@on_every_helm
def test_keda_takes_over_without_a_pass_through_one_pod(
    version: str, api_server: ApiServer, namespace: str
) -> None:
    """As helm/README says, of a release of either Helm: another field manager holds the number meanwhile."""
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{RELEASE}-partner-bridge"},
    }
    values = str(CHART), "--namespace", namespace, "--values", str(LEAST), "--set", "partitions=12"
    api_server.helm("install", RELEASE, *values, "--set", "replicaCount=3", version=version)

    taken(api_server.apply({**deployment, "spec": {"replicas": 3}}, namespace, manager="handover"))
    api_server.helm("upgrade", RELEASE, *values, "--set", "keda.enabled=true", "--server-side=true")

    found = api_server.find(deployment, namespace)
    assert found
    assert 3 == found["spec"]["replicas"]


def test_the_judge_is_not_asleep(api_server: ApiServer, namespace: str) -> None:
    """A field that nobody knows, a key that occurs twice, a pod that may be root: each is refused."""
    texts = documents(Recipe(CHART, [LEAST]), namespace)
    (account,) = [text for text in texts if "kind: ServiceAccount" in text]
    (pod, *_) = pods([yaml.safe_load(text) for text in texts])
    provide(api_server, pod, namespace)
    free = {**pod, "spec": {**pod["spec"], "securityContext": {}}}

    unknown = api_server.create(f"{account}\nsecretz: []\n", namespace, dry=True)
    twice = api_server.create(f"{account}\nkind: ServiceAccount\n", namespace, dry=True)
    root = api_server.create(free, namespace, dry=True)

    assert "unknown field" in unknown.refusal
    assert "already set" in twice.refusal
    assert "violates PodSecurity" in root.refusal
