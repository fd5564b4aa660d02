"""One dead letter as `list --json` and `show` report it."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import orjson

from connector.cli.dead_letters_session import DeadLetterSession
from connector.dead_letters.dry_run import DryRun, PassedOver, expected
from connector.dead_letters.format import CODE_CONNECT, NAMES, DeadLetter, letter_id
from connector.dead_letters.resolutions import DeadLetterState, Resolution
from connector.dead_letters.selection import StoredDeadLetter
from connector.delivery.pauses import PauseFile
from connector.errors import MEANINGS, Code, RecordError, UnavailableError
from connector.formats.schema_cache import with_schema
from connector.model import Json, Record, iso
from connector.pipeline import Dropped

MAX_DEPTH = 6
MAX_FIELDS = 50
"""Of a shape; what is deeper or longer is summed up."""


def summary(found: StoredDeadLetter) -> dict[str, Json]:
    """Report a letter as `list --json` does. The id comes first: `--ids` reads it there."""
    start: dict[str, Json] = {"id": letter_id(found.id), "state": found.state.label}
    written = iso(found.written_ms)
    letter = found.letter
    if letter is None:
        return start | {"code": "unreadable", "message": found.problem, "written": written}
    (topic, partition), offset = letter.record.position
    return start | {
        "code": letter.label.code,
        "message": letter.message,
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "timestamp": None if letter.record.timestamp_ms is None else iso(letter.record.timestamp_ms),
        "source": letter.label.source,
        "detail_type": letter.label.detail_type,
        "attempts": letter.label.attempts,
        "first_failure": iso(letter.first_failure_ms),
        "last_failure": iso(letter.last_failure_ms),
        "written": written,
        "replay_count": letter.label.replay_count,
        "event_id": letter.event_id,
        "bridge": letter.label.bridge,
        "key_bytes": _size(letter.record.key),
        "value_bytes": _size(letter.record.value),
        "value_omitted": letter.is_value_omitted,
    }


def full_report(
    session: DeadLetterSession, found: StoredDeadLetter, resolution: Resolution | None, *, payload: bool
) -> dict[str, Json]:
    """Report a letter as `show` does: also its headers, its record, and the event it would become now.

    Values of the record are left out without `payload`.
    """
    report = summary(found)
    letter = found.letter
    if letter is not None:
        report["meaning"] = _meaning(letter.label.code)
    if resolution is not None and found.state not in {DeadLetterState.OPEN, DeadLetterState.PARKED}:
        report["resolution"] = {
            "at": iso(resolution.at_ms),
            "event_id": resolution.event_id,
            "reason": resolution.reason,
            "who": resolution.who,
        }
    report["headers"] = {name: _text(value) for name, value in found.record.headers if name in NAMES}
    if letter is None:
        return report
    report["headers_arrived"] = [
        {"name": name, "value": _text(value)} if payload else {"name": name, "bytes": _size(value)}
        for name, value in letter.record.headers
    ]
    from connector.telemetry.metrics import Telemetry  # noqa: PLC0415 - `list` needs no metrics

    pauses = PauseFile(session.settings, telemetry=Telemetry())
    dry_run = DryRun(session.pipeline, session.topic.fetch_origin, pauses)
    try:
        letter = dry_run.whole(letter)
    except PassedOver as error:
        return report | {"now": {"outcome": "cannot be sent", "why": str(error)}}
    for name, decode in (("key", session.pipeline.decode_key), ("value", session.pipeline.decode_value)):
        report[name] = _decoded(decode, letter.record, payload=payload)
    return report | {"now": _outcome(session, dry_run, letter, payload=payload)}


def _decoded(decode: Callable[[Record], Json], record: Record, *, payload: bool) -> Json:
    """Report a key or value; where it cannot be decoded, the error stands in its place."""
    try:
        decoded = with_schema(lambda: decode(record))
    except (RecordError, UnavailableError) as error:
        return {"cannot_be_decoded": str(error)}
    return decoded if payload else _shape(decoded)


def _outcome(session: DeadLetterSession, dry_run: DryRun, letter: DeadLetter, *, payload: bool) -> Json:
    """Report the outcome of a replay with the current configuration."""
    try:
        (_, result), status = with_schema(
            lambda: expected(dry_run(letter), dry_run.pipeline, session.source_status)
        )
    except UnavailableError as error:
        return {"outcome": "cannot be said now", "why": str(error)}
    match result:
        case RecordError():
            return {"outcome": "would fail again", "code": result.code, "why": str(result)}
        case PassedOver():
            return {"outcome": "would be left open", "why": str(result)}
        case Dropped():
            return {"outcome": "would not be sent", "why": f"the topic's `{result.reason}` rule drops it"}
    entry = cast("dict[str, Json]", orjson.loads(result.json))
    detail = cast("Json", orjson.loads(cast("str", entry.pop("Detail"))))
    return {
        "outcome": "would be sent",
        **({"source": f"may not be looked up: {status.reason}"} if status and status.is_denied else {}),
        "event_id": dry_run.event_id(letter),
        "size_bytes": result.size_bytes,
        "entry": entry | {"Detail": detail if payload else _shape(detail)},
    }


def _shape(value: Json, depth: int = 0) -> Json:
    """Describe a value by names, kinds and sizes, which anybody may see."""
    match value:
        case dict() if depth < MAX_DEPTH:
            shown: dict[str, Json] = {
                name: _shape(field, depth + 1) for name, field in list(value.items())[:MAX_FIELDS]
            }
            return shown | ({"…": f"{len(value) - MAX_FIELDS} more"} if len(value) > MAX_FIELDS else {})
        case list() if depth < MAX_DEPTH and value:
            return [f"{len(value)} of", _shape(value[0], depth + 1)]
        case dict() | list():
            return f"{'object' if isinstance(value, dict) else 'list'} of {len(value)}"
        case str():
            return f"text of {len(value)}"
        case bool():
            return "true or false"
        case int() | float():
            return "number"
        case None:
            return None


def _meaning(code: str) -> str:
    if code == CODE_CONNECT:
        return "A sink of Kafka Connect gave it up; the message is all it says."
    return MEANINGS.get(cast("Code", code), "This version of the bridge does not know the code.")


def _size(content: bytes | None) -> int | None:
    return None if content is None else len(content)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")
