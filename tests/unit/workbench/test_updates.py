"""What came is written as what is expected: the result passes, and the rest of the file is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.errors import ConfigError
from connector.workbench.cases import Rehearsal
from connector.workbench.fixtures import FixtureFile, parse_fixture
from connector.workbench.updates import updated
from tests.configuration import Written, with_topic


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    event = {"source": "aws.partner/example.com/${value.tenant}", "detail_type": "Order ${value.status}"}
    settings = Written(tmp_path).load(with_topic(value={"format": "json"}, event=event))
    with Rehearsal(settings) as rehearsal:
        yield rehearsal


def read(text: str) -> FixtureFile:
    found, problems = parse_fixture(Path("orders.yaml"), text.encode(), to_update=True)
    assert [] == problems
    assert found is not None
    return found


def update(rehearsal: Rehearsal, text: str) -> str:
    fixture = read(text)
    written = updated(fixture, rehearsal.run(fixture), rehearsal)
    assert [[]] * len(fixture.fixture.cases) == [each.differences for each in rehearsal.run(read(written))]
    return written


HEAD = "# orders\ntopic: orders.v1\n\ncases:\n"
RECORD = "record: {value: {tenant: acme, status: PAID, total: 12.5}}"


def test_a_value_that_differs(rehearsal: Rehearsal) -> None:
    """It alone is replaced, where it stands."""
    before = (
        f"{HEAD}  - {{name: a, {RECORD}, event: {{detail_type: Order, detail: {{total: '12'}}}}}}  # end\n"
    )
    after = before.replace("detail_type: Order,", 'detail_type: "Order PAID",').replace("'12'", "12.5")

    assert after == update(rehearsal, before)


def test_an_outcome_that_differs(rehearsal: Rehearsal) -> None:
    """The other one is written in its place; a case without one gets it."""
    other = "  - {name: b, record: {value: null}}\n"
    case = f"{HEAD}  - name: a   # the first\n    {RECORD}\n    filtered: filter\n{other}"
    written = update(rehearsal, case)

    assert "    filtered: filter\n" not in written
    assert (
        "    event:\n"
        "      source: aws.partner/example.com/acme\n"
        '      detail_type: "Order PAID"\n'
        "      detail: {tenant: acme, status: PAID, total: 12.5}\n"
        "  - {name: b, record: {value: null}, filtered: tombstone}\n"
    ) in written


def test_exactly_writes_all(rehearsal: Rehearsal) -> None:
    """What is missing is added, also the metadata; what did not come is removed."""
    event = "event: {exactly: true, detail: {more: 1, total: 12.5}, source: x}"
    case = f"{HEAD}- name: a\n  {RECORD}\n  {event}\n"
    written = update(rehearsal, case)

    assert "detail: {total: 12.5, tenant: acme, status: PAID, _kafka: {id: test/orders.v1/0/0," in written
    assert 'source: aws.partner/example.com/acme, detail_type: "Order PAID"}' in written


def test_an_alias_is_refused(rehearsal: Rehearsal) -> None:
    """One text stands for two expectations: what is right for one is wrong for the other."""
    text = (
        f"{HEAD}  - {{name: a, {RECORD}, event: &e {{detail_type: Order PAID}}}}\n"
        "  - {name: b, record: {value: {tenant: acme, status: NEW}}, event: *e}\n"
    )
    fixture = read(text)
    with pytest.raises(ConfigError) as caught:
        updated(fixture, rehearsal.run(fixture), rehearsal)

    assert "cannot be updated: cases[1].event is written elsewhere" in str(caught.value)
    assert "change it by hand (line 4)" in str(caught.value)


def test_an_anchor_that_is_used_elsewhere_is_refused(rehearsal: Rehearsal) -> None:
    """To replace it would break what refers to it."""
    text = (
        f"{HEAD}  - {{name: a, {RECORD}, event: {{detail_type: &t Order}}}}\n"
        "  - {name: b, record: {value: {tenant: acme, status: *t}}, filtered: filter}\n"
    )
    fixture = read(text)
    with pytest.raises(ConfigError, match="cannot be updated: it could not be read any more"):
        updated(fixture, rehearsal.run(fixture), rehearsal)
