"""Spans reach a collector: one for each request, with links to the traces that its records belong to."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.replaying import Replays
from tests.resending import BEGIN_MS, Resends
from tests.services.child import wait_until
from tests.services.collector import Collector, attributes, collecting
from tests.topics import Sent
from tests.world import NOTES, REGION, World, note

TRACES = [f"{number:032x}" for number in (1, 2, 3)]
SPAN = "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def linked(collector: Collector) -> list[str]:
    """The traces to which spans have links."""
    return sorted(link.trace_id.hex() for span in collector.spans for link in span.links)


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
    assert ("send default", 3) == (span.name, span.kind)  # 3 is CLIENT
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
        "server.address": "127.0.0.1",
        "server.port": urlsplit(world.aws.url).port,
        "cloud.region": REGION,
        "aws.request_id": said["aws.request_id"],
    } == said
    assert (world.name, "run") == (
        collector.resources[0]["service.name"],
        collector.resources[0]["partner_bridge.command"],
    )


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


def test_the_line_of_a_dead_letter_names_the_trace_of_its_last_request(world: World) -> None:
    """Of the request whose answer refused it; a record that was never sent has none."""
    (partition,) = world.topic("notes")
    refused = {"kind": "entry_error", "code": "InvalidArgument", "index": [0], "times": 1}
    world.aws.script({"faults": [refused]})
    world.produce([Sent(partition.topic, note(1), b"a"), Sent(partition.topic, b"{", b"b")])
    with collecting() as collector:
        bridge = world.bridge(
            world.settings({partition.topic: NOTES}), environ={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        )
        bridge.start()
        world.wait_settled([partition])
        bridge.sigterm()

    letters = {line["code"]: line for line in bridge.lines() if line.get("event") == "record_dead_lettered"}
    (failed,) = [span for span in collector.spans if "error.type" in attributes(span)]
    assert failed.trace_id.hex() == letters["entry_refused"]["trace_id"]
    assert "trace_id" not in letters["json_invalid"]
    assert "Refused." == failed.status.message


def test_a_replay_sends_spans_that_are_linked_to_the_traces_of_its_records(
    world: World, tmp_path: Path, collector: Collector
) -> None:
    """The dead letter kept the header; the last span has left when the command ends."""
    replays = Replays(world, tmp_path)
    replays.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
    for number, trace in enumerate(TRACES):
        replays.write([replays.letter(number)], also=(("traceparent", f"00-{trace}-{SPAN}-01".encode()),))
    plan = replays.run()
    spans_of_plan = len(collector.spans)
    done = replays.execute()
    replays.close()

    assert "would try 3 letters" in plan
    assert 0 == spans_of_plan
    assert "delivered          3" in done
    assert TRACES == linked(collector)
    assert {world.name} == {resource["service.name"] for resource in collector.resources}
    assert {"dead-letters replay"} == {each["partner_bridge.command"] for each in collector.resources}


def test_a_resend_sends_spans_that_are_linked_to_the_traces_of_its_records(
    world: World, tmp_path: Path, collector: Collector
) -> None:
    """As the bridge does; a service that the variables name keeps that name."""
    resends = Resends(world, tmp_path)
    resends.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "orders"}
    world.produce(
        [
            Sent(
                resends.topic,
                note(number, kind="Note"),
                b"key",
                headers=(("traceparent", f"00-{trace}-{SPAN}-01".encode()),),
                timestamp_ms=BEGIN_MS + 1_000 * number,
            )
            for number, trace in enumerate(TRACES)
        ]
    )
    done = resends.run(*resends.between(0, 3), "--execute", "--rate", "0")
    resends.close()

    assert "delivered          3" in done
    assert TRACES == linked(collector)
    assert {"orders"} == {resource["service.name"] for resource in collector.resources}
    assert {"events resend"} == {each["partner_bridge.command"] for each in collector.resources}


def test_a_collector_that_does_not_answer_hides_nothing_from_who_stops_a_command(
    world: World, tmp_path: Path
) -> None:
    """What it did until then is printed, with the command that goes on, as without spans.

    The last answers come late: they leave little of the time that a stop has.
    """
    replays = Replays(world, tmp_path)
    replays.write(replays.letter(number) for number in range(100))
    world.aws.script({"latency_ms": 1400})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        replays.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{host}:{port}"
        child = replays.start("--execute", "--rate", "5")
        replays.wait_accepted(2, child)
        child.signal(signal.SIGTERM)
        code = child.wait(timeout_s=30)
    replays.close()

    assert 128 + signal.SIGTERM == code
    assert "Stopped. Replayed" in child.output()
    assert "dead-letters replay --config" in child.output()


def test_a_command_says_why_it_sends_no_spans(world: World, tmp_path: Path) -> None:
    """It does its work all the same."""
    replays = Replays(world, tmp_path)
    replays.environ |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    replays.write([replays.letter(1)])
    done = replays.execute()
    replays.close()

    assert "note: OTEL_EXPORTER_OTLP_ENDPOINT: spans are sent by http/protobuf alone" in " ".join(
        done.split()
    )
    assert "delivered          1" in done
