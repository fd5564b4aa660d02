"""One call of PutPartnerEvents against a scripted endpoint: whatever happens, an answer with a verdict."""

from __future__ import annotations

import asyncio
import base64
import datetime
import itertools
import json
import ssl
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import EndpointVariantError

from connector import config
from connector.errors import (
    ConnectorError,
    NotAuthorizedError,
    OversizeError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
from connector.eventbridge import credentials
from connector.eventbridge.client import MAX_ANSWER_BYTES, Publisher
from connector.eventbridge.endpoint import route
from connector.eventbridge.entry import entry
from connector.model import Answer, Delivered, Entry, Event, Refused, Retriable
from tests.aws_environment import clear_aws
from tests.endpoint import Endpoint, Play, Proxy, Received, accept, answer, drip, error, hang, raw, reset
from tests.services.certificates import Authority

OVER_LIMIT = "Total size of the entries in the request is over the limit."


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment with static credentials and nothing else of AWS or of proxies."""
    clear_aws(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return monkeypatch


def target(url: str, **settings: Any) -> config.Target:
    return config.Target(region="eu-central-1", endpoint_url=url, **settings)


def entries(count: int = 2) -> list[Entry]:
    event = Event("aws.partner/example.com/orders", "Order", 1.5, (), b'{"a":1}')
    return [entry(event, max_event_bytes=1024)] * count


async def publish(server: Endpoint, *, count: int = 2, **settings: Any) -> Answer:
    publisher = Publisher(target(server.url, **settings))
    try:
        return await publisher.publish(entries(count))
    finally:
        await publisher.close()


def answer_to(*script: Play, **settings: Any) -> tuple[Answer, list[Received]]:
    """What one call comes to against an endpoint that plays this script, and what it was sent."""

    async def run() -> tuple[Answer, list[Received]]:
        async with Endpoint(*script) as server:
            return await publish(server, **settings), server.received

    return asyncio.run(run())


def dated(offset_s: float, play: Callable[..., Play], *said: Any) -> Play:
    """An answer of a server whose clock is off from ours."""
    return play(*said, date=formatdate(time.time() + offset_s, usegmt=True))


# --- Answers ------------------------------------------------------------------------------------


def test_accepted_entries_come_back_with_their_event_ids() -> None:
    """An outcome for each entry, in their order, with what support needs to find the request."""
    got, received = answer_to(accept, count=20)

    assert [Delivered(f"id-{number}") for number in range(20)] == got.outcomes
    assert got.error is None
    assert "request-1" == got.request_id
    assert 0 < got.seconds < 5
    assert 1 == len(received)


def test_a_partial_failure_is_told_entry_by_entry() -> None:
    """One bad entry never costs its neighbours."""
    results = [
        {"EventId": "1"},
        {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."},
        {"ErrorCode": "InternalFailure", "ErrorMessage": "Internal Service Failure"},
    ]
    got, _ = answer_to(answer(200, {"FailedEntryCount": 2, "Entries": results}), count=3)

    assert [
        Delivered("1"),
        Refused("MalformedDetail", "Detail is malformed."),
        Retriable("InternalFailure", "Internal Service Failure"),
    ] == got.outcomes


ANSWERS: dict[str, tuple[type[ConnectorError], Play]] = {
    "throttled": (ThrottledError, error(400, "ThrottlingException", "Rate exceeded")),
    "429 alone": (ThrottledError, answer(429)),
    "500": (UnavailableError, error(500, "InternalException", "Internal Service Error")),
    "503 of a load balancer": (UnavailableError, answer(503, b"<html>busy</html>")),
    "a redirect": (UnavailableError, answer(307, location="/elsewhere")),
    "an unknown code": (UnavailableError, error(400, "TeapotException", "short and stout")),
    "413 without a body": (OversizeError, answer(413)),
    "400 over the limit": (OversizeError, error(400, "ValidationException", OVER_LIMIT)),
    "invalid": (RefusedError, error(400, "ValidationException", "1 validation error detected")),
    "forbidden": (NotAuthorizedError, error(400, "AccessDeniedException", "not authorized")),
    "no EventBridge": (NotAuthorizedError, error(404, "UnknownOperationException")),
    "a reset": (UnavailableError, reset),
    "a close": (UnavailableError, raw(b"", then_close=True)),
    "no HTTP": (UnavailableError, raw(b"SSH-2.0-OpenSSH\r\n", then_close=True)),
    "cut off": (UnavailableError, raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", then_close=True)),
    "huge by its length": (UnavailableError, raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n{")),
    "huge": (
        UnavailableError,
        raw(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (MAX_ANSWER_BYTES + 1), then_close=True),
    ),
    "200 without results": (UnavailableError, answer(200, {})),
    "200 with one result of two": (UnavailableError, answer(200, {"Entries": [{"EventId": "1"}]})),
    "200 with garbage": (UnavailableError, answer(200, b"garbage")),
    "200 with nothing": (UnavailableError, answer(200, b"")),
}


def test_whatever_comes_back_has_a_verdict() -> None:
    """No answer makes the bridge stumble, none without EventIds is success, none is asked for twice."""

    async def run() -> tuple[list[Answer], int]:
        async with Endpoint(*[play for _, play in ANSWERS.values()]) as server:
            publisher = Publisher(target(server.url))
            got = [await publisher.publish(entries()) for _ in ANSWERS]
            await publisher.close()
            return got, len(server.received)

    got, requests = asyncio.run(run())

    assert {name: expected for name, (expected, _) in ANSWERS.items()} == {
        name: type(one.error) for name, one in zip(ANSWERS, got, strict=True)
    }
    assert [()] * len(ANSWERS) == [one.outcomes for one in got]
    assert len(ANSWERS) == requests


def test_the_wait_that_eventbridge_asks_for_is_passed_on() -> None:
    """Whoever paces the requests must know it."""
    got, _ = answer_to(error(400, "ThrottlingException", x_amz_retry_after="1500"))

    assert 1.5 == got.retry_after_s


@pytest.mark.parametrize("play", [hang, drip])
def test_an_answer_is_waited_for_within_bounds(play: Play) -> None:
    """Neither silence nor a byte now and then may hold a request for ever."""
    got, _ = answer_to(play, timeouts={"connect": "100ms", "read": "100ms"})

    assert isinstance(got.error, UnavailableError)
    assert "timeout" == got.error.code
    assert "eventbridge.timeouts" in str(got.error)
    assert got.seconds < 3


def test_an_endpoint_that_is_not_there_is_unavailable() -> None:
    """Nobody's fault: the same again later."""

    async def run() -> Answer:
        async with Endpoint(accept) as server:
            pass
        return await publish(server)

    got = asyncio.run(run())

    assert isinstance(got.error, UnavailableError)
    assert "connection" == got.error.code


def test_connections_are_kept_and_bounded() -> None:
    """A handshake costs more than a request, so one follows the other on the same connections."""

    async def run() -> int:
        async with Endpoint(accept) as server:
            publisher = Publisher(target(server.url, max_in_flight=3))
            for _ in range(4):
                await asyncio.gather(*[publisher.publish(entries()) for _ in range(6)])
            await publisher.close()
            return server.connections

    assert asyncio.run(run()) <= 3


# --- Credentials and clock ----------------------------------------------------------------------


@pytest.mark.parametrize("code", ["ExpiredTokenException", "ExpiredToken", "InvalidToken"])
def test_expired_credentials_are_looked_up_again_at_once(aws: pytest.MonkeyPatch, code: str) -> None:
    """A token that was replaced under way costs one more request, and nobody notices."""

    async def expire(received: Received, writer: asyncio.StreamWriter) -> None:
        aws.setenv("AWS_ACCESS_KEY_ID", "AKIDRENEWED")
        await error(403, code, "expired")(received, writer)

    got, received = answer_to(expire, accept)

    assert got.error is None
    assert ["AKIDEXAMPLE", "AKIDRENEWED"] == [
        request.headers["authorization"].split("Credential=")[1].split("/")[0] for request in received
    ]


def test_credentials_that_stay_expired_stop_the_bridge() -> None:
    """Going on would only repeat it: halt, and say that new ones are needed."""
    got, received = answer_to(error(403, "ExpiredTokenException", "expired"))

    assert isinstance(got.error, NotAuthorizedError)
    assert "Provide new ones" in str(got.error)
    assert 2 == len(received)


def test_without_credentials_the_bridge_says_what_to_do(aws: pytest.MonkeyPatch) -> None:
    """Nothing is sent, and the message says where credentials can come from."""
    aws.delenv("AWS_ACCESS_KEY_ID")
    got, received = answer_to(accept)

    assert isinstance(got.error, NotAuthorizedError)
    assert "AWS_ACCESS_KEY_ID" in str(got.error)
    assert [] == received


SKEWED = [
    ("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z"),
    ("InvalidSignatureException", "Signature not yet current: 20260101T010000Z is still later than 2026"),
    ("RequestTimeTooSkewed", "The difference between the request time and the current time is too large."),
    ("RequestExpired", "Request has expired."),
]


@pytest.mark.parametrize(
    ("offset_s", "code", "message"), [((-1) ** n * 3600, *skewed) for n, skewed in enumerate(SKEWED)]
)
def test_a_wrong_clock_is_corrected_by_the_answers_date(offset_s: int, code: str, message: str) -> None:
    """A machine whose clock is off by an hour still delivers: asked once, corrected, and kept so."""

    async def run() -> list[Received]:
        async with Endpoint(dated(offset_s, error, 403, code, message), accept) as server:
            publisher = Publisher(target(server.url))
            for _ in range(2):
                assert (await publisher.publish(entries())).error is None
            await publisher.close()
            return server.received

    first, second, third = (
        datetime.datetime.strptime(request.headers["x-amz-date"] + "+0000", "%Y%m%dT%H%M%SZ%z").timestamp()
        for request in asyncio.run(run())
    )

    assert offset_s == pytest.approx(second - first, abs=3)
    assert offset_s == pytest.approx(third - first, abs=3)


def test_a_clock_that_cannot_be_corrected_stops_the_bridge() -> None:
    """Every request would be refused: halt, and say that it is the clock."""
    got, received = answer_to(dated(3600, error, 400, *SKEWED[0]))

    assert isinstance(got.error, NotAuthorizedError)
    assert "clock" in str(got.error)
    assert 2 == len(received)


# --- Proxies and TLS ----------------------------------------------------------------------------


Certificates = tuple[Path, ssl.SSLContext]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The PEM file of a private CA, and what a server on 127.0.0.1 that it vouches for presents."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    return authority.file, authority.issue("server").server_context()


def over_tls(certificates: Certificates, **settings: Any) -> Answer:
    async def run() -> Answer:
        async with Endpoint(accept, tls=certificates[1]) as server:
            return await publish(server, **settings)

    return asyncio.run(run())


def test_a_certificate_nobody_vouches_for_is_refused(certificates: Certificates) -> None:
    """Certificates are always verified; the message says how to trust a private CA."""
    got = over_tls(certificates)

    assert isinstance(got.error, UnavailableError)
    assert "tls" == got.error.code
    assert "eventbridge.ca_bundle" in str(got.error)


def test_a_private_ca_is_trusted_by_setting(certificates: Certificates) -> None:
    """`eventbridge.ca_bundle` replaces the usual CAs."""
    assert over_tls(certificates, ca_bundle=certificates[0]).error is None


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_a_private_ca_is_trusted_by_environment(
    aws: pytest.MonkeyPatch, certificates: Certificates, variable: str
) -> None:
    """Both work as boto3 users know them."""
    aws.setenv(variable, str(certificates[0]))

    assert over_tls(certificates).error is None


def through_proxy(
    aws: pytest.MonkeyPatch, server: Endpoint, *, user: str = "", refuses: bool = False, **settings: Any
) -> tuple[Answer, list[Received]]:
    async def run() -> tuple[Answer, list[Received]]:
        async with Proxy(refuses=refuses) as proxy, server:
            for name in ("HTTP_PROXY", "HTTPS_PROXY"):
                aws.setenv(name, f"http://{user}{proxy.address}")
            return await publish(server, **settings), proxy.asked

    return asyncio.run(run())


CREDENTIALS = "Basic " + base64.b64encode(b"user:p@ss").decode()


def test_https_goes_through_the_proxy_as_a_tunnel(
    aws: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    """The proxy sees its own credentials and where to connect to, and never the request."""
    server = Endpoint(accept, tls=certificates[1])
    got, asked = through_proxy(aws, server, user="user:p%40ss@", ca_bundle=certificates[0])

    assert got.error is None
    assert [("CONNECT", CREDENTIALS)] == [(a.method, a.headers["proxy-authorization"]) for a in asked]
    assert "proxy-authorization" not in server.received[0].headers


def test_http_is_forwarded_by_the_proxy(aws: pytest.MonkeyPatch) -> None:
    """Plain http is handed to the proxy whole."""
    server = Endpoint(accept)
    got, asked = through_proxy(aws, server, user="user:p%40ss@")

    assert got.error is None
    assert [("POST", f"{server.url}/", CREDENTIALS)] == [
        (a.method, a.path, a.headers["proxy-authorization"]) for a in asked
    ]


def test_no_proxy_goes_past_the_proxy(aws: pytest.MonkeyPatch) -> None:
    """Hosts in NO_PROXY are called directly."""
    aws.setenv("NO_PROXY", "example.com,127.0.0.1")
    got, asked = through_proxy(aws, Endpoint(accept))

    assert got.error is None
    assert [] == asked


def test_a_proxy_that_refuses_is_named(aws: pytest.MonkeyPatch, certificates: Certificates) -> None:
    """The message points at the proxy, and does not tell its password."""
    server = Endpoint(accept, tls=certificates[1])
    got, _ = through_proxy(aws, server, user="user:p%40ss@", refuses=True, ca_bundle=certificates[0])

    assert isinstance(got.error, UnavailableError)
    assert "proxy" == got.error.code
    assert "HTTPS_PROXY" in str(got.error)
    assert "p%40ss" not in str(got.error)


def through_tls_proxy(
    aws: pytest.MonkeyPatch, certificates: Certificates, **settings: Any
) -> tuple[Answer, list[Received]]:
    """One call through a proxy that is itself reached over TLS, with a certificate of the private CA."""

    async def run() -> tuple[Answer, list[Received]]:
        async with (
            Proxy(tls=certificates[1]) as proxy,
            Endpoint(accept, tls=certificates[1]) as server,
        ):
            aws.setenv("HTTPS_PROXY", f"https://user:p%40ss@{proxy.address}")
            return await publish(server, **settings), proxy.asked

    return asyncio.run(run())


def test_a_proxy_over_tls_is_judged_by_the_same_cas(
    aws: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    """A company's CA signs its proxy too; it is named once, by setting or by environment."""
    by_setting, asked = through_tls_proxy(aws, certificates, ca_bundle=certificates[0])
    aws.setenv("REQUESTS_CA_BUNDLE", str(certificates[0]))
    by_environment, _ = through_tls_proxy(aws, certificates)

    assert (None, None) == (by_setting.error, by_environment.error)
    assert [("CONNECT", CREDENTIALS)] == [(a.method, a.headers["proxy-authorization"]) for a in asked]


def test_a_proxy_over_tls_whose_ca_is_not_trusted_says_so(
    aws: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    """It is the proxy's certificate that fails, before anything was shown to it, and the remedy is named."""
    got, asked = through_tls_proxy(aws, certificates)

    assert isinstance(got.error, UnavailableError)
    assert "proxy" == got.error.code
    assert "the proxy's certificate, set `eventbridge.ca_bundle`" in str(got.error)
    assert [] == asked


# --- Where requests go --------------------------------------------------------------------------

REGIONS = (
    "eu-central-1", "us-east-1", "ca-central-1",
    "cn-north-1", "cn-northwest-1",
    "us-gov-east-1", "us-gov-west-1",
    "us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1",
    "eusc-de-east-1",
)  # fmt: skip
"""Each partition, and each Region for which the rules have an exception."""

ENTRY: Any = {"Source": "aws.partner/example.com/a", "DetailType": "Order", "Detail": "{}"}


class Body:
    """The body of an answer, as urllib3 gives it."""

    def stream(self) -> Iterator[bytes]:
        yield b'{"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}'


@cache
def session() -> boto3.Session:
    return boto3.Session(aws_access_key_id="AKID", aws_secret_access_key="secret")


def url_of_boto3(region: str, **how: Any) -> str | None:
    """Where boto3 itself sends PutPartnerEvents: the URL of the request that it would write to its socket.

    None where it makes no client, since an older table of it lacks what its endpoint rules have.
    """
    try:
        client = session().client("events", region_name=region, config=Config(**how))
    except EndpointVariantError:
        return None
    asked: list[str] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        asked.append(str(request.url))
        raw: Any = Body()
        return AWSResponse(str(request.url), 200, HTTPHeaders(), raw)

    client.meta.events.register("before-send.events.PutPartnerEvents", answer)
    client.put_partner_events(Entries=[ENTRY])
    return asked[0]


@pytest.mark.parametrize("region", REGIONS)
def test_the_endpoint_of_a_region_is_the_one_boto3_calls(region: str) -> None:
    """Plain, FIPS, dual-stack and both, in every partition: boto3's own request says where."""
    for fips, dualstack in itertools.product((False, True), repeat=2):
        ours = route(config.Target(region=region, use_fips=fips, use_dualstack=dualstack))

        theirs = url_of_boto3(region, use_fips_endpoint=fips, use_dualstack_endpoint=dualstack)
        assert theirs in {ours.endpoint.url, None}
        assert theirs is not None or dualstack


# --- check --------------------------------------------------------------------------------------


def check(*script: Play) -> tuple[str, list[Received]]:
    async def run() -> tuple[str, list[Received]]:
        async with Endpoint(*script) as server:
            publisher = Publisher(target(server.url))
            return await asyncio.to_thread(publisher.check), server.received

    return asyncio.run(run())


def test_check_says_who_we_are_and_where() -> None:
    """A call without entries is refused as invalid, which says that all before it was right."""
    said, received = check(error(400, "ValidationException", "1 validation error detected"))

    assert "AKIDEXAMPLE" in said
    assert "eu-central-1 at http://127.0.0.1" in said
    assert "secret" not in said
    assert {"Entries": []} == json.loads(received[0].body)


@pytest.mark.parametrize("play", [error(403, "UnrecognizedClientException", "invalid"), answer(503), reset])
def test_check_says_what_is_wrong(play: Play) -> None:
    """Wrong credentials and an endpoint that does not answer are told before the first record."""
    with pytest.raises(ConnectorError):
        check(play)


def test_check_says_that_credentials_hang(aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A source of credentials that does not answer must not leave a person before a silent terminal."""
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.setattr(credentials, "LOOK_UP_LIMIT_S", 0.2)
    (tmp_path / "config").write_text("[default]\ncredential_process = sleep 5\n")

    with pytest.raises(UnavailableError, match="credential_process"):
        check(accept)
