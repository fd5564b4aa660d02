"""What is said of the brokers, by what librdkafka tells of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from connector import config
from connector.kafka.consumer import KafkaConsumer
from connector.model import Partition
from connector.telemetry.metrics import Telemetry

SETTINGS = """
kafka: {bootstrap.servers: "127.0.0.1:1", group.id: test}
eventbridge: {region: eu-central-1}
dead_letter: {topic: orders.dlt}
topics:
  orders:
    value: {format: json}
    event: {source: aws.partner/example.com/orders, detail_type: Order}
"""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[KafkaConsumer]:
    file = tmp_path / "bridge.yaml"
    file.write_text(SETTINGS)
    source = KafkaConsumer(config.load(file, {}))
    source.report_to(Telemetry())
    yield source
    source.close()


OFFSETS: dict[str, Any] = {"hi_offset": 5, "lo_offset": 0, "app_offset": 5}
"""Of a partition that was read to its end."""

IDLE: dict[str, Any] = {
    "nodename": "",
    "waitresp_cnt": 0,
    "outbuf_cnt": 0,
    "rx": 0,
    "txidle": -1,
    "rxidle": -1,
}
IDLE |= {"throttle": {"max": 0}}


def statistics(**states: str) -> str:
    """librdkafka's statistics with these brokers: `b` for one of bootstrap.servers, `n` for one by its id."""
    brokers = {name: {"nodeid": -1 if name == "b" else 0, "state": state} for name, state in states.items()}
    return json.dumps({"ts": 0, "brokers": {n: IDLE | b for n, b in brokers.items()}, "topics": {}})


def test_an_outage_is_one_until_a_broker_answers(source: KafkaConsumer) -> None:
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


class Committing:
    """A listener that remembers how commits ended."""

    def __init__(self) -> None:
        self.errors: list[str | None] = []

    def on_assigned(self, partitions: Sequence[Partition]) -> None: ...
    def on_revoked(self, partitions: Sequence[Partition]) -> None: ...
    def on_lost(self, partitions: Sequence[Partition]) -> None: ...
    def on_committed(self, offsets: Mapping[Partition, int], error: str | None) -> None:
        self.errors.append(error)


def test_a_failed_commit_names_some_of_its_partitions(source: KafkaConsumer) -> None:
    """Enough to find the broker that is to blame, and how many more."""
    listener = source._listener = Committing()
    wanted = [TopicPartition("orders", number, 1) for number in range(5)]
    source._on_commit(KafkaError(KafkaError.NOT_COORDINATOR, "somebody else"), wanted)
    source._on_commit(None, wanted[:2])

    assert ["orders[0], orders[1], orders[2] and 2 more: somebody else", None] == listener.errors


def test_a_partition_that_is_never_read_is_named(
    source: KafkaConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Assigned, not paused, brokers up, and librdkafka fetches nothing of it: that must not go unseen."""
    now_s = 1_000.0
    monkeypatch.setattr("connector.kafka.consumer.time.monotonic", lambda: now_s)
    source._assigned = {Partition("orders", number) for number in range(3)}
    source.pause([Partition("orders", 2)])
    read = OFFSETS | {"broker": 0, "leader": 0, "desired": True, "fetch_state": "active"}
    told = json.loads(statistics(n="UP"))
    told["topics"] = {"orders": {"partitions": {"0": read, "1": read | {"hi_offset": -1001}}}}

    source._on_statistics(json.dumps(told))
    assert source.problem is None
    now_s += 31
    assert source.problem is not None
    assert "orders[1]," in source.problem, "and no other"
    told["topics"]["orders"]["partitions"]["1"] = read
    source._on_statistics(json.dumps(told))
    assert source.problem is None


def test_a_partition_that_no_broker_leads_is_named(
    source: KafkaConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen without: the lag stood at 0 and all looked well, while nothing was read. An election is none."""
    now_s = 1_000.0
    monkeypatch.setattr("connector.kafka.consumer.time.monotonic", lambda: now_s)
    reported: list[str] = []
    monkeypatch.setattr(source._telemetry, "kafka_problem", reported.append)
    source._assigned = {Partition("orders", number) for number in range(2)}
    led = OFFSETS | {"broker": 0, "leader": 0, "desired": True, "fetch_state": "active"}
    told = json.loads(statistics(n="UP"))
    told["topics"] = {"orders": {"partitions": {"0": led, "1": led | {"broker": -1, "leader": -1}}}}

    source._on_statistics(json.dumps(told))
    now_s += 1.9
    assert source.problem is None
    source._on_statistics(json.dumps(told))
    assert "no broker leads orders[1], so nothing can be read there" == source.problem
    assert [source.problem] == reported
    told["topics"]["orders"]["partitions"]["1"] = led
    source._on_statistics(json.dumps(told))
    assert source.problem is None


def test_a_partition_whose_silent_broker_leads_it_no_more_is_named_at_once(source: KafkaConsumer) -> None:
    """Between the two all would look well for a moment."""
    source._assigned = {Partition("orders", 0)}
    source._silence._silent = {"n": ("broker:9092", 3.0)}
    told = json.loads(statistics(n="UP"))
    away = OFFSETS | {"broker": -1, "leader": -1, "desired": True, "fetch_state": "none"}
    told["topics"] = {"orders": {"partitions": {"0": away}}}

    source._on_statistics(json.dumps(told))

    assert source.problem is not None
    assert "no broker leads orders[0]" in source.problem
