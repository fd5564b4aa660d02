"""The text of a first configuration, commented for those who go on with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from connector.formats.diagnosis import guess
from connector.workbench.cluster import AVRO, Cluster, TopicSample
from connector.workbench.proposal import Field, Proposal
from connector.workbench.splicing import flow

_COMMENT_COLUMN = 40


class Choices(NamedTuple):
    """What a cluster cannot tell."""

    name: str
    """Of the bridge, and so of its group and dead-letter topic."""
    region: str
    partner: str
    """What the names of the sources begin with, after `aws.partner/`: `example.com`."""


class MappedTopic(NamedTuple):
    """A topic and what is proposed for it."""

    sample: TopicSample
    proposal: Proposal


def configuration_text(
    cluster: Cluster, mapped: Sequence[MappedTopic], unknown: Sequence[str], choices: Choices
) -> str:
    """Write a configuration that maps topics of a cluster; `unknown` are those that are left out."""
    name, region = flow(choices.name), flow(choices.region)
    registry = ""
    if cluster.schema_registry is not None:
        registry = f"""
schema_registry:
  url: {json.dumps(cluster.schema_registry)}
  # basic_auth: {{username: {name}}}  # password: BRIDGE_SCHEMA_REGISTRY__BASIC_AUTH__PASSWORD
"""
    left_out = (f"  # {topic}: no record with a value was there, and no schema\n" for topic in unknown)
    replicas = _said(f"  replication_factor: {min(cluster.brokers, 3)}", f"brokers met: {cluster.brokers}")
    text = f"""\
# A first configuration, written by `partner-bridge init` from topics, schemas and records.
# Look at what it would do:  partner-bridge check
# Test it:                   partner-bridge test; partner-bridge check --schemas
# See a record mapped:       partner-bridge explain --topic {mapped[0].sample.topic} --last 1
# Any setting can also come from the environment, which wins, as BRIDGE_EVENTBRIDGE__REGION=eu-west-1.

{_said(f"name: {name}", "in metrics, dead letters and Kafka's client.id")}

{_said("kafka:", "librdkafka's own keys, as they are")}
  bootstrap.servers: {json.dumps(cluster.bootstrap_servers)}
{_said(f"  group.id: {name}", "a new group starts at the earliest offset: it skips nothing")}
  # security.protocol: SASL_SSL
  # sasl.mechanism: SCRAM-SHA-512
  # sasl.username: {name}
  # The password belongs into BRIDGE_KAFKA__SASL_PASSWORD.
{registry}
eventbridge:
{_said(f"  region: {region}", "where the partner event sources are")}
  # role_arn: arn:aws:iam::123456789012:role/partner-events

dead_letter:
  topic: {flow(f"{choices.name}.dlt")}
{_said("  create: true", "at start, where it is missing; false where others create topics")}
{replicas}

topics:
{"".join(_topic(each, choices) for each in mapped)}{"".join(left_out)}"""
    return f"{text.rstrip()}\n"


def _said(setting: str, comment: str) -> str:
    """A setting with a comment, in the column of the others."""
    return f"{setting:<{_COMMENT_COLUMN - 1}} # {comment}"


def _topic(mapped: MappedTopic, choices: Choices) -> str:
    topic, value, key, records = mapped.sample
    lines = [f"  {flow(topic)}:"]
    if value == {"format": "bytes"}:
        lines.append(f"    # {guess(records[0].value or b'') or 'What these bytes are is not known.'}")
    lines += [
        f"    value: {flow(dict(value or AVRO))}",
        f"    key: {flow(dict(key))}",
        _said("    tombstones: skip", "records without a value; or send, or dead_letter"),
    ]
    if mapped.proposal.has_fields:
        lines.append("    # filter: JMESPath, as \"value.status != 'DRAFT'\"; other records are dropped")
    lines.append("    event:")
    lines += (f"      {line}" for line in _event(mapped.proposal, choices))
    return "\n".join([*lines, "", ""])


def _event(proposal: Proposal, choices: Choices) -> Iterator[str]:
    """The lines of a topic's `event`."""
    yield from _source(proposal, f"aws.partner/{choices.partner}/")
    if (kind := proposal.detail_type) is None:
        yield f"detail_type: {json.dumps(proposal.title)}"
    else:
        # A state says nothing without what is in it; a type of event says all.
        before, default = (f"{proposal.title} ", "unknown") if kind.kind == "enum" else ("", proposal.title)
        yield f"detail_type: {json.dumps(before + _template(kind, default=default))}"
    if (time := proposal.time) is None:
        yield "# time: without it, that of the record"
    else:
        # The record's own time counts milliseconds, as `auto` does.
        or_else = " || timestamp" if time.nullable and proposal.time_unit == "auto" else ""
        yield f"time: {json.dumps(f'${{{time.expression}{or_else}}}')}"
        if proposal.time_unit != "auto":
            yield f"time_unit: {proposal.time_unit}"
    if proposal.resource is not None:
        yield f"resources: [{json.dumps(f'{proposal.entity}/{_template(proposal.resource)}')}]"
    if proposal.has_fields:
        yield '# detail: without it, the whole value. Some of it: {id: "${value.id}", sum: "${value.sum}"}'


def _source(proposal: Proposal, beginning: str) -> Iterator[str]:
    source = proposal.source
    if source is None:
        yield "# No field tells whose an event is, so all go to one source. If one does, give each customer"
        yield "# a source of their own, as aws.partner/example.com/${value.tenant_id}"
        yield f"source: {json.dumps(beginning + proposal.entity)}"
        return
    if source.nullable:
        yield f"# {source.expression} may be null, which names no source. Such records go to the one called"
        yield "# unknown. Without `||` they are dead-lettered; with this beside `event` they are dropped:"
        yield f"#   filter: {json.dumps(source.expression)}"
    else:
        yield "# Each customer has a source of their own, and associates it with an event bus."
    yield f"source: {json.dumps(beginning + _template(source, default='unknown'))}"


def _template(field: Field, *, default: str = "") -> str:
    or_else = f" || '{default}'" if field.nullable else ""
    return f"${{{field.expression}{or_else}}}"
