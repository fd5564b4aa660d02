"""EventBridge's rules for one entry of PutPartnerEvents, most of which boto3 does not check.

A shape that EventBridge's API does not allow fails the *whole request*, with up to 19 innocent
neighbours, so nothing leaves that was not checked here.
Source of the rules: the API model of PutPartnerEventsRequestEntry, and for the size
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size
"""

from __future__ import annotations

from functools import lru_cache

import orjson

from connector.config.entry_rules import (
    MAX_DETAIL_TYPE_CHARACTERS,
    MAX_RESOURCE_CHARACTERS,
    MAX_SOURCE_CHARACTERS,
    SOURCE_FORM,
    SOURCE_NAME,
)
from connector.errors import Code, MappingError, OversizeError
from connector.model import END_OF_TIME_S, Entry, Event, new_tuple

TIME_BYTES = 14
"""The bytes that a Time counts for, whatever its value."""


def entry(event: Event, *, max_event_bytes: int, target: str = "default") -> Entry:
    """Check an event against every limit and write it as it will stand in the request.

    The size is counted as EventBridge does: 14 bytes for a Time, and the UTF-8 bytes of Source,
    DetailType, Detail and every one of Resources. JSON's own quotes and escapes do not count.

    Raises:
        MappingError: source_invalid, source_too_long, detail_type_invalid, detail_type_too_long,
            resource_invalid, resource_too_long, detail_invalid, time_out_of_range.
        OversizeError: event_too_large.
    """
    source, detail_type, time_s, resources, detail, _ = event
    size_bytes = _checked_source(source) + len(detail)

    if not 0 < len(detail_type) <= MAX_DETAIL_TYPE_CHARACTERS:
        raise _detail_type_error(detail_type)
    size_bytes += (
        len(detail_type) if detail_type.isascii() else _utf8_bytes(detail_type, "detail_type_invalid")
    )

    members: dict[str, object] = {}
    if time_s is not None:
        if not 0 <= time_s < END_OF_TIME_S:  # also false for NaN, which JSON cannot hold
            raise MappingError(
                "time_out_of_range",
                "The event's time is not between the years 1970 and 9999. Correct `event.time`.",
            )
        size_bytes += TIME_BYTES
        members["Time"] = time_s
    members["Source"] = source
    if resources:
        for number, resource in enumerate(resources):
            if not 0 < len(resource) <= MAX_RESOURCE_CHARACTERS:
                raise _resource_error(resource, number)
            size_bytes += len(resource) if resource.isascii() else _utf8_bytes(resource, "resource_invalid")
        members["Resources"] = resources
    members["DetailType"] = detail_type

    if not detail.startswith(b"{"):
        raise MappingError(
            "detail_invalid",
            "The detail is not a JSON object, and EventBridge takes nothing else. Wrap it in one.",
        )
    if size_bytes > max_event_bytes:
        raise OversizeError(
            "event_too_large",
            f"The event counts {size_bytes} bytes with a detail of {len(detail)}; "
            f"`eventbridge.max_event_bytes` allows {max_event_bytes}. Send less of the record in "
            "`event.detail`, or raise the limit where the account has the 1 MB limit.",
        )
    try:
        members["Detail"] = detail.decode()
    except UnicodeDecodeError as error:
        raise MappingError(
            "detail_invalid", f"The detail is not UTF-8: byte {error.start} is not valid there."
        ) from None
    # A copy, since orjson's own bytes keep the buffer they were written in: 4 KB for 0.5, and
    # thousands of entries may wait.
    json = bytes(memoryview(orjson.dumps(members)))
    return new_tuple(Entry, (source, detail_type, json, size_bytes, target, None))


@lru_cache(maxsize=4096)
def _checked_source(source: str) -> int:
    """The size of a legal source. Cached: a topic has few sources and many events."""
    length = len(source)
    if length > MAX_SOURCE_CHARACTERS:
        raise MappingError(
            "source_too_long",
            f"The source has {length} characters; EventBridge allows {MAX_SOURCE_CHARACTERS}. Shorten "
            "`event.source`.",
        )
    if not SOURCE_NAME.fullmatch(source):
        raise MappingError(
            "source_invalid",
            f"The source of {length} characters is not {SOURCE_FORM}. Correct `event.source`.",
        )
    return length


def _detail_type_error(detail_type: str) -> MappingError:
    if not detail_type:
        return MappingError(
            "detail_type_invalid",
            f"The detail type is empty; EventBridge wants 1 to {MAX_DETAIL_TYPE_CHARACTERS} characters. Give "
            "`event.detail_type` a default with `||`.",
        )
    return MappingError(
        "detail_type_too_long",
        f"The detail type has {len(detail_type)} characters; EventBridge allows "
        f"{MAX_DETAIL_TYPE_CHARACTERS}. Shorten `event.detail_type`.",
    )


def _resource_error(resource: str, number: int) -> MappingError:
    where = f"`event.resources[{number}]`"
    if not resource:
        return MappingError(
            "resource_invalid", f"{where} is empty. Leave it out, or give it a default with `||`."
        )
    return MappingError(
        "resource_too_long",
        f"{where} has {len(resource)} characters; EventBridge allows {MAX_RESOURCE_CHARACTERS}. Shorten it.",
    )


def _utf8_bytes(text: str, code: Code) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        # `from None`: the cause holds the text.
        raise MappingError(
            code, f"Character {error.start} is half of a surrogate pair, which UTF-8 cannot hold."
        ) from None
