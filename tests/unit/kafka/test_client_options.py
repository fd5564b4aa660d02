"""Which settings each client of librdkafka gets: the user's, ours below them, and those we own above them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import admin as kafka_admin

from connector import config
from connector.config.kafka import Kafka
from connector.kafka import client

GIVEN = {
    "bootstrap.servers": "127.0.0.1:1",
    "group.id": "g",
    "group.instance.id": "one",
    "message.max.bytes": "2000000",
    "auto.offset.reset": "latest",
    "linger.ms": "50",
}


@pytest.fixture
def settings() -> config.Settings:
    example = config.load(Path(__file__).parents[3] / "examples" / "bridge.yaml", {})
    return example.model_copy(update={"kafka": Kafka.model_validate(GIVEN)})


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The options take the client's place, so that a test can read them."""
    for module, name in ((client, "Consumer"), (client, "Producer"), (kafka_admin, "AdminClient")):
        monkeypatch.setattr(module, name, lambda options, **_: options)


def test_a_consumer_gets_the_users_settings_but_for_those_we_own(settings: config.Settings) -> None:
    """Ours give way to the user's, and the user's to `owned`."""
    options: Any = client.consumer(settings, {"enable.auto.commit": "false", "linger.ms": "1"})

    assert "latest" == options["auto.offset.reset"]
    assert client.CONSUMER_DEFAULTS["fetch.queue.backoff.ms"] == options["fetch.queue.backoff.ms"]
    assert ("false", "1") == (options["enable.auto.commit"], options["linger.ms"])
    assert "fetch.max.bytes" not in options  # librdkafka would refuse less than message.max.bytes


def test_another_consumer_does_not_take_the_place_of_the_bridge(settings: config.Settings) -> None:
    """With the same `group.instance.id` the broker would throw the bridge out."""
    options: Any = client.consumer(settings, {}, without=client.BRIDGE_ONLY)

    assert not {*client.BRIDGE_ONLY} & options.keys()
    assert client.FETCH_MAX_BYTES == options["fetch.max.bytes"]


def test_a_producer_is_safe_whatever_the_user_says(settings: config.Settings) -> None:
    """Idempotence is ours, `linger.ms` the user's, and no setting of consumers gets here."""
    options: Any = client.producer(settings, {"message.timeout.ms": 1}, linger_ms=5)

    assert (True, "all", 1) == (options["enable.idempotence"], options["acks"], options["message.timeout.ms"])
    assert "50" == options["linger.ms"]
    assert "lz4" == options["compression.type"]
    assert not client.CONSUMER_ONLY & options.keys()


def test_an_admin_client_does_not_hear_of_the_consumers_settings(settings: config.Settings) -> None:
    """It would warn about each."""
    options: Any = client.admin(settings)

    assert not client.CONSUMER_ONLY & options.keys()
    assert GIVEN["bootstrap.servers"] == options["bootstrap.servers"]


@pytest.mark.parametrize(
    ("brokers", "region"),
    [
        ("b-1.orders.a1b2c3.c2.kafka.us-east-1.amazonaws.com:9098", "us-east-1"),
        ("kafka.example.com:9098,boot-x1.c1.kafka-serverless.ap-south-1.amazonaws.com:9098", "ap-south-1"),
        ("b-1.orders.a1b2c3.c2.kafka.cn-north-1.amazonaws.com.cn:9098", "cn-north-1"),
        ("kafka.example.com:9098", "eu-central-1"),
        ("kafka.us-east-1.example.com:9098", "eu-central-1"),
    ],
)
def test_a_token_for_msk_is_made_for_the_region_of_its_brokers(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch, brokers: str, region: str
) -> None:
    """Which need not be that of EventBridge; names of one's own do not say where the brokers are."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    kafka = Kafka.model_validate({"auth": "aws-msk-iam", "bootstrap.servers": brokers, "group.id": "g"})
    options: Any = client.consumer(settings.model_copy(update={"kafka": kafka}), {})

    token, _ = options["oauth_cb"]("")

    url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    assert url.startswith(f"https://kafka.{region}.amazonaws.com/?")
