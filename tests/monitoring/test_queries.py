"""Dashboard, alerts and runbook name what exists. That queries are answered is shown by bad_day.py."""

from __future__ import annotations

from connector.telemetry.metrics import Telemetry
from tests.chart.values_schema import ROOT
from tests.docs.generated import show_every_series
from tests.monitoring import queries


def test_every_metric_that_is_named_exists() -> None:
    """In dashboard and alerts, by what the bridge itself shows after everything happened once."""
    telemetry = Telemetry()
    show_every_series(telemetry)
    shown = {
        line.split("{")[0].split(" ")[0]
        for line in telemetry.render()[0].decode().splitlines()
        if not line.startswith("#")
    } | {"up"}
    named = {
        metric
        for query in [*queries.alerts().values(), *(query for _, query in queries.panels())]
        for metric in queries.metrics(query)
    }

    assert len(named) > 20
    assert set() == named - shown


def test_every_alert_is_in_the_runbook_and_has_both_tests() -> None:
    """One that fires and one that is silent; and a heading that the alert's link leads to."""
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    files = (ROOT / "tests" / "chart").glob("alerts_*test.yaml")
    tested = [case for file in files for case in file.read_text().split("  - name: ")]

    for alert in queries.alerts():
        of_it = [each for each in tested if f"alertname: {alert}\n" in each]
        assert f"\n## {alert}\n" in runbook
        assert any("exp_alerts: []" in each for each in of_it), alert
        assert any("exp_labels" in each for each in of_it), alert
