"""A server on a thread of its own, and one of HTTP: what the fakes have in common."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Self, TypeVar

import orjson
from aiohttp import web

T = TypeVar("T")

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Host:
    """Where a server listens, and the name under which it tells others to find it."""

    listens_on: str = "127.0.0.1"
    advertised: str = "127.0.0.1"

    def at(self, port: int) -> str:
        """Writes the advertised address with a port."""
        return f"[{self.advertised}]:{port}" if ":" in self.advertised else f"{self.advertised}:{port}"


LOOPBACK = Host()


class ThreadedServer(ABC):
    """Listens from a thread of its own, from `start` until `stop`; on 127.0.0.1 unless told otherwise.

    A subclass writes `_listening`, which runs on the server's event loop. The port is kept: stop and
    start again to be unreachable for a while at the same address.
    """

    def __init__(self, *, host: Host = LOOPBACK, port: int = 0) -> None:
        """A port of 0 is a free one."""
        self.host = host
        self.port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @abstractmethod
    def _listening(self) -> AbstractAsyncContextManager[int]:
        """Listens while it is used as a context, which gives the port. Raises OSError where it cannot."""

    def start(self) -> Self:
        """Listens; returns once connections are accepted. Raises OSError where it cannot listen."""
        listening: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening)), name=type(self).__name__, daemon=True
        )
        self._thread.start()
        try:
            self.port = listening.result(timeout=10)
        except OSError:
            self._thread.join()
            self._thread = None
            raise
        return self

    def stop(self) -> None:
        """Closes every connection and the port. Harmless when it is not running."""
        if self._thread and self._loop and self._stopping:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(timeout=10)
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(self, function: Callable[[], T]) -> T:
        """Runs `function` between two requests, so that it never sees one half done."""
        if self._thread is None or self._thread is threading.current_thread() or self._loop is None:
            return function()
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(function())
            except Exception as error:  # noqa: BLE001 - handed to the caller, whatever it is
                result.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return result.result(timeout=60)

    async def _serve(self, listening: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            async with self._listening() as port:
                listening.set_result(port)
                await self._stopping.wait()
        except OSError as error:
            listening.set_exception(error)


class HttpServer(ThreadedServer):
    """Answers HTTP. A subclass writes `answer`, which runs on the server's event loop."""

    def __init__(self, *, host: Host = LOOPBACK, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(host=host, port=port)
        self._tls = tls

    @abstractmethod
    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request; what it raises becomes a 500."""

    @property
    def url(self) -> str:
        """Where it is found, without a trailing slash."""
        return f"{'https' if self._tls else 'http'}://{self.host.at(self.port)}"

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[int]:
        server = web.Server(self.answer, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.01)
        await runner.setup()
        try:
            site = web.TCPSite(
                runner,
                self.host.listens_on,
                self.port,
                ssl_context=self._tls,
                backlog=1024,
                reuse_address=True,
            )
            await site.start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()


def reset(request: web.BaseRequest) -> web.StreamResponse:
    """Drops the connection at once: the client sees a reset and no answer."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        request.transport.abort()
    return web.Response()


def json_response(body: object, *, status: int = 200) -> web.Response:
    """Answers with `body` as JSON."""
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.create_server((LOOPBACK.listens_on, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
