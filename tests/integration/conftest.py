"""A world for each test: on the shared Kafka, or on one of the test's own that may be stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PARTS
from tests.services.kafka import Kafka, KafkaCluster
from tests.services.registry import Registry
from tests.world import World


@pytest.fixture(autouse=True)
def named_in_summary(pytestconfig: pytest.Config) -> None:
    """The one part that is never real."""
    pytestconfig.stash[PARTS]["EventBridge"] = "the fake of connector/sandbox, which verifies signatures"


@pytest.fixture
def world(kafka: Kafka, tmp_path: Path) -> Iterator[World]:
    """Topics, a group and EventBridge of the test's own; no registry."""
    with World(kafka.client, folder=tmp_path) as world:
        yield world


@pytest.fixture
def avro_world(kafka: Kafka, registry: Registry, tmp_path: Path) -> Iterator[World]:
    """Like `world`, with the shared schema registry."""
    with World(kafka.client, folder=tmp_path, registry_url=registry.url) as world:
        yield world


@pytest.fixture
def own_world(own_kafka: KafkaCluster, tmp_path: Path) -> Iterator[World]:
    """Like `world`, on a Kafka that the test may stop."""
    with World(own_kafka.client, folder=tmp_path) as world:
        yield world
