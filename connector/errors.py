"""What can go wrong, sorted by what the bridge does about it.

    ConnectorError
    ├── ConfigError           before start; carries every problem at once            → exit 2
    ├── TransientError        the record is not at fault: the same again after a pause
    │   ├── ThrottledError        EventBridge asks for less
    │   └── UnavailableError      no answer, or none that can be trusted
    ├── RecordError           this record can never succeed                          → dead-letter topic
    │   ├── DecodeError           bytes → value
    │   ├── MappingError          value → event
    │   ├── OversizeError         event → entry: over a size limit
    │   └── RefusedError          EventBridge said no, and will say no again
    └── HaltError             going on would lose or flood                           → exit 3
        ├── NotAuthorizedError    credentials, IAM, Region or registration; never one record's fault
        ├── DeadLetterError       the dead-letter topic refuses us, or is being flooded
        └── InvariantError        our own bookkeeping is wrong

Anything else that escapes is a bug: exit 1, with a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

Code: TypeAlias = Literal[
    # bytes → value
    "framing_invalid",
    "schema_unknown",
    "schema_invalid",
    "schema_encrypted",
    "avro_invalid",
    "json_invalid",
    "text_invalid",
    "value_out_of_range",
    # value → event
    "tombstone",
    "template_null",
    "template_type",
    "template_failed",
    "time_out_of_range",
    "detail_invalid",
    "detail_too_deep",
    "target_unknown",
    # event → entry
    "source_invalid",
    "source_too_long",
    "detail_type_invalid",
    "detail_type_too_long",
    "resource_invalid",
    "resource_too_long",
    "event_too_large",
    # entry → EventBridge
    "entry_refused",
    "request_refused",
    "request_too_large",
    "source_unknown",
    "source_not_authorized",
    "source_inactive",
    "retries_exhausted",
]
"""Why a record was dead-lettered: a closed set, safe as a metric label and stable for scripts."""

Stage: TypeAlias = Literal["KEY_CONVERTER", "VALUE_CONVERTER", "TRANSFORMATION", "TASK_PUT"]

CODES: frozenset[str] = frozenset(get_args(Code))

OF_SOURCES: frozenset[Code] = frozenset({"source_inactive", "source_unknown", "source_not_authorized"})
"""Codes that say nothing about mapping or topic, however many there are: the customer's source is closed."""

MEANINGS: dict[Code, str] = {
    "framing_invalid": "The bytes do not begin as the topic's framing says.",
    "schema_unknown": "The registry has no schema under the id in the record.",
    "schema_invalid": "What the registry has under that id cannot be used as an Avro schema.",
    "schema_encrypted": "The schema has its producers encrypt fields, and `encrypted` is `refuse`.",
    "avro_invalid": "The bytes are not what the schema says: truncated, too long, or malicious.",
    "json_invalid": "The bytes are not JSON, or hold more than 500,000 values.",
    "text_invalid": "The bytes are not UTF-8.",
    "value_out_of_range": "A value its JSON form cannot hold, such as a year past 9999.",
    "tombstone": "The record has no value, and `tombstones` is `dead_letter`.",
    "template_null": "A template of source, detail type, time or resources found nothing.",
    "template_type": "A template found a value of the wrong type, or text that is no time.",
    "template_failed": "A JMESPath function failed on this record.",
    "time_out_of_range": "The event's time is before 1970 or after 9999, or `time_unit` does not fit it.",
    "detail_invalid": "The detail cannot be written as JSON, or has the metadata's key already.",
    "detail_too_deep": "The detail is nested too deeply.",
    "target_unknown": "The topic's `target` made a name that `targets` does not have.",
    "source_invalid": "The source does not have the form of a partner event source's name.",
    "source_too_long": "The source is longer than 256 characters.",
    "detail_type_invalid": "The detail type is empty.",
    "detail_type_too_long": "The detail type is longer than 128 characters.",
    "resource_invalid": "A resource is empty.",
    "resource_too_long": "A resource is longer than 2,048 characters.",
    "event_too_large": "The event is larger than `max_event_bytes`, as EventBridge counts it.",
    "entry_refused": "EventBridge refused this entry for good.",
    "request_refused": "EventBridge refused a request that held this entry alone.",
    "request_too_large": "EventBridge found a request that held this entry alone too large.",
    "source_unknown": "The source does not exist: never created, deleted, or expired.",
    "source_not_authorized": "EventBridge does not let this account send to the source.",
    "source_inactive": "The source is not ACTIVE: EventBridge would answer success and drop the event.",
    "retries_exhausted": "It failed again and again while others were accepted; see `retry.max_age` and "
    "`retry.max_attempts`.",
}
"""What each code means, in a sentence; also the table in docs/dead-letters.md."""


def why_failed(error: OSError) -> str:
    """The system's words for what is wrong with a file, to follow a colon."""
    return (error.strerror or "failed").lower()


class Verdict(StrEnum):
    """What the bridge does about a request that failed; also a label of the metric `requests_total`."""

    THROTTLED = "throttled"
    """Send less, and the same again later."""
    UNAVAILABLE = "unavailable"
    """The same again later."""
    OVERSIZE = "oversize"
    """Split the request; dead-letter a single entry."""
    REFUSED = "refused"
    """Something in it is wrong: split it; dead-letter a single entry."""
    HALTED = "halted"
    """Stop: the next request would fare no better."""


class ConnectorError(Exception):
    """Base of every error the bridge raises on purpose."""

    verdict: ClassVar[Verdict | None] = None
    """Where it is the error of a request: what the bridge does about it."""


class Problem(NamedTuple):
    """One thing wrong with the configuration, and where."""

    path: str
    """Where in the YAML, as `topics.orders.event.source`; empty for the file as a whole."""
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(ConnectorError):
    """The configuration cannot be used; `problems` lists everything found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class TransientError(ConnectorError):
    """The same again later may succeed, and nothing is wrong with the record."""

    def __init__(self, message: str, *, code: str = "unavailable") -> None:
        super().__init__(message)
        self.code = code


CLAIM_CHECK = "claim_check"
"""The code of a TransientError while the bucket of a claim check cannot be written: nothing was sent."""


class ThrottledError(TransientError):
    """EventBridge asks for a lower rate."""

    verdict = Verdict.THROTTLED


class UnavailableError(TransientError):
    """No answer came, or one that does not say what became of the entries."""

    verdict = Verdict.UNAVAILABLE


class RecordError(ConnectorError):
    """This record can never succeed as it is. Goes to the dead-letter topic under `code`.

    The message names the rule that was broken and holds no value of the record: it ends up in
    headers and logs.
    """

    stage: Stage = "TRANSFORMATION"
    """Where it happened, in the words of Kafka Connect's `__connect.errors.stage` header."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, str(self)), self.__dict__


class DecodeError(RecordError):
    """The bytes are not what the topic's format says."""

    stage: Stage = "VALUE_CONVERTER"


class MappingError(RecordError):
    """The topic's mapping cannot make an event of this record."""


class OversizeError(RecordError):
    """The event is over a size limit of EventBridge."""

    verdict = Verdict.OVERSIZE


class RefusedError(RecordError):
    """EventBridge refused this entry, or a request because of something in it."""

    verdict = Verdict.REFUSED

    stage: Stage = "TASK_PUT"


class HaltError(ConnectorError):
    """Going on would lose records or flood the dead-letter topic: drain, commit, exit 3."""

    verdict = Verdict.HALTED


class NotAuthorizedError(HaltError):
    """EventBridge refuses the account, role, Region or signature; the next record would fare no better."""


class DeadLetterError(HaltError):
    """Dead letters cannot be written for a reason that waiting does not mend, or there are too many."""


class InvariantError(HaltError):
    """The bridge's own bookkeeping is wrong; stopping is the only safe answer."""
