"""Letters of a dead-letter topic in memory, with their resolutions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from connector.dead_letters.format import letter
from connector.dead_letters.resolutions import DeadLetterState, Resolution, ResolutionTable
from connector.errors import Code
from connector.model import Headers, Partition, Position, Ranges, Record
from tests.failures import failed

TOPIC = "orders.dlt"
ORIGIN = Position(Partition("orders", 3), 1042)
NOW_MS = 1_795_342_502_000

FAILURE = failed(
    at_ms=NOW_MS,
    event_id="c/orders/0/0",
    source="aws.partner/example.com/acme",
    detail_type="Order PAID",
)
CONNECT: Headers = (
    ("trace", b"1"),
    ("__connect.errors.topic", b"orders"),
    ("__connect.errors.partition", b"3"),
    ("__connect.errors.offset", b"99"),
    ("__connect.errors.connector.name", b"old-sink"),
    ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
    ("__connect.errors.exception.stacktrace", b"at com.example"),
)


def at(offset: int, number: int = 0) -> Position:
    return Position(Partition(TOPIC, number), offset)


def written(
    offset: int = 0,
    *,
    number: int = 0,
    origin: Position = ORIGIN,
    key: bytes | None = b"key",
    at_ms: int = NOW_MS,
    code: Code = "template_null",
    attempts: int = 0,
    source: str | None = "aws.partner/example.com/acme",
    detail_type: str | None = "Order PAID",
    replay_count: int = 0,
    event_id: str | None = None,
) -> Record:
    """A record of the dead-letter topic; by default each place has the letter of another record."""
    headers = () if not replay_count else (("partner-bridge.replay-count", b"%d" % replay_count),)
    record = Record(origin.partition, origin.offset, NOW_MS, key, b"value", headers)
    failure = replace(FAILURE, code=code, attempts=attempts, source=source, detail_type=detail_type)
    failure = replace(failure, event_id=event_id or f"c/orders/{number}/{offset}")
    made = letter(record, failure, bridge_name="orders-bridge", version="1")
    return Record(Partition(TOPIC, number), offset, at_ms, made.key, made.value, made.headers)


def foreign(offset: int = 0, *headers: tuple[str, bytes | None]) -> Record:
    return Record(Partition(TOPIC, 0), offset, NOW_MS, b"key", b"value", headers)


def resolution(state: DeadLetterState, *, written_ms: int = NOW_MS) -> Resolution:
    return Resolution(state=state, at_ms=NOW_MS, written_ms=written_ms)


def table(**states: DeadLetterState) -> ResolutionTable:
    """What became of letters of partition 0, as `_3=State.DELIVERED`."""
    resolved = ResolutionTable(TOPIC, {0: (0, 100)})
    for name, state in states.items():
        resolved.note(at(int(name[1:])), resolution(state))
    return resolved


class Letters:
    """A dead-letter topic in memory, which remembers what was read of it."""

    def __init__(self, *records: Record) -> None:
        self._records = records
        self.reads: list[tuple[Ranges, int | None]] = []

    def read(
        self, ranges: Ranges, *, since_ms: int | None, limit: int, timeout_s: float
    ) -> Iterator[Sequence[Record]]:
        self.reads.append((ranges, since_ms))
        for record in self._records:
            low, high = ranges.get(record.partition.number, (0, 0))
            if low <= record.offset < high and (record.timestamp_ms or 0) >= (since_ms or 0):
                yield [record]
        yield []
