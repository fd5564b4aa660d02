"""Calls that are under way together: over connections that were kept, and what is started beside them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

from connector import config
from connector.errors import UnavailableError
from connector.eventbridge import errors
from connector.eventbridge.client import Publisher
from connector.eventbridge.requests import Requests
from connector.model import Answer, Delivered, Entry
from tests.endpoint import Endpoint, Play, Received, accept, answer, drip, error, hang, raw, reset

DEADLINE_S = 10.0
READ_S = 0.3
TIMEOUTS: Any = {"connect": "5s", "read": f"{READ_S}s"}
ENTRIES = [Entry("aws.partner/example.com/orders", "Order", b"{}", 1)]


@pytest.fixture(autouse=True)
def credentials(aws: pytest.MonkeyPatch) -> None:
    aws.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    aws.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@contextmanager
def serving(*script: Play) -> Iterator[Endpoint]:
    """An endpoint that answers from a thread of its own, while the calls have this one."""
    endpoint, loop = Endpoint(*script), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(endpoint.__aenter__(), loop).result(DEADLINE_S)
    finally:
        asyncio.run_coroutine_threadsafe(endpoint.__aexit__(), loop).result(DEADLINE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def calling(endpoint: Endpoint) -> Iterator[Requests]:
    target = config.Target(region="eu-central-1", endpoint_url=endpoint.url, timeouts=TIMEOUTS)
    calls = Requests({"default": Publisher(target)})
    try:
        yield calls
    finally:
        calls.close()


def answers(calls: Requests, *batch_ids: int) -> list[Answer]:
    """What the batches come to, in their order."""
    got: dict[int, Answer] = {}
    until_s = time.monotonic() + DEADLINE_S
    while len(got) < len(batch_ids):
        assert time.monotonic() < until_s, f"only {sorted(got)} are answered"
        got |= {batch_id: each for _, batch_id, each in calls.answers(DEADLINE_S)}
    return [got[each] for each in batch_ids]


def one_by_one(calls: Requests, count: int) -> list[Answer]:
    """From the third on a call finds credentials and a connection, and waits for nothing but its answer."""
    got: list[Answer] = []
    for batch_id in range(count):
        calls.send("default", batch_id, ENTRIES)
        got += answers(calls, batch_id)
    return got


# --- Calls over a connection that was kept ------------------------------------------------------


@pytest.mark.parametrize(
    "play",
    [
        hang,
        drip,
        reset,
        error(503, "ServiceUnavailable", "busy"),
        error(400, "ThrottlingException", "slow down", x_amz_retry_after="1500"),
        error(400, "ValidationException", "no"),
        error(413, "RequestEntityTooLargeException", "large"),
        error(403, "AccessDeniedException", "no"),
        error(403, "ExpiredTokenException", "expired"),
        answer(200, {"Entries": []}),
        answer(200, b"<html>"),
        answer(302),
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", then_close=True),
        raw(b"", then_close=True),
        raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
        raw(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 300_000),
    ],
)
def test_a_kept_connection_brings_the_same_answer_as_a_new_one(play: Play) -> None:
    """A call takes a shorter way over it, on which nothing is judged in another manner."""
    with serving(play) as endpoint, calling(endpoint) as calls:
        (by_new,) = one_by_one(calls, 1)
    with serving(accept, accept, play) as endpoint, calling(endpoint) as calls:
        first, second, by_kept = one_by_one(calls, 3)
        endpoint.script = [accept]
        (after,) = one_by_one(calls, 1)

    assert [Delivered("id-0")] == first.outcomes == second.outcomes == after.outcomes
    assert by_new.error is not None
    assert type(by_new.error) is type(by_kept.error)
    assert str(by_new.error) == str(by_kept.error)
    assert (by_new.request_id, by_new.retry_after_s) == (by_kept.request_id, by_kept.retry_after_s)


def test_calls_that_follow_each_other_share_a_connection() -> None:
    """A handshake costs more than a request."""
    with serving(accept) as endpoint, calling(endpoint) as calls:
        got = one_by_one(calls, 5)

    assert [[Delivered("id-0")]] * 5 == [each.outcomes for each in got]
    assert 1 == endpoint.connections


def test_credentials_that_expired_are_replaced_on_a_kept_connection(aws: pytest.MonkeyPatch) -> None:
    """The call goes on with the new ones, and nobody notices."""

    async def expire(received: Received, writer: asyncio.StreamWriter) -> None:
        aws.setenv("AWS_ACCESS_KEY_ID", "AKIDRENEWED")
        await error(403, "ExpiredTokenException", "expired")(received, writer)

    with serving(accept, accept, expire, accept) as endpoint, calling(endpoint) as calls:
        got = one_by_one(calls, 3)

    assert [[Delivered("id-0")]] * 3 == [each.outcomes for each in got]
    assert ["AKIDEXAMPLE"] * 3 + ["AKIDRENEWED"] == [
        each.headers["authorization"].split("Credential=")[1].split("/")[0] for each in endpoint.received
    ]


def test_each_call_has_its_own_time() -> None:
    """Of two that hang the second was sent later, and is given up later."""
    with serving(*[accept] * 4, hang) as endpoint, calling(endpoint) as calls:
        for pair in ((1, 2), (1, 2)):
            for batch_id in pair:
                calls.send("default", batch_id, ENTRIES)
            answers(calls, *pair)
        calls.send("default", 3, ENTRIES)
        assert [] == calls.answers(READ_S / 2)
        calls.send("default", 4, ENTRIES)
        got = answers(calls, 3, 4)

    assert [("timeout", True)] * 2 == [
        (isinstance(each.error, UnavailableError) and each.error.code, each.seconds >= READ_S) for each in got
    ]


def test_a_bug_in_judging_an_answer_ends_the_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not pass for a fault of the connection, which would be tried again for ever."""

    def fails(_body: bytes, _count: int) -> NoReturn:
        raise ValueError("a bug")

    with serving(accept) as endpoint, calling(endpoint) as calls:
        one_by_one(calls, 2)
        monkeypatch.setattr(errors, "outcomes", fails)
        calls.send("default", 1, ENTRIES)
        with pytest.raises(ValueError, match="a bug"):
            answers(calls, 1)


# --- What is started beside the calls -----------------------------------------------------------


def test_a_bug_in_what_runs_beside_the_calls_ends_the_bridge() -> None:
    """As one in a call does: a lookup that ends so must not leave sources waiting in silence."""
    calls = Requests({})

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("a bug")

    calls.start(fails())
    try:
        with pytest.raises(ValueError, match="a bug"):
            calls.answers(1.0)
    finally:
        calls.close()


def test_a_stop_does_not_wait_for_what_runs_beside_the_calls() -> None:
    """A lookup may take as long as a request may, and holds nothing that matters."""
    calls = Requests({})
    ended: list[str] = []

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    calls.start(hangs())
    calls.close()

    assert ["cancelled"] == ended
