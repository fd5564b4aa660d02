"""The chart renders what it should, refuses what it should, and cannot drift from the application."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector import __version__, config
from tests.chart import kubernetes, render, tools
from tests.chart.render import BAD, CHART, GOLDEN, GOOD, ROOT, RenderError, one
from tests.chart.values_schema import ASKED_FOR_BY_THE_CHART, values_schema

FULL = CHART / "ci" / "full.yaml"
OF_ANOTHER_TEAM = {
    "BRIDGE_KAFKA__BOOTSTRAP_SERVERS": "kafka:9092",
    "BRIDGE_KAFKA__GROUP_ID": "orders-bridge",
    "BRIDGE_EVENTBRIDGE__REGION": "eu-central-1",
    "BRIDGE_DEAD_LETTER__TOPIC": "orders-bridge.dlt",
}
"""What the ConfigMap of `ci/from-environment.yaml` has."""


def name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("version", tools.HELMS)
@pytest.mark.parametrize("values", GOOD, ids=name)
def test_lint(values: Path, version: str) -> None:
    """`helm lint` has nothing to say, warnings included."""
    render.helm("lint", "--strict", str(CHART), "--values", str(values), program=tools.helm(version))


@pytest.mark.parametrize("version", tools.HELMS)
@pytest.mark.parametrize("values", GOOD, ids=name)
def test_golden(values: Path, version: str) -> None:
    """A change of any rendered line is seen in review. `make golden` writes them anew."""
    assert (GOLDEN / values.name).read_text() == render.golden(values, program=tools.helm(version))


def test_no_golden_render_is_left_over() -> None:
    assert {path.name for path in GOOD} == {path.name for path in GOLDEN.glob("*.yaml")}


@pytest.mark.parametrize("values", GOOD, ids=name)
def test_kubernetes_would_take_every_object(values: Path) -> None:
    """By the schemas of Kubernetes, KEDA and the Prometheus operator, with unknown fields refused."""
    objects = render.objects(values)
    wrong = {f"{o['kind']} {o['metadata']['name']}": kubernetes.problems(o) for o in objects}

    assert {} == {what: problems for what, problems in wrong.items() if problems}


def test_a_wrong_field_would_be_found() -> None:
    """The judge is not asleep, neither for Kubernetes' own kinds nor for others."""
    objects = render.objects(FULL)
    deployment, scaled = one("Deployment", objects), one("ScaledObject", objects)
    deployment["spec"]["template"]["spec"]["containerz"] = []
    scaled["spec"]["maxReplicas"] = 3

    assert kubernetes.problems(deployment)
    assert kubernetes.problems(scaled)


@pytest.mark.parametrize("values", BAD, ids=name)
def test_bad_values_fail_for_the_reason_stated(values: Path) -> None:
    """The first line of each `fail-*.yaml` says what the message must contain."""
    reason = values.read_text().splitlines()[0].removeprefix("# fails: ")

    with pytest.raises(RenderError) as failed:
        render.render(values)

    assert reason in str(failed.value)


def test_without_values_it_says_which_are_needed() -> None:
    """`helm template helm/` is the first thing that many try."""
    with pytest.raises(RenderError) as failed:
        render.render()

    message = str(failed.value)
    assert "Three values" in message
    for value in ("config.topics", "config.topics.<topic>.event.source", "config.dead_letter.topic"):
        assert f"- {value} is missing" in message


def test_every_required_setting_is_asked_for_by_the_chart_or_its_schema() -> None:
    """What the generated schema does not require any more, a rule of the chart does, in better words."""
    application = json.loads((ROOT / "schemas" / "config.json").read_text())
    rules = (CHART / "templates" / "_validations.tpl").read_text()
    groups = {"Config": application, **application["$defs"]}
    asked = [key for group in ASKED_FOR_BY_THE_CHART for key in groups[group]["required"]]

    assert [] == [
        key for key in asked if f'"{key}"' not in rules and not re.search(rf"[.]{re.escape(key)}\b", rules)
    ]


def test_schema_is_current() -> None:
    """`make docs` was run after the last change of values.yaml or of a setting."""
    assert values_schema() == (CHART / "values.schema.json").read_text()


def test_version_is_the_application_s() -> None:
    assert __version__ == about()["appVersion"]


def test_a_catalogue_of_charts_can_list_it() -> None:
    """Everything that Artifact Hub and `helm lint` of a publisher ask for, but for an icon."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["description"] == about()["description"]
    assert project["license"] == about()["annotations"]["artifacthub.io/license"]
    assert {"home", "sources", "maintainers", "kubeVersion", "keywords"} <= set(about())
    assert all(isinstance(value, str) for value in about()["annotations"].values())


def about() -> dict[str, Any]:
    return dict(yaml.safe_load((CHART / "Chart.yaml").read_text()))


def leaves(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in schema["properties"].items():
        if value.get("additionalProperties") is False and value.get("properties") and key != "resources":
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def test_every_value_is_documented_and_used() -> None:
    """A value that no template reads, or that nobody explained, is a trap."""
    schema = json.loads(values_schema())
    read = [path for path in (CHART / "templates").rglob("*.*") if path.name != "_defaults.tpl"]
    read.append(CHART / "files" / "alerts.yaml")
    text = "\n".join(path.read_text() for path in read)

    def find(path: str) -> dict[str, Any]:
        found: dict[str, Any] = schema
        for key in path.split("."):
            found = found["properties"][key]
        return found

    paths = list(leaves(schema))
    assert [] == [path for path in paths if not find(path).get("description")]
    unused = [
        path
        for path in paths
        if path != "enabled"  # for the parent chart
        and not (
            # By its path, by the end of it behind a variable or `with`, or as one of a dict's names.
            re.search(rf"[.]Values[.]{re.escape(path)}\b", text)
            or re.search(rf"[$.][a-z]*[.]?{re.escape(path.rpartition('.')[2])}\b", text)
            or f'"{path}"' in text
        )
    ]
    assert [] == unused


@pytest.mark.parametrize("values", GOOD, ids=name)
def test_the_application_takes_what_is_rendered(values: Path, tmp_path: Path) -> None:
    """ConfigMap and environment of each render, read by the application's own loader, hold no problem."""
    objects = render.objects(values)
    mounted = one("ConfigMap", [o for o in objects if "bridge.yaml" in o.get("data", {})])
    for file, content in mounted["data"].items():
        (tmp_path / file).write_text(content)
    (container,) = (
        c
        for c in one("Deployment", objects)["spec"]["template"]["spec"]["containers"]
        if c["name"] == "partner-bridge"
    )
    environ = {each["name"]: each.get("value", "from-a-secret") for each in container["env"]}
    wanted = yaml.safe_load(values.read_text())["config"]
    wanted = {key: value for key, value in wanted.items() if value is not None}
    wanted["topics"] = {topic: rules for topic, rules in wanted["topics"].items() if rules is not None}
    if "kafka" not in wanted:
        environ |= OF_ANOTHER_TEAM
        wanted |= {"dead_letter": {"topic": OF_ANOTHER_TEAM["BRIDGE_DEAD_LETTER__TOPIC"]}, "eventbridge": {}}

    settings = config.load(tmp_path / "bridge.yaml", environ)

    assert wanted["dead_letter"]["topic"] == settings.dead_letter.topic
    assert sorted(wanted["topics"]) == sorted(settings.topics)
    for topic, rules in wanted["topics"].items():
        if "detail" in rules["event"]:
            assert rules["event"]["detail"] == settings.topics[topic].event.detail
    if "max_event_bytes" in wanted["eventbridge"]:
        assert wanted["eventbridge"]["max_event_bytes"] == settings.eventbridge.max_event_bytes
