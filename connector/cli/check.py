"""The work of `partner-bridge check`, in the order in which it is done.

`describe` puts the configuration into words, and `connection_checks` does what `--connect` asks for. What
is wrong with it is found before, by `problems.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from connector import config
from connector.cli.ceiling import describe_ceiling, describe_partitions
from connector.config.pauses import doubts as pause_doubts
from connector.config.pauses import read_pauses
from connector.config.rules import is_loopback
from connector.config.settings import (
    DEFAULT_TARGET,
    DeadLetterSettings,
    EventTemplate,
    Format,
    ReceiptSettings,
    Settings,
    Target,
    Topic,
)
from connector.config.units import show_bytes, show_seconds
from connector.dead_letters.writer import missing_topic
from connector.errors import ConnectorError, Problem, UnavailableError
from connector.eventbridge.client import Publisher, claim_store
from connector.eventbridge.endpoint import NO_PROXY, Route, routes, shown
from connector.eventbridge.session import Choice
from connector.formats.registries import Registries
from connector.kafka.client import ANSWER_TIMEOUT_S, LIBRDKAFKA_VERSION
from connector.kafka.consumer import KafkaConsumer
from connector.mapping.times import COUNTED
from connector.model import Pause, now_ms
from connector.pipeline import Pipeline
from connector.receipts.writer import missing_receipts_topic
from connector.sources.api import SourceCalls
from connector.telemetry.log import configure_logging
from connector.telemetry.metrics import Telemetry


class Section(NamedTuple):
    """A part of the description: labelled values under a title."""

    title: str
    lines: dict[str, str]


def describe(settings: Settings) -> Iterator[Section]:
    """Describe in words what a run would do: topic by topic, then for all of them."""
    for name, topic in settings.topics.items():
        title = f"topics that match {name}" if name.startswith("^") else f"topic {name}"
        yield Section(title, _describe_topic(topic, settings))
    yield Section("Kafka", _describe_kafka(settings))
    ways = routes(settings)
    for name, target in settings.all_targets.items():
        title = "EventBridge" if name == DEFAULT_TARGET else f"EventBridge, target {name}"
        yield Section(title, _describe_eventbridge(target, ways[name]))
    yield Section("sources", _describe_sources(settings))
    yield Section("dead letters", _describe_dead_letters(settings))
    yield Section("receipts", _describe_receipts(settings))
    yield Section("limits", _describe_limits(settings))
    for name, target in settings.all_targets.items():
        title = "ceiling of one process" + f", target {name}" * (name != DEFAULT_TARGET)
        yield Section(title, describe_ceiling(target))
    pauses = read_pauses(settings)
    if settings.pauses is not None:
        yield Section("pauses", _describe_pauses(settings.pauses, pauses))
    doubts = [*config.warnings(settings), *(doubt for way in ways.values() for doubt in way.warnings)]
    if useless := "; ".join(doubt.message for doubt in pause_doubts(pauses, settings)):
        doubts.append(Problem("pauses", useless))
    if doubts:
        yield Section("warnings", {doubt.path: doubt.message for doubt in doubts})


def _describe_topic(topic: Topic, settings: Settings) -> dict[str, str]:
    event = topic.event
    tombstones = {
        "skip": "dropped and counted",
        "send": "sent, with null as the value",
        "dead_letter": f"written to {settings.dead_letter.topic}",
    }
    ordering = {
        "key": "records of one key go in their order; records without a key do not wait",
        "partition": "records of one partition go in their order",
        "unordered": "no record waits for another",
    }
    inactive = {
        "hold": "its records wait until it is",
        "dead_letter": f"its records are written to {settings.dead_letter.topic}",
        "send": "its records are sent all the same, and EventBridge drops them",
        "": "as its target says",
    }
    lines = {
        "value": _describe_format(topic.value),
        "key": _describe_format(topic.key),
        "tombstones": tombstones[topic.tombstones],
        "filter": f"only where {topic.filter}; others are dropped and counted" if topic.filter else "none",
        "ordering": ordering[topic.ordering],
        "target": topic.target,
        "source": event.source,
        "if it is not ACTIVE": inactive[_policy(topic, settings)],
        "detail type": event.detail_type,
        "time": _describe_time(event),
    }
    if event.resources:
        lines["resources"] = ", ".join(event.resources)
    detail = event.detail if isinstance(event.detail, str) else json.dumps(event.detail, ensure_ascii=False)
    lines["detail"] = detail + (
        f", with the record's position and id as {event.metadata}" * bool(event.metadata)
    )
    return lines


def _describe_time(event: EventTemplate) -> str:
    if event.time is None:
        return "the record's timestamp"
    years = ", in the years 2000 to 2100" if event.time_unit == "auto" else ""
    return f"{event.time}; a number counts {COUNTED[event.time_unit]} since 1970{years}"


def _policy(topic: Topic, settings: Settings) -> str:
    """The policy for inactive sources; empty where it depends on the target that a record chooses."""
    chosen = settings.all_targets.get(topic.target)
    targets = settings.all_targets.values() if chosen is None else [chosen]
    policies = {topic.inactive_policy(target) for target in targets}
    return policies.pop() if len(policies) == 1 else ""


_FRAMINGS = {
    "confluent": "each record naming its schema in the registry (Confluent framing)",
    "glue": "each record naming its schema in AWS Glue",
    "apicurio": "each record naming its schema in Apicurio Registry",
    "single-object": "each record naming its schema by a fingerprint (single-object encoding)",
}


def _describe_format(form: Format) -> str:
    match form.format:
        case "avro" if form.framed == "none":
            text = f"Avro without framing, written with {form.schema_file}"
        case "avro":
            text = f"Avro, {_FRAMINGS[form.framed]}"
            text += f", {form.registry}" if form.registry else ""
            text += f", from {form.schema_file}" if form.schema_file else ""
        case "json":
            text = (
                "JSON" if form.framed == "none" else f"JSON, {_FRAMINGS[form.framed]}, which is not asked for"
            )
        case "string":
            text = "text (UTF-8)"
        case "bytes":
            text = "bytes, as Base64 text"
    if form.reader_schema:
        text += f", read as {form.reader_schema}"
    return text


def _describe_kafka(settings: Settings) -> dict[str, str]:
    options = settings.kafka.options
    start = {
        "earliest": "at the earliest offset: it skips nothing",
        "latest": "at the end: it skips what is there",
        "error": "nowhere: the bridge halts",
    }
    security = options.get("security.protocol", "SASL_SSL" if settings.kafka.auth else "plaintext").upper()
    mechanism = settings.kafka.auth or options.get("sasl.mechanism") or options.get("sasl.mechanisms")
    lines = {
        "brokers": options["bootstrap.servers"],
        "security": f"{security}, {mechanism}" if mechanism else security,
        "group": f"{options['group.id']}; a new one starts {start[options['auto.offset.reset']]}",
    }
    for name, registry in settings.all_registries.items():
        label = "registry" if name == config.DEFAULT_REGISTRY else f"registry {name}"
        lines[label] = _describe_registry(registry, settings)
    return lines


def _describe_registry(registry: config.SchemaRegistry, settings: Settings) -> str:
    if registry.type == "glue":
        region = registry.region or settings.eventbridge.region
        return f"AWS Glue in {region}, with the credentials of `eventbridge`"
    signed_in = (
        "basic auth" if registry.basic_auth else "bearer token" if registry.bearer_token else "no sign-in"
    )
    text = f"{registry.url}, {signed_in}" + ", mutual TLS" * bool(registry.certificate)
    url = urlsplit(registry.url or "")
    has_secret = registry.basic_auth or registry.bearer_token
    if has_secret and url.scheme == "http" and not is_loopback(url.hostname or ""):
        text += " in the clear: whoever is on the way can read it; use https://"
    return text


def _describe_sources(settings: Settings) -> dict[str, str]:
    sources = settings.sources
    full = {"dead_letter": "dead-lettered", "pause": "not read: their partition pauses"}
    missing = f"created, where {sources.customers} lists them" if sources.create_missing else "not created"
    return {
        "looked up": f"every {show_seconds(sources.refresh_interval)}, in each target at most "
        f"{sources.lookups_per_second:g} a second",
        "held": f"at most {sources.max_held_records} records and {show_bytes(sources.max_held_bytes)} of one "
        f"source; further ones are {full[sources.when_held_is_full]}",
        "missing ones": missing,
    }


def _describe_eventbridge(target: Target, way: Route) -> dict[str, str]:
    credentials = f"profile {target.profile}" if target.profile else "the usual chain of AWS credentials"
    if target.role_arn:
        credentials += f", then role {target.role_arn}" + " with an external id" * bool(target.external_id)
    url, proxy = way.endpoint.url, way.endpoint.proxy
    if proxy:
        through = shown(proxy) + ", with a user name" * ("@" in proxy)
    else:
        through = "none" if way.proxy_by != NO_PROXY else "not for this endpoint"
    return {
        "region": target.region,
        "endpoint": _decided(url, way.url_by) if way.url_by else f"{url}, the Region's own",
        "FIPS": _on_or_off(way.fips, way.url_by),
        "dual-stack": _on_or_off(way.dualstack, way.url_by),
        "proxy": _decided(through, way.proxy_by),
        "CAs": _decided(str(way.ca.value), way.ca.by) if way.ca.by else "boto3's own",
        "credentials": credentials,
        **({"claim check": _describe_claim_check(target.claim_check, target)} if target.claim_check else {}),
    }


def _describe_claim_check(claim_check: config.ClaimCheckSettings, target: Target) -> str:
    prefix = f"{claim_check.prefix}/" if claim_check.prefix else ""
    size = show_bytes(claim_check.above or target.max_event_bytes)
    return f"above {size}, what is at {claim_check.path} goes to s3://{claim_check.bucket}/{prefix}"


def _on_or_off(choice: Choice[bool], url_by: str) -> str:
    """Whether the endpoint is of a kind; only who named it knows where the Region's own is not used."""
    if url_by:
        return f"as {url_by} says"
    return _decided("yes" if choice.value else "no", choice.by)


def _decided(text: str, by: str) -> str:
    return f"{text} ({by})" if by else text


def _describe_dead_letters(settings: Settings) -> dict[str, str]:
    letters = settings.dead_letter
    created = f"{letters.partitions} partitions, replication factor {letters.replication_factor}"
    return {
        "topic": letters.topic,
        "if missing": f"created with {created}" if letters.create else "the bridge does not start",
        "halt": f"after {letters.max_consecutive} in a row without one delivery between them",
    }


def _describe_receipts(settings: Settings) -> dict[str, str]:
    receipts, letters = settings.receipts, settings.dead_letter
    if receipts is None:
        return {"topic": "none, so what was delivered cannot be found later"}
    created = f"{letters.partitions} partitions, replication factor {letters.replication_factor}"
    return {
        "topic": receipts.topic,
        "if missing": f"created with {created}" if receipts.create else "receipts are lost, and events go on",
    }


def _describe_pauses(file: Path, pauses: Sequence[Pause]) -> dict[str, str]:
    missing = "" if file.exists() else ", which is not there yet; nothing is paused until it comes"
    in_force = {f"{pause.kind} {pause.name}": str(pause) for pause in pauses if pause.lasts(now_ms())}
    return {"file": f"{file}{missing}", **in_force}


def _describe_limits(settings: Settings) -> dict[str, str]:
    target, delivery = settings.eventbridge, settings.delivery
    rate = f", at most {target.max_requests_per_second:g} a second" if target.max_requests_per_second else ""
    pending = f"{delivery.max_pending_records} records or {show_bytes(delivery.max_pending_bytes)}"
    return {
        "event": f"at most {show_bytes(target.max_event_bytes)}; larger ones "
        + ("leave a part out, see claim check" if target.claim_check else "are dead-lettered"),
        "request": f"at most {target.batch.count} events and {show_bytes(target.batch.byte_size)}, "
        f"waiting for others at most {show_seconds(target.batch.period)}",
        "at once": f"{target.max_in_flight} requests{rate}",
        "retries": f"{target.retry.max_attempts} attempts, {show_seconds(target.retry.initial_interval)} "
        f"to {show_seconds(target.retry.max_interval)} apart, then a dead letter; an outage costs no attempt",
        "memory": f"reading pauses at {pending} not yet settled",
        "stop": f"drains for at most {show_seconds(delivery.shutdown_timeout)}",
    }


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of trying one connection."""

    name: str
    """The connection, as `dead-letter topic`."""
    ok: bool
    text: str
    """The finding; where it is not ok, also the remedy."""


def connection_checks(settings: config.Settings) -> Iterator[CheckResult]:
    """Try each connection of a run: brokers, topics, dead-letter topic, registry, credentials, sources.

    Joins no group, and writes nothing but an empty object to the bucket of a claim check.
    """
    configure_logging("error", settings.log.format)
    consumer = KafkaConsumer(settings)
    consumer.report_to(Telemetry(librdkafka=LIBRDKAFKA_VERSION))
    registries = Registries.of(settings)
    pipeline = Pipeline(settings, registries)
    try:
        metadata = consumer.metadata(ANSWER_TIMEOUT_S)
    except UnavailableError as error:
        text = f"{error}; see bootstrap.servers and the security settings under `kafka`"
        yield CheckResult("brokers", ok=False, text=text)
    else:
        text = f"{len(metadata.brokers)} in cluster {metadata.cluster_id}"
        yield CheckResult("brokers", ok=True, text=text)
        counts = {name: len(topic.partitions) for name, topic in metadata.topics.items()}
        yield from _topic_checks(settings, pipeline, counts)
    finally:
        consumer.close()
    for name, check in registries.checks.items():
        yield _check(name, check)
    registries.close()
    for name, target in settings.all_targets.items():
        of_target = "" if len(settings.all_targets) == 1 else f" of {name}"
        yield _check(f"credentials{of_target}", partial(_check_target, target))
        if (claims := claim_store(settings, name)) is not None:
            yield _check(f"claim check{of_target}", Publisher(target, claims=claims).check_bucket)
        yield from _source_checks(settings, name, of_target)


def _topic_checks(
    settings: config.Settings, pipeline: Pipeline, existing: Mapping[str, int]
) -> Iterator[CheckResult]:
    """Check the topics of the settings; `existing` counts the partitions of every topic in the cluster."""
    for name in settings.topics:
        if name.startswith("^"):
            text = ", ".join(pipeline.topics_of(name, existing))
            text = text or "matches no topic now; topics created later will be found"
            yield CheckResult(f"topics {name}", ok=True, text=text)
        else:
            text = "exists" if name in existing else "does not exist; create it, or correct its name"
            yield CheckResult(f"topic {name}", ok=name in existing, text=text)
    for topic in sorted(existing):
        if pipeline.is_ambiguous(topic):
            yield CheckResult(f"topic {topic}", ok=False, text=pipeline.refusal(topic) or "")
    partitions = {
        name: sum(existing[topic] for topic in pipeline.topics_of(name, existing)) for name in settings.topics
    }
    if any(partitions.values()):
        yield CheckResult("partitions", ok=True, text=describe_partitions(settings, partitions))
    letters, receipts = settings.dead_letter, settings.receipts
    yield _own_topic("dead-letter topic", letters, existing, missing_topic)
    if receipts is not None:
        yield _own_topic("receipts topic", receipts, existing, missing_receipts_topic)


def _own_topic(
    name: str,
    own: DeadLetterSettings | ReceiptSettings,
    existing: Container[str],
    missing: Callable[[str], str],
) -> CheckResult:
    """Check a topic that the bridge writes to; `missing` says what to do where it may not create it."""
    if own.topic in existing:
        return CheckResult(name, ok=True, text=own.topic)
    if own.create:
        return CheckResult(name, ok=True, text=f"{own.topic} will be created")
    return CheckResult(name, ok=False, text=missing(own.topic))


def _source_checks(settings: config.Settings, name: str, of_target: str) -> Iterator[CheckResult]:
    """Look up the sources that the configuration names, which also checks the permission to look up."""
    known = {
        topic.event.source
        for topic in settings.topics.values()
        if "${" not in topic.event.source and topic.target == name
    }
    with closing(SourceCalls(settings.all_targets[name], patience_s=5.0)) as calls:
        for source in sorted(known):
            try:
                status = calls.run(methodcaller("look_up", source))
            except ConnectorError as error:
                yield CheckResult(f"source {source}{of_target}", ok=False, text=str(error))
            else:
                yield CheckResult(
                    f"source {source}{of_target}", ok=status.state == "ACTIVE", text=str(status)
                )


def _check_target(target: config.Target) -> str:
    return Publisher(target).check()


def _check(name: str, attempt: Callable[[], str | None]) -> CheckResult:
    try:
        return CheckResult(name, ok=True, text=attempt() or "answers")
    except ConnectorError as error:
        return CheckResult(name, ok=False, text=str(error))
