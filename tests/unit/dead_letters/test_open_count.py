"""How many letters are open, by code, and the thread that goes on counting whatever happens in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connector import config
from connector.dead_letters import open_count
from connector.dead_letters.open_count import OpenCount, OpenCounter
from connector.dead_letters.resolutions import DeadLetterState, ResolutionTable
from connector.dead_letters.selection import Selection, scan
from connector.model import Ranges, Record
from connector.telemetry.metrics import Telemetry
from tests.services.child import wait_until
from tests.stored_letters import CONNECT, NOW_MS, TOPIC, Letters, at, foreign, resolution, written

SETTINGS = """
kafka: {bootstrap.servers: localhost:1, group.id: test}
eventbridge: {region: eu-central-1}
dead_letter: {topic: orders.dlt}
topics:
  orders:
    value: {format: json}
    event: {source: aws.partner/example.com/orders, detail_type: Order}
"""


class ReadOnce:
    """An empty dead-letter topic, whose first reading ends in an error that nobody foresaw."""

    reads = 0

    def __init__(self, _: config.Settings) -> None: ...

    def snapshot(self) -> Ranges:
        return {}

    def read(self, _: Ranges) -> Iterator[Sequence[Record]]:
        ReadOnce.reads += 1
        if ReadOnce.reads == 1:
            raise ValueError("a bug")
        return iter(())

    def follow(self, *, read_up_to: dict[int, int]) -> Iterator[object]:
        return iter(())

    def close(self) -> None: ...


def test_a_bug_in_counting_is_said_and_counting_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dead thread would show its last number for the life of the process."""
    monkeypatch.setattr(open_count, "DeadLetterTopic", ReadOnce)
    monkeypatch.setattr(open_count, "ResolutionTopic", ReadOnce)
    file = tmp_path / "bridge.yaml"
    file.write_text(SETTINGS)
    telemetry = Telemetry()
    counting = OpenCounter(config.load(file, {}), every_s=0.01, telemetry=telemetry)
    counting.start()
    try:
        wait_until(lambda: ReadOnce.reads > 2, what="it counts again")
    finally:
        counting.stop()

    assert b'partner_bridge_dead_letters_open{code="template_null"} 0.0' in telemetry.render()[0]
    assert "ValueError" in capsys.readouterr().err


@given(st.data())
@pytest.mark.long
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
