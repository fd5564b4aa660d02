"""EventBridge's rules for the texts of an entry, as far as they can be checked before there is a record.

`eventbridge.entry` checks each entry by the same limits; here they are for templates, which are settings.
Source of the rules: the API model of PutPartnerEventsRequestEntry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

MAX_SOURCE_CHARACTERS = 256
MAX_DETAIL_TYPE_CHARACTERS = 128
MAX_RESOURCE_CHARACTERS = 2048

_LEGAL = r"[.\-_A-Za-z0-9]"
_BEGINNING = "aws.partner/"
SOURCE_NAME = re.compile(rf"aws\.partner(/{_LEGAL}+){{2,}}")
SOURCE_FORM = (
    f"`{_BEGINNING}` with at least two segments of letters, digits, `.`, `-` and `_`, as in "
    "aws.partner/example.com/orders"
)
_INSIDE = re.compile(rf"/?({_LEGAL}+/?)*+")
"""What may stand between two parts of a source that nothing is known of: no empty segment."""

Parts: TypeAlias = "Sequence[str | None]"
"""A text of which some is known: fixed text, and None for a value that each record has for itself."""
Rule: TypeAlias = "Callable[[Parts], str | None]"
"""Says what is wrong with every text of these parts, and what to write; None where one may be right."""


def source_problem(parts: Parts) -> str | None:
    """The rule of Source: its form, and at most 256 characters."""
    match parts:
        case [str(source)] if not SOURCE_NAME.fullmatch(source):
            return f"{_shown(source)} is not {SOURCE_FORM}"
        case [str(first), _, *_] if not (first.startswith(_BEGINNING) or _BEGINNING.startswith(first)):
            return f"begins with {_shown(first)}, and must begin with `{_BEGINNING}`"
        case [_, *_, str(last)] if last.endswith("/"):
            return f"ends with {_shown(last)}; no `/` may stand at the end"
    for part in parts:
        # A part that is shorter than the beginning ends within it, or it was complained of above.
        inside = "" if part is None or _BEGINNING.startswith(part) else part.removeprefix(_BEGINNING)
        if not _INSIDE.fullmatch(inside) or (part or "").startswith(f"{_BEGINNING}/"):
            return (
                f"has {_shown(part or '')} in it, and must have letters, digits, `.`, `-` or `_` between `/` "
                "and `/`, at least one"
            )
    return _length_problem(parts, MAX_SOURCE_CHARACTERS)


def detail_type_problem(parts: Parts) -> str | None:
    """The rule of DetailType: 1 to 128 characters."""
    return _text_problem(parts, MAX_DETAIL_TYPE_CHARACTERS)


def resource_problem(parts: Parts) -> str | None:
    """The rule of each of Resources: 1 to 2048 characters."""
    return _text_problem(parts, MAX_RESOURCE_CHARACTERS)


def unicode_problem(parts: Parts) -> str | None:
    """The rule of every text: UTF-8 can hold it."""
    for part in parts:
        if part is not None and re.search("[\ud800-\udfff]", part):
            return "holds half of a surrogate pair, which UTF-8 cannot hold; write the whole character"
    return None


def _text_problem(parts: Parts, limit: int) -> str | None:
    if all(part == "" for part in parts):
        return f"is empty, and must have 1 to {limit} characters"
    return _length_problem(parts, limit) or unicode_problem(parts)


def _length_problem(parts: Parts, limit: int) -> str | None:
    fixed = "".join(part for part in parts if part is not None)
    if len(fixed) <= limit:
        return None
    what = "" if None not in parts else " without what expressions yield"
    return f"has {len(fixed)} characters{what}, and EventBridge allows {limit}; shorten it: {_shown(fixed)}"


def _shown(text: str) -> str:
    """The text in quotes; of a long one the beginning."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
