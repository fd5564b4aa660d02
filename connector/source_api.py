"""The control plane of partner event sources: look, list, create, delete, through boto3.

What an error means is said in words, once, here. boto3's own retries are off, as everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError

from connector import config, verdicts
from connector.errors import ConnectorError, NotAuthorizedError, ThrottledError, UnavailableError
from connector.pace import full_jitter
from connector.signing import SERVICE, USER_AGENT, chain, credential_error, session
from connector.sources import Sighting, SourceState
from connector.verdicts import Verdict

RETRY_INITIAL_S = 0.2
RETRY_MAX_S = 5.0
LOOK_CONNECT_S = 2.0
LOOK_READ_S = 3.0
LOOK_AGE_S = 30.0
"""How old a remembered look may be."""
MAX_LOOKS = 10_000

_LIMIT = (
    "The account has as many partner event sources in this Region as AWS allows. Delete those that nobody "
    "uses, or ask AWS support for more"
)
_WORDS = {
    "ResourceAlreadyExistsException": "A source of this name exists already",
    "LimitExceededException": _LIMIT,
    "ConcurrentModificationException": "Somebody else is changing this source at the same time. Try again",
    "OperationDisabledException": "This Region has no partner event sources, or this account may not use "
    "them there. Choose a Region that has; an account must be registered as an EventBridge partner",
    "ResourceNotFoundException": "There is no source of this name in this Region",
    "ValidationException": "EventBridge does not take these values",
}


class SourceError(ConnectorError):
    """EventBridge refused a call about a source, for good; the text says why and what to do."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class SourceApi:
    """Calls of one target's Region and role about partner event sources. Blocks; for one thread.

    Throttles, concurrent modifications and outages are tried again for `patience_s` seconds, with the
    pauses that AWS asks for; and no more than `calls_per_second` are made.

    Raises, from every call:
        SourceError: refused for good.
        ThrottledError, UnavailableError: no answer within the patience.
        NotAuthorizedError: not with these credentials.
    """

    def __init__(
        self,
        target: config.Target,
        *,
        patience_s: float = 0.0,
        calls_per_second: float | None = None,
    ) -> None:
        self._target = target
        self._patience_s = patience_s
        self._interval_s = 1.0 / calls_per_second if calls_per_second else 0.0
        self._next_call_s = 0.0
        self._client: Any = None

    def look(self, name: str) -> Sighting:
        """What state a source is in; MISSING where there is none."""
        accounts: list[dict[str, Any]] = []
        try:
            for page in self._pages("list_partner_event_source_accounts", EventSourceName=name):
                accounts += page["PartnerEventSourceAccounts"]
        except SourceError as error:
            if error.code == "ResourceNotFoundException":
                return Sighting("MISSING")
            raise
        if not accounts:
            return Sighting("MISSING")
        # There is one account a source. Were there several, one that is served is what counts.
        found = min(accounts, key=lambda account: _ORDER.get(account["State"], 9))
        state: SourceState = found["State"] if found["State"] in _ORDER else "UNKNOWN"
        return Sighting(
            state,
            account=found.get("Account"),
            created_ms=_ms(found.get("CreationTime")),
            expires_ms=_ms(found.get("ExpirationTime")) if state == "PENDING" else None,
            reason=f"EventBridge names a state {found['State']}" if state == "UNKNOWN" else None,
        )

    def names(self, prefix: str) -> Iterator[str]:
        """The names of all sources that begin with `prefix`, which needs `aws.partner/<partner>/`."""
        for page in self._pages("list_partner_event_sources", NamePrefix=prefix):
            yield from (source["Name"] for source in page["PartnerEventSources"])

    def create(self, name: str, account: str) -> None:
        """Offer a new source to a customer's account; it is PENDING then."""
        self._call("create_partner_event_source", Name=name, Account=account)

    def delete(self, name: str, account: str) -> None:
        """Take a source away from an account. Nothing happens where there is none."""
        self._call("delete_partner_event_source", Name=name, Account=account)

    def _pages(self, operation: str, **members: str) -> Iterator[dict[str, Any]]:
        # botocore has paginators for neither of the two lists.
        page = self._call(operation, **members)
        yield page
        while token := page.get("NextToken"):
            page = self._call(operation, **members, NextToken=token)
            yield page

    def _call(self, operation: str, **members: str) -> dict[str, Any]:
        deadline_s = time.monotonic() + self._patience_s
        tries = 0
        while True:
            self._wait_for_turn()
            try:
                answer: dict[str, Any] = getattr(self._connected(), operation)(**members)
            except (boto.BotoCoreError, boto.ClientError, ResponseParserError, ConnectorError) as raised:
                error = _meaning(raised, self._target.region)
            else:
                return answer
            tries += 1
            pause_s = full_jitter(tries, initial_s=RETRY_INITIAL_S, max_s=RETRY_MAX_S)
            if not _may_pass(error) or time.monotonic() + pause_s >= deadline_s:
                raise error
            time.sleep(pause_s)  # a thread of its own, or a command: nothing else waits for it

    def _wait_for_turn(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_call_s:
            time.sleep(self._next_call_s - now_s)
        self._next_call_s = max(now_s, self._next_call_s) + self._interval_s

    def _connected(self) -> Any:
        if self._client is None:
            self._client = _client(self._target)
        return self._client


class Looks:
    """Says what state sources are in, remembering each look for a while; for the tools, which may wait.

    What cannot be looked at is UNKNOWN, and no reason not to send.
    """

    def __init__(self, targets: Mapping[str, config.Target]) -> None:
        # A replay must come back to its group within a few seconds.
        limits = {"timeouts": config.Timeouts(connect=LOOK_CONNECT_S, read=LOOK_READ_S)}
        self._apis = {name: SourceApi(target.model_copy(update=limits)) for name, target in targets.items()}
        self._seen: dict[tuple[str, str], tuple[float, Sighting]] = {}

    def __call__(self, target: str, source: str) -> Sighting:
        """The state of a source in a target."""
        now_s = time.monotonic()
        seen_s, seen = self._seen.get((target, source), (float("-inf"), None))
        if seen is None or now_s - seen_s > LOOK_AGE_S:
            try:
                seen = self._apis[target].look(source)
            except ConnectorError as error:
                seen = Sighting("UNKNOWN", reason=str(error))
            if len(self._seen) >= MAX_LOOKS:
                self._seen.clear()
            self._seen[target, source] = (now_s, seen)
        return seen


_ORDER = {"ACTIVE": 0, "PENDING": 1, "DELETED": 2}


def _client(target: config.Target) -> Any:
    made = session(target)
    try:
        made._session._credentials = chain(target)  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way
        return made.client(
            SERVICE,
            endpoint_url=target.endpoint_url,
            config=Config(
                user_agent_extra=USER_AGENT,
                connect_timeout=target.timeouts.connect,
                read_timeout=target.timeouts.read,
                retries={"mode": "standard", "total_max_attempts": 1},
                use_fips_endpoint=target.use_fips or None,
                use_dualstack_endpoint=target.use_dualstack or None,
            ),
        )
    except ConnectorError:
        raise
    except Exception as error:  # what a chain of files, processes and services raises is no closed set
        raise credential_error(error) from error


def _meaning(raised: Exception, region: str) -> ConnectorError:
    if isinstance(raised, ConnectorError):
        return raised
    if not isinstance(raised, boto.ClientError):
        return credential_error(raised) if not _is_transport(raised) else _unreachable(raised, region)
    code = str(raised.response.get("Error", {}).get("Code", ""))
    status = int(raised.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = verdicts.without_values(str(raised.response.get("Error", {}).get("Message", "")))
    said = f"{code}: {message}" if message else code
    verdict, advice = verdicts.REQUEST.get(code, (None, ""))
    if words := _WORDS.get(code):
        return SourceError(f"{words} ({region}; EventBridge said {said}).", code=code)
    if verdict is Verdict.THROTTLED or status == 429:
        return ThrottledError(
            f"EventBridge asks for fewer calls about sources in {region} ({said})", code=code
        )
    if code in {"AccessDeniedException", "AccessDenied", "NotAuthorized"}:
        return NotAuthorizedError(
            f"These credentials may not do that in {region} ({said}). Allow events:ListPartnerEventSources, "
            "events:ListPartnerEventSourceAccounts, and for changes events:CreatePartnerEventSource and "
            "events:DeletePartnerEventSource."
        )
    if verdict in {Verdict.STOP, Verdict.RENEW, Verdict.CLOCK}:
        return NotAuthorizedError(f"EventBridge in {region} refuses these credentials ({said}). {advice}")
    if verdict is Verdict.UNAVAILABLE or status >= 500:
        return UnavailableError(f"EventBridge in {region} is not available ({said})", code=code)
    return SourceError(f"EventBridge in {region} refused the call ({said}).", code=code or "unknown")


def _is_transport(raised: Exception) -> bool:
    return isinstance(raised, (boto.HTTPClientError, boto.ConnectionError, ResponseParserError))


def _unreachable(raised: Exception, region: str) -> UnavailableError:
    said = verdicts.without_values(str(raised)) or type(raised).__name__
    return UnavailableError(f"no answer from EventBridge in {region} ({said})", code="connection")


def _may_pass(error: ConnectorError) -> bool:
    return isinstance(error, (ThrottledError, UnavailableError)) or (
        isinstance(error, SourceError) and error.code == "ConcurrentModificationException"
    )


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
