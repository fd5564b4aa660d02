"""Values as they are in the wild: with nulls, file over file, and with what the chart cannot see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import render, tools
from tests.chart.render import CHART, LEAST, RenderError, bridge_container, helm, one, release
from tests.chart.values_defaults import values_defaults
from tests.chart.values_schema import VALUES

FULL = CHART / "ci" / "full.yaml"
TEMPLATES = sorted(
    path for path in (CHART / "templates").rglob("*.*") if path.is_file() and path.name[0] != "_"
)


def layered(*files: dict[str, Any], over: Path = LEAST, version: str = tools.NEWEST) -> list[dict[str, Any]]:
    """The objects of a release with these files of values, the later over the earlier."""
    merged: dict[str, Any] = {}
    for each in files:
        merge(merged, each)
    text = helm(
        *("template", "shop", str(CHART), "--values", str(over), "--values", "-"),
        values=json.dumps(merged),
        program=tools.helm(version),
    )
    return [each for each in yaml.safe_load_all(text) if each]


def merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    """As Helm merges files of values: mappings key by key, of everything else the last, null included."""
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def settings(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (mounted,) = (o for o in objects if "bridge.yaml" in o.get("data", {}))
    return dict(yaml.safe_load(mounted["data"]["bridge.yaml"]))


SWITCHES = {"enabled", "create"}


def nulls(values: dict[str, Any], depth: int) -> dict[str, Any]:
    """All keys at a depth as null, but for what would switch off the rest."""
    if depth == 0:
        return {key: None for key in values if key not in SWITCHES}
    deeper = {key: nulls(each, depth - 1) for key, each in values.items() if isinstance(each, dict)}
    return {key: each for key, each in deeper.items() if each}


def test_defaults_are_current() -> None:
    """`make docs` was run after the last change of values.yaml."""
    assert values_defaults() == (CHART / "templates" / "_defaults.tpl").read_text()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_template_begins_with_complete_values(template: Path) -> None:
    """Helm renders the files in no certain order, so that none may count on another."""
    assert template.read_text().startswith('{{- include "partner-bridge.completeValues" . ')


DEFAULTS: dict[str, Any] = yaml.safe_load(VALUES.read_text())


@pytest.mark.parametrize("section", [key for key in DEFAULTS if isinstance(DEFAULTS[key], dict)])
def test_every_value_may_be_null(section: str) -> None:
    """A section, or all that is in it, over a file that uses nearly everything: no template meets a null.

    What must be said is asked for in the chart's own words.
    """
    inside = [nulls(DEFAULTS[section], depth) for depth in range(3)]
    said = [refusal({section: values}) for values in (None, *filter(None, inside))]

    assert [] == [each for each in said if each and "these values cannot be used" not in each]


def refusal(values: dict[str, Any]) -> str:
    """What Helm says against values over `ci/full.yaml`; nothing if it renders."""
    try:
        layered(values, over=FULL)
    except RenderError as error:
        return str(error)
    return ""


def test_every_value_beside_the_sections_may_be_null() -> None:
    values = {key: None for key, default in DEFAULTS.items() if not isinstance(default, dict)}

    assert "" == refusal({**values, "keda": None, "config": {"delivery": None}})


@pytest.mark.parametrize("version", tools.HELMS)
def test_null_takes_away_what_an_earlier_file_said(version: str) -> None:
    """A topic, a setting, a label; the rest of the earlier file stays."""
    payments = {"event": {"source": "aws.partner/example.com/p", "detail_type": "Payment"}}
    earlier = {
        "config": {
            "topics": {"payments": payments},
            "kafka": {"client.rack": "a"},
            "log": {"level": "debug"},
        },
        "podLabels": {"team": "a", "tier": "b"},
        "files": {"a.avsc": "{}"},
        "keda": {"enabled": True},
        "partitions": 6,
    }
    later = {
        "config": {"topics": {"payments": None}, "kafka": {"client.rack": None}, "log": None},
        "podLabels": {"team": None},
        "files": {"a.avsc": None},
        "keda": None,
    }
    before, after = layered(earlier, version=version), layered(earlier, later, version=version)
    labels = one("Deployment", after)["spec"]["template"]["metadata"]["labels"]

    assert {"orders.v1", "payments"} == set(settings(before)["topics"])
    assert {"orders.v1"} == set(settings(after)["topics"])
    assert {"bootstrap.servers", "group.id"} == set(settings(after)["kafka"])
    assert "log" not in settings(after)
    assert "b" == labels["tier"]
    assert "team" not in labels
    assert ["bridge.yaml"] == list(one("ConfigMap", after)["data"])
    assert "ScaledObject" not in {each["kind"] for each in after}


def test_a_section_that_is_null_has_its_defaults() -> None:
    """As one has whose keys are all commented out."""
    null = ["image", "secrets", "auth", "serviceAccount", "podDisruptionBudget", "replay", "tests", "global"]

    assert release() == release(dict.fromkeys(null))


def test_what_goes_into_an_object_as_it_stands_is_left_out_when_null() -> None:
    """OpenShift assigns user and group; Helm's own word for that is null."""
    values = {
        "podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
        "securityContext": None,
        "resources": {"limits": None},
        "strategy": None,
    }
    objects = release(values)
    deployment = one("Deployment", objects)["spec"]
    pod = deployment["template"]["spec"]

    assert {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}} == pod["securityContext"]
    assert "securityContext" not in bridge_container(objects)
    assert ["requests"] == list(bridge_container(objects)["resources"])
    assert "strategy" not in deployment


def test_null_in_an_event_stays() -> None:
    """There it is a value: no metadata, and a null in the detail."""
    event = {"metadata": None, "detail": {"note": None, "deep": {"note": None}}, "time": None}
    rendered = settings(release({"config": {"topics": {"orders.v1": {"event": event}}}}))

    (topic,) = rendered["topics"].values()
    assert topic["event"]["metadata"] is None
    assert {"note": None, "deep": {"note": None}} == topic["event"]["detail"]
    assert "time" not in topic["event"]


def test_null_means_the_default_to_the_application_but_for_metadata() -> None:
    """So that the chart may leave it out: of a setting that may be null, null is the default as well."""
    application = json.loads((CHART.parent / "schemas" / "config.json").read_text())
    groups = {"Config": application, **application["$defs"]}
    other = {
        f"{name}.{key}"
        for name, group in groups.items()
        for key, setting in group.get("properties", {}).items()
        if {"type": "null"} in setting.get("anyOf", []) and setting.get("default") is not None
    }

    assert {"EventTemplate.metadata"} == other


NEEDED = {
    "BRIDGE_KAFKA__BOOTSTRAP_SERVERS": ("kafka", "bootstrap.servers"),
    "BRIDGE_KAFKA__GROUP_ID": ("kafka", "group.id"),
    "BRIDGE_EVENTBRIDGE__REGION": ("eventbridge", "region"),
    "BRIDGE_DEAD_LETTER__TOPIC": ("dead_letter", "topic"),
}


def without(variable: str) -> dict[str, Any]:
    section, setting = NEEDED[variable]
    return {"config": {section: {setting: None}}}


@pytest.mark.parametrize("variable", NEEDED)
def test_what_the_environment_gives_need_not_be_in_config(variable: str) -> None:
    """It wins at run time. Of `envFrom` the chart sees no names, so it asks for nothing."""
    by_name = {"extraEnv": [{"name": variable, "value": "x"}]}
    unseen = {"envFrom": [{"configMapRef": {"name": "kafka"}}]}
    another = {"extraEnv": [{"name": "BRIDGE_LOG__LEVEL", "value": "debug"}]}

    for given in (by_name, unseen):
        section, setting = NEEDED[variable]
        assert setting not in settings(release(without(variable) | given))[section]
    with pytest.raises(RenderError, match="is missing"):
        release(without(variable) | another)


def test_brokers_may_come_from_a_secret() -> None:
    secret = {"existingSecret": "brokers", "settings": {"bootstrap.servers": "hosts"}}
    objects = release(without("BRIDGE_KAFKA__BOOTSTRAP_SERVERS") | {"secrets": {"kafka": secret}})

    assert "BRIDGE_KAFKA__BOOTSTRAP_SERVERS" in [each["name"] for each in bridge_container(objects)["env"]]


def test_the_notes_do_not_speak_of_nothing() -> None:
    """Where the chart cannot know the brokers."""
    said = render.notes(
        {
            "config": {"kafka": None, "eventbridge": None, "dead_letter": None},
            "envFrom": [{"configMapRef": {"name": "kafka"}}],
        }
    )

    assert "from the brokers that its environment names to EventBridge" in said
    assert "null" not in said
