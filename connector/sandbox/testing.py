"""A sandbox and bridges inside a test; `pytest_plugin` has the fixture.

with LocalSandbox(folder) as sandbox, sandbox.start_bridge("bridge.yaml"):
    sandbox.produce("orders", {"tenant": "acme", "id": 1}, key="1")
    (event,) = sandbox.wait_for_events(1)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from connector.sandbox.bridge import SandboxBridge
from connector.sandbox.client import Event, MissingEventsError, SandboxClient, SandboxRefusedError
from connector.sandbox.configuration import for_sandbox
from connector.sandbox.producer import RecordProducer, Schema, Value
from connector.sandbox.services import Sandbox
from connector.workbench.framings import WrittenFraming


class LocalSandbox(SandboxClient):
    """A sandbox in this process, on free ports of 127.0.0.1, and the bridges started in it.

    Everything that its commands can do, its methods can: see `SandboxClient`.
    """

    def __init__(self, folder: Path, *, strict_sources: bool = False) -> None:
        """`folder` is for logs and configurations. With `strict_sources` no source exists unless created."""
        super().__init__("")
        self._folder = folder
        self._strict_sources = strict_sources
        self._running = ExitStack()
        self._producer: RecordProducer | None = None
        self._bridges: list[SandboxBridge] = []

    def __enter__(self) -> Self:
        sandbox = self._running.enter_context(Sandbox(strict_sources=self._strict_sources))
        self.url = sandbox.eventbridge.url
        self._producer = RecordProducer(sandbox.broker.bootstrap, sandbox.registry.url)
        return self

    def __exit__(self, *_: object) -> None:
        for bridge in self._bridges:
            bridge.kill()
        self._running.close()

    def produce(
        self,
        topic: str,
        *values: Value,
        key: Value = None,
        headers: Mapping[str, str | bytes] | None = None,
        schema: Schema | None = None,
        framing: WrittenFraming = "confluent",
    ) -> None:
        """Produce a record for each value, all with this key and these headers.

        A value is sent as JSON, text (str), bytes as they are, or None for a tombstone. With a `schema`, or
        the path of its .avsc file, it becomes Avro in this framing, and the schema is registered under
        `TOPIC-value`.

        Raises:
            ValueError: a value does not fit the schema, or the schema is none.
        """
        assert self._producer is not None, "the sandbox is not running"  # noqa: S101
        for value in values:
            self._producer.add(topic, value, key=key, headers=headers, schema=schema, framing=framing)
        self._producer.flush()

    def start_bridge(
        self, config: str | Path | Mapping[str, Any], *, environment: Mapping[str, str] | None = None
    ) -> SandboxBridge:
        """Start a bridge with your configuration: a file, or its settings.

        Addresses become the sandbox's, and nothing signs in anywhere else; everything else stays. Its
        topics are created where they are missing. It runs until the end of the test, or of a `with` block.

        Raises:
            ConfigError: the file cannot be read.
            BridgeFailedError: the bridge does not start; the message has the end of its log.
        """
        addresses = self.addresses()
        given = Path(config) if isinstance(config, str) else config
        settings = for_sandbox(given, addresses, http={})
        for name in settings.get("topics") or {}:
            if not name.startswith("^"):
                with suppress(SandboxRefusedError):  # it is there already
                    self.create_topic(name)
        number = len(self._bridges) + 1
        bridge = SandboxBridge(
            settings,
            {**addresses["environment"], **(environment or {})},
            folder=self._folder,
            name="bridge" if number == 1 else f"bridge-{number}",
        )
        self._bridges.append(bridge)
        return bridge.start()

    def stop_bridges(self) -> None:
        """Stop every bridge as Kubernetes would.

        Raises:
            BridgeFailedError: one had ended by itself, or did not end with 0.
        """
        for bridge in self._bridges:
            bridge.stop()

    def wait_for_events(
        self,
        count: int = 1,
        *,
        after: int = 0,
        timeout_s: float = 30.0,
        meanwhile: Callable[[], object] = lambda: None,
        **chosen: Any,
    ) -> list[Event]:
        """As in `SandboxClient`; a bridge that ends by itself ends the wait.

        Raises:
            MissingEventsError: there are fewer after `timeout_s`; with the end of each bridge's log.
            BridgeFailedError: a bridge ended.
        """

        def checked() -> None:
            meanwhile()
            for bridge in self._bridges:
                bridge.check()

        try:
            return super().wait_for_events(
                count, after=after, timeout_s=timeout_s, meanwhile=checked, **chosen
            )
        except MissingEventsError as error:
            logs = [f"the log of {bridge.config.stem} ends:\n{bridge.log()}" for bridge in self._bridges]
            raise MissingEventsError("\n".join([str(error), *logs])) from None
