"""What EventBridge checks of a PutPartnerEvents request, and in which words it refuses.

A request that breaks the shape of the API is refused as a whole; an entry that is well-formed and
wrong is refused alone. Limits and texts: the service model of the API, and
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html. For texts that only
PutEvents has shown, the same is assumed here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from connector.sandbox.awsjson import ApiError
from connector.sandbox.faults import OVER_LIMIT

MAX_ENTRIES = 20
MAX_DEPTH = 1000
LATEST_TIME_S = 253_402_300_799
"""The last second of the year 9999."""
SOURCE_PATTERN = r"aws\.partner(/[\.\-_A-Za-z0-9]+){2,}"
_SOURCE = re.compile(SOURCE_PATTERN)
_REQUIRED = ("Source", "DetailType", "Detail")

Entry = Mapping[str, Any]


class EntryRefusal(NamedTuple):
    """Why one entry is not taken."""

    code: str
    message: str


def parse(body: bytes) -> dict[str, Any]:
    """The members of a request. Raises ApiError where the body is no JSON object."""
    try:
        parsed = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ApiError("SerializationException", "Unexpected token or type in the request body.")
    return parsed


def check_request(members: Mapping[str, Any], *, max_bytes: int) -> Sequence[Entry]:
    """The entries of a well-formed request, in order.

    Raises ApiError for what costs the whole request: count, types, Source, resources, total size.
    """
    entries = members.get("Entries")
    if entries is None:
        raise invalid(["Value null at 'entries' failed to satisfy constraint: Member must not be null"])
    if not isinstance(entries, list):
        raise ApiError("SerializationException", "Start of list found where not expected")
    violations = []
    if not entries:
        violations.append(_length("[]", "entries", "greater than or equal to 1"))
    if len(entries) > MAX_ENTRIES:
        violations.append(_length("[...]", "entries", f"less than or equal to {MAX_ENTRIES}"))
    size_bytes = 0
    for number, entry in enumerate(entries, 1):
        size_bytes += _check_shape(entry, number, violations)
    if violations:
        raise invalid(violations)
    if size_bytes > max_bytes:
        raise ApiError("ValidationException", OVER_LIMIT)
    return entries


def check_entry(entry: Entry) -> EntryRefusal | None:
    """Why this well-formed entry is refused; None where it is taken."""
    detail = entry.get("Detail")
    if detail is None or not entry.get("Source") or not entry.get("DetailType"):
        missing = next(name for name in _REQUIRED if not entry.get(name))
        return EntryRefusal(
            "InvalidArgument", f"Parameter {missing} is not valid. Reason: {missing} is a required argument."
        )
    if len(entry["DetailType"]) > 128:
        return EntryRefusal(
            "InvalidArgument",
            "Parameter DetailType is not valid. Reason: DetailType must have length less than or equal "
            "to 128.",
        )
    if not _is_object(detail):
        return EntryRefusal("MalformedDetail", "Detail is malformed.")
    return None


def invalid(violations: Sequence[str]) -> ApiError:
    """The ValidationException that lists these violations of the API's shape."""
    noun = "error" if len(violations) == 1 else "errors"
    return ApiError(
        "ValidationException", f"{len(violations)} validation {noun} detected: {'; '.join(violations)}"
    )


@lru_cache(maxsize=65536)
def source_violations(source: str, where: str) -> tuple[str, ...]:
    """What is wrong with the name of a partner event source; empty where nothing is."""
    found = []
    if not source:
        found.append(_length(source, where, "greater than or equal to 1"))
    if len(source) > 256:
        found.append(_length(source, where, "less than or equal to 256"))
    if not _SOURCE.fullmatch(source):
        found.append(
            f"Value '{source}' at '{where}' failed to satisfy constraint: Member must satisfy regular "
            f"expression pattern: {SOURCE_PATTERN}"
        )
    return tuple(found)


def _check_shape(entry: object, number: int, violations: list[str]) -> int:
    """Adds what is wrong with the shape of an entry; answers its size as EventBridge counts it."""
    if not isinstance(entry, dict):
        raise ApiError("SerializationException", "Unrecognized collection type in the request body.")
    source, time_s, resources = entry.get("Source"), entry.get("Time"), entry.get("Resources")
    size_bytes = 0
    for text in (source, entry.get("DetailType"), entry.get("Detail")):
        if isinstance(text, str):
            size_bytes += len(text) if text.isascii() else len(text.encode())
        elif text is not None:
            raise ApiError("SerializationException", "Unrecognized type where a String is expected.")
    if source is not None and source_violations(source, "source"):
        violations.extend(source_violations(source, f"entries.{number}.member.source"))
    if time_s is not None:
        if type(time_s) not in {int, float} or not 0 <= time_s <= LATEST_TIME_S:
            raise ApiError("SerializationException", "Time can not be converted to a timestamp")
        size_bytes += 14
    if resources:
        size_bytes += _check_resources(resources, number, violations)
    return size_bytes


def _check_resources(resources: object, number: int, violations: list[str]) -> int:
    if not isinstance(resources, list) or not all(isinstance(each, str) for each in resources):
        raise ApiError("SerializationException", "Resources can not be converted to a list of String")
    if any(len(each) > 2048 for each in resources):
        violations.append(
            f"Value '[...]' at 'entries.{number}.member.resources' failed to satisfy constraint: Member must "
            "satisfy constraint: [Member must have length less than or equal to 2048]"
        )
    return sum(len(each.encode()) for each in resources)


def _is_object(detail: str) -> bool:
    try:
        parsed = orjson.loads(detail)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(parsed, dict):
        return False
    brackets = detail.count("{") + detail.count("[")
    return brackets <= MAX_DEPTH or _depth(parsed) <= MAX_DEPTH


def _depth(value: object) -> int:
    deepest, open_values = 0, [(value, 1)]
    while open_values:
        current, depth = open_values.pop()
        children = (
            current.values() if isinstance(current, dict) else current if isinstance(current, list) else None
        )
        if children is not None:
            deepest = max(deepest, depth)
            open_values.extend((child, depth + 1) for child in children)
    return deepest


def _length(value: str, where: str, bound: str) -> str:
    return f"Value '{value}' at '{where}' failed to satisfy constraint: Member must have length {bound}"
