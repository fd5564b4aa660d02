"""What a shadow run shows on `/metrics`: names of its own, so that no dashboard takes it for a bridge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from connector.telemetry.metrics import MAX_SOURCE_SERIES, rendered
from connector.workbench.shadow_report import NameCounts, ShadowReport

EVENT_BYTES = tuple(1 << power for power in range(10, 21))
"""The buckets of event sizes: 1 KiB to 1 MiB, which is the most that EventBridge takes."""

OTHER = "other"
"""The label of all sources, or detail types, that have no series of their own."""


class ShadowMetrics(Collector):
    """Shows the counts of a shadow run as they are when they are asked for."""

    def __init__(self, report: ShadowReport, versions: Mapping[str, str]) -> None:
        self.versions = versions
        self._report = report
        self._registry = CollectorRegistry()
        self._registry.register(self)
        prometheus_client.ProcessCollector(registry=self._registry)

    def render(self) -> tuple[bytes, str]:
        """All metrics in Prometheus' text format, and their content type."""
        return rendered(self._registry)

    def collect(self) -> Iterator[Metric]:
        records = _counter(
            "records", "Records mapped, and what would have become of them.", "topic", "outcome", "code"
        )
        chunks = _counter("billed_chunks", "Chunks of 64 KiB, begun or full, that AWS would bill.", "topic")
        sizes = HistogramMetricFamily(
            "partner_bridge_dry_run_event_bytes",
            "Sizes of events, as EventBridge counts them.",
            labels=["topic"],
        )
        for topic, counts in self._report.topics.copy().items():
            records.add_metric([topic, "event", ""], counts.events)
            for reason, count in counts.filtered.copy().items():
                records.add_metric([topic, "filtered", reason], count)
            for code, count in counts.dead_letters.copy().items():
                records.add_metric([topic, "dead_letter", code], count)
            chunks.add_metric([topic], counts.billed_chunks)
            buckets = [(str(float(bound)), counts.sizes.up_to(bound)) for bound in EVENT_BYTES]
            sizes.add_metric([topic], [*buckets, ("+Inf", counts.events)], counts.sizes.sum_bytes)
        lag = GaugeMetricFamily(
            "partner_bridge_dry_run_lag",
            "Records that are still to be mapped.",
            labels=["topic", "partition"],
        )
        for (topic, number), reading in self._report.partitions.copy().items():
            lag.add_metric([topic, str(number)], reading.left)
        yield from (records, chunks, sizes, lag)
        yield _by_name("source", "Events of each source.", self._report.sources)
        yield _by_name("detail_type", "Events of each detail type.", self._report.detail_types)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"partner_bridge_dry_run_{name}", text, labels=labels)


def _by_name(label: str, text: str, counts: NameCounts) -> CounterMetricFamily:
    family = _counter(f"{label}_events", text, label)
    named, others = counts.first(MAX_SOURCE_SERIES)
    for name, count in named.items():
        family.add_metric([name], count)
    if others:
        family.add_metric([OTHER], others)
    return family
