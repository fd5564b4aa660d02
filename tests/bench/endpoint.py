"""The fake EventBridge in a process of its own, so that its CPU time is not counted with anybody else's.

It also remembers when it answered each request, which is what the latency figures need.
"""

from __future__ import annotations

import argparse
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import urllib3
from aiohttp import web

from connector import process
from connector.sandbox import awsjson
from connector.sandbox.eventbridge import FakeEventBridge, _Batch
from connector.sandbox.server import json_response
from tests.bench import records
from tests.bench.process import BenchError, Process
from tests.services.certificates import Authority
from tests.services.child import free_ports, listening, wait_until

_ANSWERED_PATH = "/_bench/answered"
_PAGE = 10_000


class TimedEventBridge(FakeEventBridge):
    """The fake, with one more call: GET /_bench/answered, when each request was answered, by its number.

    Without `checks` it accepts every entry unseen, which halves its CPU: on two cores it would otherwise take
    what the program under measurement needs. Without `keeps_events` it keeps the first request and counts.
    """

    def __init__(self, *, port: int, tls: ssl.SSLContext | None, checks: bool, keeps_events: bool) -> None:
        super().__init__(port=port, tls=tls)
        self._checks = checks
        self._keeps_events = keeps_events
        self._answered: dict[int, float] = {}

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == _ANSWERED_PATH:
            return json_response([[number, at_s] for number, at_s in self._answered.items()])
        if request.path == "/_sandbox/reset":
            self._answered = {}
        result = await super().answer(request)
        if request_id := result.headers.get("x-amzn-RequestId"):
            self._answered[int(request_id[-12:], 16)] = time.time()
        if not self._keeps_events:
            del self._batches[1:]
        return result

    def _authenticated(self, request: web.BaseRequest, body: bytes) -> awsjson.Signed:
        if self._checks:
            return super()._authenticated(request, body)
        return awsjson.Signed(records.REGION, "")

    def _put(self, region: str, caller: str, body: bytes, number: int) -> dict[str, Any]:
        if self._checks:
            return super()._put(region, caller, body, number)
        kept = range(body.count(b'"DetailType"'))  # a detail is text, in which quotes are escaped
        self._batches.append(
            _Batch(self._counts.accepted + 1, number, region, time.time(), body, tuple(kept))
        )
        self._counts.accepted += len(kept)
        return {"FailedEntryCount": 0, "Entries": [{"EventId": f"{number}-{index}"} for index in kept]}


class Counted(NamedTuple):
    """What the endpoint counts."""

    accepted: int
    """Events, repetitions included."""
    requests: int
    """Calls of PutPartnerEvents."""


class Accepted(NamedTuple):
    """An event that the endpoint accepted."""

    order_id: str
    request: int
    """The number of the request that brought it."""


class Endpoint:
    """That process, and its control API."""

    def __init__(
        self, *, latency_ms: float, tls: bool = False, checks: bool = True, keeps_events: bool = True
    ) -> None:
        """Over `tls`, its certificate is signed by the CA in `ca_file`."""
        (port,) = free_ports(1)
        self.url = f"http{'s' * tls}://127.0.0.1:{port}"
        self._latency_ms = latency_ms
        self._folder = tempfile.TemporaryDirectory(prefix="bench-endpoint-")
        folder = Path(self._folder.name)
        arguments = ["-m", "tests.bench.endpoint", "--port", str(port)]
        arguments += ["--no-checks"] * (not checks) + ["--only-count"] * (not keeps_events)
        self.ca_file: Path | None = None
        if tls:
            authority = Authority(folder)
            self.ca_file = authority.file
            certificate = authority.issue("endpoint")
            arguments += ["--certificate", str(certificate.file), "--key", str(certificate.key_file)]
        ca = None if self.ca_file is None else str(self.ca_file)
        self._http = urllib3.PoolManager(timeout=60, retries=False, ca_certs=ca)
        self.process = Process("endpoint", arguments, log=folder / "endpoint.log")

    def __enter__(self) -> Endpoint:
        self.process.start()
        port = int(self.url.rpartition(":")[2])
        wait_until(lambda: listening(port), what="the endpoint listens", timeout_s=30)
        self.reset()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self._folder.cleanup()

    def reset(self, *, latency_ms: float | None = None) -> None:
        """Forgets everything; from now on it answers with this latency, or its usual one."""
        self._call("POST", "/_sandbox/reset")
        self.script(latency_ms=self._latency_ms if latency_ms is None else latency_ms)

    def script(self, **change: object) -> None:
        """Changes what goes wrong, as the control API of the sandbox says."""
        self._call("POST", "/_sandbox/faults", change)

    def counts(self) -> Counted:
        """What it has counted since the reset."""
        state = orjson.loads(self._call("GET", "/_sandbox/state"))
        return Counted(state["accepted"], state["requests"].get("PutPartnerEvents", 0))

    def events(self) -> Iterator[Accepted]:
        """Every event it has accepted since the reset."""
        seq = 0
        while lines := self._call("GET", f"/_sandbox/events?after={seq}&limit={_PAGE}").splitlines():
            for line in lines:
                event: dict[str, Any] = orjson.loads(line)
                seq = event["sandbox"]["seq"]
                yield Accepted(event["detail"]["order_id"], event["sandbox"]["request"])

    def answered(self) -> dict[int, float]:
        """When it answered each request since the reset (Unix time), by the request's number."""
        return dict(orjson.loads(self._call("GET", _ANSWERED_PATH)))

    def first_answer_s(self) -> float:
        """When it answered the request with the first event since the reset (Unix time)."""
        first = orjson.loads(self._call("GET", "/_sandbox/events?limit=1"))
        return self.answered()[first["sandbox"]["request"]]

    def _call(self, method: str, path: str, asked: object = None) -> bytes:
        body = b"" if asked is None else orjson.dumps(asked)
        answer = self._http.request(method, self.url + path, body=body)
        if answer.status != 200:
            raise BenchError(f"{method} {path} of the endpoint: {answer.status} {answer.data.decode()[:300]}")
        return bytes(answer.data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--no-checks", action="store_true")
    parser.add_argument("--only-count", action="store_true")
    asked = parser.parse_args()
    tls = None
    if asked.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(asked.certificate, asked.key)
    process.tune_gc()
    with TimedEventBridge(
        port=asked.port, tls=tls, checks=not asked.no_checks, keeps_events=not asked.only_count
    ):
        threading.Event().wait()  # until it is killed


if __name__ == "__main__":
    main()
