"""What a customer runs to receive the events of a source: names, permissions and pattern, and the text of it.

`handover_files` writes the same as Terraform, CloudFormation or commands.

Limits of names: the API models of PutRule, CreateQueue and CreateLogGroup. Permissions:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
"""

from __future__ import annotations

import hashlib
import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from connector import config
from connector.errors import ConfigError, Problem
from connector.eventbridge.claim_check import ClaimCheck
from connector.mapping.templates import may_make
from connector.model import Json, SourceStatus, iso_second
from connector.sources.admin import PING_DETAIL_TYPE
from connector.workbench.event_schema import EventSchema
from connector.workbench.export import event_schema
from connector.workbench.topic_schemas import configured

LOG_GROUP_BEGINS = "/aws/events/"
"""EventBridge writes to no other log groups."""
MAX_NAME_CHARACTERS = 64
"""Of a rule; a queue may have 80."""
RETENTION_DAYS = 30
QUEUE_RETENTION_S = 14 * 24 * 3600
"""The longest that a queue keeps a message."""
MAX_EVENT_AGE_S = 24 * 3600
MAX_ATTEMPTS = 185
"""As long and as often as EventBridge tries at most, which is its default too."""
TEXT_COLUMNS = 100
LOG_WRITERS = ["events.amazonaws.com", "delivery.logs.amazonaws.com"]
UNKNOWN_EXPIRY = (
    "AWS deletes an offer that nobody accepts, after 7 days or after two weeks: its documents say both. "
    "Accept it within 7 days"
)


class Handover(NamedTuple):
    """What one customer needs to know and to make."""

    source: str
    """The name of the source, and so of its event bus."""
    region: str
    account: str | None
    """The customer's, where it is known."""
    pattern: Json
    status: SourceStatus | None
    """Of the source; None where it could not be looked up."""
    claim_check: ClaimCheck | None = None
    """What makes large events small, where the target has one."""

    @property
    def name(self) -> str:
        """Of rule, queue and policy: letters, digits and hyphens, at most 64, and of no other source."""
        digest = hashlib.sha256(self.source.encode()).hexdigest()[:8]
        words = re.sub(r"[^A-Za-z0-9]+", "-", self.source.removeprefix("aws.partner/")).strip("-")
        return f"{words[: MAX_NAME_CHARACTERS - len(digest) - 1]}-{digest}".replace("--", "-").lstrip("-")

    @property
    def log_group(self) -> str:
        return LOG_GROUP_BEGINS + self.source

    @property
    def is_accepted(self) -> bool:
        """Whether its event bus is there already."""
        return self.status is not None and self.status.state == "ACTIVE"

    @property
    def offer(self) -> str:
        """Whether and until when it can be accepted, as a sentence."""
        match self.status:
            case SourceStatus(state="PENDING", created_ms=created_ms, expires_ms=expires_ms):
                offered = f" on {iso_second(created_ms)}" if created_ms is not None else ""
                expires = (
                    f", and expires on {iso_second(expires_ms)}"
                    if expires_ms is not None
                    else f". {UNKNOWN_EXPIRY}"
                )
                return f"The source was offered{offered}{expires}."
            case SourceStatus(state="ACTIVE"):
                return "The source is associated with an event bus already, so that this step is done."
            case SourceStatus(state="MISSING" | "DELETED"):
                return "There is no such source now, so that it cannot be associated yet."
        return f"{UNKNOWN_EXPIRY}."


def log_policy(log_group_arn: Json, rule_arn: Json) -> dict[str, Json]:
    """Let EventBridge write to one log group, for one rule; the first ends with `:*`, as its streams do."""
    principal: Json = {"Service": [*LOG_WRITERS]}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": principal,
                "Action": "logs:CreateLogStream",
                "Resource": log_group_arn,
            },
            {
                "Effect": "Allow",
                "Principal": principal,
                "Action": "logs:PutLogEvents",
                "Resource": log_group_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": rule_arn}},
            },
        ],
    }


def queue_policy(queue_arn: Json, rule_arn: Json) -> dict[str, Json]:
    """Let EventBridge send to one queue what one rule cannot deliver."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": rule_arn}},
            }
        ],
    }


def read_permission(claim_check: ClaimCheck, source: str) -> dict[str, Json]:
    """Let the objects of one source be read, by whom the policy is of."""
    return {"Effect": "Allow", "Action": "s3:GetObject", "Resource": claim_check.objects_of(source)}


def reader_permissions(claim_check: ClaimCheck, source: str) -> list[dict[str, Json]]:
    """What whoever processes the events of a source may do, so that large ones can be had whole."""
    found = [read_permission(claim_check, source)]
    if (key := claim_check.key_arn) is not None:
        found.append({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key})
    return found


def bucket_permission(claim_check: ClaimCheck, source: str, *, account: str | None) -> dict[str, Json]:
    """The same for the policy of the bucket, which is ours; an account that is not known is to fill in."""
    return {**read_permission(claim_check, source), "Principal": _principal(account)}


def key_permission(account: str | None) -> dict[str, Json]:
    """The same for the policy of the KMS key, where `*` is the key itself."""
    return {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*", "Principal": _principal(account)}


def _principal(account: str | None) -> Json:
    return {"AWS": account or "ACCOUNT"}


# --- which topics -------------------------------------------------------------------------------


class NoSourceError(ValueError):
    """No event of a topic has the source; the text says which ones they have."""


def events_of(
    settings: config.Settings, source: str, topic: str | None
) -> tuple[list[EventSchema], list[str]]:
    """What is known of the events of a source: those of one topic, or of all that can have it; and doubts.

    Raises:
        ConfigError: the topic is not configured.
        NoSourceError: its events never have this source.
    """
    doubts: list[str] = []
    events: list[EventSchema] = []
    for name in [topic] if topic else settings.topics:
        event, problems = _event_schema(settings, name)
        if may_make(event.mapping.templates.source, source) and source in (event.sources or [source]):
            events.append(event)
            if event.detail_types is None:
                doubts += [
                    f"{problem}. Detail types are known as far as the mapping says them"
                    for problem in problems
                ]
        elif topic:
            its = event.topic.event.source
            raise NoSourceError(f"{source} is not a source of {topic}, whose `event.source` is {its}")
    if not events:
        doubts.append(f"no topic has events of {source}, so that the rule matches whatever comes from it")
    return events, doubts


def _event_schema(settings: config.Settings, name: str) -> tuple[EventSchema, Sequence[Problem]]:
    """What is known of a topic's events, also where no schema is to be had; and why none is."""
    topic = settings.topics[configured(settings, name)]
    try:
        return event_schema(settings, name), ()
    except ConfigError as error:
        return EventSchema(name, topic, None), error.problems


# --- in words -----------------------------------------------------------------------------------


def text(handover: Handover) -> str:
    """What to do, for people; each command is one line."""
    account = f"AWS account {handover.account}" if handover.account else "your AWS account"
    head = f"How to receive the events of {handover.source}\nin {account}, Region {handover.region}"
    steps = [
        "\n\n".join(
            [
                _paragraph(words, begin=f"{number}. "),
                *(["\n".join(f"       {line}" for line in lines)] if lines else []),
                *([_paragraph(more)] if more else []),
            ]
        )
        for number, (words, lines, more) in enumerate(_steps(handover), start=1)
    ]
    return "\n\n".join([head, *steps]) + "\n"


def _steps(handover: Handover) -> Iterator[tuple[str, Sequence[str], str]]:
    """Words, lines to copy, and more words."""
    source, region, name = handover.source, handover.region, handover.name
    bus = f"aws events create-event-bus --region {region} --name {source} --event-source-name {source}"
    yield (
        f"Associate the source with an event bus. {handover.offer}",
        [bus],
        "The name of the bus and the name of its event source are both the name of the source, to the "
        'letter. In the console: EventBridge, Partner event sources, the source, "Associate with event bus".',
    )
    yield (
        f"Create a log group {handover.log_group} that keeps events for {RETENTION_DAYS} days, to see the "
        f"first one. Its name must begin with {LOG_GROUP_BEGINS}. By a resource policy of CloudWatch Logs, "
        f"let {' and '.join(LOG_WRITERS)} create streams in it, and write events to them for the rule of "
        "step 4.",
        [],
        "",
    )
    yield (
        f"Create an SQS queue {name} for what the rule cannot deliver. By the queue's policy, let "
        "events.amazonaws.com send messages to it for the rule of step 4.",
        [],
        "",
    )
    yield (
        f"On the event bus {source}, create a rule {name} with this pattern:",
        json.dumps(handover.pattern, indent=2, ensure_ascii=False).splitlines(),
        "Its target is the log group, without a role; the target's dead-letter queue is the queue. Give each "
        "target that you add a dead-letter queue as well.",
    )
    if (claim_check := handover.claim_check) is not None:
        permissions = reader_permissions(claim_check, source)
        yield (
            f"Be ready for large events: {by_reference(claim_check)} By its policy, let the role of whatever "
            "processes the events do this:",
            json.dumps(permissions[0] if len(permissions) == 1 else permissions, indent=2).splitlines(),
            "By the policy of the bucket we let your account do the same.",
        )
    yield (
        "Check: the state must be ACTIVE, and an event of the source appears in the log group.",
        list(checks(handover)),
        f"Tell us when the state is ACTIVE. We send a test event then, `{PING_DETAIL_TYPE}`, by "
        f"`partner-bridge source ping {source}`.",
    )


def by_reference(claim_check: ClaimCheck) -> str:
    """How a customer knows a large event, as a sentence."""
    return (
        f"of an event over {claim_check.above:,} bytes, what is at {claim_check.path} is an object in S3, "
        "and the detail has its ARN (dataref), its size and SHA-256 (datarefSize, datarefSha256) and where "
        "it was (datarefJsonPath)."
    )


def _paragraph(words: str, begin: str = "") -> str:
    # No name is broken, so that it can be copied.
    return textwrap.fill(
        words,
        TEXT_COLUMNS,
        initial_indent=f"{begin:<3}",
        subsequent_indent="   ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def checks(handover: Handover) -> Iterator[str]:
    """Give the commands that show whether events come."""
    region, source = handover.region, handover.source
    yield f"aws events describe-event-source --region {region} --name {source} --query State --output text"
    yield f"aws logs tail --region {region} {handover.log_group} --since 1h --follow"
