"""What a condition lets know is true of every record for which it holds."""

from __future__ import annotations

from types import NoneType

import jmespath
from hypothesis import given, settings

from connector.mapping.conditions import assuming
from connector.mapping.expressions import INTERPRETER, CallError, is_true
from connector.mapping.inference import result_of
from connector.mapping.results import Result, null, some, union
from connector.model import Json
from tests.mapping import documents
from tests.unit.mapping.test_results import expressions, known


def result(expression: str, scope: Result) -> Result:
    return result_of(jmespath.compile(expression).parsed, scope)


@settings(max_examples=200)
@given(condition=expressions, expression=expressions, value=documents)
def test_what_a_condition_lets_know_is_true_where_it_holds(
    condition: str, expression: str, value: Json
) -> None:
    """Of any expression, over any record for which the condition is true, or false."""
    scope = {"value": value, "topic": "orders.v1"}
    whole = Result(frozenset({dict}), inside={"value": some(*map(type, [None, True, 1, 1.5, "", [], {}]))})
    trees = [jmespath.compile(each).parsed for each in (condition, expression)]
    try:
        holds, found = (INTERPRETER.visit(tree, scope) for tree in trees)
    except (CallError, RecursionError):
        return
    narrowed = assuming(whole, trees[0], truth=is_true(holds))

    assert known(result_of(trees[1], narrowed), found)


def test_one_of_several_records_is_told_by_what_it_has() -> None:
    """A field that only one of them has narrows the union to it."""
    card = Result(frozenset({dict}), record="Card", inside={"pan": some(str)}, possible={dict: ""})
    bank = Result(frozenset({dict}), record="Bank", inside={"iban": some(str)}, possible={dict: ""})
    scope = Result(frozenset({dict}), inside={"value": union(card, bank, null("no payment"))})

    assert {str, NoneType} == result("value.pan", scope).types
    assert {str} == result("value.pan && value.pan || 'none'", scope).types
    known_scope = assuming(scope, jmespath.compile("value.pan").parsed, truth=True)
    assert "record Card has no field `iban`" == result("value.iban", known_scope).why
