"""The configuration that the chart mounts."""

from __future__ import annotations

from typing import Any

from tests.chart.render import one, release


def mounted(values: dict[str, Any]) -> dict[str, str]:
    """The files of the ConfigMap."""
    return dict(one("ConfigMap", release(values))["data"])


def test_large_numbers_are_written_in_full() -> None:
    """Helm itself writes 1e+06."""
    files = mounted({"config": {"eventbridge": {"max_event_bytes": 1_000_000}}})

    assert "max_event_bytes: 1000000\n" in files["bridge.yaml"]


def test_expressions_are_left_as_they_are() -> None:
    condition = "value.a < `5` && value.b != '<x>'"
    files = mounted({"config": {"topics": {"orders.v1": {"filter": condition}}}})

    assert f'filter: "{condition}"\n' in files["bridge.yaml"]


def test_more_files_lie_next_to_it() -> None:
    schema = '{"type": "string"}'

    assert f"{schema}\n" == mounted({"files": {"order.avsc": schema}})["order.avsc"]
