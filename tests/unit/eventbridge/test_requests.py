"""The loop of the calls: what is started beside them."""

from __future__ import annotations

import asyncio

import pytest

from connector.eventbridge.requests import Requests


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
