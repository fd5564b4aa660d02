"""Reads and tries dead letters in a process of its own, beside the one that sends them.

Reading a letter with its seventeen headers and making its entry is half of all that a replay does for it.
That half is done on another core.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO, cast

from connector import config, process
from connector.dead_letters.dry_run import DryRun, Prepared, PreparedBatch, prepared_batches
from connector.dead_letters.format import RESENT, DeadLetter
from connector.dead_letters.resolutions import ResolutionTable
from connector.dead_letters.selection import Cases, ReplayBatch, Selection, replay_batch, scan
from connector.dead_letters.topics import DeadLetterTopic, ResolutionTopic
from connector.delivery.pauses import PauseFile
from connector.errors import DeadLetterError, UnavailableError
from connector.formats.registries import Registries
from connector.model import Ranges
from connector.pipeline import Pipeline
from connector.telemetry.log import configure_logging
from connector.telemetry.metrics import Telemetry

AHEAD_BYTES = 1024 * 1024
"""What may be read ahead; no more fits into a pipe without special rights."""

PROBLEM_WAIT_S = 0.05

NOTHING: PreparedBatch[DeadLetter] = PreparedBatch(())


def selected_now(
    topic: DeadLetterTopic,
    resolutions: ResolutionTopic,
    selection: Selection,
    ranges: Ranges,
    *,
    cases: Cases,
    max_replays: int,
    on_read: Callable[[int], None],
    timeout_s: float = 0.1,
) -> Iterator[ReplayBatch]:
    """The selected letters among these ranges, with what is resolved as of this call.

    `cases` are those of the whole topic: of two replays at once the one that has the partition of a record's
    newest letter sends it.

    Raises:
        UnavailableError: nothing arrived for 30 s, or the brokers refuse us; at once, or later on.
    """
    resolved = ResolutionTable(topic.name, ranges)
    resolutions.read_into(resolved, list(ranges))
    found = scan(
        topic,
        resolved,
        selection,
        ranges,
        max_replays=max_replays,
        cases=cases,
        on_read=on_read,
        timeout_s=timeout_s,
    )
    return map(replay_batch, found)


def prepared_beside(
    settings: config.Settings,
    selection: Selection,
    ranges: Ranges,
    *,
    whole: Ranges,
    cluster_id: str,
    max_replays: int,
    on_read: Callable[[int], None],
) -> Iterator[PreparedBatch[DeadLetter]]:
    """`prepared_batches` of `selected_now` by a process of its own, with nothing tried while none has come.

    `whole` are the ranges of all partitions, those of other replays as well. That process ends with this
    iterator, and with the process that made it. It does not say which of `selection.ids` it saw.

    Raises:
        UnavailableError: nothing arrived for 30 s, or the brokers refuse us.
        DeadLetterError: the process ended before its work.
    """
    receiving, sending = Pipe(duplex=False)
    with suppress(OSError, AttributeError):  # Linux only
        fcntl.fcntl(sending.fileno(), fcntl.F_SETPIPE_SZ, AHEAD_BYTES)
    reader = subprocess.Popen(  # noqa: S603 - ourselves
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
    stdin = cast("IO[bytes]", reader.stdin)
    with _ending_with(reader), receiving:
        with suppress(BrokenPipeError), stdin:
            # Not as arguments, which everyone on the machine can read: there are passwords in it.
            given = (settings, selection, dict(ranges), dict(whole), cluster_id, max_replays)
            pickle.dump(given, stdin)
        while True:
            if not receiving.poll():
                yield NOTHING
                continue
            try:
                looked_at, batch = receiving.recv()
            except (EOFError, OSError):  # OSError where it ended in the middle of a batch
                text = (
                    f"the process that reads letters ended with {reader.wait()}; run the same command again"
                )
                raise DeadLetterError(text) from None
            on_read(looked_at)
            if isinstance(batch, UnavailableError):
                raise batch
            if batch is None:
                return
            is_more = batch.prepared or batch.parked or batch.left
            if batch.problem is not None and not is_more and receiving.poll():
                continue  # what comes behind it is newer
            yield batch


@contextmanager
def _ending_with(reader: subprocess.Popen[bytes]) -> Iterator[None]:
    """The reader ends with this context, also where a signal ends this process within it."""
    with process.before_ending(reader.kill):
        try:
            yield
        finally:
            reader.kill()
            reader.wait()


def slim(tried: Prepared[DeadLetter]) -> Prepared[DeadLetter]:
    """The same without the headers that a replay does not need."""
    letter, result = tried
    ours = {name: letter.ours[name] for name in RESENT if name in letter.ours}
    return Prepared(letter._replace(ours=ours), result)


def _serve(sending: Connection) -> None:
    settings, selection, ranges, whole, cluster_id, max_replays = pickle.load(sys.stdin.buffer)  # noqa: S301 - as above
    configure_logging("error", settings.log.format)
    process.tune_gc()
    looked_at = 0

    def count(records: int) -> None:
        nonlocal looked_at
        looked_at += records

    def send(batch: PreparedBatch[DeadLetter] | UnavailableError | None) -> None:
        """One batch, or why it ends; None when all were read."""
        nonlocal looked_at
        sending.send((looked_at, batch))
        looked_at = 0

    pipeline = Pipeline(settings, Registries.of(settings))
    pipeline.cluster_id = cluster_id
    with suppress(BrokenPipeError):
        try:
            with closing(DeadLetterTopic(settings)) as topic:
                with closing(ResolutionTopic(settings)) as resolutions:
                    batches = selected_now(
                        topic,
                        resolutions,
                        selection,
                        ranges,
                        cases=Cases(topic.name, whole, selection),
                        max_replays=max_replays,
                        on_read=count,
                    )
                pauses = PauseFile(settings, telemetry=Telemetry())
                for batch in prepared_batches(batches, DryRun(pipeline, topic.fetch_origin, pauses)):
                    send(batch._replace(prepared=[slim(each) for each in batch.prepared]))
                    if batch.problem is not None:
                        time.sleep(PROBLEM_WAIT_S)  # what is missing may come, on another thread
            send(None)
        except UnavailableError as error:
            send(error)


if __name__ == "__main__":
    process.install_excepthooks()
    _serve(Connection(int(sys.argv[1]), readable=False))
