"""`partner-bridge source handover`: what it looks up, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import typer

from connector.cli.output import note, print_text
from connector.config.settings import DEFAULT_TARGET, Settings, Target
from connector.eventbridge.claim_check import ClaimCheck
from connector.model import SourceStatus
from connector.sources.admin import PING_DETAIL_TYPE, SourceAdmin
from connector.workbench.event_schema import EventSchema
from connector.workbench.handover import (
    Handover,
    NoSourceError,
    bucket_permission,
    events_of,
    key_permission,
    text,
)
from connector.workbench.handover_files import cli, cloudformation, terraform
from connector.workbench.rule_pattern import source_pattern

PATIENCE_S = 3.0
"""For a lookup without which the rest can be printed as well."""

WRITERS: Mapping[str, Callable[[Handover], str]] = {
    "text": text,
    "terraform": terraform,
    "cloudformation": cloudformation,
    "cli": cli,
}


def print_handover(
    settings: Settings, source: str, targets: Mapping[str, Target], *, topic: str | None, form: str
) -> None:
    """Print what the customer of a source runs; doubts go to stderr.

    Raises:
        ConfigError: the topic is not configured.
    """
    try:
        events, doubts = events_of(settings, source, topic)
    except NoSourceError as error:
        raise typer.BadParameter(str(error), param_hint="--topic") from None
    for doubt in doubts:
        note(doubt)
    target, status = _looked_up(source, targets, events)
    pattern = source_pattern(source, events, PING_DETAIL_TYPE)
    account = status.account if status else None
    claim_check = ClaimCheck(target, target.claim_check) if target.claim_check else None
    handover = Handover(source, target.region, account, pattern, status, claim_check)
    if status and status.state in {"MISSING", "DELETED"}:
        note(
            f"there is no source {source} in {target.region} now; "
            "offer it with `partner-bridge source create`"
        )
    if claim_check is not None:
        _note_our_policies(claim_check, source, account)
    typer.echo(WRITERS[form](handover), nl=False)
    if form == "text":
        others = ", ".join(name for name in WRITERS if name != "text")
        print_text(f"The same for tools: --as, with one of {others}.", err=True)


def _note_our_policies(claim_check: ClaimCheck, source: str, account: str | None) -> None:
    """Say what we have to do ourselves, so that the customer can read large events."""
    statement = json.dumps(bucket_permission(claim_check, source, account=account))
    note(
        f"let the customer read large events: the policy of the bucket {claim_check.bucket} needs {statement}"
    )
    if (key_arn := claim_check.key_arn) is None:
        return
    note(f"the policy of its KMS key needs {json.dumps(key_permission(account))}")
    if key_arn != claim_check.kms_key_id:
        note(
            "the customer's policy needs the ARN of the key, and claim_check.kms_key_id is none: complete "
            f"{key_arn} before you hand it over"
        )


def _looked_up(
    source: str, targets: Mapping[str, Target], events: list[EventSchema]
) -> tuple[Target, SourceStatus | None]:
    """The target that has the source, and its status; else the one that its events go to, or the first."""
    admin = SourceAdmin(targets, patience_s=PATIENCE_S)
    try:
        rows = admin.look_up(source)
    finally:
        admin.close()
    for problem in admin.problems:
        note(f"the source cannot be looked up, so when it expires is not known: {problem}")
    for row in rows:
        if row.status.state not in {"MISSING", "DELETED"}:
            return targets[row.target], row.status
    named = [event.topic.target for event in events if event.topic.target in targets]
    name = next(iter([*named, *(each for each in targets if each == DEFAULT_TARGET), *targets]))
    if len({target.region for target in targets.values()}) > 1:
        note(f"written for {targets[name].region}; for another Region of the configuration, use --region")
    return targets[name], next((row.status for row in rows if row.target == name), None)
