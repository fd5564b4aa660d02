"""Reads what `source handover` writes back, each form by what reads it at a customer's."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pygohcl
import yaml
from botocore import xform_name
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

PROVIDER: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("terraform_aws.json").read_text())[
    "resources"
]
"""The published schema of Terraform's provider of AWS, of the resources that are written: their arguments."""

GLOBAL_OPTIONS = {"query", "output", "region"}
ACCOUNT = "111122223333"
ANSWERS = {
    "get-caller-identity": ACCOUNT,
    "create-queue": "https://sqs.eu-central-1.amazonaws.com/111122223333/queue",
    "put-rule": "arn:aws:events:eu-central-1:111122223333:rule/bus/rule",
}
"""What the AWS CLI prints with the `--query` that the script asks for."""


class Call:
    """A command of the AWS CLI, as the members of the API call that it makes."""

    def __init__(self, arguments: list[str]) -> None:
        service, command, *rest = arguments
        options = dict(zip((each.removeprefix("--") for each in rest[::2]), rest[1::2], strict=True))
        model = _model(service)
        (self.operation,) = [name for name in model.operation_names if xform_name(name, "-") == command]
        shape = model.operation_model(self.operation).input_shape
        assert shape is not None
        members = {xform_name(name, "-"): name for name in shape.members}
        self.members: dict[str, Any] = {
            members[option]: _parsed(shape.members[members[option]], value)
            for option, value in options.items()
            if option not in GLOBAL_OPTIONS
        }
        self.complaints = [*_refusals(shape, self.members), *_too_long(shape, self.members)]


@cache
def _model(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)


def _parsed(shape: Shape, value: str) -> Any:
    return value if shape.type_name == "string" else json.loads(value)


def _refusals(shape: Shape, members: dict[str, Any]) -> list[str]:
    report = ParamValidator().validate(members, shape)
    return [report.generate_report()] if report.has_errors() else []


def _too_long(shape: Any, members: dict[str, Any]) -> list[str]:
    """What botocore leaves to AWS: lengths and patterns of texts."""
    found = []
    for name, value in members.items():
        rule = shape.members[name].metadata
        if isinstance(value, str) and not (
            len(value) <= rule.get("max", len(value)) and re.fullmatch(rule.get("pattern", "(?s:.*)"), value)
        ):
            found.append(f"{name}: {value} does not fit {rule}")
    return found


def calls(script: str, folder: Path) -> list[Call]:
    """Run a script, with a command `aws` that only notes what it is to do."""
    log = folder / "calls.jsonl"
    aws = folder / "aws"
    aws.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"open({str(log)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
        f"print({ANSWERS!r}.get(sys.argv[2], ''))\n"
    )
    aws.chmod(aws.stat().st_mode | stat.S_IXUSR)
    environ = {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [Call(json.loads(line)) for line in log.read_text().splitlines()]


def of_cloudformation(template: str) -> Any:
    """The properties of each resource, by its type."""
    resources = yaml.safe_load(template)["Resources"]
    return {each["Type"]: each["Properties"] for each in resources.values()}


def of_terraform(module: str) -> Any:
    """The arguments of each resource, by its type; what is made by `jsonencode` as the object that it is."""
    resources = pygohcl.loads(module)["resource"]
    return {
        kind: {name: _decoded(value) for name, value in each["partner"].items()}
        for kind, each in resources.items()
    }


def _decoded(value: Any) -> Any:
    if not (isinstance(value, str) and value.startswith("jsonencode(")):
        return value
    written = value.removeprefix("jsonencode(").removesuffix(")")
    # The parser gives what calls a function on one line, where HCL wants a comma.
    separated = re.sub(r'(?<=[\]"}a-z]) (?=("[^"]+"|\w+) = )', ", ", written)
    return pygohcl.loads(f"x = {separated}\n")["x"]


def patterns(form: str, written: str, folder: Path) -> Any:
    """The pattern of the rule in what is written in a form."""
    match form:
        case "cloudformation":
            return of_cloudformation(written)["AWS::Events::Rule"]["EventPattern"]
        case "terraform":
            return of_terraform(written)["aws_cloudwatch_event_rule"]["event_pattern"]
        case "cli":
            (rule,) = [call for call in calls(written, folder) if call.operation == "PutRule"]
            return json.loads(rule.members["EventPattern"])
    return json.JSONDecoder().raw_decode(written[written.index("{") :])[0]
