"""What operators, filters and schemas let know of a result."""

from __future__ import annotations

from types import NoneType

import jmespath
import pytest

from connector.mapping.inference import Inference, result_of
from connector.mapping.results import Result, constant, union

STATUS = union(constant("NEW"), constant("OLD"))
ORDER = Result(
    frozenset({dict}),
    record="Order",
    inside={
        "id": Result(frozenset({str}), possible={str: ""}),
        "note": Result(frozenset({str, NoneType}), possible={str: "", NoneType: "`note` is nullable"}),
        "status": Result(STATUS.types, texts=STATUS.texts, only_texts=True, symbols=STATUS.texts, truth=True),
    },
)
ROOT = Result(frozenset({dict}), inside={"value": ORDER}, rest=constant(None))


def result(expression: str, scope: Result = ROOT) -> Result:
    return result_of(jmespath.compile(expression).parsed, scope)


@pytest.mark.parametrize(
    ("expression", "types"),
    [
        ("value.note", {str, NoneType}),
        ("value.note || value.id", {str}),
        ("value.note && value.note", {str, NoneType}),
        ("value.note == `null` && 'none' || value.note", {str}),
        ("!value.note && 'none' || value.id", {str}),
        ("not_null(value.note, 'none')", {str}),
        ("value.id == 'a' && value.note", {str, NoneType, bool}),
        ("value.id == 'a' && value.note || 'none'", {str}),
    ],
)
def test_an_operand_is_known_by_the_other(expression: str, types: set[type]) -> None:
    """What `||` and `&&` decide, so that no default is asked for twice."""
    assert types == result(expression).types


@pytest.mark.parametrize(
    ("expression", "texts"),
    [
        ("value.status", ("NEW", "OLD")),
        ("value.status != 'OLD' && value.status", ("NEW",)),
        ("value.status == 'OLD' && 'Closed' || 'Opened'", ("Closed", "Opened")),
        ("value.status || 'none'", ("NEW", "OLD")),
    ],
)
def test_the_texts_of_an_enum_are_followed(expression: str, texts: tuple[str, ...]) -> None:
    """Through comparisons, `&&` and `||`, so that each can be tried in a template."""
    assert texts == result(expression).where(truth=True).texts


@pytest.mark.parametrize(
    ("expression", "remarks"),
    [
        ("value.nte", [("record Order has no field `nte`; did you mean 'note'?", True)]),
        ("value.nte || 'x'", [("record Order has no field `nte`; did you mean 'note'?", False)]),
        ("to_string(value.nte)", [("record Order has no field `nte`; did you mean 'note'?", True)]),
        ("value.status == 'NWE'",
         [("`==` compares with 'NWE', which is none of NEW, OLD; did you mean 'NEW'?", False)]),
        ("length(value.note || '')", []),
        ("value.note && length(value.note)", []),
        ("value.status == 'NEW' || value.status == 'NEW'", []),
    ],
)  # fmt: skip
def test_a_remark_is_made_where_a_schema_disagrees(expression: str, remarks: list[tuple[str, bool]]) -> None:
    """And says whether it counts although another version of the schema is in order."""
    inference = Inference()
    inference.result(jmespath.compile(expression).parsed, ROOT)

    assert remarks == [(message, is_decisive) for _, message, is_decisive in inference.remarks]


def test_a_long_chain_of_operators_is_followed_in_little_time() -> None:
    """Each operator might double the work."""
    assert {str} == result(" || ".join(["value.note"] * 200 + ["value.id"])).types
    assert result(" && ".join(["!(value.note || value.id)"] * 100)).types
