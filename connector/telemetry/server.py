"""The small HTTP server: the page at `/`; `/livez`, `/readyz`, `/sources`, `/metrics`, `/version`.

Reading HTTP is llhttp's work, Node.js's own parser. A general server costs a start 0.2 s and 10 MB here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import hmac
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping
from email.utils import formatdate
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import httptools

from connector.errors import ConfigError, Problem
from connector.model import Json
from connector.process import report_crash
from connector.telemetry.health import Health
from connector.telemetry.page.contents import Contents

T = TypeVar("T")

EVERY_INTERFACE = "::"
"""The address of IPv6 that stands for all; here it is IPv4's as well."""

IDLE_TIMEOUT_S = 10.0
"""A connection that sent no whole request for this long is closed."""

MAX_CONNECTIONS = 100
"""Open at once; for a further one the oldest is closed. Probes and scrapes need a few, for milliseconds."""

BACKLOG = 64
"""Connections that wait to be accepted, and are accepted in one go before the oldest are closed for them."""

MAX_HEAD_BYTES = 16 * 1024
"""A request with more before its body is refused."""

MAX_BODY_BYTES = 1024 * 1024
"""What comes after the head is thrown away, and no more than this is read."""

PAGE = {
    "/": "text/html; charset=utf-8",
    "/page.css": "text/css; charset=utf-8",
    "/page.js": "text/javascript; charset=utf-8",
}
"""The files of the page, and what each is."""

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Nothing inline, nothing from elsewhere, in no frame."""

PROBES = frozenset({"/livez", "/readyz"})
"""What is answered without a token."""

CALL_TIMEOUT_S = 10.0
"""Starting or closing the server may take so long."""


class Metrics(Protocol):
    """What `/metrics` and `/version` show; asked for on the server's thread."""

    @property
    def versions(self) -> Mapping[str, str]: ...
    def render(self) -> tuple[bytes, str]:
        """All metrics as text, and its content type."""


class _Response(NamedTuple):
    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = MappingProxyType({})
    """Further ones."""


class Server:
    """Answers health checks and scrapes on `host:port`, where port 0 picks a free one.

    Host `::` is every interface, IPv4 and IPv6: a cluster may have only one of them, or both.

    Runs on a thread of its own until closed. GET and HEAD only, one request for each connection. A
    client that is slow holds up no other: no request has a body worth reading, and idle connections are
    closed. One that opens many takes no descriptors from the bridge: only the newest ones stay open.

    Raises:
        ConfigError: the address cannot be had, for instance because the port is in use.
    """

    def __init__(
        self,
        health: Health,
        metrics: Metrics,
        *,
        host: str,
        port: int,
        contents: Contents | None = None,
        token: str | None = None,
    ) -> None:
        """Without `contents` there is no page. With a `token` all but probes want it."""
        self._contents = contents
        self._token = token.encode() if token is not None else None
        self._pages: dict[str, Callable[[], _Response]] = {
            "/livez": lambda: _probed(*health.live()),
            "/readyz": lambda: _probed(*health.ready()),
            "/metrics": lambda: _Response(200, *metrics.render()),
            "/version": lambda: _json(200, {**metrics.versions}),
            "/sources": lambda: _json(200, health.source_health()),
        }
        self._open: list[_ServerConnection] = []
        """The oldest first."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)
        self._thread.start()
        try:
            self._listener = self._call(self._listen(host, port))
        except OSError as error:
            self._stop()
            raise ConfigError([_bind_problem(error, host, port)]) from error
        self.port: int = self._listener.sockets[0].getsockname()[1]
        """The one it really has."""

    def close(self) -> None:
        """Stop answering and give the port back."""
        self._call(self._end())
        self._stop()

    async def _listen(self, host: str, port: int) -> asyncio.Server:
        def connected() -> _ServerConnection:
            return _ServerConnection(self._answer, self._open)

        if host == EVERY_INTERFACE:
            # One socket, and so one port. The loop would open one for each kind, and IPv6's alone for `::`.
            return await self._loop.create_server(connected, sock=_on_every_interface(port), backlog=BACKLOG)
        return await self._loop.create_server(connected, host, port, backlog=BACKLOG)

    async def _end(self) -> None:
        self._listener.close()
        for connection in self._open:
            connection.abort()

    def _answer(self, method: str, path: str, query: str, authorization: str) -> _Response:
        is_of_page = self._contents is not None and path in PAGE
        page = self._pages.get(path)
        if self._token is not None and path not in PROBES and not _has(self._token, authorization):
            refusal = _json(
                401, {"error": "a token is wanted, as bearer token or as the password of any user"}
            )
            return refusal._replace(
                headers={"WWW-Authenticate": 'Basic realm="partner-bridge", charset="UTF-8"'}
            )
        if page is None and not is_of_page:
            paths = [*self._pages, *(PAGE if self._contents else ())]
            return _json(404, {"error": "no such path", "paths": paths})
        if method not in {"GET", "HEAD"}:
            refusal = _json(405, {"error": "only GET and HEAD are answered"})
            return refusal._replace(headers={"Allow": "GET, HEAD"})
        return page() if page is not None else self._of_page(path, query)

    def _of_page(self, path: str, query: str) -> _Response:
        from connector.telemetry.page import render  # noqa: PLC0415 - Jinja, which few starts need

        assert self._contents is not None  # noqa: S101 - the caller looked
        try:
            body = render.html(self._contents, query) if path == "/" else render.file(path[1:])
        except Exception as bug:  # noqa: BLE001 - it is for people, and must not take the probes with it
            report_crash(bug)
            return _json(500, {"error": f"a bug in the page ({type(bug).__name__}); /readyz has the reasons"})
        return _Response(200, body, PAGE[path], PAGE_HEADERS)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_TIMEOUT_S)

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_TIMEOUT_S)
        self._loop.close()


class _ServerConnection(asyncio.Protocol):
    """One connection: a request, its answer, and the end."""

    def __init__(
        self, answer: Callable[[str, str, str, str], _Response], every: list[_ServerConnection]
    ) -> None:
        """`every` is all that are open, the oldest first."""
        self._answer = answer
        self._every = every
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._received_bytes = 0
        self._url = b""
        self._authorization = b""
        self._asked: tuple[str, str, str, str] | None = None
        """Method, path, query, and the header Authorization."""
        self._is_answered = False

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # Called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._late = asyncio.get_running_loop().call_later(IDLE_TIMEOUT_S, self.abort)
        # The newest may be a probe. Its request comes with it, while a flood is of those that send none.
        for oldest in self._every[: max(0, len(self._every) + 1 - MAX_CONNECTIONS)]:
            oldest.abort()
        self._every.append(self)

    def data_received(self, data: bytes) -> None:
        may_be_head = data[: max(0, MAX_HEAD_BYTES - self._received_bytes)]
        self._received_bytes += len(data)
        if self._is_answered:
            if self._received_bytes > MAX_BODY_BYTES:
                self.abort()
            return
        problem = "its head is too long" if self._received_bytes > MAX_HEAD_BYTES else None
        try:
            assert self._parser is not None  # noqa: S101 - until the connection is lost
            self._parser.feed_data(may_be_head)
        except httptools.HttpParserUpgrade:
            pass  # it is answered as any other
        except httptools.HttpParserError as error:
            problem = str(error)
        if self._asked is not None:
            self._respond(self._answer(*self._asked), has_body=self._asked[0] != "HEAD")
        elif problem is not None:
            self._respond(_json(400, {"error": f"no request of HTTP: {problem}"}))

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._late.cancel()
        self._every.remove(self)
        self._parser = None  # which refers to this: both would stay until the garbage collector runs

    # Called by the parser

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self._authorization = value

    def on_headers_complete(self) -> None:
        assert self._parser is not None  # noqa: S101 - it calls
        if self._asked is None:  # another request may follow in the same bytes
            url = httptools.parse_url(self._url)
            parts = (self._parser.get_method(), url.path, url.query or b"", self._authorization)
            method, path, query, authorization = (part.decode("latin-1") for part in parts)
            self._asked = method, path, query, authorization

    def _respond(self, answer: _Response, *, has_body: bool = True) -> None:
        self._is_answered = True
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            **answer.headers,
            "Cache-Control": "no-store",
            "Connection": "close",
            "Date": formatdate(usegmt=True),
            "Server": "partner-bridge",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n{lines}\r\n"
        self._transport.write(head.encode("latin-1") + answer.body * has_body)
        # The client closes. Were it us, a body that is not read would take the answer away with it.
        self._transport.write_eof()


def _has(token: bytes, authorization: str) -> bool:
    """Whether the header carries the token, as `Bearer`, or as the password that a browser asks for."""
    scheme, _, given = authorization.partition(" ")
    sent = given.strip().encode("latin-1")
    if scheme.lower() == "basic":
        try:
            sent = base64.b64decode(sent, validate=True).partition(b":")[2]
        except binascii.Error:
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(sent, token)


def _probed(is_well: bool, details: Mapping[str, Json]) -> _Response:  # noqa: FBT001
    return _json(200 if is_well else 503, details)


def _json(status: int, body: Mapping[str, Json]) -> _Response:
    return _Response(status, f"{json.dumps(body)}\n".encode(), "application/json; charset=utf-8")


def _on_every_interface(port: int) -> socket.socket:
    """Listen for IPv4 and IPv6; for IPv4 alone where the kernel has no IPv6."""
    if socket.has_dualstack_ipv6():
        return socket.create_server((EVERY_INTERFACE, port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _bind_problem(error: OSError, host: str, port: int) -> Problem:
    if error.errno == errno.EADDRINUSE:
        return Problem("http.port", f"port {port} on {host} is in use; choose another, or 0 for any free one")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return Problem("http.port", f"this user may not listen on port {port}; choose one above 1023")
    return Problem("http.host", f"cannot listen on {host}: {error.strerror}; use :: for every interface")
