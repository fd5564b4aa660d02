"""A Python function that is written line by line, and compiled once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

INDENT = "    "


class Code:
    """One function: its text so far, and what the names in it stand for.

    What comes from a schema or the configuration stands in the text as a literal, or beside it as a constant.
    So none of it is ever executed.
    """

    def __init__(self, name: str, parameters: str, names: Mapping[str, Any]) -> None:
        """`names` are what the text may use from the start."""
        self._name = name
        self.lines = [f"def {name}({parameters}):"]
        self.names = dict(names)
        self._variables = 0

    @property
    def text(self) -> str:
        """The whole function, to be read."""
        return "\n".join([*self.lines, ""])

    def write(self, *lines: str, depth: int = 1) -> None:
        """Write lines inside the function, or `depth` levels deep."""
        self.lines += [INDENT * depth + line for line in lines]

    def stored(self, expression: str, *, depth: int = 1) -> str:
        """Write a line that stores a value; gives the variable."""
        variable = self.variable()
        self.write(f"{variable} = {expression}", depth=depth)
        return variable

    def variable(self) -> str:
        """Give a variable that the text does not have yet."""
        self._variables += 1
        return f"v{self._variables}"

    def constant(self, value: object) -> str:
        """Give a name for a value that is kept beside the text."""
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def function(self) -> Any:
        """Make the function."""
        exec(self.text, names := dict(self.names))  # noqa: S102 - every word of it is written by us
        return names.pop(self._name)  # left there it would refer to itself, and never be freed at once
