"""Rules between settings: what each value allows by itself, and the others forbid."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from connector.config import units
from connector.config.problems import MISSING, did_you_mean
from connector.config.settings import (
    DEFAULT_REGISTRY,
    MAX_TOPIC_NAME,
    ClaimCheckSettings,
    Format,
    SchemaRegistry,
    Settings,
    Target,
    registry_path,
)
from connector.errors import Problem

# The rules between settings -----------------------------------------------------------------------


def _kafka_problems(settings: Settings) -> Iterator[Problem]:
    options, auth = settings.kafka.options, settings.kafka.auth
    for key in ("bootstrap.servers", "group.id"):
        if not options.get(key):
            yield Problem(f"kafka.{key}", MISSING)
    if options["auto.offset.reset"] not in {"earliest", "latest", "error"}:
        yield Problem("kafka.auto.offset.reset", "must be one of earliest, latest, error")
    if auth:
        for key in options:
            if key.startswith("sasl.") and not key.startswith("sasl.login"):
                yield Problem(f"kafka.{key}", f"`auth: {auth}` decides it; leave one of the two out")
        if options.get("security.protocol", "SASL_SSL").upper() != "SASL_SSL":
            yield Problem("kafka.security.protocol", f"`auth: {auth}` needs SASL_SSL; leave this out")


def _registry_problems(settings: Settings) -> Iterator[Problem]:
    for topic, side, form in _formats(settings):
        if not form.is_registered:
            continue
        name = form.registry or DEFAULT_REGISTRY
        registry = settings.all_registries.get(name)
        if registry is None and form.registry is None:
            yield Problem(
                f"topics.{topic}.{side}",
                f"Avro with framing `{form.framed}` needs `schema_registry`; set it, or use framing `none`",
            )
        elif registry is None:
            yield Problem(
                f"topics.{topic}.{side}.registry",
                f"there is no registry {name}; known: {', '.join(settings.schema_registries) or 'none'}"
                f"{did_you_mean(name, settings.schema_registries)}",
            )
        elif registry.type != form.framed:
            yield Problem(
                f"topics.{topic}.{side}.framing",
                f"`{form.framed}` needs a registry of type {form.framed}, and {registry_path(name)} is of "
                f"type {registry.type}",
            )
    for name, registry in settings.all_registries.items():
        yield from _problems_of_registry(registry, registry_path(name))


def _problems_of_registry(registry: SchemaRegistry, path: str) -> Iterator[Problem]:
    if registry.type == "glue":
        for key in ("basic_auth", "bearer_token", "ca", "certificate", "private_key"):
            if getattr(registry, key) is not None:
                yield Problem(
                    f"{path}.{key}", "is not for Glue, which takes the credentials of `eventbridge`"
                )
    elif registry.url is None:
        yield Problem(f"{path}.url", MISSING)
    if registry.type != "glue" and registry.region is not None:
        yield Problem(f"{path}.region", f"is only for Glue, and the type is {registry.type}")
    if (
        registry.type == "apicurio"
        and registry.url
        and not re.search(r"/apis/registry/v[23]/?$", registry.url)
    ):
        yield Problem(
            f"{path}.url",
            "Apicurio's own API ends in /apis/registry/v3 or /apis/registry/v2; write it so, as in "
            "http://registry:8080/apis/registry/v3",
        )
    if (registry.certificate is None) != (registry.private_key is None):
        yield Problem(f"{path}.certificate", "certificate and private_key belong together; set both")
    if registry.basic_auth and registry.bearer_token:
        yield Problem(f"{path}.bearer_token", "basic_auth and bearer_token exclude each other")


def _target_problems(settings: Settings) -> Iterator[Problem]:
    for name, target in settings.all_targets.items():
        path = settings.path_of_target(name)
        if target.endpoint_url and not target.allow_insecure:
            url = urlsplit(target.endpoint_url)
            if url.scheme == "http" and not is_loopback(url.hostname or ""):
                yield Problem(
                    f"{path}.endpoint_url",
                    "http:// would send events in the clear; use https://, or set allow_insecure: true",
                )
        if target.claim_check is not None:
            yield from _claim_check_problems(target, target.claim_check, f"{path}.claim_check")
        if target.external_id and not target.role_arn:
            yield Problem(f"{path}.external_id", "is for assuming a role; set role_arn too")
        if target.max_event_bytes > target.batch.byte_size:
            yield Problem(
                f"{path}.max_event_bytes",
                f"must not be over batch.byte_size ({units.show_bytes(target.batch.byte_size)}): "
                "a larger event could never be sent",
            )
        if target.retry.initial_interval > target.retry.max_interval:
            yield Problem(f"{path}.retry.initial_interval", "must not be over max_interval")
    for name, topic in settings.topics.items():
        if "${" not in topic.target and topic.target not in settings.all_targets:
            known = ", ".join(settings.all_targets)
            yield Problem(
                f"topics.{name}.target",
                f"there is no target {topic.target}; known: {known}"
                f"{did_you_mean(topic.target, settings.all_targets)}",
            )
    if settings.sources.create_missing and settings.sources.customers is None:
        yield Problem("sources.create_missing", "needs `sources.customers`, which says whose each source is")


def _claim_check_problems(target: Target, claim_check: ClaimCheckSettings, path: str) -> Iterator[Problem]:
    if (above := claim_check.above) is not None and above > target.max_event_bytes:
        yield Problem(
            f"{path}.above",
            f"must not be over max_event_bytes ({units.show_bytes(target.max_event_bytes)}): those between "
            "the two would be dead-lettered",
        )
    url = urlsplit(claim_check.endpoint_url or "")
    if url.scheme == "http" and not target.allow_insecure and not is_loopback(url.hostname or ""):
        yield Problem(
            f"{path}.endpoint_url",
            "http:// would send events in the clear; use https://, or set allow_insecure: true",
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


ONLY_AVRO = {"registry", "schema_file", "reader_schema", "out_of_range", "connect_types", "encrypted"}


def _format_problems(settings: Settings) -> Iterator[Problem]:
    for topic, side, form in _formats(settings):
        at = f"topics.{topic}.{side}"
        if form.format in {"string", "bytes"} and "framing" in form.model_fields_set:
            yield Problem(f"{at}.framing", f"is only for Avro and JSON, and the format is {form.format}")
        for name in sorted(form.model_fields_set & ONLY_AVRO):
            if form.format != "avro":
                key = "schema" if name == "schema_file" else name
                yield Problem(f"{at}.{key}", f"is only for Avro, and the format is {form.format}")
        if form.format == "json" and form.framed == "single-object":
            yield Problem(f"{at}.framing", "single-object encoding is only for Avro, and the format is json")
        if form.format != "avro":
            continue
        if not form.is_registered and form.schema_file is None:
            what = (
                "file the records were"
                if form.framed == "none"
                else "files, or a folder of them, records are"
            )
            yield Problem(f"{at}.schema", f"framing `{form.framed}` needs the schema {what} written with")
        elif form.is_registered and form.schema_file is not None:
            yield Problem(
                f"{at}.schema",
                f"framing `{form.framed}` takes it from the registry; use framing `none`, or reader_schema",
            )
        if not form.is_registered and form.registry is not None:
            yield Problem(f"{at}.registry", f"framing `{form.framed}` takes schemas from files")


def _formats(settings: Settings) -> Iterator[tuple[str, str, Format]]:
    for name, topic in settings.topics.items():
        yield name, "value", topic.value
        yield name, "key", topic.key


def _event_problems(settings: Settings) -> Iterator[Problem]:
    for name, topic in settings.topics.items():
        if topic.event.time is None and topic.event.time_unit != "auto":
            yield Problem(
                f"topics.{name}.event.time_unit",
                "is for `time`; set time too, or leave this out: the record's timestamp counts milliseconds",
            )


def _topic_problems(settings: Settings) -> Iterator[Problem]:
    dead_letters = settings.dead_letter.topic
    if dead_letters.startswith("^"):
        yield Problem("dead_letter.topic", "must be a topic's name, not a pattern")
    resolutions = settings.dead_letter.resolutions
    if resolutions.startswith("^") and not dead_letters.startswith("^"):
        yield Problem("dead_letter.resolutions_topic", "must be a topic's name, not a pattern")
    elif resolutions == dead_letters:
        yield Problem("dead_letter.resolutions_topic", "must not be dead_letter.topic")
    elif len(resolutions) > MAX_TOPIC_NAME:
        yield Problem(
            "dead_letter.resolutions_topic",
            f"the default, {resolutions}, is longer than a topic's name may be; set a shorter one",
        )
    receipts = settings.receipts.topic if settings.receipts else None
    if receipts is not None:
        yield from _receipts_problems(receipts, settings)
    for name in settings.topics:
        if name == dead_letters:
            yield Problem(
                f"topics.{name}",
                f"is also dead_letter.topic ({dead_letters}): letters would come back as input",
            )
        elif name == resolutions:
            yield Problem(f"topics.{name}", "is also the topic of resolutions of dead letters")
        elif name == receipts:
            yield Problem(f"topics.{name}", "is also receipts.topic: receipts would come back as input")
        for pattern in (p for p in settings.topics if p.startswith("^") and not name.startswith("^")):
            if re.search(pattern, name):
                yield Problem(
                    f"topics.{name}",
                    f"also matches the pattern {pattern}; a topic may be in one of them only",
                )


def _receipts_problems(topic: str, settings: Settings) -> Iterator[Problem]:
    if topic.startswith("^"):
        yield Problem("receipts.topic", "must be a topic's name, not a pattern")
    elif topic == settings.dead_letter.topic:
        yield Problem("receipts.topic", "must not be dead_letter.topic")
    elif topic == settings.dead_letter.resolutions:
        yield Problem("receipts.topic", "must not be the topic of resolutions of dead letters")


RULES = (
    _kafka_problems,
    _registry_problems,
    _target_problems,
    _format_problems,
    _event_problems,
    _topic_problems,
)
