"""Parts in containers, through testcontainers, for machines where a container engine answers."""

from __future__ import annotations

import atexit
import functools
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_TIMEOUT_S = 30


@functools.cache
def has_image(name: str) -> bool:
    """Whether an engine answers and has the image, or can pull it. Asked once in a test run."""
    import docker  # noqa: PLC0415 - takes a second of every run of a test, and most need no container

    try:
        client = docker.from_env(timeout=120)
        client.ping()
        if not client.images.list(name=name):
            client.images.pull(name)
    except docker.errors.DockerException:
        return False
    return True


class Container:
    """One container with fixed ports on 127.0.0.1, which keeps its files and ports over a stop and a start.

    testcontainers' own reaper removes it when the test process is gone.
    """

    def __init__(
        self,
        image: str,
        command: Sequence[str],
        *,
        ports: Sequence[int],
        environ: Mapping[str, str] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - as above

        container = DockerContainer(image).with_envs(**(environ or {}))
        if command:
            container = container.with_kwargs(entrypoint=list(command[:1])).with_command(list(command[1:]))
        for port in ports:
            container = container.with_bind_ports(port, port)
        for inside, outside in (files or {}).items():
            container = container.with_copy_into_container(outside, inside)
        self._container = container
        self._started = False

    @property
    def running(self) -> bool:
        if not self._started:
            return False
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        return bool(wrapped.status == "running")

    def start(self) -> None:
        if self._started:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._started = True
            atexit.register(self.remove)  # testcontainers' reaper may be switched off

    def stop(self) -> int | None:
        if self._started:
            self._container.get_wrapped_container().stop(timeout=STOP_TIMEOUT_S)
        return None

    def kill(self) -> None:
        if self.running:
            self._container.get_wrapped_container().kill()

    def signal(self, number: signal.Signals) -> None:
        self._container.get_wrapped_container().kill(signal=number.name)

    def remove(self) -> None:
        """Removes the container with all its files; it cannot be started again."""
        if self._started:
            self._container.stop()
            self._started = False
            atexit.unregister(self.remove)

    def tail(self, lines: int = 40) -> str:
        if not self._started:
            return ""
        return bytes(self._container.get_wrapped_container().logs(tail=lines)).decode(errors="replace")
