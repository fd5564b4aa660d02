"""Expressions: the same results as jmespath, and errors without values of the record."""

from __future__ import annotations

import jmespath
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.mapping.expressions import Scope
from connector.mapping.templates import Compiler
from connector.model import Json
from tests.mapping import NAMES, PATH, decoded, detail, documents, refused

# --- errors at runtime --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("length(value.n)", "length() takes string or array or object, and was given number"),
        ("join(',', value.names)", "join() takes array-string, and was given null"),
        ("sort_by(value.rows, &a)", "sort_by() takes string, and was given number"),
        ("value.rows[*].abs(a)", "abs() takes number, and was given string"),
        ("contains(value.s, value.n)", "contains() failed with TypeError"),
        ("to_number(value.digits)", "to_number() made a number that JSON cannot carry"),
        ("to_number(value.nan)", "to_number() made a number that JSON cannot carry"),
        ("sum(value.huge)", "sum() made a number that JSON cannot carry"),
    ],
)
def test_an_expression_that_fails_names_types_and_no_values(expression: str, reason: str) -> None:
    """A function's refusal names the setting, the expression and the types, never what was in the record."""
    value: Json = {
        "n": 424242,
        "s": "secret",
        "names": ["secret", None],
        "rows": [{"a": "secret"}, {"a": 424242}],
        "digits": "9" * 30,
        "nan": "NaN",
        "huge": [1e308, 1e308],
    }
    error = refused(decoded(value), detail={"x": f"${{{expression}}}"})

    assert error.code == "template_failed"
    assert f"{PATH}.event.detail.x: ${{{expression}}} failed: {reason}." == str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_comparing_what_nests_too_deeply_is_an_error_of_the_record() -> None:
    """A hostile record cannot stop the bridge with recursion."""
    deep: Json = []
    twin: Json = []
    for _ in range(100_000):
        deep, twin = [deep], [twin]

    assert refused(decoded({"a": deep, "b": twin}), filter="value.a == value.b").code == "template_failed"


# --- the same results as jmespath ---------------------------------------------------------------

steps = st.one_of(st.sampled_from([f".{name}" for name in NAMES]), st.sampled_from(["[0]", "[1]", "[-1]"]))
chains = st.builds(
    lambda root, more: root + "".join(more), st.sampled_from(["value", "key"]), st.lists(steps, max_size=3)
)
literals = documents.map(lambda found: "`" + orjson.dumps(found).decode() + "`")
expressions = st.recursive(
    st.one_of(chains, literals, st.sampled_from(["'a'", "''"])),
    lambda inner: st.one_of(
        st.builds(
            lambda left, sign, right: f"({left} {sign} {right})",
            inner,
            st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "||", "&&"]),
            inner,
        ),
        inner.map(lambda negated: f"!({negated})"),
    ),
    max_leaves=6,
)


@given(expression=expressions, value=documents, key=documents)
def test_compiled_expressions_agree_with_jmespath(expression: str, value: Json, key: Json) -> None:
    """What is compiled to Python yields exactly what jmespath yields."""
    scope: Scope = {"value": value, "key": key}
    compiler = Compiler()
    compiled = compiler.expression(expression, path="x").evaluate(scope)

    assert not compiler.problems
    try:
        expected = jmespath.search(expression, scope)
    except TypeError:
        return  # jmespath fails on ordering a string and a number; see the next test
    assert repr(expected) == repr(compiled)


@pytest.mark.parametrize(
    "expression",
    [
        "value.one == value.yes",
        "value.one != value.yes",
        "value.zero == value.no",
        "value.no == value.no",
        "value.one == `1.0`",
        "value.ones == `[true]`",
        "value.list[-1]",
        "value.list[-2].a",
        "value.list[-3]",
        "value.list[2]",
        "value.text[0]",
        "value[0]",
        "value.list.a",
        "value.text.a.b",
        "!value.zero",
        "!value.text",
        "!value.empty",
        "value.zero || 'x'",
        "value.empty || 'x'",
        "value.zero && 'x'",
        "value.empty && 'x'",
        "value.yes < `2`",
        "value.text < 'z'",
        "value.list < `1`",
        "value.one >= `1`",
        "(value.missing || value).text",
        "value | text",
        "value.[one, text]",
        "[0]",
        "@.value.one",
    ],
)
def test_the_corners_of_jmespath(expression: str) -> None:
    """Type-strict equality, truth, negative indexes and nulls are jmespath's."""
    one: dict[str, Json] = {"one": 1, "zero": 0, "yes": True, "no": False, "empty": {}, "text": "t"}
    scope: Scope = {"value": {**one, "ones": [1], "list": [{"a": 1}, 2]}, "headers": {}}
    compiled = Compiler().expression(expression, path="x").evaluate(scope)

    assert repr(jmespath.search(expression, scope)) == repr(compiled)


@pytest.mark.parametrize("expression", ["value.n < value.s", "value.rows[?n < s] == `[]` && `null`"])
def test_ordering_a_string_and_a_number_is_null(expression: str) -> None:
    """As JMESPath's specification has it, compiled or interpreted."""
    value: Json = {"n": 1, "s": "a", "rows": [{"n": 1, "s": "a"}]}

    assert {"x": None} == detail(decoded(value), detail={"x": f"${{{expression}}}"})
