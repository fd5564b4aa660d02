"""Rules between settings: each breach is one problem with its place."""

from __future__ import annotations

import pytest

from tests.configuration import EVENT, Written, with_settings, with_topic

MISTAKES: list[tuple[str, str]] = [
    (
        with_settings(schema_registry=None),
        "topics.orders.v1.value: Avro with framing `confluent` needs `schema_registry`",
    ),
    (
        with_topic(value={"framing": "none"}),
        "topics.orders.v1.value.schema: framing `none` needs the schema file",
    ),
    (with_topic(value={"schema": "a.avsc"}), "value.schema: framing `confluent` takes it from the registry"),
    (
        with_topic(key={"format": "string", "framing": "none"}),
        "key.framing: is only for Avro and JSON, and the format is string",
    ),
    (
        with_topic(value={"format": "json", "framing": "single-object"}),
        "value.framing: single-object encoding is only for Avro",
    ),
    (
        with_topic(value={"framing": "single-object"}),
        "value.schema: framing `single-object` needs the schema files, or a folder of them",
    ),
    (
        with_topic(value={"framing": "none", "schema": "a.avsc", "registry": "a"}),
        "value.registry: framing `none` takes schemas from files",
    ),
    (
        with_topic(value={"registry": "was"}).replace(
            "topics:", "schema_registries: {aws: {type: glue}}\ntopics:"
        ),
        "value.registry: there is no registry was; known: aws; did you mean 'aws'?",
    ),
    (
        with_topic(value={"framing": "glue"}),
        "value.framing: `glue` needs a registry of type glue, and schema_registry is of type confluent",
    ),
    (
        with_settings(schema_registry={"url": "http://r", "region": "eu-central-1"}),
        "schema_registry.region: is only for Glue, and the type is confluent",
    ),
    (
        with_settings(schema_registries={"a": {"type": "glue", "bearer_token": "secret"}}),
        "schema_registries.a.bearer_token: is not for Glue",
    ),
    (
        with_settings(schema_registries={"a": {"type": "apicurio", "url": "http://r:8080"}}),
        "schema_registries.a.url: Apicurio's own API ends in /apis/registry/v3",
    ),
    (
        with_settings(schema_registries={"a": {"type": "confluent"}}),
        "schema_registries.a.url: required, and missing",
    ),
    (with_topic(value={"format": "json", "schema": "a"}), "value.schema: is only for Avro"),
    (with_topic(value={"format": "bytes", "reader_schema": "a"}), "value.reader_schema: is only for Avro"),
    (
        with_settings(eventbridge={"endpoint_url": "http://example.com"}),
        "eventbridge.endpoint_url: http:// would send events in the clear",
    ),
    (
        with_settings(eventbridge={"claim_check": {"bucket": "large", "above": 300000}}),
        "eventbridge.claim_check.above: must not be over max_event_bytes (256KiB)",
    ),
    (
        with_settings(eventbridge={"claim_check": {"bucket": "large", "path": "$.detail['a\nb']"}}),
        "eventbridge.claim_check.path: ",
    ),
    (
        with_settings(eventbridge={"claim_check": {"bucket": "large", "endpoint_url": "http://example.com"}}),
        "eventbridge.claim_check.endpoint_url: http:// would send events in the clear",
    ),
    (
        with_settings(eventbridge={"external_id": "x"}),
        "external_id: is for assuming a role; set role_arn too",
    ),
    (
        with_settings(eventbridge={"max_event_bytes": 300000}),
        "eventbridge.max_event_bytes: must not be over batch.byte_size (256KiB)",
    ),
    (
        with_settings(eventbridge={"retry": {"initial_interval": "1m", "max_interval": "1s"}}),
        "retry.initial_interval: must not be over max_interval",
    ),
    (with_settings(schema_registry={"certificate": "a.pem"}), "certificate and private_key belong together"),
    (with_settings(schema_registry={"private_key": "a.pem"}), "certificate and private_key belong together"),
    (
        with_settings(
            schema_registry={"basic_auth": {"username": "u", "password": "p"}, "bearer_token": "t"}
        ),
        "schema_registry.bearer_token: basic_auth and bearer_token exclude each other",
    ),
    (
        with_topic(event={**EVENT, "time_unit": "s"}),
        "topics.orders.v1.event.time_unit: is for `time`; set time too, or leave this out",
    ),
    (
        with_settings(dead_letter={"topic": "orders.v1"}),
        "topics.orders.v1: is also dead_letter.topic (orders.v1)",
    ),
    (
        with_settings(dead_letter={"topic": "^dlt"}),
        "dead_letter.topic: must be a topic's name, not a pattern",
    ),
    (
        with_settings(dead_letter={"topic": "orders.dlt", "resolutions_topic": "^dlt"}),
        "dead_letter.resolutions_topic: must be a topic's name, not a pattern",
    ),
    (
        with_settings(dead_letter={"topic": "orders.dlt", "resolutions_topic": "orders.dlt"}),
        "dead_letter.resolutions_topic: must not be dead_letter.topic",
    ),
    (
        with_settings(dead_letter={"topic": "d" * 240}),
        "is longer than a topic's name may be; set a shorter one",
    ),
    (
        with_settings(dead_letter={"topic": "orders.dlt", "resolutions_topic": "orders.v1"}),
        "topics.orders.v1: is also the topic of resolutions of dead letters",
    ),
    (
        with_settings(receipts={"topic": "orders.v1"}),
        "topics.orders.v1: is also receipts.topic: receipts would come back as input",
    ),
    (with_settings(receipts={"topic": "^all"}), "receipts.topic: must be a topic's name, not a pattern"),
    (with_settings(receipts={"topic": "orders.dlt"}), "receipts.topic: must not be dead_letter.topic"),
    (
        with_settings(receipts={"topic": "orders.dlt.resolutions"}),
        "receipts.topic: must not be the topic of resolutions of dead letters",
    ),
    (
        with_settings(topics={"orders.v1": {"event": EVENT}, "^orders[.]": {"event": EVENT}}),
        "topics.orders.v1: also matches the pattern ^orders[.]; a topic may be in one of them only",
    ),
    (
        with_settings(kafka={"auth": "aws-msk-iam", "sasl.password": "x"}),
        "kafka.sasl.password: `auth: aws-msk-iam` decides it",
    ),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[expected[:50] for _, expected in MISTAKES])
def test_a_broken_rule_is_one_problem_that_says_where_and_what(
    written: Written, text: str, expected: str
) -> None:
    """Each breach is told once, with its place, and with what to write."""
    problems = written.problems(text)

    assert 1 == len(problems), problems
    assert expected in problems[0]


@pytest.mark.parametrize(
    "url", ["http://localhost:4566", "http://127.0.0.1:1", "http://[::1]:1", "https://a.example"]
)
def test_plain_http_is_for_this_machine(written: Written, url: str) -> None:
    """Events leave the machine encrypted, unless somebody says that they may not."""
    insecure = {"endpoint_url": "http://example.com", "allow_insecure": True}

    assert url == written.load(with_settings(eventbridge={"endpoint_url": url})).eventbridge.endpoint_url
    assert written.load(with_settings(eventbridge=insecure)).eventbridge.allow_insecure
