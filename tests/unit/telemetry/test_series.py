"""Series by their label values, and the histogram for which every event counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from connector.telemetry.series import DELIVERY_SECONDS, DeliverySeconds, Series


def test_a_series_is_that_of_prometheus_client() -> None:
    """The same as `labels()`, made once, and gone after `remove`."""
    registry = CollectorRegistry()
    series = Series(Counter("records", "Records.", ["topic"], registry=registry))

    series[("a",)].inc(2)
    series[("b",)].inc()
    series.remove("b")
    series.remove("never shown")

    assert 2 == registry.get_sample_value("records_total", {"topic": "a"})
    assert None is registry.get_sample_value("records_total", {"topic": "b"})


def test_the_histogram_counts_as_that_of_prometheus_client() -> None:
    """Buckets and count are equal; a negative time counts, and adds nothing to the sum."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    seconds = DeliverySeconds()
    ours.register(seconds)
    histogram = Histogram(
        "partner_bridge_delivery_seconds", "", ["topic"], registry=theirs, buckets=DELIVERY_SECONDS
    )
    for batch in ([0.005, 0.006, 4000.0], [], [-1.0, 0.3]):
        seconds.observe("t", batch)
        for value in batch:
            histogram.labels("t").observe(value)

    def counts(registry: CollectorRegistry) -> dict[str, float]:
        return {
            sample.labels.get("le", "all"): sample.value
            for metric in registry.collect()
            for sample in metric.samples
            if sample.name.endswith(("_bucket", "_count"))
        }

    assert counts(theirs) == counts(ours)
    assert 4000.311 == ours.get_sample_value("partner_bridge_delivery_seconds_sum", {"topic": "t"})
