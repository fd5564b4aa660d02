"""What a span says of its request, which requests have one, and to what it links."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
from opentelemetry.semconv._incubating import attributes as conventions

from connector.errors import (
    ConnectorError,
    HaltError,
    OversizeError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
from connector.model import Answer, Delivered, Headers, Outcome, Partition, Record, Refused, Retriable
from connector.telemetry.metrics import Telemetry
from connector.telemetry.spans import ATTRIBUTES, FIXED, Traces
from connector.telemetry.traces import FLUSH_S
from tests.services.collector import Collector, attributes, collecting

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
YES = Delivered("id")
DESTINATIONS = {
    "default": ("eu-central-1", "https://events.eu-central-1.amazonaws.com"),
    "near": ("eu-west-1", "http://localhost:4010"),
}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


def sending() -> Traces:
    return Traces(name="orders", command="run", destinations=DESTINATIONS, environ={})


def record(*headers: tuple[str, bytes | None]) -> Record:
    return Record(Partition("orders", 0), 0, None, None, None, headers)


def answer(*outcomes: Outcome, error: ConnectorError | None = None) -> Answer:
    return Answer(outcomes, error, "request-1", 0.25)


@pytest.mark.parametrize(
    ("outcomes", "error", "expected"),
    [
        ([YES, YES], None, None),
        ([YES, Refused("InvalidArgument", "no")], None, None),
        (
            [Retriable("InternalFailure", "it broke"), Refused("Other", "no")],
            None,
            ("InternalFailure", "it broke"),
        ),
        ([], ThrottledError("too many", code="ThrottlingException"), ("ThrottlingException", "too many")),
        ([], UnavailableError("no answer"), ("unavailable", "no answer")),
        ([], OversizeError("request_too_large", "too large"), ("request_too_large", "too large")),
        ([], RefusedError("entry_refused", "no"), ("entry_refused", "no")),
        ([], HaltError("they refuse us"), ("refused", "they refuse us")),
    ],
)
def test_a_request_of_which_nothing_was_accepted_is_an_error(
    collector: Collector,
    outcomes: list[Outcome],
    error: ConnectorError | None,
    expected: tuple[str, str] | None,
) -> None:
    """Its code is the error's type, and its text is the description."""
    spans = sending()
    spans.request("default", answer(*outcomes, error=error), [], entries=2)
    spans.close(FLUSH_S)

    (span,) = collector.spans
    found = attributes(span).get("error.type"), span.status.message
    assert (expected or (None, "")) == found
    assert (2 if expected else 0) == span.status.code


def test_a_request_that_never_left_has_no_span(collector: Collector) -> None:
    """Nothing was asked of EventBridge, so nobody looks for it there."""
    telemetry = Telemetry()
    telemetry.traces = spans = sending()
    unsent = replace(answer(error=UnavailableError("no bucket", code="claim_check")), is_sent=False)
    with telemetry.handling("default", unsent, [], entries=1) as none:
        pass
    with telemetry.handling("default", answer(error=UnavailableError("no answer")), [], entries=1) as some:
        pass
    spans.close(FLUSH_S)

    assert None is none
    assert [some] == [span.trace_id.hex() for span in collector.spans]


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [("default", "events.eu-central-1.amazonaws.com", 443), ("near", "localhost", 4010)],
)
def test_a_span_names_target_and_endpoint(collector: Collector, target: str, host: str, port: int) -> None:
    """Also where an endpoint is named that is not the Region's own."""
    spans = sending()
    spans.request(target, answer(YES), [], entries=1)
    spans.close(FLUSH_S)

    (span,) = collector.spans
    said = attributes(span)
    assert f"send {target}" == span.name
    assert (target, host, port) == (
        said["messaging.destination.name"],
        said["server.address"],
        said["server.port"],
    )
    assert ["https://opentelemetry.io/schemas/1.37.0"] == collector.schemas
    assert {"orders"} == {resource["service.name"] for resource in collector.resources}
    assert {"run"} == {resource["partner_bridge.command"] for resource in collector.resources}


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_a_share_of_requests_is_sampled_by_trace_id(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    """As other services and collectors do it; what is logged as a trace is one that arrived."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    spans = sending()
    given = [spans.request("default", answer(YES), [record()], entries=1) for _ in range(200)]
    spans.close(FLUSH_S)

    sampled = [trace for trace in given if trace is not None]
    assert 0 < len(sampled) < len(given)
    assert sorted(sampled) == sorted(span.trace_id.hex() for span in collector.spans)
    assert len(sampled) == len({*sampled})
    assert all(int(trace[16:], 16) < 2**63 for trace in sampled)


def test_what_is_not_sampled_costs_nothing_for_each_record(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records are not even looked at."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    spans, records = sending(), iter([record()])

    assert spans.request("default", answer(YES), records, entries=1) is None
    assert [record()] == list(records)


@pytest.mark.parametrize(
    ("headers", "is_linked"),
    [
        ((("traceparent", f"00-{TRACE}-{SPAN}-01".encode()),), True),
        ((("traceparent", f"00-{TRACE}-{SPAN}-01".encode()), ("tracestate", b"vendor=1")), True),
        ((("traceparent", f"00-{TRACE}-{SPAN}-01".encode()), ("tracestate", b"\xff")), True),
        ((("traceparent", f"cc-{TRACE}-{SPAN}-01-more".encode()),), True),
        ((("traceparent", f"00-{TRACE}-{SPAN}-01-more".encode()),), False),
        ((("traceparent", f"00-{'0' * 32}-{SPAN}-01".encode()),), False),
        ((("traceparent", b"\xff"),), False),
        ((("traceparent", None),), False),
        ((("tracestate", b"vendor=1"),), False),
        ((), False),
    ],
)
def test_a_record_is_linked_where_its_headers_name_a_trace(
    collector: Collector, headers: Headers, is_linked: bool
) -> None:
    """As W3C Trace Context says; bytes that are no trace are none, and stop nothing."""
    spans = sending()
    spans.request("default", answer(YES), [record(*headers)], entries=1)
    spans.close(FLUSH_S)

    (span,) = collector.spans
    assert [(TRACE, SPAN)] * is_linked == [(each.trace_id.hex(), each.span_id.hex()) for each in span.links]


def test_names_are_those_of_the_conventions() -> None:
    """All but ours, which begin with the product's name."""
    modules = [
        importlib.import_module(f"{conventions.__name__}.{each.name}")
        for each in pkgutil.iter_modules(conventions.__path__)
    ]
    known = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    used = {*FIXED, *ATTRIBUTES}

    assert set() == {name for name in used - known if not name.startswith("partner_bridge.")}
