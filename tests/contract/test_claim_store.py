"""The bucket of a claim check, as moto plays S3: uploads before the request, and what their failures mean."""

from __future__ import annotations

import asyncio
import datetime
import gc
import io
import json
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import boto3
import pytest
from aiohttp import web
from botocore import auth
from botocore.auth import SIGV4_TIMESTAMP
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.httpsession import URLLib3Session

from connector import config
from connector.errors import NotAuthorizedError, UnavailableError
from connector.eventbridge import claim_store
from connector.eventbridge.claim_store import TRIES, ClaimStore
from connector.eventbridge.client import Publisher
from connector.eventbridge.requests import Requests
from connector.model import Answer, Claim, Delivered, Entry, Json
from connector.sandbox.awsjson import Credential
from connector.sandbox.eventbridge import FakeEventBridge
from connector.sandbox.server import HttpServer
from tests.bridge_process import AWS_ENVIRON
from tests.container_credentials import ContainerCredentials
from tests.contract.test_signing import ASSUMED, ROLE
from tests.services.child import wait_until
from tests.services.s3 import BUCKET, REGION, S3, serving_s3

SOURCE = "aws.partner/example.com/acme"
DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3]:
    with serving_s3() as s3:
        yield s3


@pytest.fixture
def s3(bucket: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    for name, value in AWS_ENVIRON.items():
        monkeypatch.setenv(name, value)
    bucket.calm()
    yield bucket
    bucket.calm()


@pytest.fixture
def aws() -> Iterator[FakeEventBridge]:
    fake = FakeEventBridge()
    fake.start()
    yield fake
    fake.stop()


def store_at(
    s3: S3, stored: list[int] | None = None, *, timeouts: Json = None, **settings: Json
) -> ClaimStore:
    claim_check = config.ClaimCheckSettings.model_validate(
        {"bucket": BUCKET, "endpoint_url": s3.url, **settings}
    )
    limits = config.Timeouts.model_validate(timeouts or {})
    target = config.Target(region=REGION, claim_check=claim_check, timeouts=limits)
    on_stored = None if stored is None else stored.append
    return ClaimStore(target, claim_check, path="eventbridge.claim_check", on_stored=on_stored)


@contextmanager
def calling(aws: FakeEventBridge, store: ClaimStore, *, role_arn: str | None = None) -> Iterator[Requests]:
    target = config.Target(region=REGION, endpoint_url=aws.url, role_arn=role_arn)
    calls = Requests({"default": Publisher(target, claims=store)})
    try:
        yield calls
    finally:
        calls.close()


def sent(calls: Requests, *entries: Entry) -> Answer:
    """What one request comes to."""
    calls.send("default", 1, entries)
    until_s = time.monotonic() + DEADLINE_S
    while not (got := calls.answers(0.1)):
        assert time.monotonic() < until_s, "no answer"
    ((_, _, answer),) = got
    return answer


def an_entry(number: int, claim: Claim | None = None) -> Entry:
    detail = json.dumps({"number": number})
    body = json.dumps({"Source": SOURCE, "DetailType": "Order", "Detail": detail}).encode()
    return Entry(SOURCE, "Order", body, len(body), claim=claim)


def a_claim(key: str, body: bytes = b'{"large":true}') -> Claim:
    return Claim(body, key=key, place="$.detail")


def test_what_is_large_is_there_before_its_event(s3: S3, aws: FakeEventBridge) -> None:
    """As JSON, under its key, once; an event without a claim costs no upload."""
    stored: list[int] = []
    claim = a_claim("prefix/acme/1")
    with calling(aws, store_at(s3, stored)) as calls:
        first = sent(calls, an_entry(1, claim), an_entry(2))
        again = sent(calls, an_entry(1, claim))

    assert [Delivered, Delivered] == [type(each) for each in first.outcomes]
    assert again.error is None
    assert b'{"large":true}' == s3.get(f"arn:aws:s3:::{BUCKET}/prefix/acme/1")
    assert "application/json" == s3.head("prefix/acme/1")["ContentType"]
    assert 1 == s3.puts
    assert [14] == stored


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((403, "AccessDenied"), "allow s3:PutObject on large-events/events/* to this identity"),
        ((404, "NoSuchBucket"), "create the bucket, or correct eventbridge.claim_check.bucket"),
        ((301, "PermanentRedirect"), "set eventbridge.claim_check.region"),
        ((400, "ExpiredToken"), "S3 answers ExpiredToken"),
        ((403, "RequestTimeTooSkewed"), "correct the clock of this machine"),
        ((503, "SlowDown"), "S3 answers SlowDown: as the test wants it"),
        ((500, "InternalError"), "S3 answers InternalError"),
        ((0, ""), "S3 cannot be reached"),
    ],
)
def test_nothing_is_sent_while_the_bucket_cannot_be_written(
    s3: S3, aws: FakeEventBridge, fault: tuple[int, str], said: str
) -> None:
    """Whatever is wrong with it: no event is at fault, the target is down, and small events wait as well."""
    claim = a_claim(f"events/acme/{fault[1]}")
    with calling(aws, store_at(s3, prefix="events")) as calls:
        s3.fault = fault
        large = sent(calls, an_entry(1, claim))
        small = sent(calls, an_entry(2))
        s3.fault = None
        after = sent(calls, an_entry(2))

    for answer in (large, small):
        assert isinstance(answer.error, UnavailableError)
        assert "claim_check" == answer.error.code
        assert said in str(answer.error)
        assert not answer.is_sent
    assert after.error is None
    assert claim.is_stored
    assert [2] == [json.loads(each.detail)["number"] for each in aws.events()]


@pytest.mark.parametrize(
    "fault", [(503, "SlowDown"), (500, "InternalError"), (400, "RequestTimeout"), (429, ""), (0, "")]
)
def test_what_may_pass_in_a_moment_is_tried_again(
    s3: S3, aws: FakeEventBridge, monkeypatch: pytest.MonkeyPatch, fault: tuple[int, str]
) -> None:
    """Each try has a signature that S3 takes, and all of the body; the events know nothing of it."""
    monkeypatch.setattr(claim_store, "PAUSE_S", 0.01)
    s3.fault, s3.fault_every, s3.fault_tries = fault, 2, TRIES - 1
    claims = [a_claim(f"{fault}/{n}", b'"%s"' % (b"%d" % n * 300_000)) for n in range(9)]
    with calling(aws, store_at(s3)) as calls:
        answer = sent(calls, *(an_entry(n, claim) for n, claim in enumerate(claims)))

    assert answer.error is None
    assert [claim.body for claim in claims] == [s3.get(f"arn:aws:s3:::{BUCKET}/{c.key}") for c in claims]
    assert (9, 5 * (TRIES - 1), 0) == (s3.puts, s3.faults, s3.refused)


@pytest.mark.parametrize("fault", [(403, "AccessDenied"), (404, "NoSuchBucket")])
def test_what_a_person_must_mend_is_not_tried_again(
    s3: S3, aws: FakeEventBridge, fault: tuple[int, str]
) -> None:
    """It is named at once."""
    s3.fault = fault
    with calling(aws, store_at(s3)) as calls:
        sent(calls, an_entry(1, a_claim("events/once")))

    assert 1 == s3.faults


def test_a_bucket_that_keeps_failing_is_given_up_and_then_asked_once_a_request(
    s3: S3, aws: FakeEventBridge
) -> None:
    """The pauses are those of the target then, which is down."""
    s3.fault = (503, "SlowDown")
    with calling(aws, store_at(s3)) as calls:
        large = an_entry(1, a_claim("events/slow"))
        sent(calls, large)
        first = s3.faults
        sent(calls, large)

    assert (TRIES, TRIES + 1) == (first, s3.faults)


def test_a_stop_does_not_wait_for_the_next_try(
    s3: S3, aws: FakeEventBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else this test would take hours."""
    monkeypatch.setattr(claim_store, "PAUSE_S", 36_000.0)
    s3.fault = (503, "SlowDown")
    with calling(aws, store_at(s3, timeouts={"connect": "10h", "read": "10h"})) as calls:
        calls.send("default", 1, [an_entry(1, a_claim("events/stop"))])
        wait_until(lambda: not calls.answers(0.05) and s3.faults > 0, what="the first try is refused")

    assert 1 == s3.faults


def test_an_upload_that_nobody_waits_for_stops_nobody(s3: S3, aws: FakeEventBridge) -> None:
    """As where its partition went to another member: the other events go on."""
    entry = an_entry(1, a_claim("events/lost"))
    with calling(aws, store_at(s3)) as calls:
        s3.fault = (403, "AccessDenied")
        refused = sent(calls, entry)
        del entry
        sent(calls, an_entry(2))
        gc.collect()  # as the bridge does every so often
        small = sent(calls, an_entry(3))

    assert isinstance(refused.error, UnavailableError)
    assert small.error is None
    assert "events/lost" not in s3.objects()


def test_a_bucket_that_is_silent_is_given_up_in_the_time_of_a_request(s3: S3, aws: FakeEventBridge) -> None:
    """A drain waits for no longer than that, so no event may leave later."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = store_at(
            s3,
            endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}",
            timeouts={"connect": "200ms", "read": "300ms"},
        )
        with calling(aws, store) as calls:
            answer = sent(calls, *(an_entry(n, a_claim(f"silent/{n}")) for n in range(20)))

    assert isinstance(answer.error, UnavailableError)
    assert "claim_check" == answer.error.code
    assert answer.seconds < 10
    assert 0 == aws.counts().accepted


def test_silence_is_given_up_after_one_try(s3: S3, aws: FakeEventBridge) -> None:
    """It took the time of a request already."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = store_at(
            s3,
            endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}",
            timeouts={"connect": "1h", "read": "300ms"},
        )
        with calling(aws, store) as calls:
            answer = sent(calls, an_entry(1, a_claim("silent")))
        silent.settimeout(DEADLINE_S)
        silent.accept()[0].close()
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()

    assert "ReadTimeoutError" in str(answer.error)


@pytest.mark.parametrize("ahead_s", [3600, -3600])
def test_a_wrong_clock_is_corrected_once_for_s3_and_eventbridge(
    s3: S3, aws: FakeEventBridge, ahead_s: int
) -> None:
    """Whichever of the two says first that it is wrong, the other is not asked in vain."""
    s3.clock_ahead_s = ahead_s
    aws.script({"clock_skew_s": ahead_s})
    with calling(aws, store_at(s3)) as calls:
        by_s3 = [sent(calls, an_entry(number, a_claim(f"late/{number}"))) for number in range(2)]
    refused_by_s3 = s3.refused
    requests = aws.counts().requests["PutPartnerEvents"]
    with calling(aws, store_at(s3)) as calls:
        small = sent(calls, an_entry(2))
        after = sent(calls, an_entry(3, a_claim("late/3")))

    assert [None] * 4 == [each.error for each in (*by_s3, small, after)]
    assert 1 == refused_by_s3 == s3.refused
    assert 2 == requests
    assert 5 == aws.counts().requests["PutPartnerEvents"]
    assert {"late/0", "late/1", "late/3"} <= {*s3.objects()}


def test_the_check_of_a_bucket_corrects_a_wrong_clock(s3: S3, aws: FakeEventBridge) -> None:
    """Else it would find a problem that the bridge does not have."""
    s3.clock_ahead_s = 3600
    target = config.Target(region=REGION, endpoint_url=aws.url)

    assert "can be written" in Publisher(target, claims=store_at(s3)).check_bucket()


def test_the_endpoint_is_of_the_kind_that_the_target_wants(
    s3: S3, aws: FakeEventBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As EventBridge's is, and through the same proxy."""
    with socket.create_server(("127.0.0.1", 0)) as proxy, ThreadPoolExecutor(1) as beside:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        asked = beside.submit(first_line, proxy)
        claim_check = config.ClaimCheckSettings(bucket=BUCKET)
        target = config.Target(
            region=REGION, endpoint_url=aws.url, claim_check=claim_check, use_fips=True, use_dualstack=True
        )
        store = ClaimStore(target, claim_check, path="eventbridge.claim_check")
        with pytest.raises(UnavailableError, match="S3 cannot be reached"):
            Publisher(target, claims=store).check_bucket()

    assert ["CONNECT", f"{BUCKET}.s3-fips.dualstack.{REGION}.amazonaws.com:443"] == asked.result()[:2]


def first_line(server: socket.socket) -> list[str]:
    """The words that the first client begins with, who gets no answer."""
    server.settimeout(DEADLINE_S)
    client, _ = server.accept()
    with client, client.makefile() as lines:
        return lines.readline().split()


def test_the_check_writes_an_empty_object(s3: S3, aws: FakeEventBridge) -> None:
    """It proves the permission that the bridge needs, and no other."""
    target = config.Target(region=REGION, endpoint_url=aws.url)
    said = Publisher(target, claims=store_at(s3, prefix="events")).check_bucket()

    assert f"an empty object can be written to s3://{BUCKET}/events/partner-bridge-check" == said
    assert 0 == s3.head("events/partner-bridge-check")["ContentLength"]


def test_encryption_and_owner_go_along(s3: S3, aws: FakeEventBridge) -> None:
    """The key of KMS is the one that the settings name."""
    with calling(aws, store_at(s3, kms_key_id="alias/large", bucket_owner="123456789012")) as calls:
        answer = sent(calls, an_entry(1, a_claim("kms")))

    assert answer.error is None
    assert ("aws:kms", "alias/large") == tuple(
        s3.head("kms")[name] for name in ("ServerSideEncryption", "SSEKMSKeyId")
    )


def test_credentials_are_those_that_sign_the_events(
    s3: S3, aws: FakeEventBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """White space around them is taken away for both; without any the bridge halts as it does otherwise."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{AWS_ENVIRON['AWS_SECRET_ACCESS_KEY']}\n")
    with calling(aws, store_at(s3)) as calls:
        with_space = sent(calls, an_entry(1, a_claim("space")))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with calling(aws, store_at(s3)) as calls:
        without = sent(calls, an_entry(1, a_claim("none")))

    assert with_space.error is None
    assert isinstance(without.error, NotAuthorizedError)
    assert "No AWS credentials were found" in str(without.error)
    assert (True, False) == (with_space.is_sent, without.is_sent)


def test_credentials_that_s3_calls_expired_are_looked_up_anew(
    s3: S3, aws: FakeEventBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the next upload, although EventBridge would have taken the old ones; then the event goes out."""
    with ContainerCredentials() as container:
        for name, value in container.environ.items():
            monkeypatch.setenv(name, value)
        s3.credentials = container.known()
        aws.set_credentials(container.known())
        with calling(aws, store_at(s3)) as calls:
            first = sent(calls, an_entry(1, a_claim("keys/1")))
            container.number += 1
            s3.credentials = container.known()
            aws.set_credentials({**s3.credentials, "AKIDCONTAINER0": Credential("secret-0", "token-0")})
            late = an_entry(2, a_claim("keys/2"))
            refused = sent(calls, late)
            again = sent(calls, late)

    assert "S3 answers ExpiredToken" in str(refused.error)
    assert [None, None] == [first.error, again.error]
    assert 2 == container.lookups
    assert [1, 2] == [json.loads(each.detail)["number"] for each in aws.events()]
    assert {"keys/1", "keys/2"} <= {*s3.objects()}


class Sts(HttpServer):
    """Lets whoever asks assume a role."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=ASSUMED, content_type="text/xml")


def test_a_role_uploads_what_its_events_leave_out(
    s3: S3, aws: FakeEventBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither S3 nor EventBridge knows the identity that assumes it."""
    role = {"AKIDROLE": Credential("s", "t")}
    s3.credentials = role
    aws.set_credentials(role)
    with Sts() as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        with calling(aws, store_at(s3), role_arn=ROLE) as calls:
            answer = sent(calls, an_entry(1, a_claim("role")))

    assert answer.error is None
    assert "role" in s3.objects()


# --- Signatures ---------------------------------------------------------------------------------

DIRECTORY_BUCKET = "large--euc1-az1--x-s3"
SESSION = b"""<CreateSessionResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Credentials>
<AccessKeyId>AKIDSESSION</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>of-the-bucket</SessionToken>
<Expiration>2199-01-01T00:00:00Z</Expiration></Credentials></CreateSessionResult>"""
AHEAD_S = 3600


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> list[AWSPreparedRequest]:
    """The requests that botocore would write to its sockets; S3 takes them all."""
    sent: list[AWSPreparedRequest] = []

    def take(_: object, request: AWSPreparedRequest) -> AWSResponse:
        sent.append(request)
        raw: Any = Body(SESSION if str(request.url).endswith("?session") else b"")
        return AWSResponse(str(request.url), 200, HTTPHeaders(), raw)

    monkeypatch.setattr(URLLib3Session, "send", take)
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=0))  # each request has one, and signs it
    for name, value in AWS_ENVIRON.items():
        monkeypatch.setenv(name, value)
    return sent


class Body(io.BytesIO):
    """The body of an answer, as urllib3 gives it."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def put_by_us(key: str, credentials: ReadOnlyCredentials, **settings: Json) -> None:
    """Upload an object at a time that S3 has shown to be an hour ahead."""
    claim_check = config.ClaimCheckSettings.model_validate({"bucket": BUCKET, **settings})
    target = config.Target(region=REGION, claim_check=claim_check)
    store = ClaimStore(target, claim_check, path="eventbridge.claim_check")
    store.clock.correct(formatdate(time.time() + AHEAD_S, usegmt=True))
    asyncio.run(store.store([a_claim(key)], credentials))
    store.close()


def put_by_boto3(
    key: str,
    credentials: ReadOnlyCredentials,
    *,
    kms_key_id: str | None = None,
    endpoint_url: str | None = None,
) -> None:
    """The same upload by boto3."""
    client = boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url=endpoint_url,
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.token,
        config=Config(
            retries={"mode": "standard", "total_max_attempts": 1},
            s3={"addressing_style": "path" if endpoint_url else "auto"},
        ),
    )
    encrypted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id} if kms_key_id else {}
    client.put_object(
        Bucket=BUCKET, Key=key, Body=a_claim(key).body, ContentType="application/json", **encrypted
    )


@pytest.mark.parametrize("token", [None, "token+/="])
@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("events/aws.partner/example.com/acme/1", {}),
        ("events/(a)!*'é +%41//../~/1", {}),
        ("events/1", {"kms_key_id": "alias/large"}),
        ("events/1", {"endpoint_url": "https://s3.example.com/inside"}),
        ("events/(a)!*'é +%41//../~/1", {"endpoint_url": "http://s3.example.com:8080/in side/"}),
    ],
)
def test_an_upload_is_signed_as_boto3_signs_it(
    wire: list[AWSPreparedRequest],
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    key: str,
    settings: dict[str, str],
) -> None:
    """To the letter, at the same moment, which is that of AWS's clock."""
    credentials = ReadOnlyCredentials("AKIDEXAMPLE", "secret/+", token)
    put_by_us(key, credentials, **settings)
    now = datetime.datetime.strptime(signed_headers(wire[0])["X-Amz-Date"], SIGV4_TIMESTAMP).replace(
        tzinfo=datetime.UTC
    )
    monkeypatch.setattr(auth, "get_current_datetime", lambda: now)
    put_by_boto3(key, credentials, **settings)

    ours, theirs = wire
    assert theirs.url == ours.url
    assert signed_headers(theirs) == signed_headers(ours)
    assert (token is not None) == ("X-Amz-Security-Token" in ours.headers)
    assert time.time() + AHEAD_S == pytest.approx(now.timestamp(), abs=60)


def signed_headers(request: AWSPreparedRequest) -> dict[str, str]:
    """All but the name of the client, which is not signed."""
    return {
        name: value.decode() if isinstance(value, bytes) else str(value)
        for name, value in request.headers.items()
        if name.lower() != "user-agent"
    }


def test_uploads_to_a_directory_bucket_are_signed(wire: list[AWSPreparedRequest]) -> None:
    """By botocore: with the keys of a session, which is asked for with ours, and once."""
    credentials = ReadOnlyCredentials("AKIDEXAMPLE", "secret", None)
    put_by_us("events/1", credentials, bucket=DIRECTORY_BUCKET)
    session, upload = wire

    host = f"https://{DIRECTORY_BUCKET}.s3express-euc1-az1.{REGION}.amazonaws.com"
    assert [f"{host}/?session", f"{host}/events/1"] == [session.url, upload.url]
    assert "Credential=AKIDEXAMPLE/" in signed_headers(session)["Authorization"]
    assert "Credential=AKIDSESSION/" in signed_headers(upload)["Authorization"]
    assert "/s3express/" in signed_headers(upload)["Authorization"]
    assert "of-the-bucket" == signed_headers(upload)["x-amz-s3session-token"]
