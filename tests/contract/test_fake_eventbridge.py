"""The fake of EventBridge, judged by AWS's own client: what each of them sends, the other understands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import boto3
import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from connector.sandbox import eventbridge
from connector.sandbox.awsjson import Credential
from connector.sandbox.eventbridge import ACCESS_KEY_ID, SECRET_ACCESS_KEY, FakeEventBridge

EventBridgeClient: TypeAlias = Any
"""boto3 makes its clients from the service model, at run time."""
REGION = "eu-central-1"
SOURCE = "aws.partner/example.com/acme"
ACCOUNT = "111122223333"
ONCE = Config(
    retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=0.5, parameter_validation=False
)


def connect(
    aws: FakeEventBridge,
    *,
    region: str = REGION,
    key_id: str = ACCESS_KEY_ID,
    secret: str = SECRET_ACCESS_KEY,
    token: str | None = None,
) -> EventBridgeClient:
    session = boto3.Session(
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        aws_session_token=token,
        region_name=region,
    )
    return session.client("events", endpoint_url=aws.url, config=ONCE)


@pytest.fixture(scope="module")
def running() -> Iterator[FakeEventBridge]:
    with FakeEventBridge() as aws:
        yield aws


@pytest.fixture
def aws(running: FakeEventBridge) -> FakeEventBridge:
    running.reset()
    return running


@pytest.fixture
def client(aws: FakeEventBridge) -> EventBridgeClient:
    return connect(aws)


def entry(**change: Any) -> Any:
    full: dict[str, Any] = {"Source": SOURCE, "DetailType": "Order", "Detail": '{"a": 1}'}
    return {name: value for name, value in (full | change).items() if value is not None}


def refusal(client: EventBridgeClient, *entries: Any) -> Mapping[str, Any]:
    with pytest.raises(ClientError) as caught:
        client.put_partner_events(Entries=entries)
    return caught.value.response


def code(response: Mapping[str, Any]) -> tuple[int, str]:
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def test_each_entry_has_its_own_result_in_the_order_of_the_request(client: EventBridgeClient) -> None:
    """Results are index-aligned: an EventId, or the reason of this one entry."""
    answer = client.put_partner_events(
        Entries=[entry(), entry(Detail="[]"), entry(DetailType="x" * 129), entry(Detail=None), entry()]
    )

    shown = [result.get("ErrorCode") for result in answer["Entries"]]
    assert [None, "MalformedDetail", "InvalidArgument", "InvalidArgument", None] == shown
    assert 3 == answer["FailedEntryCount"]
    assert 2 == len({result["EventId"] for result in answer["Entries"] if "EventId" in result})


@pytest.mark.parametrize("detail", ["", "nope", '"text"', "[1]", "1", '{"a":1', "[" * 2000, '{"a": NaN}'])
def test_a_detail_that_is_no_json_object_is_malformed(client: EventBridgeClient, detail: str) -> None:
    """Only a JSON object is a detail."""
    (result,) = client.put_partner_events(Entries=[entry(Detail=detail)])["Entries"]

    assert "MalformedDetail" == result["ErrorCode"]


@pytest.mark.parametrize(("depth", "expected"), [(1000, None), (1001, "MalformedDetail")])
def test_a_detail_may_be_nested_1000_levels_deep(
    client: EventBridgeClient, depth: int, expected: str | None
) -> None:
    """The thousandth level is taken, the next is not."""
    detail = '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"

    (result,) = client.put_partner_events(Entries=[entry(Detail=detail)])["Entries"]

    assert expected == result.get("ErrorCode")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([], "Member must have length greater than or equal to 1"),
        ([entry()] * 21, "Member must have length less than or equal to 20"),
        (
            [entry(), entry(Source="example.com/acme")],
            "'entries.2.member.source' failed to satisfy constraint",
        ),
        ([entry(Source="aws.partner/example.com/" + "a" * 233)], "length less than or equal to 256"),
        ([entry(Source="aws.partner/example.com")], "Member must satisfy regular expression pattern"),
        ([entry(Resources=["r" * 2049])], "length less than or equal to 2048"),
        (
            [entry(Detail=json.dumps({"a": "x" * 262_144}))],
            "Total size of the entries in the request is over",
        ),
    ],
)
def test_what_breaks_the_shape_of_the_api_costs_the_whole_request(
    aws: FakeEventBridge, client: EventBridgeClient, entries: list[Any], words: str
) -> None:
    """Count, Source, resources and total size are judged before any entry is taken."""
    response = refusal(client, *entries)

    assert (400, "ValidationException") == code(response)
    assert words in response["Error"]["Message"]
    assert 0 == aws.counts().accepted


def test_the_size_of_a_request_counts_utf8_bytes_of_every_part(client: EventBridgeClient) -> None:
    """14 for Time, and Source, DetailType, Detail and resources in UTF-8: to the byte."""
    full = entry(Time=1_700_000_000, Resources=["größe"], Detail="{}")
    used = 14 + len(SOURCE) + len("Order") + len("größe".encode())
    fits = json.dumps({"a": "x" * (262_144 - used - 9)})
    assert used + len(fits) == 262_144

    taken = client.put_partner_events(Entries=[full | {"Detail": fits}])

    assert 0 == taken["FailedEntryCount"]
    assert "ValidationException" == code(refusal(client, full | {"Detail": fits + " "}))[1]


def test_a_received_event_is_what_was_sent(aws: FakeEventBridge, client: EventBridgeClient) -> None:
    """The customer's event has the entry's fields, and its time in whole seconds."""
    client.put_partner_events(Entries=[entry(Time=1_700_000_000.123, Resources=["order/1"])])

    (event,) = aws.events()
    assert (SOURCE, "Order", ["order/1"], '{"a": 1}') == (
        event.source,
        event.detail_type,
        event.resources,
        event.detail,
    )
    assert "2023-11-14T22:13:20Z" == event.as_json()["time"]


def test_a_wrong_secret_an_unknown_key_and_an_expired_token_each_have_their_error(
    aws: FakeEventBridge,
) -> None:
    """The signature is really checked, and refused in AWS's words."""
    aws.set_credentials(
        {
            ACCESS_KEY_ID: Credential(SECRET_ACCESS_KEY),
            "AKIDTEMPORARY": Credential("s", session_token="t"),
            "AKIDOLD": Credential("s", session_token="t", expired=True),
        }
    )
    try:
        taken = connect(aws, key_id="AKIDTEMPORARY", secret="s", token="t").put_partner_events(
            Entries=[entry()]
        )
        codes = [
            code(refusal(connect(aws, secret="wrong"), entry())),
            code(refusal(connect(aws, key_id="AKIDOTHER"), entry())),
            code(refusal(connect(aws, key_id="AKIDTEMPORARY", secret="s", token="other"), entry())),
            code(refusal(connect(aws, key_id="AKIDOLD", secret="s", token="t"), entry())),
        ]
    finally:
        aws.set_credentials({ACCESS_KEY_ID: Credential(SECRET_ACCESS_KEY)})

    assert 0 == taken["FailedEntryCount"]
    assert [
        (400, "InvalidSignatureException"),
        (400, "UnrecognizedClientException"),
        (400, "UnrecognizedClientException"),
        (403, "ExpiredTokenException"),
    ] == codes


@pytest.mark.parametrize("skew_s", [1000, -1000])
def test_a_clock_that_is_off_refuses_good_signatures_and_says_its_time(
    aws: FakeEventBridge, client: EventBridgeClient, skew_s: int
) -> None:
    """15 minutes are allowed; the Date header is the service's clock."""
    aws.script({"clock_skew_s": skew_s})

    response = refusal(client, entry())

    assert (400, "InvalidSignatureException") == code(response)
    assert ("expired" if skew_s > 0 else "not yet current") in response["Error"]["Message"]
    stamp = time.strptime(response["ResponseMetadata"]["HTTPHeaders"]["date"], "%a, %d %b %Y %H:%M:%S GMT")
    assert abs(time.mktime(stamp) - time.mktime(time.gmtime()) - skew_s) < 10


def test_a_changed_body_breaks_the_signature(aws: FakeEventBridge) -> None:
    """What was signed is what must arrive."""
    request = AWSRequest(
        "POST", f"{aws.url}/", {"X-Amz-Target": "AWSEvents.PutPartnerEvents"}, b'{"Entries":[]}'
    )
    SigV4Auth(Credentials(ACCESS_KEY_ID, SECRET_ACCESS_KEY), "events", REGION).add_auth(request)

    answer = urllib3.request("POST", f"{aws.url}/", body=b'{"Entries":[ ]}', headers=dict(request.headers))

    assert "InvalidSignatureException" == answer.json()["__type"]


def test_a_source_goes_through_its_states_and_events_fare_accordingly() -> None:
    """None refuses, PENDING accepts and drops, ACTIVE accepts, DELETED refuses."""
    with FakeEventBridge(auto_create=False) as strict:
        client = connect(strict)
        seen = []

        def send(step: str) -> None:
            (result,) = client.put_partner_events(Entries=[entry()])["Entries"]
            counts = strict.counts()
            seen.append((step, result.get("ErrorCode"), counts.accepted, counts.dropped))

        send("unknown")
        client.create_partner_event_source(Name=SOURCE, Account=ACCOUNT)
        send("created")
        client.create_event_bus(Name=SOURCE, EventSourceName=SOURCE)
        send("bus made")
        client.deactivate_event_source(Name=SOURCE)
        send("deactivated")
        client.activate_event_source(Name=SOURCE)
        send("activated")
        client.delete_partner_event_source(Name=SOURCE, Account=ACCOUNT)
        send("deleted")
        client.create_partner_event_source(Name=SOURCE, Account=ACCOUNT)
        send("created again")

    assert [
        ("unknown", "ResourceNotFoundException", 0, 0),
        ("created", None, 0, 1),
        ("bus made", None, 1, 1),
        ("deactivated", None, 1, 2),
        ("activated", None, 2, 2),
        ("deleted", "ResourceNotFoundException", 2, 2),
        ("created again", None, 2, 3),
    ] == seen


def test_every_call_on_sources_parses_and_pages(client: EventBridgeClient) -> None:
    """Create, describe, list with pages and prefix, accounts with state and expiry."""
    names = [f"{SOURCE}/{number}" for number in range(5)]
    arns = [
        client.create_partner_event_source(Name=name, Account=ACCOUNT)["EventSourceArn"] for name in names
    ]

    first = client.list_partner_event_sources(NamePrefix=f"{SOURCE}/", Limit=3)
    rest = client.list_partner_event_sources(NamePrefix=f"{SOURCE}/", NextToken=first["NextToken"])
    accounts = client.list_partner_event_source_accounts(EventSourceName=names[0])[
        "PartnerEventSourceAccounts"
    ]

    assert f"arn:aws:events:{REGION}::event-source/{names[0]}" == arns[0]
    assert names == [each["Name"] for each in first["PartnerEventSources"] + rest["PartnerEventSources"]]
    assert "NextToken" not in rest
    assert (ACCOUNT, "PENDING") == (accounts[0]["Account"], accounts[0]["State"])
    assert 14 == (accounts[0]["ExpirationTime"] - accounts[0]["CreationTime"]).days
    assert names[1] == client.describe_partner_event_source(Name=names[1])["Name"]
    assert "PENDING" == client.describe_event_source(Name=names[1])["State"]
    assert 5 == len(client.list_event_sources(NamePrefix=SOURCE)["EventSources"])


def test_errors_on_sources_are_the_classes_of_the_model() -> None:
    """boto3 raises its modelled exceptions, so that callers can catch them by class."""
    with FakeEventBridge(auto_create=False) as strict:
        client = connect(strict)
        client.create_partner_event_source(Name=SOURCE, Account=ACCOUNT)

        with pytest.raises(client.exceptions.ResourceAlreadyExistsException):
            client.create_partner_event_source(Name=SOURCE, Account=ACCOUNT)
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.describe_partner_event_source(Name=f"{SOURCE}/other")
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.list_partner_event_source_accounts(EventSourceName=f"{SOURCE}/other")
        with pytest.raises(client.exceptions.InvalidStateException):
            client.activate_event_source(Name=SOURCE)
        with pytest.raises(ClientError, match="InvalidToken"):
            client.list_partner_event_sources(NamePrefix=f"{SOURCE}/", NextToken="?")
        with pytest.raises(ClientError, match="ValidationException"):
            client.create_partner_event_source(Name=SOURCE, Account="1")
        client.delete_partner_event_source(Name=f"{SOURCE}/never/was", Account=ACCOUNT)


def test_regions_know_nothing_of_each_other(aws: FakeEventBridge, client: EventBridgeClient) -> None:
    """The Region is the one that was signed for."""
    client.create_partner_event_source(Name=SOURCE, Account=ACCOUNT)
    other = connect(aws, region="us-east-1")

    with pytest.raises(other.exceptions.ResourceNotFoundException):
        other.describe_partner_event_source(Name=SOURCE)
    other.put_partner_events(Entries=[entry()])
    client.put_partner_events(Entries=[entry()])

    assert ["us-east-1"] == [event.region for event in aws.events()]
    assert 1 == aws.counts().dropped


def test_what_is_dropped_is_told_apart_by_what_its_caller_had_been_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who was told that a source is not ACTIVE, and nothing else since, sends into the void knowingly."""
    # What was under way when the answer came is another matter.
    monkeypatch.setattr(eventbridge, "SEEN_AFTER_S", 0.0)
    keys = {f"AKID{caller}": Credential("secret", caller=caller) for caller in ("one", "other")}
    with FakeEventBridge(credentials=keys) as aws:
        one, other = (connect(aws, key_id=key, secret="secret") for key in keys)

        def seen_by(client: EventBridgeClient) -> list[bool]:
            """Whether each event that is sent and dropped from now on was sent knowingly."""
            before = len(aws.dropped())
            client.put_partner_events(Entries=[entry(), entry()])
            return [event.is_though_seen for event in aws.dropped()[before:]]

        def look_up() -> None:
            one.list_partner_event_source_accounts(EventSourceName=SOURCE)

        aws.set_source(REGION, SOURCE, "PENDING")
        assert [False, False] == seen_by(one)
        look_up()
        assert [True, True] == seen_by(one)
        assert [False, False] == seen_by(other)

        aws.set_source(REGION, SOURCE, "ACTIVE")
        assert [] == seen_by(one)
        look_up()
        aws.set_source(REGION, SOURCE, "PENDING")
        assert [False, False] == seen_by(one)
        aws.script({"faults": [{"kind": "internal_error", "operation": "*", "times": 1}]})
        with pytest.raises(ClientError):
            look_up()
        assert [False, False] == seen_by(one)
        look_up()
        look_up()

        assert [True, True] == seen_by(one)
        assert (12, 4) == (aws.counts().dropped, aws.counts().dropped_though_seen)


def test_a_fault_is_counted_under_its_name(aws: FakeEventBridge, client: EventBridgeClient) -> None:
    """So that two faults of one kind can be told apart."""
    aws.script(
        {"faults": [{"kind": "throttle", "name": "morning", "times": 1}, {"kind": "throttle", "times": 1}]}
    )
    for _ in range(2):
        with pytest.raises(ClientError):
            client.put_partner_events(Entries=[entry()])

    assert {"morning": 1, "throttle": 1} == aws.counts().faults


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "throttle", "retry_after_ms": 250}, (400, "ThrottlingException")),
        ({"kind": "internal_error"}, (500, "InternalException")),
        ({"kind": "unavailable"}, (503, "ServiceUnavailable")),
        ({"kind": "too_large"}, (413, "413")),
        ({"kind": "over_limit"}, (400, "ValidationException")),
        ({"kind": "expired_token"}, (403, "ExpiredTokenException")),
        ({"kind": "access_denied"}, (400, "AccessDeniedException")),
        ({"kind": "operation_disabled"}, (400, "OperationDisabledException")),
        ({"kind": "request_expired"}, (400, "RequestExpired")),
        ({"kind": "error", "status": 502, "code": ""}, (502, "502")),
        ({"kind": "error", "status": 400, "code": "NeverHeardOfException"}, (400, "NeverHeardOfException")),
    ],
)
def test_a_refusing_fault_is_the_error_boto3_knows_and_takes_nothing(
    aws: FakeEventBridge, client: EventBridgeClient, fault: dict[str, Any], expected: tuple[int, str]
) -> None:
    """It strikes as often as it was told, and the next request is fine."""
    aws.script({"faults": [fault | {"times": 1}]})

    response = refusal(client, entry())
    after = client.put_partner_events(Entries=[entry()])

    assert expected == code(response)
    assert fault.get("retry_after_ms") == (
        int(response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-retry-after", 0)) or None
    )
    assert 0 == after["FailedEntryCount"]
    assert (1, {fault["kind"]: 1}) == (aws.counts().accepted, aws.counts().faults)


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize("kind", ["reset", "hang"])
def test_a_lost_answer_says_nothing_of_the_events(
    aws: FakeEventBridge, client: EventBridgeClient, kind: str, accept: bool
) -> None:
    """The client sees the same error whether the events were accepted or not."""
    aws.script({"faults": [{"kind": kind, "accept": accept, "times": 1}]})

    with pytest.raises((ConnectionClosedError, ReadTimeoutError)):
        client.put_partner_events(Entries=[entry()])

    assert int(accept) == aws.counts().accepted


@pytest.mark.parametrize(
    ("kind", "results"),
    [
        ("empty_object", None),
        ("empty_body", None),
        ("garbage", None),
        ("truncated", None),
        ("short", 1),
        ("long", 3),
    ],
)
def test_a_strange_answer_looks_like_success(
    aws: FakeEventBridge, client: EventBridgeClient, kind: str, results: int | None
) -> None:
    """boto3 raises nothing for these, not even for half an answer: only the number of results tells."""
    aws.script({"faults": [{"kind": kind}]})

    answer = client.put_partner_events(Entries=[entry(), entry()])

    assert results == (len(answer["Entries"]) if "Entries" in answer else None)


def test_a_slow_drip_arrives_whole(aws: FakeEventBridge, client: EventBridgeClient) -> None:
    """Each byte comes before a read times out, and the answer is right."""
    aws.script({"faults": [{"kind": "slow_drip", "seconds": 0.3}]})
    started_s = time.monotonic()

    answer = client.put_partner_events(Entries=[entry()])

    assert 0 == answer["FailedEntryCount"]
    assert time.monotonic() - started_s >= 0.3


def test_entry_faults_strike_by_place_and_by_source(aws: FakeEventBridge, client: EventBridgeClient) -> None:
    """The neighbours of a struck entry are taken."""
    aws.script(
        {
            "faults": [
                {"kind": "entry_error", "code": "ThrottlingException", "index": [1]},
                {"kind": "entry_error", "code": "Surprise", "source": f"{SOURCE}/x"},
                {"kind": "entry_blank", "index": [3]},
            ]
        }
    )

    answer = client.put_partner_events(
        Entries=[entry(), entry(), entry(Source=f"{SOURCE}/x"), entry(), entry()]
    )

    codes = [each.get("ErrorCode", "EventId" in each) for each in answer["Entries"]]
    assert [True, "ThrottlingException", "Surprise", False, True] == codes
    assert 3 == answer["FailedEntryCount"]
    assert 2 == aws.counts().accepted


def test_down_resets_every_connection_until_it_is_up(aws: FakeEventBridge, client: EventBridgeClient) -> None:
    """The control API still answers while the service does not."""
    urllib3.request("POST", f"{aws.url}/_sandbox/faults", json={"down": True})
    with pytest.raises(ConnectionClosedError):
        client.put_partner_events(Entries=[entry()])
    urllib3.request("DELETE", f"{aws.url}/_sandbox/faults")

    assert 0 == client.put_partner_events(Entries=[entry()])["FailedEntryCount"]


def test_stopped_and_started_it_has_its_address_and_its_events() -> None:
    """A restart is an outage, not a new service."""
    aws = FakeEventBridge().start()
    url = aws.url
    connect(aws).put_partner_events(Entries=[entry()])
    aws.stop()
    aws.start()
    try:
        connect(aws).put_partner_events(Entries=[entry()])

        assert url == aws.url
        assert [1, 2] == [event.seq for event in aws.events()]
    finally:
        aws.stop()


def test_requests_over_the_rate_are_throttled(aws: FakeEventBridge, client: EventBridgeClient) -> None:
    """The burst is taken, the next request is not."""
    aws.script({"rate": {"requests_per_second": 0.001, "burst": 2}})

    client.put_partner_events(Entries=[entry()])
    client.put_partner_events(Entries=[entry()])

    assert (400, "ThrottlingException") == code(refusal(client, entry()))
    assert {"rate": 1} == aws.counts().faults


def test_the_control_api_shows_counts_and_pages_of_events(
    aws: FakeEventBridge, client: EventBridgeClient
) -> None:
    """Events come as lines, after a place and up to a limit, selected by source."""
    sources = [f"{SOURCE}/{number % 2}" for number in range(10)]
    client.put_partner_events(Entries=[entry(Source=source) for source in sources])

    def lines(query: str) -> list[int]:
        text = urllib3.request("GET", f"{aws.url}/_sandbox/events?{query}").data.decode()
        return [json.loads(line)["sandbox"]["seq"] for line in text.splitlines()]

    state = urllib3.request("GET", f"{aws.url}/_sandbox/state").json()
    assert (10, {"PutPartnerEvents": 1}) == (state["accepted"], state["requests"])
    assert [4, 5, 6] == lines("after=3&limit=3")
    assert [1, 3, 5, 7, 9] == lines(f"source={SOURCE}/0")
    assert [] == lines("region=us-east-1")


@pytest.mark.parametrize(
    ("script", "path"),
    [
        ({"fault": []}, "fault"),
        ({"faults": [{"kind": "explode"}]}, "faults.0.kind"),
        ({"faults": [{"kind": "throttle", "times": 0}]}, "faults.0.times"),
    ],
)
def test_a_mistake_in_a_script_is_refused_with_its_place(
    aws: FakeEventBridge, script: dict[str, Any], path: str
) -> None:
    """Nothing is accepted and ignored."""
    answer = urllib3.request("POST", f"{aws.url}/_sandbox/faults", json=script)

    assert 400 == answer.status
    assert [path] == [problem["path"] for problem in answer.json()["problems"]]
