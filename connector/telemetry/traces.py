"""Spans of OpenTelemetry: one for each request to EventBridge, with links to the traces of its records.

Everything is configured by OpenTelemetry's own variables:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
Names are those of its semantic conventions 1.37, for messaging, RPC and AWS:
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from connector import __version__
from connector.errors import HaltError, Problem, TransientError
from connector.model import Answer, Delivered, Headers, Record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HTTP = "http/protobuf"
FLUSH_S = 2.0
"""At the end the collector gets so long to take the last spans."""

_PARTS = (
    "opentelemetry",
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "opentelemetry.exporter.otlp.proto.http",
)
"""Each is looked for only where the one before it is there."""

SPAN = "send PutPartnerEvents"
FIXED: Mapping[str, str] = {
    "messaging.system": "aws.eventbridge",
    "messaging.operation.name": "send",
    "messaging.operation.type": "send",
    "rpc.system": "aws-api",
    "rpc.service": "EventBridge",
    "rpc.method": "PutPartnerEvents",
}
ATTRIBUTES: Mapping[str, str] = {
    "messaging.destination.name": "the target",
    "messaging.batch.message_count": "entries of the request",
    "partner_bridge.entries_accepted": "how many of them EventBridge accepted",
    "cloud.region": "the target's Region",
    "aws.request_id": "EventBridge's id of the request",
    "error.type": "the code of the error, where the request failed or no entry was accepted",
}
"""What else a span says."""


def problems(environ: Mapping[str, str]) -> list[Problem]:
    """Why spans are not sent although the environment asks for them."""
    if not is_wanted(environ):
        return []
    by = next(name for name in ENDPOINTS if environ.get(name))
    protocol = next((environ[name] for name in PROTOCOLS if environ.get(name)), HTTP)
    if protocol != HTTP:
        return [
            Problem(by, f"spans are sent by {HTTP} alone, and the environment says {protocol}; none is sent")
        ]
    if any(find_spec(part) is None for part in _PARTS):
        text = "no spans are sent: install kafka-partner-bridge[otel], or unset this variable"
        return [Problem(by, text)]
    return []


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the environment names a collector, and does not turn traces off."""
    return (
        any(environ.get(name) for name in ENDPOINTS)
        and environ.get("OTEL_SDK_DISABLED", "").lower() != "true"
        and environ.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"
    )


class Traces:
    """Sends spans to a collector, in the background. What is not sampled costs a request, not its records."""

    def __init__(self, *, name: str, regions: Mapping[str, str], environ: Mapping[str, str]) -> None:
        """`name` is that of the service, unless the environment has one; `regions` are the targets'."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415

        self._kind, self._status, self._error = SpanKind.CLIENT, Status, StatusCode.ERROR
        own = {"service.version": __version__}
        if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        ):
            own["service.name"] = name
        self._provider: TracerProvider = TracerProvider(resource=Resource.create(own))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("partner-bridge", __version__)
        self._regions = regions

    def request(self, target: str, answer: Answer, records: Iterable[Record], *, entries: int) -> str | None:
        """Record the span of an answered request; gives its trace id where it is sampled.

        `records` are looked at only then.
        """
        now_ns = time.time_ns()
        span = self._tracer.start_span(SPAN, kind=self._kind, start_time=now_ns - int(answer.seconds * 1e9))
        if not span.is_recording():
            return None
        span.set_attributes(FIXED)
        span.set_attribute("messaging.destination.name", target)
        span.set_attribute("messaging.batch.message_count", entries)
        span.set_attribute("cloud.region", self._regions.get(target, ""))
        if answer.request_id:
            span.set_attribute("aws.request_id", answer.request_id)
        accepted = sum(isinstance(each, Delivered) for each in answer.outcomes)
        span.set_attribute("partner_bridge.entries_accepted", accepted)
        if (code := _error_type(answer, accepted)) is not None:
            span.set_attribute("error.type", code)
            span.set_status(self._status(self._error, code))
        for record in records:
            if (link := _link(record.headers)) is not None:
                span.add_link(link.context)
        span.end(now_ns)
        return f"{span.get_span_context().trace_id:032x}"

    def close(self) -> None:
        """Send what is left, for `FLUSH_S` at most; the SDK itself takes no limit."""
        flushing = threading.Thread(target=self._provider.force_flush, name="traces", daemon=True)
        flushing.start()
        flushing.join(FLUSH_S)


def _error_type(answer: Answer, accepted: int) -> str | None:
    match answer.error:
        case None:
            failed = [each for each in answer.outcomes if not isinstance(each, Delivered)]
            return failed[0].code if failed and not accepted else None
        case TransientError(code=code):
            return code
        case HaltError():
            return "refused"
        case error:
            return str(getattr(error, "code", type(error).__name__))


def _link(headers: Headers) -> Link | None:
    """A link to the trace that a record belongs to; None where its headers name none that can be read."""
    carrier: dict[str, str] = {}
    for name, content in headers:
        if name in {"traceparent", "tracestate"} and content:
            carrier[name] = content.decode("ascii", "replace")
    if "traceparent" not in carrier:
        return None
    from opentelemetry.trace import Link, get_current_span  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    context = get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()
    return Link(context) if context.is_valid else None
