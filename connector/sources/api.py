"""The control plane of partner event sources: look up, list, create, delete.

The calls go the way of the events, with the same credentials and the same remedies. What an error means is
said in words, once, here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

import orjson

from connector import config
from connector.delivery.rate import full_jitter
from connector.errors import ConnectorError, NotAuthorizedError, ThrottledError, UnavailableError
from connector.eventbridge.client import Publisher
from connector.eventbridge.errors import Refusal
from connector.model import END_OF_TIME_S, SourceState, SourceStatus

RETRY_INITIAL_S = 0.2
RETRY_MAX_S = 5.0
MAX_STATE_CHARACTERS = 40

_PERMISSION = (
    "Allow events:ListPartnerEventSources, events:ListPartnerEventSourceAccounts, and for changes "
    "events:CreatePartnerEventSource and events:DeletePartnerEventSource."
)
_LIMIT = (
    "The account has as many partner event sources in this Region as AWS allows. Delete those that nobody "
    "uses, or ask AWS support for more"
)
_WORDS = {
    "ResourceAlreadyExistsException": "A source of this name exists already",
    "LimitExceededException": _LIMIT,
    "ConcurrentModificationException": "Somebody else is changing this source at the same time. Try again",
    "ResourceNotFoundException": "There is no source of this name in this Region",
    "ValidationException": "EventBridge does not take these values",
}
_NO_SOURCES = (
    "This Region has no partner event sources, or this account may not use them there. Choose a Region that "
    "has; an account must be registered as an EventBridge partner"
)
_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "NotAuthorized"})
_STATES: dict[str, SourceState] = {"ACTIVE": "ACTIVE", "PENDING": "PENDING", "DELETED": "DELETED"}
"""Those that EventBridge has, the one that counts most first."""

T = TypeVar("T")


class SourceError(ConnectorError):
    """EventBridge refused a call about a source, for good; the text says why and what to do."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class SourceApi:
    """Calls of one target's Region and role about partner event sources.

    Throttles, concurrent modifications and outages are tried again for `patience_s` seconds, with the
    pauses that AWS asks for; and no more than `calls_per_second` are made.

    Raises, from every call:
        SourceError: refused for good.
        ThrottledError, UnavailableError: no answer within the patience, or none that says anything.
        NotAuthorizedError: not with these credentials.
    """

    def __init__(
        self, publisher: Publisher, *, patience_s: float = 0.0, calls_per_second: float | None = None
    ) -> None:
        self._publisher = publisher
        self._patience_s = patience_s
        self._interval_s = 1.0 / calls_per_second if calls_per_second else 0.0
        self._next_call_s = 0.0

    async def look_up(self, name: str) -> SourceStatus:
        """The state of a source; MISSING where there is none."""
        found: list[dict[str, Any]] = []
        try:
            async for page in self._pages(
                "ListPartnerEventSourceAccounts", "PartnerEventSourceAccounts", EventSourceName=name
            ):
                found += page
        except SourceError as error:
            if error.code == "ResourceNotFoundException":
                return SourceStatus("MISSING")
            raise
        # There is one account a source. Were there several, one that is served is what counts.
        return min(map(_sighting, found), key=_rank, default=SourceStatus("MISSING"))

    async def names(self, prefix: str) -> list[str]:
        """The names of all sources that begin with `prefix`, which needs `aws.partner/<partner>/`."""
        pages = self._pages("ListPartnerEventSources", "PartnerEventSources", NamePrefix=prefix)
        return [_text(source, "Name") async for page in pages for source in page]

    async def create(self, name: str, account: str) -> None:
        """Offer a new source to a customer's account; it is PENDING then."""
        await self._call("CreatePartnerEventSource", Name=name, Account=account)

    async def delete(self, name: str, account: str) -> None:
        """Take a source away from an account. Nothing happens where there is none."""
        await self._call("DeletePartnerEventSource", Name=name, Account=account)

    async def _pages(self, operation: str, key: str, **members: str) -> AsyncIterator[list[dict[str, Any]]]:
        token: str | None = None
        while True:
            page = await self._call(operation, **members, **({"NextToken": token} if token else {}))
            items = page.get(key)
            if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
                raise _unclear(f"no list of {key}")
            yield items
            if not page.get("NextToken"):
                return
            token = _text(page, "NextToken")

    async def _call(self, operation: str, **members: str) -> dict[str, Any]:
        deadline_s = time.monotonic() + self._patience_s
        tries = 0
        while True:
            await self._wait_for_turn()
            try:
                return await self._call_once(operation, members)
            except ConnectorError as error:
                tries += 1
                pause_s = full_jitter(tries, initial_s=RETRY_INITIAL_S, max_s=RETRY_MAX_S)
                if not _may_pass(error) or time.monotonic() + pause_s >= deadline_s:
                    raise
            await asyncio.sleep(pause_s)

    async def _call_once(self, operation: str, members: Mapping[str, str]) -> dict[str, Any]:
        answer = await self._publisher.call(operation, members)
        if isinstance(answer, Refusal):
            raise _meaning(answer, self._publisher.region)
        try:
            body = orjson.loads(answer.body or b"{}")
        except orjson.JSONDecodeError:
            raise _unclear(f"{len(answer.body)} bytes that are not JSON") from None
        if not isinstance(body, dict):
            raise _unclear("JSON that is no object")
        return body

    async def _wait_for_turn(self) -> None:
        now_s = time.monotonic()
        self._next_call_s = max(now_s, self._next_call_s) + self._interval_s
        if (wait_s := self._next_call_s - self._interval_s - now_s) > 0:
            await asyncio.sleep(wait_s)


class SourceCalls:
    """The same for commands, which have nothing else to do meanwhile: blocks. Close it in the end."""

    def __init__(
        self, target: config.Target, *, patience_s: float = 0.0, calls_per_second: float | None = None
    ) -> None:
        self._make_publisher = partial(Publisher, target)
        self._make_api = partial(SourceApi, patience_s=patience_s, calls_per_second=calls_per_second)
        self._runner = asyncio.Runner()
        self._made: tuple[Publisher, SourceApi] | None = None

    def run(self, call: Callable[[SourceApi], Coroutine[Any, Any, T]]) -> T:
        """The result of a call.

        Raises:
            ConfigError: as `Publisher`.
            SourceError, ThrottledError, UnavailableError, NotAuthorizedError: as `SourceApi`.
        """
        if self._made is None:
            publisher = self._make_publisher()  # only now, since it costs what a boto3 client does
            self._made = publisher, self._make_api(publisher)
        return self._runner.run(call(self._made[1]))

    def close(self) -> None:
        """Close every connection."""
        if self._made is not None:
            self._runner.run(self._made[0].close())
        self._runner.close()


def _sighting(account: Mapping[str, Any]) -> SourceStatus:
    named = _text(account, "State")
    state = _STATES.get(named, "OTHER")
    return SourceStatus(
        state,
        account=account.get("Account"),
        created_ms=_ms(account.get("CreationTime")),
        expires_ms=_ms(account.get("ExpirationTime")) if state == "PENDING" else None,
        reason=None
        if state != "OTHER"
        else (
            f"EventBridge calls it {named[:MAX_STATE_CHARACTERS]}, which this version of the bridge does not "
            "know; it is taken for not ACTIVE"
        ),
    )


def _rank(seen: SourceStatus) -> int:
    return list(_STATES).index(seen.state) if seen.state in _STATES else len(_STATES)


def _meaning(refusal: Refusal, region: str) -> ConnectorError:
    """The error for an answer other than 200 to a call about a source."""
    code, said, error = refusal.code, refusal.said, refusal.error
    if words := _WORDS.get(code):
        return SourceError(f"{words} ({region}; EventBridge said {said}).", code=code)
    if code == "OperationDisabledException":
        return NotAuthorizedError(f"{_NO_SOURCES} ({region}; EventBridge said {said}).")
    if code in _DENIED:
        return NotAuthorizedError(f"These credentials may not do that in {region} ({said}). {_PERMISSION}")
    match error:
        case ThrottledError():
            text = f"EventBridge asks for fewer calls about sources in {region} ({said})"
            return ThrottledError(text, code=error.code)
        case NotAuthorizedError():
            return NotAuthorizedError(
                f"EventBridge in {region} refuses these credentials ({said}). {refusal.advice}"
            )
        case UnavailableError(code=("unknown" | "source_unknown")):
            return SourceError(f"EventBridge in {region} refused the call ({said}).", code=code or "unknown")
        case UnavailableError():
            text = f"EventBridge in {region} is not available ({said})"
            return UnavailableError(text, code=error.code)
    return SourceError(f"EventBridge in {region} refused the call ({said}).", code=code or "unknown")


def _may_pass(error: ConnectorError) -> bool:
    return isinstance(error, (ThrottledError, UnavailableError)) or (
        isinstance(error, SourceError) and error.code == "ConcurrentModificationException"
    )


def _unclear(what: str) -> UnavailableError:
    return UnavailableError(f"EventBridge answered {what} to a call about sources", code="answer_invalid")


def _text(found: Mapping[str, Any], key: str) -> str:
    text = found.get(key)
    if not isinstance(text, str) or not text:
        raise _unclear(f"no {key}")
    return text


def _ms(moment: object) -> int | None:
    """Unix time in milliseconds; the protocol has it in seconds, as a number.

    None also for one that no calendar has: a strange time says nothing, and must not end the bridge.
    """
    if isinstance(moment, int | float) and 0 <= moment < END_OF_TIME_S:  # false for NaN too
        return int(moment * 1000)
    return None
