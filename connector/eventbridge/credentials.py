"""Who signs a request: boto3's credential chain, kept fresh off the loop."""

from __future__ import annotations

import asyncio
import contextlib
import re
import string
import threading
import time
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from botocore import exceptions as boto
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    Credentials,
    DeferredRefreshableCredentials,
    ReadOnlyCredentials,
    RefreshableCredentials,
)

from connector import config
from connector.errors import (
    ConfigError,
    ConnectorError,
    NotAuthorizedError,
    UnavailableError,
    Verdict,
)
from connector.eventbridge import errors
from connector.eventbridge.session import session
from connector.eventbridge.signer import Signer

CHECK_INTERVAL_S = 1.0
"""Between two checks of the credentials' age, which cost more than the signature's own work."""
LAST_MOMENT_S = 30
"""Credentials that expire sooner are not used any more: the request might arrive too late."""
LOOK_UP_LIMIT_S = 30.0
"""A lookup of credentials that takes longer counts as one that hangs. STS takes
`eventbridge.timeouts` at most; a `credential_process` has no limit of its own."""
MAX_HUNG = 3
"""So many lookups may hang at once, each with its thread and perhaps a process."""
MAX_LOCAL_CHARACTERS = 1000
"""Of a message about this machine's own configuration or programs."""
CREDENTIALS_SOURCE = "what gives AWS credentials (`credential_process`, STS, or the metadata service)"
RETRY_INTERVAL_S = 10.0
"""A failed refresh is not tried again for so long, while the credentials at hand are still good."""


class ResolvedCredentials(NamedTuple):
    """Credentials as boto3's chain found them."""

    credentials: Credentials
    signer: Signer

    @property
    def frozen(self) -> ReadOnlyCredentials:
        """All of one moment, as they can be signed with."""
        return Usable(self.credentials).get_frozen_credentials()

    def expires_within(self, seconds: int | None) -> bool:
        """Whether they expire so soon; None for boto's own idea of when to renew, 15 minutes before."""
        return isinstance(self.credentials, RefreshableCredentials) and self.credentials.refresh_needed(
            seconds
        )


class CredentialProvider:
    """Hands out a signer whose credentials are good, and renews them before they expire.

    Finding and renewing credentials calls files, STS or a metadata service, so both happen on a
    thread of their own, once for all requests that wait. While the credentials at hand are good
    no request waits: they are renewed behind the scenes.

    A lookup that hangs is given up: those that wait for it get an error, and the next request starts
    another. What it finds in the end is used all the same.
    """

    def __init__(
        self,
        target: config.Target,
        *,
        url: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self._clock = clock
        self._build = partial(Signer, region=target.region, url=url)
        self._resolved: ResolvedCredentials | None = None
        self._check_at_s = 0.0
        self._renewal: asyncio.Future[ResolvedCredentials] | None = None
        self._hung: set[asyncio.Future[ResolvedCredentials]] = set()
        """Lookups that were given up, and whose thread goes on."""
        self._had_good_ones = False

    @property
    def are_awaited(self) -> bool:
        """Whether nothing can be signed before a lookup of credentials has ended that is under way."""
        resolved = self._resolved
        return self._renewal is not None and (resolved is None or resolved.expires_within(LAST_MOMENT_S))

    def at_hand(self) -> Signer | None:
        """The signer of `current`, where nothing has to be waited for; otherwise None."""
        resolved = self._resolved
        return resolved.signer if resolved is not None and self._clock() < self._check_at_s else None

    async def current(self) -> Signer:
        """A signer with credentials that have not expired.

        Raises:
            NotAuthorizedError: there are none, or they may not be used; says what to do.
            UnavailableError: they cannot be had now.
        """
        return (await self.resolved()).signer

    async def resolved(self) -> ResolvedCredentials:
        """Credentials that have not expired, and their signer.

        Raises:
            NotAuthorizedError, UnavailableError: as `current`.
        """
        resolved = self._resolved
        if resolved is None:
            return await asyncio.shield(self._renew(None))
        now_s = self._clock()
        if now_s < self._check_at_s:
            return resolved
        self._check_at_s = now_s + CHECK_INTERVAL_S
        if resolved.expires_within(LAST_MOMENT_S):
            self._check_at_s = 0.0  # the next request must wait for the renewal as well
            return await asyncio.shield(self._renew(resolved))
        if resolved.expires_within(None) and not self._hung:
            # Beside one that hangs another is started only when a request has to wait for it.
            self._renew(resolved)
        return resolved

    async def replace(self, refused: Signer) -> Signer:
        """A signer with credentials other than those that EventBridge just called expired.

        They are looked up from the start of the chain. Requests that were refused together share
        one lookup.

        Raises:
            NotAuthorizedError, UnavailableError: as `current`.
        """
        if self._resolved is not None and self._resolved.signer is refused:
            self._resolved = None
        return await self.current()

    def resolve(self, old: ResolvedCredentials | None = None) -> ResolvedCredentials:
        """Find credentials, or renew `old`. Blocks on files and the network.

        Where AWS refuses to renew `old` they are looked up from the start of the chain, once: what a role is
        assumed with may be session keys in a file that was written anew since.

        Raises:
            NotAuthorizedError, UnavailableError: as `current`.
        """
        if old is not None:
            try:
                return self._resolve(old)
            except NotAuthorizedError:
                pass
        return self._resolve(None)

    def _resolve(self, old: ResolvedCredentials | None) -> ResolvedCredentials:
        """Find credentials, or renew `old`.

        Where there were good ones before, what is wrong with them now may pass: a file that is being
        replaced, a program that is being updated. Only AWS's own refusal is for good then.

        Raises:
            NotAuthorizedError, UnavailableError: as `current`.
        """
        try:
            credentials = old.credentials if old else chain(self._target)
            key, secret, token, _ = Usable(credentials).get_frozen_credentials()
            resolved = ResolvedCredentials(credentials, self._build(key or "", secret or "", token))
        except UnusableCredentialsError as error:
            if self._had_good_ones:
                raise UnavailableError(f"{error} It is tried again.", code="credentials") from error
            raise
        except ConnectorError:
            raise
        except Exception as error:  # what a chain of files, processes and services raises is no closed set
            raise credential_error(error, may_pass=self._had_good_ones) from error
        self._had_good_ones = True
        return resolved

    def _renew(self, old: ResolvedCredentials | None) -> asyncio.Future[ResolvedCredentials]:
        """Resolve on a thread; everyone who asks meanwhile gets the same future.

        Await it through `asyncio.shield`: a cancelled request must not cancel what others wait for.
        """
        loop = asyncio.get_running_loop()
        if self._renewal is not None and self._renewal.get_loop() is loop:
            return self._renewal
        renewal: asyncio.Future[ResolvedCredentials] = loop.create_future()
        if len(self._hung) >= MAX_HUNG:
            _fail(renewal, UnavailableError(_hangs(f"{MAX_HUNG} look-ups of them hang"), code="credentials"))
            return renewal
        self._renewal = renewal
        if self._hung:
            old = None  # boto's lock on these may be what a thread that hangs holds
        limit = loop.call_later(LOOK_UP_LIMIT_S, self._give_up, renewal)

        def resolve() -> None:
            outcome: ResolvedCredentials | Exception
            try:
                outcome = self.resolve(old)
            except Exception as error:  # noqa: BLE001 - raised again for those who wait
                outcome = error
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(self._renewed, renewal, limit, outcome)

        # A daemon, unlike an executor's thread: a hung metadata service must not hold up a stop.
        try:
            threading.Thread(target=resolve, name="credentials", daemon=True).start()
        except RuntimeError as error:  # the system gives us no more threads at this moment
            self._renewed(renewal, limit, credential_error(error))
        return renewal

    def _give_up(self, renewal: asyncio.Future[ResolvedCredentials]) -> None:
        self._renewal = None
        self._hung.add(renewal)
        said = f"their look-up has not ended within {LOOK_UP_LIMIT_S:g} s"
        _fail(renewal, UnavailableError(_hangs(said), code="credentials"))

    def _renewed(
        self,
        renewal: asyncio.Future[ResolvedCredentials],
        limit: asyncio.TimerHandle,
        outcome: ResolvedCredentials | Exception,
    ) -> None:
        limit.cancel()
        if renewal in self._hung:
            self._hung.discard(renewal)
            # One that was started after it may have found newer ones.
            if isinstance(outcome, ResolvedCredentials) and (
                not self._resolved or self._resolved.expires_within(None)
            ):
                self._resolved = outcome
            return
        self._renewal = None
        if isinstance(outcome, ResolvedCredentials):
            self._resolved = outcome
            renewal.set_result(outcome)
        else:
            _fail(renewal, outcome)
        resolved = self._resolved
        if resolved and resolved.expires_within(None) and not resolved.expires_within(LAST_MOMENT_S):
            # It failed, and there is time left; boto keeps the old ones in silence then.
            self._check_at_s = self._clock() + RETRY_INTERVAL_S


def _fail(renewal: asyncio.Future[ResolvedCredentials], error: Exception) -> None:
    renewal.set_exception(error)
    renewal.exception()  # seen: behind the scenes no request waits for it


def _hangs(said: str) -> str:
    return (
        f"AWS credentials cannot be had now: {said}. Nothing can be signed; it will be tried again. See why "
        "what gives them does not answer: `credential_process` of the AWS configuration, STS, or the "
        "metadata service. If it stays so, restart the bridge"
    )


NO_CREDENTIALS = (
    "No AWS credentials were found: not in the environment, not in the AWS configuration files, and no web "
    "identity, container or instance offers any. Nothing was sent. Give the pod a role (IRSA or EKS Pod "
    "Identity), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
)
_ROLE = (
    "Check `eventbridge.role_arn` and `external_id`, and that the role's trust policy allows this identity."
)
PERMANENT = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.ConfigParseError,
    boto.ConfigNotFound,
    boto.InvalidConfigError,
    boto.ProfileNotFound,
    boto.UnknownCredentialError,
    boto.UnknownTokenProviderError,
    boto.NoAuthTokenError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.LoginError,
    boto.RefreshWithMFAUnsupportedError,
    boto.MissingDependencyException,
    boto.NoRegionError,
    boto.ParamValidationError,
    boto.InvalidIMDSEndpointError,
    boto.InvalidIMDSEndpointModeError,
)
"""Failures of the chain that a pause does not mend; a person must."""
_STS_PERMANENT = frozenset(
    {"InvalidIdentityToken", "IDPRejectedClaim", "RegionDisabledException", "MalformedPolicyDocument"}
)


class UnusableCredentialsError(NotAuthorizedError):
    """There are no credentials, or none that a request could be signed with."""


class Usable(NamedTuple):
    """Credentials as they can be signed with.

    White space around them is taken away, as AWS's SDK for Java and its configuration files do: a secret that
    was written with `echo` ends in a line break.
    """

    found: Credentials

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """All of one moment; botocore knows the name.

        Raises:
            UnusableCredentialsError: there are none, or they hold what none can hold.
        """
        frozen = self.found.get_frozen_credentials()
        key, secret, token = ((text or "").strip(string.whitespace) for text in frozen[:3])
        if not key or not secret:
            raise UnusableCredentialsError(NO_CREDENTIALS)
        if problem := _credential_problem(key, secret, token):
            raise UnusableCredentialsError(problem)
        return ReadOnlyCredentials(key, secret, token or None)


def _credential_problem(key: str, secret: str, token: str) -> str | None:
    """Which of them holds what kind of character that it cannot hold; never its value."""
    for name, text, forbidden in (
        ("access key id", key, "/,="),
        ("secret access key", secret, ""),
        ("session token", token, ""),
    ):
        bad = next((each for each in text if not "!" <= each <= "~" or each in forbidden), None)
        if bad is not None:
            return (
                f"The AWS {name} holds {kind_of(bad)}, which none has, so nothing can be signed. Write it "
                "anew, without that, where it comes from: environment, AWS configuration files, or a secret."
            )
    return None


def kind_of(character: str) -> str:
    """The description of a character in a secret, which does not give it away."""
    match unicodedata.category(character):
        case "Cc":
            return "a control character, such as a line break"
        case "Cf":
            return "an invisible character"
        case "Cs":
            return "bytes that are not UTF-8"
        case "Zs" | "Zl" | "Zp":
            return "a space"
    return "a punctuation mark" if character.isascii() else "a character that is not ASCII"


def _is_local(error: Exception) -> bool:
    """Whether an error is about files and programs of this machine: it can hold no record."""
    of_program = isinstance(error, boto.CredentialRetrievalError) and "custom-process" in str(error)
    return of_program or isinstance(error, PERMANENT)


def _without_keys(text: str) -> str:
    """A message in one line, without what may be a secret key or a token: a program may have printed it."""
    text = "; ".join(line.strip() for line in text.splitlines() if line.strip()).replace(":; ", ": ")
    if len(text) > MAX_LOCAL_CHARACTERS:
        half = MAX_LOCAL_CHARACTERS // 2
        text = f"{text[:half]}…{text[-half:]}"  # what a program says last is why it failed
    return _KEY.sub(r"\g<name>…", text)


_KEY = re.compile(
    r"""(?P<name>(?:secret_?access_?key|(?:session|security)_?token|password)['"]?\s*[:=]\s*)[^\s,;}]+"""
    r"|\beyJ[\w.-]{20,}"
    r"|(?<![\w/+=])(?=[a-z0-9/+=]*[0-9])(?=[a-z0-9/+=]*[a-z])[a-z0-9/+=]{40,}",
    re.IGNORECASE,
)
"""A named key, a JSON Web Token, and anything else in which a secret access key would fit."""
_BYTES = re.compile(r"""\bb(?=['"])""")


def credential_error(error: Exception, *, may_pass: bool = False) -> ConnectorError:
    """The error for a failure to find or renew credentials: stop, or wait and try again.

    With `may_pass` only AWS's own refusal is a reason to stop.
    """
    text = str(error) or type(error).__name__
    # Python's HTTP client quotes a header that it refuses, as bytes: that may be the session token.
    said = _without_keys(text) if _is_local(error) else errors.redacted(_BYTES.sub("", text))
    if isinstance(error, boto.ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code == "InvalidIdentityToken" and "retrieve verification key" in text:
            code = "IDPCommunicationError"  # STS could not reach the identity provider; the token may be good
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        verdict, _ = errors.REQUEST.get(code, (Verdict.UNAVAILABLE, ""))
        if code in _STS_PERMANENT or (
            verdict not in {Verdict.UNAVAILABLE, Verdict.THROTTLED} and status not in {429, *range(500, 600)}
        ):
            return NotAuthorizedError(f"AWS refuses to give credentials ({said}). {_ROLE}")
    elif isinstance(error, PERMANENT) and not may_pass:
        return NotAuthorizedError(
            f"The AWS credentials cannot be used ({said}). Correct their configuration."
        )
    return UnavailableError(f"AWS credentials cannot be had now ({said}); will try again", code="credentials")


def chain(target: config.Target) -> Credentials:
    """Credentials by boto3's chain, of the role to assume where one is set."""
    try:
        made = session(target)
    except ConfigError as error:
        raise UnusableCredentialsError(str(error)) from error
    found = made.get_credentials()
    if found is None:
        raise UnusableCredentialsError(NO_CREDENTIALS)
    if target.role_arn is None:
        return found
    extra_args = {"RoleSessionName": "kafka-partner-bridge"}
    if target.external_id:
        extra_args["ExternalId"] = target.external_id
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=made.create_client,
        source_credentials=Usable(found),
        role_arn=target.role_arn,
        extra_args=extra_args,
    )
    return DeferredRefreshableCredentials(method="assume-role", refresh_using=fetcher.fetch_credentials)
