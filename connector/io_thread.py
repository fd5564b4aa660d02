"""The I/O thread: one asyncio loop for the calls to EventBridge and the small HTTP server."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from connector.eventbridge import Publisher
from connector.model import Answer, Entry

T = TypeVar("T")


class IoThread:
    """Runs an asyncio loop on a thread of its own; the only concurrency of the bridge.

    Batches go in with `call_soon_threadsafe`, answers come back on a queue. It is the `Sink` of the
    bridge: stateless but for the calls under way.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._answers: queue.SimpleQueue[tuple[int, Answer | Exception]] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="io", daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout_s: float = 30.0) -> T:
        """Run a coroutine on the loop and wait for its result. For starting and stopping."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    def send(self, batch_id: int, entries: Sequence[Entry]) -> None:
        """Start one call; never blocks."""
        self._loop.call_soon_threadsafe(self._start, batch_id, entries)

    def answers(self, timeout_s: float) -> Sequence[tuple[int, Answer]]:
        """The answers that came in; waits for the first one at most `timeout_s`.

        Whatever escaped from a call is a bug, and is raised here so that it ends the bridge rather
        than a task nobody looks at.
        """
        answers: list[tuple[int, Answer]] = []
        is_waiting = timeout_s > 0
        while True:
            try:
                batch_id, answer = self._answers.get(is_waiting, timeout_s)
            except queue.Empty:
                return answers
            if isinstance(answer, Exception):
                raise answer
            answers.append((batch_id, answer))
            is_waiting = False

    def stop(self) -> None:
        """Cancel what is under way and end the thread."""
        self.call(self._cancel())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)

    def _start(self, batch_id: int, entries: Sequence[Entry]) -> None:
        task = self._loop.create_task(self._publish(batch_id, entries))
        # The loop keeps weak references only; without this one a call could vanish midway.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, batch_id: int, entries: Sequence[Entry]) -> None:
        answer: Answer | Exception
        try:
            answer = await self._publisher.publish(entries)
        except Exception as bug:  # noqa: BLE001 - raised again by `answers`
            answer = bug
        self._answers.put((batch_id, answer))

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
