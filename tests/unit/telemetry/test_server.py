"""The HTTP server of probes and metrics: answers, refusals, and connections that do harm."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
import urllib3

from connector import __version__
from connector.config.settings import Http
from connector.errors import ConfigError
from connector.telemetry import server
from connector.telemetry.health import BEAT_LIMIT_S, Health
from connector.telemetry.metrics import Telemetry
from connector.telemetry.page import Board
from connector.telemetry.page.contents import Contents
from connector.telemetry.server import Server
from tests.fakes import FakeClock


def with_server(
    state: Health,
    use: Callable[[Server, aiohttp.ClientSession], Awaitable[None]],
    telemetry: Telemetry | None = None,
    *,
    contents: Contents | None = None,
    token: str | None = None,
) -> None:
    """Run `use` against a real server on a free port."""

    async def run() -> None:
        server = Server(
            state,
            telemetry or Telemetry(librdkafka="2.16.0"),
            host="127.0.0.1",
            port=0,
            contents=contents,
            token=token,
        )
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
                await use(server, session)
        finally:
            server.close()

    asyncio.run(asyncio.wait_for(run(), 10))


async def get(session: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    async with session.get(path) as response:
        return response.status, await response.json()


def test_probes_answer_by_status_and_say_why(running: Health, clock: FakeClock) -> None:
    """Kubernetes reads the status, people read the JSON."""

    async def use(_: Server, session: aiohttp.ClientSession) -> None:
        status, body = await get(session, "/livez")
        assert (200, True) == (status, body["live"])

        status, body = await get(session, "/readyz")
        assert (200, True, 3) == (status, body["ready"], body["partitions_assigned"])

        running.report("dead_letter", "orders.dlt cannot be written")
        status, body = await get(session, "/readyz")
        assert (503, {"dead_letter": "orders.dlt cannot be written"}) == (status, body["reasons"])

        clock.now_s += BEAT_LIMIT_S + 15
        status, body = await get(session, "/livez")
        assert (503, False, 75.0) == (status, body["live"], body["beat_age_s"])

    with_server(running, use)


def test_metrics_are_those_of_telemetry(running: Health) -> None:
    """Prometheus scrapes the same process that the probes look at."""
    telemetry = Telemetry()
    telemetry.records_consumed("orders", 7)

    async def use(_: Server, session: aiohttp.ClientSession) -> None:
        async with session.get("/metrics") as response:
            text = await response.text()
            assert "text/plain; version=0.0.4; charset=utf-8" == response.headers["Content-Type"]
            assert 'partner_bridge_records_consumed_total{topic="orders"} 7.0\n' in text

    with_server(running, use, telemetry)


def test_version_says_what_runs(running: Health) -> None:
    """The first question of every support case."""

    async def use(_: Server, session: aiohttp.ClientSession) -> None:
        status, body = await get(session, "/version")
        assert (200, __version__, "2.16.0") == (status, body["version"], body["librdkafka"])

    with_server(running, use)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/livez/", 404),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/livez", 405),
        ("DELETE", "/metrics", 405),
        ("POST", "/other", 404),
    ],
)
def test_everything_else_is_refused_in_json(running: Health, method: str, path: str, status: int) -> None:
    """One error shape, and no way in."""

    async def use(_: Server, session: aiohttp.ClientSession) -> None:
        async with session.request(
            method, path, data=b"x" * 100_000 if method == "POST" else None
        ) as response:
            assert status == response.status
            assert "error" in await response.json()

    with_server(running, use)


# The page


def a_page(state: Health) -> Contents:
    return Contents(name="orders-bridge", board=Board(), health=state, versions={"version": "1.0"})


@pytest.mark.parametrize(
    ("path", "content_type", "part"),
    [
        ("/", "text/html; charset=utf-8", "nothing stands in the way"),
        ("/?q=acme&state=PENDING&page=2", "text/html; charset=utf-8", 'value="acme"'),
        ("/page.css", "text/css; charset=utf-8", "prefers-color-scheme"),
        ("/page.js", "text/javascript; charset=utf-8", "setInterval"),
    ],
)
def test_the_page_is_served_and_may_load_nothing_else(
    running: Health, path: str, content_type: str, part: str
) -> None:
    """Should a name ever become markup, a browser still runs nothing."""

    async def use(_: Server, session: aiohttp.ClientSession) -> None:
        async with session.get(path) as response:
            assert (200, content_type) == (response.status, response.headers["Content-Type"])
            assert part in await response.text()
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "nosniff" == response.headers["X-Content-Type-Options"]
        async with session.post("/") as response:
            assert 405 == response.status

    with_server(running, use, contents=a_page(running))


def test_a_bug_in_the_page_takes_nothing_with_it(running: Health, capsys: pytest.CaptureFixture[str]) -> None:
    """The probes of the same server go on, and the log says where it is."""
    broken = replace(a_page(running), configuration=lambda: str(1 // 0))

    async def use(_: Server, session: aiohttp.ClientSession) -> None:
        status, body = await get(session, "/")
        assert 500 == status
        assert "ZeroDivisionError" in body["error"]
        assert (200, True) == ((await get(session, "/readyz"))[0], (await get(session, "/livez"))[1]["live"])

    with_server(running, use, contents=broken)
    assert "test_server.py" in capsys.readouterr().err


# A token


@pytest.mark.parametrize(
    "authorization",
    ["Bearer s3cret", "bearer  s3cret", f"Basic {base64.b64encode(b'anyone:s3cret').decode()}"],
)
def test_with_a_token_all_but_probes_want_it(running: Health, authorization: str) -> None:
    """As other programs send it, or as the password that a browser asks for."""

    async def use(_: Server, session: aiohttp.ClientSession) -> None:
        for path in ("/livez", "/readyz"):
            assert 200 == (await get(session, path))[0]
        for path in ("/", "/page.css", "/sources", "/metrics", "/version", "/nothing"):
            async with session.get(path) as response:
                assert (401, True) == (response.status, "WWW-Authenticate" in response.headers)
        for path in ("/", "/page.css", "/sources", "/metrics", "/version"):
            async with session.get(path, headers={"Authorization": authorization}) as response:
                assert 200 == response.status

    with_server(running, use, contents=a_page(running), token="s3cret")


@pytest.mark.parametrize(
    "authorization",
    ["", "s3cret", "Bearer", "Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "Basic ****", "Digest s3cret"],
)
def test_another_token_is_refused(running: Health, authorization: str) -> None:
    async def use(_: Server, session: aiohttp.ClientSession) -> None:
        async with session.get("/sources", headers={"Authorization": authorization}) as response:
            assert 401 == response.status
            assert "s3cret" not in await response.text()

    with_server(running, use, token="s3cret")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/version"])
def test_head_answers_without_a_body(running: Health, path: str) -> None:
    """Some load balancers probe with HEAD."""

    async def use(_: Server, session: aiohttp.ClientSession) -> None:
        async with session.head(path) as response:
            assert (200, b"") == (response.status, await response.read())

    with_server(running, use)


def test_oversized_headers_are_refused(running: Health) -> None:
    """A client cannot make us keep what it likes."""

    async def use(_: Server, session: aiohttp.ClientSession) -> None:
        async with session.get("/livez", headers={"X-Large": "x" * 20_000}) as response:
            assert 400 == response.status

    with_server(running, use)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /livez?why HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET http://x/livez HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /livez HTTP/1.0\r\n\r\n", 200),
        (b"GET /livez HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
        (b"POST /livez HTTP/1.1\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000, 405),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 2, 200),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /livez HTTP/1.1\r\n" + b"X-Endless: " + b"x" * 20_000, 400),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_one_answer_and_the_end(running: Health, sent: bytes, status: int) -> None:
    """Whatever comes, by halves too: one answer, which says where it ends, and a closed connection."""

    async def use(server: Server, _: aiohttp.ClientSession) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for half in (sent[: len(sent) // 2], sent[len(sent) // 2 :]):
            writer.write(half)
            await writer.drain()
            await asyncio.sleep(0)
        head, body = (await reader.read()).split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        assert f"HTTP/1.1 {status} " == lines[0][:13]
        assert {"Connection: close", f"Content-Length: {len(body)}"} <= set(lines)
        writer.close()

    with_server(running, use)


def test_a_client_that_sends_on_is_cut_off(running: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body is thrown away, and not for ever."""
    monkeypatch.setattr(server, "MAX_BODY_BYTES", 100_000)

    async def use(server: Server, _: aiohttp.ClientSession) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"x" * 10_000)
                await writer.drain()
        assert isinstance(reader.exception(), ConnectionError)

    with_server(running, use)


def test_slow_clients_hold_up_nobody(running: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that send half a request are closed, and others are answered meanwhile."""
    monkeypatch.setattr(server, "IDLE_TIMEOUT_S", 0.2)

    async def use(server: Server, session: aiohttp.ClientSession) -> None:
        slow = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(50)]
        for _, writer in slow:
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        status, _ = await get(session, "/livez")
        assert 200 == status
        for reader, writer in slow:
            assert b"" == await reader.read()
            writer.close()

    with_server(running, use)


def test_the_newest_connections_stay_open(running: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that opens ever more and sends nothing takes its own places, and no probe's."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 10)

    async def use(server: Server, session: aiohttp.ClientSession) -> None:
        idle = []
        for _ in range(30):
            idle.append(await asyncio.open_connection("127.0.0.1", server.port))
            status, _ = await get(session, "/livez")
            assert 200 == status
        closed = [reader.at_eof() for reader, _ in idle]
        assert [True] * 20 == closed[:20]
        assert [False] * 9 == closed[-9:]
        for _, writer in idle:
            writer.close()

    with_server(running, use)


FLOODED = """
import resource, sys
from connector.telemetry import server
from connector.telemetry.health import Health
from connector.telemetry.metrics import Telemetry

resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
server.MAX_CONNECTIONS = 20
answering = server.Server(Health(), Telemetry(), host="127.0.0.1", port=0)
print(answering.port, flush=True)
sys.stdin.read()
answering.close()
"""


def test_a_flood_of_connections_takes_no_descriptors_from_the_bridge() -> None:
    """Without descriptors nothing reaches EventBridge, and asyncio says so thousands of times."""
    with contextlib.ExitStack() as flood:
        child = flood.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", FLOODED],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        flood.callback(child.kill)
        assert child.stdout
        address = ("127.0.0.1", int(child.stdout.readline()))
        http = flood.enter_context(urllib3.PoolManager(timeout=5, retries=False))
        answers = []
        for number in range(200):
            flood.enter_context(socket.create_connection(address, timeout=5))
            if number % 10 == 9:
                answers.append(http.request("GET", f"http://127.0.0.1:{address[1]}/livez").status)
        _, err = child.communicate("")

    assert [200] * 20 == answers
    assert (0, "") == (child.returncode, err)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_default_host_hears_ipv4_and_ipv6_on_one_port(running: Health, address: str) -> None:
    """Probes and scrapes come to the address of the pod, whichever kind its cluster has."""
    with contextlib.closing(Server(running, Telemetry(), host=Http().host, port=0)) as server:
        pool = urllib3.HTTPConnectionPool(f"[{address}]" if ":" in address else address, server.port)

        assert 200 == pool.request("GET", "/livez", timeout=5, retries=False).status


def test_without_ipv6_the_default_host_is_ipv4(running: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that was started with `ipv6.disable=1` gives no such socket at all."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with contextlib.closing(Server(running, Telemetry(), host=Http().host, port=0)) as server:
        assert 200 == urllib3.request("GET", f"http://127.0.0.1:{server.port}/livez", retries=False).status


def test_an_address_of_one_kind_hears_that_kind_alone(running: Health) -> None:
    """`0.0.0.0` says IPv4, and means it."""
    with (
        contextlib.closing(Server(running, Telemetry(), host="0.0.0.0", port=0)) as server,
        pytest.raises(ConnectionRefusedError),
    ):
        socket.create_connection(("::1", server.port), timeout=5)


def test_the_default_host_says_when_the_port_is_taken(running: Health) -> None:
    """Also by IPv4 alone: half of the probes would go to somebody else."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as error:
            Server(running, Telemetry(), host=Http().host, port=port)
    [problem] = error.value.problems

    assert ("http.port", True) == (problem.path, f"port {port} on :: is in use" in problem.message)


def test_a_port_in_use_is_a_configuration_error(running: Health) -> None:
    """Said with the setting to change, not with a traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as error:
            Server(running, Telemetry(), host="127.0.0.1", port=port)
    [problem] = error.value.problems

    assert "http.port" == problem.path
    assert f"port {port} on 127.0.0.1 is in use; choose another, or 0 for any free one" == problem.message


def test_an_address_of_somebody_else_is_a_configuration_error(running: Health) -> None:
    """192.0.2.1 is reserved for documentation, so no machine has it."""
    with pytest.raises(ConfigError) as error:
        Server(running, Telemetry(), host="192.0.2.1", port=0)

    assert ["http.host"] == [problem.path for problem in error.value.problems]


def test_the_port_is_free_again_after_close(running: Health) -> None:
    """A restart in the same place must work."""

    first = Server(running, Telemetry(), host="127.0.0.1", port=0)
    first.close()
    second = Server(running, Telemetry(), host="127.0.0.1", port=first.port)
    second.close()

    assert first.port == second.port
