"""Problems of the settings, in words: where, what, and what to write instead.

A group of settings (`Group`) knows its keys, so a mistyped one gets a suggestion. What was written is
repeated only where it cannot be a secret.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, PlainSerializer, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from connector.errors import Problem

MISSING = "required, and missing"

Loc: TypeAlias = tuple[str | int, ...]
"""Where a setting is: keys and list indexes from the top."""


class Group(BaseModel):
    """A group of settings. Frozen; an unknown key is an error; a key left empty is as if not written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def keys(cls) -> dict[str, FieldInfo]:
        """The settings of this group by the name they have in YAML."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}

    @classmethod
    def described_keys(cls) -> list[str]:
        """The keys that the JSON Schema describes."""
        return list(cls.keys())

    @classmethod
    def key_of(cls, segment: str) -> str | None:
        """The key that a segment of an environment variable names: `MAX_IN_FLIGHT` is `max_in_flight`."""
        key, known = segment.lower(), cls.keys()
        return key if key in known else None

    @model_validator(mode="before")
    @classmethod
    def _empty_keys(cls, written: object) -> object:
        if not isinstance(written, Mapping):
            return {} if written is None else written
        keys = cls.keys()
        kept = {
            key: value
            for key, value in written.items()
            if value is not None or key not in keys or NoneType in get_args(keys[key].annotation)
        }
        # A group that is missing altogether is reported as its missing settings: that says what to write.
        groups = {key for key, field in keys.items() if field.is_required() and is_group(field.annotation)}
        return {**{key: {} for key in groups}, **kept}


def is_group(annotation: Any) -> TypeGuard[type[Group]]:
    return isinstance(annotation, type) and issubclass(annotation, Group)


def bare(annotation: Any) -> Any:
    """An annotation without `Annotated` and `| None`."""
    while (origin := get_origin(annotation)) in {Annotated, Union, UnionType}:
        arguments = get_args(annotation)[:1] if origin is Annotated else get_args(annotation)
        rest = [argument for argument in arguments if argument is not NoneType]
        if len(rest) != 1:
            break
        annotation = rest[0]
    return annotation


def setting_at(root: type[Group], loc: Loc) -> tuple[Any, FieldInfo | None]:
    """The type at a place, and the field that declares it; the type is None where nothing is declared."""
    annotation: Any = root
    field: FieldInfo | None = None
    for part in loc:
        if is_group(annotation):
            field = annotation.keys().get(str(part))
            annotation = bare(field.annotation) if field else None
        elif get_origin(annotation) in {dict, list}:
            annotation = bare(get_args(annotation)[-1])
        else:
            return None, None
    return annotation, field


def path_of(loc: Sequence[str | int]) -> str:
    """A place as people write it: `topics.orders.v1.event.resources[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant; None where none is near."""
    known = list(known)
    if close := difflib.get_close_matches(word, known, n=1, cutoff=0.75):
        return close[0]
    for each in known:
        is_swapped = sorted(each) == sorted(word)  # two letters the wrong way round
        is_longer = len(word) >= 3 and len(each) >= 3 and (each.startswith(word) or word.startswith(each))
        if is_swapped or is_longer:
            return each
    return None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    close = closest(word, known)
    return f"; did you mean '{close}'?" if close else ""


def problems_of(error: ValidationError, root: type[Group]) -> list[Problem]:
    """Everything pydantic found, in our words, one problem for each place."""
    problems: dict[Loc, Problem] = {}
    suggested: set[Loc] = set()
    details = error.errors(include_url=False)
    for detail in details:
        loc = _loc(detail)
        if detail["type"] == "extra_forbidden":
            group, _ = setting_at(root, loc[:-1])
            known = list(group.keys())
            if close := closest(str(loc[-1]), known):
                suggested.add((*loc[:-1], close))
            hint = did_you_mean(str(loc[-1]), known) or f"; known here: {', '.join(known)}"
            problems[loc] = Problem(path_of(loc), f"unknown key{hint}")
        elif detail["type"] != "missing":
            problems.setdefault(loc, Problem(path_of(loc), _message(detail, *setting_at(root, loc))))
    for detail in details:
        loc = _loc(detail)
        if detail["type"] == "missing" and loc not in suggested:  # `sorce` is one mistake, not two
            problems[loc] = Problem(path_of(loc), MISSING)
    return list(problems.values())


def without_mistakes(values: Mapping[str, Any], error: ValidationError, root: type[Group]) -> dict[str, Any]:
    """The values without what was refused, and with examples in place of what is missing.

    Nothing is run with them. They let the rest be checked further, so that all problems are reported at once.
    """
    mended = copy.deepcopy(dict(values))
    for detail in error.errors(include_url=False):
        loc = _loc(detail)
        missing = detail["type"] == "missing"
        _, field = setting_at(root, loc)
        group, last = mended, str(loc[-1])
        for part in map(str, loc[:-1]):
            if group.get(part) is None and missing:
                group[part] = {}
            if not isinstance(group.get(part), dict):
                last = part
                break
            group = group[part]
        if missing and last == str(loc[-1]) and field and field.examples:
            group[last] = field.examples[0]
        else:
            group.pop(last, None)
    return mended


def _loc(detail: ErrorDetails) -> Loc:
    """Where the mistake is in the YAML, without the marks pydantic and our models add."""
    loc = tuple(part for part in detail["loc"] if part != "[key]")
    return loc[:1] + loc[2:] if loc[:2] == ("kafka", "options") else loc


_NOUNS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping of keys to values",
    "model": "a mapping of keys to values",
    "path": "a path, as /etc/partner-bridge/ca.pem",
}
_LIMITS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
}


def _message(detail: ErrorDetails, annotation: Any, field: FieldInfo | None) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        choices = get_args(annotation)
        return f"must be one of {', '.join(choices)}{did_you_mean(str(detail['input']), choices)}"
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        units = [mark.func for mark in field.metadata if isinstance(mark, PlainSerializer)] if field else []
        return f"must be {words} {units[0](context[key]) if units else context[key]}"  # type: ignore[call-arg]
    if kind in {"string_too_short", "too_short"}:
        return "must not be empty"
    if kind == "string_pattern_mismatch" and field and field.examples:
        return f"is not valid; an example is {field.examples[0]}"
    noun = _NOUNS.get(kind.split("_")[0])
    return f"must be {noun}{_example(kind, annotation, field)}" if noun else detail["msg"]


def _example(kind: str, annotation: Any, field: FieldInfo | None) -> str:
    """What may be written for text and lists, since the type alone does not say what they are to hold."""
    if kind not in {"string_type", "list_type"} or annotation is SecretStr or not field or not field.examples:
        return ""
    example = field.examples[0]
    if kind == "string_type" and isinstance(example, list):  # text inside a list
        example = example[0]
    return f"; an example is {json.dumps(example, ensure_ascii=False)}"
