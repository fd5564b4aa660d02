"""EventBridge's rules for texts of which only a part is known."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.config.entry_rules import (
    SOURCE_NAME,
    detail_type_problem,
    resource_problem,
    source_problem,
)

LEGAL = "aws.partner/a.b/c/d"
pieces = st.one_of(
    st.builds(lambda start, end: LEGAL[start:end], st.integers(0, 19), st.integers(0, 19)),
    st.text("aws.partner/ _é", max_size=4),
)


@given(texts=st.lists(pieces, min_size=1, max_size=5), gaps=st.lists(st.booleans(), min_size=5, max_size=5))
def test_no_source_is_refused_that_some_record_can_make(texts: list[str], gaps: list[bool]) -> None:
    """If one filling of the gaps is the name of a source, the parts around them are no mistake."""
    parts: list[str | None] = []
    for text, is_gap in zip(texts, gaps, strict=False):
        if is_gap:
            parts.append(None)
        elif parts and parts[-1] is not None:
            parts[-1] += text
        else:
            parts.append(text)

    if SOURCE_NAME.fullmatch("".join(texts)):
        assert None is source_problem(parts)
    if None not in parts:
        assert bool(SOURCE_NAME.fullmatch("".join(texts))) is (source_problem(parts) is None)


SLICES = sorted({LEGAL[start:end] for start in range(20) for end in range(start, 20)})
BEFORE = [*(LEGAL[:end] for end in range(20)), "x", "aws.partner//", "aws.partner/a b", "aws.partner/a//b"]
AFTER = [*SLICES, "a//b", "//", " ", "/é", "a b"]


@pytest.mark.parametrize("before", BEFORE)
def test_every_source_is_refused_that_no_record_can_make(before: str) -> None:
    """What is fixed around a gap is a mistake if nothing in it makes a source's name, and only then."""
    for after in AFTER:
        can_be = any(SOURCE_NAME.fullmatch(before + filling + after) for filling in SLICES)
        parts = [part for part in (before, None, after) if part != ""]

        assert can_be is (source_problem(parts) is None), after


@pytest.mark.parametrize(("rule", "limit"), [(detail_type_problem, 128), (resource_problem, 2048)])
def test_fixed_parts_count_together(rule: object, limit: int) -> None:
    """Each part may be short enough, and all of them too long."""
    assert callable(rule)
    half = "x" * (limit // 2)

    assert None is rule([half, None, half])
    assert re.match(f"has {limit + 1} characters without", rule([half, None, half + "x"]))
    assert re.match(f"has {limit + 1} characters, and", rule([half + half + "x"]))
    assert None is rule([None])
    assert None is rule(["", None])
    assert "is empty" in rule([""])


@pytest.mark.parametrize("parts", [["a\ud800"], [None, "\udc00"]])
def test_texts_are_unicode(parts: list[str | None]) -> None:
    """Half of a surrogate pair is no text."""
    assert "surrogate pair" in str(detail_type_problem(parts))
    assert "surrogate pair" in str(resource_problem(parts))
