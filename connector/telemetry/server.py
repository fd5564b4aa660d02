"""The small HTTP server for probes and metrics: `/livez`, `/readyz`, `/sources`, `/metrics`, `/version`."""

from __future__ import annotations

import asyncio
import errno
import json
import threading
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from aiohttp import web

from connector.errors import ConfigError, Problem
from connector.model import Json
from connector.telemetry.health import Health
from connector.telemetry.metrics import Telemetry

T = TypeVar("T")

IDLE_TIMEOUT_S = 10.0
"""A connection that sent no whole request for this long is closed."""

MAX_CONNECTIONS = 100
"""Open at once; for a further one the oldest is closed. Probes and scrapes need a few, for milliseconds."""

BACKLOG = 64
"""Connections that wait to be accepted, and are accepted in one go before the oldest are closed for them."""

CALL_TIMEOUT_S = 10.0
"""Starting or closing the server may take so long."""

PATHS = ("/livez", "/readyz", "/metrics", "/version", "/sources")


class Server:
    """Answers health checks and scrapes on `host:port`, where port 0 picks a free one.

    Runs on a thread of its own until closed. GET and HEAD only, one request for each connection. A
    client that is slow holds up no other: no request has a body worth reading, and idle connections are
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
