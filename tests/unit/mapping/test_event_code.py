"""The function written for a mapping: what it says is what the expressions alone yield."""

from __future__ import annotations

import json
from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import ConfigError, MappingError
from connector.mapping.event import Mapping
from connector.mapping.event_code import record_scope, text_of
from connector.mapping.expressions import Scope, is_true
from connector.mapping.templates import Compiler
from connector.model import Json
from tests.mapping import NAMES, PATH, decoded, detail, documents, event_of, mapped, topic

steps = st.sampled_from([*(f".{name}" for name in NAMES), "[0]", "[-1]", "[*]"])
fields = st.builds(
    lambda root, more: root + "".join(more),
    st.sampled_from(["value", "key", "headers", "topic", "offset", "timestamp"]),
    st.lists(steps, max_size=5),
)
literals = st.one_of(
    documents.map(lambda found: "`" + orjson.dumps(found).decode() + "`"),
    st.sampled_from(["'a'", "''", "`1`", "`null`", "`true`"]),
)
expressions = st.recursive(
    st.one_of(fields, literals, fields.map("length({})".format), fields.map("to_string({})".format)),
    lambda inner: st.one_of(
        st.builds(
            "({} {} {})".format,
            inner,
            st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "||", "&&"]),
            inner,
        ),
        inner.map("!({})".format),
    ),
    max_leaves=8,
)


def made(mapping: Mapping, value: Json, key: Json) -> str:
    """The detail, `dropped`, or the code and text of the failure."""
    try:
        event = event_of(mapping, decoded(value, key=key, headers=(("a", b"b"),)))
    except Exception as error:  # noqa: BLE001 - any other than the expression's own shows as a difference
        return f"{getattr(error, 'code', type(error))}: {str(error).partition(': ')[2]}"
    return "dropped" if event is None else event.detail.decode()


def check(expression: str, pairs: Sequence[tuple[Json, Json]]) -> None:
    """Compare what a mapping makes of values and keys with what the expression alone yields, or why not."""
    evaluate = Compiler().expression(expression, path="x").evaluate
    mappings: list[Mapping | None] = []
    for fields in ({"detail": {"x": f"${{{expression}}}"}}, {"detail": {"x": 1}, "filter": expression}):
        try:
            mappings.append(Mapping(topic(**fields), path=PATH))
        except ConfigError:
            mappings.append(None)  # it is the same for every record: test_event_mistakes.py is about that
    in_detail, as_filter = mappings
    for value, key in pairs:
        scope: Scope = {
            "value": value,
            "key": key,
            "headers": {"a": "b"},
            "topic": "orders.v1",
            "partition": 3,
        }
        scope |= {"offset": 1042, "timestamp": decoded(None).record.timestamp_ms}
        try:
            found = evaluate(scope)
        except MappingError as error:
            failure = f"{error.code}: {str(error).partition(': ')[2]}"
            expected = failure.replace(expression, f"${{{expression}}}"), failure
        else:
            expected = orjson.dumps({"x": found}).decode(), '{"x":1}' if is_true(found) else "dropped"
        for mapping, wanted in zip((in_detail, as_filter), expected, strict=True):
            assert mapping is None or wanted == made(mapping, value, key), (expression, value, key)


@given(expression=expressions, value=documents, key=documents)
def test_what_is_written_out_is_what_the_expression_yields(expression: str, value: Json, key: Json) -> None:
    """In a detail, and as a filter; failures included."""
    check(expression, [(value, key)])


EVERY: list[Json] = [None, True, False, 0, 1, 1.0, 1.5, "", "a", [], {}, [1], {"a": 1}]
PAIRS: list[tuple[Json, Json]] = [({"a": a, "b": b}, None) for a in EVERY for b in EVERY] + [
    (None, None),
    ("a", 1),
]
SIDES = ["value.b", "key", "'a'", "''", *(f"`{json.dumps(each)}`" for each in EVERY)]


@pytest.mark.parametrize("sign", ["==", "!=", "<", "<=", ">", ">=", "||", "&&"])
def test_each_operator_on_each_kind_of_value(sign: str) -> None:
    """The same without chance, either way round, negated, and inside another operator."""
    for side in SIDES:
        for expression in (f"value.a {sign} {side}", f"{side} {sign} value.a"):
            check(expression, PAIRS)
        check(f"!(value.a {sign} {side})", PAIRS)
        check(f"(value.a {sign} {side}) || value.b", PAIRS)
        check(f"value.b && (value.a {sign} {side})", PAIRS)


HOSTILE = ["'", '"', "\\", "\n", "{0}", "%s", "'); raise SystemExit #", "\u2028", "__import__('os')", "ü\0"]


def test_texts_of_the_configuration_are_never_code() -> None:
    """Whatever stands in a template, a key or a constant stands in the function as a literal."""
    nested: Json = {text: [text, {text: f"${{value.a}}{text}"}] for text in HOSTILE}
    expected = {text: [text, {text: f"b{text}"}] for text in HOSTILE}

    assert expected == detail(decoded({"a": "b"}), detail=nested)
    assert ["a", "'"] == list(orjson.loads(mapped(decoded({"a": 1}), metadata="'").detail))
    for text in HOSTILE:
        shown = json.dumps(text)
        assert {"x": text} == detail(decoded({}), detail={"x": f"${{value.a || `{shown}`}}"})
        assert {"x": 5} == detail(decoded({text: 5}), detail={"x": f"${{value.{shown}}}"})


def test_size_and_depth_are_no_limit() -> None:
    """Python reads neither long sums nor deep parentheses; the function has none."""
    deep: Json = "${value.a}"
    for _ in range(200):
        deep = {"x": deep}
    parts = "${value.a}-" * 3000
    chain = "value" + ".a" * 500
    either = " || ".join(["value.b"] * 300 + ["value.a"])
    found = detail(
        decoded({"a": "1"}),
        detail={"deep": deep, "parts": parts, "chain": f"${{{chain}}}", "or": f"${{{either}}}"},
    )

    assert isinstance(found, dict)
    assert "1-" * 3000 == found["parts"]
    assert ("1", None) == (found["or"], found["chain"])
    assert 200 == json.dumps(found["deep"]).count("x")


@pytest.mark.parametrize(
    ("expression", "is_called"),
    [
        ("value.a", False),
        ("value.a.b.c", False),
        ("value.a != 'x' && !(value.b || key.c > `5`)", False),
        ("value.a == `null`", False),
        ("value.a[0]", True),
        ("length(value.a) > `2`", True),
        ("value.a == value.b", True),
    ],
)
def test_the_usual_expressions_are_written_out(expression: str, is_called: bool) -> None:
    """That nothing is called for them is what makes them cheap, and nobody would notice otherwise."""
    mapping = Mapping(topic(filter=expression), path=PATH)

    assert is_called is ("(scope)" in mapping.code.text)


def test_the_code_is_plain() -> None:
    """What is written for a small mapping, to be read."""
    mapping = Mapping(
        topic(
            filter="value.status != 'DRAFT'",
            source="aws.partner/example.com/${value.tenant}",
            detail_type="Order ${value.status}",
            detail={"id": "${value.id}", "label": "no ${value.id}"},
        ),
        path="topics.orders",
    )
    expected = """def event(record, key, value, event_id):
    (topic, partition), offset, timestamp, _, _, read_headers = record
    if not ((value.get('status') if isinstance(value, dict) else None) != 'DRAFT'):
        return None
"""

    assert expected == "\n".join([*mapping.code.text.splitlines()[:4], ""])
    assert mapped(decoded({"status": "PAID", "tenant": "acme", "id": "7"})).source


parts = st.one_of(st.sampled_from(["a", "-"]), fields.map("${{{}}}".format))


@given(st.lists(parts, min_size=1, max_size=3).map("".join), documents)
def test_a_template_alone_makes_the_same_text(template: str, value: Json) -> None:
    """None where the function raises."""
    given = decoded(value, headers=(("a", b"b"),))
    expected: str | None
    try:
        expected = mapped(given, detail={}, detail_type=template).detail_type
    except ConfigError:  # it never makes a text, which is refused at the start
        return
    except MappingError:
        expected = None

    assert expected == text_of(Compiler().template(template, path="x"), record_scope(*given))


@given(value=documents)
def test_the_record_stays_as_it_was(value: Json) -> None:
    """Also where the detail is the record's own value, to which the metadata is added."""
    before = json.dumps(value)
    mapping = Mapping(topic(detail="${value}", metadata="m"), path=PATH)
    made(mapping, value, None)

    assert before == json.dumps(value)
