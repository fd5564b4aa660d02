"""Names, labels and annotations, which all objects have from one place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import render
from tests.chart.render import CHART, GOOD, LEAST, helm, one, release


class Strict(yaml.SafeLoader):
    """Refuses a mapping in which a key occurs twice; YAML's own readers take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"twice in line {node.start_mark.line}: {keys}"
        return super().construct_mapping(node, deep=deep)


@pytest.mark.parametrize("values", GOOD, ids=lambda path: path.stem)
def test_no_key_occurs_twice(values: Path) -> None:
    """An API server refuses such an object, or takes either of the two."""
    assert list(yaml.load_all(render.render(values), Strict))


def test_one_place_writes_metadata() -> None:
    """A label that another place writes beside it would occur twice."""
    written = [
        f"{path.name}: {line.strip()}"
        for path in (CHART / "templates").rglob("*.yaml")
        for line in path.read_text().splitlines()
        if re.match(r" *(labels|annotations):", line)
    ]

    assert [] == written


def test_of_a_key_that_several_values_have_the_most_special_wins() -> None:
    labels = {
        "commonLabels": {"a": "common", "b": "common", "c": "common"},
        "podLabels": {"b": "pod", "c": "pod"},
        "replay": {"enabled": True, "podLabels": {"c": "replay"}, "labels": {"c": "job"}},
    }
    job = one("Job", release(labels))
    deployment = one("Deployment", release(labels))

    def abc(obj: dict[str, Any]) -> list[str]:
        return [obj["metadata"]["labels"][key] for key in "abc"]

    assert ["common", "common", "job"] == abc(job)
    assert ["common", "pod", "replay"] == abc(job["spec"]["template"])
    assert ["common", "pod", "pod"] == abc(deployment["spec"]["template"])


def test_jobs_have_labels_and_annotations_apart_from_the_deployment() -> None:
    """Istio's sidecar would keep a Job from ending; Argo CD makes it a hook."""
    own = {
        "labels": {"l": "1"},
        "annotations": {"a": "1"},
        "podLabels": {"pl": "1"},
        "podAnnotations": {"pa": "1"},
    }
    objects = release({"replay": {"enabled": True, **own}, "report": {"enabled": True, **own}})
    job, cron = one("Job", objects), one("CronJob", objects)
    deployment = one("Deployment", objects)

    for each in (job, cron, cron["spec"]["jobTemplate"]):
        assert "1" == each["metadata"]["labels"]["l"]
        assert {"a": "1"} == each["metadata"]["annotations"]
    for each in (job["spec"]["template"], cron["spec"]["jobTemplate"]["spec"]["template"]):
        assert "1" == each["metadata"]["labels"]["pl"]
        assert "1" == each["metadata"]["annotations"]["pa"]
    for each in (deployment, deployment["spec"]["template"]):
        assert not {"l", "pl"} & set(each["metadata"]["labels"])
        assert not {"a", "pa"} & set(each["metadata"].get("annotations", {}))


def test_every_object_has_the_common_annotations() -> None:
    objects = [each for each in release({"commonAnnotations": {"a": "1"}}) if each["kind"] != "Secret"]

    assert {"1"} == {each["metadata"]["annotations"]["a"] for each in objects}


def test_a_common_annotation_restarts_no_pod() -> None:
    def template(values: dict[str, Any]) -> Any:
        return one("Deployment", release(values))["spec"]["template"]

    assert template({}) == template({"commonAnnotations": {"a": "1"}})


def test_a_replay_whose_pods_change_is_another_job() -> None:
    """Kubernetes refuses to change the pods of a Job."""

    def name(**replay: Any) -> str:
        return str(one("Job", release({"replay": {"enabled": True, **replay}}))["metadata"]["name"])

    assert name() != name(podLabels={"a": "1"})
    assert name() == name(labels={"a": "1"})


@pytest.mark.parametrize("of", ["123", "1e3", "on", "null"])
def test_a_name_that_looks_like_something_else_is_text(of: str) -> None:
    """A release may be called so, and a namespace."""
    names = f"fullnameOverride=5,networkPolicy.monitoringNamespace={of.replace('null', '7')}"
    every = "networkPolicy.enabled=true,podMonitor.enabled=true,keda.enabled=true,partitions=3"
    options = ("--values", str(LEAST), "--set-string", names, "--set", every)
    objects = [each for each in yaml.safe_load_all(helm("template", of, str(CHART), *options)) if each]
    (scraped,) = one("PodMonitor", objects)["spec"]["podMetricsEndpoints"]
    (scrapers,) = (
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for rule in one("NetworkPolicy", objects)["spec"]["ingress"]
        for peer in rule["from"]
        if "namespaceSelector" in peer
    )

    assert {of} == {each["metadata"]["labels"]["app.kubernetes.io/instance"] for each in objects}
    assert {"5", "5-check", "bridge-5"} == {each["metadata"]["name"] for each in objects}
    assert "5" == one("Deployment", objects)["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
    assert "5" == one("ScaledObject", objects)["spec"]["scaleTargetRef"]["name"]
    assert "5" == scraped["relabelings"][0]["replacement"]
    assert of.replace("null", "7") == scrapers


def test_reports_of_releases_with_long_names_stay_apart() -> None:
    """Kubernetes appends a time to the name of a CronJob, which leaves it 52 characters."""
    same = "a-bridge-with-a-name-that-is-longer-than-one-would-like-it"

    def name(full: str) -> str:
        values = {"fullnameOverride": full, "report": {"enabled": True}}
        return str(one("CronJob", release(values))["metadata"]["name"])

    assert name(f"{same}-a") != name(f"{same}-b")
    assert max(len(name(f"{same}-a")), len(name(same))) <= 52
    assert "short-report" == name("short")
