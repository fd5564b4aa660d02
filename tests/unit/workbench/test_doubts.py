"""Warnings about events: each names its place, none repeats a value, and ordinary events have none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import Json
from connector.workbench.doubts import MAX_DETAIL_TYPES, DetailTypes, doubts

NOW_MS = 1_795_000_000_000


def entry(
    detail: Json = None, *, source: str = "aws.partner/example.com/a", detail_type: str = "Order"
) -> dict[str, Json]:
    return {"Source": source, "DetailType": detail_type, "Detail": detail or {}}


def kinds(detail: Json) -> list[str]:
    found = doubts(entry(detail), timestamp_ms=NOW_MS)
    words = {"beyond 2^53": "integer", "since 1970": "time", "exactly": "float"}
    return [f"{w.partition(':')[0]} {next(kind for word, kind in words.items() if word in w)}" for w in found]


def test_integers_that_a_double_cannot_hold() -> None:
    """2^53 itself is exact; the next one is not. The place leads through objects and lists."""
    detail: Json = {"exact": 2**53, "rows": [{"n": 0}, {"n": 2**53 + 1}], "low": -(2**53) - 1}

    assert ["detail.rows[1].n integer", "detail.low integer"] == kinds(detail)


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_times_by_their_name(unit: int) -> None:
    """A number of this century in any unit, under a name of a time."""
    number = 1_600_000_000 * unit
    found = [
        kind
        for kind in kinds({"created_at": number, "lastSeenTime": number, "ts_ms": number})
        if kind.endswith("time")
    ]

    assert ["detail.created_at time", "detail.lastSeenTime time", "detail.ts_ms time"] == found


def test_times_near_that_of_the_record() -> None:
    """Whatever their name, since an id is hardly so near; seconds have too few digits to say so."""
    detail: Json = {"a": NOW_MS - 5000, "b": (NOW_MS - 5000) * 1000, "c": NOW_MS // 1000}

    assert ["detail.a time", "detail.b time"] == kinds(detail)
    assert [] == doubts(entry({"a": NOW_MS - 5000}))


@pytest.mark.parametrize(
    "detail",
    [
        {"order_id": 1_234_567_890},
        {"gtin": 4_006_381_333_931},
        {"created_by": 1_600_000_000},
        {"phone": 4_915_112_345_678},
        {"amount": 1_600_000_000},
        {"timeout": 1_600_000_000, "status": 1_600_000_000},
        {"time": 30},
        {"is_at": True},
        {"created_at": "2026-11-22T10:00:00.000Z"},
    ],
)
def test_what_only_looks_like_a_time(detail: Json) -> None:
    """Ids, article numbers, telephones, amounts and durations are no times."""
    assert [] == kinds(detail)


@pytest.mark.parametrize("number", [0.5, 12.3, -0.000001, 4_999_999_999.5, 1e9, 0.0])
def test_numbers_that_rules_compare(number: float) -> None:
    """Six digits behind the point, up to five thousand million."""
    assert [] == kinds({"x": number})


@pytest.mark.parametrize("number", [0.1234567, 1e-7, 5_000_000_000.5, 1e22, 0.1 + 0.2])
def test_numbers_that_rules_take_for_text(number: float) -> None:
    """A rule that names such a number must write it as the event does, digit by digit."""
    assert ["detail.x float"] == kinds({"x": number})


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("ann@example.com", "e-mail"),
        ("Order of ann.b+c@mail.example.co.uk", "e-mail"),
        ("4111111111111111", "card"),
        ("Card 4111 1111 1111 1111", "card"),
        ("5500-0000-0000-0004", "card"),
        ("2223003122003222", "card"),
    ],
)
def test_personal_data_in_the_detail_type(text: str, shape: str) -> None:
    """The warning names the shape, and repeats nothing of the value."""
    (warning,) = doubts(entry(detail_type=text))

    assert warning.startswith("detail_type: has the shape of")
    assert shape in warning
    assert text.rpartition(" ")[2] not in warning


def test_personal_data_in_the_source() -> None:
    """A customer's name may hold digits only too many of which are a card's."""
    (warning,) = doubts(entry(source="aws.partner/example.com/4111111111111111"))

    assert warning.startswith("source: ")


@pytest.mark.parametrize(
    "text", ["4111111111111112", "Order PAID", "a@b", "1795000000000", "aws.partner/example.com/123456789012"]
)
def test_what_only_looks_like_personal_data(text: str) -> None:
    """A wrong check digit, a moment in milliseconds, an AWS account."""
    assert [] == doubts(entry(detail_type=text))


def test_a_detail_type_per_record() -> None:
    """Fifteen kinds are plausible; each one more gets a warning, and a kind that was seen gets none."""
    seen = DetailTypes()
    found = [seen.doubts(entry(detail_type=f"Order {number}")) for number in range(MAX_DETAIL_TYPES + 2)]

    assert [0] * MAX_DETAIL_TYPES + [1, 1] == [len(each) for each in found]
    assert "16 kinds in 16 events" in found[MAX_DETAIL_TYPES][0]
    assert [] == seen.doubts(entry(detail_type="Order 3"))


NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
NAMES = st.sampled_from(["id", "created_at", "ts", ""])
DETAILS = st.dictionaries(
    NAMES, NUMBERS | st.none() | st.text() | st.lists(NUMBERS | st.dictionaries(NAMES, NUMBERS))
)


@given(DETAILS, st.none() | st.integers(0, 2**43))
def test_any_detail_can_be_examined(detail: dict[str, Json], timestamp_ms: int | None) -> None:
    """No JSON makes it fail, and every warning begins with its place."""
    assert all(warning.startswith("detail") for warning in doubts(entry(detail), timestamp_ms=timestamp_ms))
