"""HTTP/1.1 to one endpoint: POST requests over connections that are kept, through a proxy where one is set.

Only what the calls to EventBridge need: a body each way, no redirects, no retries. A general client costs
a quarter of the whole bridge's CPU here. Reading HTTP is llhttp's work, Node.js's own parser; the transports
are aiofastnet's, whose TLS costs half of what asyncio's own does.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeAlias, cast
from urllib.parse import SplitResult, unquote, urlsplit

import aiofastnet
import httptools

KEEPALIVE_S = 15.0
"""An idle connection is kept for so long. AWS's side keeps it longer: a request that meets the
close has an unknown outcome."""

HAPPY_EYEBALLS_DELAY_S = 0.25
"""After which the next address of a host is tried as well; RFC 8305."""


class Endpoint(NamedTuple):
    """Where requests go, and by which way."""

    url: str
    proxy: str | None
    """URL of the proxy, with user and password where it wants them."""
    tls: ssl.SSLContext | None
    """None for plain http."""
    proxy_tls: ssl.SSLContext | None = None
    """For a proxy with https."""


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case; the last of a name."""
    body: bytes


Done: TypeAlias = Callable[[Reply | OSError], None]
"""Gets what came of a request, once: a whole reply, whatever its status, or why there is none."""


class ProxyError(ConnectionError):
    """The proxy cannot be reached, or refuses to pass us on."""


class ReplyError(ConnectionError):
    """The answer is not HTTP, is too large, or breaks off."""


class Connections:
    """Sends requests to one endpoint, each over a connection of its own while it lasts.

    For one asyncio loop.
    """

    def __init__(
        self,
        way: Endpoint,
        *,
        limit: int,
        connect_timeout_s: float,
        read_timeout_s: float,
        max_reply_bytes: int,
    ) -> None:
        """`limit` is how many requests `post` sends at once; the others wait their turn."""
        self._way = way
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._max_reply_bytes = max_reply_bytes
        self._free = asyncio.Semaphore(limit)
        self._idle: list[_Connection] = []
        self._busy: dict[_Connection, float] = {}
        """By when each must have its reply, the first one first: all have the same time."""
        self._expiry: asyncio.TimerHandle | None = None
        """Set for the first of these, or for one before it that has its reply by now."""
        proxied = way.proxy is not None and urlsplit(way.proxy).scheme == "https"
        self._proxy_tls = way.proxy_tls if proxied else None
        url = urlsplit(way.url)
        asked_for = url.path or "/"
        always = {"Host": host_of(way.url)}
        if way.proxy is not None and way.tls is None:
            asked_for = way.url  # no tunnel: the proxy reads the request itself
            always |= _credentials(urlsplit(way.proxy))
        self._start = f"POST {asked_for} HTTP/1.1\r\n{_lines(always)}Content-Length: "

    async def post(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send one request and wait for its whole reply, whatever its status.

        Raises:
            TimeoutError, OSError: no whole reply came. ssl.SSLError, ProxyError and ReplyError are OSErrors.
        """
        async with self._free:
            connection = self._kept() or await self._connect()
            reply: asyncio.Future[Reply] = connection.loop.create_future()
            self._send(connection, headers, body, partial(_wake, reply))
            try:
                return await reply
            finally:
                if reply.cancelled():
                    connection.fail(ConnectionAbortedError("the request was given up"))

    def post_kept(self, headers: Mapping[str, str], body: bytes, done: Done) -> bool:
        """Send one request at once, if there is a connection that was kept; returns whether there is.

        It needs no task, no future and no timer of its own, which would cost as much as all the rest.
        """
        connection = self._kept()
        if connection is None:
            return False
        self._send(connection, headers, body, done)
        return True

    async def close(self) -> None:
        """Close every connection."""
        for connection in (*self._idle, *self._busy):
            connection.abort()
        self._idle.clear()
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        await asyncio.sleep(0)  # the transports close their sockets with the loop's next turn

    def _send(self, connection: _Connection, headers: Mapping[str, str], body: bytes, done: Done) -> None:
        request = f"{self._start}{len(body)}\r\n{_lines(headers)}\r\n".encode("latin-1") + body
        self._busy[connection] = time.monotonic() + self._read_timeout_s
        if self._expiry is None:
            self._expiry = connection.loop.call_later(self._read_timeout_s, self._expire, connection.loop)
        connection.exchange(request, partial(self._done, connection, done))

    def _done(self, connection: _Connection, done: Done, result: Reply | OSError) -> None:
        del self._busy[connection]
        if connection.is_reusable:
            connection.idle_since_s = time.monotonic()
            self._idle.append(connection)
        else:
            connection.abort()
        done(result)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up the requests whose time is over, and come again for the next."""
        self._expiry = None
        for connection, deadline_s in [*self._busy.items()]:
            left_s = deadline_s - time.monotonic()
            if left_s > 0:
                self._expiry = loop.call_later(left_s, self._expire, loop)
                return
            connection.fail(TimeoutError())

    def _kept(self) -> _Connection | None:
        """The connection that was used last, since those before it may grow old."""
        oldest_s = time.monotonic() - KEEPALIVE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable and connection.idle_since_s > oldest_s:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> _Connection:
        way, url = self._way, urlsplit(self._way.url)
        async with asyncio.timeout(self._connect_timeout_s):
            if way.proxy is None:
                return (await self._open(url, way.tls))[1]
            proxy = urlsplit(way.proxy)
            try:
                transport, connection = await self._open(proxy, self._proxy_tls)
            except OSError as error:
                raise ProxyError(str(error)) from error
            if way.tls is None:
                return connection
            try:
                return await self._tunnel(transport, connection, proxy, url, way.tls)
            except BaseException:
                # It is in no list yet, and would stay open as long as the proxy likes.
                transport.abort()
                raise

    async def _open(
        self, url: SplitResult, tls: ssl.SSLContext | None
    ) -> tuple[asyncio.Transport, _Connection]:
        loop = asyncio.get_running_loop()
        return await aiofastnet.create_connection(
            loop,
            lambda: _Connection(loop, self._max_reply_bytes),
            url.hostname or "",
            url.port or (80 if tls is None else 443),
            ssl=tls,
            happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S,
        )

    async def _tunnel(
        self,
        transport: asyncio.Transport,
        connection: _Connection,
        proxy: SplitResult,
        url: SplitResult,
        tls: ssl.SSLContext,
    ) -> _Connection:
        """TLS with the endpoint itself, inside a connection that the proxy passes through."""
        place = f"{url.hostname}:{url.port or 443}"
        head = f"CONNECT {place} HTTP/1.1\r\n{_lines({'Host': place, **_credentials(proxy)})}\r\n"
        try:
            reply: asyncio.Future[Reply] = connection.loop.create_future()
            connection.exchange(head.encode("latin-1"), partial(_wake, reply), until_headers=True)
            answer = await reply
        except ReplyError as error:
            raise ProxyError(str(error)) from error
        if answer.status != 200:
            raise ProxyError(f"it answers CONNECT with HTTP {answer.status}")
        connection.let_go()
        inner = _Connection(connection.loop, self._max_reply_bytes)
        inside = await aiofastnet.start_tls(
            connection.loop, transport, inner, tls, server_hostname=url.hostname
        )
        if inside is None:
            raise ProxyError("it closed the connection")
        inner.connection_made(inside)
        return inner


class _Connection(asyncio.Protocol):
    """One connection: one request at a time, and its reply."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_reply_bytes: int) -> None:
        self.loop = loop
        self.idle_since_s = 0.0
        self._max_reply_bytes = max_reply_bytes
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._done: Done | None = None
        self._is_open = False
        self._until_headers = False
        self._received_bytes = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._reply: Reply | None = None

    @property
    def is_reusable(self) -> bool:
        """Whether another request may follow."""
        return self._is_open and self._done is None

    def exchange(self, request: bytes, done: Done, *, until_headers: bool = False) -> None:
        """Write a request; `done` gets its whole reply, or that before its body."""
        self._done = done
        self._reply = None
        self._until_headers = until_headers
        self._received_bytes = 0
        if self._transport is None:
            self.fail(ConnectionResetError("the connection was closed before the request"))
        else:
            self._transport.write(request)

    def fail(self, error: OSError) -> None:
        """End the exchange that is under way, and use the connection no more."""
        self._is_open = False
        self._end(error)

    def abort(self) -> None:
        """Close at once, dropping what was not written."""
        self._is_open = False
        if self._transport is not None:
            self._transport.abort()

    def let_go(self) -> None:
        """Forget the transport, which is closed or belongs to another now.

        The parser and this refer to each other, and a transport of TLS has buffers of half a MB: without
        this they would stay until the garbage collector runs.
        """
        self._is_open = False
        self._parser = self._transport = None

    # Called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)
        self._is_open = True
        # Signs of life, so that a NAT on the way does not forget the connection.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None or self._done is None:
            self.abort()  # nothing was asked
            return
        self._received_bytes += len(data)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._is_open = False
            self._end(self._reply or ReplyError(f"not HTTP: {error}"))
            return
        if self._reply is not None:
            self._end(self._reply)
        # Everything counts, since all of it can be without an end: a header, or one interim answer after
        # the other.
        elif self._received_bytes > self._max_reply_bytes:
            status = parser.get_status_code()
            self.fail(ReplyError(f"HTTP {status} with more than {self._max_reply_bytes} bytes"))

    def eof_received(self) -> None:
        self._is_open = False  # no other request may come before `connection_lost` does

    def connection_lost(self, error: Exception | None) -> None:
        self._is_open = False
        if self._done is not None:
            self._end(self._last(error))
        self.let_go()

    def _last(self, error: Exception | None) -> Reply | OSError:
        """What a connection ends with before its reply did: an error, or the end of the reply."""
        has_length = bool({"content-length", "transfer-encoding"} & self._headers.keys())
        if error is None and self._body and not has_length:
            self.on_message_complete()
        if self._reply is not None:
            return self._reply
        if self._received_bytes:
            return ReplyError("the connection was closed in the middle of the answer")
        if isinstance(error, OSError):
            return error
        return ConnectionResetError("the connection was closed without an answer")

    def _end(self, result: Reply | OSError) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)

    # Called by the parser

    def on_message_begin(self) -> None:
        self._headers = {}
        self._body = []
        if self._reply is not None:
            self._is_open = False  # a second answer to one request would pass for that to the next

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._until_headers:
            self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        parser = self._parser
        if parser is None or self._reply is not None:
            return
        status = parser.get_status_code()
        if 100 <= status < 200:
            return
        self._reply = Reply(status, self._headers, b"".join(self._body))
        if not self._until_headers:
            self._is_open = self._is_open and parser.should_keep_alive()


def _wake(waiting: asyncio.Future[Reply], result: Reply | OSError) -> None:
    if waiting.done():
        return  # it was cancelled
    if isinstance(result, OSError):
        waiting.set_exception(result)
    else:
        waiting.set_result(result)


def host_of(url: str) -> str:
    """The Host header of a request for this URL, as it is signed: without the port that is usual."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return host if parts.port in {None, usual} else f"{host}:{parts.port}"


def _lines(headers: Mapping[str, str]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
