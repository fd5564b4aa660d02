"""A command that sends again, as a child process beside one world."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from connector.dead_letters.redelivery_group import SESSION_TIMEOUT_S
from tests.bridge_process import AWS_ENVIRON
from tests.services.child import Child, wait_until
from tests.world import World

TIMEOUT_S = 90.0


class Redeliveries:
    """Child processes of a command, each with a file of the settings as they are at its start."""

    def __init__(self, world: World, folder: Path, settings: dict[str, Any]) -> None:
        self.world = world
        self.settings = settings
        self.environ = dict(AWS_ENVIRON)
        self._folder = folder
        self._started: list[Child] = []

    def launch(self, group: str, command: str, *arguments: str) -> Child:
        """Starts a command of a group, as "events", "resend", "--execute"."""
        name = f"{command}-{len(self._started)}"
        file = self._folder / f"{name}.yaml"
        file.write_text(json.dumps(self.settings))  # JSON is YAML
        child = Child(
            [sys.executable, "-m", "connector", group, command, "--config", str(file), *arguments],
            log=self._folder / f"{name}.log",
            environ=self.environ,
        )
        self._started.append(child)
        child.start()
        return child

    def finish(self, child: Child, code: int) -> str:
        """Waits for its end, expects this exit code, and answers everything it printed."""
        assert child.wait(timeout_s=TIMEOUT_S + SESSION_TIMEOUT_S) == code, child.tail()
        return child.output()

    def wait_accepted(self, count: int, child: Child) -> None:
        """Waits until EventBridge has so many events, while the command runs."""

        def is_there() -> bool:
            assert child.running, child.tail()
            return self.world.aws.counts().accepted >= count

        wait_until(is_there, what=lambda: f"{count} events\n{child.tail()}", every_s=0.005)

    def close(self) -> None:
        for child in self._started:
            child.kill()
