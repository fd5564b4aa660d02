"""Which letters a selection is about: filters, ids, and the newest letter of each record."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.dead_letters import selection
from connector.dead_letters.resolutions import DeadLetterState, ResolutionTable
from connector.dead_letters.selection import (
    Cases,
    Ids,
    Selection,
    StoredDeadLetter,
    Wanted,
    missing_text,
    parse_ids,
    scan,
)
from connector.dead_letters.totals import Totals
from connector.model import Partition, Position, Ranges, Record
from tests.stored_letters import CONNECT, NOW_MS, TOPIC, Letters, at, foreign, resolution, table, written


def chosen(selection: Selection, *records: Record, resolved: ResolutionTable | None = None) -> list[int]:
    """The offsets of the letters that are selected."""
    match = selection.matcher(max_replays=3)
    found = [match(record, resolved or table()) for record in records]
    return [each.id.offset for each in found if each is not None]


FILTERS: dict[str, tuple[Selection, Record]] = {
    "code": (Selection(codes=["avro_invalid"]), written(code="avro_invalid")),
    "codes": (Selection(codes=["tombstone", "avro_*"]), written(code="avro_invalid")),
    "topic": (Selection(topics=["notes"]), written(origin=Position(Partition("notes", 3), 1042))),
    "partition": (Selection(partitions=[4]), written(origin=Position(Partition("orders", 4), 1042))),
    "offset": (Selection(offsets=[7, 8]), written(origin=Position(Partition("orders", 3), 7))),
    "key": (Selection(keys=[b"\x00\xff"]), written(key=b"\x00\xff")),
    "source": (
        Selection(sources=["aws.partner/example.com/b*"]),
        written(source="aws.partner/example.com/bee"),
    ),
    "detail type": (Selection(detail_types=["Order [NEW]"]), written(detail_type="Order [NEW]")),
    "since": (Selection(since_ms=NOW_MS + 1), written(at_ms=NOW_MS + 1)),
    "until": (Selection(until_ms=NOW_MS), written(at_ms=NOW_MS - 1)),
    "attempts": (Selection(min_attempts=2), written(attempts=2)),
    "state": (Selection(state="parked"), written(replay_count=3)),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_takes_what_it_names_and_nothing_else(name: str) -> None:
    """One letter that matches, among those that differ from it in just that."""
    selection, matching = FILTERS[name]

    assert [1] == chosen(selection, written(0), matching._replace(offset=1), written(2))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("open", [0, 4]),
        ("delivered", [1]),
        ("discarded", [2]),
        ("parked", [4]),
        ("all", [0, 1, 2, 3, 4]),
    ],
)
def test_the_state_decides_by_what_became_of_a_letter(state: Wanted, expected: list[int]) -> None:
    """Open has the parked ones in it; `all` is the only one with those that have a newer letter."""
    resolved = table(
        _1=DeadLetterState.DELIVERED, _2=DeadLetterState.DISCARDED, _3=DeadLetterState.DEAD_LETTERED_AGAIN
    )
    records = [written(0), written(1), written(2), written(3), written(4, replay_count=3)]

    assert expected == chosen(Selection(state=state), *records, resolved=resolved)


def test_a_letter_that_was_replayed_as_often_as_allowed_is_parked() -> None:
    """Three replays are allowed: after two it is open, after three parked."""
    match = Selection().matcher(max_replays=3)

    states = [match(written(replay_count=count), table()) for count in (2, 3)]

    assert [DeadLetterState.OPEN, DeadLetterState.PARKED] == [found.state for found in states if found]


def test_letters_of_a_sink_of_kafka_connect_are_letters() -> None:
    """Their code is `connect`; their times are those of the record; Connect's headers go."""
    match = Selection(codes=["connect"], topics=["orders"], offsets=[99]).matcher(max_replays=3)

    found = match(foreign(5, *CONNECT), table())

    assert found is not None
    assert found.letter is not None
    assert "old-sink" == found.letter.label.bridge
    assert Position(Partition("orders", 3), 99) == found.letter.record.position
    assert (NOW_MS, NOW_MS, NOW_MS) == (
        found.letter.record.timestamp_ms,
        found.letter.first_failure_ms,
        found.letter.written_ms,
    )
    assert (("trace", b"1"),) == found.letter.record.headers
    assert None is found.letter.event_id


UNREADABLE = [
    foreign(0),
    foreign(1, *CONNECT[:2]),
    foreign(2, ("__connect.errors.topic", None), *CONNECT[2:]),
    foreign(3, ("__connect.errors.topic", b"orders"), ("__connect.errors.partition", b"x"), *CONNECT[3:]),
    foreign(4, *CONNECT[:3], ("__connect.errors.offset", b"9" * 20)),
]


def test_what_is_no_letter_is_found_and_stops_nothing() -> None:
    """It has a reason instead of content; by its id or time or state it can be chosen like any other."""
    match = Selection().matcher(max_replays=3)

    found = [match(record, table()) for record in UNREADABLE]

    assert [None] * 5 == [each and each.label for each in found]
    assert "it has no header __connect.errors.topic, so nothing says where it came from" == (
        found[0] and found[0].problem
    )
    assert [0, 1, 2, 3, 4] == chosen(Selection(codes=["unreadable"]), *UNREADABLE, written(9))
    assert [2] == chosen(Selection(ids=Ids(TOPIC, {0: [2]})), *UNREADABLE)
    assert [] == chosen(Selection(state="delivered"), *UNREADABLE)


@pytest.mark.parametrize(
    "selection",
    [Selection(topics=["*"]), Selection(min_attempts=1), Selection(codes=["avro_*"]), Selection(keys=[b"x"])],
)
def test_what_is_no_letter_does_not_match_a_filter_of_content(selection: Selection) -> None:
    """Nobody knows what it would have said."""
    assert [] == chosen(selection, *UNREADABLE)


@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from([name for name, _ in written().headers]), st.none() | st.binary(max_size=20)
        ),
        max_size=12,
    )
)
def test_no_header_stops_a_scan(headers: list[tuple[str, bytes | None]]) -> None:
    """Whatever somebody wrote into the topic, it is a letter or is named unreadable."""
    totals = Totals()
    found = Selection(state="all").matcher(max_replays=3)(foreign(0, *headers), table())
    assert found is not None
    totals.add(found)

    assert (found.label is None) == (found.problem is not None) == (found.letter is None)
    assert 1 == totals.count


# Ids


@given(
    offsets=st.dictionaries(st.integers(0, 3), st.sets(st.integers(0, 100_000), max_size=20), max_size=4),
    seen=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 100_000)), max_size=20),
)
def test_ids_know_what_was_asked_for_and_what_was_not_there(
    offsets: dict[int, set[int]], seen: set[tuple[int, int]]
) -> None:
    """Every id is either taken or unseen, and nothing else is either."""
    ids = Ids(TOPIC, offsets)
    asked = {at(offset, number) for number, given in offsets.items() for offset in given}
    seen |= {(number, offset) for number, given in offsets.items() for offset in list(given)[:3]}

    taken = {at(offset, number) for number, offset in seen if ids.take(at(offset, number))}

    assert asked & {at(offset, number) for number, offset in seen} == taken
    assert asked - taken == set(ids.unseen())
    assert asked == set(ids)
    assert len(asked) == len(ids)


@given(
    offsets=st.dictionaries(st.integers(0, 2), st.sets(st.integers(0, 50_000), max_size=20), max_size=3),
    low=st.integers(0, 100),
)
def test_reading_for_ids_covers_them_from_the_first_to_the_last(
    offsets: dict[int, set[int]], low: int
) -> None:
    """Of each partition as much as holds the ids that the topic can hold, and no more."""
    ranges = {0: (low, 50_000), 1: (0, 30_000)}

    spans = Ids(TOPIC, offsets).spans(ranges)

    for number in offsets.keys() | spans.keys():
        begin, end = ranges.get(number, (0, 0))
        held = [offset for offset in offsets.get(number, ()) if begin <= offset < end]
        assert spans.get(number) == ((min(held), max(held) + 1) if held else None)


def test_ids_are_read_from_plain_lines_and_from_what_list_wrote() -> None:
    """Blank lines are skipped; the same id twice is one."""
    lines = io.StringIO(
        'orders.dlt/0/7\n\n{"id":"orders.dlt/1/8","state":"open"}\n{"id": "orders.dlt/0/7"}\n'
    )

    assert [at(7), at(8, 1)] == list(parse_ids(lines, TOPIC))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("nonsense", "line 2 is no id of a dead letter, such as orders.dlt/0/1042"),
        ("[1]", "line 2 is no id of a dead letter, such as orders.dlt/0/1042"),
        ("other.dlt/0/1", "line 2: other.dlt/0/1 is not in orders.dlt, the dead-letter topic configured"),
    ],
)
def test_a_line_that_is_no_id_is_named(line: str, text: str) -> None:
    """Half a file must not be taken for the whole."""
    with pytest.raises(ValueError, match="line 2") as raised:
        parse_ids(["orders.dlt/0/1", line], TOPIC)

    assert text == str(raised.value)


def test_a_missing_letter_is_explained() -> None:
    """Never written, eaten by retention, or a hole."""
    ranges = {0: (10, 20)}

    assert [
        "orders.dlt/1/1 does not exist: orders.dlt has no partition 1",
        "orders.dlt/0/20 does not exist: partition 0 ends before 20",
        "orders.dlt/0/9 is gone: retention deleted it, partition 0 begins at 10",
        "orders.dlt/0/15 does not exist: there is no record at this offset",
    ] == [missing_text(letter, ranges) for letter in (at(1, 1), at(20), at(9), at(15))]


# Scans


def test_a_scan_for_ids_reads_from_the_first_to_the_last() -> None:
    """Letters that were written before them cannot be newer letters of the same records, and are not read."""
    letters = Letters(written(3, at_ms=NOW_MS - 1), written(4), written(90_000))
    selection = Selection(ids=Ids(TOPIC, {0: [4, 90_000]}))

    found = [
        each.id.offset
        for batch in scan(letters, table(), selection, {0: (0, 1_000_000)}, max_replays=3)
        for each in batch
    ]

    assert [4, 90_000] == found
    between = ({0: (4, 90_001)}, None)
    assert [between, ({0: (0, 1_000_000)}, NOW_MS), between] == letters.reads


# Letters of one record


def listed(
    selection: Selection,
    *records: Record,
    resolved: ResolutionTable | None = None,
    ranges: Ranges | None = None,
    cases: Cases | None = None,
) -> list[tuple[int, int]]:
    """Partition and offset of what a scan of these partitions finds."""
    found = scan(
        Letters(*records),
        resolved or table(),
        selection,
        ranges or {0: (0, 100), 1: (0, 100)},
        max_replays=3,
        cases=cases,
    )
    return [(each.id.partition.number, each.id.offset) for batch in found for each in batch]


TWICE = [
    written(0, event_id="a", code="tombstone"),
    written(1, event_id="b"),
    written(2, event_id="a", at_ms=NOW_MS + 1),
]


def test_of_the_letters_of_one_record_the_newest_alone_is_found() -> None:
    """Also under `all`, and whatever the older ones say: a filter is asked of the newest."""
    assert [(0, 1), (0, 2)] == listed(Selection(), *TWICE)
    assert [(0, 1), (0, 2)] == listed(Selection(state="all"), *TWICE)
    assert [] == listed(Selection(codes=["tombstone"]), *TWICE)
    assert [(0, 1)] == listed(Selection(until_ms=NOW_MS + 1), *TWICE)
    assert [(0, 2)] == listed(Selection(since_ms=NOW_MS + 1), *TWICE)


@pytest.mark.parametrize(
    "state", [DeadLetterState.DELIVERED, DeadLetterState.DISCARDED, DeadLetterState.DEAD_LETTERED_AGAIN]
)
def test_older_letters_of_a_record_follow_the_state_of_the_newest(state: DeadLetterState) -> None:
    """Resolved with it; and open with it, where an earlier one was resolved."""
    newest, earlier = table(), table()
    newest.note(at(2), resolution(state, written_ms=NOW_MS + 1))
    earlier.note(at(0), resolution(state))

    assert [(0, 1)] == listed(Selection(), *TWICE, resolved=newest)
    assert [(0, 1), (0, 2)] == listed(Selection(), *TWICE, resolved=earlier)


def test_letters_of_one_record_are_brought_together_across_partitions() -> None:
    """The newest is found by whoever reads its partition, and the older ones by nobody."""
    letters = [written(0, number=1, event_id="a"), written(5, event_id="a", at_ms=NOW_MS + 1)]
    whole = {0: (0, 100), 1: (0, 100)}

    def found_in(*numbers: int) -> list[tuple[int, int]]:
        ranges = {number: whole[number] for number in numbers}
        return listed(Selection(), *letters, ranges=ranges, cases=Cases(TOPIC, whole, Selection()))

    assert [(0, 5)] == found_in(0)
    assert [] == found_in(1)
    assert [(0, 5)] == found_in(0, 1)


def test_an_id_of_an_older_letter_stands_for_the_newest() -> None:
    """It was asked for and is there; both ids together are one letter."""
    ids = Ids(TOPIC, {0: [0, 1, 2, 7]})
    selection = Selection(ids=ids)
    cases = Cases(TOPIC, {0: (0, 100)}, selection)

    found = listed(selection, *TWICE, ranges={0: (0, 100)}, cases=cases)

    assert [(0, 1), (0, 2)] == found
    assert [(at(0), at(2))] == cases.stand_ins
    assert [at(7)] == list(ids.unseen())


def test_past_the_bound_letters_are_cases_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest of the topic are brought together; of what is older nothing is ever passed over."""
    monkeypatch.setattr(selection, "MAX_CASE_LETTERS", 3)
    letters = [written(offset, event_id=event_id) for offset, event_id in enumerate("aababb")]

    assert [(0, 0), (0, 1), (0, 2), (0, 3), (0, 5)] == listed(Selection(), *letters, ranges={0: (0, 6)})
    ids = Selection(ids=Ids(TOPIC, {0: [0]}))
    assert [(0, 3)] == listed(ids, *letters, ranges={0: (0, 6)})


def test_a_scan_that_was_given_up_begins_anew() -> None:
    """A partition went to another replay while letters were brought together."""
    cases = Cases(TOPIC, {0: (0, 100)}, Selection())
    next(cases.read(Letters(*TWICE)))

    assert [(0, 1), (0, 2)] == listed(Selection(), *TWICE, ranges={0: (0, 100)}, cases=cases)
    assert 1 == cases.passed_over


def test_what_is_no_letter_is_of_no_record() -> None:
    """Each is found, however alike they are."""
    assert [(0, n) for n in range(5)] == listed(Selection(), *UNREADABLE)


def test_a_found_letter_is_read_whole_when_asked_for() -> None:
    """Filters and totals look at a few headers; the letter has all."""
    found = StoredDeadLetter(at(0), DeadLetterState.OPEN, None, "why", foreign(0))

    assert found.letter is None
    assert NOW_MS == found.written_ms
