"""A configuration of production, turned to a sandbox: what stays, and what must not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from connector import config
from connector.errors import ConfigError
from connector.sandbox.configuration import for_sandbox

ADDRESSES = {
    "kafka": {"bootstrap.servers": "127.0.0.1:1"},
    "schema_registry": "http://127.0.0.1:2",
    "eventbridge": "http://127.0.0.1:3",
}
HTTP = {"host": "127.0.0.1", "port": 0}
PRODUCTION = """
name: orders-bridge
kafka:
  bootstrap.servers: kafka-1:9093
  group.id: orders-bridge
  group.instance.id: orders-0
  auth: aws-msk-iam
  security.protocol: SASL_SSL
  sasl.mechanism: PLAIN
  sasl.password: canary
  ssl.ca.location: /etc/ca.pem
  fetch.wait.max.ms: 100
schema_registry: {url: "https://registry", basic_auth: {username: u, password: canary}, timeout: 9s}
eventbridge: {region: eu-west-1, role_arn: "arn:aws:iam::123456789012:role/r", max_in_flight: 3}
targets:
  us: {region: us-east-1, profile: production, use_fips: true}
sources: {customers: customers.csv, max_held_records: 7}
dead_letter: {topic: letters, partitions: 3}
topics:
  orders:
    value: {format: avro, framing: none, schema: order.avsc}
    filter: "value.total > `12`"
    event: {source: "aws.partner/example.com/${value.tenant}", detail_type: "12"}
"""


def turned(tmp_path: Path, text: str = PRODUCTION) -> config.Settings:
    """The settings that a bridge gets: written, and loaded again."""
    given, result = tmp_path / "given" / "bridge.yaml", tmp_path / "sandbox.yaml"
    given.parent.mkdir()
    given.write_text(text)
    result.write_text(yaml.safe_dump(for_sandbox(given, ADDRESSES, http=HTTP)))
    return config.load(result, {})


def test_nothing_points_outside_the_sandbox(tmp_path: Path) -> None:
    """No broker, registry, endpoint, role, profile or password of production is left."""
    settings = turned(tmp_path)
    text = config.as_yaml(settings)

    assert "127.0.0.1:1" == settings.kafka.options["bootstrap.servers"]
    assert settings.schema_registry
    assert "http://127.0.0.1:2" == settings.schema_registry.url
    assert {"http://127.0.0.1:3"} == {each.endpoint_url for each in settings.all_targets.values()}
    assert not any(key.startswith(("sasl", "ssl", "security")) for key in settings.kafka.options)
    assert settings.kafka.auth is None
    for foreign in ("canary", "kafka-1", "https://registry", "role/r", "production", "orders-0"):
        assert foreign not in text


def test_what_the_bridge_does_stays(tmp_path: Path) -> None:
    """Mappings, limits and the types of values are those of the file; its relative paths lead there."""
    settings = turned(tmp_path)

    assert ("orders-bridge", "100") == (settings.name, settings.kafka.options["fetch.wait.max.ms"])
    assert ("eu-west-1", 3) == (settings.eventbridge.region, settings.eventbridge.max_in_flight)
    assert "us-east-1" == settings.targets["us"].region
    assert 7 == settings.sources.max_held_records
    assert settings.schema_registry
    assert 9.0 == settings.schema_registry.timeout
    assert "value.total > `12`" == settings.topics["orders"].filter
    assert "12" == settings.topics["orders"].event.detail_type
    assert tmp_path / "given" / "order.avsc" == settings.topics["orders"].value.schema_file
    assert tmp_path / "given" / "customers.csv" == settings.sources.customers


def test_what_the_sandbox_needs_is_added(tmp_path: Path) -> None:
    """Dead-letter topics are created, sources seen soon, and a member joins within seconds."""
    settings = turned(tmp_path)

    assert (True, 3) == (settings.dead_letter.create, settings.dead_letter.partitions)
    assert 1.0 == settings.sources.refresh_interval
    assert "6000" == settings.kafka.options["session.timeout.ms"]


def test_a_session_timeout_does_not_stand_beside_the_new_group_protocol(tmp_path: Path) -> None:
    """librdkafka refuses the two together."""
    text = PRODUCTION.replace("auth: aws-msk-iam", "group.protocol: consumer")

    assert "session.timeout.ms" not in turned(tmp_path, text).kafka.options


def test_a_file_that_is_not_yaml_says_so(tmp_path: Path) -> None:
    """With its line; a missing one by its name."""
    broken = tmp_path / "bridge.yaml"
    broken.write_text("kafka: {\n")

    with pytest.raises(ConfigError, match=r"bridge.yaml, line \d"):
        for_sandbox(broken, ADDRESSES, http=HTTP)
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere.yaml"):
        for_sandbox(tmp_path / "nowhere.yaml", ADDRESSES, http=HTTP)


def test_every_registry_becomes_the_sandboxs(tmp_path: Path) -> None:
    """By the API of each, and without what signs in; a Region of Glue is not asked."""
    more = """schema_registries:
  aws: {type: glue, region: eu-west-1}
  apicurio: {type: apicurio, url: "https://apicurio/apis/registry/v2", bearer_token: canary}
"""
    settings = turned(tmp_path, PRODUCTION + more)

    assert {"aws": "http://127.0.0.1:2", "apicurio": "http://127.0.0.1:2/apis/registry/v3"} == {
        name: registry.url for name, registry in settings.schema_registries.items()
    }
    assert None is settings.schema_registries["apicurio"].bearer_token
