"""Spans reach a collector: one for each request, with links to the traces that its records belong to."""

from __future__ import annotations

import json

from tests.services.child import wait_until
from tests.services.collector import attributes, collecting
from tests.topics import Sent
from tests.world import NOTES, REGION, World, note

TRACES = [f"{number:032x}" for number in (1, 2, 3)]
SPAN = "00f067aa0ba902b7"


def test_one_request_is_one_span_with_a_link_for_each_record_that_has_a_trace(world: World) -> None:
    """Three of four records name a trace; a broken name is no link, and costs nothing."""
    (partition,) = world.topic("notes")
    world.produce(
        [
            *(
                Sent(
                    partition.topic,
                    note(n),
                    b"key",
                    headers=(("traceparent", f"00-{trace}-{SPAN}-01".encode()),),
                )
                for n, trace in enumerate(TRACES)
            ),
            Sent(partition.topic, note(4), b"key", headers=(("traceparent", b"00-nonsense"),)),
            Sent(partition.topic, note(5), b"key"),
        ]
    )
    with collecting() as collector:
        bridge = world.bridge(
            world.settings({partition.topic: NOTES}),
            environ={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"},
        )
        bridge.start()
        world.wait_settled([partition])
        wait_until(lambda: bool(collector.spans), what="a span arrives")
        bridge.sigterm()
        (span,) = [each for each in collector.spans if attributes(each)["messaging.batch.message_count"]]

    said = attributes(span)
    assert TRACES == sorted(link.trace_id.hex() for link in span.links)
    assert {SPAN} == {link.span_id.hex() for link in span.links}
    assert ("send PutPartnerEvents", 3) == (span.name, span.kind)  # 3 is CLIENT
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 10e9
    assert {
        "messaging.system": "aws.eventbridge",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "default",
        "messaging.batch.message_count": 5,
        "partner_bridge.entries_accepted": 5,
        "rpc.system": "aws-api",
        "rpc.service": "EventBridge",
        "rpc.method": "PutPartnerEvents",
        "cloud.region": REGION,
        "aws.request_id": said["aws.request_id"],
    } == said
    assert world.name == collector.resources[0]["service.name"]


def test_the_lines_of_a_request_that_failed_carry_its_trace(world: World) -> None:
    """From the log to the trace, and its span says why it failed."""
    (partition,) = world.topic("notes")
    world.aws.script({"faults": [{"kind": "unavailable", "times": 1}]})
    world.produce([Sent(partition.topic, note(1), b"key")])
    with collecting() as collector:
        bridge = world.bridge(
            world.settings({partition.topic: NOTES}),
            environ={
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_SERVICE_NAME": "orders",
                "OTEL_BSP_SCHEDULE_DELAY": "200",
            },
        )
        bridge.start()
        world.wait_settled([partition])
        bridge.sigterm()

    lines = [json.loads(line) for line in bridge.log().splitlines() if line.startswith("{")]
    traced = {line["trace_id"] for line in lines if line["event"] == "entries_retried"}
    failed = [span for span in collector.spans if "error.type" in attributes(span)]
    assert traced == {span.trace_id.hex() for span in failed}
    assert 1 == len(failed)
    assert 2 == failed[0].status.code  # ERROR
    assert "orders" == collector.resources[0]["service.name"]
    assert {"entries_retried"} >= {line["event"] for line in lines if "trace_id" in line}
