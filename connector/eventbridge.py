"""The calls of EventBridge: one request, signed and sent, and what its answer means.

PutPartnerEvents and the calls about sources go the same way: credentials, clock, endpoint, TLS and proxy are
those of the target, and so is what is done when one of them is wrong.

boto3's own call costs 110 to 160 µs of CPU an event and holds the interpreter's lock; the same
request over our own connections costs a tenth. boto3 still says where the endpoint is and who we are,
and a contract test holds our request to be the same as its own.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import orjson
from botocore import UNSIGNED
from botocore import exceptions as boto
from botocore.config import Config
from botocore.httpsession import ProxyConfiguration, get_cert_path
from botocore.utils import get_environ_proxies

from connector import config, verdicts
from connector.connections import Connections, ProxyError, Reply, ReplyError, Way
from connector.errors import ConfigError, ConnectorError, Problem, RefusedError, UnavailableError
from connector.model import Answer, Entry
from connector.signing import PUT_PARTNER_EVENTS, SERVICE, Resolved, Signers, kind_of, session
from connector.verdicts import Refusal, Verdict

MAX_ANSWER_BYTES = 256 * 1024
"""Far over what 20 results, or a page of 100 sources, take; more is not an answer of EventBridge."""
CONTROL_CALLS = 4
"""Calls about sources at once, at most. They have connections of their own, so that none waits for another
kind."""
CLOCK_JUMP_S = 60.0
"""Two answers to one call whose dates are further apart come from clocks that disagree among themselves:
that is not ours to be right, and no reason to halt."""


class Publisher:
    """Sends entries to EventBridge, one signed call at a time for each batch; deciding about retries
    is the caller's.

    Raises:
        ConfigError: profile, CA bundle, Region or endpoint cannot be used.
    """

    def __init__(self, target: config.Target) -> None:
        self._target = target
        self.endpoint = endpoint(target)
        self._signers = Signers(target, url=self.endpoint.url)
        self._clock_offset_s = 0.0
        """What AWS's clock is ahead of ours, once an answer has shown that it matters."""
        connections = partial(
            Connections,
            self.endpoint,
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
        """Close every connection."""
        await self._connections.close()
        await self._control_connections.close()

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
                outcomes = verdicts.outcomes(reply.body, len(entries))
                return Answer(outcomes, None, request_id, time.monotonic() - started_s)
            error, retry_after_s = refusal.error, refusal.retry_after_s
        except ConnectorError as failure:
            error = failure
        _drop_frames(error)
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

        It is repeated at once only where the first was refused before EventBridge looked at it: with new
        credentials when they had expired, and with the clock corrected by the answer's date. Each of the
        two happens once.
        """
        remedies = {Verdict.RENEW, Verdict.CLOCK}
        signer = await self._signers.current()
        while True:
            offset_s = self._clock_offset_s
            headers = signer.headers(body, time.time() + offset_s, operation=operation)
            reply = await self._send(headers, body, connections)
            if reply.status == 200:
                return reply, None
            refusal = verdicts.refusal(reply.status, reply.headers, reply.body)
            if refusal.verdict is Verdict.CLOCK:
                self._correct_clock(reply)
            if refusal.verdict not in remedies:
                if abs(self._clock_offset_s - offset_s) > CLOCK_JUMP_S:
                    jumps = UnavailableError("EventBridge's clock jumps; it will be tried again")
                    refusal = refusal._replace(verdict=Verdict.UNAVAILABLE, error=jumps)
                return reply, refusal
            remedies.discard(refusal.verdict)
            if refusal.verdict is Verdict.RENEW:
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
        return f"{who} in {self._target.region} at {self.endpoint.url}"

    async def _try_out(self) -> tuple[Resolved, Answer]:
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
        ConfigError: as `Publisher`, with every problem of every target.
    """
    made: dict[str, Publisher] = {}
    problems: list[Problem] = []
    for name, target in settings.all_targets.items():
        try:
            made[name] = Publisher(target)
        except ConfigError as error:
            problems += [problem._replace(path=_path_in(name, problem.path)) for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return made


def _path_in(name: str, path: str) -> str:
    return path if name == config.DEFAULT_TARGET else path.replace("eventbridge", f"targets.{name}", 1)


def endpoint(target: config.Target) -> Way:
    """Where boto3 would send a target's requests, by which way, and whose certificates it would trust.

    From the settings, AWS's own configuration files and the environment.

    Raises:
        ConfigError: profile, CA bundle, Region or endpoint cannot be used.
    """
    made = session(target)
    try:
        client = made.client(
            SERVICE,
            endpoint_url=target.endpoint_url,
            config=Config(
                # Asking for the address must not set the credential chain in motion.
                signature_version=UNSIGNED,
                # None leaves the word to the environment, as boto3 users know it.
                use_fips_endpoint=target.use_fips or None,
                use_dualstack_endpoint=target.use_dualstack or None,
            ),
        )
    except (boto.BotoCoreError, ValueError) as error:
        raise ConfigError([Problem("eventbridge", f"there is no endpoint to use: {error}")]) from error
    url = client.meta.endpoint_url.rstrip("/") + "/"
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    if (
        not is_tls
        and not target.endpoint_url
        and not target.allow_insecure
        and not config.is_loopback(parts.hostname or "")
    ):
        text = (
            "the endpoint that AWS's own configuration names is http://, which would send events in the clear"
        )
        raise ConfigError(
            [Problem("eventbridge.allow_insecure", f"{text}; use https://, or set this to true")]
        )
    proxy = (ProxyConfiguration(get_environ_proxies(url)).proxy_url_for(url) or "").strip()
    for name, each in (("endpoint", url), ("proxy of the environment (HTTPS_PROXY or HTTP_PROXY)", proxy)):
        if each and (problem := _url_problem(each)):
            raise ConfigError([Problem("eventbridge", f"the {name} cannot be used: {problem}")])
    return Way(url, proxy=proxy or None, tls=_tls(made) if is_tls else None)


def _url_problem(url: str) -> str | None:
    """Why nothing can be reached at a URL; without its value, which may hold a password."""
    if bad := next((each for each in url if not "!" <= each <= "~"), None):
        return f"its URL holds {kind_of(bad)}"
    parts = urlsplit(url)
    try:
        _ = parts.port
    except ValueError:
        return "the port in its URL is no number up to 65535"
    # botocore writes http:// before another scheme, so that this stands in the place of the host.
    if parts.scheme not in {"http", "https"} or parts.path.startswith("//"):
        return "its URL begins neither with http:// nor with https://"
    return None if parts.hostname else "its URL names no host"


def _tls(made: boto3.Session) -> ssl.SSLContext:
    """Verifies certificates against `ca_bundle`, AWS_CA_BUNDLE, or what boto3 trusts, in this order."""
    trusted = Path(made._session.get_config_variable("ca_bundle") or str(get_cert_path(verify=True)))  # noqa: SLF001
    try:
        if trusted.is_dir():
            return ssl.create_default_context(capath=str(trusted))
        return ssl.create_default_context(cafile=str(trusted))
    except OSError as error:  # ssl.SSLError, of a file that holds no certificate, is one
        raise ConfigError(
            [Problem("eventbridge.ca_bundle", f"{trusted} cannot be used as a PEM file of CAs: {error}")]
        ) from error


def _drop_frames(error: BaseException | None) -> None:
    """Take the tracebacks from an error and from what led to it.

    Their frames hold the request, and refer back to the error: 0.6 MB for each failed call, until Python
    looks for cycles. What happened is in the messages.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def transport_error(error: OSError, target: config.Target) -> UnavailableError:
    """What it means that no answer came, or only a part of one: the outcome is unknown.

    Codes: tls, proxy, timeout, answer_invalid, connection.
    """
    said = verdicts.without_values(str(error)) or type(error).__name__
    match error:
        case ssl.SSLError():
            said = getattr(error, "verify_message", "") or said
            text = f"TLS to EventBridge fails ({said}). If a private CA signs, set `eventbridge.ca_bundle`"
            return UnavailableError(text, code="tls")
        case ProxyError():
            text = (
                f"the proxy to EventBridge fails ({said}). Check HTTPS_PROXY, its credentials, and NO_PROXY"
            )
            return UnavailableError(text, code="proxy")
        case TimeoutError():
            limits = f"{target.timeouts.connect:g} s to connect, {target.timeouts.read:g} s to answer"
            text = f"EventBridge took too long (`eventbridge.timeouts` allows {limits})"
            return UnavailableError(text, code="timeout")
        case ReplyError():
            text = (
                f"what came back is no answer of EventBridge ({said}), so what became of the request is not "
                "known; it will be sent again"
            )
            return UnavailableError(text, code="answer_invalid")
    return UnavailableError(
        f"no connection to EventBridge ({said}); it will be tried again", code="connection"
    )
