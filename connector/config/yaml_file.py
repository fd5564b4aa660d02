"""YAML with the line of every value, in which each scalar stays the text that was written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from connector.config.problems import Loc, path_of
from connector.errors import Problem, why_failed


class Plain(str):
    """A YAML scalar without quotes: text, until a setting that takes any JSON asks what it means."""

    __slots__ = ()

    @property
    def json(self) -> str | int | float | bool:
        if self in {"true", "false"}:
            return self == "true"
        if re.fullmatch(r"-?(0|[1-9][0-9]*)", self):
            return int(self)
        if re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", self):
            return float(self)
        return str(self)


def as_json(written: object) -> object:
    """Written text as the JSON it stands for: `true` and `12` typed, `"true"` and `"12"` text."""
    match written:
        case Plain():
            return written.json
        case dict():
            return {key: as_json(value) for key, value in written.items()}
        case list():
            return [as_json(value) for value in written]
    return written


@dataclass(slots=True)
class Written:
    """Settings as a file or the environment has them, with their places and the problems found already."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    """Path of a setting → `line 12` or the environment variable it came from."""
    problems: list[Problem] = field(default_factory=list)

    def over(self, other: Written) -> Written:
        """Both together; where they disagree, this one wins."""
        return Written(
            values=merged(self.values, other.values),
            origins=other.origins | self.origins,
            problems=other.problems + self.problems,
        )

    def origin(self, path: str) -> str | None:
        """Where a setting is from, as `line 12`: the nearest part that was written; None where none was."""
        while path not in self.origins and path:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.origins[path] if path else None

    def locate(self, problem: Problem) -> Problem:
        """The problem with its line or environment variable."""
        origin = self.origin(problem.path)
        return problem._replace(message=f"{problem.message} ({origin})") if origin else problem


def merged(upper: Any, lower: Any) -> Any:
    if not isinstance(upper, dict) or not isinstance(lower, dict):
        return upper
    return lower | {key: merged(value, lower.get(key)) for key, value in upper.items()}


# YAML


def read_yaml(file: Path) -> Written:
    """The settings in a file. Mistakes in its YAML are among the problems; nothing is raised."""
    try:
        return parse_yaml(file.read_bytes(), name=str(file))
    except OSError as error:
        return Written(problems=[Problem("", f"cannot read {file}: {why_failed(error)}")])


def parse_yaml(text: bytes | str, *, name: str, loc: Loc = ()) -> Written:
    written = Written()
    loader = yaml.SafeLoader(b"")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        built = _Builder(loader, written).build(node, loc) if node else None
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        where = f", line {at.line + 1}, column {at.column + 1}" if at else ""
        reason = error.problem or error.context or ""
        written.problems.append(Problem("", f"{name}{where}: not YAML: {reason}{_advice(reason)}"))
    except yaml.reader.ReaderError as error:
        written.problems.append(Problem("", f"{name}: not YAML: {error.reason} at byte {error.position}"))
    except RecursionError:
        written.problems.append(Problem("", f"{name}: nested too deeply"))
    else:
        if isinstance(built, dict) or loc:
            written.values = built  # type: ignore[assignment]  # any value, where one setting is parsed
        elif built is not None:
            written.problems.append(Problem("", f"{name}: must be a mapping of settings at the top level"))
    finally:
        loader.dispose()
    return written


_ADVICE = {
    r"character '\\t'": "YAML takes no tab before a key or value; write spaces instead",
    r"character '[@`]'": "put the text in quotes",
    r"but got '\{'": 'put text with braces in quotes inside { } and [ ], as "${value.id}"',
    r"mapping values are not allowed": "indent the keys of one group alike, and put text with `: ` in it in "
    "quotes",
    r"found '<scalar>'": "text in quotes ends with its second quote; put other quotes around the whole, as "
    "\"'a' == value.b\"",
    r"found '<block mapping start>'": "indent the keys of one group alike",
    r"unknown escape character": "in \" \" write \\\\ for a backslash, or use ' ' around",
    r"undefined alias": "put text that begins with * in quotes",
}
"""What to write instead, by patterns of PyYAML's reasons."""


def _advice(reason: str) -> str:
    return next((f"; {advice}" for pattern, advice in _ADVICE.items() if re.search(pattern, reason)), "")


class _Builder:
    """Builds values from YAML nodes: scalars stay text, and no key is lost to a second one."""

    def __init__(self, loader: yaml.SafeLoader, written: Written) -> None:
        self._loader = loader
        self._written = written
        self._open: set[int] = set()

    def build(self, node: yaml.Node, loc: Loc) -> Any:
        if id(node) in self._open:
            return self._problem(node, loc, "refers to itself")
        self._open.add(id(node))
        try:
            match node:
                case _ if not node.tag.startswith("tag:yaml.org,2002:"):
                    return self._problem(
                        node,
                        loc,
                        f"YAML tag {node.tag} means nothing here; put text that begins with ! in quotes",
                    )
                case yaml.MappingNode():
                    return self._mapping(node, loc)
                case yaml.SequenceNode():
                    return [self._item(item, (*loc, index)) for index, item in enumerate(node.value)]
                case yaml.ScalarNode(tag="tag:yaml.org,2002:null"):
                    return None
                case yaml.ScalarNode(value=str(text), style=None):
                    return Plain(text)
            return node.value
        finally:
            self._open.discard(id(node))

    def _item(self, node: yaml.Node, loc: Loc) -> Any:
        self._written.origins.setdefault(path_of(loc), f"line {node.start_mark.line + 1}")
        return self.build(node, loc)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, loc, "a key must be text")
            elif key.value in lines:
                self._problem(
                    key, (*loc, key.value), f"written twice, first in line {lines[key.value]}; keep one"
                )
            else:
                lines[key.value] = line
        self._loader.flatten_mapping(node)  # `<<: *defaults`, which puts the inherited keys first
        values: dict[str, Any] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                at = (*loc, key.value)
                self._written.origins.setdefault(path_of(at), f"line {key.start_mark.line + 1}")
                values[key.value] = self.build(value, at)
        return values

    def _problem(self, node: yaml.Node, loc: Loc, message: str) -> None:
        line = node.start_mark.line + 1
        self._written.problems.append(Problem(path_of(loc), f"{message} (line {line})"))
