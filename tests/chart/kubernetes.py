"""Judges objects by the schemas of Kubernetes, KEDA and others, as an API server would."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from referencing import Registry
from referencing.jsonschema import DRAFT7

from tests.chart import tools

CUSTOM_RESOURCES = Path(__file__).with_name("custom_resources")
"""The definitions of resources that others publish, as KEDA and the Prometheus operator, but shorter."""


def problems(obj: dict[str, Any]) -> list[str]:
    """What is wrong with an object, unknown fields included; a kind nobody knows is wrong as well."""
    validator = _validator(obj["apiVersion"], obj["kind"])
    if validator is None:
        return [f"{obj['apiVersion']} {obj['kind']} is no kind that was looked for"]
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(obj)
    ]


@functools.cache
def _validator(version: str, kind: str) -> jsonschema.Draft7Validator | None:
    group, _, number = version.rpartition("/")
    suffix = "-".join(part for part in (group.split(".")[0], number) if part)
    file = tools.kubernetes_schemas() / f"{kind.lower()}-{suffix}.json"
    if file.exists():
        return jsonschema.Draft7Validator(json.loads(file.read_text()), registry=_definitions())
    for definition in CUSTOM_RESOURCES.glob(f"{group}_*.yaml"):
        resource = yaml.safe_load(definition.read_text())["spec"]
        for each in resource["versions"]:
            if resource["names"]["kind"] == kind and each["name"] == number:
                return jsonschema.Draft7Validator(_strict(each["schema"]["openAPIV3Schema"]))
    return None


@functools.cache
def _definitions() -> Registry[Any]:
    definitions = json.loads((tools.kubernetes_schemas() / "_definitions.json").read_text())
    resource = DRAFT7.create_resource(definitions)
    registry: Registry[Any] = Registry().with_resource("/api/_definitions.json", resource)
    return registry


def _strict(schema: dict[str, Any], *, top: bool = True) -> dict[str, Any]:
    """The schema of a custom resource, in which an unknown field is an error and not dropped."""
    strict = dict(schema)
    if strict.pop("x-kubernetes-int-or-string", False):
        strict.pop("type", None)
    if "properties" in strict:
        strict["properties"] = {k: _strict(v, top=False) for k, v in strict["properties"].items()}
        if not strict.get("x-kubernetes-preserve-unknown-fields"):
            strict.setdefault("additionalProperties", False)
    if isinstance(strict.get("items"), dict):
        strict["items"] = _strict(strict["items"], top=False)
    if isinstance(strict.get("additionalProperties"), dict):
        strict["additionalProperties"] = _strict(strict["additionalProperties"], top=False)
    if top:
        strict["properties"]["metadata"] = {"type": "object"}
    return strict
