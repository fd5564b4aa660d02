"""A scripted HTTP endpoint on this machine, down to the bytes: what EventBridge can do to a caller, at will.

The sandbox's fake plays EventBridge faithfully. This one plays the network, and servers that are no
EventBridge at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Self


class Received(NamedTuple):
    """A request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


Play = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]
"""Answers one request, or fails to."""


def answer(status: int, body: object = None, **headers: str) -> Play:
    """A whole answer; a body other than bytes is sent as JSON, and `x_a` in a header's name is `x-a`."""
    payload = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(payload)}", "x-amzn-requestid: request-1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + payload)


def error(status: int, code: str, message: str = "", **headers: str) -> Play:
    """An error in AWS's JSON protocol."""
    return answer(status, {"__type": code, "message": message}, **headers)


def raw(sent: bytes, *, then_close: bool = False) -> Play:
    async def play(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()
        if then_close:
            writer.close()

    return play


async def accept(received: Received, writer: asyncio.StreamWriter) -> None:
    """What EventBridge answers on a good day."""
    count = len(json.loads(received.body)["Entries"])
    entries = [{"EventId": f"id-{number}"} for number in range(count)]
    await answer(200, {"FailedEntryCount": 0, "Entries": entries})(received, writer)


async def hang(_: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def reset(_: Received, writer: asyncio.StreamWriter) -> None:
    """A connection cut the hard way, after the request was read."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def drip(_: Received, writer: asyncio.StreamWriter) -> None:
    """A byte now and then, for ever: each one in time, and the whole never."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


class Endpoint:
    """Plays its script, one play a request; the last one is repeated."""

    def __init__(self, *script: Play, tls: ssl.SSLContext | None = None) -> None:
        self.script = list(script)
        self.received: list[Received] = []
        self.connections = 0
        self.url = ""
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                received = await read_request(reader)
                self.received.append(received)
                play = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                await play(received, writer)
        writer.close()


async def read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


class Proxy:
    """A forward proxy: CONNECT for https, absolute URLs for http. Notes what it was asked and shown."""

    def __init__(self, *, refuses: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Received] = []
        self._tls = tls
        self.address = ""
        self._refuses = refuses
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            asked = await read_request(reader)
            self.asked.append(asked)
            if self._refuses:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                return
            host = asked.path if asked.method == "CONNECT" else asked.headers["host"]
            name, _, port = host.partition(":")
            onward_reader, onward = await asyncio.open_connection(name, int(port))
            if asked.method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                head = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
                onward.write(f"POST / HTTP/1.1\r\n{head}\r\n".encode() + asked.body)
            await asyncio.gather(_pump(reader, onward), _pump(onward_reader, writer))
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    writer.close()
