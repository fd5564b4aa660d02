"""Spans of OpenTelemetry: one for each request to EventBridge, with links to the traces of its records.

It imports OpenTelemetry, so it is imported only where spans are wanted. Names are those of its semantic
conventions, for messaging and for AWS's SDK:
https://github.com/open-telemetry/semantic-conventions/blob/v1.37.0/docs/messaging/messaging-spans.md
https://github.com/open-telemetry/semantic-conventions/blob/v1.37.0/docs/cloud-providers/aws-sdk.md
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from connector import __version__
from connector.errors import HaltError, TransientError
from connector.model import Answer, Delivered, Headers, Record
from connector.telemetry.log import capped

CONVENTIONS = "1.37.0"
"""The version of the semantic conventions. From 1.39 on those for RPC have other names for `rpc.system` and
`rpc.service`; those for AWS's SDK, which these spans follow, still had them in 1.44."""
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
    "server.address": "the host of the target's endpoint",
    "server.port": "its port",
    "cloud.region": "the target's Region",
    "aws.request_id": "EventBridge's id of the request",
    "error.type": "the code of the error, where the request failed or no entry was accepted",
}
"""What else a span says."""
COMMAND = "partner_bridge.command"
"""The attribute of the resource that says which command sent the request."""

_NO_PARENT = Context()
_TRACE_CONTEXT = TraceContextTextMapPropagator()


class Traces:
    """Sends spans to a collector, in the background. What is not sampled costs a request, not its records."""

    def __init__(
        self,
        *,
        name: str,
        command: str,
        destinations: Mapping[str, tuple[str, str]],
        environ: Mapping[str, str],
    ) -> None:
        """As `start_traces`."""
        own = {"service.version": __version__, COMMAND: command}
        if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        ):
            own["service.name"] = name
        self._draw = RandomIdGenerator().generate_trace_id
        self._trace_ids = _TraceIds()
        self._provider = TracerProvider(
            resource=Resource.create(own), id_generator=self._trace_ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._sampler = self._provider.sampler
        self._tracer = self._provider.get_tracer(
            "partner-bridge", __version__, schema_url=f"https://opentelemetry.io/schemas/{CONVENTIONS}"
        )
        self._destinations = {
            target: (f"send {target}", _attributes(target, region, url))
            for target, (region, url) in destinations.items()
        }
        """The name of a target's spans, and what all of them say."""

    def request(self, target: str, answer: Answer, records: Iterable[Record], *, entries: int) -> str | None:
        """Record the span of an answered request; gives its trace id where it is sampled.

        `records` are looked at only then.
        """
        name, attributes = self._destinations[target]
        # A span that is dropped costs the SDK more than twice what asking first does. No sampler that the
        # variables can name looks at attributes or links, so it may be asked without.
        self._trace_ids.drawn = trace_id = self._draw()
        if self._sampler.should_sample(_NO_PARENT, trace_id, name).decision is Decision.DROP:
            return None
        accepted = sum(isinstance(each, Delivered) for each in answer.outcomes)
        attributes = {
            **attributes,
            "messaging.batch.message_count": entries,
            "partner_bridge.entries_accepted": accepted,
        }
        if answer.request_id:
            attributes["aws.request_id"] = answer.request_id
        if (error := _error(answer, accepted)) is not None:
            attributes["error.type"], message = error
        now_ns = time.time_ns()
        span = self._tracer.start_span(
            name,
            _NO_PARENT,
            SpanKind.CLIENT,
            attributes,
            links=[link for record in records if (link := _link(record.headers)) is not None],
            start_time=now_ns - int(answer.seconds * 1e9),
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, capped(message)))
        span.end(now_ns)
        return f"{trace_id:032x}"

    def close(self, within_s: float) -> None:
        """Send what is left, within a limit; the SDK itself has none."""
        flushing = threading.Thread(target=self._provider.force_flush, name="traces", daemon=True)
        flushing.start()
        flushing.join(within_s)


class _TraceIds(RandomIdGenerator):
    """Gives the next span the trace id that the sampler was asked about."""

    drawn = 0

    def generate_trace_id(self) -> int:
        return self.drawn


def _attributes(target: str, region: str, url: str) -> dict[str, str | int]:
    """What all spans of a target say."""
    endpoint = urlsplit(url)
    return {
        **FIXED,
        "messaging.destination.name": target,
        "server.address": endpoint.hostname or "",
        "server.port": endpoint.port or (443 if endpoint.scheme == "https" else 80),
        "cloud.region": region,
    }


def _error(answer: Answer, accepted: int) -> tuple[str, str] | None:
    """The code and message of what went wrong; None where entries were accepted."""
    match answer.error:
        case None:
            failed = [each for each in answer.outcomes if not isinstance(each, Delivered)]
            return (failed[0].code, failed[0].message) if failed and not accepted else None
        case TransientError(code=code) as error:
            return code, str(error)
        case HaltError() as error:
            return "refused", str(error)
        case error:
            return str(getattr(error, "code", type(error).__name__)), str(error)


def _link(headers: Headers) -> Link | None:
    """A link to the trace that a record belongs to; None where its headers name none that can be read."""
    carrier: dict[str, str] = {}
    for name, content in headers:
        if name in {"traceparent", "tracestate"} and content:
            carrier[name] = content.decode("ascii", "replace")
    if "traceparent" not in carrier:
        return None
    context = get_current_span(_TRACE_CONTEXT.extract(carrier)).get_span_context()
    return Link(context) if context.is_valid else None
