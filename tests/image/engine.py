"""The container engine at hand: Docker, Podman, or Buildah to build and Podman to run.

Also one inside a container or a small virtual machine, which may not make control groups or raise limits:
what works there is found by trying.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services import MissingServiceError

PULL_TIMEOUT_S = 120.0
BUILD_TIMEOUT_S = 580.0

HARDENED = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--tmpfs=/tmp",
    "--network=host",
)
"""As the chart runs it; the network is the host's, so that it reaches the sandbox on 127.0.0.1."""

_MODEST = (
    ("--cgroup-manager=cgroupfs", "--runtime=runc"),
    ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"),
)
"""Podman's own options and those of `run`, where it may neither make control groups nor raise limits."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How images are built and run on this machine."""

    name: str
    build_command: tuple[str, ...]
    run_command: tuple[str, ...]
    """The program with its own options, before `run`, `kill` and the like."""
    run_options: tuple[str, ...] = ()

    def has(self, image: str) -> bool:
        """Whether the image is here or can be pulled."""
        if self._call("image", "inspect", image).returncode == 0:
            return True
        try:
            return self._call("pull", "--quiet", image, timeout_s=PULL_TIMEOUT_S).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def build(self, folder: Path, tag: str, arguments: Mapping[str, str]) -> None:
        """Builds the Dockerfile of a folder; raises AssertionError with the end of the log."""
        options = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        ended = subprocess.run(
            [*self.build_command, *options, "--tag", tag, str(folder)],
            env=_ENVIRON,
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_TIMEOUT_S,
        )
        assert ended.returncode == 0, f"{self.name} did not build:\n{(ended.stdout + ended.stderr)[-4000:]}"

    def run(
        self, image: str, *arguments: str, options: Sequence[str] = (), timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs the image as the chart does, until it ends."""
        return self._call(
            "run", "--rm", *self.run_options, *HARDENED, *options, image, *arguments, timeout_s=timeout_s
        )

    def start(self, image: str, name: str, *arguments: str, options: Sequence[str] = ()) -> None:
        """Runs it in the background."""
        started = self._call(
            *("run", "--detach", "--name", name),
            *(*self.run_options, *HARDENED, *options, image, *arguments),
        )
        assert started.returncode == 0, started.stderr

    def terminate(self, name: str) -> None:
        """Sends the image's own stop signal, and waits for nothing."""
        self._call("kill", "--signal=TERM", name)

    def wait(self, name: str, *, timeout_s: float) -> int:
        """The exit code."""
        return int(self._call("wait", name, timeout_s=timeout_s).stdout.split()[-1])

    def logs(self, name: str) -> str:
        ended = self._call("logs", name)
        return ended.stdout + ended.stderr

    def remove(self, name: str) -> None:
        self._call("rm", "--force", name)

    def inspect(self, image: str) -> dict[str, Any]:
        """What the engine knows about an image."""
        (found,) = json.loads(self._call("image", "inspect", image).stdout)
        return dict(found)

    def _call(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.run_command, *arguments],
            env=_ENVIRON,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )


# Where a build may not make containers of its own, a chroot will do; it changes nothing about the image.
_ENVIRON = {"BUILDAH_ISOLATION": "chroot", **os.environ}


def find() -> Engine:
    """The engine that answers; raises MissingServiceError where none does."""
    if _answers("docker", "info"):
        return Engine("Docker", ("docker", "build"), ("docker",))
    if _answers("podman", "info"):
        builder = ("buildah", "bud") if shutil.which("buildah") else ("podman", "build")
        return Engine("Podman", builder, ("podman",))
    raise MissingServiceError(
        "no container engine answers; install Docker, or Podman (and Buildah), and start it"
    )


def able(engine: Engine, image: str) -> Engine:
    """The engine with the options under which it really runs an image; raises MissingServiceError."""
    if not engine.has(image):
        raise MissingServiceError(
            f"{engine.name} has no image {image} and cannot pull it; name one: make image BASE_IMAGE=…"
        )
    ways = [engine]
    if engine.name == "Podman":
        own, run = _MODEST
        ways += [
            Engine(engine.name, engine.build_command, ("podman",), run),
            Engine(engine.name, engine.build_command, ("podman", *own), run),
        ]
    for way in ways:
        ended = way.run(image, "-c", "pass", options=["--entrypoint=python3"])
        if ended.returncode == 0:
            return way
    raise MissingServiceError(f"{engine.name} runs nothing: {ended.stderr.strip()}")


def _answers(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0
    except subprocess.TimeoutExpired:
        return False
