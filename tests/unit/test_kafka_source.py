"""What is said of the brokers, by what librdkafka tells of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from connector import config
from connector.kafka import KafkaSource
from connector.kafka_letters import LetterTopic
from connector.telemetry import Telemetry

SETTINGS = """
kafka: {bootstrap.servers: "127.0.0.1:1", group.id: test}
eventbridge: {region: eu-central-1}
dead_letter: {topic: orders.dlt}
topics:
  orders:
    value: {format: json}
    event: {source: aws.partner/example.com/orders, detail_type: Order}
"""


@pytest.mark.parametrize("client", [LetterTopic, partial(KafkaSource, telemetry=Telemetry())])
def test_letters_may_be_large(tmp_path: Path, client: Callable[[config.Settings], KafkaSource]) -> None:
    """`message.max.bytes` is for the dead letters; what librdkafka compares with it in a reader fits."""
    file = tmp_path / "bridge.yaml"
    file.write_text(SETTINGS.replace("group.id: test", "group.id: test, message.max.bytes: 10000000"))
    client(config.load(file, {})).close()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[KafkaSource]:
    file = tmp_path / "bridge.yaml"
    file.write_text(SETTINGS)
    source = KafkaSource(config.load(file, {}), telemetry=Telemetry())
    yield source
    source.close()


def statistics(**states: str) -> str:
    """librdkafka's statistics with these brokers: `b` for one of bootstrap.servers, `n` for one by its id."""
    brokers = {name: {"nodeid": -1 if name == "b" else 0, "state": state} for name, state in states.items()}
    return json.dumps({"brokers": brokers, "topics": {}})


def test_an_outage_is_one_until_a_broker_answers(source: KafkaSource) -> None:
    """Also while librdkafka has forgotten the brokers it knew, and begins with bootstrap.servers again."""
    source._on_statistics(statistics(b="TRY_CONNECT"))
    assert source.problem is None, "it is only starting"
    source._on_statistics(statistics(n="UP"))
    assert source.problem is None
    source._on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert source.problem is not None
    source._on_statistics(statistics(b="TRY_CONNECT"))
    assert source.problem is not None, "nobody answers at bootstrap.servers either"
    source._on_statistics(statistics(n="TRY_CONNECT", b="INIT"))
    assert source.problem is not None
    source._on_statistics(statistics(n="UP", b="INIT"))
    assert source.problem is None
