"""The bucket of a claim check: uploads to S3, with the credentials and the clock of the target.

botocore's own client does it, on threads: an upload is rare and large, so its cost does not matter. Only the
signature is made here, since botocore's has the time of this machine, right or wrong (which is what directory
buckets get). Where the bucket cannot be written the target is down, see `ClaimStore.store`.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import MappingProxyType
from typing import Any

from botocore import UNSIGNED
from botocore import exceptions as boto
from botocore.auth import SIGV4_TIMESTAMP, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials

from connector import config
from connector.errors import CLAIM_CHECK, UnavailableError, Verdict
from connector.eventbridge import errors
from connector.eventbridge.clock import Clock
from connector.eventbridge.errors import REMEDIES, REQUEST, Remedy
from connector.eventbridge.session import session
from connector.model import Claim

UPLOADS = 8
"""At once, at most."""
TRIES = 4
"""Of one upload, before the bucket is taken not to be writable."""
PAUSE_S = 0.1
"""At most so long before the second try; then it doubles. An upload that pauses keeps its place."""
TRIAL = "partner-bridge-check"
"""The name of the empty object that `check --connect` writes."""

_ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "AccessDenied": "allow s3:PutObject on {arn} to this identity, and kms:GenerateDataKey on the KMS "
        "key that encrypts the bucket, where one does; the bucket's own policy may deny it, too",
        "NoSuchBucket": "create the bucket, or correct {at}.bucket",
        "PermanentRedirect": "it is in another Region; set {at}.region",
        "AuthorizationHeaderMalformed": "it is in another Region; set {at}.region",
        "IllegalLocationConstraintException": "it is in another Region; set {at}.region",
        "RequestTimeTooSkewed": "correct the clock of this machine",
        "KMS.DisabledException": "enable the KMS key, or set another as {at}.kms_key_id",
        "KMS.NotFoundException": "correct {at}.kms_key_id",
    }
)
_FORGET_CREDENTIALS = frozenset(
    {"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "TokenRefreshRequired"}
)
"""After these the credentials are looked up from the start of the chain."""


class ClaimStore:
    """Uploads what events of one target leave out. `store` is for one asyncio loop."""

    def __init__(
        self,
        target: config.Target,
        settings: config.ClaimCheckSettings,
        *,
        path: str,
        on_stored: Callable[[int], None] | None = None,
    ) -> None:
        """`path` is where the settings of the claim check are; `on_stored` gets the bytes of each upload."""
        self.clock = Clock()
        """The target's: its `Publisher` takes it for EventBridge, too."""
        self._on_stored = on_stored
        self._target = target
        self._settings = settings
        self._path = path
        self._limit_s = target.timeouts.connect + target.timeouts.read
        self._free = asyncio.Semaphore(UPLOADS)
        self._pool = ThreadPoolExecutor(UPLOADS, thread_name_prefix="claim-check")
        self._making = threading.Lock()
        self._made: tuple[ReadOnlyCredentials, Any] | None = None
        self._failed: weakref.ref[Claim] | None = None
        """The upload that failed last. Until it succeeds, or nobody waits for it, nothing else is written."""
        self._why = ""
        """It failed."""
        self.wants_new_credentials = False
        """S3 refused the last ones; they are to be looked up from the start of the chain."""
        self._extra: dict[str, str] = {"ContentType": "application/json"}
        if settings.kms_key_id:
            self._extra |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.kms_key_id}
        if settings.bucket_owner:
            self._extra["ExpectedBucketOwner"] = settings.bucket_owner

    @property
    def failed(self) -> Claim | None:
        """What could not be written the last time, while an event waits for it."""
        return None if self._failed is None else self._failed()

    async def store(self, claims: Sequence[Claim], credentials: ReadOnlyCredentials) -> None:
        """Have each claim in the bucket; those that are there already are not written again.

        An upload that failed comes first, whoever asks: no event leaves while the bucket cannot be written.
        The target is down then, as in an outage of EventBridge, which costs no event and counts against none.
        It takes no longer than a request may, so that a drain knows how long to wait.

        Raises:
            UnavailableError: one of them could not be written; its code is `claim_check`.
        """
        try:
            async with asyncio.timeout(self._limit_s):
                if (failed := self.failed) is not None:
                    await self._upload(failed, credentials)
                missing = [claim for claim in claims if not claim.is_stored]
                results = await asyncio.gather(
                    *(self._upload(claim, credentials) for claim in missing), return_exceptions=True
                )
        except TimeoutError:
            waiting = next((claim for claim in claims if not claim.is_stored), None)
            if waiting is not None and self.failed is None:
                self._note(waiting, f"S3 took over {self._limit_s:g} s")
            raise UnwritableBucketError(self._settings.bucket, self._why or "S3 does not answer") from None
        failure = next((result for result in results if isinstance(result, BaseException)), None)
        del results
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # which refers to this frame, and with it to the claims

    def check(self, credentials: ReadOnlyCredentials) -> str:
        """Write an empty object; says where. Blocks.

        Raises:
            UnavailableError: it cannot be written; says what to do.
        """
        prefix = f"{self._settings.prefix}/" if self._settings.prefix else ""
        claim = Claim(b"", key=prefix + TRIAL, place="")
        self._put(claim, credentials)
        return f"an empty object can be written to s3://{self._settings.bucket}/{claim.key}"

    def close(self) -> None:
        """Start no other upload; those under way are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _upload(self, claim: Claim, credentials: ReadOnlyCredentials) -> None:
        async with self._free:
            if claim.is_stored:
                return
            if self.failed not in {None, claim}:  # others that waited their turn need not find out, too
                raise UnwritableBucketError(self._settings.bucket, self._why)
            try:
                await self._write(claim, credentials)
            except UnwritableBucketError as error:
                self._note(claim, error.why)
                raise
            claim.is_stored = True
            if self.failed is claim:
                self._failed = None
            if self._on_stored is not None:
                self._on_stored(len(claim.body))

    async def _write(self, claim: Claim, credentials: ReadOnlyCredentials) -> None:
        """Write one object, with a few more tries where S3 says what may pass in a moment.

        One that is known to fail gets a single try: the sender makes the pauses then. Silence gets no other,
        since it took the time of a request already.
        """
        loop = asyncio.get_running_loop()
        tries = 1
        while True:
            try:
                return await loop.run_in_executor(self._pool, self._put, claim, credentials)
            except UnwritableBucketError as error:
                if not error.may_pass or tries == TRIES or self.failed is claim:
                    raise
            await asyncio.sleep(PAUSE_S * 2 ** (tries - 1) * random.uniform(0.1, 1.0))  # noqa: S311
            tries += 1

    def _note(self, claim: Claim, why: str) -> None:
        self._failed, self._why = weakref.ref(claim), why

    def _put(self, claim: Claim, credentials: ReadOnlyCredentials) -> None:
        """Write one object; once more where S3 refused it for our clock, which is right then."""
        bucket = self._settings.bucket
        try:
            client = self._client(credentials)
            put = partial(client.put_object, Bucket=bucket, Key=claim.key, Body=claim.body, **self._extra)
            try:
                put()
            except boto.ClientError as error:
                if REMEDIES.get(_code(error)) is not Remedy.FIX_CLOCK:
                    raise
                self.clock.correct(error.response["ResponseMetadata"]["HTTPHeaders"].get("date", ""))
                put()
        except boto.ClientError as error:
            raise UnwritableBucketError(bucket, self._refused(error), may_pass=_may_pass(error)) from None
        except (boto.HTTPClientError, boto.ConnectionError) as error:
            raise UnwritableBucketError(
                bucket,
                f"S3 cannot be reached ({type(error).__name__})",
                may_pass=not isinstance(error, boto.ConnectTimeoutError | boto.ReadTimeoutError),
            ) from None
        except Exception as error:  # noqa: BLE001 - what files and TLS raise below it is no closed set
            raise UnwritableBucketError(bucket, errors.redacted(f"{type(error).__name__}: {error}")) from None

    def _client(self, credentials: ReadOnlyCredentials) -> Any:
        """A client with these credentials; making one takes a moment, and they change by the hour."""
        with self._making:
            if self._made is None or self._made[0] != credentials:
                settings, target = self._settings, self._target
                is_own = settings.endpoint_url is not None  # where botocore takes no kind of AWS's
                region = settings.region or target.region
                client = session(target.model_copy(update={"region": region})).create_client(
                    "s3",
                    aws_access_key_id=credentials.access_key,
                    aws_secret_access_key=credentials.secret_key,
                    aws_session_token=credentials.token,
                    endpoint_url=settings.endpoint_url,
                    config=Config(
                        connect_timeout=target.timeouts.connect,
                        read_timeout=target.timeouts.read,
                        max_pool_connections=UPLOADS,
                        use_fips_endpoint=False if is_own else target.use_fips,
                        use_dualstack_endpoint=False if is_own else target.use_dualstack,
                        retries={"mode": "standard", "total_max_attempts": 1},  # are those of `_write`
                        # What is not AWS's own need not have a host name for each bucket.
                        s3={"addressing_style": "path" if is_own else "auto"},
                    ),
                )
                client.meta.events.register_first("choose-signer.s3", _chosen)  # type: ignore[arg-type]
                client.meta.events.register_last("before-sign.s3", _Signature(credentials, self.clock))
                self._made = credentials, client
            return self._made[1]

    def _refused(self, error: boto.ClientError) -> str:
        """What S3 says, and what to do about it."""
        code = _code(error)
        if code in _FORGET_CREDENTIALS:
            self.wants_new_credentials = True
        bucket, prefix = self._settings.bucket, self._settings.prefix
        arn = f"{bucket}/{prefix}/*" if prefix else f"{bucket}/*"
        said = (
            f"S3 answers {code}: {errors.redacted(str(error.response.get('Error', {}).get('Message', '')))}"
        )
        advice = _ADVICE.get(code, "").format(arn=arn, at=self._path)
        return f"{said.rstrip('.: ')}{'; ' * bool(advice)}{advice}"


def _code(error: boto.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _may_pass(error: boto.ClientError) -> bool:
    """Whether S3, or KMS behind it, has too much to do or fails inside, as `SlowDown`."""
    verdict, _ = REQUEST.get(_code(error), (None, ""))
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return verdict in {Verdict.THROTTLED, Verdict.UNAVAILABLE} or status == 429 or status >= 500


def _chosen(signature_version: str, signing_name: str, **_: object) -> object:
    """Leave to `_Signature` what botocore would sign itself, but for directory buckets.

    Those go by sessions with keys of their own, which botocore keeps: it signs for them, by this machine's
    clock.
    """
    return UNSIGNED if signing_name == "s3" and signature_version in {"v4", "s3v4"} else None


class _Signature:
    """Signs each request before botocore sends it, as botocore would, but by AWS's clock."""

    def __init__(self, credentials: ReadOnlyCredentials, clock: Clock) -> None:
        self._credentials = credentials
        self._clock = clock

    def __call__(
        self,
        request: AWSRequest,
        signature_version: object,
        signing_name: str,
        region_name: str,
        **_: object,
    ) -> None:
        if signature_version is not UNSIGNED:
            return
        # The bucket's, where S3 has said that it is elsewhere.
        region = request.context.get("signing", {}).get("region", region_name)
        _Authorization(self._credentials, signing_name, region, clock=self._clock).add_auth(request)


class _Authorization(S3SigV4Auth):
    def __init__(self, credentials: ReadOnlyCredentials, service: str, region: str, *, clock: Clock) -> None:
        super().__init__(credentials, service, region)
        self._clock = clock

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = time.strftime(SIGV4_TIMESTAMP, time.gmtime(self._clock.now_s()))
        super()._modify_request_before_signing(request)  # type: ignore[misc]


class UnwritableBucketError(UnavailableError):
    """The bucket of a claim check takes nothing."""

    def __init__(self, bucket: str, why: str, *, may_pass: bool = False) -> None:
        """It `may_pass` where another try in a moment may succeed."""
        self.why = why
        self.may_pass = may_pass
        super().__init__(
            f"the bucket {bucket} of the claim check cannot be written, so nothing is sent: {why}",
            code=CLAIM_CHECK,
        )
