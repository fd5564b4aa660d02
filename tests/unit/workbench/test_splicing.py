"""Values in YAML are replaced, removed and added, and every other character stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.config.problems import Loc
from connector.config.yaml_file import as_json, parse_yaml
from connector.model import Json
from connector.workbench.differences import ABSENT, JsonOrAbsent
from connector.workbench.splicing import UnspliceableError, flow, spliced


def read(text: str) -> Any:
    written = parse_yaml(text, name="test")
    assert [] == written.problems
    return as_json(written.values)


BLOCK = """\
# first
a:   # of a
  b: 1  # of b
  c: "x y"
  # before d
  d: |
    long
    text

e:
- 1
- 2
# last
"""


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        ({("a", "b"): 2}, "b: 1  # of b", "b: 2  # of b"),
        ({("a", "c"): "12.30"}, 'c: "x y"', 'c: "12.30"'),
        ({("a", "c"): None}, 'c: "x y"', "c: null"),
        ({("a", "d"): "short"}, "d: |\n    long\n    text\n", "d: short\n"),
        ({("e",): [3]}, "- 1\n- 2", "  [3]"),
        ({("e", 1): {"x": 1}}, "- 2", "- {x: 1}"),
        ({("a", "c"): ABSENT}, '  c: "x y"\n', ""),
        ({("a", "b"): ABSENT}, "b: 1  # of b\n  c:", "c:"),
        ({("a", "f"): 1}, "    text\n", "    text\n  f: 1\n"),
        ({("g",): {"x": 1}}, "- 2\n", "- 2\ng:\n  x: 1\n"),
        ({("a", key): ABSENT for key in "bcd"}, BLOCK[BLOCK.index("b: 1") : BLOCK.index("\n\ne:")], "{}"),
    ],
)  # fmt: skip
def test_block_style(changes: dict[Loc, JsonOrAbsent], before: str, after: str) -> None:
    """Comments and blank lines stay, but for those in the lines of what is removed."""
    assert 1 == BLOCK.count(before)
    assert BLOCK.replace(before, after) == spliced(BLOCK, changes)


FLOW = "x: {a: 1, b: [1, 2], 'c': {d: e}}  # end\n"


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({("x", "a"): True}, "x: {a: true, b: [1, 2], 'c': {d: e}}  # end\n"),
        ({("x", "b", 0): "no"}, "x: {a: 1, b: [\"no\", 2], 'c': {d: e}}  # end\n"),
        ({("x", "a"): ABSENT}, "x: {b: [1, 2], 'c': {d: e}}  # end\n"),
        ({("x", "c"): ABSENT}, "x: {a: 1, b: [1, 2]}  # end\n"),
        ({("x", "b"): ABSENT, ("x", "c"): ABSENT}, "x: {a: 1}  # end\n"),
        ({("x", "c"): ABSENT, ("x", "f"): 0.5}, "x: {a: 1, b: [1, 2], f: 0.5}  # end\n"),
        (
            {("x", "c", "d"): ABSENT, ("x", "c", "f g"): []},
            "x: {a: 1, b: [1, 2], 'c': {\"f g\": []}}  # end\n",
        ),
        ({("x", "c", "d"): ABSENT}, "x: {a: 1, b: [1, 2], 'c': {}}  # end\n"),
    ],
)
def test_flow_style(changes: dict[Loc, JsonOrAbsent], after: str) -> None:
    """Commas go with what is removed."""
    assert after == spliced(FLOW, changes)


@pytest.mark.parametrize("end", ["3 }", "3,  # of c\n}", "3\n  , }"])
def test_flow_style_over_several_lines(end: str) -> None:
    """The comment of what stays is not lost with what is removed behind it."""
    text = f"x: {{\n  a: 1,  # of a\n  b: 2,\n  c: {end}\n"
    written = spliced(text, {("x", "b"): ABSENT, ("x", "c"): ABSENT, ("x", "d"): 4})

    assert "  a: 1, d: 4,  # of a\n" in written
    assert {"a": 1, "d": 4} == read(written)["x"]


def test_windows_line_ends_and_a_file_without_the_last_one() -> None:
    """What is added ends its lines as the file does."""
    assert "a: 1\r\nb: 2\r\n" == spliced("a: 1\r\n", {("b",): 2})
    assert "a: 1 # x\nb: 2" == spliced("a: 1 # x", {("b",): 2})


def test_an_empty_value() -> None:
    """A key with nothing behind its colon."""
    assert "a: 1\nb:\n" == spliced("a:\nb:\n", {("a",): 1})


@pytest.mark.parametrize(
    ("text", "loc"),
    [
        ("a: &x {b: 1}\nc: *x\n", ("c", "b")),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", ("c", "b", "d")),
        ("a: [1]\n", ("a", 3)),
        ("a: 1\nb: &x 2\nc: *x\n", ("c",)),
        ("a: &x 1\nb:\n  c:\n  - *x\n", ("b", "d")),
    ],
)
def test_what_is_written_elsewhere_is_refused(text: str, loc: Loc) -> None:
    """Behind an alias or a merge the place has no text of its own."""
    with pytest.raises(UnspliceableError):
        spliced(text, {loc: 5})


TEXTS = st.text(max_size=8) | st.sampled_from(
    ["null", "true", "no", "12", "1e3", "a: b", "- x", "<<", "# c", "~"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_what_is_written_is_read_again(value: Json) -> None:
    """Any JSON: words, numbers and signs that YAML would take for something else, and any character."""
    assert value == read(f"x: {flow(value)}\n")["x"]


LEAVES: st.SearchStrategy[Any] = st.sampled_from([1, "a", "b c", None, [1, 2], [{"x": 1}], {}])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3),
    max_leaves=8,
).filter(lambda tree: isinstance(tree, dict) and tree)


def written_as(value: Any, flow_depth: int, indent: str = "") -> str:
    """YAML in block style down to some depth, with a comment behind every line."""
    if not isinstance(value, dict) or not value or flow_depth == 0:
        return f" {flow(value)}  # comment\n"
    lines = (
        f"{indent}{key}:{written_as(each, flow_depth - 1, indent + '  ')}" for key, each in value.items()
    )
    return ("\n" if indent else "") + "".join(lines)


@given(TREES, TREES, st.integers(0, 4))
def test_any_change_comes_out_as_it_was_meant(before: Any, after: Any, flow_depth: int) -> None:
    """Whatever the style of the file, and wherever the two differ."""
    text = written_as({"root": before, "end": 1}, flow_depth + 1)
    changes = dict(changed(before, after, ("root",)))

    assert {"root": after, "end": 1} == read(spliced(text, changes))


def changed(before: Any, after: Any, loc: Loc) -> Any:
    """The changes that lead from one to the other."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        if before != after:
            yield loc, after
        return
    for key in {**before, **after}:
        if key in before and key in after:
            yield from changed(before[key], after[key], (*loc, key))
        else:
            yield (*loc, key), after.get(key, ABSENT)
