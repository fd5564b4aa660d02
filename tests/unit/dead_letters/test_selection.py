"""Which letters a selection is about, what totals say of them, and how many are open."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connector import config
from connector.dead_letters import selection
from connector.dead_letters.format import Failure, letter
from connector.dead_letters.open_count import OpenCount
from connector.dead_letters.resolutions import DeadLetterState, Resolution, ResolutionTable
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
from connector.dead_letters.totals import MAX_GROUPS, Totals, TotalsRow
from connector.errors import Code
from connector.formats.registries import Registries
from connector.model import Headers, Partition, Position, Ranges, Record
from connector.pipeline import Pipeline

TOPIC = "orders.dlt"
ORIGIN = Position(Partition("orders", 3), 1042)
NOW_MS = 1_795_342_502_000

FAILURE = Failure(
    code="template_null",
    stage="TRANSFORMATION",
    message="a template found nothing",
    exception_class="MappingError",
    attempts=0,
    first_failure_ms=NOW_MS,
    last_failure_ms=NOW_MS,
    request_id=None,
    target=None,
    source="aws.partner/example.com/acme",
    detail_type="Order PAID",
    event_id="c/orders/0/0",
)
CONNECT: Headers = (
    ("trace", b"1"),
    ("__connect.errors.topic", b"orders"),
    ("__connect.errors.partition", b"3"),
    ("__connect.errors.offset", b"99"),
    ("__connect.errors.connector.name", b"old-sink"),
    ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
    ("__connect.errors.exception.stacktrace", b"at com.example"),
)


def at(offset: int, number: int = 0) -> Position:
    return Position(Partition(TOPIC, number), offset)


def written(
    offset: int = 0,
    *,
    number: int = 0,
    origin: Position = ORIGIN,
    key: bytes | None = b"key",
    at_ms: int = NOW_MS,
    code: Code = "template_null",
    attempts: int = 0,
    source: str | None = "aws.partner/example.com/acme",
    detail_type: str | None = "Order PAID",
    replay_count: int = 0,
    event_id: str | None = None,
) -> Record:
    """A record of the dead-letter topic; by default each place has the letter of another record."""
    headers = () if not replay_count else (("partner-bridge.replay-count", b"%d" % replay_count),)
    record = Record(origin.partition, origin.offset, NOW_MS, key, b"value", headers)
    failure = replace(FAILURE, code=code, attempts=attempts, source=source, detail_type=detail_type)
    failure = replace(failure, event_id=event_id or f"c/orders/{number}/{offset}")
    made = letter(record, failure, bridge_name="orders-bridge", version="1")
    return Record(Partition(TOPIC, number), offset, at_ms, made.key, made.value, made.headers)


def foreign(offset: int = 0, *headers: tuple[str, bytes | None]) -> Record:
    return Record(Partition(TOPIC, 0), offset, NOW_MS, b"key", b"value", headers)


def resolution(state: DeadLetterState, *, written_ms: int = NOW_MS) -> Resolution:
    return Resolution(state=state, at_ms=NOW_MS, written_ms=written_ms)


def table(**states: DeadLetterState) -> ResolutionTable:
    """What became of letters of partition 0, as `_3=State.DELIVERED`."""
    resolved = ResolutionTable(TOPIC, {0: (0, 100)})
    for name, state in states.items():
        resolved.note(at(int(name[1:])), resolution(state))
    return resolved


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


def test_neither_letters_nor_their_resolutions_are_ever_input() -> None:
    """A pattern that matches everything must not send them round."""
    settings = config.load(Path(__file__).parents[3] / "examples" / "bridge.yaml", {})
    everything = {"^.*": next(iter(settings.topics.values())).model_copy(update={"filter": None})}
    registries = Registries.of(settings)
    pipeline = Pipeline(settings.model_copy(update={"topics": everything}), registries)

    assert None is pipeline.refusal("orders.v1")
    assert "it is the dead-letter topic" == pipeline.refusal(settings.dead_letter.topic)
    resolutions = f"{settings.dead_letter.topic}.resolutions"
    assert "it is the topic of resolutions of dead letters" == pipeline.refusal(resolutions)
    registries.close()


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


# Scans and totals


class Letters:
    """A dead-letter topic in memory, which remembers what was read of it."""

    def __init__(self, *records: Record) -> None:
        self._records = records
        self.reads: list[tuple[Ranges, int | None]] = []

    def read(
        self, ranges: Ranges, *, since_ms: int | None, limit: int, timeout_s: float
    ) -> Iterator[Sequence[Record]]:
        self.reads.append((ranges, since_ms))
        for record in self._records:
            low, high = ranges.get(record.partition.number, (0, 0))
            if low <= record.offset < high and (record.timestamp_ms or 0) >= (since_ms or 0):
                yield [record]
        yield []


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


def test_totals_count_by_everything_and_keep_oldest_and_newest() -> None:
    """The groups of a dimension add up to all letters that have it."""
    totals = Totals()
    match = Selection(state="all").matcher(max_replays=3)
    records = [
        written(0, at_ms=NOW_MS + 5),
        written(1, at_ms=NOW_MS, code="avro_invalid", source=None, detail_type=None),
        written(2, at_ms=NOW_MS + 3_600_000, code="avro_invalid"),
        foreign(3),
    ]
    for record in records:
        found = match(record, table(_1=DeadLetterState.DELIVERED))
        assert found is not None
        totals.add(found)

    assert 4 == totals.count
    assert {"template_null": 1, "avro_invalid": 2, "unreadable": 1} == counts(totals.by("code"))
    assert {"orders": 3} == counts(totals.by("topic"))
    assert {"aws.partner/example.com/acme": 2} == counts(totals.by("source"))
    assert {"Order PAID": 2} == counts(totals.by("detail_type"))
    assert {"2026-11-22T10:00Z": 3, "2026-11-22T11:00Z": 1} == counts(totals.by("hour"))
    assert {"open": 3, "delivered": 1} == counts(totals.by("state"))
    of_code = totals.by("code")["avro_invalid"]
    assert (NOW_MS, NOW_MS + 3_600_000) == (of_code.oldest_ms, of_code.newest_ms)
    (everything,) = totals.by("all").values()
    assert (NOW_MS, NOW_MS + 3_600_000) == (everything.oldest_ms, everything.newest_ms)


def test_totals_stay_small_whatever_the_letters_say() -> None:
    """Sources are made by the mapping, as many as there are customers; the sum stays right."""
    totals = Totals()
    match = Selection().matcher(max_replays=3)
    for number in range(MAX_GROUPS + 500):
        found = match(written(number, source=f"aws.partner/example.com/{number}"), table())
        assert found is not None
        totals.add(found)

    assert MAX_GROUPS + 1 == len(totals.by("source"))
    assert 500 == totals.by("source")["other"].count
    assert MAX_GROUPS + 500 == sum(counts(totals.by("source")).values())


@pytest.mark.parametrize("at_ms", [0, -5, 2**62])
def test_any_timestamp_can_be_counted(at_ms: int) -> None:
    """A producer may write any time, and Kafka keeps it."""
    totals = Totals()
    found = Selection().matcher(max_replays=3)(written(at_ms=at_ms), table())
    if found is not None:
        totals.add(found)

    assert (1 if at_ms >= 0 else 0) == totals.count


def counts(groups: dict[str, TotalsRow]) -> dict[str, int]:
    return {value: group.count for value, group in groups.items()}


# Open letters while the bridge runs


@given(st.data())
def test_open_letters_are_those_without_a_resolution(data: st.DataObject) -> None:
    """In whatever order letters, resolutions and retention come."""
    count = OpenCount()
    letters = [
        written(offset, code=data.draw(st.sampled_from(["tombstone", "avro_invalid"]))) for offset in range(8)
    ]
    states = data.draw(
        st.lists(
            st.sampled_from([None, DeadLetterState.DELIVERED, DeadLetterState.DISCARDED]),
            min_size=8,
            max_size=8,
        )
    )
    low = data.draw(st.integers(0, 8))
    steps: list[tuple[str, int]] = [("letter", n) for n in range(8)]
    steps += [("resolution", n) for n in range(8) if states[n]]
    count.unread({0: (0, 8)})

    for kind, n in data.draw(st.permutations(steps)):
        state = states[n]
        if kind == "letter":
            count.add(letters[n])
        elif state is not None:
            count.note(at(n), resolution(state))
    unread = count.unread({0: (low, 8)})

    expected = {"tombstone": 0, "avro_invalid": 0}
    for n in range(low, 8):
        if states[n] is None:
            code = dict(letters[n].headers)["partner-bridge.code"] or b""
            expected[code.decode()] += 1
    assert expected == {code: found for code, found in count.counts.items() if code in expected}
    assert sum(expected.values()) == sum(count.counts.values())
    assert {0: (8, 8)} == unread


@hypothesis_settings(deadline=None, max_examples=50)
@given(st.data())
def test_records_are_counted_as_open_by_their_newest_letter(data: st.DataObject) -> None:
    """In whatever order letters of several partitions and their resolutions come."""
    count = OpenCount()
    letters = [
        written(
            offset,
            number=number,
            event_id=data.draw(st.sampled_from("abc")),
            at_ms=NOW_MS + data.draw(st.integers(0, 3)),
            code=data.draw(st.sampled_from(["tombstone", "avro_invalid"])),
        )
        for number in range(2)
        for offset in range(4)
    ]
    resolved = data.draw(st.sets(st.sampled_from(letters)))
    count.unread({0: (0, 4), 1: (0, 4)})

    waiting = {number: [each for each in letters if each.partition.number == number] for number in range(2)}
    for one, is_resolution in data.draw(
        st.permutations([*((each, False) for each in letters), *((each, True) for each in resolved)])
    ):
        if is_resolution:
            count.note(one.position, resolution(DeadLetterState.DELIVERED, written_ms=one.timestamp_ms or 0))
        else:
            # Those of a partition come in their order.
            count.add(waiting[one.partition.number].pop(0))

    table = ResolutionTable(TOPIC, {0: (0, 4), 1: (0, 4)})
    for each in resolved:
        table.note(each.position, resolution(DeadLetterState.DELIVERED, written_ms=each.timestamp_ms or 0))
    found = scan(Letters(*letters), table, Selection(), {0: (0, 4), 1: (0, 4)}, max_replays=3)
    codes = Counter(each.label.code for batch in found for each in batch if each.label)
    assert codes == {code: number for code, number in count.counts.items() if number}


def test_a_topic_made_anew_has_other_letters_at_the_same_places() -> None:
    """What was known of the record whose letter was there silences none of them."""
    count = OpenCount()
    count.unread({0: (0, 3)})
    count.add(written(1, event_id="a"))
    count.unread({0: (0, 2)})
    count.add(written(0, event_id="b"))
    count.add(written(1, event_id="c"))
    count.unread({0: (0, 3)})
    count.add(written(2, event_id="a", at_ms=NOW_MS + 1))

    assert 3 == count.counts["template_null"]


def test_only_the_newest_letters_are_counted_when_there_are_too_many() -> None:
    """The bridge's memory does not grow with the topic."""
    count = OpenCount(max_letters=10)

    assert {0: (90, 100)} == count.unread({0: (0, 100)})

    for offset in range(90, 100):
        count.add(written(offset))
    assert 10 == count.counts["template_null"]

    assert {0: (100, 105)} == count.unread({0: (0, 105)})
    assert 5 == count.counts["template_null"]


def test_a_topic_made_anew_is_counted_anew() -> None:
    """Its offsets begin again, and what was counted is gone."""
    count = OpenCount()
    count.unread({0: (0, 2)})
    count.add(written(0))
    count.add(written(1))

    assert {0: (0, 1)} == count.unread({0: (0, 1)})
    assert 0 == count.counts["template_null"]


@pytest.mark.parametrize("comes_first", ["letter", "resolution"])
def test_a_resolution_of_an_earlier_letter_at_the_same_place_is_not_counted(comes_first: str) -> None:
    """The dead-letter topic was made anew; the resolutions topic remembers the old one."""
    count = OpenCount()
    count.unread({0: (0, 1)})
    old = resolution(DeadLetterState.DELIVERED, written_ms=NOW_MS - 1)
    if comes_first == "letter":
        count.add(written(0))
        count.note(at(0), old)
    else:
        count.note(at(0), old)
        count.add(written(0))

    assert 1 == count.counts["template_null"]


def test_codes_of_a_newer_bridge_are_counted_as_other() -> None:
    """Labels of a metric come from a closed set."""
    count = OpenCount()
    count.unread({0: (0, 3)})
    new = written(0)
    count.add(new._replace(headers=(*new.headers, ("partner-bridge.code", b"brand_new"))))
    count.add(foreign(1))
    count.add(foreign(2, *CONNECT))

    assert {"other": 1, "unreadable": 1, "connect": 1} == {c: n for c, n in count.counts.items() if n}


def test_a_found_letter_is_read_whole_when_asked_for() -> None:
    """Filters and totals look at a few headers; the letter has all."""
    found = StoredDeadLetter(at(0), DeadLetterState.OPEN, None, "why", foreign(0))

    assert found.letter is None
    assert NOW_MS == found.written_ms
