"""A way to the sandbox's broker from elsewhere: it listens on 127.0.0.1 alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connector.sandbox.server import LOOPBACK, Host, ThreadedServer

_CHUNK_BYTES = 65_536


class Relay(ThreadedServer):
    """Passes TCP connections on to a port of 127.0.0.1, from `start` until `stop`.

    Where that port refuses a connection, or one side of it ends, the other side ends as well.
    """

    def __init__(self, host: Host, port: int, to_port: int) -> None:
        """A port of 0 is a free one."""
        super().__init__(host=host, port=port)
        self._to_port = to_port

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(
            self._pass_on, self.host.listens_on, self.port, reuse_address=True
        )
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
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
