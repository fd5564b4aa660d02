"""Changes values in a YAML text, and leaves every other character as it is, comments included."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import yaml

from connector.config.problems import Loc, path_of
from connector.model import Json
from connector.workbench.differences import ABSENT, JsonOrAbsent

BLOCK_STYLES = ("|", ">")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[./-][A-Za-z0-9_]+)*")
_TAKEN = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
"""Words that some reader of YAML takes for something else than text."""
_COMMA = re.compile(r"\s*,")
_ESCAPED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""Characters that YAML wants escaped: https://yaml.org/spec/1.2.2/#51-character-set"""


class UnspliceableError(ValueError):
    """The text at some place cannot be changed there; the message names the place."""


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def spliced(text: str, changes: Mapping[Loc, JsonOrAbsent]) -> str:
    """Give the text with other values at some places; a key that becomes ABSENT is removed, a new one added.

    Of two places none lies within the other. The caller checks what came of it: an anchor that is used
    elsewhere may be changed or lost.

    Raises:
        UnspliceableError: a place is inside of an alias or a merged mapping, or there is no such list item.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    by_parent: dict[Loc, dict[str | int, JsonOrAbsent]] = {}
    for loc, value in changes.items():
        by_parent.setdefault(loc[:-1], {})[loc[-1]] = value
    edits: list[_Edit] = []
    for parent, values in by_parent.items():
        node = _node_at(root, parent)
        if isinstance(node, yaml.MappingNode):
            edits += _Mapping(text, node).edits({str(key): value for key, value in values.items()})
        else:
            edits += (_replaced(text, _node_at(node, (key,)), value) for key, value in values.items())
    parts, position = [], 0
    for edit in sorted(edits):
        if edit.start < position:
            raise UnspliceableError("two of the places to change overlap")
        parts += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join([*parts, text[position:]])


def _node_at(node: Any, loc: Loc) -> Any:
    for step in loc:
        behind = node.start_mark.index
        match node, step:
            case yaml.MappingNode(), str():
                key, node = next((entry for entry in node.value if entry[0].value == step), (None, None))
                behind = key.end_mark.index if key else 0
            case yaml.SequenceNode(), int() if step < len(node.value):
                behind = node.value[step - 1].end_mark.index if step else behind
                node = node.value[step]
            case _:
                node = None
        if node is None or node.start_mark.index < behind:
            raise UnspliceableError(f"{path_of(loc)} is written elsewhere, by an alias or a merge")
    return node


def _end(text: str, node: Any) -> int:
    """Where the last thing in a node ends; the marks of a block include what is between it and the next."""
    start: int = node.start_mark.index
    end: int = node.end_mark.index
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        is_block = isinstance(node, yaml.ScalarNode) and node.style in BLOCK_STYLES
        return start + len(text[start:end].rstrip()) if is_block else end
    last = node.value[-1]
    end = _end(text, last[1] if isinstance(last, tuple) else last)
    if end < start:
        raise UnspliceableError(f"line {node.start_mark.line + 1} has an alias in it")
    return end


def _replaced(text: str, node: Any, value: JsonOrAbsent) -> _Edit:
    if value is ABSENT:
        raise UnspliceableError("an item of a list cannot be removed alone")
    start, end = node.start_mark.index, _end(text, node)
    written = flow(value)
    if start == end:  # an empty value, behind its colon
        written = f" {written}"
    elif isinstance(node, yaml.SequenceNode) and not node.flow_style:
        written = f"  {written}"  # it may stand as far left as its key
    return _Edit(start, end, written)


class _Mapping:
    """A mapping in the text, and how its keys are removed and added."""

    def __init__(self, text: str, node: yaml.MappingNode) -> None:
        self._text = text
        self._node = node
        self._newline = "\r\n" if "\r\n" in text else "\n"
        for key, value in node.value:
            if value.start_mark.index < key.end_mark.index:
                raise UnspliceableError(f"{key.value} is an alias")

    def edits(self, values: Mapping[str, JsonOrAbsent]) -> Iterator[_Edit]:
        present = {key.value for key, _ in self._node.value}
        removed = {key for key in present if values.get(key, "") is ABSENT}
        added = {key: value for key, value in values.items() if key not in present and value is not ABSENT}
        if removed == present:
            yield _Edit(self._node.start_mark.index, self._end(self._node), flow(added))
            return
        for key, value in self._node.value:
            if key.value in values and key.value not in removed:
                yield _replaced(self._text, value, values[key.value])
        yield from self._in_flow(removed, added) if self._node.flow_style else self._in_block(removed, added)

    def _in_flow(self, removed: Collection[str], added: Mapping[str, Json]) -> Iterator[_Edit]:
        entries = self._node.value
        last = max(index for index, (key, _) in enumerate(entries) if key.value not in removed)
        for (key, _), (following, _) in pairwise(entries[: last + 1]):
            if key.value in removed:
                yield _Edit(key.start_mark.index, following.start_mark.index, "")
        end = self._end(entries[last][1])
        more = "".join(f", {_text(key)}: {flow(value)}" for key, value in added.items())
        behind, very_end = entries[last + 1 :], self._end(entries[-1][1])
        if behind and "\n" in self._text[end : behind[0][0].start_mark.index]:
            # A comment may stand between them. The comma before them may stay, and the one behind must not.
            comma = _COMMA.match(self._text, very_end)
            yield _Edit(behind[0][0].start_mark.index, comma.end() if comma else very_end, "")
            very_end = end
        yield _Edit(end, very_end, more)

    def _in_block(self, removed: Collection[str], added: Mapping[str, Json]) -> Iterator[_Edit]:
        entries = self._node.value
        kept = [(key, value) for key, value in entries if key.value not in removed]
        if entries[0] is not kept[0]:  # its key may stand behind a dash
            yield _Edit(entries[0][0].start_mark.index, kept[0][0].start_mark.index, "")
        behind_first = entries.index(kept[0])
        for key, value in entries[behind_first:]:
            if key.value in removed:
                start = self._text.rfind("\n", 0, key.start_mark.index) + 1
                yield _Edit(start, self._end_of_line(self._end(value)), "")
        if added:
            column = self._node.start_mark.column
            lines = "".join(_block(key, value, column, self._newline) for key, value in added.items())
            end = self._end_of_line(self._end(kept[-1][1]))
            is_ended = self._text[:end].endswith("\n")
            yield _Edit(end, end, lines if is_ended else self._newline + lines.rstrip())

    def _end(self, node: Any) -> int:
        return _end(self._text, node)

    def _end_of_line(self, position: int) -> int:
        """Where the next line begins."""
        found = self._text.find("\n", position)
        return len(self._text) if found < 0 else found + 1


def _block(key: str, value: Json, column: int, newline: str) -> str:
    """A key in a line, or, of an event, a line for each of its fields."""
    indent = " " * column
    if not isinstance(value, dict) or not value:
        return f"{indent}{_text(key)}: {flow(value)}{newline}"
    lines = [f"{indent}  {_text(name)}: {flow(each)}{newline}" for name, each in value.items()]
    return f"{indent}{_text(key)}:{newline}{''.join(lines)}"


def flow(value: JsonOrAbsent) -> str:
    """JSON as a person writes it in YAML, in one line, with quotes where they are needed."""
    match value:
        case dict():
            return "{" + ", ".join(f"{_text(key)}: {flow(each)}" for key, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(flow, value)) + "]"
        case str():
            return _text(value)
    return json.dumps(value)


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _TAKEN:
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_ESCAPED.sub(_escaped, quoted)}"'


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
