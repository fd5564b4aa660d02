"""What is known of a result before any record is true of every record."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType

import jmespath
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.config.settings import Format
from connector.errors import MappingError
from connector.mapping.expressions import Evaluate, Scope, compile_node, guard, is_true
from connector.mapping.inference import result_of
from connector.mapping.results import Result, scope_of
from connector.mapping.templates import Compiler
from connector.model import Json
from tests.mapping import documents, topic

NAME = "orders.v1"

texts = st.sampled_from(["", "a", "b", "1", "orders.v1"])
scopes_drawn: st.SearchStrategy[Scope] = st.builds(
    dict,
    value=documents,
    key=st.none() | texts,
    headers=st.dictionaries(st.sampled_from(["a", "b"]), st.none() | texts, max_size=2),
    topic=st.just(NAME),
    partition=st.integers(0, 2),
    offset=st.integers(0, 2),
    timestamp=st.none() | st.integers(-1, 1),
)
ATOMS = """
    value value.a value.a.b value.b value[0] value.* key key.a headers headers.a headers.a.b topic topic.a
    partition offset offset[0] timestamp @
    `1` `0` `2.5` `null` `true` `false` `[]` `{}` `[1,2]` `["a"]` `{"a":1}` '' 'a'
"""
ONE = """
    abs avg ceil floor keys length max merge min not_null reverse sort sum to_array to_number to_string type
    values
"""
TWO = ["contains", "ends_with", "join", "merge", "not_null", "starts_with"]


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Expressions with smaller ones in them."""
    signs = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "||", "&&", "|"])
    steps = st.sampled_from(
        [".a", ".b", "[0]", "[-1]", "[*]", "[]", ".*", "[1:]", "[?@]", "[*].a", ".[a, b]"]
    )
    references = st.sampled_from(["sort_by(%s, &a)", "map(&a, %s)", "max_by(%s, &@)", "map(&length(@), %s)"])
    return st.one_of(
        st.builds("({} {} {})".format, inner, signs, inner),
        st.builds("!({})".format, inner),
        st.builds("({}){}".format, inner, steps),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("{{a: {}, b: {}}}".format, inner, inner),
        st.builds("{}({})".format, st.sampled_from(ONE.split()), inner),
        st.builds("{}({}, {})".format, st.sampled_from(TWO), inner, inner),
        st.builds(lambda form, found: form % found, references, inner),
    )


expressions = st.recursive(st.sampled_from(ATOMS.split()), larger, max_leaves=6)


def known(result: Result, found: Json) -> bool:
    """Whether a result says no more than what was found allows."""
    if type(found) not in result.types:
        return False
    if result.constant and repr(result.constant[0]) != repr(found):
        return False
    if result.truth not in {None, is_true(found)}:
        return False
    match found:
        case dict():
            return result.inside.keys() <= found.keys() and all(
                known(result.at(key), value) for key, value in found.items()
            )
        case list():
            return all(known(result.at(index), value) for index, value in enumerate(found))
    return True


FAILED = "failed, which no expression yields"


def outcome(evaluate: Evaluate, scope: Scope) -> Json:
    try:
        return evaluate(scope)
    except MappingError:
        return FAILED


UNSAID: Scope = {"key": None, "headers": {}, "topic": NAME, "partition": 0, "offset": 0, "timestamp": 0}


@settings(max_examples=150)
@given(expression=expressions, scope=scopes_drawn)
@example(expression="value.a || length(offset)", scope={"value": {"a": 1}})
@example(expression="[value.a, length(offset)]", scope={"value": {"a": 1}})
@example(expression="merge({a: topic}, value)", scope={"value": {"a": 1}})
@example(expression="merge(value, {a: topic})", scope={"value": {"a": 1}})
@example(expression="(value.a || [topic])[-1]", scope={"value": {"a": [1, 2]}})
def test_a_result_is_true_of_every_record(expression: str, scope: Scope) -> None:
    """Types, constants, truth and fields are what evaluating finds; what always fails never yields."""
    check(expression, [{**UNSAID, **scope}])


VALUES: list[Json] = [None, True, False, 0, 1.5, "", "a", [], {}, {"a": None}, {"a": "a", "b": 1.5}]
VALUES += [[1, 2.5], ["a", "b"], [[1], None], {"a": [1.5, 2], "b": []}, {"a": {"b": "a"}, "b": [{"a": 1}]}]
SCOPES = [{**UNSAID, "value": value} for value in VALUES]
SCOPES += [{**UNSAID, "value": {"a": "a"}, "key": key, "headers": {"a": key}} for key in ("", "a")]
SIGNS = ["==", "!=", "<", ">=", "||", "&&"]


@pytest.mark.parametrize(
    "shape", [f"{name}(%s)" for name in ONE.split()] + ["!(%s)", "(%s)[0]", "(%s).a", "(%s)[]"]
)
def test_each_operation_on_each_kind(shape: str) -> None:
    """The same without chance: every function, comparison and step, on every root and constant."""
    for atom in ATOMS.split():
        check(shape % atom, SCOPES)


@pytest.mark.parametrize(
    "shape", [f"{name}(%s, %s)" for name in TWO] + [f"(%s) {sign} (%s)" for sign in SIGNS]
)
def test_each_operation_on_each_two_kinds(shape: str) -> None:
    """The same for what takes two."""
    for first in [
        "value.a",
        "headers.a",
        "offset",
        "`1`",
        "`null`",
        "'a'",
        "[value.a]",
        "{a: value.a}",
        "`[]`",
    ]:
        for second in [
            "value.b",
            "key",
            "timestamp",
            "topic",
            "`0`",
            "`true`",
            "''",
            "[topic, offset]",
            "headers",
        ]:
            check(shape % (first, second), SCOPES)


def check(expression: str, scopes: Iterable[Scope]) -> None:
    """Compare what is known of an expression with what it yields: unchanged, and as it is compiled."""
    known_scope = scope_of(topic(), name=NAME)
    node = jmespath.compile(expression).parsed
    result, plain = result_of(node, known_scope), guard(compile_node(node), path="x", shown="x")
    compiler = Compiler(known_scope)
    compiled = compiler.expression(expression, path="x").evaluate
    for scope in scopes:
        found = outcome(plain, scope)
        # What is known holds for what it yields, and it may fail instead.
        assert found is FAILED or known(result, found), (expression, scope)
        if not compiler.problems:
            assert repr(found) == repr(outcome(compiled, scope)), (expression, scope)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("length(offset)", "length() takes string or array or object, and `offset` is an integer"),
        ("length(`1`)", "length() takes string or array or object, and it is a constant"),
        ("to_number('NaN')", "to_number() made a number that JSON cannot carry"),
        ("value.a && key.id.x", ""),
        ("key.id.x", "`key` is text, by `key.format: string`, which has no fields"),
        ("value.a == `[1]`", "`==` yields true or false"),
        ("max(value)", "max() yields a string, a number or null"),
    ],
)
def test_a_result_says_how_it_is_known(expression: str, said: str) -> None:
    """A message can say why something is so for every record."""
    compiler = Compiler(scope_of(topic(), name=NAME))

    assert said == compiler.expression(expression, path="x").result.why


@pytest.mark.parametrize(
    ("format", "expression", "is_null"),
    [
        ("string", "value.id", True),
        ("bytes", "value[0]", True),
        ("json", "value.id", False),
        ("avro", "value.id", False),
        ("string", "value", False),
    ],
)
def test_what_has_fields_depends_on_the_format(format: str, expression: str, is_null: bool) -> None:  # noqa: A002
    """Text and bytes have no fields; what JSON and Avro have, the record decides."""
    read = Format.model_validate({"format": format})
    compiler = Compiler(scope_of(topic().model_copy(update={"value": read}), name=None))

    assert is_null is (compiler.expression(expression, path="x").result.types == {NoneType})
