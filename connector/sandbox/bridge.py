"""A real bridge in the sandbox, as a child process, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

import orjson
import urllib3

from connector import config
from connector.dead_letters import format as letters
from connector.dead_letters.topics import DeadLetterTopic
from connector.errors import ConfigError
from connector.sandbox.server import free_port

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
LOOK_EVERY_S = 0.1
LOG_LINES = 30
"""Lines of the bridge's log that a failure shows."""


class BridgeFailedError(AssertionError):
    """The bridge ended by itself, or not as it should have; shows the end of its log."""


class SandboxBridge:
    """`partner-bridge run` with these settings, from `start` until `stop`.

    `environment` is added to that of this process, which is passed on without `AWS_` and `BRIDGE_` variables.
    """

    def __init__(
        self, settings: Mapping[str, Any], environment: Mapping[str, str], *, folder: Path, name: str
    ) -> None:
        self._port = free_port()
        self.config = folder / f"{name}.yaml"
        """Its configuration, as `--config` of other commands takes it."""
        http = {"host": "127.0.0.1", "port": self._port}
        text = orjson.dumps(
            {**settings, "http": {**settings.get("http", {}), **http}}, option=orjson.OPT_INDENT_2
        )
        self.config.write_bytes(text)  # JSON is YAML
        self._log = folder / f"{name}.log"
        own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BRIDGE_"))}
        self._environment = own | {"NO_PROXY": "127.0.0.1"} | dict(environment)
        self._child: subprocess.Popen[bytes] | None = None
        self._is_stopped = False

    @property
    def url(self) -> str:
        """Where it answers `/readyz`, `/metrics` and `/sources`."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> Self:
        """Start it; returns once it answers HTTP, which may be before it is ready.

        Raises:
            BridgeFailedError: it ended, because of its configuration for example.
        """
        command = [sys.executable, "-P", "-m", "connector", "run", "--config", str(self.config)]
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)  # noqa: S603
        self._is_stopped = False
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            self.check()
            if time.monotonic() > deadline_s:
                raise self._failed(f"did not start within {START_TIMEOUT_S:g} s")
            time.sleep(LOOK_EVERY_S)
        return self

    def check(self) -> None:
        """Make sure that it did not end by itself.

        Raises:
            BridgeFailedError: it did.
        """
        if self._child is not None and not self._is_stopped and self._child.poll() is not None:
            self._is_stopped = True
            raise self._failed(f"ended by itself with exit code {self._child.returncode}")

    def stop(self) -> None:
        """Stop it as Kubernetes would. Harmless when it is stopped.

        Raises:
            BridgeFailedError: it ended earlier, by itself, or not with 0.
        """
        self.check()
        if self._child is None or self._is_stopped:
            return
        self._is_stopped = True
        self._child.send_signal(signal.SIGTERM)
        try:
            code = self._child.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self._failed(f"did not stop within {STOP_TIMEOUT_S:g} s of SIGTERM") from None
        if code != 0:
            raise self._failed(f"was stopped, and ended with exit code {code}")

    def kill(self) -> None:
        """End it at once, as a crash does; `start` starts it again."""
        self._is_stopped = True
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()

    def log(self) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def dead_letters(self) -> list[dict[str, Any]]:
        """Every record that it dead-lettered so far: `code`, `message`, and where the record was.

        Also its `key` and `value`, as bytes.
        """
        with closing(DeadLetterTopic(config.load(self.config, {}))) as topic:
            try:
                ranges = topic.snapshot()
            except ConfigError:  # there is none yet
                return []
            found = [letters.read(record) for records in topic.read(ranges) for record in records]
        return [
            {
                "code": each.label.code,
                "message": each.message,
                "topic": each.label.topic,
                "partition": each.label.partition,
                "offset": each.label.offset,
                "source": each.label.source,
                "key": each.record.key,
                "value": each.record.value,
            }
            for each in found
        ]

    def wait_for_dead_letters(self, count: int = 1, *, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """Every dead letter, once there are `count` of them.

        Raises:
            BridgeFailedError: there are fewer after `timeout_s`, or the bridge ended.
        """
        deadline_s = time.monotonic() + timeout_s
        while len(found := self.dead_letters()) < count:
            self.check()
            if time.monotonic() > deadline_s:
                raise self._failed(f"wrote {len(found)} of {count} dead letters within {timeout_s:g} s")
            time.sleep(LOOK_EVERY_S)
        return found

    def _answers(self) -> bool:
        with suppress(urllib3.exceptions.HTTPError):
            return urllib3.request("GET", f"{self.url}/livez", timeout=5, retries=False).status == 200
        return False

    def _failed(self, what: str) -> BridgeFailedError:
        return BridgeFailedError(f"the bridge {what}; its log ends:\n{self.log()}")
