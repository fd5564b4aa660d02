"""How the process is, and the small HTTP server that tells: `/livez`, `/readyz`, `/metrics`, `/version`."""

from __future__ import annotations

import asyncio
import errno
import json
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, TypeVar

from aiohttp import web

from connector.errors import ConfigError, Problem
from connector.model import Failing, Json, Standing, iso_second
from connector.telemetry import Telemetry

T = TypeVar("T")

BEAT_LIMIT_S = 60.0
"""A poll loop that did not beat for this long hangs. Longer than any drain, which beats as well."""

MAX_TOPICS = 100
"""Topics whose last error is kept; the one with the oldest error makes room."""

MAX_TEXT = 500
"""Characters kept of one reason or error."""

IDLE_TIMEOUT_S = 10.0
"""A connection that sent no whole request for this long is closed."""

MAX_CONNECTIONS = 100
"""Open at once; for a further one the oldest is closed. Probes and scrapes need a few, for milliseconds."""

BACKLOG = 64
"""Connections that wait to be accepted, and are accepted in one go before the oldest are closed for them."""

CALL_TIMEOUT_S = 10.0
"""How long starting or closing the server may take."""

PATHS = ("/livez", "/readyz", "/metrics", "/version", "/sources")

MAX_SOURCES = 100
"""Sources that are not ACTIVE, shown in `/readyz`; `/sources` shows all."""


class Health:
    """What the bridge thread knows about itself, for the HTTP server to read.

    The bridge thread writes and the HTTP server's thread reads, without a lock: each write replaces one
    attribute or one item of a dict, each read copies the dict in one step, and under the GIL both
    happen whole. A reader may see one change and not yet the next; the answer was true a moment ago.

    Times are those of `clock_s`, which must be the bridge's own.
    """

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._beat_s = clock_s()
        self._assigned: int | None = None
        self._is_stopping = False
        self._problems: dict[str, str] = {}
        self._failures: dict[str, dict[str, Json]] = {}
        self._sources: dict[str, Collection[Standing]] = {}
        self._targets_down: Mapping[str, str] = {}
        self._failing: dict[str, Collection[Failing]] = {}

    def beat(self, now_s: float | None = None) -> None:
        """The poll loop came round, now."""
        self._beat_s = self._clock_s() if now_s is None else now_s

    def assigned(self, partitions: int) -> None:
        """The group answered: this process has so many partitions, and none is well too."""
        self._assigned = partitions

    def report(self, key: str, problem: str | None) -> None:
        """Be unready because of `problem`, a sentence, until the same `key` is reported with None."""
        if problem is None:
            self._problems.pop(key, None)
        else:
            self._problems[key] = problem[:MAX_TEXT]

    def failed(self, topic: str, error: str) -> None:
        """Remember the last error of a topic. It is shown, and does not make the bridge unready."""
        self._failures.pop(topic, None)
        self._failures[topic] = {
            "error": error[:MAX_TEXT],
            "at": iso_second(int(time.time() * 1000)),
        }
        if len(self._failures) > MAX_TOPICS:
            del self._failures[next(iter(self._failures))]

    def sources(self, target: str, standings: Collection[Standing]) -> None:
        """The sources of a target stand like this. It is shown, and does not make the bridge unready."""
        self._sources[target] = standings

    def targets_down(self, problems: Mapping[str, str]) -> None:
        """These targets take nothing, each for a reason. It is shown, and is no reason while others do."""
        self._targets_down = problems

    def sources_failing(self, target: str, sources: Collection[Failing]) -> None:
        """These sources of a target take nothing while others do. It is shown, and is no reason."""
        self._failing[target] = sources

    def stopping(self) -> None:
        """The bridge was told to stop, and is never ready again."""
        self._is_stopping = True

    def live(self) -> tuple[bool, dict[str, Json]]:
        """Whether the poll loop beats, and how long ago it did. Depends on nothing outside the process."""
        age_s = self._clock_s() - self._beat_s
        is_live = age_s < BEAT_LIMIT_S
        return is_live, {"live": is_live, "beat_age_s": round(age_s, 1), "limit_s": BEAT_LIMIT_S}

    def ready(self) -> tuple[bool, dict[str, Json]]:
        """Whether the bridge can do its work, and otherwise why not, one sentence for each reason."""
        reasons: dict[str, Json] = {**self._problems}
        is_live, beat = self.live()
        if not is_live:
            reasons["loop"] = f"the poll loop did not come round for {beat['beat_age_s']} s"
        if self._is_stopping:
            reasons["stopping"] = "told to stop; what is in flight is brought to an end"
        elif self._assigned is None:
            reasons["starting"] = "the consumer group has not said yet which partitions are ours"
        details: dict[str, Json] = {
            "ready": not reasons,
            "reasons": reasons,
            "partitions_assigned": self._assigned,
            "last_errors": {**self._failures},
            "targets_down": {**self._targets_down},
            "sources_failing": self._sources_failing()[:MAX_SOURCES],
            "sources_not_active": self.standings(only_inactive=True)[:MAX_SOURCES],
        }
        return not reasons, details

    def _sources_failing(self) -> list[Json]:
        return [
            {
                "source": each.source,
                "target": target,
                "since": iso_second(each.since_ms),
                "reason": each.reason[:MAX_TEXT],
                "waiting": each.waiting,
            }
            for target, sources in self._failing.copy().items()
            for each in sources
        ]

    def standings(self, *, only_inactive: bool = False) -> list[Json]:
        """Every source in use: state and since when, whose it is, events held and delivered."""
        return [
            {
                "source": each.source,
                "target": target,
                "state": each.state,
                "since": iso_second(each.since_ms),
                "account": each.account,
                "expires": iso_second(each.expires_ms),
                "reason": each.reason,
                "held": each.held,
                "delivered": each.delivered,
            }
            for target, standings in self._sources.copy().items()
            for each in standings
            if each.is_inactive or not only_inactive
        ]


class Server:
    """Answers health checks and scrapes on `host:port`, where port 0 picks a free one.

    Runs on a thread of its own until closed. GET and HEAD only, one request for each connection. A
    client that is slow holds up nobody: no request has a body worth reading, and idle connections are
    closed. One that opens many takes no descriptors from the bridge: only the newest ones stay open.

    Raises:
        ConfigError: the address cannot be had, for instance because the port is in use.
    """

    def __init__(self, health: Health, telemetry: Telemetry, *, host: str, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)
        self._thread.start()
        try:
            self._runner, self._listener = self._call(_start(health, telemetry, host, port))
        except ConfigError:
            self._stop()
            raise
        self.port: int = self._listener.sockets[0].getsockname()[1]
        """The one it really has."""

    def close(self) -> None:
        """Stop answering and give the port back."""
        self._call(self._end())
        self._stop()

    async def _end(self) -> None:
        self._listener.close()
        await self._runner.cleanup()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_TIMEOUT_S)

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_TIMEOUT_S)
        self._loop.close()


async def _start(
    health: Health, telemetry: Telemetry, host: str, port: int
) -> tuple[web.AppRunner, asyncio.Server]:
    async def livez(_request: web.Request) -> web.Response:
        is_live, details = health.live()
        return _answer(200 if is_live else 503, details)

    async def readyz(_request: web.Request) -> web.Response:
        is_ready, details = health.ready()
        return _answer(200 if is_ready else 503, details)

    async def metrics(_request: web.Request) -> web.Response:
        text, content_type = telemetry.render()
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def version(_request: web.Request) -> web.Response:
        return _answer(200, {**telemetry.versions})

    async def sources(_request: web.Request) -> web.Response:
        return _answer(200, {"sources": health.standings()})

    app = web.Application(client_max_size=1024)
    for path, answer in zip(PATHS, (livez, readyz, metrics, version, sources), strict=True):
        app.router.add_get(path, answer)
    app.router.add_route("*", "/{path:.*}", _not_here)
    app.on_response_prepare.append(_finish)
    runner = web.AppRunner(
        app, access_log=None, keepalive_timeout=IDLE_TIMEOUT_S, lingering_time=0, shutdown_timeout=1.0
    )
    await runner.setup()
    server = runner.server
    assert server is not None  # noqa: S101 - setup() makes it

    def connection() -> asyncio.Protocol:
        # The newest may be a probe. Its request comes with it, while a flood is of those that send none.
        for oldest in server.connections[: 1 - MAX_CONNECTIONS]:
            oldest.force_close()
        return server()

    try:
        listener = await asyncio.get_running_loop().create_server(connection, host, port, backlog=BACKLOG)
    except OSError as error:
        await runner.cleanup()
        raise ConfigError([_bind_problem(error, host, port)]) from error
    return runner, listener


async def _not_here(request: web.Request) -> web.Response:
    if request.path in PATHS:
        return _answer(405, {"error": "only GET and HEAD are answered"}, headers={"Allow": "GET, HEAD"})
    return _answer(404, {"error": "no such path", "paths": list(PATHS)})


async def _finish(_request: web.Request, response: web.StreamResponse) -> None:
    response.force_close()
    # aiohttp settles this header before it asks us; unsaid, a client would send on a closed connection.
    response.headers["Connection"] = "close"
    response.headers["Server"] = "partner-bridge"
    response.headers["Cache-Control"] = "no-store"


def _answer(
    status: int, body: Mapping[str, Json], *, headers: Mapping[str, str] | None = None
) -> web.Response:
    text = json.dumps(body) + "\n"
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)


def _bind_problem(error: OSError, host: str, port: int) -> Problem:
    if error.errno == errno.EADDRINUSE:
        return Problem("http.port", f"port {port} on {host} is in use; choose another, or 0 for any free one")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return Problem("http.port", f"this user may not listen on port {port}; choose one above 1023")
    return Problem("http.host", f"cannot listen on {host}: {error.strerror}; use 0.0.0.0 for every interface")
