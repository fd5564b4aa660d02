"""The calls of EventBridge: one request, signed and sent, and what its answer means.

PutPartnerEvents and the calls about sources go the same way: credentials, clock, endpoint, TLS and proxy are
those of the target, and so is what is done when one of them is wrong.

boto3's own call costs 110 to 160 µs of CPU an event and holds the interpreter's lock; the same
request over our own connections costs a tenth. botocore still says where the endpoint is and who we are,
and a contract test holds our request to be the same as its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import orjson

from connector import config
from connector.errors import ConnectorError, RefusedError
from connector.eventbridge import errors
from connector.eventbridge.clock import Clock
from connector.eventbridge.credentials import CREDENTIALS_SOURCE, CredentialProvider, ResolvedCredentials
from connector.eventbridge.endpoint import Route, drop_frames, route, routes, transport_error
from connector.eventbridge.errors import Refusal, Remedy
from connector.eventbridge.http import Connections, Done, Reply
from connector.eventbridge.signer import PUT_PARTNER_EVENTS, Signer
from connector.model import Answer, Claim, Entry

if TYPE_CHECKING:
    from connector.eventbridge.claim_store import ClaimStore

MAX_ANSWER_BYTES = 256 * 1024
"""Far over what 20 results, or a page of 100 sources, take; more is not an answer of EventBridge."""
CONTROL_CALLS = 4
"""Calls about sources at once, at most. They have connections of their own, so that none waits for another
kind."""


class Call:
    """One call of PutPartnerEvents: its request, and what came of it so far."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.body = b'{"Entries":[' + b",".join([entry.json for entry in entries]) + b"]}"
        self.signer: Signer | None = None
        """Whose credentials signed the request; None before that."""
        self.refused: Reply | None = None
        self.entries = entries
        self.begin()

    def begin(self) -> None:
        """The request leaves now, as far as its duration goes."""
        self._started_s = time.monotonic()

    @property
    def unstored(self) -> list[Claim]:
        """What must be in S3 before the request leaves, and is not."""
        return [claim for entry in self.entries if (claim := entry.claim) is not None and not claim.is_stored]

    def answered(self, reply: Reply) -> Answer:
        """What an answer of HTTP 200 comes to."""
        try:
            outcomes = errors.outcomes(reply.body, len(self.entries))
        except ConnectorError as error:
            return self.failed(error, reply)
        return Answer(outcomes, None, _request_id(reply), time.monotonic() - self._started_s)

    def failed(
        self, error: ConnectorError, reply: Reply | None = None, retry_after_s: float | None = None
    ) -> Answer:
        """What a call without one comes to."""
        drop_frames(error)
        seconds = time.monotonic() - self._started_s
        return Answer((), error, _request_id(reply), seconds, retry_after_s, is_sent=self.signer is not None)


class Publisher:
    """Sends entries to EventBridge, one signed call at a time for each batch; deciding about retries
    is the caller's.

    Raises:
        ConfigError: profile, CA bundle, Region or endpoint cannot be used.
    """

    def __init__(
        self, target: config.Target, way: Route | None = None, *, claims: ClaimStore | None = None
    ) -> None:
        """`claims` takes what events leave out, where a claim check is configured."""
        self._target = target
        self.route = way or route(target)
        self._signers = CredentialProvider(target, url=self.route.endpoint.url)
        self._clock = claims.clock if claims is not None else Clock()
        connections = partial(
            Connections,
            self.route.endpoint,
            connect_timeout_s=target.timeouts.connect,
            read_timeout_s=target.timeouts.read,
            max_reply_bytes=MAX_ANSWER_BYTES,
        )
        self._connections = connections(limit=target.max_in_flight)
        self._claims = claims
        self._control_connections = connections(limit=CONTROL_CALLS)

    @property
    def region(self) -> str:
        return self._target.region

    @property
    def waits_for(self) -> str | None:
        """Whom calls wait for before their requests can leave; None where that is EventBridge itself."""
        return CREDENTIALS_SOURCE if self._signers.are_awaited else None

    async def close(self) -> None:
        await self._connections.close()
        await self._control_connections.close()
        if self._claims is not None:
            self._claims.close()

    async def find_credentials(self) -> None:
        """Find credentials before the first request needs them, which otherwise does. Never raises."""
        with suppress(ConnectorError):
            await self._signers.current()

    async def publish(self, entries: Sequence[Entry]) -> Answer:
        """Make one call of PutPartnerEvents and say what it came to. Never raises for anything outside the
        bridge.
        """
        return await self.finish(Call(entries))

    def start(self, call: Call, done: Done) -> bool:
        """Send the request of a call if nothing is to be waited for but its reply; returns whether it did.

        So it is with nearly every call: there are credentials, and a connection that was kept.
        """
        if self._claims is not None and (self._claims.failed or call.unstored):
            return False
        call.signer = self._signers.at_hand()
        if call.signer is None:
            return False
        headers = self._signed(call.signer, call.body, PUT_PARTNER_EVENTS)
        return self._connections.post_kept(headers, call.body, done)

    def answer(self, call: Call, result: Reply | OSError) -> Answer | None:
        """Say what a call came to, by the result of its request; None where `finish` must go on with it."""
        if isinstance(result, OSError):
            return call.failed(transport_error(result, self._target))
        if result.status == 200:
            return call.answered(result)
        call.refused = result
        return None

    async def finish(self, call: Call) -> Answer:
        """Make a call, or go on with one that was refused, and say what it came to."""
        try:
            if self._claims is not None:
                await self._store(self._claims, call)
            call.signer = call.signer or await self._signers.current()
            reply, refusal = await self._request(
                PUT_PARTNER_EVENTS, call.body, self._connections, signer=call.signer, reply=call.refused
            )
        except ConnectorError as failure:
            return call.failed(failure)
        if refusal is None:
            return call.answered(reply)
        return call.failed(refusal.error, reply, refusal.retry_after_s)

    async def _store(self, claims: ClaimStore, call: Call) -> None:
        """Have in S3 what the entries of a call leave out.

        Raises:
            NotAuthorizedError, UnavailableError: as the call itself; or the bucket cannot be written.
        """
        unstored = call.unstored
        if not unstored and claims.failed is None:
            return
        if claims.wants_new_credentials:
            claims.wants_new_credentials = False
            await self._signers.replace(await self._signers.current())
        await claims.store(unstored, (await self._signers.resolved()).frozen)
        call.begin()

    async def call(self, operation: str, members: Mapping[str, str]) -> Reply | Refusal:
        """Make one call about sources. A reply is one of HTTP 200.

        Raises:
            NotAuthorizedError, UnavailableError: nothing could be asked, or nothing came back.
        """
        reply, refusal = await self._request(operation, orjson.dumps(members), self._control_connections)
        return refusal or reply

    async def _request(
        self,
        operation: str,
        body: bytes,
        connections: Connections,
        *,
        signer: Signer | None = None,
        reply: Reply | None = None,
    ) -> tuple[Reply, Refusal | None]:
        """Send one request, and say what its answer means where that is not HTTP 200.

        It is repeated at once only where the first was refused before EventBridge processed it: with new
        credentials when they had expired, and with the clock corrected by the answer's date. Each of the
        two happens once. `reply` is of the first, where that was sent already.
        """
        remedies = {*Remedy}
        signer = signer or await self._signers.current()
        while True:
            if reply is None:
                reply = await self._send(self._signed(signer, body, operation), body, connections)
            if reply.status == 200:
                return reply, None
            refusal = errors.refusal(reply.status, reply.headers, reply.body)
            if refusal.remedy is Remedy.FIX_CLOCK:
                self._clock.correct(reply.headers.get("date", ""))
            if refusal.remedy not in remedies:
                return reply, refusal
            remedies.discard(refusal.remedy)
            if refusal.remedy is Remedy.REFRESH_CREDENTIALS:
                signer = await self._signers.replace(signer)
            reply = None

    def _signed(self, signer: Signer, body: bytes, operation: str) -> dict[str, str]:
        return signer.headers(body, self._clock.now_s(), operation=operation)

    def publish_once(self, entries: Sequence[Entry]) -> Answer:
        """Make one call, and no other. Blocks."""

        async def call() -> Answer:
            try:
                return await self.publish(entries)
            finally:
                await self.close()

        return asyncio.run(call())

    def check(self) -> str:
        """Find credentials and try them on EventBridge; says who we are and where. Blocks.

        The trial is a call without entries: EventBridge refuses it as invalid, but only after it has
        accepted endpoint, clock and signature. Nothing is sent to anyone.

        Raises:
            NotAuthorizedError, UnavailableError: what is wrong, and what to do about it.
        """
        resolved, answer = asyncio.run(self._try_out())
        if answer.error is not None and not isinstance(answer.error, RefusedError):
            raise answer.error
        who = f"access key {resolved.signer.access_key} (found by {resolved.credentials.method})"
        return f"{who} in {self._target.region} at {self.route.endpoint.url}"

    def check_bucket(self) -> str:
        """Write an empty object to the bucket of the claim check; says where. Blocks.

        Raises:
            NotAuthorizedError, UnavailableError: what is wrong, and what to do about it.
        """
        assert self._claims is not None  # noqa: S101 - asked only where there is one
        resolved = asyncio.run(self._signers.resolved())
        try:
            return self._claims.check(resolved.frozen)
        finally:
            self._claims.close()

    async def _try_out(self) -> tuple[ResolvedCredentials, Answer]:
        try:
            return await self._signers.resolved(), await self.publish(())
        finally:
            await self.close()

    async def _send(self, headers: dict[str, str], body: bytes, connections: Connections) -> Reply:
        try:
            return await connections.post(headers, body)
        except OSError as error:  # TimeoutError is one
            raise transport_error(error, self._target) from error


def _request_id(reply: Reply | None) -> str | None:
    return reply and reply.headers.get("x-amzn-requestid")


def publishers(
    settings: config.Settings, *, on_claim: Callable[[str, int], None] | None = None
) -> dict[str, Publisher]:
    """A publisher for each target, by its name; `on_claim` hears of each upload of a claim check, with the
    target and the bytes.

    Raises:
        ConfigError: as `routes`, with every problem of every target.
    """
    return {
        name: Publisher(settings.all_targets[name], way, claims=claim_store(settings, name, on_claim))
        for name, way in routes(settings).items()
    }


def claim_store(
    settings: config.Settings, name: str, on_claim: Callable[[str, int], None] | None = None
) -> ClaimStore | None:
    """The bucket of a target's claim check, imported where there is one."""
    target = settings.all_targets[name]
    if target.claim_check is None:
        return None
    from connector.eventbridge.claim_store import ClaimStore  # noqa: PLC0415

    path = f"{settings.path_of_target(name)}.claim_check"
    on_stored = partial(on_claim, name) if on_claim else None
    return ClaimStore(target, target.claim_check, path=path, on_stored=on_stored)
