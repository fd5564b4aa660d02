"""The calls to EventBridge that are under way, on an asyncio loop that the bridge thread turns itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from connector.eventbridge.client import Call, Publisher
from connector.eventbridge.http import Reply
from connector.model import Answer, Entry

CLOSE_LIMIT_S = 5.0
"""Calls that were cancelled may take so long to end. They take a few turns of the loop."""
TURNS = 2
"""Turns of the loop that bring the bytes at its sockets to the calls that await them."""


class Requests:
    """Makes the calls to all targets, many at a time; the `Sink` of bridge and replay. For one thread.

    On a thread of their own the calls would cost half as much again, for themselves and for the rest: the
    interpreter's lock would go from one core to the other with every socket operation, and the caches
    with it. Here they wait for a few ms while records are decoded, as they would for the lock.

    Raises:
        ConfigError: as `Publisher`.
    """

    def __init__(self, publishers: Mapping[str, Publisher]) -> None:
        """By the name of their target."""
        self._publishers = publishers
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: list[tuple[str, int, Call, Reply | OSError]] = []
        self._answers: list[tuple[str, int, Answer]] = []
        self._bug: Exception | None = None
        self._is_waiting = False

    def send(self, target: str, batch_id: int, entries: Sequence[Entry]) -> None:
        call = Call(entries)
        if not self._publishers[target].start(call, partial(self._done, target, batch_id, call)):
            self.start(self._finish(target, batch_id, call))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start other work beside the calls, which keeps its result itself; never blocks."""
        task = self._loop.create_task(self._watched(work))
        # The loop keeps weak references only; without this one a call could vanish midway.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._turn()

    def answers(self, timeout_s: float) -> Sequence[tuple[str, int, Answer]]:
        """As `Sink.answers`; the wait also ends when other started work does.

        An exception that escaped from either is a bug, and is raised here, so that it ends the bridge and
        not only a task that no code awaits.
        """
        loop = self._loop
        for _ in range(TURNS if self._tasks else 1):
            self._turn()
        if timeout_s > 0 and not self._results and not self._answers and self._bug is None:
            self._is_waiting = True
            end = loop.call_later(timeout_s, loop.stop)
            loop.run_forever()
            end.cancel()
            self._is_waiting = False
        results, self._results = self._results, []
        for target, batch_id, call, result in results:
            answer = self._publishers[target].answer(call, result)
            if answer is None:
                self.start(self._finish(target, batch_id, call))
            else:
                self._answers.append((target, batch_id, answer))
        if self._bug is not None:
            raise self._bug
        answers, self._answers = self._answers, []
        return answers

    def waits_for(self, target: str) -> str | None:
        return self._publishers[target].waits_for

    def close(self) -> None:
        """Cancel what is under way and close every connection.

        Lookups of names and of credentials cannot be cancelled; they are not waited for.
        """
        self._loop.run_until_complete(self._close())
        self._loop.close()

    def _turn(self) -> None:
        self._loop.call_soon(self._loop.stop)
        self._loop.run_forever()

    def _done(self, target: str, batch_id: int, call: Call, result: Reply | OSError) -> None:
        """Called by the loop, which would take an exception for one of the connection's."""
        self._results.append((target, batch_id, call, result))
        if self._is_waiting:
            self._loop.stop()

    async def _finish(self, target: str, batch_id: int, call: Call) -> None:
        answer = await self._publishers[target].finish(call)
        self._answers.append((target, batch_id, answer))

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as bug:  # noqa: BLE001 - raised again by `answers`
            self._bug = bug
        if self._is_waiting:
            self._loop.stop()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_LIMIT_S)
        for publisher in self._publishers.values():
            await publisher.close()
