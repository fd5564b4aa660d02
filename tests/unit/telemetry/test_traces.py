"""When spans are sent, and what is said where the environment asks for what cannot be had."""

from __future__ import annotations

import pytest

from connector.telemetry import traces

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environ", "is_wanted"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, False),
    ],
)
def test_the_environment_decides(environ: dict[str, str], is_wanted: bool) -> None:
    """As OpenTelemetry's own variables say; without a collector's address nothing is sent."""
    assert is_wanted is traces.is_wanted(environ)
    assert [] == traces.problems(environ)


def test_a_protocol_that_is_not_spoken_is_said() -> None:
    """Rather than nothing arriving, in silence."""
    (problem,) = traces.problems({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})

    assert "OTEL_EXPORTER_OTLP_ENDPOINT" == problem.path
    assert "by http/protobuf alone, and the environment says grpc" in problem.message


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bridge starts all the same."""
    monkeypatch.setattr(traces, "find_spec", lambda _: None)
    (problem,) = traces.problems(ENDPOINT)

    assert "install kafka-partner-bridge[otel], or unset this variable" in problem.message
