"""A way to the sandbox's broker from elsewhere: it listens on 127.0.0.1 alone."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Self

from connector.sandbox.server import LOOPBACK, Host

_CHUNK_BYTES = 65_536


class Relay:
    """Passes TCP connections on to a port of 127.0.0.1, from `start` until `stop`.

    Where that port refuses a connection, or one side of it ends, the other side ends as well.
    """

    def __init__(self, host: Host, port: int, to_port: int) -> None:
        """A port of 0 is a free one."""
        self.port = port
        self._host = host
        self._to_port = to_port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

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

    async def _serve(self, listening: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            server = await asyncio.start_server(
                self._pass_on, self._host.listens_on, self.port, reuse_address=True
            )
        except OSError as error:
            listening.set_exception(error)
            return
        listening.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()  # what is open ends with the loop, which cancels every connection's task

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            there, to_there = await asyncio.open_connection(LOOPBACK.listens_on, self._to_port)
            writers.append(to_there)
            ways = [asyncio.create_task(way) for way in (_copy(reader, to_there), _copy(there, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
        except OSError:
            pass
        finally:
            for each in writers:
                each.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
