"""Whether spans of OpenTelemetry are sent; `spans.py` makes them.

Everything is configured by OpenTelemetry's own variables:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from connector.errors import ConfigError, Problem

if TYPE_CHECKING:
    from connector.telemetry.spans import Traces

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


def start_traces(
    *, name: str, command: str, destinations: Mapping[str, tuple[str, str]], environ: Mapping[str, str]
) -> Traces | None:
    """Begin to send spans where the environment asks for them; None where it does not.

    `name` is that of the service, unless the environment has one; `command` says what runs, as "run"; and
    `destinations` are the Region and the endpoint's URL of each target, by its name.

    Raises:
        ConfigError: the environment asks for spans, and they cannot be had.
    """
    if not is_wanted(environ):
        return None
    if found := problems(environ):
        raise ConfigError(found)
    try:
        from connector.telemetry.spans import Traces  # noqa: PLC0415 - the extra, and 100 ms

        return Traces(name=name, command=command, destinations=destinations, environ=environ)
    except Exception as error:  # what the SDK raises for variables that it cannot use
        raise ConfigError([Problem("OTEL_*", f"no spans are sent: {error}")]) from error


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
