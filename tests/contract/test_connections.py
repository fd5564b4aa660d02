"""Whatever endpoints, proxies and name servers do: a call ends in time, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector import config
from connector.errors import UnavailableError
from connector.eventbridge.client import Publisher
from connector.eventbridge.requests import Requests
from connector.model import Answer, Delivered, Entry
from tests.endpoint import Endpoint, Play, Proxy, Received, accept, drip, hang, raw, reset
from tests.services.certificates import Authority

DEADLINE_S = 10.0
CALLS = 30
ENTRIES = [Entry("aws.partner/example.com/orders", "Order", b"{}", 1)]
SHORT = {"connect": "100ms", "read": "100ms"}
ACCEPTED = b'{"FailedEntryCount":0,"Entries":[{"EventId":"id-0"}]}'


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Static credentials, and no proxy."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return monkeypatch


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Only what is let go of is free: a bridge looks for cycles twice a minute."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> ssl.SSLContext:
    """What a server on 127.0.0.1 presents that this authority vouches for."""
    return authority.issue("127.0.0.1").server_context()


def publisher(url: str, **settings: Any) -> Publisher:
    target = {"max_in_flight": CALLS, "timeouts": SHORT, **settings}
    return Publisher(config.Target(region="eu-central-1", endpoint_url=url, **target))


def open_to(port: int) -> int:
    """How many connections of this process lead to a port."""
    found = 0
    for file in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # one that lists the folder, or is not connected
            if file.readlink().name.startswith("socket:"):
                with socket.socket(fileno=os.dup(int(file.name))) as one:
                    found += one.getpeername()[1:2] == (port,)
    return found


async def none_open_to(port: int) -> bool:
    """Whether within the deadline no connection leads to this port any more."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE_S / 5):
            while open_to(port):  # noqa: ASYNC110 - nothing tells when
                await asyncio.sleep(0.01)
    return not open_to(port)


# --- Descriptors --------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """The port of a server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=2 * CALLS) as listener:
        yield listener.getsockname()[1]


async def failed_calls(url: str, port: int, **settings: Any) -> tuple[set[str | None], bool]:
    """What many calls fail with, and whether all their connections to `port` are closed after it."""
    one = publisher(url, **settings)
    answers = await asyncio.gather(*[one.publish(ENTRIES) for _ in range(CALLS)])
    codes = {answer.error.code if isinstance(answer.error, UnavailableError) else None for answer in answers}
    return codes, await none_open_to(port)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_accepts_and_is_silent_costs_no_descriptors(scheme: str) -> None:
    """Silent after the request, or in the middle of the handshake: the connection is closed."""

    async def run() -> tuple[set[str | None], bool]:
        async with silent() as port:
            return await failed_calls(f"{scheme}://127.0.0.1:{port}", port)

    assert ({"timeout"}, True) == asyncio.run(run())


@pytest.mark.parametrize(("play", "code"), [(hang, "timeout"), (drip, "timeout"), (reset, "connection")])
def test_an_answer_that_does_not_come_whole_costs_no_descriptors(play: Play, code: str) -> None:
    """Not begun, broken off in the middle of its body, or cut."""

    async def run() -> tuple[set[str | None], bool]:
        async with Endpoint(play) as server:
            port = int(server.url.rpartition(":")[2])
            return await failed_calls(server.url, port, timeouts={"connect": "5s", "read": "500ms"})

    assert ({code}, True) == asyncio.run(run())


def test_a_proxy_that_accepts_and_is_silent_costs_no_descriptors(aws: pytest.MonkeyPatch) -> None:
    """A tunnel that does not come about in time is given up, and its connection closed."""

    async def run() -> tuple[set[str | None], bool]:
        async with silent() as port:
            aws.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            return await failed_calls("https://events.example.com", port)

    assert ({"timeout"}, True) == asyncio.run(run())


def test_calls_that_are_given_up_at_a_proxy_cost_no_descriptors(aws: pytest.MonkeyPatch) -> None:
    """A stop in the middle of a tunnel closes its connection as well."""

    async def run() -> tuple[bool, bool]:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            port = listener.getsockname()[1]
            aws.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            one = publisher("https://events.example.com", timeouts={"connect": "60s"})
            call = asyncio.create_task(one.publish(ENTRIES))
            async with asyncio.timeout(DEADLINE_S):
                # In the middle: a call that is given up in the very moment in which asyncio connects leaves a
                # socket to Python's collector of cycles (staggered_race of Python 3.11).
                accepted, _ = await loop.sock_accept(listener)
                assert b"CONNECT" == await loop.sock_recv(accepted, 7)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            with accepted:
                return call.cancelled(), await none_open_to(port)

    assert (True, True) == asyncio.run(run())


@pytest.mark.parametrize("refuses", [True, False], ids=["refused", "TLS fails inside"])
def test_a_tunnel_that_fails_costs_no_descriptors(
    aws: pytest.MonkeyPatch, tls: ssl.SSLContext, *, refuses: bool
) -> None:
    """The proxy does not pass us on, or leads to an endpoint whose certificate nobody vouches for."""

    async def run() -> tuple[set[str | None], bool]:
        async with Proxy(refuses=refuses) as proxy, Endpoint(accept, tls=tls) as server:
            aws.setenv("HTTPS_PROXY", f"http://{proxy.address}")
            port = int(proxy.address.rpartition(":")[2])
            return await failed_calls(server.url, port, timeouts={"connect": "30s"})

    assert ({"proxy" if refuses else "tls"}, True) == asyncio.run(run())


# --- Memory -------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(play: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that plays this on each connection, one after the other, and keeps nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the listener was shut down
                while True:
                    connection, _ = listener.accept()
                    with contextlib.suppress(OSError), connection:
                        play(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def growth_mb(call: Callable[[], Answer], *, times: int) -> float:
    """How much more memory is in use after many calls than after the first ones."""
    for _ in range(3):
        call()
    tracemalloc.start()
    try:
        for _ in range(times):
            call()
        return tracemalloc.get_traced_memory()[0] / 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("is_there", [True, False], ids=["cut", "not there"])
def test_failed_calls_leave_no_requests_in_memory(*, is_there: bool) -> None:
    """An outage of hours repeats them; 100 of 200 KB each would be 40 MB in half a minute."""
    big = [Entry("aws.partner/example.com/orders", "Order", b"x" * 200_000, 200_000)]
    with serving(lambda connection: None) as port, asyncio.Runner() as runner:
        unused = 1  # nothing listens on the port of tcpmux
        one = publisher(f"http://127.0.0.1:{port if is_there else unused}")
        growth = growth_mb(lambda: runner.run(one.publish(big)), times=100)
        error = runner.run(one.publish(big)).error

    assert growth < 5
    assert isinstance(error, UnavailableError)
    assert "connection" == error.code


def test_closed_connections_leave_no_buffers_in_memory(authority: Authority, tls: ssl.SSLContext) -> None:
    """TLS has half a MB of buffers for each; 50 that the endpoint closed would be 25 MB."""

    def answer_and_close(connection: socket.socket) -> None:
        with tls.wrap_socket(connection, server_side=True) as inside:
            inside.recv(65536)
            head = f"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {len(ACCEPTED)}\r\n\r\n"
            inside.sendall(head.encode() + ACCEPTED)

    with serving(answer_and_close) as port, asyncio.Runner() as runner:
        one = publisher(
            f"https://127.0.0.1:{port}", ca_bundle=authority.file, timeouts={"connect": "5s", "read": "5s"}
        )
        growth = growth_mb(lambda: runner.run(one.publish(ENTRIES)), times=50)
        last = runner.run(one.publish(ENTRIES))

    assert growth < 3
    assert [Delivered("id-0")] == last.outcomes


# --- Answers without an end, and too many -------------------------------------------------------


def endless(first: bytes, again: bytes) -> Play:
    async def play(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(again)
            await writer.drain()

    return play


@pytest.mark.parametrize(
    "play",
    [
        endless(b"HTTP/1.1 200 ", b"O" * 4096),
        endless(b"HTTP/1.1 200 OK\r\nx: ", b"y" * 4096),
        endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 512),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 128),
        endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 4096),
        endless(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", b"x" * 4096),
        endless(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 512),
    ],
    ids=["reason", "header", "headers", "interim answers", "body", "chunk's extension", "trailers"],
)
def test_an_answer_without_an_end_is_cut_by_its_size(play: Play) -> None:
    """A flood must not fill the memory until the time for an answer is over."""

    async def run() -> Answer:
        async with Endpoint(play) as server:
            return await publisher(server.url, timeouts={"connect": "5s", "read": "60s"}).publish(ENTRIES)

    got = asyncio.run(run())

    assert isinstance(got.error, UnavailableError)
    assert "answer_invalid" == got.error.code
    assert got.seconds < DEADLINE_S


@pytest.mark.parametrize(
    "more", [b"HTTP/1.1 200 OK\r\ncontent-length: 53\r\n\r\n", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n\r\n{}"]
)
def test_a_second_answer_does_not_pass_for_that_to_the_next_request(more: bytes) -> None:
    """What follows an answer was not asked for: the connection is not used again."""
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(ACCEPTED)}\r\n\r\n".encode()

    async def run() -> tuple[list[Answer], int]:
        async with Endpoint(raw(head + ACCEPTED + more), accept) as server:
            one = publisher(server.url, timeouts={"connect": "5s", "read": "2s"})
            return [await one.publish(ENTRIES), await one.publish(ENTRIES)], server.connections

    answers, connections = asyncio.run(run())

    assert [[Delivered("id-0")]] * 2 == [answer.outcomes for answer in answers]
    assert 2 == connections


def test_a_connection_that_the_endpoint_is_closing_is_not_used_again() -> None:
    """Its end has arrived and is not worked off yet: a request now would fail for nothing."""
    answered, closed = threading.Semaphore(0), threading.Semaphore(0)
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(ACCEPTED)}\r\n\r\n".encode()

    def answer_and_close(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(head + ACCEPTED)
        assert answered.acquire(timeout=DEADLINE_S)
        connection.close()
        closed.release()

    async def run(port: int) -> list[Answer]:
        one = publisher(f"http://127.0.0.1:{port}", timeouts={"connect": "5s", "read": "5s"})
        first = await one.publish(ENTRIES)
        answered.release()
        assert closed.acquire(timeout=DEADLINE_S)
        # The next turn of the loop begins with us, and then reads the end of the connection. The one after it
        # begins with us as well, and says after that that the connection is lost.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        answered.release()
        return [first, await one.publish(ENTRIES)]

    with serving(answer_and_close) as port:
        answers = asyncio.run(run(port))

    assert [[Delivered("id-0")]] * 2 == [answer.outcomes for answer in answers]


# --- Stopping -----------------------------------------------------------------------------------


def test_a_stop_does_not_wait_for_a_name_server(aws: pytest.MonkeyPatch) -> None:
    """A look-up of a name cannot be cancelled; the call and the stop are over all the same."""
    answers_now = threading.Event()

    def hangs(*_: object, **__: object) -> None:
        answers_now.wait(2 * DEADLINE_S)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    aws.setattr(socket, "getaddrinfo", hangs)
    calls = Requests({"default": publisher("https://events.example.com")})
    calls.send("default", 1, ENTRIES)
    ((_, _, got),) = calls.answers(DEADLINE_S)
    calls.send("default", 2, ENTRIES)
    began_s = time.monotonic()
    calls.close()
    took_s = time.monotonic() - began_s
    answers_now.set()

    assert isinstance(got.error, UnavailableError)
    assert "timeout" == got.error.code
    assert took_s < DEADLINE_S / 5


def test_a_stop_closes_the_connection_of_a_call_that_is_under_way() -> None:
    """The endpoint need not wait for more."""
    closed = threading.Event()
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(ACCEPTED)}\r\n\r\n".encode()

    def answer_twice(connection: socket.socket) -> None:
        for _ in range(2):
            connection.recv(65536)
            connection.sendall(head + ACCEPTED)
        connection.recv(65536)
        if connection.recv(65536) == b"":
            closed.set()

    with serving(answer_twice) as port:
        calls = Requests({"default": publisher(f"http://127.0.0.1:{port}", timeouts={"read": "60s"})})
        for batch_id in (1, 2):
            calls.send("default", batch_id, ENTRIES)
            ((_, _, got),) = calls.answers(DEADLINE_S)
            assert [Delivered("id-0")] == got.outcomes
        calls.send("default", 3, ENTRIES)
        calls.close()
        is_closed = closed.wait(DEADLINE_S)

    assert is_closed
