"""Events that are too large go by reference, whatever happens to the bucket or the bridge meanwhile."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scale import scaled
from tests.services.child import wait_until
from tests.services.s3 import BUCKET, S3, serving_s3
from tests.topics import Sent
from tests.world import NOTES, World, note

EVENTS = scaled(60, 1_000)
"""Large ones."""
SIZE = 300_000


@pytest.fixture
def s3() -> Iterator[S3]:
    with serving_s3() as s3:
        yield s3


def large(number: int) -> bytes:
    """A note over the limit; its text differs from all others."""
    return note(number, text=hashlib.sha256(b"%d" % number).hexdigest() * (SIZE // 64))


def test_large_events_go_by_reference_through_a_kill_and_an_outage_of_the_bucket(
    world: World, s3: S3
) -> None:
    """None is lost or dead-lettered, each reference leads to what its event left out, and the bucket holds
    nothing else; while it cannot be written nothing is sent, and the bridge says why."""
    partitions = world.topic("notes", partitions=2)
    notes = [large(number) if number % 2 else note(number) for number in range(2 * EVENTS)]
    produced = world.produce(
        [
            Sent(partitions[number % 2].topic, value, b"key-%d" % (number % 7))
            for number, value in enumerate(notes)
        ]
    )
    settings = world.settings(
        {partitions[0].topic: NOTES},
        eventbridge={"claim_check": {"bucket": BUCKET, "endpoint_url": s3.url, "prefix": "events"}},
    )
    bridge = world.bridge(settings)
    with world.sampler(partitions) as sampler:
        world.aws.script({"latency_ms": 50})
        bridge.start()
        world.wait_accepted(EVENTS // 2)
        bridge.kill()
        world.aws.calm()
        s3.fault = (403, "AccessDenied")
        bridge.start(ready=False)
        wait_until(
            lambda: "allow s3:PutObject on large-events/events/*" in str(bridge.ready()),
            what=lambda: f"the bucket is named: {bridge.ready()}",
        )
        accepted = world.aws.counts().accepted
        s3.fault = None
        world.wait_settled(partitions)
        bridge.wait_ready()
        uploads = bridge.metric("claim_checks_total", target="default")
        bridge.sigterm()

    balance = world.balance(produced, samples=sampler.samples)
    details = world.details()
    references = {detail["dataref"]: detail for detail in details if "dataref" in detail}
    small = {detail["number"] for detail in details if "dataref" not in detail}
    assert accepted < 2 * EVENTS
    assert uploads > 0
    assert 2 * EVENTS == balance.delivered
    assert [] == world.letters()
    assert EVENTS == len(references)
    assert sorted(references) == sorted(f"arn:aws:s3:::{BUCKET}/{key}" for key in s3.objects())
    found = set()
    page = (Path(__file__).parents[2] / "docs" / "claim-check.md").read_text()
    read: dict[str, Any] = {}
    code = page.split("```python\n")[1].split("```")[0].replace('boto3.client("s3")', "None")
    exec(code, read)
    read["S3"] = s3.client
    for arn, detail in references.items():
        content = s3.get(arn)
        assert (len(content), hashlib.sha256(content).hexdigest()) == (
            detail["datarefSize"],
            detail["datarefSha256"],
        )
        assert arn.endswith(f"events/aws.partner/example.com/acme/{detail['_kafka']['id']}")
        whole = read["whole_detail"]({"detail": dict(detail)})
        assert json.loads(content) == whole
        assert detail["_kafka"] == whole["_kafka"]
        found.add(whole["number"])
    assert {number for number in range(2 * EVENTS) if number % 2} == found
    assert {number for number in range(2 * EVENTS) if not number % 2} == small
