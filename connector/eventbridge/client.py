"""The calls of EventBridge: one request, signed and sent, and what its answer means.

PutPartnerEvents and the calls about sources go the same way: credentials, clock, endpoint, TLS and proxy are
those of the target, and so is what is done when one of them is wrong.

boto3's own call costs 110 to 160 µs of CPU an event and holds the interpreter's lock; the same
request over our own connections costs a tenth. boto3 still says where the endpoint is and who we are,
and a contract test holds our request to be the same as its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import partial

import orjson

from connector import config
from connector.errors import ConnectorError, RefusedError
from connector.eventbridge import errors
from connector.eventbridge.credentials import CredentialProvider, ResolvedCredentials
from connector.eventbridge.endpoint import Route, drop_frames, route, routes, transport_error
from connector.eventbridge.errors import Refusal, Remedy
from connector.eventbridge.http import Connections, Reply
from connector.eventbridge.signer import PUT_PARTNER_EVENTS
from connector.model import Answer, Entry

MAX_ANSWER_BYTES = 256 * 1024
"""Far over what 20 results, or a page of 100 sources, take; more is not an answer of EventBridge."""
CONTROL_CALLS = 4
"""Calls about sources at once, at most. They have connections of their own, so that none waits for another
kind."""


class Publisher:
    """Sends entries to EventBridge, one signed call at a time for each batch; deciding about retries
    is the caller's.

    Raises:
        ConfigError: profile, CA bundle, Region or endpoint cannot be used.
    """

    def __init__(self, target: config.Target, way: Route | None = None) -> None:
        self._target = target
        self.route = way or route(target)
        self._signers = CredentialProvider(target, url=self.route.endpoint.url)
        self._clock_offset_s = 0.0
        """Seconds by which AWS's clock is ahead of ours, once an answer has shown that it matters."""
        connections = partial(
            Connections,
            self.route.endpoint,
            connect_timeout_s=target.timeouts.connect,
            read_timeout_s=target.timeouts.read,
            max_reply_bytes=MAX_ANSWER_BYTES,
        )
        self._connections = connections(limit=target.max_in_flight)
        self._control_connections = connections(limit=CONTROL_CALLS)

    @property
    def region(self) -> str:
        return self._target.region

    async def close(self) -> None:
        await self._connections.close()
        await self._control_connections.close()

    async def find_credentials(self) -> None:
        """Find credentials before the first request needs them, which otherwise does. Never raises."""
        with suppress(ConnectorError):
            await self._signers.current()

    async def publish(self, entries: Sequence[Entry]) -> Answer:
        """Make one call of PutPartnerEvents and say what it came to. Never raises for anything outside the
        bridge.
        """
        body = b'{"Entries":[' + b",".join([entry.json for entry in entries]) + b"]}"
        started_s = time.monotonic()
        retry_after_s: float | None = None
        request_id: str | None = None
        try:
            reply, refusal = await self._request(PUT_PARTNER_EVENTS, body, self._connections)
            request_id = reply.headers.get("x-amzn-requestid")
            if refusal is None:
                outcomes = errors.outcomes(reply.body, len(entries))
                return Answer(outcomes, None, request_id, time.monotonic() - started_s)
            error, retry_after_s = refusal.error, refusal.retry_after_s
        except ConnectorError as failure:
            error = failure
        drop_frames(error)
        return Answer((), error, request_id, time.monotonic() - started_s, retry_after_s)

    async def call(self, operation: str, members: Mapping[str, str]) -> Reply | Refusal:
        """Make one call about sources. A reply is one of HTTP 200.

        Raises:
            NotAuthorizedError, UnavailableError: nothing could be asked, or nothing came back.
        """
        reply, refusal = await self._request(operation, orjson.dumps(members), self._control_connections)
        return refusal or reply

    async def _request(
        self, operation: str, body: bytes, connections: Connections
    ) -> tuple[Reply, Refusal | None]:
        """Send one request, and say what its answer means where that is not HTTP 200.

        It is repeated at once only where the first was refused before EventBridge processed it: with new
        credentials when they had expired, and with the clock corrected by the answer's date. Each of the
        two happens once.
        """
        remedies = {*Remedy}
        signer = await self._signers.current()
        while True:
            headers = signer.headers(body, time.time() + self._clock_offset_s, operation=operation)
            reply = await self._send(headers, body, connections)
            if reply.status == 200:
                return reply, None
            refusal = errors.refusal(reply.status, reply.headers, reply.body)
            if refusal.remedy is Remedy.FIX_CLOCK:
                self._correct_clock(reply)
            if refusal.remedy not in remedies:
                return reply, refusal
            remedies.discard(refusal.remedy)
            if refusal.remedy is Remedy.REFRESH_CREDENTIALS:
                signer = await self._signers.replace(signer)

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

    def _correct_clock(self, reply: Reply) -> None:
        try:
            now_s = parsedate_to_datetime(reply.headers.get("date", "")).timestamp()
        except ValueError:
            return  # no usable date: the second attempt fails as the first did, and says why
        self._clock_offset_s = now_s - time.time()


def publishers(settings: config.Settings) -> dict[str, Publisher]:
    """A publisher for each target, by its name.

    Raises:
        ConfigError: as `routes`, with every problem of every target.
    """
    return {name: Publisher(settings.all_targets[name], way) for name, way in routes(settings).items()}
