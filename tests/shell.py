"""A terminal beside a sandbox, which runs as a process of its own: every command is typed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connector.process import EXIT_USAGE
from connector.sandbox.server import free_port
from tests.services.child import Child


class Shell:
    """A terminal beside a sandbox that was started elsewhere."""

    def __init__(self, folder: Path, sandbox_url: str) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BRIDGE_"))}
        self.environ = {**own, "PATH": path, "PARTNER_BRIDGE_SANDBOX_URL": sandbox_url}

    def __call__(self, *arguments: str, fed: str = "", code: int = 0) -> str:
        """Runs `partner-bridge …`, expects its exit code, and answers its stdout; with 2, its stderr."""
        ran = subprocess.run(
            ["partner-bridge", *arguments], cwd=self.folder, env=self.environ, input=fed, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        assert code == ran.returncode, ran.stdout + ran.stderr
        return ran.stderr if code == EXIT_USAGE else ran.stdout

    def take_environment(self) -> None:
        """Do what `eval "$(partner-bridge sandbox env)"` does."""
        for line in self("sandbox", "env").splitlines():
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                self.environ[name] = value


@contextmanager
def sandbox_shell(folder: Path, *arguments: str) -> Iterator[Shell]:
    """A shell with the environment that `sandbox env` prints; the sandbox ends with this context."""
    port = free_port()
    shell = Shell(folder, f"http://127.0.0.1:{port}")
    command = [sys.executable, "-m", "connector", "sandbox", "--eventbridge-port", str(port), *arguments]
    sandbox = Child(command, log=folder / "sandbox.log", environ={})
    sandbox.start()
    try:
        shell("sandbox", "status", "--timeout", "60")
        shell.take_environment()
        yield shell
    finally:
        assert 0 == sandbox.stop()
