"""The real bridge as a child process, and what a test asks it over HTTP."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import urllib3
from prometheus_client.parser import text_string_to_metric_families

from connector.sandbox.eventbridge import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from tests.pages import first_sentence, without_numbers, words_of
from tests.services.child import WALL_LIMIT, Child, free_ports, wait_until

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0

AWS_ENVIRON = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}


class BridgeProcess:
    """`partner-bridge run` with a configuration of the test's own; to be stopped, killed and restarted."""

    def __init__(
        self,
        settings: Mapping[str, object],
        *,
        folder: Path,
        name: str = "bridge",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.file = folder / f"{name}.yaml"
        self.file.write_text(json.dumps(settings, indent=2))  # JSON is YAML
        self._log = folder / f"{name}.log"
        self.environ = {**AWS_ENVIRON, **(environ or {})}
        self._port = 0
        self._starts = 0
        self._child: Child | None = None
        self._ending: Child | None = None
        """The one whose end was asked for, or is waited for."""
        self._http = urllib3.PoolManager(timeout=5, retries=False)

    def start(self, *, ready: bool = True) -> BridgeProcess:
        """Starts it, and by default waits until it says that it is ready.

        Raises AssertionError where it ended before and nobody wanted that.
        """
        assert not self.has_failed, self.failure()
        (self._port,) = free_ports(1)
        self._starts += 1
        self._child = Child(
            [sys.executable, "-m", "connector", "run", "--config", str(self.file)],
            log=self._log,
            environ={
                **self.environ,
                "BRIDGE_HTTP__PORT": str(self._port),
                "BRIDGE_HTTP__HOST": "127.0.0.1",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": self.caller,
            },
        )
        self._child.start()
        if ready:
            self.wait_ready()
        return self

    @property
    def caller(self) -> str:
        """Who it is to a server that gives credentials to containers; somebody else after each start."""
        return f"{self.file.stem}.{self._starts}"

    @property
    def url(self) -> str:
        """Where it answers about itself."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def child(self) -> Child:
        assert self._child is not None, "not started"
        return self._child

    @property
    def port(self) -> int:
        """Where it answers HTTP, on 127.0.0.1; another one after each start."""
        return self._port

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def has_failed(self) -> bool:
        """Whether it ended and nobody wanted that: with any exit code, 0 too, or by a signal."""
        child = self._child  # another thread may start the next one
        return child is not None and child.exit_code is not None and child is not self._ending

    def failure(self) -> str:
        """How it ended, for failure messages."""
        return f"{self.file.stem} ended by itself with {self.child.exit_code}:\n{self.log()}"

    def wait_started(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Waits until it says that it started, from when on a signal stops it in order."""

        def has_started() -> bool:
            has = f'"http_port": {self._port}' in self.child.output()
            assert has or self.running, f"the bridge ended with {self.child.exit_code}:\n{self.log()}"
            return has

        wait_until(
            has_started,
            what=lambda: f"the bridge has started\n{self.log()}",
            timeout_s=timeout_s,
        )

    def wait_ready(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        def is_ready() -> bool:
            assert self.running, f"the bridge ended with {self.child.exit_code}:\n{self.log()}"
            return self.ready()[0] == 200

        wait_until(
            is_ready, what=lambda: f"the bridge is ready: {self.ready()}\n{self.log()}", timeout_s=timeout_s
        )

    def wait_unready(
        self, reason: str, *, timeout_s: float = START_TIMEOUT_S, wall_limit: float = WALL_LIMIT
    ) -> None:
        """Waits until `/readyz` is 503 and gives `reason` among its reasons."""

        def is_unready() -> bool:
            status, body = self.ready()
            return status == 503 and reason in body["reasons"]

        wait_until(
            is_unready,
            what=lambda: f"unready because of {reason}: {self.ready()}\n{self.log()}",
            timeout_s=timeout_s,
            wall_limit=wall_limit,
        )

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Status and body of `/readyz`; 0 when nothing answers."""
        try:
            answer = self._http.request("GET", f"{self.url}/readyz")
        except urllib3.exceptions.HTTPError:
            return 0, {}
        return answer.status, answer.json()

    def first_sentence(self) -> str:
        """What its page says at the top."""
        return first_sentence(self._http.request("GET", f"{self.url}/").data.decode())

    def wait_said(
        self,
        words: str,
        *,
        timeout_s: float,
        wall_limit: float = WALL_LIMIT,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """Waits until the page's first sentence has these words, and all that `/readyz` says of troubles.

        Prints how long that took.
        """
        began_s = time.monotonic()

        def is_said() -> bool:
            meanwhile()
            ready, sentence = self.ready()[1], self.first_sentence()
            said = without_numbers(sentence)
            return bool(ready) and words in sentence and all(text in said for text in words_of(ready))

        wait_until(
            is_said,
            what=lambda: f"{words!r} is said: {self.first_sentence()}\n{self.ready()}\n{self.log()}",
            timeout_s=timeout_s,
            wall_limit=wall_limit,
        )
        print(f"said after {time.monotonic() - began_s:.1f} s: {self.first_sentence()}")

    def live(self) -> bool:
        """Whether `/livez` says 200."""
        return self._http.request("GET", f"{self.url}/livez").status == 200

    def samples(self, name: str) -> list[tuple[Mapping[str, str], float]]:
        """The labels and the value of each series of `partner_bridge_<name>`."""
        answer = self._http.request("GET", f"{self.url}/metrics")
        return [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families(answer.data.decode())
            for sample in family.samples
            if sample.name == f"partner_bridge_{name}"
        ]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all series of `partner_bridge_<name>` that have these labels; 0 where there is none."""
        return sum(value for found, value in self.samples(name) if labels.items() <= found.items())

    def wait_metric(self, name: str, wanted: float, *, timeout_s: float = 30, **labels: str) -> None:
        """Waits until `metric(name, **labels)` is `wanted`."""
        wait_until(
            lambda: self.metric(name, **labels) == wanted,
            what=lambda: f"{name}{labels} is {wanted:g}, not {self.metric(name, **labels):g}\n{self.log()}",
            timeout_s=timeout_s,
        )

    def signal(self, number: signal.Signals) -> None:
        if number in {signal.SIGTERM, signal.SIGINT, signal.SIGKILL}:
            self._expect_end()
        self.child.signal(number)

    def sigterm(self, *, timeout_s: float = STOP_TIMEOUT_S) -> float:
        """Stops it in order, expects exit code 0, and answers the seconds that took."""
        began_s = time.monotonic()
        self.signal(signal.SIGTERM)
        code = self.child.wait(timeout_s=timeout_s)
        assert code == 0, f"the bridge ended with {code}, not 0:\n{self.log()}"
        return time.monotonic() - began_s

    def wait_exit(self, *, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Waits until it ends, and answers its exit code."""
        self._ending = self.child
        return self.child.wait(timeout_s=timeout_s)

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        if self._child is not None:
            self._expect_end()
            self._child.kill()

    def _expect_end(self) -> None:
        if self.running:  # what ended before is no end that was asked for
            self._ending = self._child

    def lines(self) -> list[dict[str, Any]]:
        """Its log lines of all starts, parsed; what is no JSON is a line with `text` alone."""
        lines: list[dict[str, Any]] = []
        for text in self._log.read_text(errors="replace").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                lines.append({"text": text})
        return lines

    def log(self) -> str:
        """The end of its log, for failure messages."""
        return self.child.tail(30) if self._child else ""
