"""Templates: text around expressions, and what is refused at the start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.mapping.event import Mapping
from connector.mapping.templates import Compiler, may_make
from connector.model import Json
from tests.mapping import PATH, decoded, detail, problems, topic

# --- templates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${value.s}/${value.i}", "text/7"),
        ("a ${value.i} ${value.f} ${value.big} ${value.t} ${value.n}", "a 7 1.5 1e+16 true -1"),
        ("x${value.s}", "xtext"),
        (r"\${value.s} ${value.s}", "${value.s} text"),
        (r"$ { } $$ \$ \\${", "$ { } $$ \\$ \\${"),
        ("${ value.s }!", "text!"),
        ("${value.s || '}'}.", "text."),
        ("${value.none || '}'}.", "}."),
        ('${value.none || `"}"`}.', "}."),
        (r"${value.none || '\'}'}.", "'}."),
        ('${value."a}b"}.', "brace."),
        ("${to_string({a: value.i, b: {c: '{'}})}.", '{"a":7,"b":{"c":"{"}}.'),
        ("${value.s}${value.s}", "texttext"),
        ("${value.s}\n${value.s}", "text\ntext"),
    ],
)
def test_joined_text(template: str, expected: str) -> None:
    r"""Text around expressions is kept, values are written as JSON writes them, and `\${` is literal."""
    value: Json = {"s": "text", "i": 7, "f": 1.5, "big": 1e16, "t": True, "n": -1, "a}b": "brace"}

    assert {"x": expected} == detail(decoded(value), detail={"x": template})


@pytest.mark.parametrize("found", [None, True, 0, 1.5, "", "x", [1, [None]], {"a": {"b": []}}])
def test_a_lone_expression_keeps_its_type(found: Json) -> None:
    """In `detail`, a template that is one expression is the value itself, null included."""
    assert {"x": found} == detail(decoded({"a": found}), detail={"x": "${value.a}"})


@pytest.mark.parametrize(
    ("template", "can"),
    [
        ("aws.partner/example.com/acme", True),
        ("aws.partner/example.com/${value.tenant}", True),
        ("aws.partner/example.com/${value.tenant}/orders", False),
        ("aws.partner/example.com/${value.tenant}me", True),
        ("aws.partner/example.com/acme${value.region}", True),
        ("aws.partner/example.net/${value.tenant}", False),
        ("aws.partner/example.com/acm.", False),
        ("${value.source}", True),
    ],
)
def test_the_fixed_parts_say_what_a_template_cannot_make(template: str, *, can: bool) -> None:
    """An expression may yield any text, the empty one too."""
    compiled = Compiler().template(template, path="")

    assert can == may_make(compiled, "aws.partner/example.com/acme")


# --- problems at start --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("", "the expression is empty"),
        ("  ", "ends too early"),
        ("value ~ 1", "column 9: not JMESPath: Unknown token ~"),
        ("value value", "column 9: not JMESPath: value cannot stand here"),
        ("value.a || 'x", "column 14: the ' that opens here is never closed"),
        ("(value.a[?vlaue == topic] | [0].foo) || tpoic", "column 43: unknown name 'tpoic'"),
        ("@.vlaue", "column 5: unknown name 'vlaue'"),
        ("{a: valu}", "column 7: unknown name 'valu'"),
        ("not_null()", "not_null() takes at least 1 argument, and is given 0"),
        ("sort_by(value, 'a')", "sort_by() argument 2 must be an &expression"),
        ("length(&value)", "length() argument 1 cannot be an &expression"),
        ("&value", "&expression is only for functions"),
        ("value[::0]", "the step of a slice cannot be 0"),
        ("`[1e999]`", "JSON cannot carry this literal"),
        ("(" * 5000 + "value" + ")" * 5000, "nests too deeply"),
        ("value[" + "9" * 5000 + "]", "a number has too many digits"),
    ],
)
def test_expressions_that_can_never_work_are_refused_at_start(expression: str, part: str) -> None:
    """Syntax, unknown names and functions, and wrong arity are found before anything is consumed."""
    (found,) = problems(source=f"${{{expression}}}")

    assert part in found


@pytest.mark.parametrize(
    "expression",
    [
        "value.items[?price > `10`].name | [0]",
        "sort_by(value.rows, &row.vlaue)[0]",
        "map(&name, value.rows)",
        "value.rows[*].{a: name, b: other}",
        "@.value.x",
        "*",
        "not_null(value.a, value.b, 'c')",
        'headers."content-type"',
        "value | name",
    ],
)
def test_names_inside_a_projection_are_not_root_names(expression: str) -> None:
    """Only what is looked up in the record's scope must be one of its names."""
    Mapping(topic(detail=f"${{{expression}}}"), path=PATH)


@pytest.mark.filterwarnings("ignore:deprecated string literal")
@given(st.text(alphabet="${}'`\"\\ab.value[]()&|!=<>?*@:,01 ", max_size=30))
def test_any_text_compiles_or_is_a_problem(text: str) -> None:
    """No configuration text makes the compiler fail in another way."""
    compiler = Compiler()
    compiler.template(text, path="x")
    compiler.expression(text, path="x")

    assert all(problem.path == "x" for problem in compiler.problems)
