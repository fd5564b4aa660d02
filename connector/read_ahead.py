"""Reads and tries dead letters in a process of its own, beside the one that sends them.

Reading a letter with its seventeen headers and making its entry is half of all that a replay does for it.
That half is done on another core.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO, Any, NamedTuple, cast

from connector import config, errors, garbage_collector
from connector.dead_letters import Chosen, Ranges, Selection, chosen, scan
from connector.errors import DeadLetterError, RecordError, UnavailableError
from connector.kafka_letters import LetterTopic, ResolutionTopic
from connector.letters import RESENT, DeadLetter, Label
from connector.model import Entry, Position, Record, partition_of
from connector.pipeline import Dropped, Pipeline
from connector.resolutions import Resolved
from connector.schema_registry import SchemaRegistry
from connector.trial import CannotTry, Trial, Tried, Tries, tries

AHEAD_BYTES = 1024 * 1024
"""What may be read ahead; no more fits into a pipe without special rights."""

PROBLEM_WAIT_S = 0.05

NOTHING = Tries((), 0, {})

ENTRY, DROPPED, LEFT, FAILED = range(4)
"""What became of a letter at its trial, in the pipe."""


class Frame(NamedTuple):
    """What goes through the pipe for each batch, as a plain tuple in Python's marshal format."""

    looked_at: int
    """Records of the dead-letter topic that were read for it."""
    tried: tuple[Any, ...] = ()
    parked: int = 0
    left: dict[str, int] = {}  # noqa: RUF012 - never changed
    problem: str | None = None
    error: tuple[str, str] | None = None
    """Message and code of an UnavailableError, with which it ends."""
    is_end: bool = False


def chosen_now(
    topic: LetterTopic,
    resolutions: ResolutionTopic,
    selection: Selection,
    ranges: Ranges,
    *,
    max_replays: int,
    on_read: Callable[[int], None],
    timeout_s: float = 0.1,
) -> Iterator[Chosen]:
    """The selected letters among these ranges, with what is resolved as of this call.

    Raises:
        UnavailableError: nothing arrived for 30 s, or the brokers refuse us; at once, or later on.
    """
    resolved = Resolved(topic.name, ranges)
    resolutions.read_into(resolved, list(ranges))
    found = scan(
        topic, resolved, selection, ranges, max_replays=max_replays, on_read=on_read, timeout_s=timeout_s
    )
    return map(chosen, found)


def tries_beside(
    settings: config.Settings,
    selection: Selection,
    ranges: Ranges,
    *,
    cluster_id: str,
    max_replays: int,
    on_read: Callable[[int], None],
) -> Iterator[Tries]:
    """`tries` of `chosen_now` by a process of its own, with nothing tried while none has come.

    That process ends with this iterator, and with the process that made it. It does not say
    which of `selection.ids` it saw.

    Raises:
        UnavailableError: nothing arrived for 30 s, or the brokers refuse us.
        DeadLetterError: the process ended before its work.
    """
    receiving, sending = Pipe(duplex=False)
    with suppress(OSError, AttributeError):  # Linux only
        fcntl.fcntl(sending.fileno(), fcntl.F_SETPIPE_SZ, AHEAD_BYTES)
    process = subprocess.Popen(  # noqa: S603 - ourselves
        # Without -P a folder `connector` where the command is run would be taken for ours.
        [sys.executable, "-P", "-m", __name__, str(sending.fileno())],
        stdin=subprocess.PIPE,
        pass_fds=[sending.fileno()],
        # Each thread of librdkafka's would keep memory of its own, 50 MB in all.
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
        # So that Ctrl-C on the terminal stops the replay, and not what it reads from.
        start_new_session=True,
    )
    sending.close()
    stdin = cast("IO[bytes]", process.stdin)
    try:
        with suppress(BrokenPipeError), stdin:
            # Not as arguments, which everyone on the machine can read: there are passwords in it.
            pickle.dump((settings, selection, dict(ranges), cluster_id, max_replays), stdin)
        while True:
            if not receiving.poll():
                yield NOTHING
                continue
            try:
                received = receiving.recv_bytes()
            except (EOFError, OSError):  # OSError where it ended in the middle of a batch
                text = (
                    f"the process that reads letters ended with {process.wait()}; run the same command again"
                )
                raise DeadLetterError(text) from None
            frame = Frame(*marshal.loads(received))  # noqa: S302 - our own process wrote it
            on_read(frame.looked_at)
            if frame.error is not None:
                text, code = frame.error
                raise UnavailableError(text, code=code)
            if frame.is_end:
                return
            is_more = frame.tried or frame.parked or frame.left
            if frame.problem is not None and not is_more and receiving.poll():
                continue  # what comes behind it is newer
            yield Tries(list(map(_unpacked, frame.tried)), frame.parked, frame.left, frame.problem)
    finally:
        receiving.close()
        process.kill()
        process.wait()


def _packed(tried: Tried) -> tuple[Any, ...]:
    letter, result = tried
    (topic, number), offset = letter.id
    ours = {name: letter.ours[name] for name in RESENT if name in letter.ours}
    _, _, *rest = letter.record
    fields: tuple[object, ...]
    match result:
        case Entry():
            kind, fields = ENTRY, tuple(result)
        case Dropped():
            kind, fields = DROPPED, (result.reason,)
        case CannotTry():
            kind, fields = LEFT, (str(result),)
        case RecordError():
            kind, fields = FAILED, (type(result).__name__, result.stage, result.code, str(result))
    return topic, number, offset, letter.written_ms, tuple(letter.label), ours, rest, kind, fields


def _unpacked(packed: tuple[Any, ...]) -> Tried:
    topic, number, offset, written_ms, label_fields, ours, rest, kind, fields = packed
    label = Label._make(label_fields)
    letter = DeadLetter(
        Position(partition_of(topic, number), offset),
        Record(partition_of(label.topic, label.partition), label.offset, *rest),
        written_ms,
        label,
        ours,
    )
    if kind == ENTRY:
        return Tried(letter, Entry._make(fields))
    if kind == DROPPED:
        return Tried(letter, Dropped(*fields))
    if kind == LEFT:
        return Tried(letter, CannotTry(*fields))
    name, stage, *said = fields
    error: RecordError = getattr(errors, name)(*said)
    error.stage = stage
    return Tried(letter, error)


def _serve(sending: Connection) -> None:
    settings, selection, ranges, cluster_id, max_replays = pickle.load(sys.stdin.buffer)  # noqa: S301 - as above
    garbage_collector.calm()
    looked_at = 0

    def count(records: int) -> None:
        nonlocal looked_at
        looked_at += records

    def send(frame: Frame) -> None:
        sending.send_bytes(marshal.dumps((*frame,)))

    registry = SchemaRegistry(settings.schema_registry) if settings.schema_registry else None
    pipeline = Pipeline(settings, registry)
    pipeline.cluster_id = cluster_id
    with suppress(BrokenPipeError):
        try:
            with LetterTopic(settings) as topic:
                with ResolutionTopic(settings) as resolutions:
                    batches = chosen_now(
                        topic, resolutions, selection, ranges, max_replays=max_replays, on_read=count
                    )
                for batch in tries(batches, Trial(pipeline, topic.fetch_origin)):
                    tried = tuple(map(_packed, batch.tried))
                    send(Frame(looked_at, tried, batch.parked, dict(batch.left), batch.problem))
                    looked_at = 0
                    if batch.problem is not None:
                        time.sleep(PROBLEM_WAIT_S)  # what is missing may come, on another thread
            send(Frame(looked_at, is_end=True))
        except UnavailableError as error:
            send(Frame(looked_at, error=(str(error), error.code)))


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1]), readable=False))
