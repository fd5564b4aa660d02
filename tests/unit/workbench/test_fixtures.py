"""Fixtures are read whole: every mistake at once, each with its file, line and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.errors import ConfigError
from connector.model import Json
from connector.workbench.fixtures import FixtureFile, parse_fixture, read_fixture, record_in

FILE = Path("tests/orders.yaml")

GOOD = """
topic: orders.v1
schema: order.avsc
cases:
  - name: an order
    record:
      key: "42"
      value: {id: 42, total: "12.30"}
      headers: {a: b}
      timestamp: "2026-11-22T10:00:00+01:00"
    event: {detail_type: Order, time: "2026-11-22T09:00:00Z", detail: {total: "12.30"}, exactly: true}
  - {name: a draft, record: {value: [1], partition: 3, offset: 7}, filtered: filter}
  - {name: a tombstone, record: {value: null}, dead_letter: tombstone}
"""


def fixture(text: str, *, to_update: bool = False) -> FixtureFile:
    found, problems = parse_fixture(FILE, text.encode(), to_update=to_update)
    assert [] == problems
    assert found is not None
    return found


def problems(text: str, *, to_update: bool = False) -> list[str]:
    _, found = parse_fixture(FILE, text.encode(), to_update=to_update)
    return [str(problem).removeprefix(f"{FILE}: ") for problem in found]


def test_what_a_fixture_says() -> None:
    """Quoted scalars are text and others are JSON; times are instants; paths are relative to the file."""
    read = fixture(GOOD).fixture
    order, draft, tombstone = read.cases

    assert ("orders.v1", Path("tests/order.avsc")) == (read.topic, read.schema_file)
    assert ("42", {"id": 42, "total": "12.30"}) == (order.record.key, order.record.value)
    assert 1_795_338_000_000 == order.record.timestamp
    named: dict[str, Json] = {
        "time": "2026-11-22T09:00:00.000Z",
        "detail_type": "Order",
        "detail": {"total": "12.30"},
    }
    assert (["event"], named) == (order.outcomes, order.expected)
    assert (3, 7, "filter") == (draft.record.partition, draft.record.offset, draft.expected)
    assert (None, "tombstone") == (tombstone.record.value, tombstone.expected)


def test_what_is_not_written() -> None:
    """Partition 0, offset 0, and no key, headers and timestamp."""
    (case,) = fixture("{topic: a, cases: [{name: b, record: {value: 1}, filtered: filter}]}").fixture.cases

    assert (0, 0, None, {}, None) == (
        case.record.partition,
        case.record.offset,
        case.record.key,
        case.record.headers,
        case.record.timestamp,
    )


MANY = """
topic: orders.v1
shema: a.avsc
cases:
  - name: a
    record: {valeu: 1}
    event: {sorce: x}
  - name: a
    record: {value: 1, timestamp: yesterday}
    dead_letter: template_nul
"""


def test_every_mistake_at_once() -> None:
    """Unknown keys get a suggestion; a mistyped key is one mistake, not also a missing one."""
    found = problems(MANY)

    assert {
        "shema: unknown key; did you mean 'schema'? (line 3)",
        "cases[0].record.valeu: unknown key; did you mean 'value'? (line 6)",
        "cases[0].event.sorce: unknown key; did you mean 'source'? (line 7)",
        "cases[1].record.timestamp: must be a time, as 2026-11-22T10:00:00Z (line 9)",
    } == {problem for problem in found if "dead_letter" not in problem}
    assert any("did you mean 'template_null'? (line 10)" in problem for problem in found)


def test_a_broken_case_does_not_hide_what_is_wrong_elsewhere() -> None:
    """The others are checked, and are there to be run."""
    text = "topic: a\ncases:\n- {name: b, record: {}, filtered: filter}\n- {name: c, record: {value: 1}}\n"
    found, _ = parse_fixture(FILE, text.encode())

    assert found is not None
    assert 2 == len(found.fixture.cases)
    assert ["cases[0].record.value: required, and missing (line 3)", "cases[1]: write what"] == [
        problem[:58] if "[0]" in problem else problem[:20] for problem in problems(text)
    ]


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ("", "write what the record becomes: one of event, filtered, dead_letter; --update writes what came"),
        ("event: {}, filtered: filter", "a record has one outcome; keep one of event, filtered"),
    ],
)
def test_a_case_has_one_outcome(outcomes: str, message: str) -> None:
    """None is enough for one that is to be updated, and two are never right."""
    text = f"topic: a\ncases:\n- {{name: b, record: {{value: 1}}, {outcomes}}}\n"

    assert [f"cases[0]: {message} (line 3)"] == problems(text)
    assert bool(outcomes) == bool(problems(text, to_update=True))


def test_names_of_cases_are_unique() -> None:
    """Reports tell cases apart by them."""
    text = "topic: a\ncases:\n" + "- {name: b, record: {value: 1}, filtered: filter}\n" * 2

    assert ["cases[1].name: cases[0] has this name; choose another (line 4)"] == problems(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; write `topic` and `cases`"),
        (b"- 1", "must be a mapping"),
        (b"topic: [", "line 1, column 9: not YAML"),
        (b"\xff\xfe", "not UTF-8 text, from byte 0"),
        (b"{topic: a, cases: []}", "must not be empty"),
    ],
)
def test_what_is_no_fixture(content: bytes, message: str) -> None:
    """One message, which names the file."""
    _, (problem,) = parse_fixture(FILE, content)

    assert message in str(problem)
    assert str(FILE) in str(problem)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Its name and the system's reason."""
    _, (problem,) = read_fixture(tmp_path / "missing.yaml")

    assert f"{tmp_path}/missing.yaml: cannot be read: no such file or directory" == str(problem)


@pytest.mark.parametrize("content", [b'{"value": {"a": "1"}, "key": "k"}', b'value: {a: "1"}  # c\nkey: k\n'])
def test_a_record_in_a_file_of_its_own(content: bytes) -> None:
    """In JSON or YAML."""
    found = record_in(content)

    assert found is not None
    assert ("k", {"a": "1"}) == (found.key, found.value)


def test_a_record_in_a_file_of_its_own_may_have_mistakes() -> None:
    """It is not taken for a value then."""
    with pytest.raises(ConfigError, match="timestamp: must be a time, as 2026-11-22T10:00:00Z"):
        record_in(b'{"value": 1, "timestamp": "soon"}')


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x00\x00\x00\x01\x06abc",
        b'{"id": 1}',
        b'{"key": "k"}',
        b'{"value": 1, "unit": "kg"}',
        b"[1]",
    ],
)
def test_what_is_a_value_and_no_record(content: bytes) -> None:
    """Binary, and documents with other keys than a record's."""
    assert None is record_in(content)
