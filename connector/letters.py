"""What a dead letter looks like. Pure.

A letter is the record as it arrived, key, value and headers byte for byte, with headers of ours that
say what failed: those of Kafka Connect, so that tools which read Connect's dead letters read these,
and more under `partner-bridge.`. `schemas/dead-letter.json` describes them.
https://kafka.apache.org/documentation/#connect_errantrecordreporter
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from connector.errors import Code, Stage
from connector.model import Headers, Partition, Position, Record

CONNECT = "__connect.errors."
OURS = "partner-bridge."

MAX_MESSAGE = 1_000
MAX_SOURCE = 256
MAX_DETAIL_TYPE = 128
"""Characters kept of each text; the last two are EventBridge's own limits."""

MAX_REPLAY_COUNT_DIGITS = 6

COMPONENTS: dict[Stage, str] = {
    "KEY_CONVERTER": "connector.avro",
    "VALUE_CONVERTER": "connector.avro",
    "TRANSFORMATION": "connector.mapping",
    "TASK_PUT": "connector.eventbridge",
}
"""What stands in Connect's `class.name`: the part of the bridge that was at work."""

NAMES: frozenset[str] = frozenset(
    [
        CONNECT + name
        for name in (
            *("topic", "partition", "offset", "connector.name", "task.id", "stage"),
            *("class.name", "exception.class.name", "exception.message"),
        )
    ]
    + [
        OURS + name
        for name in (
            *("code", "attempts", "timestamp", "first-failure", "last-failure", "request-id", "target"),
            *("source", "detail-type", "event-id", "version", "replay-count"),
            *("value-omitted", "key-omitted", "headers-omitted"),
        )
    ]
)
"""Every header a letter adds. A record that arrives with one of them has it replaced."""


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


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, ready to be written."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def letter(
    record: Record,
    failure: Failure,
    *,
    bridge_name: str,
    version: str,
    max_value_bytes: int | None = None,
) -> Letter:
    """The dead letter of a record; without its value where that is over `max_value_bytes`.

    Headers that arrived come first, in their order. Ours replace those of an earlier letter, all but
    `replay-count`, which is kept. The letter gets the time at which it is written: with the record's
    own, retention might delete it at once.
    """
    arrived = tuple(header for header in record.headers if header[0] not in NAMES)
    texts = {
        CONNECT + "topic": record.partition.topic,
        CONNECT + "partition": str(record.partition.number),
        CONNECT + "offset": str(record.offset),
        CONNECT + "connector.name": bridge_name,
        CONNECT + "task.id": "0",
        CONNECT + "stage": failure.stage,
        CONNECT + "class.name": COMPONENTS[failure.stage],
        CONNECT + "exception.class.name": failure.exception_class,
        CONNECT + "exception.message": _capped(failure.message, MAX_MESSAGE),
        OURS + "code": failure.code,
        OURS + "attempts": str(failure.attempts),
        OURS + "timestamp": None if record.timestamp_ms is None else str(record.timestamp_ms),
        OURS + "first-failure": str(failure.first_failure_ms),
        OURS + "last-failure": str(failure.last_failure_ms),
        OURS + "request-id": failure.request_id,
        OURS + "target": failure.target,
        OURS + "source": _capped(failure.source, MAX_SOURCE),
        OURS + "detail-type": _capped(failure.detail_type, MAX_DETAIL_TYPE),
        OURS + "event-id": failure.event_id,
        OURS + "version": version,
        OURS + "replay-count": str(
            _number(record.headers, OURS + "replay-count", MAX_REPLAY_COUNT_DIGITS) or 0
        ),
    }
    # A text from JSON may hold half a surrogate pair, which UTF-8 cannot.
    added = tuple((name, text.encode("utf-8", "replace")) for name, text in texts.items() if text is not None)
    whole = Letter(record.key, record.value, arrived + added)
    is_too_large = max_value_bytes is not None and len(record.value or b"") > max_value_bytes
    return without_value(whole) if is_too_large else whole


def without_value(written: Letter) -> Letter:
    """The letter without its value; a header has size and SHA-256 of what is left out.

    The record can be read again at its origin while it is retained there.
    """
    if written.value is None:
        return written
    omitted = (OURS + "value-omitted", _digest(written.value))
    return Letter(written.key, None, (*written.headers, omitted))


def smaller(written: Letter) -> Letter | None:
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
        headers.append((OURS + "key-omitted", _digest(written.key)))
    if arrived:
        headers.append((OURS + "headers-omitted", b"count=%d" % len(arrived)))
    return Letter(None, None, tuple(headers))


def original_position(headers: Headers) -> Position | None:
    """Where the record of a letter came from; None where the headers do not say."""
    topic = dict(headers).get(CONNECT + "topic")
    number = _number(headers, CONNECT + "partition", 10)
    offset = _number(headers, CONNECT + "offset", 19)
    if not topic or number is None or offset is None:
        return None
    return Position(Partition(topic.decode("utf-8", "replace"), number), offset)


def _number(headers: Headers, name: str, max_digits: int) -> int | None:
    text = dict(headers).get(name) or b""
    return int(text) if text.isdigit() and len(text) <= max_digits else None


def _digest(content: bytes) -> bytes:
    return f"size={len(content)};sha256={hashlib.sha256(content).hexdigest()}".encode()


def _capped(text: str | None, limit: int) -> str | None:
    return text if text is None or len(text) <= limit else text[: limit - 1] + "…"
