"""The page, and the token that all but probes want."""

from __future__ import annotations

from typing import Any

from tests.chart.render import bridge_container, one, release

TOKEN = {"secrets": {"http": {"existingSecret": "page", "settings": {"token": "key"}}}}


def variables(values: dict[str, Any] | None = None) -> dict[str, Any]:
    """The environment of the bridge."""
    return {each["name"]: each for each in bridge_container(release(values))["env"]}


def test_the_page_is_there_unless_told() -> None:
    assert "BRIDGE_HTTP__PAGE" not in variables()
    assert "false" == variables({"page": {"enabled": False}})["BRIDGE_HTTP__PAGE"]["value"]


def test_the_page_links_to_the_runbook_that_the_alerts_link_to() -> None:
    url = "https://wiki.example.com/partner-bridge"

    assert "BRIDGE_HTTP__RUNBOOK_URL" not in variables()
    assert url == variables({"prometheusRule": {"runbookUrl": url}})["BRIDGE_HTTP__RUNBOOK_URL"]["value"]


def test_a_token_is_from_a_secret_and_prometheus_sends_it() -> None:
    """Else the alerts would be about a bridge that nobody can scrape."""
    values = {
        **TOKEN,
        "podMonitor": {"enabled": True},
        "networkPolicy": {"monitoringNamespace": "monitoring"},
    }
    (endpoint,) = one("PodMonitor", release(values))["spec"]["podMetricsEndpoints"]

    assert {"name": "page", "key": "key"} == variables(TOKEN)["BRIDGE_HTTP__TOKEN"]["valueFrom"][
        "secretKeyRef"
    ]
    assert {"type": "Bearer", "credentials": {"name": "page", "key": "key"}} == endpoint["authorization"]
