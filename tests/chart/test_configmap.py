"""The configuration that the chart mounts."""

from __future__ import annotations

from typing import Any

import pytest

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


@pytest.mark.parametrize(
    "content",
    [
        '{"type": "string"}',
        '   {\n "type": "string"}',
        "\n\n  two lines, then this\n\n",
        "\ttab\r\nand carriage return",
        "",
        "# no comment: <&> \\ \u00fc",
    ],
)
def test_more_files_lie_next_to_it_as_they_are(content: str) -> None:
    """Byte by byte, blanks at the beginning and line ends included."""
    assert content == mounted({"files": {"order.avsc": content}})["order.avsc"]
