"""Cases go through real writing, reading and mapping; what passes depends on every expected value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.errors import ConfigError
from connector.model import Json
from connector.workbench.cases import CaseResult, Rehearsal
from connector.workbench.fixtures import FixtureFile, parse_fixture
from tests.configuration import Written, with_settings

SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "tenant", "type": ["null", "string"], "default": None},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
    ],
}
EVENT: dict[str, Json] = {
    "source": "aws.partner/example.com/${value.tenant}",
    "detail_type": "Order",
    "time": "${value.at}",
    "resources": ["order/${value.id}"],
}
VALUE: dict[str, Json] = {
    "id": "A-1",
    "tenant": "acme",
    "total": "12.30",
    "at": "2026-11-22T10:00:00.000Z",
    "tags": ["a", "b"],
}
CAME: dict[str, Json] = {
    "source": "aws.partner/example.com/acme",
    "detail_type": "Order",
    "time": "2026-11-22T10:00:00.000Z",
    "resources": ["order/A-1"],
    "detail": VALUE,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    (folder / "order.avsc").write_text(json.dumps(SCHEMA))
    (folder / "broken.avsc").write_text("{")
    return folder


@pytest.fixture(scope="module")
def rehearsal(folder: Path) -> Iterator[Rehearsal]:
    topic = {"filter": "value.id != 'DRAFT'", "event": EVENT}
    own = {"format": "avro", "framing": "none", "schema": "order.avsc"}
    topics = {
        "orders.v1": topic,
        "own": {**topic, "value": own},
        "json": {**topic, "value": {"format": "json"}},
        "^orders[.]v[2-9]$": topic,
        "^.*[.]v[3-9]$": topic,
        "^payments[.](card|transfer)$": topic,
    }
    with Rehearsal(Written(folder).load(with_settings(topics=topics))) as rehearsal:
        yield rehearsal


def fixture(folder: Path, *cases: Any, topic: str = "own", **more: str) -> FixtureFile:
    named = [{"name": f"case {number}", **case} for number, case in enumerate(cases)]
    text = yaml.safe_dump({"topic": topic, **more, "cases": named}, sort_keys=False)
    found, problems = parse_fixture(folder / "test.yaml", text.encode())
    assert [] == problems
    assert found is not None
    return found


def run(rehearsal: Rehearsal, read: FixtureFile) -> list[list[str]]:
    return [list(map(str, result.differences)) for result in rehearsal.run(read)]


@pytest.mark.parametrize(
    ("topic", "schema"),
    [
        ("own", {}),
        ("orders.v2", {"schema": "order.avsc"}),
        ("payments.card", {"schema": "order.avsc"}),
        ("json", {}),
    ],
)
def test_a_record_goes_through_its_topics_format(
    rehearsal: Rehearsal, folder: Path, topic: str, schema: dict[str, str]
) -> None:
    """Avro with the topic's schema or the fixture's, framed as a registry would, and JSON; patterns count."""
    read = fixture(folder, {"record": {"value": VALUE}, "event": CAME}, topic=topic, **schema)

    assert [[]] == run(rehearsal, read)


def test_each_outcome(rehearsal: Rehearsal, folder: Path) -> None:
    """An event, a dropped record, a tombstone and a dead letter."""
    read = fixture(
        folder,
        {"record": {"value": VALUE}, "event": {"source": "aws.partner/example.com/acme"}},
        {"record": {"value": {**VALUE, "id": "DRAFT"}}, "filtered": "filter"},
        {"record": {"value": None}, "filtered": "tombstone"},
        {"record": {"value": {**VALUE, "tenant": None}}, "dead_letter": "template_null"},
    )

    assert [[], [], [], []] == run(rehearsal, read)


def test_another_outcome_than_expected(rehearsal: Rehearsal, folder: Path) -> None:
    """Both are named, as a fixture would write them."""
    read = fixture(
        folder,
        {"record": {"value": VALUE}, "filtered": "filter"},
        {"record": {"value": None}, "event": {"detail_type": "Order"}},
        {"record": {"value": {**VALUE, "tenant": None}}, "dead_letter": "template_type"},
    )
    dropped, event, code = run(rehearsal, read)

    assert 'filtered: expected "filter", got nothing' == dropped[0]
    assert dropped[1].startswith("event: expected nothing, got {")
    assert [
        'event: expected {"detail_type": "Order"}, got nothing',
        'filtered: expected nothing, got "tombstone"',
    ] == event
    assert ['dead_letter: expected "template_type", got "template_null"'] == code


def test_the_position_of_a_record_is_that_of_the_fixture(rehearsal: Rehearsal, folder: Path) -> None:
    """The cluster of its event id is `test`; `exactly` compares that too."""
    record = {"value": VALUE, "partition": 3, "offset": 7, "timestamp": "2026-11-22T10:00:00Z"}
    metadata = {
        "id": "test/own/3/7/1795341600000",
        "topic": "own",
        "partition": 3,
        "offset": 7,
        "timestamp": "2026-11-22T10:00:00.000Z",
    }
    exact = {**CAME, "exactly": True, "detail": {**VALUE, "_kafka": metadata}}
    read = fixture(
        folder, {"record": record, "event": exact}, {"record": record, "event": {**CAME, "exactly": True}}
    )
    whole, short = run(rehearsal, read)

    assert [] == whole
    assert [f"event.detail._kafka: expected nothing, got {json.dumps(metadata)}"] == short


def test_everything_that_cannot_be_used_at_once(rehearsal: Rehearsal, folder: Path) -> None:
    """Each field that the schema refuses, in every case, with its line and what it must be."""
    wrong = {name: VALUE[name] for name in ("id", "at")} | {"total": "12.345", "tagz": []}
    read = fixture(
        folder, {"record": {"value": wrong}, "event": {}}, {"record": {"value": {"at": 3}}, "event": {}}
    )
    with pytest.raises(ConfigError) as caught:
        rehearsal.run(read)
    found = [str(problem).removeprefix(f"{folder}/test.yaml: ") for problem in caught.value.problems]

    assert all("(line " in problem for problem in found)
    for begin in (
        "cases[0].record.value.total: must be a decimal with at most 2 digits",
        "cases[0].record.value.tagz: is no field of Order; did you mean 'tags'?",
        "cases[1].record.value.id: required, and missing",
    ):
        assert [begin] == [problem[: len(begin)] for problem in found if problem.startswith(begin)], found


@pytest.mark.parametrize(
    ("topic", "more", "message"),
    [
        ("order.v1", {}, "topic: order.v1: no entry under `topics` matches it; did you mean 'orders.v1'?"),
        ("^orders[.]", {}, "topic: ^orders[.] is a pattern; name a topic that matches it (line 1)"),
        ("orders.v3", {}, "orders.v3: it is matched by ^orders[.]v[2-9]$ and by ^.*[.]v[3-9]$; make one"),
        ("own", {"schema": "broken.avsc"}, "broken.avsc is not a usable Avro schema"),
        (
            "own",
            {"schema": "none.avsc"},
            "not a usable Avro schema: No such file or directory (line 2)",
        ),
        (
            "json",
            {"schema": "order.avsc"},
            "is for Avro, and the format of `topics.json.value` is json",
        ),
    ],
)
def test_a_topic_or_schema_that_cannot_be_used(
    rehearsal: Rehearsal, folder: Path, topic: str, more: dict[str, str], message: str
) -> None:
    """One message, however many cases there are."""
    case = {"record": {"value": VALUE}, "event": {}}
    with pytest.raises(ConfigError) as caught:
        rehearsal.run(fixture(folder, case, case, topic=topic, **more))
    (problem,) = caught.value.problems

    assert message in str(problem)


def leaves(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of all values that are no objects or lists."""
    match value:
        case dict():
            for key, child in value.items():
                yield from leaves(child, (*path, key))
        case list():
            for index, child in enumerate(value):
                yield from leaves(child, (*path, index))
        case _:
            yield path


def broken(value: Any, path: tuple[str | int, ...]) -> Any:
    """The same with another value at one place."""
    if not path:
        return "2000-01-01T00:00:00Z" if str(value).startswith("2026") else f"{value}x"
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = broken(copy[path[0]], path[1:])
    return copy


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    named=st.sets(st.sampled_from(sorted(CAME)), min_size=1),
    in_detail=st.sets(st.sampled_from(sorted(VALUE)), min_size=1),
    pick=st.randoms(use_true_random=False),
)
def test_every_expected_value_counts(
    rehearsal: Rehearsal, folder: Path, named: set[str], in_detail: set[str], pick: Any
) -> None:
    """Whatever part of the event a case names, it passes; with one of its values broken it fails there."""
    expected: dict[str, Any] = {name: CAME[name] for name in sorted(named)}
    if "detail" in named:
        expected["detail"] = {name: VALUE[name] for name in sorted(in_detail)}
    place = pick.choice(list(leaves(expected)))
    read = fixture(
        folder,
        {"record": {"value": VALUE}, "event": expected},
        {"record": {"value": VALUE}, "event": broken(expected, place)},
    )
    passed, failed = rehearsal.run(read)

    assert [] == passed.differences
    assert [("event", *place)] == places(failed)


def places(result: CaseResult) -> list[tuple[str | int, ...]]:
    return [difference.loc for difference in result.differences]
