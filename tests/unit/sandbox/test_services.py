"""The sandbox as a whole prints a configuration that works."""

from __future__ import annotations

from pathlib import Path

from connector import config
from connector.sandbox import orders
from connector.sandbox.services import Sandbox


def test_the_configuration_of_the_sandbox_is_valid(tmp_path: Path) -> None:
    """What it prints can be given to the bridge as it is."""
    with Sandbox() as sandbox:
        file = tmp_path / "bridge.yaml"
        file.write_text(sandbox.config(http_port=8080), encoding="utf-8")

        settings = config.load(file, {})

        assert sandbox.eventbridge.url == settings.eventbridge.endpoint_url
        assert sandbox.broker.bootstrap == settings.kafka.options["bootstrap.servers"]
        assert orders.TOPIC in settings.topics
