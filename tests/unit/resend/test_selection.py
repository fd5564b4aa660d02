"""Which records a resend is about: the id of a selection, its range, and the event each record makes."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector import config
from connector.dead_letters.dry_run import Result
from connector.kafka.reader import Reader
from connector.model import Entry, Json, Ranges, Record
from connector.pipeline import FILTERED, Pipeline
from connector.resend.selection import (
    NOT_SELECTED,
    OUTSIDE,
    ResendDryRun,
    ResendSelection,
    ResentRecord,
    UnusableRange,
    ranges_of,
)
from tests.replay_rig import BLUE, ORDERS, SETTINGS
from tests.resend_rig import BEGIN_MS, TOPIC, record

JSON_KEYS = SETTINGS.replace("key: {format: string}", "key: {format: json}")
texts = st.none() | st.text(max_size=5)
numbers = st.none() | st.integers(0, 2**63 - 1)
selections = st.builds(
    ResendSelection,
    st.text(max_size=5),
    since_ms=numbers,
    until_ms=numbers,
    partition=numbers,
    offsets=st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9)),
    key=texts,
    source=texts,
    detail_type=texts,
)


def result(settings: config.Settings, read: Record, **selected: object) -> Result:
    """What a resend of all orders, or of those selected, makes of a record."""
    given: dict[str, object] = {"offsets": (0, 9), "partition": 0, **selected}
    selection = ResendSelection(TOPIC, **given)  # type: ignore[arg-type]
    return ResendDryRun(Pipeline(settings, None), selection)(ResentRecord(read)).result


def test_the_id_stays_the_same_for_ever() -> None:
    """It is the name of a group that another version, on another machine, goes on with."""
    selection = ResendSelection(
        "orders.v1",
        since_ms=BEGIN_MS,
        until_ms=BEGIN_MS + 1,
        source="aws.partner/example.com/müller",
        key='{"id": 4711}',
    )

    assert "a2ffd1bdc5d36ac6" == selection.id
    assert "f39894a9af75f410" == ResendSelection("orders.v1", partition=3, offsets=(5, 7)).id


@given(selections, selections)
def test_two_selections_have_one_id_only_when_they_are_equal(
    one: ResendSelection, other: ResendSelection
) -> None:
    """Else one would go on where the other was."""
    assert (one == other) == (one.id == other.id)


@pytest.mark.parametrize(("at_ms", "is_inside"), [(-1, False), (0, True), (999, True), (1000, False)])
def test_the_records_own_time_counts(settings: config.Settings, at_ms: int, is_inside: bool) -> None:
    """From the first time on and before the second; a record without one is in no range of times."""
    times = {"since_ms": BEGIN_MS, "until_ms": BEGIN_MS + 1000, "offsets": None, "partition": None}
    dated = record(0)._replace(timestamp_ms=BEGIN_MS + at_ms)

    assert is_inside == isinstance(result(settings, dated, **times), Entry)
    assert OUTSIDE is result(settings, dated._replace(timestamp_ms=None), **times)


@pytest.mark.parametrize(
    ("wanted", "is_selected"),
    [
        ({"source": ORDERS}, True),
        ({"source": BLUE}, False),
        ({"source": ORDERS[:-1]}, False),
        ({"detail_type": "Order Made"}, True),
        ({"detail_type": "order made"}, False),
        ({"key": "k"}, True),
        ({"key": "K"}, False),
        ({"key": "k", "source": BLUE}, False),
    ],
)
def test_each_filter_is_exact(settings: config.Settings, wanted: dict[str, str], is_selected: bool) -> None:
    """Of the event, or of the key; all of them hold."""
    found = result(settings, record(0, key=b"k"), **wanted)

    assert is_selected == isinstance(found, Entry)
    assert is_selected or found is NOT_SELECTED


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        (b'{"id":4711,"of":"x"}', '{"of": "x", "id": 4711}'),
        (b'"4711"', "4711"),
        (b"4711", "4711"),
        (b"4711 ", "4711"),
        (b"\xff", "\udcff"),
        (b"{", "{"),
    ],
)
def test_a_key_is_its_text_or_the_json_it_decodes_to(tmp_path: Path, key: bytes, wanted: str) -> None:
    """However its fields are written; a key that cannot be decoded matches as text alone."""
    file = tmp_path / "keys.yaml"
    file.write_text(JSON_KEYS)
    settings = config.load(file, {})

    assert isinstance(result(settings, record(0, key=key), key=wanted), Entry)
    assert NOT_SELECTED is result(settings, record(0, key=key), key=wanted + "0")
    assert NOT_SELECTED is result(settings, record(0, key=b"true"), key="1")
    assert NOT_SELECTED is result(settings, record(0), key=wanted)


def test_a_filtered_record_stays_filtered(settings: config.Settings) -> None:
    """The configuration's filter holds for a resend too."""
    assert FILTERED is result(settings, record(0, draft=True))


@pytest.mark.parametrize(
    ("value", "wanted", "is_written"),
    [
        ({"type": None}, {}, True),
        ({"type": None}, {"source": ORDERS}, True),
        ({"type": None}, {"source": BLUE}, False),
        ({"type": None, "tenant": "blue"}, {"source": BLUE}, True),
        ({"type": None, "tenant": 1.5}, {"source": ORDERS.replace("orders", "1.5")}, True),
        ({"type": "T" * 200}, {"detail_type": "Order Made"}, False),
        ({"type": "T" * 200}, {"source": ORDERS}, True),
        ({"type": None}, {"detail_type": "Order Made"}, True),
    ],
)
def test_a_failure_is_that_of_the_customer_unless_it_is_surely_anothers(
    settings: config.Settings,
    value: dict[str, Json],
    wanted: dict[str, str],
    is_written: bool,
) -> None:
    """A resend to one customer writes no dead letters of others, but those that may be its own."""
    failed = record(0)._replace(value=json.dumps({"n": 0, **value}).encode())

    assert is_written == (result(settings, failed, **wanted) is not NOT_SELECTED)


def test_what_cannot_be_decoded_may_be_of_any_customer(settings: config.Settings) -> None:
    """So it is not passed over."""
    assert NOT_SELECTED is not result(settings, record(0)._replace(value=b"{"), source=BLUE)


class ScriptedReader:
    """A topic of two partitions; the second one is empty. Its brokers find half of a range by time."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def partitions(self, topic: str) -> list[int] | None:
        return [0, 1] if topic == TOPIC else None

    def ends(self, topic: str, numbers: Collection[int]) -> dict[int, tuple[int, int]]:
        return {number: {0: (100, 200), 1: (7, 7)}[number] for number in numbers}

    def between(self, topic: str, ranges: Ranges, since_ms: int, until_ms: int) -> dict[int, tuple[int, int]]:
        self.asked.append((since_ms, until_ms))
        return {number: (low, (low + high) // 2) for number, (low, high) in ranges.items()}


def found_ranges(reader: ScriptedReader, topic: str = TOPIC, **selected: object) -> Ranges:
    selection = ResendSelection(topic, **selected)  # type: ignore[arg-type]
    return ranges_of(cast("Reader", reader), selection)


def test_a_range_of_times_is_read_a_little_beyond_its_end() -> None:
    """Clocks of producers differ; each record's own time then says whether it is selected."""
    reader = ScriptedReader()

    assert {0: (100, 150)} == found_ranges(reader, since_ms=5, until_ms=9)
    assert [(5, 60_009)] == reader.asked


def test_offsets_are_taken_as_they_are() -> None:
    """The first and the last are among them; times narrow them further."""
    assert {0: (100, 101)} == found_ranges(ScriptedReader(), partition=0, offsets=(100, 100))
    assert {0: (199, 200)} == found_ranges(ScriptedReader(), partition=0, offsets=(199, 199))
    both = found_ranges(ScriptedReader(), partition=0, offsets=(100, 139), since_ms=5, until_ms=9)
    assert {0: (100, 120)} == both


@pytest.mark.parametrize(
    ("selected", "said"),
    [
        ({"topic": "none"}, "the topic none does not exist on these brokers: check kafka.bootstrap.servers"),
        ({"partition": 2, "offsets": (1, 1)}, "orders has no partition 2: it has partitions 0 to 1"),
        ({"partition": 0, "offsets": (99, 101)}, "offset 99 is gone: retention deleted it. orders[0] holds"),
        ({"partition": 0, "offsets": (150, 200)}, "there is no offset 200 yet: orders[0] holds 100 to 199"),
        ({"partition": 1, "offsets": (7, 7)}, "there is no offset 7 yet: it is empty"),
        (
            {"partition": 1, "since_ms": 0, "until_ms": 9},
            "no record lies in orders[1] between 1970-01-01T00:00:00.000Z and 1970-01-01T00:00:00.009Z",
        ),
    ],
)  # fmt: skip
def test_a_range_that_holds_nothing_says_why(selected: dict[str, object], said: str) -> None:
    """And what there is, or what to do."""
    with pytest.raises(UnusableRange) as refused:
        found_ranges(ScriptedReader(), **selected)  # type: ignore[arg-type]

    assert str(refused.value).startswith(said)
