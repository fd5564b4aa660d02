"""What is too large of an event goes to S3, and the event says where it is, how large it is, and its hash."""

from __future__ import annotations

import hashlib
import json

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector import config
from connector.eventbridge.claim_check import ClaimCheck, partition_of_region
from connector.model import Claim, Event, Json

SOURCE = "aws.partner/example.com/acme"
EVENT_ID = "cluster/orders/3/1042/1790000000000"


def taken(
    detail: Json, *, metadata: str | None = "_kafka", **settings: Json
) -> tuple[dict[str, Json], Claim] | None:
    """The small detail, and what goes to S3."""
    claim_check = config.ClaimCheckSettings.model_validate({"bucket": "large", **settings})
    target = config.Target(region="eu-central-1", claim_check=claim_check)
    event = Event(SOURCE, "Order", None, (), json.dumps(detail).encode())
    found = ClaimCheck(target, claim_check)(event, EVENT_ID, metadata=metadata)
    return found and (json.loads(found[0].detail), found[1])


def test_the_whole_detail_goes_but_for_the_position() -> None:
    """The default: the customer can still tell the event from its repetition."""
    detail: dict[str, Json] = {"order": "4711", "_kafka": {"id": EVENT_ID}, "lines": [1, 2]}
    found = taken(detail, prefix="events/v1")
    assert found is not None
    small, claim = found

    assert detail == json.loads(claim.body)
    assert f"events/v1/{SOURCE}/{EVENT_ID}" == claim.key
    assert {
        "_kafka": {"id": EVENT_ID},
        "dataref": f"arn:aws:s3:::large/events/v1/{SOURCE}/{EVENT_ID}",
        "datarefJsonPath": "$.detail",
        "datarefSize": len(claim.body),
        "datarefSha256": hashlib.sha256(claim.body).hexdigest(),
    } == small


def test_a_part_of_the_detail_goes_and_the_rest_stays() -> None:
    """As `aws.eventbridge.offloading.default.fieldref` of AWS's sink does it."""
    found = taken(
        {"order": {"id": 1, "odd key": {"lines": [1, "é"]}}}, path="$.detail.order['odd key'].lines"
    )
    assert found is not None
    small, claim = found

    assert [1, "é"] == json.loads(claim.body)
    assert {"id": 1, "odd key": {}} == small["order"]
    assert "$.detail.order['odd key'].lines" == small["datarefJsonPath"]
    assert f"{SOURCE}/{EVENT_ID}" == claim.key


@pytest.mark.parametrize(
    "detail",
    [{"order": {}}, {"order": {"lines": None}}, {"order": [{"lines": 1}]}, {"lines": 1}, {"order": "lines"}],
)
def test_without_anything_at_the_path_nothing_goes(detail: Json) -> None:
    """Then the event is sent as it is, where its size allows it."""
    assert taken(detail, path="$.detail.order.lines") is None


@pytest.mark.parametrize("name", ["dataref", "datarefJsonPath", "datarefSize", "datarefSha256"])
def test_a_reference_of_the_record_itself_is_never_overwritten(name: str) -> None:
    """Its customer reads that one."""
    assert taken({"lines": 1, name: "mine"}, path="$.detail.lines") is None


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists))
def test_what_was_taken_out_can_be_put_back(value: Json) -> None:
    """Object and event together are the event that was too large."""
    detail: dict[str, Json] = {"a": {"b": value, "c": 1}, "d": "é"}
    found = taken(detail, path="$.detail.a.b")
    if value is None:
        assert found is None
        return
    assert found is not None
    small, claim = found
    inside = small["a"]
    assert isinstance(inside, dict)
    inside["b"] = json.loads(claim.body)

    assert detail == {name: each for name, each in small.items() if not name.startswith("dataref")}


def test_the_partition_of_every_region_that_botocore_knows() -> None:
    """It is part of an ARN."""
    session = botocore.session.Session()
    regions = {
        region: partition
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("s3", partition, allow_non_regional=False)
    }

    assert regions == {region: partition_of_region(region) for region in regions}
