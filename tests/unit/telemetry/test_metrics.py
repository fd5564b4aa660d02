"""Metrics: their names, when they count, and what bounds their series."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from connector.errors import HaltError, Problem
from connector.model import FailingSource, Partition, Pause, Position, SourceReport, SourceStatus
from connector.telemetry.metrics import MAX_RETRY_CODES, Telemetry
from connector.telemetry.series import DELIVERY_SECONDS

ORDERS = Partition("orders", 3)


def series(telemetry: Telemetry) -> dict[str, float]:
    """Every series of ours, as `name{label=value,…}` with the labels in alphabetical order."""
    found = {}
    for family in text_string_to_metric_families(telemetry.render()[0].decode()):
        for name, labels, value, *_ in family.samples:
            if name.startswith("partner_bridge_"):
                text = ",".join(f"{label}={labels[label]}" for label in sorted(labels))
                found[name.removeprefix("partner_bridge_") + (f"{{{text}}}" if text else "")] = value
    return found


def use_everything(telemetry: Telemetry) -> None:
    """Let everything happen once."""
    telemetry.started(name="orders-bridge", http_port=8080)
    telemetry.records_consumed("orders", 100)
    telemetry.dead_letters_open({"avro_invalid": 3})
    telemetry.record_filtered("orders", "filter")
    telemetry.record_dead_lettered(Position(ORDERS, 7), code="avro_invalid", message="m", target=None)
    telemetry.entries_retried("default", "ThrottlingException", 3)
    telemetry.request_finished("default", outcome="ok", seconds=0.02, entries=20, size_bytes=5000)
    telemetry.events_delivered("orders", "default", [0.03, 2.0], billed_chunks=3)
    telemetry.claim_stored("default", 300_000)
    telemetry.target_state("default", 2, "down", reason="no answer")
    pending = SourceReport(
        "aws.partner/a/b", "PENDING", 1_000, "111122223333", 2_000, None, held=3, delivered=4, billed_chunks=5
    )
    telemetry.source_changed("default", pending.source, was="ACTIVE", now=SourceStatus("PENDING"), unsure=2)
    telemetry.sources("default", [pending])
    telemetry.held("default", 3)
    telemetry.sources_failing("default", [FailingSource("aws.partner/a/b", 1_000, "InternalFailure: no", 3)])
    telemetry.source_looked_up("default", "denied", reason="no permission")
    telemetry.source_created("default", pending.source)
    telemetry.source_not_created("default", pending.source, "limit")
    telemetry.pauses([Pause("source", "aws.partner/a/*", None), Pause("topic", "orders", 1_000)])
    telemetry.pauses_awaited("pauses.yaml")
    telemetry.pauses_readable("pauses.yaml cannot be used")
    telemetry.held_by_pauses([ORDERS])
    telemetry.pending(12, 3400)
    telemetry.assignment([ORDERS])
    telemetry.paused({"pending": 1})
    telemetry.lag(ORDERS, 42)
    telemetry.oldest_unsettled(ORDERS, 1.5)
    telemetry.committed("ok", 1)
    telemetry.committed("failed", 1, reason="not the coordinator")
    telemetry.rebalanced("assigned", [ORDERS])
    telemetry.partitions_stalled({ORDERS: (5.0, "registry")})
    telemetry.partitions_stalled({})
    telemetry.partition_excluded(ORDERS, "it is the dead-letter topic")
    telemetry.offsets_reset(ORDERS, from_offset=10, to_offset=50)
    telemetry.kafka_state("all brokers are down")
    telemetry.kafka_state(None)
    telemetry.misconfigured([Problem("dead_letter.topic", "the topic does not exist")])
    telemetry.dead_letter_unwritable("no answer")
    telemetry.dead_letter_writable()
    telemetry.receipts_lost(1, "the topic does not exist")
    telemetry.halted(HaltError("too many"))
    telemetry.stopped()


def test_metric_names_and_labels_are_those_that_are_documented(telemetry: Telemetry) -> None:
    """Dashboards and alerts name these; a rename breaks them."""
    use_everything(telemetry)
    text, content_type = telemetry.render()
    found = {
        family.name.removeprefix("partner_bridge_"): (
            family.type,
            {label for sample in family.samples for label in sample.labels if label != "le"},
        )
        for family in text_string_to_metric_families(text.decode())
        if family.name.startswith("partner_bridge_")
    }

    assert {
        "records_consumed": ("counter", {"topic"}),
        "events_delivered": ("counter", {"topic", "target"}),
        "billed_chunks": ("counter", {"topic"}),
        "claim_checks": ("counter", {"target"}),
        "claim_check_bytes": ("counter", {"target"}),
        "records_dead_lettered": ("counter", {"topic", "code"}),
        "records_filtered": ("counter", {"topic", "reason"}),
        "records_gone": ("counter", {"topic"}),
        "entries_retried": ("counter", {"target", "code"}),
        "requests": ("counter", {"target", "outcome"}),
        "request_seconds": ("histogram", {"target"}),
        "request_entries": ("histogram", {"target"}),
        "request_bytes": ("histogram", {"target"}),
        "delivery_seconds": ("histogram", {"topic"}),
        "consumer_lag": ("gauge", {"topic", "partition"}),
        "oldest_unsettled_seconds": ("gauge", {"topic", "partition"}),
        "dead_letters_open": ("gauge", {"code"}),
        "pending_records": ("gauge", set()),
        "pending_bytes": ("gauge", set()),
        "partitions_assigned": ("gauge", set()),
        "partitions_paused": ("gauge", {"reason"}),
        "pauses": ("gauge", {"kind"}),
        "pauses_unreadable": ("gauge", set()),
        "held_by_pauses": ("gauge", {"topic", "partition"}),
        "target_state": ("gauge", {"target"}),
        "source_state": ("gauge", {"target", "source", "state"}),
        "source_inactive_since_seconds": ("gauge", {"target", "source"}),
        "source_expires_seconds": ("gauge", {"target", "source"}),
        "source_failing": ("gauge", {"target", "source"}),
        "sources": ("gauge", {"target", "state"}),
        "held_records": ("gauge", {"target"}),
        "source_lookups": ("counter", {"target", "outcome"}),
        "events_maybe_dropped": ("counter", {"target"}),
        "commits": ("counter", {"outcome"}),
        "rebalances": ("counter", {"kind"}),
        "dead_letter_unwritable": ("gauge", set()),
        "receipts_lost": ("counter", set()),
        "halted": ("gauge", set()),
        "build_info": ("gauge", {"version", "python", "librdkafka"}),
    } == found
    assert "text/plain; version=0.0.4; charset=utf-8" == content_type


def test_process_and_garbage_collector_are_shown_too(telemetry: Telemetry) -> None:
    """Memory and CPU of the process are scraped from the same place."""
    text = telemetry.render()[0].decode()

    assert "\nprocess_resident_memory_bytes " in text
    assert "\npython_gc_collections_total{" in text
    assert "_created" not in text


def test_each_thing_is_counted_once(telemetry: Telemetry) -> None:
    """A metric says how often something happened."""
    use_everything(telemetry)
    found = series(telemetry)

    assert 100 == found["records_consumed_total{topic=orders}"]
    assert 1 == found["records_filtered_total{reason=filter,topic=orders}"]
    assert 1 == found["records_dead_lettered_total{code=avro_invalid,topic=orders}"]
    assert 3 == found["entries_retried_total{code=ThrottlingException,target=default}"]
    assert 1 == found["requests_total{outcome=ok,target=default}"]
    assert 2 == found["events_delivered_total{target=default,topic=orders}"]
    assert 3 == found["billed_chunks_total{topic=orders}"]
    assert 42 == found["consumer_lag{partition=3,topic=orders}"]
    assert 1.5 == found["oldest_unsettled_seconds{partition=3,topic=orders}"]
    assert 3400 == found["pending_bytes"]
    assert 2 == found["target_state{target=default}"]
    assert 1 == found["commits_total{outcome=failed}"]
    assert 1 == found["halted"]


def test_what_is_known_beforehand_starts_at_zero(telemetry: Telemetry) -> None:
    """The first failed commit must show in `rate`, which needs the zero before it."""
    telemetry.target_state("default", 0, "up", reason="")
    found = series(telemetry)

    assert 0 == found["halted"]
    assert 0 == found["commits_total{outcome=failed}"]
    assert 0 == found["rebalances_total{kind=lost}"]
    assert 0 == found["requests_total{outcome=throttled,target=default}"]
    assert 0 == found["partitions_paused{reason=dead_letter}"]


def test_a_reason_that_is_gone_falls_to_zero(telemetry: Telemetry) -> None:
    """Pauses are reported as a whole: what is not mentioned has ended."""
    telemetry.paused({"pending": 6, "target": 2})
    telemetry.paused({"target": 1})
    found = series(telemetry)

    assert (0, 1) == (found["partitions_paused{reason=pending}"], found["partitions_paused{reason=target}"])


def test_a_partition_that_went_away_is_not_shown_any_more(telemetry: Telemetry) -> None:
    """The lag of a partition that somebody else reads now would stand still for ever."""
    other = Partition("orders", 4)
    for partition in (ORDERS, other):
        telemetry.lag(partition, 5)
        telemetry.oldest_unsettled(partition, 5)
    telemetry.forget([ORDERS, Partition("never", 0)])
    shown = [name for name in series(telemetry) if "partition=" in name]

    assert [
        "consumer_lag{partition=4,topic=orders}",
        "oldest_unsettled_seconds{partition=4,topic=orders}",
    ] == shown


def test_retry_codes_are_bounded(telemetry: Telemetry) -> None:
    """EventBridge makes up its codes; an endless supply of them must not fill the memory."""
    for number in range(MAX_RETRY_CODES + 50):
        telemetry.entries_retried("default", f"Code{number}", 1)
    telemetry.entries_retried("default", "x" * 10_000, 1)
    retried = {name: n for name, n in series(telemetry).items() if name.startswith("entries_retried_total")}

    assert MAX_RETRY_CODES + 1 == len(retried)
    assert 51 == retried["entries_retried_total{code=other,target=default}"]
    assert (MAX_RETRY_CODES + 1, 51) == (len(telemetry.tally.retried), telemetry.tally.retried["other"])


@settings(max_examples=30)
@given(st.lists(st.lists(st.floats(-10, 10_000), max_size=20), max_size=10))
def test_delivery_seconds_is_a_histogram(answers: list[list[float]]) -> None:
    """Every event is in each bucket whose bound it does not exceed; the count has all of them."""
    telemetry = Telemetry()
    for seconds in answers:
        telemetry.events_delivered("orders", "default", seconds, billed_chunks=len(seconds))
    every = [value for seconds in answers for value in seconds]
    found = series(telemetry)

    for bound in DELIVERY_SECONDS if answers else ():
        expected = sum(value <= bound for value in every)
        assert expected == found[f"delivery_seconds_bucket{{le={bound},topic=orders}}"]
    if answers:
        assert len(every) == found["delivery_seconds_count{topic=orders}"]
        assert pytest.approx(sum(v for v in every if v > 0)) == found["delivery_seconds_sum{topic=orders}"]


def test_full_batches_can_be_told_from_nearly_full_ones(telemetry: Telemetry) -> None:
    """Whether batches fill up is the first question about throughput."""
    telemetry.request_finished("default", outcome="ok", seconds=0.1, entries=20, size_bytes=1)
    telemetry.request_finished("default", outcome="ok", seconds=0.1, entries=19, size_bytes=1)
    found = series(telemetry)

    assert 1 == found["request_entries_bucket{le=19.0,target=default}"]
    assert 2 == found["request_entries_bucket{le=20.0,target=default}"]


def test_two_of_them_count_apart() -> None:
    """Nothing is global, so tests and tools make as many as they like."""
    one, two = Telemetry(), Telemetry()
    one.records_consumed("orders", 1)

    assert "records_consumed_total{topic=orders}" not in series(two)
