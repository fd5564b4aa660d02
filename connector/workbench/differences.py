"""Compares the event that came with the one that was expected, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from connector.config.problems import Loc, path_of
from connector.model import Json


class Absent(Enum):
    """Stands for a field that is not there, which is not the same as null."""

    ABSENT = "nothing"


ABSENT: Final = Absent.ABSENT
JsonOrAbsent: TypeAlias = "Json | Absent"


class Difference(NamedTuple):
    """A place where something else came than was expected; shown in a line."""

    loc: Loc
    expected: JsonOrAbsent
    got: JsonOrAbsent

    def __str__(self) -> str:
        return f"{path_of(self.loc)}: expected {shown(self.expected)}, got {shown(self.got)}"


def shown(value: JsonOrAbsent) -> str:
    """A value as JSON writes it, or `nothing`."""
    return value.value if isinstance(value, Absent) else json.dumps(value, ensure_ascii=False)


def differences(
    expected: JsonOrAbsent, got: JsonOrAbsent, *, exactly: bool = False, loc: Loc = ()
) -> Iterator[Difference]:
    """Compare two values. In objects only what is expected counts, unless `exactly`; in lists everything.

    Numbers differ where JSON writes them differently, as 300 and 300.0, since a rule of EventBridge may.
    """
    match expected, got:
        case dict(), dict():
            for name in [*expected, *(name for name in got if exactly and name not in expected)]:
                pair = expected.get(name, ABSENT), got.get(name, ABSENT)
                yield from differences(*pair, exactly=exactly, loc=(*loc, name))
        case list(), list() if len(expected) == len(got):
            for index, pair in enumerate(zip(expected, got, strict=True)):
                yield from differences(*pair, exactly=True, loc=(*loc, index))
        case _ if shown(expected) != shown(got) or isinstance(expected, Absent) != isinstance(got, Absent):
            yield Difference(loc, expected, got)
