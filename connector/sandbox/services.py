"""Broker, registry and EventBridge started together, and the configuration of a bridge for them."""

from __future__ import annotations

import os
import re
from types import TracebackType
from typing import Self

from connector.sandbox import orders
from connector.sandbox.broker import Broker
from connector.sandbox.eventbridge import ACCESS_KEY_ID, SECRET_ACCESS_KEY, FakeEventBridge
from connector.sandbox.registry import FakeRegistry
from connector.sandbox.server import LOOPBACK, Host

MAX_PARTITIONS = 1000
"""Of one topic: an error of the caller's, not a limit of the broker's."""


class Sandbox:
    """Broker, registry and EventBridge, with the topics and the schema of the example."""

    def __init__(
        self,
        *,
        host: Host = LOOPBACK,
        eventbridge_port: int = 0,
        kafka_port: int = 0,
        registry_port: int = 0,
        strict_sources: bool = False,
    ) -> None:
        """With `strict_sources` a partner event source exists only once it was created."""
        letters = orders.DEAD_LETTER_TOPIC
        self.broker = Broker(
            topics={orders.TOPIC: orders.PARTITIONS, letters: 1, f"{letters}.resolutions": 1},
            host=host,
            port=kafka_port,
        )
        self.eventbridge = FakeEventBridge(
            host=host, port=eventbridge_port, auto_create=not strict_sources, surroundings=self
        )
        self.registry = FakeRegistry(host=host, port=registry_port)
        self._is_kafka_down = False
        self.schema_id = 0
        """The id under which the registry knows the orders of the example."""

    def start(self) -> Self:
        """Start all three, or none.

        Raises:
            OSError: a port is taken, or the host is none of this machine.
        """
        try:
            self.eventbridge.start()
            self.registry.start()
            self.broker.start()
        except BaseException:
            self.stop()
            raise
        self.schema_id = self.registry.register(f"{orders.TOPIC}-value", orders.SCHEMA)
        return self

    def stop(self) -> None:
        self.broker.stop()
        self.registry.stop()
        self.eventbridge.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def config(self, *, http_port: int) -> str:
        """Write a complete `bridge.yaml` for a bridge in this sandbox."""
        return orders.config(self.addresses(), http_port=http_port)

    def addresses(self) -> dict[str, object]:
        """Say where everything is, and what the environment of a bridge needs."""
        return {
            "kafka": {"bootstrap.servers": self.broker.bootstrap, "down": self._is_kafka_down},
            "schema_registry": self.registry.url,
            "eventbridge": self.eventbridge.url,
            "environment": self.credentials(),
        }

    def create_topic(self, name: str, partitions: int) -> None:
        """Create a topic.

        Raises:
            ValueError: there is one of that name, or its partitions are none.
        """
        if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", name) or type(partitions) is not int:
            raise ValueError("a topic has a `name` of a-z A-Z 0-9 . _ - and a number of `partitions`")
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise ValueError(f"a topic here has 1 to {MAX_PARTITIONS} partitions, not {partitions}")
        self.broker.create_topic(name, partitions)

    def set_kafka_down(self, *, down: bool) -> None:
        """Let the broker drop every connection and take none, or work again; it keeps its records."""
        if down:
            self.broker.set_down()
        else:
            self.broker.set_up()
        self._is_kafka_down = down

    @staticmethod
    def credentials() -> dict[str, str]:
        """The environment variables a bridge here needs; they keep it away from the user's own account."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
