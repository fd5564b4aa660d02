"""A handover as what tools read: commands of the AWS CLI, CloudFormation, Terraform."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import yaml

from connector.eventbridge.claim_check import partition_of_region
from connector.model import Json
from connector.workbench.handover import (
    MAX_ATTEMPTS,
    MAX_EVENT_AGE_S,
    QUEUE_RETENTION_S,
    RETENTION_DAYS,
    Handover,
    by_reference,
    checks,
    log_policy,
    queue_policy,
    reader_permissions,
)

TARGET_ID = "log-group"
BLANK_LINE = "\n\n"


def _comments(handover: Handover) -> list[str]:
    where = f"AWS account {handover.account}, " if handover.account else ""
    return [
        f"# Receives the events of {handover.source}",
        f"# in {where}Region {handover.region}.",
        f"# {handover.offer}",
        "# Name and event source of the bus are both the name of the source, to the letter.",
        *_comments_of_large_events(handover),
    ]


def _comments_of_large_events(handover: Handover) -> list[str]:
    if (claim_check := handover.claim_check) is None:
        return []
    return [
        f"# Of large events: {by_reference(claim_check)}",
        "# By its policy, let the role of whatever processes the events do this:",
        *(f"#   {json.dumps(each)}" for each in reader_permissions(claim_check, handover.source)),
    ]


# --- commands -----------------------------------------------------------------------------------


def cli(handover: Handover) -> str:
    """A script for `sh` that runs once; it needs the AWS CLI, signed in to the customer's account."""
    region, source, name = handover.region, handover.source, handover.name
    arn = f"arn:{partition_of_region(region)}"
    log_group_arn, queue_arn = (
        f"{arn}:logs:{region}:$account:log-group:{handover.log_group}",
        f"{arn}:sqs:{region}:$account:{name}",
    )
    queue: Json = {"MessageRetentionPeriod": str(QUEUE_RETENTION_S), "SqsManagedSseEnabled": "true"}
    policy: Json = {"Policy": json.dumps(queue_policy("$queue_arn", "$rule_arn"))}
    target: Json = {
        "Id": TARGET_ID,
        "Arn": "$log_group_arn",
        "DeadLetterConfig": {"Arn": "$queue_arn"},
        "RetryPolicy": {"MaximumEventAgeInSeconds": MAX_EVENT_AGE_S, "MaximumRetryAttempts": MAX_ATTEMPTS},
    }
    create_bus = f"aws events create-event-bus --name {source} --event-source-name {source}"
    lines = [
        "#!/bin/sh",
        *_comments(handover),
        "set -eu",
        f"export AWS_REGION={region} AWS_PAGER=",
        "account=$(aws sts get-caller-identity --query Account --output text)",
    ]
    if handover.account:
        lines += [
            f'if [ "$account" != {handover.account} ]; then',
            f'    echo "The source is offered to account {handover.account}, and this is $account." >&2',
            "    exit 1",
            "fi",
        ]
    lines += [
        f'log_group_arn="{log_group_arn}"',
        f'queue_arn="{queue_arn}"',
        "",
        *([] if handover.is_accepted else [create_bus, ""]),
        f"aws logs create-log-group --log-group-name {handover.log_group}",
        f"aws logs put-retention-policy --log-group-name {handover.log_group} \\",
        f"    --retention-in-days {RETENTION_DAYS}",
        f"queue_url=$(aws sqs create-queue --queue-name {name} --attributes {_argument(queue)} \\",
        "    --query QueueUrl --output text)",
        "",
        f"rule_arn=$(aws events put-rule --name {name} --event-bus-name {source} \\",
        f"    --event-pattern {shlex.quote(json.dumps(handover.pattern))} \\",
        "    --query RuleArn --output text)",
        f"aws logs put-resource-policy --policy-name {name} \\",
        f"    --policy-document {_argument(log_policy('$log_group_arn:*', '$rule_arn'))}",
        'aws sqs set-queue-attributes --queue-url "$queue_url" \\',
        f"    --attributes {_argument(policy)}",
        f"aws events put-targets --rule {name} --event-bus-name {source} \\",
        f"    --targets {_argument([target])}",
        "",
        *_comments_of_checks(handover),
    ]
    return "\n".join(lines) + "\n"


def _argument(value: Json) -> str:
    """JSON as an argument in which the shell fills in its variables. They must not occur as texts."""
    quoted = shlex.quote(json.dumps(value))
    for name in ("log_group_arn", "queue_arn", "rule_arn"):
        quoted = quoted.replace(f"${name}", f"'\"${name}\"'")
    return quoted


# --- CloudFormation -----------------------------------------------------------------------------


def cloudformation(handover: Handover) -> str:
    """A template in YAML."""
    log_group_arn = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:${LogGroup}"
    policy = json.dumps(log_policy(f"{log_group_arn}:*", "${Rule.Arn}"))
    rule_arn: Json = {"Fn::GetAtt": ["Rule", "Arn"]}
    queue_arn: Json = {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
    resources = {
        "EventBus": _resource("AWS::Events::EventBus", Name=handover.source, EventSourceName=handover.source),
        "LogGroup": _resource(
            "AWS::Logs::LogGroup", LogGroupName=handover.log_group, RetentionInDays=RETENTION_DAYS
        ),
        "DeadLetterQueue": _resource(
            "AWS::SQS::Queue",
            QueueName=handover.name,
            MessageRetentionPeriod=QUEUE_RETENTION_S,
            SqsManagedSseEnabled=True,
        ),
        "Rule": _resource(
            "AWS::Events::Rule",
            Name=handover.name,
            EventBusName={"Ref": "EventBus"},
            EventPattern=handover.pattern,
            Targets=[
                {
                    "Id": TARGET_ID,
                    "Arn": {"Fn::Sub": log_group_arn},
                    "DeadLetterConfig": {"Arn": queue_arn},
                    "RetryPolicy": {
                        "MaximumEventAgeInSeconds": MAX_EVENT_AGE_S,
                        "MaximumRetryAttempts": MAX_ATTEMPTS,
                    },
                }
            ],
        ),
        "LogPolicy": _resource(
            "AWS::Logs::ResourcePolicy", PolicyName=handover.name, PolicyDocument={"Fn::Sub": policy}
        ),
        "DeadLetterQueuePolicy": _resource(
            "AWS::SQS::QueuePolicy",
            Queues=[{"Ref": "DeadLetterQueue"}],
            PolicyDocument=queue_policy(queue_arn, rule_arn),
        ),
    }
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Receives the events of {handover.source}",
        "Resources": resources,
    }
    # Aliases, which CloudFormation does not read, stand for one object in two places.
    separate = json.loads(json.dumps(template))
    written = yaml.safe_dump(separate, sort_keys=False, allow_unicode=True, width=110)
    of_bus = "# Import the event bus, or leave EventBus out and write its name where Rule refers to it."
    comments = [*_comments(handover), *([of_bus] if handover.is_accepted else [])]
    return "\n".join([*comments, *_comments_of_checks(handover)]) + "\n" + written


def _comments_of_checks(handover: Handover) -> list[str]:
    return [
        "# To check: the state must be ACTIVE, and the log group shows the events.",
        *(f"#   {line}" for line in checks(handover)),
    ]


def _resource(type_: str, **properties: Any) -> dict[str, Json]:
    return {"Type": type_, "Properties": properties}


# --- Terraform ----------------------------------------------------------------------------------


class HclExpression(str):
    """An expression as it is written, not a text."""

    __slots__ = ()


def terraform(handover: Handover) -> str:
    """A root module in HCL, formatted as `terraform fmt` does."""
    log_group, queue, rule = "aws_cloudwatch_log_group", "aws_sqs_queue", "aws_cloudwatch_event_rule"
    bus = "aws_cloudwatch_event_bus"
    source = handover.source
    rule_arn, queue_arn = HclExpression(f"{rule}.partner.arn"), HclExpression(f"{queue}.partner.arn")
    streams = HclExpression(f'"${{{log_group}.partner.arn}}:*"')
    provider: dict[str, Json] = {"region": handover.region}
    if handover.account:
        provider["allowed_account_ids"] = [handover.account]
    blocks = [
        _block(
            "terraform",
            {},
            _block("required_providers", {"aws": {"source": "hashicorp/aws", "version": ">= 5.0"}}),
        ),
        _block('provider "aws"', provider),
        _block(f'resource "{bus}" "partner"', {"name": source, "event_source_name": source}),
        _block(
            f'resource "{log_group}" "partner"',
            {"name": handover.log_group, "retention_in_days": RETENTION_DAYS},
        ),
        _block(
            f'resource "{queue}" "partner"',
            {
                "name": handover.name,
                "message_retention_seconds": QUEUE_RETENTION_S,
                "sqs_managed_sse_enabled": True,
            },
        ),
        _block(
            f'resource "{rule}" "partner"',
            {
                "name": handover.name,
                "event_bus_name": HclExpression(f"{bus}.partner.name"),
                "event_pattern": _json_encoded(handover.pattern),
            },
        ),
        _block(
            'resource "aws_cloudwatch_log_resource_policy" "partner"',
            {"policy_name": handover.name, "policy_document": _json_encoded(log_policy(streams, rule_arn))},
        ),
        _block(
            'resource "aws_sqs_queue_policy" "partner"',
            {
                "queue_url": HclExpression(f"{queue}.partner.id"),
                "policy": _json_encoded(queue_policy(queue_arn, rule_arn)),
            },
        ),
        _block(
            'resource "aws_cloudwatch_event_target" "partner"',
            {
                "rule": HclExpression(f"{rule}.partner.name"),
                "event_bus_name": HclExpression(f"{bus}.partner.name"),
                "target_id": TARGET_ID,
                "arn": HclExpression(f"{log_group}.partner.arn"),
            },
            _block("dead_letter_config", {"arn": queue_arn}),
            _block(
                "retry_policy",
                {"maximum_event_age_in_seconds": MAX_EVENT_AGE_S, "maximum_retry_attempts": MAX_ATTEMPTS},
            ),
            # Else the first events may find neither log group nor queue open.
            depends=["aws_cloudwatch_log_resource_policy.partner", "aws_sqs_queue_policy.partner"],
        ),
    ]
    of_bus = f"# Import the event bus before you apply: terraform import {bus}.partner {source}"
    comments = [*_comments(handover), *([of_bus] if handover.is_accepted else [])]
    head = "\n".join([*comments, *_comments_of_checks(handover)])
    return BLANK_LINE.join([head, *blocks]) + "\n"


def _block(head: str, arguments: Mapping[str, Json], *blocks: str, depends: Sequence[str] = ()) -> str:
    parts = ["\n".join(_aligned(arguments))] if arguments else []
    parts += blocks
    if depends:
        parts.append(f"depends_on = [{', '.join(depends)}]")
    return f"{head} {{\n{_indented(BLANK_LINE.join(parts))}\n}}"


def _json_encoded(value: Json) -> HclExpression:
    return HclExpression(f"jsonencode({_hcl(value)})")


def _hcl(value: Json) -> str:
    """A value as an expression."""
    match value:
        case HclExpression():
            return str(value)
        case str():
            return _hcl_text(value)
        case dict():
            lines = _aligned({_hcl_key(name): each for name, each in value.items()})
            return "{\n" + _indented("\n".join(lines)) + "\n}"
        case list() if any(isinstance(each, dict) for each in value):
            return "[\n" + _indented(",\n".join(map(_hcl, value))) + "\n]"
        case list():
            return f"[{', '.join(map(_hcl, value))}]"
    return json.dumps(value)


def _aligned(values: Mapping[str, Json]) -> list[str]:
    """A line for each; the signs of neighbours stand below each other, but for values of several lines."""
    written = [(name, _hcl(value)) for name, value in values.items()]
    lines: list[str] = []
    for is_long, group in groupby(written, key=lambda each: "\n" in each[1]):
        members = list(group)
        width = 0 if is_long else max(len(name) for name, _ in members)
        lines += [f"{name:<{width}} = {value}" for name, value in members]
    return lines


_HCL_ESCAPES = {
    **{code: f"\\u{code:04x}" for code in [*range(0x20), 0x7F]},
    **str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}),
}


def _hcl_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else _hcl_text(name)


def _hcl_text(text: str) -> str:
    """A text in quotes, in which nothing begins a template."""
    escaped = text.translate(_HCL_ESCAPES)
    return '"' + escaped.replace("${", "$${").replace("%{", "%%{") + '"'


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else line for line in text.splitlines())
