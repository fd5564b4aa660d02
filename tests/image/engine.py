"""The container engine at hand: Docker or Podman.

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
    command: tuple[str, ...]
    """The program with its own options, before `build`, `run`, `kill` and the like."""
    run_options: tuple[str, ...] = ()

    def has(self, image: str) -> bool:
        """Whether the image is here or can be pulled."""
        if self._call("image", "inspect", image).returncode == 0:
            return True
        try:
            return self._call("pull", "--quiet", image, timeout_s=PULL_TIMEOUT_S).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def build(
        self,
        folder: Path,
        tag: str,
        arguments: Mapping[str, str],
        *,
        secrets: Mapping[str, Path] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """Builds the Dockerfile of a folder; raises AssertionError with the end of the log.

        Every time in the image is `SOURCE_DATE_EPOCH`, if the arguments have it and the engine can do that.
        """
        given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        given += [f"--secret=id={name},src={file}" for name, file in (secrets or {}).items()]
        if self.name == "Podman" and "SOURCE_DATE_EPOCH" in arguments:
            given.append(f"--timestamp={arguments['SOURCE_DATE_EPOCH']}")
        ended = self._call(
            *("build", *given, *options, "--tag", tag, str(folder)),
            timeout_s=BUILD_TIMEOUT_S,
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
            [*self.command, *arguments],
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
        return Engine("Docker", ("docker",))
    if _answers("podman", "info"):
        return Engine("Podman", ("podman",))
    raise MissingServiceError("no container engine answers; install Docker or Podman, and start it")


def able(engine: Engine, *images: str) -> Engine:
    """The engine with the options under which it really runs the last of the images; it needs all of them.

    Raises:
        MissingServiceError: it has one of them not, or runs nothing.
    """
    for image in images:
        if not engine.has(image):
            raise MissingServiceError(
                f"{engine.name} has no image {image} and cannot pull it; name one: make image BASE_IMAGE=…"
            )
    ways = [engine]
    if engine.name == "Podman":
        own, run = _MODEST
        ways += [
            Engine(engine.name, ("podman",), run),
            Engine(engine.name, ("podman", *own), run),
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
