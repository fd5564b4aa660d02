"""A function that is written: what stands in its text, what beside it, and that it is freed."""

from __future__ import annotations

import gc

from connector.code import Code


def test_a_function_is_its_lines_with_what_stands_beside_them() -> None:
    """Values that are no literals have names of their own."""
    beside = object()
    code = Code("pair", "given", {"half": lambda number: number // 2})
    stored = code.stored("half(given)")
    code.write("if given:", f"    return {stored}, {code.constant(beside)}")

    assert "def pair(given):\n    v1 = half(given)\n    if given:\n        return v1, c1\n" == code.text
    assert (4, beside) == code.function()(8)
    assert code.function()(0) is None


def test_a_function_that_is_let_go_is_freed_at_once() -> None:
    """Python would look for cycles too late, and a large schema's function takes a megabyte."""
    code = Code("nothing", "", {})
    code.write("return None")
    code.function()
    gc.collect()
    gc.disable()
    try:
        code.function()
        cycles = gc.collect()
    finally:
        gc.enable()

    assert 0 == cycles
