"""AWS JSON 1.1 as a service speaks it: answers, errors, and the signature of a request.

Signature: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import orjson
from aiohttp import web
from multidict import CIMultiDictProxy

CONTENT_TYPE = "application/x-amz-json-1.1"
_ALGORITHM = "AWS4-HMAC-SHA256"
_MAX_AGE_S = 15 * 60


class ApiError(Exception):
    """A refusal of a whole request, as the service words it."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status

    def body(self) -> bytes:
        """The error document, or nothing where the answer has no code (a load balancer's)."""
        return orjson.dumps({"__type": self.code, "message": str(self)}) if self.code else b""


def response(body: bytes, *, request: int, status: int = 200, now_s: float | None = None) -> web.Response:
    """An answer with the headers AWS sets; `Date` is the time on the service's clock."""
    return web.Response(
        body=body,
        status=status,
        headers={
            "x-amzn-RequestId": f"5a4d0b0c-0000-4000-8000-{request:012x}",
            "Content-Type": CONTENT_TYPE,
            "Date": _http_date(int(time.time() if now_s is None else now_s)),
        },
    )


class Credential(NamedTuple):
    """What the service knows of an access key."""

    secret: str
    session_token: str | None = None
    """Where given, requests must carry it: a temporary credential."""
    expired: bool = False
    """Whether its token is past its time."""
    caller: str = ""
    """Whose key it is, where several callers must be told apart."""


class Signed(NamedTuple):
    """What a signature says."""

    region: str
    caller: str


def signed(
    headers: CIMultiDictProxy[str],
    body: bytes,
    *,
    credentials: Mapping[str, Credential],
    now_s: float,
) -> Signed:
    """The Region and the caller of a `POST /` whose signature is right.

    Raises ApiError with the code and words of AWS for every way in which it is not.
    """
    authorization = headers.get("Authorization")
    if not authorization:
        raise ApiError("MissingAuthenticationTokenException", "Missing Authentication Token", status=403)
    key_id, date, region, signed_headers, signature = _parse(authorization)

    credential = credentials.get(key_id)
    token = headers.get("X-Amz-Security-Token")
    if credential is None or token != credential.session_token:
        raise ApiError(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        )
    if credential.expired:
        raise ApiError(
            "ExpiredTokenException", "The security token included in the request is expired", status=403
        )
    timestamp = headers.get("X-Amz-Date", "")
    _check_age(timestamp, date, now_s)

    canonical_headers = []
    for name in signed_headers.split(";"):
        values = (" ".join(value.split()) for value in headers.getall(name, ()))
        canonical_headers.append(f"{name}:{','.join(values)}\n")
    digest = hashlib.sha256(body).hexdigest()
    canonical = f"POST\n/\n\n{''.join(canonical_headers)}\n{signed_headers}\n{digest}"
    scope = f"{date}/{region}/events/aws4_request"
    text = f"{_ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    expected = hmac.digest(_signing_key(credential.secret, date, region), text.encode(), "sha256").hex()
    if not hmac.compare_digest(expected, signature):
        raise ApiError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS "
            "Secret Access Key and signing method. Consult the service documentation for details.",
        )
    return Signed(region, credential.caller)


@lru_cache(maxsize=256)
def _http_date(now_s: int) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now_s))


def _parse(authorization: str) -> tuple[str, str, str, str, str]:
    algorithm, _, rest = authorization.partition(" ")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    scope = parts.get("Credential", "").split("/")
    names = parts.get("SignedHeaders", "")
    if algorithm != _ALGORITHM or len(scope) != 5 or not names or not parts.get("Signature"):
        raise ApiError(
            "IncompleteSignatureException",
            "Authorization header requires 'Credential', 'Signature' and 'SignedHeaders' parameters.",
        )
    key_id, date, region, service, end = scope
    if (service, end) != ("events", "aws4_request"):
        raise ApiError(
            "InvalidSignatureException", "Credential should be scoped to correct service: 'events'."
        )
    if not {"host", "x-amz-date", "x-amz-target"} <= set(names.split(";")):
        raise ApiError(
            "InvalidSignatureException",
            "'Host', 'X-Amz-Date' and 'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.",
        )
    return key_id, date, region, names, parts["Signature"]


def _check_age(timestamp: str, date: str, now_s: float) -> None:
    signed_s = _epoch_s(timestamp)
    if signed_s is None or not timestamp.startswith(date):
        raise ApiError(
            "IncompleteSignatureException",
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.",
        )
    if signed_s < now_s - _MAX_AGE_S:
        raise ApiError(
            "InvalidSignatureException",
            f"Signature expired: {timestamp} is now earlier than {_iso(now_s - _MAX_AGE_S)} "
            f"({_iso(now_s)} - 15 min.)",
        )
    if signed_s > now_s + _MAX_AGE_S:
        raise ApiError(
            "InvalidSignatureException",
            f"Signature not yet current: {timestamp} is still later than {_iso(now_s + _MAX_AGE_S)} "
            f"({_iso(now_s)} + 15 min.)",
        )


def _iso(epoch_s: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(epoch_s))


@lru_cache(maxsize=64)
def _epoch_s(timestamp: str) -> int | None:
    try:
        return calendar.timegm(time.strptime(timestamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return None


@lru_cache(maxsize=64)
def _signing_key(secret: str, date: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, "events", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
