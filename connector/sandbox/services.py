"""Broker, registry and EventBridge started together, and the configuration of a bridge for them."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from connector.sandbox import orders
from connector.sandbox.broker import Broker
from connector.sandbox.eventbridge import ACCESS_KEY_ID, SECRET_ACCESS_KEY, FakeEventBridge
from connector.sandbox.registry import FakeRegistry


class Sandbox:
    """Broker, registry and EventBridge on 127.0.0.1, with the topics and the schema of the example."""

    def __init__(
        self, *, eventbridge_port: int = 0, registry_port: int = 0, strict_sources: bool = False
    ) -> None:
        """With `strict_sources` a partner event source exists only once it was created."""
        letters = orders.DEAD_LETTER_TOPIC
        self.broker = Broker(
            topics={orders.TOPIC: orders.PARTITIONS, letters: 1, f"{letters}.resolutions": 1}
        )
        self.eventbridge = FakeEventBridge(port=eventbridge_port, auto_create=not strict_sources)
        self.registry = FakeRegistry(port=registry_port)
        self.schema_id = 0
        """The id under which the registry knows the orders of the example."""

    def start(self) -> Self:
        """Start all three, or none.

        Raises:
            OSError: a port is taken.
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
        return orders.CONFIG.format(
            bootstrap=self.broker.bootstrap,
            registry=self.registry.url,
            eventbridge=self.eventbridge.url,
            region=orders.REGION,
            http_port=http_port,
        )

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
