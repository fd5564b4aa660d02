"""What a shadow run counts: everything once, and in bounded memory."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from connector.errors import MappingError
from connector.model import Entry, Partition, Position
from connector.workbench.shadow_report import MAX_NAMES, PartitionReading, ShadowReport, Sizes

ORDERS = Partition("orders", 0)
NULL = MappingError("template_null", "event.source is null")


def entry(*, source: str = "acme", size_bytes: int = 100) -> Entry:
    return Entry(source, "Order", b"{}", size_bytes)


def report(*, max_consecutive: int = 100) -> ShadowReport:
    return ShadowReport(max_consecutive=max_consecutive)


def fail(counted: ShadowReport, offset: int, error: MappingError = NULL) -> None:
    counted.dead_letter(Position(ORDERS, offset), error)


def test_every_record_is_counted_once_under_what_becomes_of_it() -> None:
    """By topic, and of all topics together; a dead letter's first record is its example."""
    counted = report()
    counted.event("orders", entry(size_bytes=65_536))
    counted.event("invoices", entry(size_bytes=65_537, source="blue"))
    counted.filtered("orders", "filter")
    counted.filtered("orders", "tombstone")
    fail(counted, 7)
    fail(counted, 8, MappingError("template_null", "another"))
    counted.partitions = {ORDERS: PartitionReading(5, left=2)}
    shown = json.loads(json.dumps(counted.as_json()))

    assert 6 == counted.records == shown["records"]
    assert (2, {"filter": 1, "tombstone": 1}) == (shown["events"], shown["filtered"])
    assert {
        "template_null": {"records": 2, "position": "orders[0]@7", "message": "event.source is null"}
    } == shown["dead_letters"]
    assert (5, 1) == tuple(shown["topics"][topic]["records"] for topic in ("orders", "invoices"))
    assert (3, 1, 2) == (
        shown["billed_chunks"],
        *(shown["topics"][topic]["billed_chunks"] for topic in ("orders", "invoices")),
    )
    assert ({"acme": 1, "blue": 1}, {"Order": 2}) == (shown["sources"], shown["detail_types"])
    assert 65_537 == shown["size_bytes"]["max"]
    partition = {"topic": "orders", "partition": 0, "from_offset": 5, "left": 2, "waits": None}
    assert ([partition], 2) == (shown["partitions"], shown["left"])


def test_a_report_is_clean_while_each_record_is_an_event_or_filtered() -> None:
    """Neither a dead letter nor a record whose schema did not come may pass for success."""
    counted = report()
    counted.event("orders", entry())
    counted.filtered("orders", "filter")
    assert counted.is_clean

    counted.partitions = {ORDERS: PartitionReading(0, left=1, waits="the registry does not answer")}
    assert not counted.is_clean

    counted.partitions = {}
    fail(counted, 1)
    assert not counted.is_clean


def test_it_says_where_the_bridge_would_first_have_halted() -> None:
    """After more dead letters in a row than `max_consecutive`; an event between them ends the row, as a
    delivery does."""
    counted = report(max_consecutive=2)
    for offset in (0, 1):
        fail(counted, offset)
    counted.event("orders", entry())
    for offset in (3, 4):
        fail(counted, offset)
    assert counted.halts_at is None

    for offset in (5, 6):
        fail(counted, offset)
    assert Position(ORDERS, 5) == counted.halts_at


def test_names_are_counted_up_to_a_limit_and_the_others_together() -> None:
    """Memory does not grow with the number of customers; no event is lost from the sum."""
    counted = report()
    for number in [*range(MAX_NAMES + 5), 0]:
        counted.event("orders", entry(source=f"customer-{number}"))
    first, others = counted.sources.first(10)

    assert (MAX_NAMES, 5) == (len(counted.sources.by_name), counted.sources.others)
    assert (10, 2) == (len(first), first["customer-0"])
    assert MAX_NAMES + 6 == sum(first.values()) + others


@given(
    st.lists(st.integers(1, 1 << 20), min_size=1),
    st.sampled_from([0.01, 0.5, 0.99, 1.0]),
    st.integers(0, 20),
)
def test_a_quantile_is_at_most_a_64th_above_the_size_that_it_is(
    sizes: list[int], share: float, power: int
) -> None:
    """And never below it; buckets of powers of two are exact."""
    counted = Sizes()
    for size in sizes:
        counted.add(size)
    exact = sorted(sizes)[math.ceil(share * len(sizes)) - 1]

    assert exact <= counted.quantile(share) <= exact * (1 + 1 / 64)
    assert max(sizes) == counted.quantile(1.0)
    assert sum(size <= 1 << power for size in sizes) == counted.up_to(1 << power)


@given(st.lists(st.integers(1, 1 << 20)), st.lists(st.integers(1, 1 << 20)))
def test_sizes_that_are_merged_are_as_if_counted_together(one: list[int], other: list[int]) -> None:
    """The sizes of all topics are those of each."""
    parts, both = (Sizes(), Sizes()), Sizes()
    for sizes, part in zip((one, other), parts, strict=True):
        for size in sizes:
            part.add(size)
            both.add(size)
    merged = Sizes()
    for part in parts:
        merged.merge(part)

    assert (both.as_json(), both.sum_bytes) == (merged.as_json(), merged.sum_bytes)
