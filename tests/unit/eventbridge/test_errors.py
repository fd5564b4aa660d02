"""What each answer of EventBridge means for the bridge."""

from __future__ import annotations

import json
import time

import pytest

from connector.errors import (
    ConnectorError,
    NotAuthorizedError,
    OversizeError,
    RefusedError,
    ThrottledError,
    TransientError,
    UnavailableError,
    Verdict,
)
from connector.eventbridge.errors import Remedy, outcome, outcomes, redacted, refusal
from connector.model import Delivered, Forbidden, Outcome, Refused, Retriable

OVER_LIMIT = "Total size of the entries in the request is over the limit."
CONSTRAINT = "failed to satisfy constraint: Member must have length less than or equal to 20"


def refused(status: int, code: str = "", message: str = "") -> ConnectorError:
    body = json.dumps({"__type": code, "message": message}).encode() if code else b""
    return refusal(status, {}, body).error


@pytest.mark.parametrize(
    ("expected", "status", "code", "message"),
    [
        (ThrottledError, 400, "ThrottlingException", "Rate exceeded"),
        (ThrottledError, 429, "", ""),
        (ThrottledError, 429, "NeverSeen", ""),
        (UnavailableError, 500, "InternalException", ""),
        (UnavailableError, 503, "", ""),
        (UnavailableError, 408, "RequestTimeoutException", ""),
        (UnavailableError, 301, "", ""),
        (OversizeError, 413, "", ""),
        (OversizeError, 400, "ValidationException", OVER_LIMIT),
        (RefusedError, 400, "ValidationException", "1 validation error detected"),
        (NotAuthorizedError, 400, "AccessDeniedException", "not authorized"),
        (NotAuthorizedError, 403, "SignatureDoesNotMatch", ""),
        (NotAuthorizedError, 400, "OperationDisabledException", ""),
        (NotAuthorizedError, 404, "UnknownOperationException", ""),
        (NotAuthorizedError, 400, "SerializationException", ""),
        (UnavailableError, 403, "", ""),
        (UnavailableError, 400, "NeverSeenException", ""),
    ],
)
def test_a_request_error_has_the_verdict_of_its_code_and_status(
    expected: type[ConnectorError], status: int, code: str, message: str
) -> None:
    """A bad record, a target that is down and a broken set-up are three different things."""
    assert expected is type(refused(status, code, message))


def test_an_unknown_code_is_named_but_is_no_metric_label() -> None:
    """Unknown codes are passing trouble, loud; the set of labels stays closed."""
    error = refused(418, "TeapotException", "short and stout")

    assert isinstance(error, TransientError)
    assert "unknown" == error.code
    assert "TeapotException" in str(error)


@pytest.mark.parametrize(
    "message",
    [
        "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z",
        "Signature not yet current: 20260101T010000Z is still later than 20260101T000500Z",
    ],
)
def test_a_signature_refused_for_its_date_is_a_matter_of_the_clock(message: str) -> None:
    """The same code means a wrong secret or a wrong clock; only the message tells them apart."""
    body = json.dumps({"__type": "InvalidSignatureException", "message": message}).encode()

    assert Remedy.FIX_CLOCK is refusal(400, {}, body).remedy
    assert "clock" in str(refusal(400, {}, body).error)


def test_where_the_bridge_must_stop_the_message_says_what_to_do() -> None:
    """A halt wakes somebody; the message is where they start."""
    assert "events:PutPartnerEvents" in str(refused(400, "AccessDeniedException", "no"))
    assert "eventbridge.region" in str(refused(400, "OperationDisabledException"))
    assert "eventbridge.endpoint_url" in str(refused(404, "UnknownOperationException"))


@pytest.mark.parametrize(
    ("expected", "headers"),
    [
        (1.5, {"x-amz-retry-after": "1500"}),
        (2.0, {"retry-after": "2"}),
        (300.0, {"retry-after": "99999999999999999999"}),
        (None, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        (None, {"x-amz-retry-after": "-1"}),
        (None, {}),
    ],
)
def test_the_wait_that_eventbridge_asks_for_is_passed_on(
    expected: float | None, headers: dict[str, str]
) -> None:
    """AWS's own header counts milliseconds, HTTP's seconds; nonsense is no wait."""
    assert expected == refusal(429, headers, b"").retry_after_s


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"__type":"com.amazon.coral.service#ThrottlingException"}', {}),
        (b'{"__type":"ThrottlingException:http://internal/"}', {}),
        (b"", {"x-amzn-errortype": "ThrottlingException:http://internal/"}),
        (b'{"code":"ThrottlingException"}', {}),
    ],
)
def test_the_code_is_found_in_each_place_where_aws_puts_it(body: bytes, headers: dict[str, str]) -> None:
    """Namespaces, URLs and headers around a code do not hide it."""
    assert Verdict.THROTTLED is refusal(400, headers, body).error.verdict


@pytest.mark.parametrize(
    "body",
    [b"", b"garbage", b"[]", b"null", b"{}", b'{"Entries":null}', b'{"Entries":[{"EventId":"1"}]}',
     b'{"Entries":[{"EventId":"1"},{"EventId":"2"},{"EventId":"3"}]}', b'{"Entries":{"0":1,"1":2}}'],
)  # fmt: skip
def test_an_answer_without_a_result_for_each_entry_is_never_success(body: bytes) -> None:
    """Nobody knows what became of the entries, so they must be sent again."""
    with pytest.raises(UnavailableError) as caught:
        outcomes(body, 2)

    assert "answer_invalid" == caught.value.code


def test_results_are_aligned_with_their_entries_whatever_the_count_of_failures_says() -> None:
    """Only an EventId of its own says that an entry was taken."""
    results = [{"EventId": "1"}, {"ErrorCode": "InternalFailure", "ErrorMessage": "x"}, {"EventId": "3"}]
    body = json.dumps({"FailedEntryCount": 0, "Entries": results}).encode()

    assert [Delivered("1"), Retriable("InternalFailure", "x"), Delivered("3")] == outcomes(body, 3)


@pytest.mark.parametrize(
    ("expected", "code", "message"),
    [
        (
            Retriable("ThrottlingException", "Rate exceeded", throttled=True),
            "ThrottlingException",
            "Rate exceeded",
        ),
        (Retriable("InternalFailure", ""), "InternalFailure", None),
        (Refused("MalformedDetail", "Malformed."), "MalformedDetail", "Malformed."),
        (Forbidden("InvalidAccountIdException", "No."), "InvalidAccountIdException", "No."),
        (
            Retriable("source_not_authorized", "NotAuthorizedForSourceException: No."),
            "NotAuthorizedForSourceException",
            "No.",
        ),
        (
            Retriable("detail_type_not_authorized", "NotAuthorizedForDetailTypeException: "),
            "NotAuthorizedForDetailTypeException",
            None,
        ),
        (Retriable("source_unknown", "ResourceNotFoundException: "), "ResourceNotFoundException", None),
        (Retriable("source_unknown", "X: Event Bus Not Found"), "X", "Event Bus Not Found"),
        (
            Retriable("source_unknown", "InvalidArgument: Event source does not exist."),
            "InvalidArgument",
            "Event source does not exist.",
        ),
        (Retriable("unknown", "TeapotException: stout"), "TeapotException", "stout"),
    ],
)
def test_an_entry_has_the_verdict_of_its_code(expected: Outcome, code: str, message: str | None) -> None:
    """One bad entry never costs its neighbours, and an unknown code never costs a record at once."""
    assert expected == outcome({"ErrorCode": code, "ErrorMessage": message})


@pytest.mark.parametrize(
    "expected",
    [
        Retriable("InternalFailure", "later"),
        Refused("MalformedDetail", "later"),
        Retriable("unknown", "Teapot: later"),
    ],
)
def test_an_entry_with_an_event_id_and_an_error_was_not_taken(expected: Retriable | Refused) -> None:
    """The answer contradicts itself. A duplicate can be recognised; a lost event cannot be had again."""
    code = "Teapot" if expected.code == "unknown" else expected.code

    assert expected == outcome({"EventId": "1", "ErrorCode": code, "ErrorMessage": "later"})


@pytest.mark.parametrize("empty", [None, ""])
def test_an_entry_with_an_event_id_and_an_empty_error_was_taken(empty: str | None) -> None:
    """Some serialisers write what is absent as null."""
    assert Delivered("1") == outcome({"EventId": "1", "ErrorCode": empty, "ErrorMessage": empty})


@pytest.mark.parametrize("result", [{}, {"EventId": ""}, {"EventId": None}, None, "ok", {"EventId": 7}])
def test_a_result_that_says_nothing_is_tried_again(result: object) -> None:
    """Neither an EventId nor an ErrorCode: the safe reading is that it was not taken."""
    got = outcome(result)

    assert isinstance(got, Retriable)
    assert "answer_invalid" == got.code


@pytest.mark.parametrize(
    "message",
    [
        f"1 validation error detected: Value 'SECRET' at 'entries' {CONSTRAINT}",
        f"1 validation error detected: Value '[{{\"a\":\"it's SECRET' at 'b\"}}]' at 'entries' {CONSTRAINT}",
        f"2 validation errors detected: Value 'SECRET' at 'entries.1.member.source' {CONSTRAINT}; "
        f"Value 'SECRET' at 'entries.2.member.source' {CONSTRAINT}",
        "Parameter 'SECRET isn't right' is not valid",
        'Unexpected character in "SECRET',
        "The Canonical String for this request should have been\n'POST\n/\nSECRET'",
    ],
)
def test_what_aws_quotes_does_not_get_into_messages(message: str) -> None:
    """AWS repeats values of the record in its errors; messages end up in logs and headers."""
    assert "SECRET" not in redacted(message)
    assert "SECRET" not in str(refused(400, "ValidationException", message))


def test_the_rule_that_was_broken_survives() -> None:
    """Without its value a validation error still says where and why."""
    assert "entries: Member must have length less than or equal to 20" == redacted(
        f"1 validation error detected: Value 'x' at 'entries' {CONSTRAINT}"
    )


def test_a_long_value_does_not_hide_the_rule_behind_it() -> None:
    """AWS repeats the whole value, which may be an event of 256 KB."""
    message = (
        f"1 validation error detected: Value '{'SECRET' * 40_000}' at 'entries.1.member.detail' {CONSTRAINT}"
    )

    assert "entries.1.member.detail: Member must have" in str(refused(400, "ValidationException", message))
    assert "SECRET" not in str(refused(400, "ValidationException", message))


@pytest.mark.parametrize(
    "words", ["event source ", "event source not exis", "Value '' at 'entries' ", "' ", "signature "]
)
def test_no_answer_takes_long_to_understand(words: str) -> None:
    """Polling waits meanwhile: the largest answer, one long message or twenty, is judged at once."""
    long = words * (256 * 1024 // len(words))
    short = [{"ErrorCode": "X", "ErrorMessage": long[: len(long) // 20]}] * 20
    began_s = time.process_time()
    found = [outcome({"ErrorCode": "X", "ErrorMessage": long})]
    found += outcomes(json.dumps({"Entries": short}).encode(), 20)
    error = refused(400, "ValidationException", long)
    redacted(long)

    assert 1 > time.process_time() - began_s
    assert 300 >= len(str(error)) - len("EventBridge refused the request (HTTP 400 ValidationException: )")
    assert all(isinstance(each, Retriable) and 310 > len(each.message) for each in found)


@pytest.mark.parametrize("where", ["ErrorCode", "ErrorMessage"])
def test_what_is_no_text_says_nothing(where: str) -> None:
    """Nested so deeply that it cannot even be shown, it must not end the process."""
    nested = b"[" * 1_020 + b"]" * 1_020
    (found,) = outcomes(b'{"Entries":[{"%s":%s}]}' % (where.encode(), nested), 1)

    assert isinstance(found, Retriable)
    assert "answer_invalid" == found.code
    assert (
        Verdict.UNAVAILABLE
        is refusal(400, {}, b'{"__type":%s,"message":%s}' % (nested, nested)).error.verdict
    )


def test_messages_are_capped() -> None:
    """A long message of AWS must not fill logs and headers."""
    assert 300 == len(redacted("x" * 1000))
