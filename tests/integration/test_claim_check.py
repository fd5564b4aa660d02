"""Events that are too large go by reference, whatever happens to the bucket or the bridge meanwhile."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.model import Json
from tests.redelivering import Redeliveries
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


def test_a_bucket_that_says_slow_down_now_and_then_is_no_outage(world: World, s3: S3) -> None:
    """Uploads are tried again by themselves: the target stays up, no event is sent again for it, and nobody
    hears of it."""
    (partition,) = world.topic("notes")
    s3.fault, s3.fault_every, s3.fault_tries = (503, "SlowDown"), 3, 2
    produced = world.produce([Sent(partition.topic, large(number)) for number in range(EVENTS)])
    settings = world.settings(
        {partition.topic: NOTES}, eventbridge={"claim_check": {"bucket": BUCKET, "endpoint_url": s3.url}}
    )
    bridge = world.bridge(settings).start()
    said: list[dict[str, Any]] = []

    def is_done() -> bool:
        said.append(bridge.ready()[1])
        return world.aws.counts().accepted >= EVENTS

    wait_until(is_done, what=lambda: f"all is delivered: {world.aws.counts()}\n{bridge.log()}", timeout_s=120)
    world.wait_settled([partition])
    retried = bridge.metric("entries_retried_total", target="default", code="claim_check")
    bridge.sigterm()

    details = world.details()
    assert EVENTS == world.balance(produced).delivered == len(details)
    assert 2 * -(-EVENTS // 3) == s3.faults
    assert sorted(detail["dataref"] for detail in details) == sorted(
        f"arn:aws:s3:::{BUCKET}/{key}" for key in s3.objects()
    )
    assert [] == [each for each in said if each.get("reasons")]
    assert 0 == retried
    assert not {"target_down", "target_up", "entries_retried"} & {
        line.get("event") for line in bridge.lines()
    }


def test_a_bucket_that_is_silent_is_named_long_before_an_upload_is_given_up(world: World) -> None:
    """The reason to be unready blames it, and not EventBridge."""
    (partition,) = world.topic("notes")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = world.settings(
            {partition.topic: NOTES},
            eventbridge={
                "claim_check": {"bucket": BUCKET, "endpoint_url": url},
                "timeouts": {"connect": "1h", "read": "1h"},
            },
        )
        bridge = world.bridge(settings)
        bridge.start()
        world.produce([Sent(partition.topic, large(1))])
        wait_until(
            lambda: "uploads to the bucket large-events of the claim check have not" in str(bridge.ready()),
            what=lambda: f"the bucket is named: {bridge.ready()}",
        )
        bridge.kill()

    assert 0 == world.aws.counts().accepted


def test_what_a_replay_and_a_resend_plan_for_s3_is_what_they_upload(
    world: World, s3: S3, tmp_path: Path
) -> None:
    """Letters of events that were too large, once there is a claim check; a resend writes the same objects
    again."""
    (partition,) = world.topic("notes")
    world.produce(
        [Sent(partition.topic, large(number) if number % 2 else note(number)) for number in range(10)]
    )
    letters: dict[str, Json] = {"topic": f"{world.name}.letters", "create": True, "replication_factor": 1}
    settings = world.settings({partition.topic: NOTES}, dead_letter=letters)
    bridge = world.bridge(settings).start()
    world.wait_settled([partition])
    bridge.sigterm()
    settings["eventbridge"]["claim_check"] = {"bucket": BUCKET, "endpoint_url": s3.url}
    commands = Redeliveries(world, tmp_path, settings)

    def run(group: str, command: str, *arguments: str) -> str:
        return commands.finish(commands.launch(group, command, *arguments), 0)

    planned = run("dead-letters", "replay")
    before = s3.objects()
    replayed = run("dead-letters", "replay", "--execute", "--rate", "0")
    size = sum(s3.head(key)["ContentLength"] for key in s3.objects())
    shown = run(
        "events", "resend", "--topic", partition.topic, "--partition", "0", "--offset", "0-9", "--json"
    )
    resent = json.loads(shown[shown.index("{\n") : shown.rindex("}") + 1])

    assert [] == before
    assert f"Of these, 5 would be sent by reference, with {size:,} bytes in S3" in planned
    assert f"Of these, 5 delivered by reference, with {size:,} bytes in S3" in replayed
    assert 5 == len(s3.objects()) == s3.puts
    assert 10 == len(world.details())
    assert (10, 5, size) == (resent["events"], resent["claim_checks"], resent["claim_check_bytes"])
