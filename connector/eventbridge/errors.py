"""The verdict on each answer of PutPartnerEvents, from plain tables.

An error of the whole request and an error of one entry are two tables, because they differ: a
request refused as invalid says that *something* in it is wrong, an entry refused as invalid names
the culprit. Sources, as the tables cite them:

    common   AWS's common errors, the same for every service, e.g.
             https://docs.aws.amazon.com/eventbridge/latest/APIReference/CommonErrors.html
    model    the errors of PutPartnerEvents in botocore's service model
    botocore the retry tables of botocore/retries/standard.py
    entry    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
    sigv4    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
    seen     seen in answers of AWS, by users who published them
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple

import orjson

from connector.errors import (
    ConnectorError,
    NotAuthorizedError,
    OversizeError,
    RefusedError,
    ThrottledError,
    UnavailableError,
    Verdict,
)
from connector.model import Delivered, Forbidden, Outcome, Refused, Retriable

MAX_MESSAGE_CHARACTERS = 300
MAX_READ_CHARACTERS = 2_000
"""Characters of a message that are searched: the cost of an expression below grows with their square."""
MAX_RETRY_AFTER_S = 300.0
"""A longer wait is taken for a mistake; the bridge has pauses of its own."""


class Remedy(Enum):
    """Before it halts, the bridge tries once more with this put right."""

    REFRESH_CREDENTIALS = auto()
    FIX_CLOCK = auto()
    """By the date of the answer."""


_PERMISSION = (
    "Allow `events:PutPartnerEvents` on resource `*` to this identity, in an account that is registered as "
    "an EventBridge partner."
)
_CREDENTIALS = (
    "Check the access key, its secret and session token, and that they belong to this Region's partition."
)
_CLOCK = "Check the clock of this machine; it must be right to within 5 minutes."
_EXPIRED = "The credentials have expired and cannot be renewed. Provide new ones."
_ENDPOINT = (
    "Check `eventbridge.endpoint_url` and `eventbridge.region`: what answers there is not EventBridge."
)
_ACCOUNT = "Check that the account has this Region enabled and is signed up for EventBridge."
_REGION = "EventBridge has no partner event sources in this Region. Set `eventbridge.region` to one that has."

_REQUEST_TABLE: tuple[tuple[Verdict, str, str], ...] = (
    # common
    (
        Verdict.THROTTLED,
        "",
        """ThrottlingException Throttling TooManyRequestsException RequestLimitExceeded""",
    ),
    # botocore
    (
        Verdict.THROTTLED,
        "",
        """ThrottledException RequestThrottledException RequestThrottled EC2ThrottledException SlowDown
        ProvisionedThroughputExceededException TransactionInProgressException BandwidthLimitExceeded
        LimitExceededException PriorRequestNotComplete""",
    ),
    # model; common; "Internal Service Error" of the partner onboarding guide
    (
        Verdict.UNAVAILABLE,
        "",
        """InternalException InternalFailure InternalError InternalServerError ServiceUnavailable
        ServiceUnavailableException RequestAbortedException""",
    ),
    # common; botocore
    (Verdict.UNAVAILABLE, "", """RequestTimeout RequestTimeoutException"""),
    # not documented for this call; other partners retry it
    (Verdict.UNAVAILABLE, "", """ConcurrentModificationException"""),
    # common; seen
    (
        Verdict.OVERSIZE,
        "",
        """RequestEntityTooLargeException RequestEntityTooLarge RequestTooLarge""",
    ),
    (
        Verdict.REFUSED,
        "",
        """ValidationException ValidationError InvalidParameterValue InvalidParameterCombination
        MissingParameter""",
    ),
    # common
    (
        Verdict.HALTED,
        _PERMISSION,
        """AccessDeniedException AccessDenied NotAuthorized UnauthorizedOperation AuthorizationError""",
    ),
    (Verdict.HALTED, _ACCOUNT, """OptInRequired SubscriptionRequiredException"""),
    (
        Verdict.HALTED,
        _CREDENTIALS,
        """UnrecognizedClientException InvalidClientTokenId InvalidAccessKeyId AuthFailure
        IncompleteSignature IncompleteSignatureException MissingAuthenticationToken
        MissingAuthenticationTokenException InvalidSignatureException SignatureDoesNotMatch""",
    ),
    # common; sigv4; the model says that an expired token is an InvalidToken
    (
        Verdict.HALTED,
        _EXPIRED,
        """ExpiredToken ExpiredTokenException InvalidToken TokenRefreshRequired""",
    ),
    (Verdict.HALTED, _CLOCK, """RequestExpired RequestTimeTooSkewed RequestInTheFuture"""),
    # model
    (Verdict.HALTED, _REGION, """OperationDisabledException"""),
    # common
    (
        Verdict.HALTED,
        _ENDPOINT,
        """SerializationException MalformedHttpRequestException UnknownOperationException
        UnsupportedOperation InvalidAction MissingAction InvalidQueryParameter MalformedQueryString""",
    ),
)
REQUEST: Mapping[str, tuple[Verdict, str]] = {
    code: (verdict, advice) for verdict, advice, codes in _REQUEST_TABLE for code in codes.split()
}
"""Error code of a request → what it means, and where the bridge must stop what to do about it."""

REMEDIES: Mapping[str, Remedy] = {
    code: remedy
    for code, (_, advice) in REQUEST.items()
    for remedy, why in ((Remedy.REFRESH_CREDENTIALS, _EXPIRED), (Remedy.FIX_CLOCK, _CLOCK))
    if advice is why
}

_OVER_LIMIT = re.compile(r"total size of the entries.* over the limit", re.IGNORECASE | re.DOTALL)
"""seen: an HTTP 400 ValidationException that means what 413 does."""

_SKEWED = re.compile(r"signature (expired|not yet current)", re.IGNORECASE)
"""sigv4: how a signature refused for its date differs from one that is wrong."""

ENTRY_THROTTLED = frozenset(code for code, (verdict, _) in REQUEST.items() if verdict is Verdict.THROTTLED)
ENTRY_RETRIED = frozenset({
    "InternalFailure",  # entry
    "InternalException", "ServiceUnavailable", "ServiceUnavailableException",  # by other partners
    "ConcurrentModificationException", "RequestTimeout", "RequestTimeoutException",
})  # fmt: skip
ENTRY_REFUSED = frozenset({"InvalidArgument", "MalformedDetail", "RedactionFailure"})  # entry
ENTRY_FORBIDDEN = frozenset({"AccessDeniedException", "InvalidAccountIdException"})  # entry
SOURCE_NOT_AUTHORIZED = frozenset({"NotAuthorizedForSourceException"})  # entry
"""A verdict about a source: its neighbours are none of its business, nor is the bridge."""
DETAIL_TYPE_NOT_AUTHORIZED = frozenset({"NotAuthorizedForDetailTypeException"})  # entry
"""A verdict about a source and a detail type: other entries of that source may be welcome."""
_SOURCE_UNKNOWN = re.compile(
    r"event bus not found|event source\b.*\b(not exist|not found|deleted|unknown)", re.IGNORECASE | re.DOTALL
)
"""Which code an unknown or deleted source has is not documented. The partner onboarding guide names
the first text."""


class Refusal(NamedTuple):
    """An answer other than 200."""

    error: ConnectorError
    """What it comes to where nothing more can be tried."""
    remedy: Remedy | None = None
    retry_after_s: float | None = None
    code: str = ""
    """AWS's own, where the answer has one."""
    said: str = ""
    """Status, code and message, without values."""
    advice: str = ""
    """Advice to the operator, where the bridge must stop."""


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
    """Say what an answer other than HTTP 200 means.

    The code is looked up first, then the HTTP status. A code that no table knows is taken for a
    passing trouble of the target, and named: never a reason to dead-letter.
    """
    code, message = _code_and_message(headers, body)
    verdict, advice = REQUEST.get(code, (None, ""))
    remedy = REMEDIES.get(code)
    if status == 413 or (verdict is Verdict.REFUSED and _OVER_LIMIT.search(message)):
        verdict = Verdict.OVERSIZE
    elif code in {"InvalidSignatureException", "SignatureDoesNotMatch"} and _SKEWED.search(message):
        verdict, advice, remedy = Verdict.HALTED, _CLOCK, Remedy.FIX_CLOCK
    elif verdict is None and status == 429:
        verdict = Verdict.THROTTLED
    said = f"HTTP {status}" + (f" {code}" if code else "")
    if text := redacted(message):
        said = f"{said}: {text}"
    return Refusal(
        _error(verdict, code, status=status, said=said, advice=advice),
        remedy,
        retry_after_s(headers),
        code,
        said,
        advice,
    )


def _error(verdict: Verdict | None, code: str, *, status: int, said: str, advice: str) -> ConnectorError:
    match verdict:
        case Verdict.THROTTLED:
            return ThrottledError(
                f"EventBridge asks for a lower rate ({said})", code=code if code in REQUEST else "throttled"
            )
        case Verdict.OVERSIZE:
            return OversizeError("request_too_large", f"EventBridge finds the request too large ({said})")
        case Verdict.REFUSED:
            return RefusedError("request_refused", f"EventBridge refused the request ({said})")
        case Verdict.HALTED:
            return NotAuthorizedError(f"EventBridge refuses every request ({said}). {advice}")
        case Verdict.UNAVAILABLE:
            return UnavailableError(f"EventBridge is not available ({said})", code=code)
    if code == "ResourceNotFoundException" or _SOURCE_UNKNOWN.search(said):
        return UnavailableError(f"EventBridge does not know a source ({said})", code="source_unknown")
    if code in SOURCE_NOT_AUTHORIZED | DETAIL_TYPE_NOT_AUTHORIZED:
        return UnavailableError(
            f"EventBridge does not let us send to a source ({said})", code="source_not_authorized"
        )
    if status >= 500 or status == 408:
        return UnavailableError(f"EventBridge is not available ({said})")
    return UnavailableError(
        f"EventBridge answered what the bridge does not know ({said}); it will be tried again", code="unknown"
    )


def outcomes(body: bytes, count: int) -> list[Outcome]:
    """Say what became of each entry, by the body of an HTTP 200.

    Only an EventId without an ErrorCode says that an entry was taken; FailedEntryCount is ignored.

    Raises:
        UnavailableError: the body does not hold exactly one result for each of the `count` entries,
            so their outcome is unknown.
    """
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _unclear(f"{len(body)} bytes that are not JSON") from None
    results = answer.get("Entries") if isinstance(answer, dict) else None
    if not isinstance(results, list):
        raise _unclear("no results")
    if len(results) != count:
        raise _unclear(f"{len(results)} results")
    return [outcome(result) for result in results]


def outcome(result: object) -> Outcome:
    """Say what became of one entry, by its result in an HTTP 200.

    A result with an EventId and an ErrorCode contradicts itself. The error counts: an event sent twice can
    be recognised, and one that is lost cannot be had again.
    """
    if not isinstance(result, dict):
        result = {}
    # Nearly every result is of this kind.
    if len(result) == 1 and (accepted := result.get("EventId")) and isinstance(accepted, str):
        return Delivered(accepted)
    code = _read(result.get("ErrorCode"))
    event_id = result.get("EventId")
    if event_id and isinstance(event_id, str) and not code:
        return Delivered(event_id)
    message = _read(result.get("ErrorMessage"))
    text = redacted(message)
    if not code:
        return Retriable(
            "answer_invalid", f"the result holds neither an EventId nor an ErrorCode. {text}".strip()
        )
    if code in ENTRY_THROTTLED:
        return Retriable(code, text, throttled=True)
    if code in ENTRY_RETRIED:
        return Retriable(code, text)
    if code == "ResourceNotFoundException" or _SOURCE_UNKNOWN.search(message):
        return Retriable("source_unknown", f"{_capped(code)}: {text}")
    if code in SOURCE_NOT_AUTHORIZED:
        return Retriable("source_not_authorized", f"{code}: {text}")
    if code in DETAIL_TYPE_NOT_AUTHORIZED:
        return Retriable("detail_type_not_authorized", f"{code}: {text}")
    if code in ENTRY_REFUSED:
        return Refused(code, text)
    if code in ENTRY_FORBIDDEN:
        return Forbidden(code, text)
    # Codes that are not listed are not metric labels: that set must stay closed.
    return Retriable("unknown", f"{_capped(code)}: {text}")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The time that the answer asks to wait: AWS's own header counts milliseconds, HTTP's seconds."""
    for name, scale in (("x-amz-retry-after", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if text.isascii() and text.isdigit():
            return min(int(text[:12]) * scale, MAX_RETRY_AFTER_S)
    return None


def redacted(message: str) -> str:
    """Cut a message of AWS to one line without what it quotes: that may be the record's own values.

    What a validation error says of the rule is kept:

    >>> redacted("Value 'Ann' at 'entries.1.member.source' failed to satisfy constraint: Member must "
    ...          "have length less than or equal to 256")
    'entries.1.member.source: Member must have length less than or equal to 256'
    """
    message = _read(message)
    # Both are greedy on purpose: a value may hold quotes itself, and rather too much goes than too little.
    if found := _CONSTRAINT.fullmatch(message):
        return _capped(f"{found['where']}: {found['rule']}")
    return _capped(_QUOTED.sub("…", message.strip().split("\n", 1)[0]))


_CONSTRAINT = re.compile(
    r".*\bValue '.*' at '(?P<where>entries[\w.\[\]]*)' failed to satisfy constraint: "
    r"(?P<rule>Member must [^'\n]*)",
    re.DOTALL,
)
_QUOTED = re.compile(r"""(?<!\w)'.*(?:'(?!\w)|$)|".*(?:"|$)""", re.DOTALL)


def _read(said: object) -> str:
    """Text of an answer, or nothing; of a long one both ends, since a rule stands behind its value."""
    text = said if isinstance(said, str) else ""
    half = MAX_READ_CHARACTERS // 2
    return text if len(text) <= MAX_READ_CHARACTERS else f"{text[:half]}…{text[1 - half :]}"


def _capped(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else f"{text[: MAX_MESSAGE_CHARACTERS - 1]}…"


def _code_and_message(headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
    """Code and message of an error in AWS's JSON protocol; empty where there is none.

    https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html#operation-error-serialization
    """
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        answer = {}
    code = answer.get("__type") or headers.get("x-amzn-errortype") or answer.get("code")
    message = answer.get("message") or answer.get("Message")
    # `com.amazon.coral.service#ThrottlingException:http://…` is a ThrottlingException.
    return _capped(_read(code).split(":", 1)[0].rsplit("#", 1)[-1]), _read(message)


def _unclear(what: str) -> UnavailableError:
    return UnavailableError(
        f"EventBridge answered {what}, so what became of the entries is not known; they will be sent again, "
        "and may arrive twice",
        code="answer_invalid",
    )
