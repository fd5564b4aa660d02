"""Our request is the one that boto3 would send, and its signature is right."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest
from botocore import auth
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from connector import config
from connector.eventbridge.client import Publisher
from connector.eventbridge.credentials import CredentialProvider
from connector.eventbridge.entry import entry
from connector.eventbridge.errors import Refusal
from connector.eventbridge.signer import CONTENT_TYPE, Signer
from connector.model import Event
from tests.endpoint import Endpoint, Received, accept, answer

REGION = "eu-central-1"
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
UNSIGNED = {"user-agent", "authorization", "amz-sdk-invocation-id", "amz-sdk-request"}
"""boto3's headers that are not part of its signature, and the signature."""
NOT_EVENTBRIDGES = {"accept-encoding", "connection", "accept"}
"""Of the two HTTP clients, not of the call."""

EVENTS = [
    Event("aws.partner/example.com/a", "Order PAID", 1704067200.123, ("order/1", "übung"), b'{"a":1}'),
    Event(
        "aws.partner/example.com/b",
        "Žofie \U0001f600",
        1704067200.0,
        (),
        '{"a":"\\n\\"ř\U0001f600"}'.encode(),
    ),
    Event(
        "aws.partner/example.com/c", "no time", None, ("x",), b'{"n":[1.5,null,true,12345678901234567890]}'
    ),
]


@pytest.fixture(params=[None, "IQoJb3JpZ2luX2VjEXAMPLE//////////wEa+/=="], ids=["static", "session"])
def token(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str | None:
    """Static credentials, and temporary ones with their token, as the environment gives them."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    value: str | None = request.param
    if value:
        monkeypatch.setenv("AWS_SESSION_TOKEN", value)
    return value


def requests() -> tuple[Received, Received]:
    """The same events, sent to one server by boto3 and by us."""

    async def run() -> tuple[Received, Received]:
        async with Endpoint(accept) as server:
            await asyncio.to_thread(send_by_boto3, server.url, EVENTS)
            publisher = Publisher(config.Target(region=REGION, endpoint_url=server.url))
            answer = await publisher.publish([entry(event, max_event_bytes=10_000) for event in EVENTS])
            await publisher.close()
            assert answer.error is None
            by_boto3, ours = server.received
            return by_boto3, ours

    return asyncio.run(run())


def send_by_boto3(url: str, events: Sequence[Event]) -> None:
    retries: Any = {"mode": "standard", "total_max_attempts": 1}
    client = boto3.Session().client(
        "events", region_name=REGION, endpoint_url=url, config=Config(retries=retries)
    )
    entries: list[Any] = []
    for event in events:
        members: dict[str, Any] = {
            "Source": event.source,
            "DetailType": event.detail_type,
            "Detail": event.detail.decode(),
        }
        if event.resources:
            members["Resources"] = event.resources
        if event.time_s is not None:
            members["Time"] = datetime.datetime.fromtimestamp(event.time_s, datetime.UTC)
        entries.append(members)
    client.put_partner_events(Entries=entries)


def signed_headers(received: Received) -> str:
    return received.headers["authorization"].split("SignedHeaders=")[1].split(",")[0]


def scope(received: Received) -> str:
    return received.headers["authorization"].split("/", 1)[1].split(",")[0]


def test_our_request_is_the_one_boto3_sends(token: str | None) -> None:
    """Method, path, headers, what is signed, and every entry: nothing tells the two apart."""
    by_boto3, ours = requests()

    assert (by_boto3.method, by_boto3.path) == (ours.method, ours.path)
    theirs = {n: v for n, v in by_boto3.headers.items() if n not in UNSIGNED | NOT_EVENTBRIDGES}
    mine = {n: v for n, v in ours.headers.items() if n not in UNSIGNED | NOT_EVENTBRIDGES}
    assert theirs.keys() == mine.keys()
    varying = {"x-amz-date", "content-length"}  # by the time, and by how JSON escapes
    assert {n: v for n, v in theirs.items() if n not in varying} == {
        n: v for n, v in mine.items() if n not in varying
    }
    assert signed_headers(by_boto3) == signed_headers(ours)
    assert scope(by_boto3) == scope(ours)
    assert json.loads(by_boto3.body) == json.loads(ours.body)
    assert token == ours.headers.get("x-amz-security-token")
    assert (token is not None) == ("x-amz-security-token" in signed_headers(ours).split(";"))


def test_the_signature_that_arrives_is_the_one_botocore_computes(token: str | None) -> None:
    """Recomputed by botocore from nothing but what was received."""
    _, ours = requests()

    assert signature_by_botocore(ours, token) == signature(ours)


def signature(received: Received) -> str:
    return received.headers["authorization"].split("Signature=")[1]


def signature_by_botocore(received: Received, token: str | None) -> str:
    names = signed_headers(received).split(";")
    request = AWSRequest(
        "POST",
        f"http://{received.headers['host']}{received.path}",
        headers={name: received.headers[name] for name in names if name != "host"},
        data=received.body,
    )
    request.context["timestamp"] = received.headers["x-amz-date"]
    signer = SigV4Auth(ReadOnlyCredentials(KEY, SECRET, token), "events", REGION)
    made: str = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return made


OPERATIONS = [
    ("ListPartnerEventSourceAccounts", {"EventSourceName": "aws.partner/example.com/acme"}),
    (
        "ListPartnerEventSourceAccounts",
        {"EventSourceName": "aws.partner/example.com/acme", "NextToken": "x=="},
    ),
    ("ListPartnerEventSources", {"NamePrefix": "aws.partner/example.com/"}),
    ("CreatePartnerEventSource", {"Name": "aws.partner/example.com/acme", "Account": "012345678901"}),
    ("DeletePartnerEventSource", {"Name": "aws.partner/example.com/acme", "Account": "012345678901"}),
]


@pytest.mark.parametrize(("operation", "members"), OPERATIONS)
def test_our_calls_about_sources_are_those_that_boto3_makes(
    token: str | None, operation: str, members: dict[str, str]
) -> None:
    """The control plane's requests, with botocore's own serializer as the judge of them."""

    async def run() -> tuple[Received, Received]:
        async with Endpoint(answer(200, {})) as server:
            await asyncio.to_thread(call_by_boto3, server.url, operation, members)
            publisher = Publisher(config.Target(region=REGION, endpoint_url=server.url))
            assert not isinstance(await publisher.call(operation, members), Refusal)
            await publisher.close()
            by_boto3, ours = server.received
            return by_boto3, ours

    by_boto3, ours = asyncio.run(run())

    assert (by_boto3.method, by_boto3.path) == (ours.method, ours.path)
    left_out = UNSIGNED | NOT_EVENTBRIDGES | {"x-amz-date", "content-length"}
    theirs, mine = ({n: v for n, v in each.headers.items() if n not in left_out} for each in (by_boto3, ours))
    assert theirs == mine
    assert f"AWSEvents.{operation}" == mine["x-amz-target"]
    assert (signed_headers(by_boto3), scope(by_boto3)) == (signed_headers(ours), scope(ours))
    assert members == json.loads(by_boto3.body) == json.loads(ours.body)
    assert signature_by_botocore(ours, token) == signature(ours)


def call_by_boto3(url: str, operation: str, members: dict[str, str]) -> None:
    retries: Any = {"mode": "standard", "total_max_attempts": 1}
    client = boto3.Session().client(
        "events", region_name=REGION, endpoint_url=url, config=Config(retries=retries)
    )
    client._make_api_call(operation, members)


@given(
    body=st.binary(max_size=200),
    now_s=st.integers(946_684_800, 4_102_444_800),
    secret=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1),
    token=st.none() | st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
    url=st.sampled_from([
        "https://events.eu-central-1.amazonaws.com/",
        "https://localhost:8443/",
        "http://127.0.0.1:80/",
        "http://[::1]:4566/",
        "https://vpce.example.com/a path/b%20c/",
    ]),
)  # fmt: skip
def test_every_signature_is_botocores(
    body: bytes, now_s: int, secret: str, token: str | None, url: str
) -> None:
    """Whatever the body, the time, the credentials and the endpoint, and over days on one signer."""
    signer = Signer(KEY, secret, token, region=REGION, url=url)
    signer.headers(body, now_s - 86_400)
    ours = signer.headers(body, now_s)

    request = AWSRequest(
        "POST",
        url,
        headers={"X-Amz-Target": "AWSEvents.PutPartnerEvents", "Content-Type": CONTENT_TYPE},
        data=body,
    )
    now = datetime.datetime.fromtimestamp(now_s, datetime.UTC)
    with mock.patch.object(auth, "get_current_datetime", return_value=now):
        SigV4Auth(ReadOnlyCredentials(KEY, secret, token), "events", REGION).add_auth(request)

    assert {**request.headers, "User-Agent": ours["User-Agent"]} == ours


def test_a_role_is_assumed_from_a_real_sts(token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto's STS takes our call and hands out credentials of the role."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://{host}:{port}")
        target = config.Target(
            region=REGION, role_arn="arn:aws:iam::123456789012:role/partner-bridge", external_id="customer-7"
        )
        resolved = CredentialProvider(target, url="https://events.eu-central-1.amazonaws.com/").resolve()
    finally:
        server.stop()

    assert resolved.signer.access_key != KEY
    assert "X-Amz-Security-Token" in resolved.signer.headers(b"", 0)
    assert "assume-role" == resolved.credentials.method
