"""Which letter speaks for a record."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.dead_letters.cases import Newest, case_of
from connector.dead_letters.format import DeadLetterRecord, Failure, letter, smaller
from connector.model import Headers, Partition, Record
from tests.failures import failed

NOW_MS = 1_795_342_502_000
ORIGIN = Record(Partition("orders", 3), 1042, NOW_MS, b"key", b"value", (("trace", b"1"),))
FAILURE = failed(at_ms=NOW_MS, event_id="c/orders/3/1042")


def write(record: Record = ORIGIN, failure: Failure = FAILURE) -> DeadLetterRecord:
    return letter(record, failure, bridge_name="orders-bridge", version="1")


def case(written: DeadLetterRecord, offset: int = 0) -> int | None:
    """The case of a letter in the topic; one more each time it is written."""
    place = Partition("orders.dlt", offset % 3)
    return case_of(Record(place, offset, NOW_MS + offset, written.key, written.value, written.headers))


def connect(offset: bytes = b"99", *more: tuple[str, bytes | None], at_ms: int = NOW_MS) -> int | None:
    headers: Headers = (
        ("__connect.errors.topic", b"orders"),
        ("__connect.errors.partition", b"3"),
        ("__connect.errors.offset", offset),
        *more,
    )
    return case_of(Record(Partition("orders.dlt", 0), 7, at_ms, b"key", b"value", headers))


def test_letters_of_one_record_are_one_case() -> None:
    """Whatever each says of the failure, and however much of the record was too large to go with it."""
    whole = write()
    again = write(replace_headers((*ORIGIN.headers, ("partner-bridge.replay-count", b"2"))))
    other = write(failure=replace(FAILURE, code="resource_too_long", source="s", attempts=3))
    less = smaller(whole)
    least = less and smaller(less)
    assert less is not None
    assert least is not None

    assert 1 == len({case(each, n) for n, each in enumerate([whole, again, other, less, least])})


def replace_headers(headers: Headers) -> Record:
    return ORIGIN._replace(headers=headers)


def test_letters_of_different_records_are_different_cases() -> None:
    """By the event id; and by the time of the record, since a topic that is made anew repeats positions."""
    others = [
        write(failure=replace(FAILURE, event_id="c/orders/3/1043")),
        write(ORIGIN._replace(timestamp_ms=NOW_MS - 1)),
        write(ORIGIN._replace(timestamp_ms=None)),
        write(failure=replace(FAILURE, event_id=None)),
    ]

    assert 5 == len({case(each) for each in [write(), *others]})


def test_letters_of_kafka_connect_are_told_apart_by_origin_and_time() -> None:
    """They have no event id."""
    message = ("__connect.errors.exception.message", b"once more")

    assert connect() == connect(b"99", message)
    assert 3 == len({connect(), connect(b"98"), connect(at_ms=NOW_MS + 1)})
    assert connect(b"x") is None


def test_an_earlier_header_of_the_same_name_says_nothing() -> None:
    """As everywhere the last one counts."""
    whole = write()
    before = DeadLetterRecord(
        whole.key, whole.value, (("partner-bridge.event-id", b"forged"), *whole.headers)
    )

    assert case(whole) == case(before)


written = st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 3))
"""The record, when, and in which partition."""


@settings(deadline=None)
@given(letters=st.lists(written, max_size=40), data=st.data())
def test_processes_that_read_the_same_letters_agree_on_the_newest(
    letters: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """In whatever order the partitions come: the last of the partition that has the one written last."""
    by_partition: dict[int, list[tuple[int, int]]] = {}
    for case, written_ms, number in letters:
        by_partition.setdefault(number, []).append((case, written_ms))
    waiting = {number: list(enumerate(given)) for number, given in by_partition.items()}
    newest, silent = Newest(), []
    while waiting:
        number = data.draw(st.sampled_from(sorted(waiting)))
        offset, (case, written_ms) = waiting[number].pop(0)
        older = newest.add(case, written_ms, number, offset)
        silent += [] if older is None else [older]
        if not waiting[number]:
            del waiting[number]

    expected = {}
    for case in {case for case, *_ in letters}:
        _, number = max((ms, n) for n, given in by_partition.items() for c, ms in given if c == case)
        expected[case] = (number, max(o for o, (c, _) in enumerate(by_partition[number]) if c == case))
    assert expected == {case: newest.newest(case) for case in expected}
    everything = {(n, o) for n, given in by_partition.items() for o in range(len(given))}
    assert everything - {*expected.values()} == {*silent}
    assert len(silent) == len({*silent})


def test_many_records_keep_apart() -> None:
    """The table grows, and what is forgotten makes room."""
    cases = [number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF for number in range(10_000)]
    newest = Newest()
    for number, case in enumerate(cases):
        assert newest.add(case, NOW_MS, 0, number) is None
    newest.keep(lambda _, offset: offset >= 9_000)

    assert 1_000 == len(newest)
    assert (0, 9_500) == newest.newest(cases[9_500])
    assert newest.newest(cases[500]) is None
    assert (0, 9_500) == newest.add(cases[9_500], NOW_MS, 0, 10_000)


def test_reading_a_letter_twice_silences_it_not() -> None:
    """A consumer may go back."""
    newest = Newest()
    newest.add(1, NOW_MS, 0, 0)

    assert newest.add(1, NOW_MS, 0, 0) is None
