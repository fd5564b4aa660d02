"""One dead letter: the headers that say what happened, written and read.

`schemas/dead-letter.json` describes them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from connector.delivery.pending import PendingEntry
from connector.errors import (
    OF_SOURCES,
    Code,
    ConnectorError,
    RecordError,
    Stage,
)
from connector.model import Headers, Partition, Position, Record, now_ms, partition_of

CONNECT = "__connect.errors."
OURS = "partner-bridge."

MAX_MESSAGE = 1_000
MAX_SOURCE = 256
MAX_DETAIL_TYPE = 128
"""Characters kept of each text; the last two are EventBridge's own limits."""

MAX_PARTITION_DIGITS = 10
MAX_OFFSET_DIGITS = 19
MAX_REPLAY_COUNT_DIGITS = 6

CODE_CONNECT = "connect"
"""The code of a letter that has the headers of Kafka Connect only: a sink wrote it, not a bridge."""

COMPONENTS: dict[Stage, str] = {
    "KEY_CONVERTER": "connector.avro",
    "VALUE_CONVERTER": "connector.avro",
    "TRANSFORMATION": "connector.mapping",
    "TASK_PUT": "connector.eventbridge",
}
"""What stands in Connect's `class.name`: the part of the bridge that was at work."""

_TOPIC, _PARTITION, _OFFSET = CONNECT + "topic", CONNECT + "partition", CONNECT + "offset"
_BRIDGE, _TASK, _STAGE = CONNECT + "connector.name", CONNECT + "task.id", CONNECT + "stage"
_COMPONENT, _CLASS = CONNECT + "class.name", CONNECT + "exception.class.name"
_MESSAGE = CONNECT + "exception.message"
_CODE, _ATTEMPTS, TIMESTAMP = OURS + "code", OURS + "attempts", OURS + "timestamp"
_FIRST, _LAST = OURS + "first-failure", OURS + "last-failure"
_REQUEST_ID, _TARGET, _SOURCE = OURS + "request-id", OURS + "target", OURS + "source"
_DETAIL_TYPE, EVENT_ID, _VERSION = OURS + "detail-type", OURS + "event-id", OURS + "version"
REPLAY_COUNT, RESEND = OURS + "replay-count", OURS + "resend"
_VALUE_OMITTED, _KEY_OMITTED = OURS + "value-omitted", OURS + "key-omitted"
_HEADERS_OMITTED = OURS + "headers-omitted"

NAMES = frozenset(
    {
        *(_TOPIC, _PARTITION, _OFFSET, _BRIDGE, _TASK, _STAGE, _COMPONENT, _CLASS, _MESSAGE, _CODE),
        *(_ATTEMPTS, TIMESTAMP, _FIRST, _LAST, _REQUEST_ID, _TARGET, _SOURCE, _DETAIL_TYPE, EVENT_ID),
        *(_VERSION, REPLAY_COUNT, RESEND, _VALUE_OMITTED, _KEY_OMITTED, _HEADERS_OMITTED),
    }
)
"""Every header a letter adds. A record that arrives with one of them has it replaced."""

_RESEND_ID = re.compile(rb"[0-9a-f]{16}")
_OMITTED = frozenset({_VALUE_OMITTED, _KEY_OMITTED, _HEADERS_OMITTED})
RESENT = (EVENT_ID, _FIRST)
"""The headers that are asked for, beyond the label, when a letter is sent again."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record could not be delivered.

    No text in it holds a field value of the record, but for `source` and `detail_type`, which the
    mapping made of them and which name the event in EventBridge.
    """

    code: Code
    stage: Stage
    message: str
    exception_class: str
    attempts: int
    """Failed attempts to send it; 0 when it never got that far."""
    first_failure_ms: int
    """Unix time in milliseconds, as is `last_failure_ms`."""
    last_failure_ms: int
    request_id: str | None
    """EventBridge's id of the last request it was part of."""
    target: str | None
    source: str | None
    detail_type: str | None
    event_id: str | None
    """The stable id of the event, made from the record's position."""

    @classmethod
    def of(
        cls,
        error: RecordError,
        *,
        event_id: str | None,
        pending: PendingEntry | None = None,
        request_id: str | None = None,
        earlier_attempts: int = 0,
        first_failure_ms: int | None = None,
    ) -> Failure:
        """Describe an error; `earlier_attempts` and `first_failure_ms` are of an earlier dead letter."""
        at_ms = now_ms()
        entry = pending.entry if pending else None
        return cls(
            code=error.code,
            stage=error.stage,
            message=str(error),
            exception_class=type(error).__name__,
            attempts=earlier_attempts + (pending.tries if pending else 0),
            first_failure_ms=first_failure_ms or (pending and pending.first_failure_ms) or at_ms,
            last_failure_ms=at_ms,
            request_id=request_id,
            target=entry.target if entry else None,
            source=entry.source if entry else None,
            detail_type=entry.detail_type if entry else None,
            event_id=event_id,
        )


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """A dead letter, ready to be written."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def letter(record: Record, failure: Failure, *, bridge_name: str, version: str) -> DeadLetterRecord:
    """The dead letter of a record.

    Headers that arrived come first, in their order. Ours replace those of an earlier letter, all but
    `replay-count` and `resend`, which are kept. The letter gets the time at which it is written: with the
    record's own, retention might delete it at once.
    """
    arrived = tuple(header for header in record.headers if header[0] not in NAMES)
    given = dict(record.headers)
    texts = {
        _TOPIC: record.partition.topic,
        _PARTITION: str(record.partition.number),
        _OFFSET: str(record.offset),
        _BRIDGE: bridge_name,
        _TASK: "0",
        _STAGE: failure.stage,
        _COMPONENT: COMPONENTS[failure.stage],
        _CLASS: failure.exception_class,
        _MESSAGE: _capped(failure.message, MAX_MESSAGE),
        _CODE: failure.code,
        _ATTEMPTS: str(failure.attempts),
        TIMESTAMP: None if record.timestamp_ms is None else str(record.timestamp_ms),
        _FIRST: str(failure.first_failure_ms),
        _LAST: str(failure.last_failure_ms),
        _REQUEST_ID: failure.request_id,
        _TARGET: failure.target,
        _SOURCE: _capped(failure.source, MAX_SOURCE),
        _DETAIL_TYPE: _capped(failure.detail_type, MAX_DETAIL_TYPE),
        EVENT_ID: failure.event_id,
        _VERSION: version,
        REPLAY_COUNT: str(_digits(given.get(REPLAY_COUNT), MAX_REPLAY_COUNT_DIGITS) or 0),
        RESEND: _resend_id(given.get(RESEND)),
    }
    # A text from JSON may hold half a surrogate pair, which UTF-8 cannot.
    added = tuple((name, text.encode("utf-8", "replace")) for name, text in texts.items() if text is not None)
    return DeadLetterRecord(record.key, record.value, arrived + added)


def without_value(written: DeadLetterRecord) -> DeadLetterRecord:
    """The letter without its value; a header has size and SHA-256 of what is left out.

    The record can be read again at its origin while it is retained there.
    """
    if written.value is None:
        return written
    omitted = (_VALUE_OMITTED, _digest(written.value))
    return DeadLetterRecord(written.key, None, (*written.headers, omitted))


def smaller(written: DeadLetterRecord) -> DeadLetterRecord | None:
    """The letter with less in it, for a topic that refuses its size; None when nothing can go.

    First goes the value, then the key and the headers that arrived. Our headers alone are at most
    a few KB.
    """
    if written.value is not None:
        return without_value(written)
    arrived = [header for header in written.headers if header[0] not in NAMES]
    if written.key is None and not arrived:
        return None
    headers = [header for header in written.headers if header[0] in NAMES]
    if written.key is not None:
        headers.append((_KEY_OMITTED, _digest(written.key)))
    if arrived:
        headers.append((_HEADERS_OMITTED, b"count=%d" % len(arrived)))
    return DeadLetterRecord(None, None, tuple(headers))


class UnreadableLetter(ConnectorError):  # noqa: N818 - it names what was found
    """A record in the dead-letter topic whose headers do not say where it came from."""


class DeadLetterInfo(NamedTuple):
    """The headers that filters and totals need, read in a fifth of the time of a whole dead letter."""

    code: str
    """One of `errors.CODES`, or `connect`, or one that a newer version of the bridge knows."""
    topic: str
    """Of the record's origin, as are `partition` and `offset`."""
    partition: int
    offset: int
    source: str | None
    detail_type: str | None
    attempts: int
    replay_count: int
    """How often it was replayed already and failed again."""
    bridge: str | None
    """Name of the bridge, or connector, that wrote it."""


class DeadLetter(NamedTuple):
    """A dead letter, read back. What few callers ask for is read from its headers when they do."""

    id: Position
    """Where it is in the dead-letter topic."""
    record: Record
    """The record as it was read at its origin: origin's position and timestamp, headers without ours."""
    written_ms: int
    """When the letter was written, Unix time in milliseconds; 0 where the topic keeps no timestamps."""
    label: DeadLetterInfo
    ours: Mapping[str, bytes | None]
    """The headers of the letter, those we added among them, by name."""

    @property
    def message(self) -> str:
        return _text(self.ours, _MESSAGE) or _text(self.ours, _CLASS) or ""

    @property
    def first_failure_ms(self) -> int:
        return _digits(self.ours.get(_FIRST), 15) or self.written_ms

    @property
    def last_failure_ms(self) -> int:
        return _digits(self.ours.get(_LAST), 15) or self.written_ms

    @property
    def event_id(self) -> str | None:
        """The stable id of the event; None where a sink of Kafka Connect wrote the letter."""
        return _text(self.ours, EVENT_ID)

    @property
    def target(self) -> str | None:
        """Where its event was sent; None where it failed before that was made."""
        return _text(self.ours, _TARGET)

    @property
    def only_if_active(self) -> bool:
        """Whether it was written because its source was closed: it waits until that is seen to be ACTIVE."""
        return self.label.code in OF_SOURCES

    @property
    def is_value_omitted(self) -> bool:
        """Whether something of the record has to be read again at its origin."""
        return not _OMITTED.isdisjoint(self.ours)


def label(written: Record) -> DeadLetterInfo:
    """Read the headers that filters and totals need.

    Raises:
        UnreadableLetter: the headers do not say where the record came from.
    """
    return _label(dict(written.headers))


def read(written: Record, found: DeadLetterInfo | None = None) -> DeadLetter:
    """Read a record of the dead-letter topic as a letter, ours or one of Kafka Connect.

    Where a sink wrote it, the times are those of the record, and `code` is `connect`. `found` is its
    label, where that was read before.

    Raises:
        UnreadableLetter: the headers do not say where the record came from.
    """
    raw = dict(written.headers)
    label = found or _label(raw)
    if raw.get(_CODE):
        original_ms = _digits(raw.get(TIMESTAMP), 15)
        # Most records arrive without headers, which is quicker to see in one go.
        arrived = () if NAMES.issuperset(raw) else tuple([h for h in written.headers if h[0] not in NAMES])
    else:
        original_ms = written.timestamp_ms
        arrived = tuple([h for h in written.headers if not h[0].startswith(CONNECT) and h[0] not in NAMES])
    origin = partition_of(label.topic, label.partition)
    return DeadLetter(
        Position(written.partition, written.offset),
        Record(origin, label.offset, original_ms, written.key, written.value, arrived),
        written.timestamp_ms or 0,
        label,
        raw,
    )


def restored(found: DeadLetter, origin: Record) -> DeadLetter | None:
    """The letter, whole, with what was left out of its record as it was read again at the origin.

    None where what is at the origin now is another record: its topic was made anew.
    """
    key, value, headers = found.record.key, found.record.value, found.record.headers
    if (digest := found.ours.get(_VALUE_OMITTED)) is not None:
        value = origin.value
        if value is None or _digest(value) != digest:
            return None
    if (digest := found.ours.get(_KEY_OMITTED)) is not None:
        key = origin.key
        if key is None or _digest(key) != digest:
            return None
    if _HEADERS_OMITTED in found.ours:
        headers = origin.headers
    record = found.record._replace(key=key, value=value, headers=headers)
    return found._replace(record=record, ours={n: v for n, v in found.ours.items() if n not in _OMITTED})


def letter_id(position: Position) -> str:
    """A letter's name everywhere, as `orders-bridge.dlt/3/1042`."""
    (topic, number), offset = position
    return f"{topic}/{number}/{offset}"


def parse_id(text: str) -> Position | None:
    """The position that `letter_id` wrote; None where the text is none of its."""
    topic, _, rest = text.partition("/")
    number, _, offset = rest.partition("/")
    if not topic or not _is_number(number, MAX_PARTITION_DIGITS) or not _is_number(offset, MAX_OFFSET_DIGITS):
        return None
    return Position(Partition(topic, int(number)), int(offset))


def _label(raw: dict[str, bytes | None]) -> DeadLetterInfo:
    get = raw.get
    topic = get(_TOPIC)
    number = _digits(get(_PARTITION), MAX_PARTITION_DIGITS)
    offset = _digits(get(_OFFSET), MAX_OFFSET_DIGITS)
    if not topic or number is None or offset is None:
        raise UnreadableLetter(_why_unreadable(raw))
    code, source, detail_type, bridge = get(_CODE), get(_SOURCE), get(_DETAIL_TYPE), get(_BRIDGE)
    return DeadLetterInfo(
        CODE_CONNECT if not code else code.decode("utf-8", "replace"),
        topic.decode("utf-8", "replace"),
        number,
        offset,
        None if source is None else source.decode("utf-8", "replace"),
        None if detail_type is None else detail_type.decode("utf-8", "replace"),
        _digits(get(_ATTEMPTS), 10) or 0,
        _digits(get(REPLAY_COUNT), MAX_REPLAY_COUNT_DIGITS) or 0,
        None if bridge is None else bridge.decode("utf-8", "replace"),
    )


def _text(raw: Mapping[str, bytes | None], name: str) -> str | None:
    text = raw.get(name)
    return None if text is None else text.decode("utf-8", "replace")


def _digits(text: bytes | None, max_digits: int) -> int | None:
    return int(text) if text is not None and text.isdigit() and len(text) <= max_digits else None


def _resend_id(text: bytes | None) -> str | None:
    return text.decode() if text is not None and _RESEND_ID.fullmatch(text) else None


def _is_number(text: str, max_digits: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= max_digits


def _why_unreadable(raw: dict[str, bytes | None]) -> str:
    missing = [name for name in (_TOPIC, _PARTITION, _OFFSET) if not raw.get(name)]
    if missing:
        return f"it has no header {missing[0]}, so nothing says where it came from"
    return f"its headers {_PARTITION} and {_OFFSET} are no numbers"


def _digest(content: bytes) -> bytes:
    return f"size={len(content)};sha256={hashlib.sha256(content).hexdigest()}".encode()


def _capped(text: str | None, limit: int) -> str | None:
    return text if text is None or len(text) <= limit else text[: limit - 1] + "…"
