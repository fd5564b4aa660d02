"""Options that every client of Kafka is made with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from connector import config
from connector.dead_letters.topics import DeadLetterTopic
from connector.kafka.consumer import KafkaConsumer
from tests.unit.kafka.test_consumer import SETTINGS


@pytest.mark.parametrize("client", [DeadLetterTopic, KafkaConsumer])
def test_letters_may_be_large(tmp_path: Path, client: Callable[[config.Settings], KafkaConsumer]) -> None:
    """`message.max.bytes` is for the dead letters; what librdkafka compares with it in a reader fits."""
    file = tmp_path / "bridge.yaml"
    file.write_text(SETTINGS.replace("group.id: test", "group.id: test, message.max.bytes: 10000000"))
    client(config.load(file, {})).close()
