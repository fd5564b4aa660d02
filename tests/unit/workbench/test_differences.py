"""Expected and got are compared field by field, and every difference has its place."""

from __future__ import annotations

import pytest
from hypothesis import given

from connector.model import Json
from connector.workbench.differences import ABSENT, Difference, differences
from tests.mapping import documents


def lines(expected: Json, got: Json, *, exactly: bool = False) -> list[str]:
    return list(map(str, differences(expected, got, exactly=exactly, loc=("event",))))


def test_what_is_named_is_compared() -> None:
    """At any depth; what is not named may be anything."""
    got: Json = {"a": {"b": 1, "c": 2}, "d": 3}

    assert [] == lines({"a": {"b": 1}}, got)
    assert ['event.a.b: expected "1", got 1'] == lines({"a": {"b": "1"}}, got)
    assert ["event.e: expected null, got nothing"] == lines({"e": None}, got)


def test_exactly_compares_all() -> None:
    """Also what is not named, inside of objects too."""
    got: Json = {"a": {"b": 1, "c": 2}, "d": 3}

    assert ["event.a.c: expected nothing, got 2", "event.d: expected nothing, got 3"] == lines(
        {"a": {"b": 1}}, got, exactly=True
    )


def test_lists_are_compared_whole() -> None:
    """Each item exactly; lists of different lengths as they are."""
    assert [] == lines([{"a": 1}], [{"a": 1}])
    assert ["event[0].b: expected nothing, got 2"] == lines([{"a": 1}], [{"a": 1, "b": 2}])
    assert ["event: expected [1], got [1, 2]"] == lines([1], [1, 2])


@pytest.mark.parametrize(
    ("expected", "got"), [(1, True), (0, False), (300, 300.0), (None, "nothing"), ("1", 1)]
)
def test_what_python_takes_for_equal_and_a_rule_does_not(expected: Json, got: Json) -> None:
    """JSON is compared, by how it is written."""
    assert 1 == len(lines(expected, got))


def test_absent_is_not_the_text_that_stands_for_it() -> None:
    """Nor null."""
    assert [Difference((), ABSENT, None)] == list(differences(ABSENT, None))


@given(documents, documents)
def test_equal_documents_have_no_difference(one: Json, other: Json) -> None:
    """And exactly those: where nothing differs exactly, both are written alike."""
    assert [] == lines(one, one, exactly=True)
    if not lines(one, other, exactly=True):
        assert not lines(other, one, exactly=True)
