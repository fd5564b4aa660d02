"""What a customer runs is what AWS and the tools take, whatever texts a mapping has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cfnlint import ManualArgs
from cfnlint.api import lint

from connector import config
from connector.eventbridge.claim_check import ClaimCheck
from connector.model import Json, SourceState, SourceStatus
from connector.workbench.handover import Handover, text
from connector.workbench.handover_files import cli, cloudformation, terraform
from tests.handovers import PROVIDER, calls, of_cloudformation, of_terraform, patterns

SOURCE = "aws.partner/example.com/acme"
HOSTILE = [
    "${x}", "$${x}", "%{ if true }", 'say "hi"', "it's", "back\\slash \\b", "$(touch x) `id` $rule_arn",
    "two\nlines\ttab", "\x07 and \x7f", "naïve ✓", "- a: {b}", "!Sub ${AWS::Region}", "*", "", " ",
]  # fmt: skip
FORMS: dict[str, Callable[[Handover], str]] = {
    "text": text,
    "terraform": terraform,
    "cloudformation": cloudformation,
    "cli": cli,
}
PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": (str, dict),
    "number": int,
    "bool": bool,
    "block": dict,
}
"""What HCL's parser gives; a text may be made of an object, by `jsonencode`."""


def handover(
    *,
    detail_types: list[Json] | None = None,
    source: str = SOURCE,
    account: str | None = None,
    state: SourceState = "PENDING",
    claim_check: dict[str, Json] | None = None,
) -> Handover:
    pattern: dict[str, Json] = {
        "source": [source],
        "detail-type": detail_types or ["Order", {"prefix": "Pay"}],
    }
    status = SourceStatus(state, account, 0, 86_400_000)
    target = config.Target.model_validate({"region": "eu-central-1", "claim_check": claim_check})
    check = ClaimCheck(target, target.claim_check) if target.claim_check else None
    return Handover(source, "eu-central-1", account, pattern, status, check)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_pattern_to_the_letter(form: str, tmp_path: Path) -> None:
    """No text of a configuration is taken for a variable, a template or the end of another text."""
    its = handover(detail_types=[*HOSTILE, {"prefix": "${"}])

    assert its.pattern == patterns(form, FORMS[form](its), tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_how_large_events_are_read(form: str, tmp_path: Path) -> None:
    """Where the target has a claim check: what to look for, and the one permission that it takes."""
    key = "arn:aws:kms:eu-central-1:111122223333:key/1"
    its = handover(
        claim_check={"bucket": "large", "prefix": "v1", "above": 2048, "path": "$.detail['a \"$(x)']"}
    )
    written = FORMS[form](its)
    encrypted = FORMS[form](handover(claim_check={"bucket": "large", "kms_key_id": key}))
    flat = " ".join(written.split())

    assert its.pattern == patterns(form, written, tmp_path)
    assert "of an event over 2,048 bytes, what is at $.detail['a \"$(x)'] is an object in S3" in flat
    assert '"Action": "s3:GetObject"' in flat
    assert f'"Resource": "arn:aws:s3:::large/v1/{SOURCE}/*"' in flat
    assert "kms:Decrypt" not in flat
    assert f'"Resource": "arn:aws:s3:::large/{SOURCE}/*"' in encrypted
    assert f'"Action": "kms:Decrypt", "Resource": "{key}"' in " ".join(encrypted.split())
    assert "s3:GetObject" not in FORMS[form](handover())


@pytest.mark.parametrize(
    ("kms_key_id", "arn"),
    [
        ("1234-ab", "arn:aws:kms:eu-central-1:KEY_ACCOUNT:key/1234-ab"),
        ("alias/large", "arn:aws:kms:eu-central-1:KEY_ACCOUNT:key/KEY"),
        ("arn:aws:kms:eu-west-1:111122223333:alias/large", "arn:aws:kms:eu-west-1:111122223333:key/KEY"),
        ("arn:aws-cn:kms:cn-north-1:111122223333:key/1", "arn:aws-cn:kms:cn-north-1:111122223333:key/1"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_named_by_the_arn_of_a_key(form: str, kms_key_id: str, arn: str) -> None:
    """IAM takes no id and no alias; what is not known is to fill in."""
    written = FORMS[form](handover(claim_check={"bucket": "large", "kms_key_id": kms_key_id}))

    assert f'"Action": "kms:Decrypt", "Resource": "{arn}"' in " ".join(written.split())


def test_bus_and_event_source_have_the_name_of_the_source(tmp_path: Path) -> None:
    """A bus of another name gets nothing, the most frequent mistake."""
    its = handover()
    template = of_cloudformation(cloudformation(its))["AWS::Events::EventBus"]
    resource = of_terraform(terraform(its))["aws_cloudwatch_event_bus"]
    (call,) = [call for call in calls(cli(its), tmp_path) if call.operation == "CreateEventBus"]

    assert {"Name": SOURCE, "EventSourceName": SOURCE} == template
    assert {"name": SOURCE, "event_source_name": SOURCE} == resource
    assert {"Name": SOURCE, "EventSourceName": SOURCE} == call.members
    assert f"--name {SOURCE} --event-source-name {SOURCE}" in text(its)


@pytest.mark.parametrize("source", [SOURCE, "aws.partner/a/" + "x" * 242])
def test_the_commands_make_calls_that_aws_takes(source: str, tmp_path: Path) -> None:
    """By AWS's own service models, lengths and patterns of names included."""
    made = calls(cli(handover(source=source, account="111122223333")), tmp_path)

    assert [] == [complaint for call in made for complaint in call.complaints]
    assert [
        "GetCallerIdentity", "CreateEventBus", "CreateLogGroup", "PutRetentionPolicy", "CreateQueue",
        "PutRule", "PutResourcePolicy", "SetQueueAttributes", "PutTargets",
    ] == [call.operation for call in made]  # fmt: skip


def test_the_bus_of_an_active_source_is_not_created_again(tmp_path: Path) -> None:
    """CreateEventBus would fail, and with it the script, which stops at what fails."""
    its = handover(state="ACTIVE")
    created = [call.operation for call in calls(cli(its), tmp_path)]

    assert "CreateEventBus" not in created
    assert "PutRule" in created
    assert f"terraform import aws_cloudwatch_event_bus.partner {SOURCE}\n" in terraform(its)
    assert "# Import the event bus, or leave EventBus out" in cloudformation(its)
    assert "mport" not in terraform(handover()) + cloudformation(handover())


def test_the_commands_permit_one_rule_to_write_to_its_log_group_and_queue(tmp_path: Path) -> None:
    by_operation = {call.operation: call.members for call in calls(cli(handover()), tmp_path)}
    logs = json.loads(by_operation["PutResourcePolicy"]["policyDocument"])["Statement"]
    (queue,) = json.loads(by_operation["SetQueueAttributes"]["Attributes"]["Policy"])["Statement"]
    (target,) = by_operation["PutTargets"]["Targets"]
    of_rule = {"ArnEquals": {"aws:SourceArn": "arn:aws:events:eu-central-1:111122223333:rule/bus/rule"}}

    assert {"Arn": queue["Resource"]} == target["DeadLetterConfig"]
    assert [f"{target['Arn']}:*"] * 2 == [each["Resource"] for each in logs]
    assert of_rule == queue["Condition"]
    assert of_rule == logs[1]["Condition"]
    assert ["logs:CreateLogStream", "logs:PutLogEvents"] == [each["Action"] for each in logs]


def test_the_commands_stop_in_another_account(tmp_path: Path) -> None:
    """The source was offered to one account, and there is none of it in another."""
    with pytest.raises(AssertionError, match="offered to account 999922223333, and this is 111122223333"):
        calls(cli(handover(account="999922223333")), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("source", [SOURCE, "aws.partner/a/" + "x" * 242])
def test_the_template_is_what_cloudformation_takes(source: str) -> None:
    """By AWS's published schemas of resources, which cfn-lint carries."""
    template = cloudformation(handover(source=source, detail_types=[*HOSTILE], account="111122223333"))

    # E1029 suspects a forgotten Fn::Sub, and here `${…}` stands in a detail type to the letter.
    chosen = ManualArgs(regions=["eu-central-1"], ignore_checks=["E1029"])

    assert [] == [f"{each.rule.id}: {each.message}" for each in lint(template, config=chosen)]


def test_the_module_fits_the_schema_of_the_aws_provider() -> None:
    """Every argument is known, has its type, and none is missing."""
    resources: dict[str, Any] = of_terraform(terraform(handover(account="111122223333")))

    assert PROVIDER.keys() == resources.keys()
    assert [] == [
        complaint for kind, its in resources.items() for complaint in unfit(kind, its, PROVIDER[kind])
    ]


def unfit(path: str, given: Any, known: Any) -> list[str]:
    found = [
        f"{path}.{name} is missing"
        for name, rule in known.items()
        if rule.get("required") and name not in given
    ]
    for name, value in given.items():
        if name == "depends_on":
            continue
        rule = known.get(name)
        if rule is None or not isinstance(value, PYTHON_TYPES[rule["type"]]):
            found.append(f"{path}.{name} is not known so: {value}")
        elif "arguments" in rule:
            found += unfit(f"{path}.{name}", value, rule["arguments"])
    return found


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_when_the_offer_expires_and_how_to_check(form: str) -> None:
    written = " ".join(FORMS[form](handover()).split())

    assert "offered on 1970-01-01T00:00:00Z, and expires on 1970-01-02T00:00:00Z" in written
    assert f"aws events describe-event-source --region eu-central-1 --name {SOURCE}" in written
    assert f"aws logs tail --region eu-central-1 /aws/events/{SOURCE}" in written


def test_other_partitions_have_arns_of_their_own(tmp_path: Path) -> None:
    its = handover()._replace(region="us-gov-west-1")
    (targets,) = [call.members for call in calls(cli(its), tmp_path) if call.operation == "PutTargets"]

    assert targets["Targets"][0]["Arn"].startswith("arn:aws-us-gov:logs:us-gov-west-1:")
