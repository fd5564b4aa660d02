"""What a shadow run shows to Prometheus."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from connector.errors import MappingError
from connector.model import Entry, Partition, Position
from connector.telemetry.metrics import MAX_SOURCE_SERIES, Telemetry
from connector.workbench.shadow_metrics import ShadowMetrics
from connector.workbench.shadow_report import PartitionReading, ShadowReport
from tests.docs.generated import show_every_series

ORDERS = Partition("orders", 0)


def series(metrics: ShadowMetrics) -> dict[str, float]:
    """Every series as `name{label=value}`, without its prefix."""
    return {
        f"{sample.name.removeprefix('partner_bridge_dry_run_')}"
        f"{{{','.join(f'{label}={value}' for label, value in sorted(sample.labels.items()))}}}": sample.value
        for family in text_string_to_metric_families(metrics.render()[0].decode())
        for sample in family.samples
        if family.name.startswith("partner_bridge")
    }


def test_a_scrape_shows_what_the_report_has_at_that_moment() -> None:
    """Records by what would become of them, sizes, chunks, lag, sources and detail types."""
    report = ShadowReport(max_consecutive=100)
    metrics = ShadowMetrics(report, {})
    report.event("orders", Entry("acme", "Order", b"{}", 2_000))
    report.event("orders", Entry("acme", "Order", b"{}", 70_000))
    report.filtered("orders", "filter")
    report.dead_letter(Position(ORDERS, 7), MappingError("template_null", "m"))
    report.partitions[ORDERS] = PartitionReading(0, left=3)
    found = series(metrics)

    assert 2 == found["records_total{code=,outcome=event,topic=orders}"]
    assert 1 == found["records_total{code=filter,outcome=filtered,topic=orders}"]
    assert 1 == found["records_total{code=template_null,outcome=dead_letter,topic=orders}"]
    assert 3 == found["billed_chunks_total{topic=orders}"]
    assert (0, 1, 2) == tuple(
        found[f"event_bytes_bucket{{le={bound},topic=orders}}"] for bound in ("1024.0", "2048.0", "+Inf")
    )
    assert 72_000 == found["event_bytes_sum{topic=orders}"]
    assert 3 == found["lag{partition=0,topic=orders}"]
    assert 2 == found["source_events_total{source=acme}"]
    assert 2 == found["detail_type_events_total{detail_type=Order}"]

    report.event("orders", Entry("acme", "Order", b"{}", 2_000))
    assert 3 == series(metrics)["records_total{code=,outcome=event,topic=orders}"]


def test_no_name_is_one_of_a_bridge() -> None:
    """A dashboard or an alert of a running bridge sees nothing of a dry run beside it."""
    report = ShadowReport(max_consecutive=100)
    report.event("orders", Entry("acme", "Order", b"{}", 2_000))
    report.partitions[ORDERS] = PartitionReading(0, left=3)
    telemetry = Telemetry()
    show_every_series(telemetry)

    def names(text: bytes) -> set[str]:
        found = {family.name for family in text_string_to_metric_families(text.decode())}
        return {name for name in found if name.startswith("partner_bridge")}

    dry_run = names(ShadowMetrics(report, {}).render()[0])
    assert all("dry_run" in name for name in dry_run)
    assert set() == dry_run & names(telemetry.render()[0])


def test_sources_beyond_a_limit_share_a_series() -> None:
    """Thousands of customers do not become thousands of series."""
    report = ShadowReport(max_consecutive=100)
    for number in range(MAX_SOURCE_SERIES + 7):
        report.event("orders", Entry(f"customer-{number}", "Order", b"{}", 100))
    found = series(ShadowMetrics(report, {}))

    assert 7 == found["source_events_total{source=other}"]
    assert MAX_SOURCE_SERIES + 1 == sum(name.startswith("source_events_total") for name in found)
