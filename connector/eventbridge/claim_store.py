"""The bucket of a claim check: uploads to S3, with the credentials of the target.

botocore's own client does it, on threads: an upload is rare and large, so its cost does not matter. Where the
bucket cannot be written the target is down, see `ClaimStore.store`.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from botocore import exceptions as boto
from botocore.config import Config

from connector import config
from connector.errors import ConnectorError, UnavailableError
from connector.eventbridge import errors
from connector.eventbridge.credentials import chain, credential_error
from connector.eventbridge.session import session
from connector.model import Claim

UPLOADS = 8
"""At once, at most."""
CODE = "claim_check"
"""Of the error while the bucket cannot be written; also a label of `retries_total`."""
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
        self._on_stored = on_stored
        self._target = target
        self._settings = settings
        self._path = path
        self._pool = ThreadPoolExecutor(UPLOADS, thread_name_prefix="claim-check")
        self._making = threading.Lock()
        self._made: Any = None
        self._failed: Claim | None = None
        """The upload that failed last; until it succeeds nothing is sent to the target."""
        self._extra: dict[str, str] = {"ContentType": "application/json"}
        if settings.kms_key_id:
            self._extra |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.kms_key_id}
        if settings.bucket_owner:
            self._extra["ExpectedBucketOwner"] = settings.bucket_owner

    @property
    def is_failing(self) -> bool:
        """Whether the bucket could not be written the last time."""
        return self._failed is not None

    async def store(self, claims: Sequence[Claim]) -> None:
        """Have each claim in the bucket; those that are there already are not written again.

        An upload that failed comes first, whoever asks: no event leaves while the bucket cannot be written.
        The target is down then, as in an outage of EventBridge, which costs no event and counts against none.

        Raises:
            UnavailableError: one of them could not be written; its code is `claim_check`.
        """
        if self._failed is not None:
            await self._upload(self._failed)
            self._failed = None
        missing = [claim for claim in claims if not claim.is_stored]
        results = await asyncio.gather(*map(self._upload, missing), return_exceptions=True)
        for claim, result in zip(missing, results, strict=True):
            if isinstance(result, BaseException):
                self._failed = claim
                raise result

    async def prepare(self) -> None:
        """Make the client before the first event needs it, which takes a moment. Never raises."""
        with suppress(ConnectorError, boto.BotoCoreError):
            await asyncio.get_running_loop().run_in_executor(self._pool, self._client)

    def check(self) -> str:
        """Write an empty object; says where. Blocks.

        Raises:
            UnavailableError: it cannot be written; says what to do.
        """
        prefix = f"{self._settings.prefix}/" if self._settings.prefix else ""
        claim = Claim(b"", key=prefix + TRIAL, place="")
        self._put(claim)
        return f"an empty object can be written to s3://{self._settings.bucket}/{claim.key}"

    def close(self) -> None:
        """Start no other upload; those under way are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _upload(self, claim: Claim) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self._put, claim)
        claim.is_stored = True
        if self._on_stored is not None:
            self._on_stored(len(claim.body))

    def _put(self, claim: Claim) -> None:
        bucket = self._settings.bucket
        try:
            self._client().put_object(Bucket=bucket, Key=claim.key, Body=claim.body, **self._extra)
        except boto.ClientError as error:
            raise self._refusal(error) from None
        except (boto.HTTPClientError, boto.ConnectionError) as error:
            raise _unwritable(bucket, f"S3 cannot be reached ({type(error).__name__})") from error
        except ConnectorError as error:
            raise _unwritable(bucket, str(error)) from error
        except boto.BotoCoreError as error:
            raise _unwritable(bucket, str(credential_error(error))) from error

    def _client(self) -> Any:
        with self._making:
            if self._made is None:
                settings, target = self._settings, self._target
                region = settings.region or target.region
                made = session(target.model_copy(update={"region": region}))
                vars(made)["_credentials"] = chain(target)  # with the role, kept fresh
                self._made = made.create_client(
                    "s3",
                    endpoint_url=settings.endpoint_url,
                    config=Config(
                        connect_timeout=target.timeouts.connect,
                        read_timeout=target.timeouts.read,
                        max_pool_connections=UPLOADS,
                        retries={"mode": "standard", "total_max_attempts": 1},  # retrying is the sender's
                        # What is not AWS's own need not have a host name for each bucket.
                        s3={"addressing_style": "path" if settings.endpoint_url else "auto"},
                    ),
                )
            return self._made

    def _refusal(self, error: boto.ClientError) -> UnavailableError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _FORGET_CREDENTIALS:
            self._made = None
        bucket, prefix = self._settings.bucket, self._settings.prefix
        arn = f"{bucket}/{prefix}/*" if prefix else f"{bucket}/*"
        said = (
            f"S3 answers {code}: {errors.redacted(str(error.response.get('Error', {}).get('Message', '')))}"
        )
        advice = _ADVICE.get(code, "").format(arn=arn, at=self._path)
        return _unwritable(bucket, f"{said.rstrip('.: ')}{'; ' * bool(advice)}{advice}")


def _unwritable(bucket: str, why: str) -> UnavailableError:
    return UnavailableError(
        f"the bucket {bucket} of the claim check cannot be written, so nothing is sent: {why}", code=CODE
    )
